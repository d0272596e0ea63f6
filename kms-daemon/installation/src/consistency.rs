//! Checks that the parts of a data directory belong together: store, audit log, and the devices' files.
//!
//! Each of the three records what it last knew about the others (ADR 19), and each is compared with
//! these records before anything is served or written. If something does not fit, the daemon refuses to
//! start and says what would be lost. `kmsctl accept` continues nevertheless, and that is recorded.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Value, json};

use kms_audit::{
    AuditError, AuditLog, Found, Holds, LineHash, Position, StoreId, StoreMark, StoreNow,
    created_keys,
};
use kms_base::space::Space;
use kms_keys::CatalogError;
use kms_keys::tokens::has_key;
use kms_store::{Facts, RedbStore, StoreError};

mod acceptance;
pub(crate) mod domains;
pub(crate) mod exchange;
mod mark;
mod mismatch;
pub(crate) mod records;

pub use acceptance::{About, Acceptance, AcceptanceError};
pub use domains::{Bound, Domains};
pub use exchange::{Exchange, PREFIX as EXCHANGE_PREFIX};
pub use mark::{RegionMark, forget_marks};
pub use mismatch::{Mismatch, StoreState, Witness};
pub use records::Records;

use mismatch::judge;

/// Fact of the store: its [`StoreId`].
pub(crate) const ID: &str = "id";
/// Fact of the store: what the audit log had when the store was last changed.
const LOG: &str = "log";
/// Fact of the store: what somebody has accepted, until that is recorded.
const ACCEPTED: &str = "accepted";

/// Why a data directory cannot be used as it is.
#[derive(Debug, thiserror::Error)]
pub enum ConsistencyError {
    /// It does not fit together.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// No store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The store's content cannot be read.
    #[error("cannot read the store: {0}")]
    Catalog(#[from] CatalogError),
    /// No audit log.
    #[error(transparent)]
    Audit(#[from] AuditError),
    /// What was accepted cannot be read or written.
    #[error(transparent)]
    Acceptance(#[from] AcceptanceError),
    /// A file beside the devices cannot be read or written.
    #[error("cannot access {path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the file system said.
        source: std::io::Error,
    },
}

/// What does not fit, and what to do about it.
#[derive(Debug, thiserror::Error)]
pub struct Refusal {
    data: PathBuf,
    mismatches: Vec<Mismatch>,
    code: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let data = self.data.display();
        writeln!(f, "the parts of {data} do not belong together; nothing was changed.")?;
        for mismatch in &self.mismatches {
            writeln!(f, "  * {mismatch}")?;
        }
        if !self.mismatches.iter().all(Mismatch::is_of_records) {
            f.write_str(
                "Restore store.redb, audit and hsm from one backup, or start over with a fresh \
                 data directory (--data DIR). ",
            )?;
        }
        write!(
            f,
            "To continue with the present parts, which the audit log records: kmsctl accept {} \
             --data {data}",
            self.code
        )
    }
}

/// A data directory that fits together, or that somebody has accepted as it is.
pub struct Fitting {
    data: PathBuf,
    store: Arc<RedbStore>,
    id: StoreId,
    log: Found,
}

impl Fitting {
    /// Compares what is in a data directory and opens its store. `audit` is the log's directory;
    /// `elsewhere` is where the records are, and how far these are, if the store has only facts. Where it does not fit
    /// nothing is written, other than the question whether that is accepted.
    ///
    /// # Errors
    /// [`ConsistencyError::Refused`] if it does not fit together and nobody has accepted that.
    pub async fn open(
        data: &Path,
        audit: &Path,
        space: Option<Arc<Space>>,
        elsewhere: Option<(&str, Records)>,
    ) -> Result<Self, ConsistencyError> {
        let path = data.join("store.redb");
        let open = async || match elsewhere {
            Some((place, _)) => RedbStore::open_beside(&path, space.clone(), place).await,
            None => RedbStore::open_in(&path, space.clone()),
        };
        let found = match path.exists() {
            true => Some(open().await?),
            false => None,
        };
        let state = found.as_ref().map(state).transpose()?.unwrap_or_default();
        let marks = mark::read_all(data)?;
        let witnesses: Vec<Position> =
            state.log.iter().copied().chain(marks.iter().map(|(_, mark)| mark.log)).collect();
        let log = AuditLog::find(audit, &witnesses)?;
        let mut mismatches = judge(&state, &log, &marks);
        let records = elsewhere.map(|(_, records)| records);
        if let (Some(now), Some(store)) = (records, found.as_ref().filter(|_| !state.accepted)) {
            mismatches.extend(now.judge(Records::known(store)?));
        }
        let mut facts = Facts::new();
        let mut id = state.id;
        if !mismatches.is_empty() {
            name_keys(&mut mismatches, audit, found.as_ref())?;
            let refusal = Refusal::new(data, mismatches);
            let acceptance = Acceptance::of_data(data);
            if !acceptance.is_given(&refusal.code)? {
                acceptance.ask(&refusal.code, About::Data, &refusal.to_string())?;
                return Err(refusal.into());
            }
            // From here on it is another store: the one that fitted is no later form of it.
            id = None;
            facts.push((LOG.to_owned(), None));
            if let Some(now) = records {
                facts.push((records::RECORDS.to_owned(), Some(now.bytes())));
            }
            facts.push((ACCEPTED.to_owned(), Some(refusal.details().to_string().into_bytes())));
        } else if !state.accepted {
            Acceptance::of_data(data).forget_data()?;
        }
        let store = match found {
            Some(store) => store,
            None => open().await?,
        };
        let id = match id {
            Some(id) => id,
            None => {
                let id = random_id()?;
                facts.push((ID.to_owned(), Some(id.0.to_vec())));
                id
            }
        };
        if !facts.is_empty() {
            store.set_facts(facts).await?;
        }
        Ok(Self { data: data.to_owned(), store: Arc::new(store), id, log })
    }

