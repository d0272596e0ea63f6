//! What a data directory knows of records that are elsewhere: which cluster has them, and how far that was.
//!
//! It lags, and is never ahead of what the cluster had. A cluster that is before it was put back to an older state.

use super::Mismatch;
use kms_store::{RedbStore, StoreError};

/// Fact of the store: the cluster (u64, little-endian), and its revision (u64, little-endian).
pub(crate) const RECORDS: &str = "records";

/// A revision of a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Records {
    /// The cluster, by the number that it has for itself. One that was restored from a snapshot has another number,
    /// unless it was given the same members and token.
    pub cluster: u64,
    /// Its revision.
    pub revision: u64,
}

impl Records {
    /// Has the store of a data directory know this.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn note(self, store: &RedbStore) -> Result<(), StoreError> {
        store.set_facts(vec![(RECORDS.to_owned(), Some(self.bytes()))]).await
    }

    /// What the store of a data directory knows.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn known(store: &RedbStore) -> Result<Option<Self>, StoreError> {
        let bytes = store.fact(RECORDS)?;
        Ok(bytes.as_deref().and_then(Self::read))
    }

    /// Compares what is there with what was known.
    pub(super) fn judge(self, known: Option<Self>) -> Option<Mismatch> {
        let known = known?;
        if known.cluster != self.cluster {
            Some(Mismatch::RecordsElsewhere { known: known.revision, cluster: known.cluster })
        } else if self.revision < known.revision {
            Some(Mismatch::RecordsOlder { known: known.revision })
        } else {
            None
        }
    }

    pub(super) fn bytes(self) -> Vec<u8> {
        [self.cluster.to_le_bytes(), self.revision.to_le_bytes()].concat()
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let (cluster, revision) = bytes.split_first_chunk()?;
        let revision = u64::from_le_bytes(revision.try_into().ok()?);
        Some(Self { cluster: u64::from_le_bytes(*cluster), revision })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_that_is_before_what_it_was_is_noticed() {
        let at = |cluster, revision| Records { cluster, revision };
        assert_eq!(Records::read(&at(7, 9).bytes()), Some(at(7, 9)));
        assert_eq!(at(1, 5).judge(None), None);
        assert_eq!(at(1, 5).judge(Some(at(1, 5))), None);
        assert_eq!(at(1, 6).judge(Some(at(1, 5))), None);
        assert_eq!(at(1, 4).judge(Some(at(1, 5))), Some(Mismatch::RecordsOlder { known: 5 }));
        let elsewhere = Mismatch::RecordsElsewhere { known: 5, cluster: 1 };
        assert_eq!(at(2, 900).judge(Some(at(1, 5))), Some(elsewhere));
    }
}
