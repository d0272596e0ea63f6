//! Power cuts at every step of the store's file.
//!
//! A model of the disk records each write and each sync of the engine. At a cut, what was synced is there; of every
//! write since then, the disk has kept any choice of its sectors of 512 bytes.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Mutex, PoisonError};

use proptest::prelude::*;
use redb::StorageBackend;
use tokio::runtime::Runtime;

use super::*;
use crate::Guard;

/// What a disk writes whole or not at all.
const SECTOR: usize = 512;

/// Something that was asked of the disk.
#[derive(Debug, Clone)]
enum Step {
    Write(u64, Vec<u8>),
    Length(u64),
    Sync,
}

#[derive(Debug, Default)]
struct Recorded {
    /// What was synced before the first step.
    before: Vec<u8>,
    content: Vec<u8>,
    steps: Vec<Step>,
}

/// A file in memory that remembers how it came to what it is.
#[derive(Debug, Clone, Default)]
pub(super) struct Disk(Arc<Mutex<Recorded>>);

impl Disk {
    fn with(content: Vec<u8>) -> Self {
        let before = content.clone();
        Self(Arc::new(Mutex::new(Recorded { before, content, steps: Vec::new() })))
    }

    /// A store that was made and closed.
    pub(super) fn with_store() -> Self {
        let disk = Self::default();
        drop(RedbStore::at(disk.clone(), None).unwrap());
        let content = disk.lock().content.clone();
        Self::with(content)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Recorded> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn steps(&self) -> usize {
        self.lock().steps.len()
    }

    /// What the disk has after a cut behind so many steps; `keeps` says of each sector that was not synced whether
    /// it is there.
    fn cut(&self, steps: usize, keeps: &mut dyn FnMut() -> bool) -> Vec<u8> {
        let recorded = self.lock();
        let done = &recorded.steps[..steps];
        let synced =
            done.iter().rposition(|step| matches!(step, Step::Sync)).map_or(0, |at| at + 1);
        let mut content = recorded.before.clone();
        for (number, step) in done.iter().enumerate() {
            match step {
                Step::Sync => {}
                // The file is shorter if the disk has not kept that; a file that is made shorter loses nothing later.
                Step::Length(length) if number < synced || keeps() => resize(&mut content, *length),
                Step::Length(_) => {}
                Step::Write(offset, data) if number < synced => put(&mut content, *offset, data),
                Step::Write(offset, data) => {
                    let (mut at, mut rest) = (*offset, data.as_slice());
                    while !rest.is_empty() {
                        let within = usize::try_from(at).unwrap() % SECTOR;
                        let (sector, others) = rest.split_at(rest.len().min(SECTOR - within));
                        if keeps() {
                            put(&mut content, at, sector);
                        }
                        at += sector.len() as u64;
                        rest = others;
                    }
                }
            }
        }
        content
    }
}

fn resize(content: &mut Vec<u8>, length: u64) {
    content.resize(usize::try_from(length).unwrap(), 0);
}

fn put(content: &mut Vec<u8>, offset: u64, data: &[u8]) {
    let offset = usize::try_from(offset).unwrap();
    if content.len() < offset + data.len() {
        content.resize(offset + data.len(), 0);
    }
    content[offset..offset + data.len()].copy_from_slice(data);
}

impl Place for Disk {
    fn open(&self, _: bool) -> Result<Database, StoreError> {
        opened::on(self.clone())
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> Result<u64, io::Error> {
        Ok(self.lock().content.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), io::Error> {
        let recorded = self.lock();
        let offset = usize::try_from(offset).unwrap();
        let found = recorded.content.get(offset..offset + out.len());
        out.copy_from_slice(found.ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof))?);
        Ok(())
    }

    fn set_len(&self, length: u64) -> Result<(), io::Error> {
        let mut recorded = self.lock();
        resize(&mut recorded.content, length);
        recorded.steps.push(Step::Length(length));
        Ok(())
    }

