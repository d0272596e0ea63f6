//! The domain of the devices, and changes of it.

use std::sync::Arc;

use host_driver::ceremony::{self, CeremonyError, Ledger};
use host_driver::device::Device;
use host_driver::pool::Needs;
use host_driver::recovery::RecoverySet;
use host_driver::{CallError, OperatorKey, Pool};
use hsm_protocol::command::recovery::MakeRecovery;
use hsm_protocol::command::replica::DomainKeyInfo;
use hsm_protocol::domain::{Change, DomainState};
use hsm_protocol::{AuditTag, DeviceId, DomainId, ErrorCode};

use super::{Busy, Engine, refusal};
use host_driver::audit::DeviceReceipt;
use kms_base::error::{Exception, KmsError};
use kms_ceremony::PeerText;

/// Tries of a change that others interfere with.
const MAX_TRIES: usize = 8;

/// A domain as its devices have it.
#[derive(Debug, Clone)]
pub struct DomainFound {
    /// Its state.
    pub state: DomainState,
    /// Its devices that are in service.
    pub present: Vec<DeviceId>,
}

impl Engine {
    /// The domain of the devices.
    ///
    /// # Errors
    /// `Exception::DependencyTimeout` if no device answers now.
    pub async fn domain(&self) -> Result<DomainFound, KmsError> {
        self.apart(|pool| {
            let devices = pool.devices();
            let first = devices.first().ok_or_else(none)?;
            let present = devices.iter().map(|device| device.id()).collect();
            Ok(DomainFound { state: first.domain_state()?, present })
        })
        .await
    }

    /// Makes a backup of the domain with a share for each holder, and the state that is in it. The receipt
    /// goes to `receipts`.
    ///
    /// # Errors
    /// `Exception::UnsupportedOperation` if nobody is to hold shares; `Exception::DependencyTimeout` if no
    /// device answers now.
    pub async fn make_recovery(
        &self,
        tag: [u8; AuditTag::SIZE],
        receipts: &mut Vec<DeviceReceipt>,
    ) -> Result<(DomainState, RecoverySet), KmsError> {
        let mut devices = self.devices(tag, receipts);
        let made = devices
            .attempt(&MakeRecovery, Needs::default())
            .await
            .and_then(|it| RecoverySet::of(&it));
        let set = made.map_err(|error| match error {
            CallError::Refused { code: ErrorCode::RECOVERY_ABSENT, .. } => {
                let text = "Nobody is to hold recovery shares of this domain yet. Its operators say who does: \
                            kmsctl operator new-share, then kmsctl domain propose --recovery NUMBER --holder FILE";
                KmsError::new(Exception::UnsupportedOperation, text)
            }
            error => refusal(error, Busy::DependencyTimeout),
        })?;
        let state = self.domain().await?.state;
        // Somebody changed the domain in between, or a device has missed a change.
        let changed = "The domain was changed meanwhile. Try again.";
        set.check(&state).map_err(|_| KmsError::new(Exception::DependencyTimeout, changed))?;
        Ok((state, set))
    }

    /// Hands a ballot over to the devices in service; the others follow. The state that it leads to.
    ///
    /// # Errors
    /// `Exception::Validation` if it cannot be made, or too few have signed it;
    /// `Exception::DependencyTimeout` if no device answers now.
    pub async fn change_domain(
        &self,
        ballot: Vec<u8>,
        ledger: Arc<dyn Ledger + Send + Sync>,
    ) -> Result<DomainState, KmsError> {
        // Devices forget what waits for operators, who may be others now.
        let approvals = Arc::clone(&self.approvals);
        let outcome = self.apart(move |pool| {
            let devices = pool.devices();
            let devices: Vec<&Device> = devices.iter().map(AsRef::as_ref).collect();
            match devices.as_slice() {
                [] => Err(none()),
                devices => ceremony::submit(devices, &ballot, &*ledger),
            }
        });
        let state = outcome.await?;
        approvals.clear();
        Ok(state)
    }

    /// Has every device in service make the changes of the domain that it has missed, and take the domain
    /// keys that it lacks; the state that all of them have then.
    ///
    /// # Errors
    /// `Exception::DependencyTimeout` if no device answers now, or one of them does not follow.
    pub async fn bring_up_to_date(
        &self,
        ledger: Arc<dyn Ledger + Send + Sync>,
    ) -> Result<DomainState, KmsError> {
        self.apart(move |pool| {
            let devices = pool.devices();
            let devices: Vec<&Device> = devices.iter().map(AsRef::as_ref).collect();
            let mut latest = None;
            for device in &devices {
                ceremony::follow(device, &*ledger, &devices)?;
                let state = device.domain_state()?;
                if latest.as_ref().is_some_and(|other| *other != state) {
                    let reason = "its devices do not agree on the state of the domain now";
                    return Err(CallError::Unavailable { reason: reason.into() }.into());
                }
                latest = Some(state);
            }
            latest.ok_or_else(none)
        })
        .await
    }

