//! The conformance suite of store engines. Each engine runs the whole suite.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use proptest::prelude::*;
use tokio::time::timeout;

use super::etcd::EtcdOptions;
use super::etcd::testing::EtcdCluster;
use super::*;

/// A store with whatever keeps its data alive.
struct Fixture {
    store: Option<Arc<dyn Store>>,
    engine: Engine,
}

enum Engine {
    Memory,
    Redb(tempfile::TempDir),
    /// The options with a prefix of its own, and what else uses the cluster.
    Etcd(EtcdOptions, Option<EtcdStore>),
}

/// Prefixes that were given out.
static PREFIXES: AtomicU64 = AtomicU64::new(0);

/// One member, without TLS. It is for all tests, and so for users who change each other's revisions.
fn plain() -> &'static EtcdCluster {
    static CLUSTER: LazyLock<EtcdCluster> = LazyLock::new(|| EtcdCluster::start(1));
    &CLUSTER
}

/// Three members, with TLS, certificates of clients, and users with passwords.
fn secured() -> &'static EtcdCluster {
    static CLUSTER: LazyLock<EtcdCluster> = LazyLock::new(|| EtcdCluster::with_users(3));
    &CLUSTER
}

impl Fixture {
    async fn memory() -> Self {
        Self { store: Some(Arc::new(MemoryStore::new())), engine: Engine::Memory }
    }

    async fn redb() -> Self {
        Self::of(Engine::Redb(tempfile::tempdir().unwrap())).await
    }

    async fn etcd(cluster: fn() -> &'static EtcdCluster) -> Self {
        let number = PREFIXES.fetch_add(1, Ordering::Relaxed);
        let options = move || cluster().options(&format!("/strongroom/{number}"));
        // A cluster that is being started blocks.
        let options = tokio::task::spawn_blocking(options).await.unwrap();
        Self::of(Engine::Etcd(options, None)).await
    }

    async fn etcd_plain() -> Self {
        Self::etcd(plain).await
    }

    async fn etcd_secured() -> Self {
        Self::etcd(secured).await
    }

    /// One whose cluster has another user, who changes something before each change.
    async fn etcd_busy() -> Self {
        let mut fixture = Self::etcd_plain().await;
        if let Engine::Etcd(options, other) = &mut fixture.engine {
            let prefix = format!("{}-other", options.prefix);
            *other =
                Some(EtcdStore::open(EtcdOptions { prefix, ..options.clone() }).await.unwrap());
        }
        fixture
    }

    async fn of(engine: Engine) -> Self {
        let mut fixture = Self { store: None, engine };
        fixture.reopen().await;
        fixture
    }

    /// Closes and opens the store, if its engine outlives a process.
    async fn reopen(&mut self) {
        match &self.engine {
            Engine::Memory => {}
            Engine::Redb(directory) => {
                self.store = None;
                let path = directory.path().join("store.redb");
                self.store = Some(Arc::new(RedbStore::open(&path).unwrap()));
            }
            Engine::Etcd(options, _) => {
                self.store = Some(Arc::new(EtcdStore::open(options.clone()).await.unwrap()));
            }
        }
    }

    fn store(&self) -> &Arc<dyn Store> {
        self.store.as_ref().unwrap()
    }

    /// Whether nothing but the changes of the store raises its revision, each by one.
    fn is_alone(&self) -> bool {
        !matches!(self.engine, Engine::Etcd(..))
    }

    /// Whether a store that was at `before` can be at `now` after so many changes.
    fn is_after(&self, before: Revision, changes: u64, now: Revision) -> bool {
        match self.is_alone() {
            true => now.0 == before.0 + changes,
            false => now.0 >= before.0 + changes,
        }
    }

    /// Has the other user of the cluster change something.
    async fn disturb(&self) {
        if let Engine::Etcd(_, Some(other)) = &self.engine {
            let _ = other.commit(put("disturbance", "")).await.unwrap();
        }
    }
}

macro_rules! conformance {
    ($($check:ident),+ $(,)?) => {
        mod memory {
            $(#[tokio::test]
            async fn $check() { super::$check(super::Fixture::memory().await).await; })+
        }
        mod redb {
            $(#[tokio::test]
            async fn $check() { super::$check(super::Fixture::redb().await).await; })+
        }
        mod etcd {
            $(#[tokio::test]
            async fn $check() { super::$check(super::Fixture::etcd_plain().await).await; })+
        }
        mod etcd_with_tls_and_users {
            $(#[tokio::test]
            async fn $check() { super::$check(super::Fixture::etcd_secured().await).await; })+
        }
    };
}

