//! Rewrapping key tokens under a rotated domain key, while other requests change the same keys and
//! while the store fails at every step; and the removal of the former domain key.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hsm_protocol::domain::Change;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use super::Rig;
use super::device::{ballot, own_region};
use super::import::{external, wrapped};
use super::rig::{REGION, b64};
use crate::job::deletion::{DeletionObserver, destroy_due};
use crate::job::rewrap::{RewrapObserver, run};
use host_driver::audit::DeviceReceipt;
use kms_base::clock::Clock as _;
use kms_installation::report::RewrapReport;
use kms_keys::tokens::{self, Tally, holder, place};
use kms_keys::{Barrier, KeyRecord};
use kms_store::{
    Commit, Entry, Lease, MemoryStore, Page, Range, Revision, Snapshot, Store, StoreError,
    StoreFuture, Transaction, Watch,
};

const QUICK: NonZeroU32 = NonZeroU32::new(10_000).unwrap();

type Deed = Box<dyn FnOnce() -> Pin<Box<dyn Future<Output = ()> + Send>> + Send>;

/// A store that runs something else right before an entry is committed, or fails at commits.
#[derive(Default)]
struct Meddling {
    inner: MemoryStore,
    /// What runs before the next commit that writes the entry, by the entry's key.
    deeds: Mutex<BTreeMap<Vec<u8>, Deed>>,
    /// Whether every commit fails twice: once before it is made, and once after.
    fails: Mutex<Option<BTreeMap<Vec<u8>, u8>>>,
    failures: AtomicUsize,
}

