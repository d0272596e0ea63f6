//! Exports and imports in one process. Daemons, etcd and killed processes are in `tests/tests/store.rs`.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use proptest::prelude::*;

use super::file::{Records, Writer};
use super::*;
use crate::data_dir::DataDir;
use kms_base::passphrase::Passphrase;
use kms_store::{
    Commit, Entry, MemoryStore, Page, Range, RedbStore, Revision, Scan, Snapshot, Store,
    StoreFuture, Transaction, Watch,
};

fn quiet(_: u64, _: u64) {}

fn passphrase() -> Passphrase {
    Passphrase::of_file(b"correct horse battery staple\n").unwrap()
}

fn private() -> tempfile::TempDir {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o700)).unwrap();
    dir
}

/// A store of so many records, and of those that do not go along.
async fn filled(path: &Path, count: usize) -> RedbStore {
    let store = RedbStore::open(path).unwrap();
    store.set_facts(vec![("id".to_owned(), Some(vec![7; 16]))]).await.unwrap();
    for start in (0..count).step_by(64) {
        let mut transaction = Transaction::new();
        for n in start..count.min(start + 64) {
            transaction = transaction.put(format!("keys/{n:06}"), value(n));
        }
        let _ = store.commit(transaction).await.unwrap();
    }
    let stays = [
        "service/lease",
        "service/domains/us-east-1",
        "service/last-backup",
        "service/domain-keys/us-east-1/x",
    ];
    for key in stays {
        let _ = store.commit(Transaction::new().put(key, *b"x")).await.unwrap();
    }
    let goes = Transaction::new().put("service/marker-key", *b"key");
    let _ = store.commit(goes).await.unwrap();
    store
}

/// Of sizes from nothing to more than one transaction takes.
fn value(n: usize) -> Vec<u8> {
    let length = match n % 97 {
        0 => 0,
        50 => 700_000,
        other => other,
    };
    n.to_le_bytes().into_iter().cycle().take(length).collect()
}

async fn exported(store: &RedbStore, path: &Path, passphrase: &Passphrase) -> Exported {
    let scan = Scan::of_redb(store).unwrap();
    let created = "2026-11-30T00:00:00Z".to_owned();
    let id = store_id(store).unwrap();
    let header = Header::new(created, "here".to_owned(), id, scan.revision());
    export(path, scan, header, passphrase, &mut quiet).await.unwrap()
}

async fn all(store: &dyn Store) -> Vec<(Vec<u8>, Arc<[u8]>)> {
    let range = Range { prefix: Vec::new(), after: None, limit: usize::MAX };
    let entries = store.range(range).await.unwrap().value.entries.into_iter();
    let entries = entries.filter(|entry| entry.key != mark::MARK);
    entries.map(|entry| (entry.key, entry.value)).collect()
}

fn expected(count: usize) -> Vec<(Vec<u8>, Arc<[u8]>)> {
    let keys = (0..count).map(|n| (format!("keys/{n:06}").into_bytes(), Arc::from(value(n))));
    keys.chain([(b"service/marker-key".to_vec(), Arc::from(*b"key"))]).collect()
}

/// A store in which commits fail after a number of them, as when the process is killed then. The last one is applied
/// and its response lost.
struct Failing {
    store: MemoryStore,
    left: AtomicUsize,
}

impl Failing {
    fn after(left: usize) -> Self {
        Self { store: MemoryStore::new(), left: AtomicUsize::new(left) }
    }
}

