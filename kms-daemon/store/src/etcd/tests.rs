//! What the conformance suite does not do to a cluster: members that die, history that is compacted,
//! other users, connections that break.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time::{sleep, timeout};

use super::testing::EtcdCluster;
use super::*;
use crate::{WatchError, current_revision};

/// How long something may take that should be there at once.
const PATIENCE: Duration = Duration::from_secs(30);

async fn cluster(members: usize) -> EtcdCluster {
    tokio::task::spawn_blocking(move || EtcdCluster::start(members)).await.unwrap()
}

async fn open(cluster: &EtcdCluster, prefix: &str) -> EtcdStore {
    EtcdStore::open(cluster.options(prefix)).await.unwrap()
}

fn put(key: &str, value: &str) -> Transaction {
    Transaction::new().put(key, value.as_bytes())
}

async fn applied(store: &EtcdStore, transaction: Transaction) -> Revision {
    match store.commit(transaction).await.unwrap() {
        Commit::Applied { revision } => revision,
        Commit::Conflict => panic!("unexpected conflict"),
    }
}

async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let begin = Instant::now();
    while !holds().await {
        assert!(begin.elapsed() < PATIENCE, "{what}");
        sleep(Duration::from_millis(10)).await;
    }
}

/// The third attempt of everybody whose commit had no outcome: read whether it is there.
async fn put_until_there(store: &EtcdStore, key: &str) {
    eventually("nothing can be written", async || {
        store.commit(put(key, "x").absent(key)).await.is_ok()
    })
    .await;
    let found = store.get(key.as_bytes()).await.unwrap().value;
    assert!(found.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_dies_costs_no_change_and_two_stop_everything_until_they_return() {
    let mut cluster = cluster(3).await;
    let store = open(&cluster, "/a").await;
    let other = open(&cluster, "/a").await;
    let mut watch = other.watch(current_revision(&other).await.unwrap());
    let (sender, mut seen) = tokio::sync::mpsc::unbounded_channel();
    let following = tokio::spawn(async move {
        while let Ok(change) = watch.next().await {
            sender.send(change).unwrap();
        }
    });
    for n in 0..20 {
        put_until_there(&store, &format!("before/{n}")).await;
    }
    cluster.kill(0);
    for n in 0..20 {
        put_until_there(&store, &format!("one/{n}")).await;
    }
    sleep(Duration::from_secs(1)).await;
    eventually("the other one is behind", async || other.lag() < Duration::from_secs(1)).await;
    cluster.kill(1);
    sleep(Duration::from_secs(2)).await;
    assert!(store.lag() > Duration::from_secs(1), "{:?}", store.lag());
    assert!(other.lag() > Duration::from_secs(1), "{:?}", other.lag());
    let begin = Instant::now();
    let refused = store.commit(put("two", "x")).await;
    assert!(matches!(refused, Err(StoreError::Engine(_))), "{refused:?}");
    let refused = store.get(b"before/0").await;
    assert!(matches!(refused, Err(StoreError::Engine(_))), "{refused:?}");
    assert!(begin.elapsed() < 2 * cluster::DEADLINE + Duration::from_secs(2));
    let cluster = tokio::task::spawn_blocking(move || {
        cluster.restart(0);
        cluster.restart(1);
        cluster
    });
    let cluster = cluster.await.unwrap();
    for n in 0..20 {
        put_until_there(&store, &format!("after/{n}")).await;
    }
    // Everything was reported, once and in order; what had no outcome perhaps.
    let (mut keys, mut last) = (BTreeSet::new(), Revision::default());
    while keys.len() < 60 {
        let change = timeout(PATIENCE, seen.recv()).await.unwrap().unwrap();
        assert!(change.revision > last);
        last = change.revision;
        for event in &change.events {
            let key = String::from_utf8(event.key().to_vec()).unwrap();
            if key != "two" {
                assert!(keys.insert(key.clone()), "{key} twice");
            }
        }
    }
    sleep(Duration::from_secs(1)).await;
    eventually("it is behind", async || other.lag() < Duration::from_secs(1)).await;
    following.abort();
    drop(cluster);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_compacted_while_the_connection_was_broken_is_told() {
    let mut cluster = cluster(1).await;
    let store = open(&cluster, "/a").await;
    let start = applied(&store, put("a", "1")).await;
    let mut watch = store.watch(start);
    // The member stops; another client changes and compacts before the watch is back.
    cluster.kill(0);
    sleep(Duration::from_millis(100)).await;
    let cluster = {
        // The store's own tasks must not be faster.
        let restarted = tokio::task::spawn_blocking(move || {
            cluster.restart(0);
            cluster
        });
        restarted.await.unwrap()
    };
    store.tasks[0].abort();
    for n in 0..10 {
        cluster.etcdctl(&["put", "/a/data/b", &n.to_string()]);
    }
    let now = current_revision(&store).await.unwrap();
    cluster.etcdctl(&["compact", &now.to_string()]);
    let watcher = Arc::clone(&store.watcher);
    let watching = tokio::spawn(async move { watcher.watch().await });
    let mut seen = Vec::new();
    let oldest = loop {
        match timeout(PATIENCE, watch.next()).await.unwrap() {
            // Those that the watch reported before it was stopped.
            Ok(change) => seen.push(change.revision),
            Err(WatchError::Compacted { oldest }) => break oldest,
            Err(error) => panic!("{error}"),
        }
    };
    assert!(oldest <= now && seen.iter().all(|revision| *revision < oldest));
    let mut watch = store.watch(oldest);
    let next = applied(&store, put("c", "1")).await;
    loop {
        let change = timeout(PATIENCE, watch.next()).await.unwrap().unwrap();
        if change.revision == next {
            break;
        }
    }
    watching.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_follower_has_not_dealt_with_makes_the_store_old() {
    let cluster = cluster(1).await;
    let store = open(&cluster, "/a").await;
    let other = open(&cluster, "/a").await;
    let bystander = open(&cluster, "/b").await;
    let mut watch = store.watch(current_revision(&store).await.unwrap());
    let second = Duration::from_secs(1);
    // Changes of somebody else, of which the watch reports nothing.
    for n in 0..20 {
        applied(&bystander, put("x", &n.to_string())).await;
        sleep(Duration::from_millis(50)).await;
        assert!(store.lag() < second, "{:?}", store.lag());
    }
    assert!(timeout(Duration::from_millis(10), watch.next()).await.is_err());
    applied(&other, put("a", "1")).await;
    let change = timeout(PATIENCE, watch.next()).await.unwrap().unwrap();
    assert_eq!(change.events.len(), 1);
    // A follower at work on a change: what it caches may be old.
    sleep(second + Duration::from_millis(500)).await;
    assert!(store.lag() > second, "{:?}", store.lag());
    assert!(other.lag() < second, "{:?}", other.lag());
    assert!(timeout(Duration::from_millis(10), watch.next()).await.is_err());
    eventually("it stays old", async || store.lag() < second).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_hangs_is_left_for_another() {
    let cluster = cluster(3).await;
    let mut options = cluster.options("/a");
    let store = EtcdStore::open(options.clone()).await.unwrap();
    applied(&store, put("a", "1")).await;
    let signal = |name: &str| {
        let process = cluster.process(0).to_string();
        let done = std::process::Command::new("kill").args([name, &process]).status().unwrap();
        assert!(done.success());
    };
    // It takes connections and answers nothing, as behind a network that drops packets.
    signal("-STOP");
    eventually("the hanging member is used", async || {
        store.get(b"a").await.is_ok() && store.lag() < Duration::from_secs(1)
    })
    .await;
    put_until_there(&store, "b").await;
    signal("-CONT");
    options.endpoints.rotate_left(1);
    let other = EtcdStore::open(options).await.unwrap();
    assert!(other.get(b"b").await.unwrap().value.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_that_was_put_back_is_not_believed() {
    let mut cluster = cluster(1).await;
    let store = open(&cluster, "/a").await;
    for n in 0..10 {
        applied(&store, put("a", &n.to_string())).await;
    }
    // Another cluster at the same address, with nothing in it.
    let cluster = tokio::task::spawn_blocking(move || {
        cluster.kill(0);
        cluster.forget(0);
        cluster.restart(0);
        cluster
    });
    let cluster = cluster.await.unwrap();
    sleep(Duration::from_secs(2)).await;
    assert!(store.lag() > Duration::from_secs(1), "{:?}", store.lag());
    let other = open(&cluster, "/a").await;
    sleep(Duration::from_secs(2)).await;
    assert!(other.lag() < Duration::from_secs(1), "{:?}", other.lag());
}

#[tokio::test(flavor = "multi_thread")]
async fn ranges_in_chunks_are_of_one_revision() {
    let cluster = cluster(1).await;
    let store = Arc::new(open(&cluster, "/a").await);
    // Each transaction writes the same number under every key.
    let write = |n: u64| {
        (0..120).fold(Transaction::new(), |t, key| t.put(format!("k/{key:03}"), n.to_le_bytes()))
    };
    applied(&store, write(0)).await;
    let writer = Arc::clone(&store);
    let writing = tokio::spawn(async move {
        for n in 1.. {
            applied(&writer, write(n)).await;
        }
    });
    for _ in 0..50 {
        let range = Range { prefix: b"k/".to_vec(), after: None, limit: 1000 };
        let page = store.range(range).await.unwrap();
        assert_eq!((page.value.entries.len(), page.value.more), (120, false));
        let values: BTreeSet<_> = page.value.entries.iter().map(|e| e.value.to_vec()).collect();
        assert_eq!(values.len(), 1, "of several revisions");
    }
    writing.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_is_refused_and_a_token_that_has_gone_is_replaced() {
    let cluster = tokio::task::spawn_blocking(|| EtcdCluster::with_users(1)).await.unwrap();
    let mut options = cluster.options("/strongroom/a");
    let store = EtcdStore::open(options.clone()).await.unwrap();
    applied(&store, put("a", "1")).await;
    let path = cluster.password().with_extension("wrong");
    std::fs::write(&path, "wrong").unwrap();
    options.login = Some(Login::read("kmsd".to_owned(), &path).unwrap());
    let refused = EtcdStore::open(options.clone()).await.err().expect("refused").to_string();
    assert!(refused.contains("authentication failed"), "{refused}");
    assert!(!refused.contains("wrong"), "{refused}");
    // Tokens are gone when a member starts.
    let mut cluster = cluster;
    let cluster = tokio::task::spawn_blocking(move || {
        cluster.kill(0);
        cluster.restart(0);
        cluster
    });
    let cluster = cluster.await.unwrap();
    put_until_there(&store, "b").await;
    let other = EtcdStore::open(cluster.options("/elsewhere")).await;
    let refused = other.err().expect("refused").to_string();
    assert!(refused.contains("permission denied"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_on_the_way_is_noticed() {
    let (cluster, other) = tokio::join!(
        tokio::task::spawn_blocking(|| EtcdCluster::with_users(1)),
        tokio::task::spawn_blocking(|| EtcdCluster::with_users(1)),
    );
    let (cluster, other) = (cluster.unwrap(), other.unwrap());
    // The right authority, and a member of another one.
    let mut options = cluster.options("/strongroom/a");
    options.endpoints = other.options("/strongroom/a").endpoints;
    let refused = EtcdStore::open(options).await.err().expect("refused").to_string();
    assert!(refused.contains("certificate"), "{refused}");
    // No certificate of a client.
    let mut options = cluster.options("/strongroom/a");
    options.tls = Some(client_tls(&cluster.authority(), None).unwrap());
    assert!(EtcdStore::open(options).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_that_etcd_would_not_take_is_refused_before() {
    let cluster = cluster(1).await;
    let store = open(&cluster, "/a").await;
    let large = |sizes: [usize; 2]| {
        Transaction::new().put("a", vec![7; sizes[0]]).put("b", vec![7; sizes[1]])
    };
    let refused = store.commit(large([1 << 20, 1 << 19])).await;
    assert!(matches!(refused, Err(StoreError::Invalid(_))), "{refused:?}");
    // The largest that is taken is taken by etcd, too.
    let overhead = 100;
    applied(&store, large([1 << 20, MAX_TRANSACTION - (1 << 20) - overhead])).await;
}
