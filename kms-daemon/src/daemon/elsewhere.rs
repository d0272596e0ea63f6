//! A store on etcd, as the daemon keeps in touch with it.

use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::Signal;
use tokio::time::{MissedTickBehavior, interval};

use crate::config::EtcdSettings;
use kms_installation::consistency::Records;
use kms_store::{EtcdStore, RedbStore};

/// How often it is written down how far the cluster is. A cluster that is put back by less is not noticed.
const NOTE: Duration = Duration::from_secs(10);

/// Records that are in etcd, and the store of the data directory, which has facts about them.
pub(super) struct Elsewhere {
    records: Arc<EtcdStore>,
    own: Arc<RedbStore>,
    settings: EtcdSettings,
}

/// How far a cluster is.
pub(super) fn reached(records: &EtcdStore) -> Records {
    let (cluster, revision) = records.reached();
    Records { cluster, revision: revision.0 }
}

impl Elsewhere {
    /// `None` if the records are in the data directory.
    pub(super) fn of(
        records: Option<&Arc<EtcdStore>>,
        own: &Arc<RedbStore>,
        settings: Option<EtcdSettings>,
    ) -> Option<Arc<Self>> {
        let (records, settings) = records.zip(settings)?;
        Some(Arc::new(Self { records: Arc::clone(records), own: Arc::clone(own), settings }))
    }

    /// Writes down how far the cluster is. A failure is logged: what was written before is true still.
    pub(super) async fn note(&self) {
        if let Err(error) = reached(&self.records).note(&self.own).await {
            tracing::warn!(%error, "cannot write down which revision etcd has");
        }
    }

    /// Writes down now and then how far the cluster is, and reads certificates and password again at each SIGHUP, until
    /// the task is aborted.
    pub(super) async fn keep(self: Arc<Self>, mut hangup: Signal) {
        let mut due = interval(NOTE);
        due.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = due.tick() => self.note().await,
                Some(()) = hangup.recv() => self.renew().await,
            }
        }
    }

    async fn renew(&self) {
        let place = self.settings.place();
        let renewed = match self.settings.options() {
            Ok(options) => self.records.renew(options).await.map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        match renewed {
            Ok(()) => {
                tracing::info!(place, "the certificates and the password for etcd were read again");
            }
            Err(error) => tracing::error!(
                error,
                place,
                "etcd does not answer to the certificates and the password as they are now; those from before are \
                 still used: correct the files, and send SIGHUP again"
            ),
        }
    }
}