    fn sync_data(&self) -> Result<(), io::Error> {
        self.lock().steps.push(Step::Sync);
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), io::Error> {
        let mut recorded = self.lock();
        put(&mut recorded.content, offset, data);
        recorded.steps.push(Step::Write(offset, data.to_vec()));
        Ok(())
    }
}

/// What is in a store.
pub(super) type Content = BTreeMap<Vec<u8>, (Revision, Vec<u8>)>;

pub(super) fn content(store: &RedbStore) -> Content {
    let all = Range { prefix: Vec::new(), after: None, limit: 10_000 };
    let page = store.range_blocking(&all).unwrap();
    assert!(!page.more);
    let entries = page.entries.into_iter();
    entries.map(|entry| (entry.key, (entry.revision, entry.value.to_vec()))).collect()
}

/// What is asked of the store, in one commit.
#[derive(Debug, Clone)]
enum Deed {
    /// A few keys get a value of this length.
    Put(Vec<u8>, usize),
    /// Keys go.
    Delete(Vec<u8>),
    /// A fact is set.
    Fact(u8),
    /// The daemon is restarted.
    Reopen,
}

fn deed() -> impl Strategy<Value = Deed> {
    let keys = || prop::collection::vec(0_u8..24, 1..5);
    prop_oneof![
        6 => (keys(), prop_oneof![4 => 0_usize..300, 1 => 3_000_usize..40_000])
            .prop_map(|(keys, length)| Deed::Put(keys, length)),
        2 => keys().prop_map(Deed::Delete),
        1 => any::<u8>().prop_map(Deed::Fact),
        1 => Just(Deed::Reopen),
    ]
}

/// What was done, and what was acknowledged when.
struct Done {
    disk: Disk,
    /// After how many steps of the disk what was there: content, revision, fact.
    acknowledged: Vec<(usize, Content, Revision, Option<Vec<u8>>)>,
}

impl Done {
    fn of(deeds: &[Deed]) -> Self {
        let runtime = Runtime::new().unwrap();
        runtime.block_on(async {
            let disk = Disk::with_store();
            let open = || RedbStore::at(disk.clone(), None).unwrap();
            let mut acknowledged = vec![(0, Content::new(), Revision::default(), None)];
            let mut store = Some(open());
            for (number, deed) in deeds.iter().enumerate() {
                let current = store.as_ref().unwrap();
                match deed {
                    Deed::Put(keys, length) => {
                        let mut transaction = Transaction::new();
                        let mut keys = keys.clone();
                        keys.sort_unstable();
                        keys.dedup();
                        for key in keys {
                            let value = vec![u8::try_from(number % 251).unwrap(); *length];
                            let there = current.get_blocking(&[key]).unwrap();
                            transaction.guards.push(match there {
                                Some(entry) => Guard::Unchanged(vec![key], entry.revision),
                                None => Guard::Absent(vec![key]),
                            });
                            transaction = transaction.put([key], value);
                        }
                        let done = current.commit(transaction).await.unwrap();
                        assert!(matches!(done, Commit::Applied { .. }));
                    }
                    Deed::Delete(keys) => {
                        let mut keys = keys.clone();
                        keys.sort_unstable();
                        keys.dedup();
                        let gone =
                            keys.into_iter().fold(Transaction::new(), |it, key| it.delete([key]));
                        let _ = current.commit(gone).await.unwrap();
                    }
                    Deed::Fact(value) => {
                        let fact = ("fact".to_owned(), Some(vec![*value; 40]));
                        current.set_facts(vec![fact]).await.unwrap();
                    }
                    Deed::Reopen => {
                        drop(store.take());
                        store = Some(open());
                    }
                }
                let current = store.as_ref().unwrap();
                let (revision, fact) = (current.revision()(), current.fact("fact").unwrap());
                acknowledged.push((disk.steps(), content(current), revision, fact));
            }
            drop(store);
            Self { disk, acknowledged }
        })
    }

    /// Cuts the power, opens what is left, and compares.
    fn cut(&self, steps: usize, keeps: &mut dyn FnMut() -> bool) {
        let left = Disk::with(self.disk.cut(steps, keeps));
        let store = RedbStore::at(left.clone(), None);
        let store = store.unwrap_or_else(|error| panic!("after {steps} steps: {error}"));
        let found = (content(&store), store.revision()(), store.fact("fact").unwrap());
        // What was acknowledged by then, or what was under way.
        let last = self.acknowledged.iter().rposition(|(done, ..)| *done <= steps).unwrap();
        let possible = &self.acknowledged[last..self.acknowledged.len().min(last + 2)];
        let is_possible = possible.iter().any(|(_, content, revision, fact)| {
            (content, revision, fact) == (&found.0, &found.1, &found.2)
        });
        assert!(is_possible, "after {steps} steps: revision {}, {:?}", found.1, possible.len());
        // It goes on, and that is durable too.
        let runtime = Runtime::new().unwrap();
        let goes_on = runtime.block_on(store.commit(Transaction::new().put("after", [1])));
        assert_eq!(goes_on.unwrap(), Commit::Applied { revision: found.1.next() });
        drop(store);
        let again = RedbStore::at(left, None).unwrap();
        assert_eq!(again.get_blocking(b"after").unwrap().unwrap().value[..], [1]);
    }
}

/// Draws as often as `share` of four.
fn drawn(seed: u64, share: u32) -> impl FnMut() -> bool {
    let mut state = seed | 1;
    move || {
        // xorshift64
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        u32::try_from(state >> 33).unwrap() % 4 < share
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    /// After a power cut at any step, whichever sectors that were not synced the disk has kept, the store opens by
    /// itself, and has every acknowledged change, whole.
    #[test]
    fn a_power_cut_at_any_step_loses_no_acknowledged_change(
        deeds in prop::collection::vec(deed(), 4..24),
        cuts in prop::collection::vec((any::<prop::sample::Index>(), any::<u64>(), 0_u32..=4), 32),
    ) {
        let done = Done::of(&deeds);
        for (step, seed, share) in cuts {
            done.cut(step.index(done.disk.steps() + 1), &mut drawn(seed, share));
        }
    }
}

/// Each step of a few changes, and of a restart.
#[test]
fn each_step_of_the_first_changes() {
    let put = |key: u8, length| Deed::Put(vec![key], length);
    let deeds =
        [put(1, 10), put(2, 9_000), Deed::Fact(1), put(1, 20), Deed::Delete(vec![2]), Deed::Reopen];
    let done = Done::of(&deeds);
    let all = done.disk.steps();
    assert!(all > 30, "{all}");
    for steps in 0..=all {
        for share in [0, 2, 4] {
            done.cut(steps, &mut drawn(u64::try_from(steps).unwrap() << 8 | 1, share));
        }
    }
}
