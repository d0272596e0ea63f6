//! The possible mismatches between store, audit log and devices.

use std::fmt;

use sha2::{Digest, Sha256};

use super::{Found, Holds, Position, RegionMark, StoreId};
use kms_base::hex;

/// Keys that are named; the others are counted.
const NAMED: usize = 5;

/// What a store says of itself.
#[derive(Debug, Clone, Default)]
pub struct StoreState {
    /// Its name; `None` if there is no store, or a release wrote it that gave none.
    pub id: Option<StoreId>,
    /// Its revision.
    pub revision: u64,
    /// What the audit log had when it was last changed.
    pub log: Option<Position>,
    /// Whether it is what somebody has accepted, and that is yet to be recorded.
    pub accepted: bool,
}

/// Who says what the audit log had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Witness {
    /// The store.
    Store,
    /// The files of a Region's devices.
    Devices(String),
}

/// What does not fit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mismatch {
    /// There is no store, or an empty one, beside an audit log.
    StoreMissing {
        /// Records of the log.
        records: u64,
        /// Keys that the log tells of; `None` if the log does not fit either.
        keys: Option<Vec<String>>,
    },
    /// The store is an older copy.
    StoreOlder {
        /// Its revision.
        has: u64,
        /// Its revision that was known.
        known: u64,
        /// Keys that were made since; `None` if the log does not fit either.
        keys: Option<Vec<String>>,
    },
    /// The store is not the one that the audit log tells of.
    StoreForeign,
    /// There is no audit log beside a store.
    LogMissing {
        /// Changes of the store.
        changes: u64,
    },
    /// The audit log ends before what it is known to have had.
    LogOlder {
        /// Its last record.
        ends: u64,
        /// The record that it had.
        known: u64,
        /// Who knows.
        witness: Witness,
    },
    /// The audit log has another record where one is known.
    LogForeign {
        /// The record.
        sequence: u64,
        /// Who knows.
        witness: Witness,
    },
    /// The cluster that has the records was put back to an older state.
    RecordsOlder {
        /// Its revision that was known.
        known: u64,
    },
    /// The records are in another cluster than before.
    RecordsElsewhere {
        /// The revision that was known of the former one.
        known: u64,
        /// The former one.
        cluster: u64,
    },
}

/// Compares. `log` was asked for what `store` and then each of `marks` says.
pub(super) fn judge(
    store: &StoreState,
    log: &Found,
    marks: &[(String, RegionMark)],
) -> Vec<Mismatch> {
    let told = store.log.is_some().then_some(Witness::Store);
    let witnesses =
        told.into_iter().chain(marks.iter().map(|(name, _)| Witness::Devices(name.clone())));
    let known = store.log.into_iter().chain(marks.iter().map(|(_, mark)| mark.log));
    let held = witnesses.zip(known).zip(log.holds().iter().copied());
    let held: Vec<_> = held.map(|((witness, known), holds)| (witness, known, holds)).collect();
    compare(store, (log.tip().sequence, log.store()), &held, marks)
}

fn compare(
    store: &StoreState,
    (records, told): (u64, Option<super::StoreMark>),
    held: &[(Witness, Position, Holds)],
    marks: &[(String, RegionMark)],
) -> Vec<Mismatch> {
    if store.accepted {
        return Vec::new();
    }
    let mut found = Vec::new();
    let is_empty = store.id.is_none() && store.revision == 0;
    if is_empty {
        if records > 0 {
            found.push(Mismatch::StoreMissing { records, keys: None });
        }
    } else {
        // What the devices' files say counts where the log was replaced as well.
        let marks = marks.iter().map(|(_, mark)| mark.store);
        let newest = told.into_iter().chain(marks.filter(|mark| Some(mark.id) == store.id));
        let known = newest.map(|mark| (mark.revision, mark.id)).max_by_key(|known| known.0);
        match (known, store.id) {
            (Some((known, id)), Some(own)) if id == own && store.revision < known => {
                let (has, keys) = (store.revision, None);
                found.push(Mismatch::StoreOlder { has, known, keys });
            }
            // A copy of the time when stores had no name.
            (Some((known, _)), None) => {
                let (has, keys) = (store.revision, None);
                found.push(Mismatch::StoreOlder { has, known, keys });
            }
            _ => {}
        }
        if told.is_some_and(|told| store.id.is_some_and(|own| own != told.id)) {
            found.push(Mismatch::StoreForeign);
        }
        if records == 0 && store.revision > 0 {
            found.push(Mismatch::LogMissing { changes: store.revision });
        }
    }
    if records == 0 && !is_empty {
        return found; // what is missing of it need not be said
    }
    for (witness, known, holds) in held {
        let witness = witness.clone();
        match holds {
            Holds::Yes => {}
            Holds::Ends => {
                found.push(Mismatch::LogOlder { ends: records, known: known.sequence, witness })
            }
            Holds::Differs => {
                found.push(Mismatch::LogForeign { sequence: known.sequence, witness });
            }
        }
    }
    found
}

