//! How an export differs from a store.

use std::cmp::Ordering;
use std::collections::VecDeque;

use serde::Serialize;

use super::file::ExportFile;
use super::{TransferError, is_carried};
use kms_store::{Entry, Scan};

/// Keys that are named of each kind; the others are counted.
const NAMED: usize = 10;

/// How an export differs from a store at one revision.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Difference {
    /// Revision of the store.
    pub revision: u64,
    /// Records that are the same.
    pub same: u64,
    /// Records that are in both and differ.
    pub changed: u64,
    /// Records of the store that the export does not have.
    pub missing: u64,
    /// Records of the export that the store does not have.
    pub gone: u64,
    /// Some of those that differ, are missing or gone.
    pub named: Vec<String>,
}

impl Difference {
    /// Whether there is none.
    #[must_use]
    pub const fn is_none(&self) -> bool {
        self.changed == 0 && self.missing == 0 && self.gone == 0
    }

    fn name(&mut self, what: &str, key: &[u8]) {
        if self.named.len() < NAMED {
            self.named.push(format!("{what}: {}", String::from_utf8_lossy(key)));
        }
    }
}

/// Compares every record that is carried. Blocks between reads of the store.
///
/// # Errors
/// [`TransferError`].
pub async fn difference(file: &ExportFile<'_>, scan: Scan) -> Result<Difference, TransferError> {
    let mut found = Difference { revision: scan.revision().0, ..Difference::default() };
    compare(file, scan, &mut |of_store, of_file| {
        match (of_store, of_file) {
            (Some(one), Some(other)) if one.value == other.value => found.same += 1,
            (Some(one), Some(_)) => {
                found.changed += 1;
                found.name("differs", &one.key);
            }
            (Some(one), None) => {
                found.missing += 1;
                found.name("not in the export", &one.key);
            }
            (None, Some(other)) => {
                found.gone += 1;
                found.name("not in the store", &other.key);
            }
            (None, None) => {}
        }
        Ok(())
    })
    .await?;
    Ok(found)
}

/// Gets each record of a store, of a file, or of both.
type Visit<'t> =
    &'t mut (dyn FnMut(Option<&Entry>, Option<&Entry>) -> Result<(), TransferError> + Send);

/// Reads a file and a store side by side. Blocks between reads of the store.
///
/// # Errors
/// [`TransferError`], also that of `visit`.
pub(super) async fn compare(
    file: &ExportFile<'_>,
    mut scan: Scan,
    visit: Visit<'_>,
) -> Result<(), TransferError> {
    let mut records = file.records()?;
    let mut of_file = records.next()?;
    let mut page: VecDeque<Entry> = VecDeque::new();
    loop {
        if page.is_empty() {
            page.extend(scan.next().await?);
        }
        let key = page.front().map(|entry| entry.key.clone());
        if key.as_ref().is_some_and(|key| !is_carried(key)) {
            page.pop_front();
            continue;
        }
        let order = match (&key, &of_file) {
            (None, None) => return Ok(()),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(key), Some(other)) => key.cmp(&other.key),
        };
        let of_store = if order == Ordering::Greater { None } else { page.pop_front() };
        let other = if order == Ordering::Less { None } else { of_file.take() };
        visit(of_store.as_ref(), other.as_ref())?;
        if order != Ordering::Less {
            of_file = records.next()?;
        }
    }
}
