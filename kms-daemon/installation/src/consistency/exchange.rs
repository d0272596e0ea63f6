//! What daemons that share a store tell each other about the domain of a Region: the ballots by which it was
//! changed, and its keys for members that are connected to another daemon.
//!
//! ```text
//! service/domain-changes/<region>/<domain>/<version>  a ballot
//! service/domain-keys/<region>/<device>               what another member has handed over to the device
//! ```
//!
//! Devices trust none of it: they check the signatures of a ballot, and open only what a member of their own
//! domain has wrapped to them.

use std::io;
use std::sync::Arc;

use host_driver::ceremony::Ledger;
use hsm_protocol::domain::{Certificate, DomainState};
use hsm_protocol::identity::IdentityDocument;
use hsm_protocol::{DeviceId, DomainId};
use kms_ceremony::ledger::Ballots;
use kms_store::{Blocking, BlockingReads, Commit, Range, Revision, Store, StoreError, Transaction};

/// Start of all these records.
pub const PREFIX: &str = "service/domain-";
const CHANGES: &str = "service/domain-changes/";
const KEYS: &str = "service/domain-keys/";
/// Most members that are looked at: more than a domain has.
const MEMBERS: usize = 256;

fn change_key(region: &str, domain: DomainId, version: u32) -> String {
    format!("{CHANGES}{region}/{domain}/{version:010}")
}

/// The ballots of a Region's domain, in the data directory and in the shared store.
pub(crate) struct SharedLedger {
    own: Ballots,
    records: Blocking,
    region: String,
}

impl SharedLedger {
    pub(crate) fn new(own: Ballots, records: Blocking, region: &str) -> Self {
        Self { own, records, region: region.to_owned() }
    }

    fn shared(&self, domain: DomainId, version: u32) -> io::Result<Option<(Revision, Vec<u8>)>> {
        let key = change_key(&self.region, domain, version);
        let found = self.records.get_blocking(key.as_bytes()).map_err(io::Error::other)?;
        Ok(found.map(|entry| (entry.revision, entry.value.to_vec())))
    }
}

impl Ledger for SharedLedger {
    /// Keeps it in the store first, where another daemon may have been faster.
    fn keep(&self, domain: DomainId, version: u32, ballot: &[u8]) -> io::Result<()> {
        let key = change_key(&self.region, domain, version);
        let transaction = Transaction::new().absent(&*key).put(&*key, ballot);
        if self.records.commit(transaction).map_err(io::Error::other)? == Commit::Conflict
            && self.shared(domain, version)?.is_none_or(|(_, there)| there != ballot)
        {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        self.own.keep(domain, version, ballot)
    }

    fn ballot(&self, domain: DomainId, version: u32) -> io::Result<Option<Vec<u8>>> {
        match self.own.ballot(domain, version)? {
            Some(ballot) => Ok(Some(ballot)),
            None => Ok(self.shared(domain, version)?.map(|(_, ballot)| ballot)),
        }
    }

    fn place(&self, domain: DomainId, version: u32) -> String {
        match self.own.ballot(domain, version) {
            Ok(None) => {
                let key = change_key(&self.region, domain, version);
                format!("the record {key} (behind --store-prefix) of etcd")
            }
            _ => self.own.place(domain, version),
        }
    }

    fn forget(&self, domain: DomainId, version: u32) -> io::Result<()> {
        let own = self.own.ballot(domain, version)?;
        if let Some((revision, ballot)) = self.shared(domain, version)?
            && own.is_some_and(|own| own == ballot)
        {
            let key = change_key(&self.region, domain, version);
            let transaction = Transaction::new().unchanged(&*key, revision).delete(key);
            // After a conflict it is another one.
            let (Commit::Applied { .. } | Commit::Conflict) =
                self.records.commit(transaction).map_err(io::Error::other)?;
        }
        self.own.forget(domain, version)
    }

    fn certificate(
        &self,
        state: &DomainState,
        identity: &IdentityDocument,
    ) -> io::Result<Option<Certificate>> {
        self.own.certificate(state, identity)
    }

    fn handed_over(&self, member: DeviceId) -> io::Result<Option<Vec<u8>>> {
        let key = format!("{KEYS}{}/{member}", self.region);
        let found = self.records.get_blocking(key.as_bytes()).map_err(io::Error::other)?;
        let found = found.and_then(|entry| HandedOver::decode(&entry.value));
        Ok(found.map(|found| found.token).filter(|token| !token.is_empty()))
    }
}

/// What was handed over to a member, by whichever daemon.
#[derive(Debug, Clone, PartialEq, Eq)]
struct HandedOver {
    /// Version of the domain's state.
    version: u32,
    /// State and keys, wrapped to the member; empty once it has them.
    token: Vec<u8>,
}

impl HandedOver {
    fn encode(&self) -> Vec<u8> {
        [&self.version.to_be_bytes(), self.token.as_slice()].concat()
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (version, token) = bytes.split_first_chunk()?;
        Some(Self { version: u32::from_be_bytes(*version), token: token.to_vec() })
    }
}

/// The side of the daemons: who needs keys, and who has taken them.
pub struct Exchange {
    store: Arc<dyn Store>,
}

impl Exchange {
    /// That of a store, if other daemons can use it.
    #[must_use]
    pub fn of(store: Arc<dyn Store>) -> Option<Self> {
        store.is_shared().then_some(Self { store })
    }

