//! A disk that fails for some time: nothing that was acknowledged is lost, nothing that was refused shows up unseen, and
//! the store serves again once the disk does.

use std::io;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use super::power::{Content, Disk, content};
use super::*;
use crate::Event;
use redb::StorageBackend;

/// What becomes of an access that fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// It was not carried out.
    Lost,
    /// It was, which nobody is told.
    Done,
}

/// A disk of which some accesses fail, counted from a moment on.
#[derive(Debug, Clone)]
struct Failing {
    disk: Disk,
    /// Accesses up to now.
    at: Arc<AtomicUsize>,
    fails: Arc<Mutex<(std::ops::Range<usize>, Fate)>>,
    opened: Arc<AtomicUsize>,
}

impl Failing {
    fn new() -> Self {
        Self {
            disk: Disk::with_store(),
            at: Arc::default(),
            fails: Arc::new(Mutex::new((0..0, Fate::Lost))),
            opened: Arc::default(),
        }
    }

    /// From now on, so many accesses succeed and so many fail.
    fn set(&self, after: usize, count: usize, fate: Fate) {
        let first = self.at.load(Ordering::SeqCst) + after;
        *self.fails.lock().unwrap() = (first..first.saturating_add(count), fate);
    }

    fn access<T>(&self, access: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        let at = self.at.fetch_add(1, Ordering::SeqCst);
        let (fails, fate) = self.fails.lock().unwrap().clone();
        if !fails.contains(&at) {
            return access();
        }
        if fate == Fate::Done {
            access()?;
        }
        Err(io::Error::from_raw_os_error(5))
    }
}

impl StorageBackend for Failing {
    fn len(&self) -> Result<u64, io::Error> {
        self.access(|| self.disk.len())
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), io::Error> {
        self.access(|| self.disk.read(offset, out))
    }

    fn set_len(&self, length: u64) -> Result<(), io::Error> {
        self.access(|| self.disk.set_len(length))
    }

    fn sync_data(&self) -> Result<(), io::Error> {
        self.access(|| self.disk.sync_data())
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), io::Error> {
        self.access(|| self.disk.write(offset, data))
    }
}

impl Place for Failing {
    fn open(&self, _: bool) -> Result<Database, StoreError> {
        self.opened.fetch_add(1, Ordering::SeqCst);
        opened::on(self.clone())
    }
}

/// What somebody knows who only watches.
async fn watched(store: &RedbStore) -> Content {
    let mut watch = store.watch(Revision(0));
    let mut known = Content::new();
    while let Ok(change) = tokio::time::timeout(Duration::from_millis(20), watch.next()).await {
        let change = change.expect("the history reaches back");
        for event in &change.events {
            match event {
                Event::Put(Entry { key, value, .. }) => {
                    known.insert(key.clone(), (change.revision, value.to_vec()));
                }
                Event::Delete(key) => drop(known.remove(key)),
            }
        }
    }
    known
}

fn same(one: &Content, other: &Content, else_what: &str, name: &str) {
    let short = |content: &Content| -> Vec<_> {
        content
            .iter()
            .map(|(key, (at, value))| (key.clone(), at.0, value.first().copied()))
            .collect()
    };
    assert!(one == other, "{name}: {else_what}: {:?}, {:?}", short(one), short(other));
}

/// Changes while accesses fail from one on; whether any change was refused.
async fn run(after: usize, count: usize, fate: Fate) -> bool {
    let disk = Failing::new();
    let store = RedbStore::at(disk.clone(), None).unwrap();
    let name = format!("{count} accesses {fate:?} from {after} on");
    disk.set(after, count, fate);
    let mut acknowledged = BTreeMap::new();
    let mut possible: BTreeMap<Vec<u8>, Vec<Vec<u8>>> = BTreeMap::new();
    let mut refused = false;
    for number in 0..6_u8 {
        let (key, value) = (vec![number % 3], vec![number; 3000]);
        let put = Transaction::new().put(key.clone(), value.clone());
        match store.commit(put).await {
            Ok(_) => {
                acknowledged.insert(key.clone(), value);
                possible.remove(&key);
            }
            Err(error) => {
                assert!(matches!(error, StoreError::Engine(_)), "{name}: {error}");
                possible.entry(key).or_default().push(value);
                refused = true;
            }
        }
    }
    disk.set(0, 0, fate);
    // It serves again without anybody's doing, for those who read and those who write.
    let by = Instant::now() + Duration::from_secs(20);
    while let Err(error) = store.get(&[0]).await {
        assert!(Instant::now() < by, "{name}: {error}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let now = content(&store);
    for (key, value) in &acknowledged {
        let others = possible.get(key).into_iter().flatten();
        let is_there =
            now.get(key).is_some_and(|(_, found)| others.chain([value]).any(|one| one == found));
        assert!(is_there, "{name}: {key:?} is lost");
    }
    for (key, (_, found)) in &now {
        let others = possible.get(key).into_iter().flatten();
        assert!(others.chain(acknowledged.get(key)).any(|value| value == found), "{name}: {key:?}");
    }
    same(&watched(&store).await, &now, "who watches knows less", &name);
    let _ = store.commit(Transaction::new().put([9], [9])).await.expect("it can be written");
    store.set_facts(vec![("a".to_owned(), Some(vec![1]))]).await.expect("so can facts");
    drop(store);
    let again = RedbStore::at(disk.disk.clone(), None).unwrap();
    let mut then = content(&again);
    then.remove(&[9][..]);
    same(&then, &now, "it is another one after a restart", &name);
    refused
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_access_fails_nothing_is_lost_and_the_store_serves_again() {
    let mut refusals = 0;
    for fate in [Fate::Lost, Fate::Done] {
        for after in 0..60 {
            refusals += usize::from(run(after, 1, fate).await);
        }
    }
    assert!(refusals > 60, "{refusals}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_fails_for_longer_is_tried_again() {
    for fate in [Fate::Lost, Fate::Done] {
        for after in [0, 7, 20] {
            assert!(run(after, usize::MAX, fate).await);
        }
    }
}

/// Nobody waits for a file that has gone; and it is not asked for by every request.
#[tokio::test(flavor = "multi_thread")]
async fn while_the_disk_fails_requests_are_refused_at_once() {
    let disk = Failing::new();
    let store = RedbStore::at(disk.clone(), None).unwrap();
    disk.set(0, usize::MAX, Fate::Lost);
    let begin = Instant::now();
    for number in 0..200_u8 {
        assert!(store.commit(Transaction::new().put([number], [1])).await.is_err());
        assert!(store.get(&[number]).await.is_err());
    }
    let (took, opened) = (begin.elapsed(), disk.opened.load(Ordering::SeqCst));
    assert!(took < Duration::from_secs(10), "{took:?}");
    // Once a second at the most, and at the beginning.
    assert!(
        took > Duration::from_secs(1) * u32::try_from(opened).unwrap().saturating_sub(4),
        "{opened} times in {took:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn another_file_in_its_place_is_not_taken_for_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store.redb");
    drop(RedbStore::open(&path).unwrap());
    let place = OnDisk::new(&path, durable::open_private(&path).unwrap()).unwrap();
    drop(place.open(false).unwrap());
    drop(place.open(true).unwrap());
    fs::copy(&path, dir.path().join("copy")).unwrap();
    fs::rename(dir.path().join("copy"), &path).unwrap();
    let refused = place.open(true).map(drop).unwrap_err().to_string();
    assert!(refused.contains("is another file than it was; restart kmsd"), "{refused}");
    fs::remove_file(&path).unwrap();
    assert!(place.open(true).is_err());
    assert!(!path.exists(), "an empty store would be taken for it");
}