impl Store for Meddling {
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
        let deed = {
            let mut deeds = self.deeds.lock().unwrap();
            transaction.keys().find_map(|key| deeds.remove(key))
        };
        let time = self.fails.lock().unwrap().as_mut().and_then(|fails| {
            let time = fails.entry(transaction.keys().next()?.to_vec()).or_default();
            *time += 1;
            Some(*time)
        });
        Box::pin(async move {
            if let Some(deed) = deed {
                deed().await;
            }
            let failed = || {
                self.failures.fetch_add(1, Ordering::SeqCst);
                Err(StoreError::Engine("the power is cut".to_owned()))
            };
            match time {
                Some(1) => failed(),
                Some(2) => {
                    let _ = self.inner.commit(transaction).await?;
                    failed()
                }
                _ => self.inner.commit(transaction).await,
            }
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

/// Counts the receipts that are recorded.
#[derive(Default)]
struct Witness {
    receipts: AtomicUsize,
    finished: AtomicUsize,
}

impl RewrapObserver for Witness {
    async fn rewrapped(&self, receipts: &[DeviceReceipt]) -> Result<(), String> {
        self.receipts.fetch_add(receipts.len(), Ordering::SeqCst);
        Ok(())
    }

    async fn finished(&self, _: &RewrapReport) -> Result<(), String> {
        self.finished.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }
}

impl DeletionObserver for Witness {
    async fn destroying(&self, _: &KeyRecord) -> Result<(), String> {
        Ok(())
    }
}

struct Bench {
    rig: Rig,
    meddling: Arc<Meddling>,
    store: Arc<Barrier>,
    witness: Arc<Witness>,
}

impl Bench {
    async fn new(seed: u64) -> Self {
        let meddling = Arc::new(Meddling::default());
        let store = Barrier::new(Arc::clone(&meddling) as Arc<dyn Store>);
        let regions = {
            let store = Arc::clone(&store);
            tokio::task::spawn_blocking(move || own_region(seed, store)).await.unwrap()
        };
        let rig = Rig::over(Arc::clone(&store) as Arc<dyn Store>, regions).await;
        Self { rig, meddling, store, witness: Arc::default() }
    }

    async fn change(&self, changes: impl AsRef<[Change<'static>]>) -> Result<u32, String> {
        let regions = self.rig.service.regions();
        let state = regions.domain(REGION).await.unwrap().state;
        let ballot = ballot(&state, changes.as_ref());
        let changed = regions.change_domain(REGION, ballot).await;
        changed.map(|state| state.active_key()).map_err(|error| error.to_string())
    }

    async fn rotate_domain(&self) -> u32 {
        let maker = self.rig.service.regions().domain(REGION).await.unwrap().present[0];
        self.change([Change::RotateKey { maker }]).await.unwrap()
    }

    fn start(&self) -> JoinHandle<()> {
        let store = Arc::clone(&self.store) as Arc<dyn Store>;
        let regions = Arc::clone(self.rig.service.regions());
        let lease = Arc::new(Lease::new(Arc::clone(&store), *b"lease", [0; 16]));
        tokio::spawn(run(store, lease, regions, QUICK, Arc::clone(&self.witness)))
    }

    async fn tally(&self) -> BTreeMap<u32, u64> {
        let domain = self.rig.service.regions().domain(REGION).await.unwrap().state.domain;
        let tally: Tally = tokens::tally(&*self.store, REGION).await.unwrap();
        tally.of(domain)
    }

    async fn await_report(
        &self,
        what: &str,
        is_it: impl Fn(&RewrapReport) -> bool,
    ) -> RewrapReport {
        for _ in 0..6000 {
            let reports = self.rig.service.regions().rewraps();
            if let Some(report) = reports.into_iter().find(|report| is_it(report)) {
                return report;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{what}: {:?}", self.rig.service.regions().rewraps());
    }

    async fn await_done(&self, key: u32) -> RewrapReport {
        let done = |report: &RewrapReport| {
            report.active_key == key
                && report.remaining == 0
                && report.tokens.keys().all(|of| *of == key)
        };
        self.await_report("nothing is left", done).await
    }

    async fn encrypt(&self, id: &str, text: &str) -> Value {
        let sealed = self.rig.ok("Encrypt", json!({ "KeyId": id, "Plaintext": b64(text) })).await;
        sealed["CiphertextBlob"].clone()
    }

    async fn assert_opens(&self, blob: &Value, text: &str) {
        let opened = self.rig.ok("Decrypt", json!({ "CiphertextBlob": blob })).await;
        assert_eq!(opened["Plaintext"], json!(b64(text)));
    }

    fn entry(id: &str) -> Vec<u8> {
        format!("keys/000000000000/{REGION}/{id}").into_bytes()
    }

    /// Runs `deed` right before the new token of a key would be stored.
    fn meddle<F>(&self, id: &str, deed: impl FnOnce(Rig) -> F + Send + 'static)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let rig = self.rig.in_region(REGION);
        let deed: Deed = Box::new(move || Box::pin(deed(rig)));
        self.meddling.deeds.lock().unwrap().insert(Self::entry(id), deed);
    }
}

/// A change of a key by a request or by the calendar wins over the key's new token, and no change
/// is lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_changes_a_key_meanwhile_is_first() {
    let bench = Bench::new(101).await;
    let rig = &bench.rig;
    let mut ids = Vec::new();
    for _ in 0..6 {
        ids.push(rig.create("SYMMETRIC_DEFAULT").await);
    }
    let [rotated, described, gone, doomed, twice, plain] = &ids[..] else { panic!("six keys") };
    rig.ok("RotateKeyOnDemand", json!({ "KeyId": twice })).await;
    let imported = external(rig, "SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT").await;
    let input = wrapped(rig, &imported, &[7; 32]).await;
    rig.ok("ImportKeyMaterial", input).await;
    let mut second = wrapped(rig, &imported, &[8; 32]).await;
    second["ImportType"] = json!("NEW_KEY_MATERIAL");
    let mut blobs = BTreeMap::new();
    for id in ids.iter().chain([&imported]) {
        blobs.insert(id.clone(), bench.encrypt(id, id).await);
    }
    rig.ok("ScheduleKeyDeletion", json!({ "KeyId": gone, "PendingWindowInDays": 7 })).await;
    // Each key has one material, except one key with two.
    assert_eq!(bench.tally().await, [(1, 8)].into());
    assert_eq!(bench.rotate_domain().await, 2);

    // A rotation, a new description, the deletion of a key, an import, and deleted material.
    let id = rotated.clone();
    bench.meddle(rotated, move |rig| async move {
        rig.ok("RotateKeyOnDemand", json!({ "KeyId": id })).await;
    });
    let id = described.clone();
    bench.meddle(described, move |rig| async move {
        rig.ok("UpdateKeyDescription", json!({ "KeyId": id, "Description": "changed" })).await;
    });
    let witness = Arc::clone(&bench.witness);
    bench.meddle(gone, move |rig| async move {
        let (catalog, later) = (rig.service.catalog(), rig.clock.now().plus_days(8));
        assert_eq!(destroy_due(catalog, later, &*witness).await.unwrap(), 1);
    });
    let id = doomed.clone();
    bench.meddle(doomed, move |rig| async move {
        // This key is destroyed after the other one, whichever request comes first here.
        let schedule = json!({ "KeyId": id, "PendingWindowInDays": 30 });
        rig.ok("ScheduleKeyDeletion", schedule).await;
    });
    bench.meddle(&imported, move |rig| async move {
        rig.ok("ImportKeyMaterial", second).await;
    });
    let job = bench.start();
    let report = bench.await_done(2).await;
    job.abort();
    assert!(bench.meddling.deeds.lock().unwrap().is_empty(), "everything has happened");
    // The rotated key has one more token, the deleted key none, and the key with the import another
    // one.
    assert_eq!((report.tokens, report.lost), ([(2, 9)].into(), 0));
    assert_eq!(bench.witness.finished.load(Ordering::SeqCst), 1);
    // Each attempt that lost to another change is an audit entry of the device as well.
    assert!(bench.witness.receipts.load(Ordering::SeqCst) as u64 > report.rewrapped);

    assert_eq!(rig.record(rotated).await.unwrap().materials.len(), 2);
    assert_eq!(rig.record(twice).await.unwrap().materials.len(), 2);
    assert_eq!(rig.record(described).await.unwrap().description, "changed");
    assert_eq!(rig.record(gone).await, None);
    let waiting = rig.record(&imported).await.unwrap();
    assert!(waiting.pending.is_some_and(|pending| pending.is_present()));
    rig.ok("CancelKeyDeletion", json!({ "KeyId": doomed })).await;
    rig.ok("EnableKey", json!({ "KeyId": doomed })).await;
    for id in [rotated, described, doomed, twice, plain, &imported] {
        bench.assert_opens(&blobs[id], id).await;
    }

    // The former domain key can be removed, and every ciphertext opens without it.
    assert_eq!(bench.change([Change::RemoveKey(1)]).await.unwrap(), 2);
    for id in [rotated, described, doomed, twice, plain, &imported] {
        bench.assert_opens(&blobs[id], id).await;
        bench.assert_opens(&bench.encrypt(id, "new").await, "new").await;
    }
    rig.ok("RotateKeyOnDemand", json!({ "KeyId": imported })).await;
    bench.assert_opens(&bench.encrypt(&imported, "second").await, "second").await;
    bench.assert_opens(&blobs[&imported], &imported).await;
}

/// Material that its owner deletes during the rewrapping does not come back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_deleted_stays_deleted() {
    let bench = Bench::new(102).await;
    let rig = &bench.rig;
    let imported = external(rig, "SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT").await;
    let input = wrapped(rig, &imported, &[7; 32]).await;
    rig.ok("ImportKeyMaterial", input.clone()).await;
    bench.rotate_domain().await;
    let id = imported.clone();
    bench.meddle(&imported, move |rig| async move {
        rig.ok("DeleteImportedKeyMaterial", json!({ "KeyId": id })).await;
    });
    let job = bench.start();
    let report = bench.await_done(2).await;
    job.abort();
    assert_eq!(report.tokens, BTreeMap::new());
    let record = rig.record(&imported).await.unwrap();
    assert!(record.materials.iter().all(|material| !material.is_present()));
    // An import token from before the rotation is valid until its domain key is removed.
    rig.ok("ImportKeyMaterial", input.clone()).await;
    rig.ok("DeleteImportedKeyMaterial", json!({ "KeyId": imported })).await;
    bench.change([Change::RemoveKey(1)]).await.unwrap();
    let refused = rig.refused("ImportKeyMaterial", input).await;
    assert_eq!(refused, "InvalidImportTokenException");
    let input = wrapped(rig, &imported, &[7; 32]).await;
    rig.ok("ImportKeyMaterial", input).await;
}

/// The daemon ends at every commit, before it and after it; each new daemon continues the work.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_goes_on_after_an_end_anywhere() {
    const KEYS: usize = 5;
    let bench = Bench::new(103).await;
    let mut blobs = Vec::new();
    for _ in 0..KEYS {
        let id = bench.rig.create("SYMMETRIC_DEFAULT").await;
        blobs.push((bench.encrypt(&id, &id).await, id));
    }
    bench.rotate_domain().await;
    *bench.meddling.fails.lock().unwrap() = Some(BTreeMap::new());
    let mut ends = 0;
    loop {
        let failures = bench.meddling.failures.load(Ordering::SeqCst);
        let job = bench.start();
        let failed = || bench.meddling.failures.load(Ordering::SeqCst) > failures;
        let is_done = |tally: &BTreeMap<u32, u64>| !tally.contains_key(&1);
        while !failed() && !is_done(&bench.tally().await) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        job.abort();
        let _ = job.await;
        if !failed() && is_done(&bench.tally().await) {
            break;
        }
        ends += 1;
        for (blob, text) in &blobs {
            bench.assert_opens(blob, text).await;
        }
    }
    // For each key, one commit fails before it is made, and one is made but not confirmed.
    assert!(ends >= 2 * KEYS - 1, "{ends} ends");
    assert_eq!(bench.tally().await, [(2, KEYS as u64)].into());
    *bench.meddling.fails.lock().unwrap() = None;
    bench.change([Change::RemoveKey(1)]).await.unwrap();
    for (blob, text) in &blobs {
        bench.assert_opens(blob, text).await;
    }
}

/// A domain key stays while a token is under it, including a token that arrives at the last moment.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_domain_key_stays_while_a_token_is_under_it() {
    let bench = Bench::new(104).await;
    let id = bench.rig.create("SYMMETRIC_DEFAULT").await;
    let blob = bench.encrypt(&id, "kept").await;
    let former = bench.store.get(&Bench::entry(&id)).await.unwrap().value.unwrap();
    bench.rotate_domain().await;
    let refused = bench.change([Change::RemoveKey(1)]).await.unwrap_err();
    assert!(refused.contains("1 token of us-east-1 still under domain key 1"), "{refused}");
    assert!(refused.contains("kmsctl domain show"), "{refused}");
    bench.assert_opens(&blob, "kept").await;

    // While the removal is refused, tokens under the key are accepted as before.
    let put = |entry: &Entry| Transaction::new().put(entry.key.clone(), entry.value.to_vec());
    assert!(matches!(bench.store.commit(put(&former)).await, Ok(Commit::Applied { .. })));
    let job = bench.start();
    bench.await_done(2).await;
    bench.change([Change::RemoveKey(1)]).await.unwrap();
    bench.assert_opens(&blob, "kept").await;
    // A token that arrives too late is not stored, so it is not silently lost.
    let late = bench.store.commit(put(&former)).await;
    assert!(matches!(late, Err(StoreError::Barred)), "{late:?}");
    job.abort();

    // After the store is put back, its domain key opens nothing, and the report says so.
    let past = Bench { store: Barrier::new(Arc::clone(&bench.meddling) as _), ..bench };
    let _ = past.store.commit(put(&former)).await.unwrap();
    let job = past.start();
    let report = past.await_report("it is told", |report| report.lost == 1).await;
    job.abort();
    let problem = report.problem().unwrap();
    assert!(problem.contains("1 key tokens of us-east-1"), "{problem}");
    let found = holder(&former.key, &former.value).unwrap().unwrap();
    assert_eq!(place(&found.tokens[0]).unwrap().1, 1);
}
