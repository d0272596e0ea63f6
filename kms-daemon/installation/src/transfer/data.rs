//! Data directories that take the records of an export, or give their own up to a shared store.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use serde_json::json;

use super::file::ExportFile;
use super::import::{Imported, import};
use super::{Progress, TransferError};
use crate::consistency::{self, random_id};
use crate::data_dir::DataDir;
use kms_audit::{AuditLog, StoreId};
use kms_store::import::MARK;
use kms_store::{BlockingReads as _, RedbStore, Revision, Store, StoreError};

/// The store in a data directory.
const STORE: &str = "store.redb";
/// The audit log in a data directory.
const AUDIT: &str = "audit";
/// Fact of the store: it is about to take the records of a file, and the audit log does not say so yet.
const MOVING: &str = "moving";
/// The event of the audit log.
const EVENT: &str = "MoveStore";

/// What became of a data directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moved {
    /// None was named.
    Nothing,
    /// It has the records now.
    Took,
    /// It has given its records up.
    GaveUp,
    /// It already was as it should be.
    Before,
}

/// Returns the id of the store in a file, if it has one.
///
/// # Errors
/// [`StoreError`].
pub fn store_id(store: &RedbStore) -> Result<Option<StoreId>, StoreError> {
    consistency::store_id(store)
}

/// Imports a file into the data directory `dir`: one that is new, or one whose records are elsewhere. Its audit log
/// goes on, and records the move. Blocks between calls of the store.
///
/// # Errors
/// [`TransferError`].
pub async fn into_data(
    dir: &Path,
    file: &ExportFile<'_>,
    progress: Progress<'_>,
) -> Result<(Imported, Moved), TransferError> {
    let lock = DataDir::open(dir)?;
    let (path, audit) = (lock.path().join(STORE), lock.path().join(AUDIT));
    let place = path.display().to_string();
    let has_log = fs::read_dir(&audit).is_ok_and(|mut entries| entries.next().is_some());
    let store = RedbStore::open_for_import(&path)?;
    let elsewhere = store.elsewhere()?;
    let is_begun = store.fact(MOVING)?.is_some();
    let has_changes = store.revision()() > Revision::default();
    if elsewhere.is_some() || !has_changes {
        let mut facts = vec![(MOVING.to_owned(), Some(place.clone().into_bytes()))];
        // Whatever cluster has the records one day, it is not to be compared with the former one.
        facts.push((consistency::records::RECORDS.to_owned(), None));
        if elsewhere.is_none() && has_log && !is_begun && store_id(&store)?.is_none() {
            // It is another store than the one that the log tells of: that is for a person to accept (ADR 19).
            facts.push((consistency::ID.to_owned(), Some(random_id()?.0.to_vec())));
        }
        store.set_facts(facts).await?;
    } else if store.get_blocking(MARK)?.is_none() {
        return Err(TransferError::NotEmpty(place));
    }
    let imported = import(file, &store, &place, progress).await?;
    if store.fact(MOVING)?.is_none() {
        return Ok((imported, Moved::Before));
    }
    record(&audit, file, elsewhere.as_deref(), &place).await?;
    store.take_records(MOVING).await?;
    Ok((imported, Moved::Took))
}

/// Imports a file into a shared store. A data directory whose store the file was made of gives its records up, once
/// all of them are there. Blocks between calls of the store.
///
/// # Errors
/// [`TransferError`]; [`TransferError::Changed`] and [`TransferError::OtherStore`], before anything is written, if
/// the data directory has what would be lost.
pub async fn into_shared(
    store: &dyn Store,
    place: &str,
    dir: Option<&Path>,
    file: &ExportFile<'_>,
    progress: Progress<'_>,
) -> Result<(Imported, Moved), TransferError> {
    let Some(dir) = dir else {
        return Ok((import(file, store, place, progress).await?, Moved::Nothing));
    };
    let lock = DataDir::open(dir)?;
    let (path, audit) = (lock.path().join(STORE), lock.path().join(AUDIT));
    if !path.exists() {
        return Err(TransferError::OtherStore(lock.path().to_owned()));
    }
    let own = RedbStore::open_for_import(&path)?;
    let elsewhere = own.elsewhere()?;
    if elsewhere.is_none() {
        check_same(&own, lock.path(), file)?;
    }
    let imported = import(file, store, place, progress).await?;
    if elsewhere.is_some() {
        return Ok((imported, Moved::Before));
    }
    record(&audit, file, None, place).await?;
    own.give_up_records(&path, place)?;
    Ok((imported, Moved::GaveUp))
}

/// The file has everything that the store has.
fn check_same(own: &RedbStore, data: &Path, file: &ExportFile<'_>) -> Result<(), TransferError> {
    let header = file.header();
    let id = store_id(own)?;
    if id.is_none() || id != header.store {
        return Err(TransferError::OtherStore(data.to_owned()));
    }
    let has = (own.revision())().0;
    match has == header.revision {
        true => Ok(()),
        false => {
            let (data, exported) = (data.to_owned(), header.revision);
            Err(TransferError::Changed { data, has, exported })
        }
    }
}

/// Has the audit log of a data directory say that the records have moved.
async fn record(
    audit: &Path,
    file: &ExportFile<'_>,
    former: Option<&str>,
    place: &str,
) -> Result<(), TransferError> {
    let header = file.header();
    let from = former.unwrap_or(&header.from);
    let details = json!({
        "from": from, "to": place, "records": file.count(), "revision": header.revision,
        "exported": header.created, "sha256": file.sha256(),
    });
    let about = json!({ "program": "kmsctl store import" });
    let (log, _) = AuditLog::open(audit, about).await?;
    let log = Arc::new(log);
    log.installation_event(EVENT, &details).await.map_err(TransferError::Unrecorded)
}
