//! A store that refuses key tokens under domain keys that are being removed.
//!
//! A domain key is removed once no token is under it. A request that had such a token made just before must
//! not store it just after: its key would never open again. So the domain keys are *barred* first. Tokens that
//! were on their way are in the store by then, and are counted; later ones are refused.
//!
//! A record that has such a token already may still be changed, such as to disable the key: the token is one of
//! those that are counted.
//!
//! Where several processes have the store open, what is barred is a record of the store ([`Agreed`]).

use std::collections::BTreeSet;
use std::sync::Arc;

use hsm_protocol::DomainId;
use tokio::sync::RwLock;

use self::agreed::Agreed;
use super::tokens;
use kms_store::{
    Commit, Entry, Page, Range, Revision, Snapshot, Store, StoreError, StoreFuture, Transaction,
    Watch, Write,
};

mod agreed;

/// A key of a domain.
type DomainKey = (DomainId, u32);

/// A store in front of another one.
pub struct Barrier {
    inner: Arc<dyn Store>,
    barred: Barred,
}

/// Where it is known what is barred.
enum Barred {
    /// In this process, which has the store for itself.
    Own(Arc<RwLock<BTreeSet<DomainKey>>>),
    /// In the store.
    Agreed(Agreed),
}

impl Barrier {
    /// Nothing is barred at first, or what other processes have barred.
    #[must_use]
    pub fn new(inner: Arc<dyn Store>) -> Arc<Self> {
        let barred = match inner.is_shared() {
            true => Barred::Agreed(Agreed::new()),
            false => Barred::Own(Arc::default()),
        };
        Arc::new(Self { inner, barred })
    }

    /// Takes no further tokens under these keys of a domain from now on. When it returns, every commit
    /// that began before, in whichever process, is at its end or will not be made.
    ///
    /// # Errors
    /// [`StoreError`] if that cannot be agreed with other processes; it may have been.
    pub async fn bar(&self, domain: DomainId, keys: &[u32]) -> Result<(), StoreError> {
        match &self.barred {
            Barred::Own(barred) => {
                barred.write().await.extend(keys.iter().map(|key| (domain, *key)));
                Ok(())
            }
            Barred::Agreed(agreed) => agreed.bar(&*self.inner, domain, keys).await,
        }
    }

    /// Takes them again: the keys stay. What another process has barred stays barred.
    ///
    /// # Errors
    /// [`StoreError`] if that cannot be agreed with other processes; they may still be barred.
    pub async fn unbar(&self, domain: DomainId, keys: &[u32]) -> Result<(), StoreError> {
        match &self.barred {
            Barred::Own(barred) => {
                let mut barred = barred.write().await;
                barred.retain(|(of, key)| *of != domain || !keys.contains(key));
                Ok(())
            }
            Barred::Agreed(agreed) => agreed.unbar(&*self.inner, domain, keys).await,
        }
    }
}

impl Store for Barrier {
    fn get<'a>(
        &'a self,
        key: &'a [u8],
    ) -> StoreFuture<'a, Result<Snapshot<Option<Entry>>, StoreError>> {
        self.inner.get(key)
    }

    fn range(&self, range: Range) -> StoreFuture<'_, Result<Snapshot<Page>, StoreError>> {
        self.inner.range(range)
    }

    fn commit(&self, transaction: Transaction) -> StoreFuture<'_, Result<Commit, StoreError>> {
        let barred = match &self.barred {
            Barred::Own(barred) => Arc::clone(barred),
            Barred::Agreed(agreed) => return Box::pin(agreed.commit(&*self.inner, transaction)),
        };
        let inner = Arc::clone(&self.inner);
        Box::pin(async move {
            let barred = barred.read_owned().await;
            if !barred.is_empty() {
                refuse(&*inner, &transaction, |place| barred.contains(&place)).await?;
            }
            // To its end, whether or not somebody still waits for it: it may be applied either way.
            let committing = tokio::spawn(async move {
                let done = inner.commit(transaction).await;
                drop(barred);
                done
            });
            committing.await.map_err(|error| StoreError::Engine(error.to_string()))?
        })
    }

    fn watch(&self, after: Revision) -> Box<dyn Watch> {
        self.inner.watch(after)
    }

    fn is_shared(&self) -> bool {
        self.inner.is_shared()
    }

    fn lag(&self) -> std::time::Duration {
        self.inner.lag()
    }
}

/// Refuses a transaction that adds a token under a barred key to the store.
async fn refuse(
    store: &dyn Store,
    transaction: &Transaction,
    is_barred: impl Fn(DomainKey) -> bool,
) -> Result<(), StoreError> {
    for write in transaction.writes() {
        let Write::Put(key, value) = write else { continue };
        let mut under = tokens_of(key, value);
        under.retain(|token| tokens::place(token).is_some_and(&is_barred));
        if under.is_empty() {
            continue;
        }
        // A guard holds the entry to what is seen here; without one it may be another one by then.
        let Some(guarded) = transaction.guarded(key) else { return Err(StoreError::Barred) };
        let there = store.get(key).await?.value.filter(|entry| entry.revision == guarded);
        let there = there.map(|entry| tokens_of(key, &entry.value)).unwrap_or_default();
        if !under.iter().all(|token| there.contains(token)) {
            return Err(StoreError::Barred);
        }
    }
    Ok(())
}