    /// The same, and which of the devices in service have the keys of the domain.
    ///
    /// # Errors
    /// As for that.
    pub async fn keep_up(
        &self,
        ledger: Arc<dyn Ledger + Send + Sync>,
    ) -> Result<(DomainState, Vec<DeviceId>), KmsError> {
        let state = self.bring_up_to_date(ledger).await?;
        let with_keys = self.apart(|pool| {
            let devices = pool.devices();
            let has_keys = |device: &&Arc<Device>| {
                device.domain().ok().flatten().is_some_and(|domain| domain.has_keys)
            };
            Ok(devices.iter().filter(has_keys).map(|device| device.id()).collect())
        });
        Ok((state, with_keys.await?))
    }

    /// State and keys of the domain, wrapped to a member.
    ///
    /// # Errors
    /// `Exception::DependencyTimeout` if no device in service can do that now.
    pub async fn hand_over_to(&self, member: DeviceId) -> Result<Vec<u8>, KmsError> {
        self.apart(move |pool| {
            let mut last = none();
            for device in pool.devices() {
                match device.export_domain(member) {
                    Ok(token) => return Ok(token),
                    Err(error) => last = error.into(),
                }
            }
            Err(last)
        })
        .await
    }

    /// Forgets what devices have sealed under former domain keys and what is in memory only: prepared key
    /// pairs, and recipients that were verified.
    pub async fn forget_what_was_sealed(&self) {
        match self.domain().await {
            Ok(found) => {
                self.pool.keep_pairs_under(found.state.active_key());
                self.verified.forget();
            }
            // Without a device none of it is used; what does not open is asked for again.
            Err(error) => tracing::debug!(%error, "the domain is not known now"),
        }
    }

    /// Sees to it that every device in service exchanges multi-Region keys with the domain `peer`. Where
    /// `operator` rules alone, it approves the domain if that is not done yet.
    ///
    /// # Errors
    /// `Exception::DependencyTimeout` if no device answers now; `Exception::UnsupportedOperation` if
    /// other operators have to approve it.
    pub async fn approve(
        &self,
        peer: &DomainKeyInfo,
        operator: OperatorKey,
        ledger: Arc<dyn Ledger + Send + Sync>,
    ) -> Result<(), KmsError> {
        let peer = *peer;
        self.apart_or(
            move |pool| approve(pool, &peer, &operator, &*ledger),
            |domain| {
                let text = format!(
                    "The operators of the domain {domain} have not approved that multi-Region keys are \
                     exchanged with the domain {}. They do so with: kmsctl domain propose --add-peer {}",
                    peer.domain,
                    PeerText(peer)
                );
                KmsError::new(Exception::UnsupportedOperation, text)
            },
        )
        .await
    }

    async fn apart<T: Send + 'static>(
        &self,
        run: impl FnOnce(&Pool) -> Result<T, CeremonyError> + Send + 'static,
    ) -> Result<T, KmsError> {
        self.apart_or(run, |domain| KmsError::internal(CeremonyError::NotOurs(domain))).await
    }

    /// Runs what blocks; `not_ours` is the refusal where other operators rule.
    async fn apart_or<T: Send + 'static>(
        &self,
        run: impl FnOnce(&Pool) -> Result<T, CeremonyError> + Send + 'static,
        not_ours: impl FnOnce(DomainId) -> KmsError,
    ) -> Result<T, KmsError> {
        let pool = self.pool();
        let done = tokio::task::spawn_blocking(move || run(&pool)).await;
        done.map_err(KmsError::internal)?.map_err(|error| match error {
            CeremonyError::Call(error) => refusal(error, Busy::DependencyTimeout),
            CeremonyError::NotOurs(domain) => not_ours(domain),
            CeremonyError::Invalid(_)
            | CeremonyError::Overtaken
            | CeremonyError::Refused { .. } => {
                KmsError::new(Exception::Validation, error.to_string())
            }
            CeremonyError::Ledger(_) => KmsError::internal(error),
        })
    }
}

fn none() -> CeremonyError {
    CallError::Unavailable { reason: "none is in service now".into() }.into()
}

/// Blocks.
fn approve(
    pool: &Pool,
    peer: &DomainKeyInfo,
    operator: &OperatorKey,
    ledger: &dyn Ledger,
) -> Result<(), CeremonyError> {
    let mut outcome = Err(none());
    for _ in 0..MAX_TRIES {
        let devices = pool.devices();
        let devices: Vec<&Device> = devices.iter().map(AsRef::as_ref).collect();
        if devices.is_empty() {
            break;
        }
        let mut is_approved = true;
        for device in &devices {
            if !device.domain_state()?.approves(peer) {
                // It may only have missed the change.
                ceremony::follow(device, ledger, &devices)?;
                is_approved &= device.domain_state()?.approves(peer);
            }
        }
        if is_approved {
            return Ok(());
        }
        outcome = ceremony::change(&devices, &[Change::AddPeer(*peer)], operator, ledger);
        match outcome {
            // What the other one did may have been the same.
            Err(CeremonyError::Overtaken) => {}
            outcome => return outcome.map(drop),
        }
    }
    outcome.map(drop)
}