conformance! {
    a_new_store_is_empty,
    a_value_is_read_back,
    guards_decide_over_the_whole_transaction,
    only_changes_raise_the_revision,
    limits_are_refused,
    ranges_page_in_byte_order,
    a_range_starts_after_a_key_that_is_gone,
    watches_report_every_change_in_order,
    a_dropped_commit_still_happens,
    concurrent_commits_lose_no_update,
    everything_survives_reopening,
}

fn put(key: &str, value: &str) -> Transaction {
    Transaction::new().put(key, value.as_bytes())
}

async fn applied(store: &Arc<dyn Store>, transaction: Transaction) -> Revision {
    match store.commit(transaction).await.unwrap() {
        Commit::Applied { revision } => revision,
        Commit::Conflict => panic!("unexpected conflict"),
    }
}

async fn value(store: &Arc<dyn Store>, key: &str) -> Option<String> {
    let entry = store.get(key.as_bytes()).await.unwrap().value?;
    assert_eq!(entry.key, key.as_bytes());
    Some(String::from_utf8(entry.value.to_vec()).unwrap())
}

fn range(prefix: &str, after: Option<&str>, limit: usize) -> Range {
    Range { prefix: prefix.into(), after: after.map(Into::into), limit }
}

async fn keys(store: &Arc<dyn Store>, range: Range) -> (Vec<String>, bool) {
    let page = store.range(range).await.unwrap().value;
    let keys = page.entries.into_iter().map(|entry| String::from_utf8(entry.key).unwrap());
    (keys.collect(), page.more)
}

async fn a_new_store_is_empty(fixture: Fixture) {
    let store = fixture.store();
    let snapshot = store.get(b"key").await.unwrap();
    assert_eq!(snapshot.value, None);
    assert!(fixture.is_after(Revision(0), 0, snapshot.revision));
    assert_eq!(keys(store, range("", None, 10)).await, (vec![], false));
}

async fn a_value_is_read_back(fixture: Fixture) {
    let store = fixture.store();
    let first = applied(store, put("key", "one")).await;
    let second = applied(store, put("key", "two")).await;
    assert!(second > first);
    let snapshot = store.get(b"key").await.unwrap();
    assert!(fixture.is_after(second, 0, snapshot.revision));
    let entry = snapshot.value.unwrap();
    assert_eq!((&*entry.value, entry.revision), (&b"two"[..], second));
    applied(store, Transaction::new().delete("key")).await;
    assert_eq!(value(store, "key").await, None);
}

async fn guards_decide_over_the_whole_transaction(fixture: Fixture) {
    let store = fixture.store();
    let created = applied(store, put("a", "1").absent("a")).await;
    let conflicts = [
        put("b", "2").absent("a"),
        put("b", "2").absent("b").absent("a"),
        put("b", "2").unchanged("a", created.next()),
        put("b", "2").unchanged("b", created),
        put("a", "2").put("b", "2".as_bytes()).unchanged("a", Revision(0)),
    ];
    for transaction in conflicts {
        assert_eq!(store.commit(transaction).await.unwrap(), Commit::Conflict);
        assert_eq!(value(store, "b").await, None);
        assert_eq!(value(store, "a").await.as_deref(), Some("1"));
    }
    let changed = applied(store, put("b", "2").unchanged("a", created).absent("b")).await;
    applied(store, Transaction::new().delete("a").unchanged("b", changed)).await;
    assert_eq!(value(store, "a").await, None);
}

async fn only_changes_raise_the_revision(fixture: Fixture) {
    let store = fixture.store();
    let first = applied(store, put("a", "1")).await;
    let is_after = |changes, now| fixture.is_after(first, changes, now);
    assert!(is_after(0, applied(store, Transaction::new()).await));
    assert!(is_after(0, applied(store, Transaction::new().delete("absent")).await));
    assert_eq!(store.commit(put("a", "2").absent("a")).await.unwrap(), Commit::Conflict);
    let read = store.get(b"a").await.unwrap();
    assert!(is_after(0, read.revision));
    assert_eq!(read.value.unwrap().revision, first);
    assert!(is_after(1, applied(store, put("a", "1")).await));
}

async fn limits_are_refused(fixture: Fixture) {
    let store = fixture.store();
    let crowd = (0..=MAX_OPERATIONS).fold(Transaction::new(), |t, n| t.delete(format!("{n}")));
    let refused = [
        put("a", "1").delete("a"),
        put("", "1"),
        put(&"k".repeat(MAX_KEY + 1), "1"),
        Transaction::new().put("a", vec![0; MAX_VALUE + 1]),
        crowd,
    ];
    for transaction in refused {
        let outcome = store.commit(transaction).await;
        assert!(matches!(outcome, Err(StoreError::Invalid(_))), "{outcome:?}");
    }
    applied(store, Transaction::new().put("k".repeat(MAX_KEY), vec![0; MAX_VALUE])).await;
}