    /// The store.
    #[must_use]
    pub fn store(&self) -> Arc<RedbStore> {
        Arc::clone(&self.store)
    }

    /// What the lines of the log are to say of the store.
    #[must_use]
    pub fn now(&self) -> StoreNow {
        let (id, revision) = (self.id, self.store.revision());
        StoreNow(Arc::new(move || StoreMark { id, revision: revision().0 }))
    }

    /// The log as it was found, to be opened, and what is then to be done.
    #[must_use]
    pub fn into_parts(self) -> (Found, Settling) {
        let Self { data, store, id, log } = self;
        (log, Settling { data, store, id })
    }
}

/// What is left to be done once the log is open.
pub struct Settling {
    data: PathBuf,
    store: Arc<RedbStore>,
    id: StoreId,
}

impl Settling {
    /// Records what was accepted, and has the store say what the log has, now and with each change.
    ///
    /// # Errors
    /// [`ConsistencyError`]. It is done again at the next start.
    pub async fn finish(self, audit: &AuditLog) -> Result<Marks, ConsistencyError> {
        let accepted = self.store.fact(ACCEPTED)?;
        if let Some(accepted) = &accepted {
            let details: Value = serde_json::from_slice(accepted).unwrap_or_default();
            audit.accepted(&details).await?;
            tracing::warn!(%details, "parts that do not fit together were accepted as they are");
            mark::forget_marks(&self.data)?;
            if let Some(code) = details["code"].as_str() {
                Acceptance::of_data(&self.data).settle(code)?;
            }
        }
        let log = Some(position_bytes(audit.tip()));
        let facts = vec![(LOG.to_owned(), log), (ACCEPTED.to_owned(), None)];
        match self.store.set_facts(facts).await {
            // On a full disk administration is served, and what was known before is still true.
            Err(error) if accepted.is_none() => {
                tracing::warn!(%error, "the store cannot say what the audit log has");
            }
            done => done?,
        }
        let tip = audit.tip_now();
        self.store.keep_with_changes(move || position_bytes(tip()));
        Ok(Marks { data: self.data, store: self.store, id: self.id })
    }
}

/// Writes down now and then what the log and the store have, where the others can be compared with it.
pub struct Marks {
    data: PathBuf,
    store: Arc<RedbStore>,
    id: StoreId,
}

impl Marks {
    /// Has the store and the devices' files of these Regions say what the log has now. Failures are
    /// logged: the marks may lag, and are written again.
    pub async fn write(&self, audit: &AuditLog, regions: &[String]) {
        let revision = (self.store.revision())().0;
        let mark = RegionMark::new(audit.tip(), StoreMark { id: self.id, revision });
        let log = vec![(LOG.to_owned(), Some(position_bytes(mark.log)))];
        if let Err(error) = self.store.set_facts(log).await {
            tracing::warn!(%error, "the store cannot say what the audit log has");
        }
        for region in regions {
            if let Err(error) = mark.write(&self.data, region) {
                tracing::warn!(%error, region, "cannot write down what the audit log has");
            }
        }
    }
}

/// The id of a store, if it has one.
pub(crate) fn store_id(store: &RedbStore) -> Result<Option<StoreId>, StoreError> {
    Ok(store.fact(ID)?.and_then(|id| <[u8; 16]>::try_from(id).ok()).map(StoreId))
}

fn state(store: &RedbStore) -> Result<StoreState, StoreError> {
    let id = store_id(store)?;
    let log = store.fact(LOG)?.and_then(|log| read_position(&log));
    let accepted = store.fact(ACCEPTED)?.is_some();
    Ok(StoreState { id, revision: (store.revision())().0, log, accepted })
}

/// Names the keys that the log has and the store does not.
fn name_keys(
    mismatches: &mut [Mismatch],
    audit: &Path,
    store: Option<&RedbStore>,
) -> Result<(), ConsistencyError> {
    if mismatches.iter().any(Mismatch::is_of_log) {
        return Ok(());
    }
    for mismatch in mismatches {
        let Some((after, keys)) = mismatch.lost_keys() else { continue };
        let keys = keys.insert(Vec::new());
        let created = created_keys(audit, after);
        let created =
            created.map_err(|source| ConsistencyError::File { path: audit.to_owned(), source })?;
        for arn in created {
            let is_there = store.map_or(Ok(false), |store| has_key(store, &arn))?;
            if !is_there {
                keys.push(arn);
            }
        }
    }
    Ok(())
}

impl Refusal {
    fn new(data: &Path, mismatches: Vec<Mismatch>) -> Self {
        let code = mismatch::code(&mismatches);
        Self { data: data.to_owned(), mismatches, code }
    }

    /// As it is recorded.
    fn details(&self) -> Value {
        let texts: Vec<String> = self.mismatches.iter().map(Mismatch::to_string).collect();
        json!({ "code": self.code, "mismatches": texts })
    }
}

pub(crate) fn random_id() -> Result<StoreId, ConsistencyError> {
    let mut id = [0; 16];
    getrandom::fill(&mut id).map_err(|error| StoreError::Engine(error.to_string()))?;
    Ok(StoreId(id))
}

/// The stored form of a position: sequence (u64, little-endian), hash.
fn position_bytes(position: Position) -> Vec<u8> {
    [position.sequence.to_le_bytes().as_slice(), &position.hash.0].concat()
}

fn read_position(bytes: &[u8]) -> Option<Position> {
    let (sequence, hash) = bytes.split_first_chunk()?;
    let hash = LineHash(hash.try_into().ok()?);
    Some(Position { sequence: u64::from_le_bytes(*sequence), hash })
}