/// What accepts these and no others.
pub(super) fn code(mismatches: &[Mismatch]) -> String {
    let mut digest = Sha256::new().chain_update("strongroom-accept-v1");
    for mismatch in mismatches {
        let text = format!("{mismatch:?}");
        digest.update((text.len() as u64).to_le_bytes());
        digest.update(text);
    }
    hex::encode(&digest.finalize()[..4])
}

impl Mismatch {
    /// Whether the log is not what it was, so that it does not tell which keys there were.
    pub(super) fn is_of_log(&self) -> bool {
        !matches!(self, Self::StoreMissing { .. } | Self::StoreOlder { .. })
    }

    /// Whether it is about records that are not in the data directory, which a backup of that does not bring back.
    pub(super) const fn is_of_records(&self) -> bool {
        matches!(self, Self::RecordsOlder { .. } | Self::RecordsElsewhere { .. })
    }

    /// The revision that keys may have been made after, and where their ARNs go; `None` if this loses
    /// none.
    pub(super) fn lost_keys(&mut self) -> Option<(u64, &mut Option<Vec<String>>)> {
        match self {
            Self::StoreMissing { keys, .. } => Some((0, keys)),
            Self::StoreOlder { has, keys, .. } => Some((*has, keys)),
            _ => None,
        }
    }
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::StoreMissing { records, keys } => {
                write!(
                    f,
                    "There is no store (store.redb is missing or empty), but an audit log of {records} \
                     records. Every key, alias, grant and identity is lost without it"
                )?;
                name(f, keys.as_deref(), "the log shows no key that was made")
            }
            Self::StoreOlder { has, known, keys } => {
                write!(
                    f,
                    "The store (store.redb) is an older copy: it has {has} changes, and had {known}. \
                     What was changed since is lost: keys, disabled keys, policies, grants, users"
                )?;
                name(f, keys.as_deref(), "no key was made since")
            }
            Self::StoreForeign => f.write_str(
                "The store (store.redb) is not the one that the audit log (audit) describes: one \
                 of the two was replaced. The log does not show what was done with the keys of \
                 this store.",
            ),
            Self::LogMissing { changes } => write!(
                f,
                "There is no audit log (audit is missing or empty), but a store with {changes} \
                 changes. What was done with its keys is no longer known."
            ),
            Self::LogOlder { ends, known, witness } => write!(
                f,
                "The audit log (audit) is an older copy: it ends with record {ends}, and {witness} \
                 that it had record {known}. What was done in between is no longer known."
            ),
            Self::LogForeign { sequence, witness } => write!(
                f,
                "The audit log (audit) is another one: its record {sequence} is not the one that \
                 {witness}. What was done with the keys here is not known."
            ),
            Self::RecordsOlder { known } => write!(
                f,
                "The records in etcd are of an older state: the cluster had revision {known}, and is before that \
                 now. Keys that were made since are lost, and keys that were disabled or deleted since work again: \
                 compare with the audit log, and do it again."
            ),
            Self::RecordsElsewhere { known, cluster } => write!(
                f,
                "The records are in another etcd cluster than before, or the cluster was restored from a snapshot: it \
                 was {cluster:x}, at revision {known}. What was changed after the snapshot or the export is lost, and \
                 keys that were disabled or deleted since work again: compare with the audit log, and do it again."
            ),
        }
    }
}

impl fmt::Display for Witness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Store => f.write_str("the store knows"),
            Self::Devices(region) => write!(f, "the devices' files (hsm/{region}) know"),
        }
    }
}

