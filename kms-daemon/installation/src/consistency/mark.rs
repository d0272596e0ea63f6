//! The record beside the devices' files of the audit log and the store.
//!
//! `hsm/REGION/mark.json` lies beside the flashes and the registry and is copied and lost with them. It
//! is written at the start, every hour and at the stop, so it may lag, and is never ahead.

use std::path::{Path, PathBuf};
use std::{fs, io};

use serde::{Deserialize, Serialize};

use super::{ConsistencyError, Position, StoreMark};
use kms_base::durable;
use kms_base::identifier::is_region;

const NAME: &str = "mark.json";
const FORMAT: u32 = 1;

/// What log and store had, durably.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegionMark {
    format: u32,
    /// A line that the log has.
    pub log: Position,
    /// A revision that the store has.
    pub store: StoreMark,
}

impl RegionMark {
    /// A mark.
    #[must_use]
    pub fn new(log: Position, store: StoreMark) -> Self {
        Self { format: FORMAT, log, store }
    }

    /// Writes it for a Region, if that has files at all.
    ///
    /// # Errors
    /// [`ConsistencyError::File`].
    pub fn write(&self, data: &Path, region: &str) -> Result<(), ConsistencyError> {
        let dir = data.join("hsm").join(region);
        if !dir.is_dir() {
            return Ok(());
        }
        let path = dir.join(NAME);
        let text = serde_json::to_string_pretty(self).unwrap_or_default() + "\n";
        durable::write(&path, text.as_bytes(), 0o600).map_err(failed(&path))
    }
}

/// The marks of all Regions. One that cannot be read says nothing: what is beside it is still compared.
pub(super) fn read_all(data: &Path) -> Result<Vec<(String, RegionMark)>, ConsistencyError> {
    let mut marks = Vec::new();
    for (region, path) in files(data)? {
        match fs::read(&path) {
            Ok(bytes) => match serde_json::from_slice::<RegionMark>(&bytes) {
                Ok(mark) if mark.format == FORMAT => marks.push((region, mark)),
                _ => tracing::warn!(path = %path.display(), "is damaged and is not compared"),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(failed(&path)(source)),
        }
    }
    marks.sort_by(|one, other| one.0.cmp(&other.0));
    Ok(marks)
}

/// Removes the marks of all Regions: what they say was accepted as gone.
///
/// # Errors
/// [`ConsistencyError::File`].
pub fn forget_marks(data: &Path) -> Result<(), ConsistencyError> {
    for (_, path) in files(data)? {
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(failed(&path)(error));
            }
            _ => {}
        }
    }
    Ok(())
}

/// The Regions that have devices' files, and where their marks are.
fn files(data: &Path) -> Result<Vec<(String, PathBuf)>, ConsistencyError> {
    let all = data.join("hsm");
    let entries = match fs::read_dir(&all) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(failed(&all)(source)),
    };
    let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    let regions = names.filter(|name| is_region(name));
    Ok(regions.map(|region| (region.clone(), all.join(region).join(NAME))).collect())
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> ConsistencyError + use<> {
    let path = path.to_owned();
    move |source| ConsistencyError::File { path, source }
}
