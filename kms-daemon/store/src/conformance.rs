//! The conformance suite of store engines. Each engine runs the whole suite.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use tokio::time::timeout;

use super::*;

/// A store with whatever keeps its data alive.
struct Fixture {
    store: Option<Arc<dyn Store>>,
    directory: Option<tempfile::TempDir>,
}

impl Fixture {
    fn memory() -> Self {
        Self { store: Some(Arc::new(MemoryStore::new())), directory: None }
    }

    fn redb() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut fixture = Self { store: None, directory: Some(directory) };
        fixture.reopen();
        fixture
    }

    /// Closes and opens the store, if its engine outlives a process.
    fn reopen(&mut self) {
        if let Some(directory) = &self.directory {
            self.store = None;
            self.store =
                Some(Arc::new(RedbStore::open(&directory.path().join("store.redb")).unwrap()));
        }
    }

    fn store(&self) -> &Arc<dyn Store> {
        self.store.as_ref().unwrap()
    }
}

macro_rules! conformance {
    ($($check:ident),+ $(,)?) => {
        mod memory {
            $(#[tokio::test]
            async fn $check() { super::$check(super::Fixture::memory()).await; })+
        }
        mod redb {
            $(#[tokio::test]
            async fn $check() { super::$check(super::Fixture::redb()).await; })+
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
    assert_eq!(snapshot, Snapshot { revision: Revision(0), value: None });
    assert_eq!(keys(store, range("", None, 10)).await, (vec![], false));
}

async fn a_value_is_read_back(fixture: Fixture) {
    let store = fixture.store();
    let first = applied(store, put("key", "one")).await;
    let second = applied(store, put("key", "two")).await;
    assert!(second > first);
    let snapshot = store.get(b"key").await.unwrap();
    assert_eq!(snapshot.revision, second);
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
    assert_eq!(applied(store, Transaction::new()).await, first);
    assert_eq!(applied(store, Transaction::new().delete("absent")).await, first);
    assert_eq!(store.commit(put("a", "2").absent("a")).await.unwrap(), Commit::Conflict);
    assert_eq!(store.get(b"a").await.unwrap().revision, first);
    assert_eq!(applied(store, put("a", "1")).await, first.next());
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
    let mut watch = store.watch(Revision(0));
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
    applied(store, Transaction::new().put("n", 0u64.to_le_bytes())).await;
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
    assert_eq!(entry.revision, Revision(1 + TASKS * INCREMENTS));
}

async fn increment(store: &Arc<dyn Store>) -> bool {
    let entry = store.get(b"n").await.unwrap().value.unwrap();
    let n = u64::from_le_bytes((*entry.value).try_into().unwrap());
    let transaction =
        Transaction::new().put("n", (n + 1).to_le_bytes()).unchanged("n", entry.revision);
    matches!(store.commit(transaction).await.unwrap(), Commit::Applied { .. })
}

async fn everything_survives_reopening(mut fixture: Fixture) {
    let last = {
        let store = fixture.store();
        applied(store, put("a", "1")).await;
        applied(store, put("b", "2")).await;
        applied(store, Transaction::new().delete("a")).await
    };
    fixture.reopen();
    let store = fixture.store();
    let snapshot = store.get(b"b").await.unwrap();
    assert_eq!(snapshot.revision, last);
    assert_eq!(snapshot.value.unwrap().revision, Revision(2));
    assert_eq!(value(store, "a").await, None);
    assert_eq!(applied(store, put("c", "3")).await, last.next());
}

/// A step of the model comparison, over a handful of keys so that steps collide.
#[derive(Debug, Clone)]
enum Step {
    Commit { guards: Vec<(u8, Option<u64>)>, writes: BTreeMap<u8, Option<u8>> },
    Range { prefix: Vec<u8>, after: Option<u8>, limit: usize },
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    let key = 0u8..6;
    let guards = prop::collection::vec((key.clone(), prop::option::of(0u64..20)), 0..2);
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

type Model = BTreeMap<Vec<u8>, (u64, u8)>;

async fn compare_with_model(mut fixture: Fixture, steps: Vec<Step>) {
    let mut model = Model::new();
    let mut revision = 0;
    for step in steps {
        match step {
            Step::Reopen => fixture.reopen(),
            Step::Range { prefix, after, limit } => {
                let after = after.map(name);
                let matching: Vec<_> = model
                    .iter()
                    .filter(|(key, _)| key.starts_with(&prefix))
                    .filter(|(key, _)| after.as_ref().is_none_or(|after| *key > after))
                    .map(|(key, (changed, value))| (key.clone(), *changed, vec![*value]))
                    .collect();
                let read = fixture.store().range(Range { prefix, after, limit }).await.unwrap();
                let page = read.value.entries.into_iter();
                let page: Vec<_> = page.map(|e| (e.key, e.revision.0, e.value.to_vec())).collect();
                assert_eq!(page, matching[..limit.min(matching.len())]);
                assert_eq!(read.value.more, matching.len() > limit);
                assert_eq!(read.revision, Revision(revision));
            }
            Step::Commit { guards, writes } => {
                let holds = guards.iter().all(|(key, expected)| {
                    model.get(&name(*key)).map(|(changed, _)| *changed) == *expected
                });
                let mut transaction = Transaction::new();
                for (key, expected) in guards {
                    transaction = match expected {
                        None => transaction.absent(name(key)),
                        Some(changed) => transaction.unchanged(name(key), Revision(changed)),
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
                revision += u64::from(changed);
                let expected = match holds {
                    true => Commit::Applied { revision: Revision(revision) },
                    false => Commit::Conflict,
                };
                assert_eq!(fixture.store().commit(transaction).await.unwrap(), expected);
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
        run_on_runtime(compare_with_model(Fixture::memory(), steps));
    }

    #[test]
    fn redb_behaves_like_the_model(steps in prop::collection::vec(step(), 1..40)) {
        run_on_runtime(compare_with_model(Fixture::redb(), steps));
    }
}
