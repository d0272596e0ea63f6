//! Due dates in the store: what the service does to keys by the calendar.

use std::collections::VecDeque;

use super::{Catalog, CatalogError, layout};
use kms_base::clock::Timestamp;
use kms_base::identifier::{KeyId, Scope};
use kms_store::Range;

/// Due dates read at a time.
const BATCH: usize = 100;

/// The dates of one kind up to now, the earliest first.
pub struct DueDates<'c> {
    catalog: &'c Catalog,
    prefix: &'static str,
    now: Timestamp,
    page: VecDeque<Vec<u8>>,
    /// Where the next page starts; `None` if there is none.
    after: Option<Option<Vec<u8>>>,
}

impl<'c> DueDates<'c> {
    /// When keys are to be destroyed.
    pub fn deletions(catalog: &'c Catalog, now: Timestamp) -> Self {
        Self::new(catalog, layout::DELETIONS, now)
    }

    /// When keys are to be rotated.
    pub fn rotations(catalog: &'c Catalog, now: Timestamp) -> Self {
        Self::new(catalog, layout::ROTATIONS, now)
    }

    /// When imported material expires.
    pub fn expiries(catalog: &'c Catalog, now: Timestamp) -> Self {
        Self::new(catalog, layout::EXPIRIES, now)
    }

    /// Dates of the kind whose entries start with `prefix`.
    fn new(catalog: &'c Catalog, prefix: &'static str, now: Timestamp) -> Self {
        Self { catalog, prefix, now, page: VecDeque::new(), after: Some(None) }
    }

    /// The next date, and whose it is.
    pub async fn next(&mut self) -> Result<Option<(Timestamp, Scope, KeyId)>, CatalogError> {
        loop {
            let Some(entry) = self.page.pop_front() else {
                let Some(after) = self.after.take() else { return Ok(None) };
                self.read(after).await?;
                continue;
            };
            match layout::parse_due(self.prefix, &entry) {
                Some((due, ..)) if due > self.now => return Ok(None),
                Some(found) => return Ok(Some(found)),
                None => tracing::error!(key = %entry.escape_ascii(), "not a due date"),
            }
        }
    }

    async fn read(&mut self, after: Option<Vec<u8>>) -> Result<(), CatalogError> {
        let range = Range { prefix: self.prefix.into(), after, limit: BATCH };
        let page = self.catalog.store.range(range).await?.value;
        self.page = page.entries.into_iter().map(|entry| entry.key).collect();
        let last = self.page.back().filter(|_| page.more);
        self.after = last.map(|last| Some(last.clone()));
        Ok(())
    }
}
