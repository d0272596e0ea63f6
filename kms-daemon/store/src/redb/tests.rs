//! The file itself: how it is made, and what is in it beside the entries.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_file_without_the_records_is_not_taken_for_the_store() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store.redb");
    let store = RedbStore::open_beside(&path, None, "etcd:a").await.unwrap();
    assert_eq!(store.elsewhere().unwrap().as_deref(), Some("etcd:a"));
    drop(store);
    let refused = RedbStore::open(&path);
    assert!(matches!(&refused, Err(StoreError::Elsewhere(at)) if at == "etcd:a"));
    let store = RedbStore::open_beside(&path, None, "etcd:b").await.unwrap();
    assert_eq!(store.elsewhere().unwrap().as_deref(), Some("etcd:b"));
    let path = dir.path().join("other.redb");
    let store = RedbStore::open(&path).unwrap();
    let _ = store.commit(Transaction::new().put("key", [1])).await.unwrap();
    drop(store);
    let refused = RedbStore::open_beside(&path, None, "etcd:a").await;
    assert!(matches!(refused, Err(StoreError::HasRecords)));
    assert!(RedbStore::open(&path).is_ok(), "it was changed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_was_not_made_whole_is_made_anew() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store.redb");
    // Of a start that was cut off, with whatever the disk has kept of it.
    fs::write(dir.path().join("store.redb.new"), [7; 5000]).unwrap();
    fs::write(&path, []).unwrap();
    let store = RedbStore::open(&path).unwrap();
    let _ = store.commit(Transaction::new().put("key", [1])).await.unwrap();
    assert!(!dir.path().join("store.redb.new").exists());
    drop(store);
    // One that is there is never replaced.
    let store = RedbStore::open(&path).unwrap();
    assert_eq!(store.get_blocking(b"key").unwrap().unwrap().value[..], [1]);
    drop(store);
    fs::write(&path, [0; 100]).unwrap();
    assert!(RedbStore::open(&path).is_err());
    assert_eq!(fs::read(&path).unwrap(), [0; 100]);
}

#[tokio::test(flavor = "multi_thread")]
async fn facts_stay_and_each_change_has_its_witness() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store.redb");
    let store = RedbStore::open(&path).unwrap();
    let revision = store.revision();
    let fact = |name: &str, value: u8| (name.to_owned(), Some(vec![value]));
    store.set_facts(vec![fact("domain/a", 1), fact("domain/b", 2)]).await.unwrap();
    store.set_facts(vec![fact("id", 3), ("domain/b".to_owned(), None)]).await.unwrap();
    assert_eq!(revision(), Revision(0), "facts are not history");
    let put = |value: u8| Transaction::new().put("key", [value]);
    let _ = store.commit(put(1)).await.unwrap();
    assert_eq!(store.fact(LOG).unwrap(), None);
    store.keep_with_changes(|| vec![9]);
    store.keep_with_changes(|| vec![10]); // too late
    let _ = store.commit(put(2)).await.unwrap();
    assert_eq!((store.fact(LOG).unwrap(), revision()), (Some(vec![9]), Revision(2)));
    drop(store);
    let store = RedbStore::open(&path).unwrap();
    assert_eq!(store.facts("domain/").unwrap(), [("domain/a".to_owned(), vec![1])].into());
    assert_eq!(store.fact("id").unwrap(), Some(vec![3]));
    // A prefix is not a name.
    assert_eq!(store.fact("i").unwrap(), None);
    assert_eq!(store.get_blocking(b"key").unwrap().unwrap().value[..], [2]);
}