    /// The store.
    #[must_use]
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// Keeps the ballots that led to these versions of a domain where the ledger keeps them, as far as they are known:
    /// a release before this one kept them in the data directory alone. Blocks.
    ///
    /// # Errors
    /// Any failure to read or keep one.
    pub fn publish(
        ledger: &dyn Ledger,
        domain: DomainId,
        versions: impl Iterator<Item = u32>,
    ) -> io::Result<()> {
        for version in versions {
            let Some(ballot) = ledger.ballot(domain, version)? else { continue };
            match ledger.keep(domain, version, &ballot) {
                // The device has made the change, whichever it was.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    tracing::warn!(%domain, version, %error, "there is another ballot of this version");
                }
                kept => kept?,
            }
        }
        Ok(())
    }

    /// Which of these members are to be given the keys of this version, and which have yet to take what they were
    /// given.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn waiting(
        &self,
        region: &str,
        members: &[DeviceId],
        version: u32,
    ) -> Result<Waiting, StoreError> {
        let mut waiting = Waiting::default();
        for member in members {
            match self.of_member(region, *member).await?.1.filter(|it| it.version >= version) {
                None => waiting.to_be_given.push(*member),
                Some(given) if !given.token.is_empty() => waiting.to_be_taken.push(*member),
                Some(_) => {}
            }
        }
        Ok(waiting)
    }

    /// Hands keys over to a member, unless another daemon has done so meanwhile.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn give(
        &self,
        region: &str,
        member: DeviceId,
        (version, token): (u32, Vec<u8>),
    ) -> Result<(), StoreError> {
        self.put(region, member, &HandedOver { version, token }).await
    }

    /// Notes that a member has the keys of this version: nothing is to be read any more.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn taken(
        &self,
        region: &str,
        member: DeviceId,
        version: u32,
    ) -> Result<(), StoreError> {
        self.put(region, member, &HandedOver { version, token: Vec::new() }).await
    }

    /// Removes what was handed over to devices that have left the domain.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn tidy(&self, region: &str, members: &[DeviceId]) -> Result<(), StoreError> {
        let prefix = format!("{KEYS}{region}/");
        let named: Vec<String> = members.iter().map(|member| format!("{prefix}{member}")).collect();
        let range = Range { prefix: prefix.into_bytes(), after: None, limit: MEMBERS };
        for entry in self.store.range(range).await?.value.entries {
            if !named.iter().any(|name| name.as_bytes() == entry.key) {
                let gone = Transaction::new().unchanged(&*entry.key, entry.revision);
                let (Commit::Applied { .. } | Commit::Conflict) =
                    self.store.commit(gone.delete(&*entry.key)).await?;
            }
        }
        Ok(())
    }

    async fn of_member(
        &self,
        region: &str,
        member: DeviceId,
    ) -> Result<(Option<Revision>, Option<HandedOver>), StoreError> {
        let found = self.store.get(format!("{KEYS}{region}/{member}").as_bytes()).await?.value;
        let revision = found.as_ref().map(|entry| entry.revision);
        Ok((revision, found.and_then(|entry| HandedOver::decode(&entry.value))))
    }

    /// Never puts an older version, nor what is to be taken in place of what was taken.
    async fn put(
        &self,
        region: &str,
        member: DeviceId,
        new: &HandedOver,
    ) -> Result<(), StoreError> {
        let (revision, there) = self.of_member(region, member).await?;
        let is_newer = there.is_none_or(|there| {
            (there.version, there.token.is_empty()) < (new.version, new.token.is_empty())
        });
        if is_newer {
            let key = format!("{KEYS}{region}/{member}");
            let transaction = match revision {
                Some(revision) => Transaction::new().unchanged(&*key, revision),
                None => Transaction::new().absent(&*key),
            };
            // After a conflict another daemon has put the same.
            let (Commit::Applied { .. } | Commit::Conflict) =
                self.store.commit(transaction.put(key, new.encode())).await?;
        }
        Ok(())
    }
}