/// Names some keys, in a sentence's end.
fn name(f: &mut fmt::Formatter<'_>, keys: Option<&[String]>, none: &str) -> fmt::Result {
    let Some(keys) = keys else {
        return f.write_str("; it is not known which keys there were.");
    };
    match keys.len() {
        0 => return write!(f, "; {none}."),
        1 => f.write_str("; 1 key is missing: ")?,
        count => write!(f, "; {count} keys are missing: ")?,
    }
    f.write_str(&keys[..keys.len().min(NAMED)].join(", "))?;
    match keys.len().saturating_sub(NAMED) {
        0 => f.write_str("."),
        more => write!(f, " and {more} more."),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{LineHash, StoreMark};
    use super::*;

    const OWN: StoreId = StoreId([1; 16]);

    fn store(revision: u64) -> StoreState {
        StoreState { id: Some(OWN), revision, log: None, accepted: false }
    }

    fn told(revision: u64) -> Option<StoreMark> {
        Some(StoreMark { id: OWN, revision })
    }

    fn at(sequence: u64) -> Position {
        Position { sequence, hash: LineHash([9; 32]) }
    }

    #[test]
    fn what_fits_is_accepted() {
        let empty = StoreState::default();
        // The very first start, whatever it was that a crash has left.
        assert_eq!(compare(&empty, (0, None), &[], &[]), []);
        assert_eq!(compare(&store(0), (0, None), &[], &[]), []);
        assert_eq!(compare(&store(0), (1, told(0)), &[], &[]), []);
        // The store may be ahead of what the log tells: a crash came before the record.
        assert_eq!(compare(&store(70), (9, told(60)), &[], &[]), []);
        let held = [(Witness::Store, at(9), Holds::Yes)];
        assert_eq!(compare(&store(70), (9, told(60)), &held, &[]), []);
        // Written by a release that had no marks.
        let former = StoreState { id: None, ..store(5) };
        assert_eq!(compare(&former, (9, None), &[], &[]), []);
    }

    #[test]
    fn what_does_not_fit_is_told_apart() {
        let empty = StoreState::default();
        let missing = Mismatch::StoreMissing { records: 9, keys: None };
        assert_eq!(compare(&empty, (9, None), &[], &[]), std::slice::from_ref(&missing));
        assert_eq!(compare(&empty, (9, told(4)), &[], &[]), [missing]);
        let older = |has, known| Mismatch::StoreOlder { has, known, keys: None };
        assert_eq!(compare(&store(50), (9, told(60)), &[], &[]), [older(50, 60)]);
        let former = StoreState { id: None, ..store(5) };
        assert_eq!(compare(&former, (9, told(6)), &[], &[]), [older(5, 6)]);
        let foreign = StoreState { id: Some(StoreId([2; 16])), ..store(50) };
        assert_eq!(compare(&foreign, (9, told(60)), &[], &[]), [Mismatch::StoreForeign]);
        assert_eq!(compare(&store(3), (0, None), &[], &[]), [Mismatch::LogMissing { changes: 3 }]);
        let held = [(Witness::Store, at(12), Holds::Ends)];
        let log = Mismatch::LogOlder { ends: 9, known: 12, witness: Witness::Store };
        assert_eq!(compare(&store(3), (9, told(3)), &held, &[]), [log]);
        let held = [(Witness::Store, at(8), Holds::Differs)];
        let log = Mismatch::LogForeign { sequence: 8, witness: Witness::Store };
        assert_eq!(compare(&store(3), (9, told(3)), &held, &[]), [log]);
    }

    /// Store and log were restored, and the devices' files were not.
    #[test]
    fn devices_know_better() {
        let mark = RegionMark::new(at(20), StoreMark { id: OWN, revision: 60 });
        let witness = Witness::Devices("us-east-1".to_owned());
        let marks = [("us-east-1".to_owned(), mark)];
        let held = [(witness.clone(), at(20), Holds::Ends)];
        let found = compare(&store(50), (9, told(50)), &held, &marks);
        let older = Mismatch::StoreOlder { has: 50, known: 60, keys: None };
        assert_eq!(found, [older, Mismatch::LogOlder { ends: 9, known: 20, witness }]);
    }

    #[test]
    fn a_code_is_for_one_thing() {
        let one = Mismatch::LogMissing { changes: 1 };
        let two = Mismatch::LogMissing { changes: 2 };
        let codes =
            [code(std::slice::from_ref(&one)), code(std::slice::from_ref(&two)), code(&[one, two])];
        assert!(codes.iter().all(|code| code.len() == 8));
        assert_eq!(codes.iter().collect::<std::collections::BTreeSet<_>>().len(), 3);
    }

    #[test]
    fn keys_are_named() {
        let keys = Some((1..8).map(|n| format!("key-{n}")).collect());
        let text = Mismatch::StoreOlder { has: 1, known: 2, keys }.to_string();
        assert!(text.contains("7 keys are missing: key-1, key-2"), "{text}");
        assert!(text.ends_with("key-5 and 2 more."), "{text}");
        let text = Mismatch::StoreOlder { has: 1, known: 2, keys: None }.to_string();
        assert!(text.ends_with("it is not known which keys there were."), "{text}");
    }
}