/// The tokens in an entry. What cannot be read has none.
fn tokens_of(key: &[u8], value: &[u8]) -> Vec<Vec<u8>> {
    let holder = tokens::holder(key, value).ok().flatten();
    holder.map(|holder| holder.tokens).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use hsm_protocol::key_spec::{KeySpec, KeyUsage, Origin};
    use hsm_protocol::token::{History, KeyAttributes, KeyToken};
    use hsm_protocol::{KeyId, MaterialId};
    use tokio::sync::Notify;

    use super::*;
    use kms_store::MemoryStore;

    pub(super) const DOMAIN: DomainId = DomainId([1; 16]);

    /// A store whose commits wait until they may go on.
    #[derive(Default)]
    struct Slow {
        inner: MemoryStore,
        begun: Notify,
        go_on: Notify,
        done: AtomicBool,
    }

    impl Store for Slow {
        fn get<'a>(
            &'a self,
            key: &'a [u8],
        ) -> StoreFuture<'a, Result<Snapshot<Option<Entry>>, StoreError>> {
            self.inner.get(key)
        }

        fn range(&self, range: Range) -> StoreFuture<'_, Result<Snapshot<Page>, StoreError>> {
            self.inner.range(range)
        }

        fn commit(&self, transaction: Transaction) -> StoreFuture<'_, Result<Commit, StoreError>> {
            Box::pin(async move {
                self.begun.notify_one();
                self.go_on.notified().await;
                let committed = self.inner.commit(transaction).await;
                self.done.store(true, Ordering::SeqCst);
                committed
            })
        }

        fn watch(&self, after: Revision) -> Box<dyn Watch> {
            self.inner.watch(after)
        }

        fn is_shared(&self) -> bool {
            self.inner.is_shared()
        }

        fn lag(&self) -> std::time::Duration {
            self.inner.lag()
        }
    }

    /// A system key whose token is under this key of a domain.
    pub(super) fn system_key(domain: DomainId, domain_key: u32) -> Transaction {
        let attributes = KeyAttributes {
            domain,
            domain_key,
            key: KeyId::single_region([2; 16]),
            material: MaterialId([3; 32]),
            spec: KeySpec::SYMMETRIC_DEFAULT,
            usage: KeyUsage::ENCRYPT_DECRYPT,
            origin: Origin::AWS_KMS,
            history: History::CLEAN,
            approval: None,
        };
        let mut token = vec![0; KeyToken::HEADER_SIZE + 48];
        attributes.write(&[4; 16], &mut token).unwrap();
        let token = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, token);
        let value = format!(
            r#"{{"version":1,"region":"us-east-1","id":"x","material":"","token":"{token}"}}"#
        );
        Transaction::new().put("system-keys/us-east-1", value.into_bytes())
    }

    #[tokio::test]
    async fn nothing_is_stored_under_a_barred_key() {
        let store = Barrier::new(Arc::new(MemoryStore::new()));
        let refused = async |of| matches!(store.commit(of).await, Err(StoreError::Barred));
        assert!(!refused(system_key(DOMAIN, 1)).await);
        store.bar(DOMAIN, &[1, 3]).await.unwrap();
        assert!(refused(system_key(DOMAIN, 1)).await);
        assert!(refused(system_key(DOMAIN, 3)).await);
        assert!(!refused(system_key(DOMAIN, 2)).await);
        assert!(!refused(system_key(DomainId([9; 16]), 1)).await, "of another domain");
        assert!(!refused(Transaction::new().put("aliases/x", *b"1")).await);
        assert!(!refused(Transaction::new().delete("system-keys/us-east-1")).await);
        store.unbar(DOMAIN, &[1]).await.unwrap();
        assert!(!refused(system_key(DOMAIN, 1)).await);
        assert!(refused(system_key(DOMAIN, 3)).await);
    }

    /// A caller that bars a key counts after that: what was on its way is in the store by then, whether or not
    /// the request still waits for it.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_commit_that_is_under_way_comes_to_its_end_first() {
        let slow = Arc::new(Slow::default());
        let store = Barrier::new(Arc::clone(&slow) as Arc<dyn Store>);
        let committing = {
            let store = Arc::clone(&store);
            tokio::spawn(async move { store.commit(system_key(DOMAIN, 1)).await })
        };
        slow.begun.notified().await;
        committing.abort(); // the client has gone
        assert!(committing.await.unwrap_err().is_cancelled());
        let barring = {
            let (store, slow) = (Arc::clone(&store), Arc::clone(&slow));
            tokio::spawn(async move {
                store.bar(DOMAIN, &[1]).await.unwrap();
                slow.done.load(Ordering::SeqCst)
            })
        };
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        assert!(!barring.is_finished(), "it has not waited");
        slow.go_on.notify_one();
        assert!(barring.await.unwrap(), "the commit was not at its end");
        assert!(store.get(b"system-keys/us-east-1").await.unwrap().value.is_some());
    }

    /// A token that is there already is counted, so its record may be changed meanwhile.
    #[tokio::test]
    async fn a_record_that_has_such_a_token_can_be_changed() {
        for inner in [MemoryStore::new(), MemoryStore::shared()] {
            let store = Barrier::new(Arc::new(inner));
            let applied = async |of| matches!(store.commit(of).await, Ok(Commit::Applied { .. }));
            let name = "system-keys/us-east-1";
            assert!(applied(system_key(DOMAIN, 1)).await);
            store.bar(DOMAIN, &[1, 2]).await.unwrap();
            let revision = store.get(name.as_bytes()).await.unwrap().value.unwrap().revision;
            assert!(!applied(system_key(DOMAIN, 1)).await, "no guard holds the entry");
            assert!(!applied(system_key(DOMAIN, 2).unchanged(name, revision)).await, "a new token");
            assert!(applied(system_key(DOMAIN, 1).unchanged(name, revision)).await);
            // It may be gone by now.
            assert!(!applied(system_key(DOMAIN, 1).unchanged(name, revision)).await);
        }
    }
}