async fn ranges_page_in_byte_order(fixture: Fixture) {
    let store = fixture.store();
    for key in ["a", "b/2", "b/10", "b/1", "b", "b0", "c"] {
        applied(store, put(key, key)).await;
    }
    assert_eq!(
        keys(store, range("b/", None, 10)).await,
        (["b/1", "b/10", "b/2"].map(String::from).to_vec(), false)
    );
    assert_eq!(
        keys(store, range("b/", None, 2)).await,
        (["b/1", "b/10"].map(String::from).to_vec(), true)
    );
    assert_eq!(
        keys(store, range("b/", Some("b/10"), 1)).await,
        (["b/2"].map(String::from).to_vec(), false)
    );
    assert_eq!(keys(store, range("b/", Some("b/2"), 1)).await, (vec![], false));
    // A start before the prefix does not widen the range.
    assert_eq!(keys(store, range("c", Some("a"), 9)).await, (vec!["c".to_owned()], false));
}

async fn a_range_starts_after_a_key_that_is_gone(fixture: Fixture) {
    let store = fixture.store();
    for key in ["k/1", "k/3"] {
        applied(store, put(key, key)).await;
    }
    assert_eq!(keys(store, range("k/", Some("k/2"), 9)).await, (vec!["k/3".to_owned()], false));
}

async fn watches_report_every_change_in_order(fixture: Fixture) {
    let store = fixture.store();
    let start = applied(store, put("before", "0")).await;
    let mut live = store.watch(start);
    let waiting = timeout(Duration::from_millis(20), live.next()).await;
    assert!(waiting.is_err(), "nothing has changed yet");
    let first = applied(store, put("a", "1").put("b", "2".as_bytes())).await;
    let second = applied(store, Transaction::new().delete("a").delete("absent")).await;
    for watch in [&mut live, &mut store.watch(start)] {
        let change = watch.next().await.unwrap();
        assert_eq!(change.revision, first);
        let entry = |key: &str, value: &str| {
            let value = Arc::from(value.as_bytes());
            Event::Put(Entry { key: key.into(), value, revision: first })
        };
        assert_eq!(change.events, [entry("a", "1"), entry("b", "2")]);
        let change = watch.next().await.unwrap();
        assert_eq!(change.revision, second);
        assert_eq!(change.events, [Event::Delete(b"a".to_vec())]);
    }
}

async fn a_dropped_commit_still_happens(fixture: Fixture) {
    let store = fixture.store();
    let mut watch = store.watch(current_revision(&**store).await.unwrap());
    let mut commit = store.commit(put("a", "1"));
    // Polled once, then dropped: what a client that hangs up does.
    let _ = timeout(Duration::ZERO, &mut commit).await;
    drop(commit);
    timeout(Duration::from_secs(10), watch.next()).await.unwrap().unwrap();
    assert_eq!(value(store, "a").await.as_deref(), Some("1"));
}