/// Members that another daemon is connected to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Waiting {
    /// Nothing was handed over to them yet.
    pub to_be_given: Vec<DeviceId>,
    /// They have not taken it yet.
    pub to_be_taken: Vec<DeviceId>,
}

#[cfg(test)]
mod tests {
    use kms_store::MemoryStore;

    use super::*;

    const REGION: &str = "us-east-1";
    const DOMAIN: DomainId = DomainId([1; 16]);
    const MEMBER: DeviceId = DeviceId([2; 16]);

    /// A ledger of a data directory on a store that is shared.
    fn ledger(store: &Arc<MemoryStore>, data: &std::path::Path) -> SharedLedger {
        let records = Blocking {
            store: Arc::clone(store) as Arc<dyn Store>,
            runtime: tokio::runtime::Handle::current(),
        };
        SharedLedger::new(Ballots::of_data(data, REGION), records, REGION)
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_ballot_is_known_to_all_and_one_leads_to_each_version() {
        let store = Arc::new(MemoryStore::shared());
        let [here, there] = [(); 2].map(|()| tempfile::tempdir().unwrap());
        let (one, two) = (ledger(&store, here.path()), ledger(&store, there.path()));
        let done = tokio::task::spawn_blocking(move || {
            one.keep(DOMAIN, 2, b"two").unwrap();
            assert_eq!(two.ballot(DOMAIN, 2).unwrap().unwrap(), b"two");
            let refused = two.keep(DOMAIN, 2, b"other").unwrap_err();
            assert_eq!(refused.kind(), io::ErrorKind::AlreadyExists);
            assert!(two.own.ballot(DOMAIN, 2).unwrap().is_none(), "it is not followed here");
            two.keep(DOMAIN, 2, b"two").unwrap();
            assert_eq!(two.own.ballot(DOMAIN, 2).unwrap().unwrap(), b"two");

            // One that no device has accepted.
            two.keep(DOMAIN, 3, b"three").unwrap();
            two.forget(DOMAIN, 3).unwrap();
            assert_eq!(one.ballot(DOMAIN, 3).unwrap(), None);
            one.keep(DOMAIN, 3, b"others").unwrap();

            // Known to a data directory alone, from an earlier release.
            one.own.keep(DOMAIN, 4, b"four").unwrap();
            assert_eq!(two.ballot(DOMAIN, 4).unwrap(), None);
            Exchange::publish(&one, DOMAIN, 2..=5).unwrap();
            assert_eq!(two.ballot(DOMAIN, 4).unwrap().unwrap(), b"four");
        });
        done.await.unwrap();
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn keys_are_handed_over_once_and_not_kept() {
        let store = Arc::new(MemoryStore::shared());
        let exchange = Exchange::of(Arc::clone(&store) as Arc<dyn Store>).unwrap();
        let data = tempfile::tempdir().unwrap();
        let ledger = Arc::new(ledger(&store, data.path()));
        let token = async || {
            let ledger = Arc::clone(&ledger);
            let read = tokio::task::spawn_blocking(move || ledger.handed_over(MEMBER).unwrap());
            read.await.unwrap()
        };
        let waiting = async |version| exchange.waiting(REGION, &[MEMBER], version).await.unwrap();
        assert_eq!((waiting(3).await.to_be_given, token().await), (vec![MEMBER], None));
        exchange.give(REGION, MEMBER, (3, b"token".to_vec())).await.unwrap();
        assert_eq!(token().await.unwrap(), b"token");
        assert_eq!(waiting(3).await.to_be_taken, [MEMBER]);
        exchange.taken(REGION, MEMBER, 3).await.unwrap();
        assert_eq!((waiting(3).await, token().await), (Waiting::default(), None));

        // Whoever was slower changes nothing.
        exchange.give(REGION, MEMBER, (3, b"late".to_vec())).await.unwrap();
        exchange.give(REGION, MEMBER, (2, b"older".to_vec())).await.unwrap();
        assert_eq!(token().await, None);
        assert_eq!(waiting(4).await.to_be_given, [MEMBER]);
        exchange.give(REGION, MEMBER, (4, b"new".to_vec())).await.unwrap();
        assert_eq!(token().await.unwrap(), b"new");
        exchange.tidy(REGION, &[MEMBER]).await.unwrap();
        assert_eq!(token().await.unwrap(), b"new");
        exchange.tidy(REGION, &[DeviceId([3; 16])]).await.unwrap();
        assert_eq!((token().await, waiting(4).await.to_be_given), (None, vec![MEMBER]));
        assert!(Exchange::of(Arc::new(MemoryStore::new())).is_none());
    }
}