impl Store for Failing {
    fn get<'a>(
        &'a self,
        key: &'a [u8],
    ) -> StoreFuture<'a, Result<Snapshot<Option<Entry>>, StoreError>> {
        self.store.get(key)
    }

    fn range(&self, range: Range) -> StoreFuture<'_, Result<Snapshot<Page>, StoreError>> {
        self.store.range(range)
    }

    fn commit(&self, transaction: Transaction) -> StoreFuture<'_, Result<Commit, StoreError>> {
        Box::pin(async move {
            let lost = || Err(StoreError::Engine("the process was killed".to_owned()));
            match self.left.load(Ordering::Relaxed) {
                0 => lost(),
                left => {
                    self.left.store(left - 1, Ordering::Relaxed);
                    let done = self.store.commit(transaction).await;
                    if left == 1 { lost() } else { done }
                }
            }
        })
    }

    fn watch(&self, after: Revision) -> Box<dyn Watch> {
        self.store.watch(after)
    }

    fn is_shared(&self) -> bool {
        true
    }

    fn lag(&self) -> Duration {
        Duration::ZERO
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_cut_off_goes_on_and_another_file_does_not() {
    const COUNT: usize = 300;
    let dir = tempfile::tempdir().unwrap();
    let store = filled(&dir.path().join("store.redb"), COUNT).await;
    let passphrase = passphrase();
    let (one, two) = (dir.path().join("one"), dir.path().join("two"));
    let made = exported(&store, &one, &passphrase).await;
    assert_eq!(made.records, COUNT as u64 + 1);
    exported(&store, &two, &passphrase).await;
    let open = |path: &Path| ExportFile::open(path, &passphrase, &mut quiet).unwrap();
    let (one, two) = (open(&one), open(&two));
    // How many transactions it takes.
    let whole = Failing::after(usize::MAX);
    import(&one, &whole, "store", &mut quiet).await.unwrap();
    assert!(all(&whole).await == expected(COUNT));
    mark::ensure_whole(&whole).await.unwrap();
    let commits = usize::MAX - whole.left.load(Ordering::Relaxed);
    assert!(commits >= 5, "{commits}");
    for cut in 0..=commits {
        let store = Failing::after(cut);
        let cut_off = import(&one, &store, "store", &mut quiet).await;
        assert!(matches!(cut_off, Err(TransferError::Store(_))), "cut {cut}: {cut_off:?}");
        let is_begun = cut > 0;
        let is_complete = cut == commits;
        assert_eq!(mark::ensure_whole(&store).await.is_err(), is_begun && !is_complete);
        store.left.store(usize::MAX, Ordering::Relaxed);
        if is_begun {
            let refused = import(&two, &store, "store", &mut quiet).await;
            let is_refused = match is_complete {
                true => matches!(refused, Err(TransferError::NotEmpty(_))),
                false => matches!(refused, Err(TransferError::OtherFile { .. })),
            };
            assert!(is_refused, "cut {cut}: {refused:?}");
        }
        let imported = import(&one, &store, "store", &mut quiet).await.unwrap();
        assert_eq!(imported.was_complete, is_complete, "cut {cut}");
        assert_eq!(imported.before > 0, cut > 1, "cut {cut}: it began anew");
        assert!(all(&store).await == expected(COUNT), "cut {cut}");
        mark::ensure_whole(&store).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_not_empty_or_is_written_to_meanwhile_is_not_called_whole() {
    let dir = tempfile::tempdir().unwrap();
    let store = filled(&dir.path().join("store.redb"), 300).await;
    let (passphrase, path) = (passphrase(), dir.path().join("one"));
    exported(&store, &path, &passphrase).await;
    let file = ExportFile::open(&path, &passphrase, &mut quiet).unwrap();
    let put = |key: &str| Transaction::new().put(key, *b"foreign");
    let busy = MemoryStore::new();
    let _ = busy.commit(put("a")).await.unwrap();
    let refused = import(&file, &busy, "the cluster", &mut quiet).await;
    assert!(matches!(&refused, Err(TransferError::NotEmpty(at)) if at == "the cluster"));
    assert_eq!(all(&busy).await.len(), 1, "something was written");
    // One that somebody else writes to: a new record, another value, and a record that is gone.
    let mischief =
        [put("keys/000001x"), put("keys/000001"), Transaction::new().delete("keys/000007")];
    for mischief in mischief {
        let store = Failing::after(3);
        assert!(import(&file, &store, "store", &mut quiet).await.is_err());
        store.left.store(usize::MAX, Ordering::Relaxed);
        let _ = store.commit(mischief).await.unwrap();
        for _ in 0..2 {
            let refused = import(&file, &store, "store", &mut quiet).await;
            let text = refused.unwrap_err().to_string();
            assert!(text.contains("keys/00000") && text.contains("stop every kmsd"), "{text}");
            assert!(mark::ensure_whole(&store).await.is_err(), "a kmsd would start on it");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_an_altered_file_is_used() {
    let dir = tempfile::tempdir().unwrap();
    let store = filled(&dir.path().join("store.redb"), 400).await;
    let (passphrase, path) = (passphrase(), dir.path().join("one"));
    exported(&store, &path, &passphrase).await;
    let good = fs::read(&path).unwrap();
    let refused = |bytes: &[u8]| {
        fs::write(&path, bytes).unwrap();
        ExportFile::open(&path, &passphrase, &mut quiet).err().unwrap()
    };
    for at in [0, 17, 70, 96, 97, 500, 65_700, good.len() / 2, good.len() - 40, good.len() - 1] {
        let mut bytes = good.clone();
        bytes[at] ^= 1;
        refused(&bytes);
        // With a checksum that is right: that anybody can make.
        let end = bytes.len() - 32;
        let sum = <sha2::Sha256 as sha2::Digest>::digest(&bytes[..end]);
        bytes[end..].copy_from_slice(&sum);
        if at < end {
            refused(&bytes);
        }
    }
    for length in [0, 1, 20, 95, 96, 200, good.len() / 2, good.len() - 33, good.len() - 1] {
        refused(&good[..length]);
    }
    refused(&[&good[..], b"x"].concat());
    // Chunks in another order, with a checksum that is right.
    let (head, chunk) = (96, 65_552);
    let mut bytes = good.clone();
    bytes[head..head + chunk].copy_from_slice(&good[head + chunk..head + 2 * chunk]);
    bytes[head + chunk..head + 2 * chunk].copy_from_slice(&good[head..head + chunk]);
    let end = bytes.len() - 32;
    let sum = <sha2::Sha256 as sha2::Digest>::digest(&bytes[..end]);
    bytes[end..].copy_from_slice(&sum);
    assert!(matches!(refused(&bytes), TransferError::Altered(96)));
    let other = Passphrase::of_file(b"correct horse battery stable\n").unwrap();
    fs::write(&path, &good).unwrap();
    let wrong = ExportFile::open(&path, &other, &mut quiet).err().unwrap();
    assert!(matches!(wrong, TransferError::WrongPassphrase));
    ExportFile::open(&path, &passphrase, &mut quiet).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_exchanged_after_it_was_checked_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = filled(&dir.path().join("store.redb"), 10).await;
    let passphrase = passphrase();
    let (one, two) = (dir.path().join("one"), dir.path().join("two"));
    exported(&store, &one, &passphrase).await;
    exported(&store, &two, &passphrase).await;
    let file = ExportFile::open(&one, &passphrase, &mut quiet).unwrap();
    fs::write(&one, fs::read(&two).unwrap()).unwrap();
    let target = MemoryStore::new();
    let refused = import(&file, &target, "store", &mut quiet).await;
    assert!(matches!(refused, Err(TransferError::Altered(0))), "{refused:?}");
    assert!(all(&target).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_data_directory_gives_up_only_what_is_in_the_export() {
    let (data, files) = (private(), tempfile::tempdir().unwrap());
    let store = filled(&data.path().join("store.redb"), 200).await;
    let passphrase = passphrase();
    let early: PathBuf = files.path().join("early");
    exported(&store, &early, &passphrase).await;
    let _ = store.commit(Transaction::new().put("keys/later", *b"later")).await.unwrap();
    let late = files.path().join("late");
    exported(&store, &late, &passphrase).await;
    let revision = store.revision()();
    drop(store);
    let open = |path: &Path| ExportFile::open(path, &passphrase, &mut quiet).unwrap();
    let shared = MemoryStore::shared();
    let refused =
        into_shared(&shared, "etcd:a", Some(data.path()), &open(&early), &mut quiet).await;
    assert!(matches!(refused, Err(TransferError::Changed { .. })), "{refused:?}");
    // One of another installation.
    let other = private();
    let foreign = RedbStore::open(&other.path().join("store.redb")).unwrap();
    let id = vec![("id".to_owned(), Some(vec![8; 16]))];
    foreign.set_facts(id).await.unwrap();
    drop(foreign);
    let refused =
        into_shared(&shared, "etcd:a", Some(other.path()), &open(&late), &mut quiet).await;
    assert!(matches!(refused, Err(TransferError::OtherStore(_))), "{refused:?}");
    assert!(all(&shared).await.is_empty(), "something was written");
    let held = DataDir::open(data.path()).unwrap();
    let refused = into_shared(&shared, "etcd:a", Some(data.path()), &open(&late), &mut quiet).await;
    assert!(matches!(refused, Err(TransferError::Data(_))), "its daemon may run: {refused:?}");
    drop(held);

    // Over there, twice, and back.
    let late = open(&late);
    for moved in [Moved::GaveUp, Moved::Before] {
        let done =
            into_shared(&shared, "etcd:a", Some(data.path()), &late, &mut quiet).await.unwrap();
        assert_eq!(done.1, moved);
    }
    let path = data.path().join("store.redb");
    assert!(matches!(RedbStore::open(&path), Err(StoreError::Elsewhere(_))));
    let (_, moved) = into_data(data.path(), &late, &mut quiet).await.unwrap();
    assert_eq!(moved, Moved::Took);
    let store = RedbStore::open(&path).unwrap();
    assert!(store.revision()() > revision, "its log has seen that one");
    assert_eq!(store_id(&store).unwrap().map(|id| id.0), Some([7; 16]));
    assert_eq!(all(&store).await, all(&shared).await);
    drop(store);
    assert_eq!(into_data(data.path(), &late, &mut quiet).await.unwrap().1, Moved::Before);
    let log = fs::read_dir(data.path().join("audit")).unwrap().flatten();
    let text: String = log.filter_map(|file| fs::read_to_string(file.path()).ok()).collect();
    assert_eq!(text.matches("MoveStore").count(), 2, "{text}");
    // It has records of its own now.
    let early = open(&early);
    let refused = into_data(data.path(), &early, &mut quiet).await;
    assert!(matches!(refused, Err(TransferError::NotEmpty(_))), "{refused:?}");
    // A new one.
    let new = private();
    assert_eq!(into_data(new.path(), &early, &mut quiet).await.unwrap().1, Moved::Took);
}

fn entry() -> impl Strategy<Value = (Vec<u8>, Vec<u8>)> {
    let key = prop::collection::vec(any::<u8>(), 1..40);
    (key, prop::collection::vec(any::<u8>(), 0..60))
}

proptest! {
    /// Whoever knows the passphrase can make any content.
    #[test]
    fn any_content_is_read_or_refused(
        mut bytes in prop::collection::vec(any::<u8>(), 0..400),
        has_header: bool,
    ) {
        if has_header {
            let header = Header::new(String::new(), String::new(), None, Revision(1));
            let (mut start, _) = Writer::begin(Vec::new(), &header).unwrap().finish().unwrap();
            start.truncate(start.len() - 10);
            bytes = [start, bytes].concat();
        }
        if let Ok((_, mut records)) = Records::begin(&*bytes) {
            while let Ok(Some(_)) = records.next() {}
        }
    }

    #[test]
    fn content_is_read_back(
        entries in prop::collection::btree_map(entry().prop_map(|(key, _)| key), entry(), 0..20),
    ) {
        let header = Header::new("now".to_owned(), "here".to_owned(), None, Revision(9));
        let mut writer = Writer::begin(Vec::new(), &header).unwrap();
        let entries: Vec<_> = entries
            .into_iter()
            .map(|(key, (_, value))| Entry { key, value: value.into(), revision: Revision(3) })
            .collect();
        for entry in &entries {
            writer.put(entry).unwrap();
        }
        let (bytes, count) = writer.finish().unwrap();
        prop_assert_eq!(count, entries.len() as u64);
        let (read, mut records) = Records::begin(&*bytes).unwrap();
        prop_assert_eq!(read, header);
        for entry in &entries {
            let found = records.next().unwrap();
            prop_assert_eq!(found.as_ref(), Some(entry));
        }
        prop_assert_eq!(records.next().unwrap(), None);
        // Whatever is cut off shows.
        for length in 0..bytes.len() {
            let read = Records::begin(&bytes[..length]).and_then(|(_, mut records)| {
                while records.next()?.is_some() {}
                Ok(())
            });
            prop_assert!(read.is_err(), "{} bytes are enough", length);
        }
    }
}

#[test]
fn records_that_do_not_belong_into_an_export_are_refused() {
    let header = Header::new(String::new(), String::new(), None, Revision(1));
    for key in [&b"service/import"[..], b"service/lease", b"service/domains/x"] {
        let mut writer = Writer::begin(Vec::new(), &header).unwrap();
        let value = Arc::from(*b"x");
        writer.put(&Entry { key: key.to_vec(), value, revision: Revision(1) }).unwrap();
        let (bytes, _) = writer.finish().unwrap();
        let (_, mut records) = Records::begin(&*bytes).unwrap();
        assert!(matches!(records.next(), Err(TransferError::Content(_))));
    }
}

/// Format 1. Add another for a new format; never change this one.
#[test]
fn golden_content() {
    let created = "2026-11-30T00:00:00Z".to_owned();
    let mut header = Header::new(created, "here".to_owned(), None, Revision(7));
    header.version = "0.1.0".to_owned();
    let mut writer = Writer::begin(Vec::new(), &header).unwrap();
    let value = Arc::from(*b"value");
    writer.put(&Entry { key: b"key".to_vec(), value, revision: Revision(5) }).unwrap();
    let (bytes, _) = writer.finish().unwrap();
    let json = br#"{"format":1,"created":"2026-11-30T00:00:00Z","version":"0.1.0","from":"here","store":null,"revision":7}"#;
    let length = u32::try_from(json.len()).unwrap().to_be_bytes();
    let record = b"\0\x03\0\0\0\x05\0\0\0\0\0\0\0\x05keyvalue";
    let end = b"\0\0\0\0\0\0\0\0\0\x01";
    assert_eq!(bytes, [&length[..], json, record, end].concat());
}