async fn concurrent_commits_lose_no_update(fixture: Fixture) {
    const TASKS: u64 = 8;
    const INCREMENTS: u64 = 25;
    let store = fixture.store();
    let first = applied(store, Transaction::new().put("n", 0u64.to_le_bytes())).await;
    let tasks: Vec<_> = (0..TASKS)
        .map(|_| {
            let store = Arc::clone(store);
            tokio::spawn(async move {
                for _ in 0..INCREMENTS {
                    while !increment(&store).await {}
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let entry = store.get(b"n").await.unwrap().value.unwrap();
    assert_eq!(&*entry.value, (TASKS * INCREMENTS).to_le_bytes());
    assert!(fixture.is_after(first, TASKS * INCREMENTS, entry.revision));
}

async fn increment(store: &Arc<dyn Store>) -> bool {
    let entry = store.get(b"n").await.unwrap().value.unwrap();
    let n = u64::from_le_bytes((*entry.value).try_into().unwrap());
    let transaction =
        Transaction::new().put("n", (n + 1).to_le_bytes()).unchanged("n", entry.revision);
    matches!(store.commit(transaction).await.unwrap(), Commit::Applied { .. })
}

async fn everything_survives_reopening(mut fixture: Fixture) {
    let (second, last) = {
        let store = fixture.store();
        applied(store, put("a", "1")).await;
        let second = applied(store, put("b", "2")).await;
        (second, applied(store, Transaction::new().delete("a")).await)
    };
    fixture.reopen().await;
    let store = fixture.store();
    let snapshot = store.get(b"b").await.unwrap();
    assert!(fixture.is_after(last, 0, snapshot.revision));
    assert_eq!(snapshot.value.unwrap().revision, second);
    assert_eq!(value(store, "a").await, None);
    assert!(fixture.is_after(last, 1, applied(store, put("c", "3")).await));
}

/// A step of the model comparison, over a handful of keys so that steps collide.
#[derive(Debug, Clone)]
enum Step {
    Commit { guards: Vec<(u8, Option<usize>)>, writes: BTreeMap<u8, Option<u8>> },
    Range { prefix: Vec<u8>, after: Option<u8>, limit: usize },
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    let key = 0u8..6;
    let guards = prop::collection::vec((key.clone(), prop::option::of(0usize..20)), 0..2);
    let writes = prop::collection::btree_map(key.clone(), prop::option::of(any::<u8>()), 0..4);
    let prefix = prop::collection::vec(0u8..2, 0..2);
    prop_oneof![
        6 => (guards, writes).prop_map(|(guards, writes)| Step::Commit { guards, writes }),
        2 => (prefix, prop::option::of(key), 1usize..4)
            .prop_map(|(prefix, after, limit)| Step::Range { prefix, after, limit }),
        1 => Just(Step::Reopen),
    ]
}

/// Key `n` of the model: two bytes, so that prefixes of one byte select some of them.
fn name(n: u8) -> Vec<u8> {
    vec![n % 2, n]
}

/// Values with the number of the change that set them.
type Model = BTreeMap<Vec<u8>, (usize, u8)>;

async fn compare_with_model(mut fixture: Fixture, steps: Vec<Step>) {
    let mut model = Model::new();
    let mut revision = 0;
    // The revisions that the store gave to changes 1, 2 and so on of the model.
    let mut given = vec![0];
    for step in steps {
        match step {
            Step::Reopen => fixture.reopen().await,
            Step::Range { prefix, after, limit } => {
                let after = after.map(name);
                let matching: Vec<_> = model
                    .iter()
                    .filter(|(key, _)| key.starts_with(&prefix))
                    .filter(|(key, _)| after.as_ref().is_none_or(|after| *key > after))
                    .map(|(key, (changed, value))| (key.clone(), given[*changed], vec![*value]))
                    .collect();
                let read = fixture.store().range(Range { prefix, after, limit }).await.unwrap();
                let page = read.value.entries.into_iter();
                let page: Vec<_> = page.map(|e| (e.key, e.revision.0, e.value.to_vec())).collect();
                assert_eq!(page, matching[..limit.min(matching.len())]);
                assert_eq!(read.value.more, matching.len() > limit);
                assert!(fixture.is_after(Revision(given[revision]), 0, read.revision));
            }
            Step::Commit { guards, writes } => {
                fixture.disturb().await;
                let holds = guards.iter().all(|(key, expected)| {
                    model.get(&name(*key)).map(|(changed, _)| *changed) == *expected
                });
                let mut transaction = Transaction::new();
                for (key, expected) in guards {
                    transaction = match expected {
                        None => transaction.absent(name(key)),
                        Some(changed) => {
                            let none = u64::MAX >> 1;
                            let changed = given.get(changed).copied().unwrap_or(none);
                            transaction.unchanged(name(key), Revision(changed))
                        }
                    };
                }
                let mut changed = false;
                for (key, value) in writes {
                    let key = name(key);
                    transaction = match value {
                        Some(value) => transaction.put(key.clone(), [value]),
                        None => transaction.delete(key.clone()),
                    };
                    if holds {
                        changed |= match value {
                            Some(value) => {
                                model.insert(key, (revision + 1, value));
                                true
                            }
                            None => model.remove(&key).is_some(),
                        };
                    }
                }
                match (holds, fixture.store().commit(transaction).await.unwrap()) {
                    (false, outcome) => assert_eq!(outcome, Commit::Conflict),
                    (true, Commit::Conflict) => panic!("unexpected conflict"),
                    (true, Commit::Applied { revision: now }) => {
                        let before = Revision(given[revision]);
                        assert!(fixture.is_after(before, u64::from(changed), now));
                        if changed {
                            revision += 1;
                            given.push(now.0);
                        }
                    }
                }
            }
        }
    }
}

fn run_on_runtime(future: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn memory_behaves_like_the_model(steps in prop::collection::vec(step(), 1..40)) {
        run_on_runtime(async { compare_with_model(Fixture::memory().await, steps).await });
    }

    #[test]
    fn redb_behaves_like_the_model(steps in prop::collection::vec(step(), 1..40)) {
        run_on_runtime(async { compare_with_model(Fixture::redb().await, steps).await });
    }

    #[test]
    fn etcd_behaves_like_the_model(steps in prop::collection::vec(step(), 1..40)) {
        run_on_runtime(async { compare_with_model(Fixture::etcd_busy().await, steps).await });
    }
}
