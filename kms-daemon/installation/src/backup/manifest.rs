//! The manifest of a backup: it comes first, and the files follow in its order.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::path::{Component, Path};

use serde::{Deserialize, Serialize};

use super::BackupError;
use kms_audit::Position;

/// Longest manifest, in bytes: a hundred thousand files.
const LONGEST: u32 = 16 << 20;
/// The format that is written and read.
const FORMAT: u32 = 1;
/// The store in a backup and in a data directory.
pub(super) const STORE: &str = "store.redb";
/// The audit log there.
pub(super) const AUDIT: &str = "audit";

/// What is in a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Manifest {
    format: u32,
    /// When the snapshot was taken, ISO 8601.
    pub created: String,
    /// Version of the program that made it.
    pub version: String,
    /// Revision of the store.
    pub store_revision: u64,
    /// The last record of the audit log.
    pub audit: Position,
    /// The Regions, with their domains and devices.
    pub regions: Vec<RegionOf>,
    /// The files, with paths relative to the data directory, in the order of their content.
    pub files: Vec<FileOf>,
}

/// A Region in a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RegionOf {
    /// Its name.
    pub region: String,
    /// The domain that its keys are of.
    pub domain: Option<String>,
    /// The lines to its devices, as they were last used.
    pub lines: Vec<String>,
    /// Devices whose flash is in the backup. Each holds the domain key, in the clear unless its board
    /// can seal it.
    pub flashes: Vec<String>,
}

/// A file in a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FileOf {
    /// Where it belongs.
    pub path: String,
    /// Its size.
    pub bytes: u64,
}

impl Manifest {
    pub(super) fn new(
        (created, store_revision, audit): (String, u64, Position),
        regions: Vec<RegionOf>,
        files: Vec<FileOf>,
    ) -> Self {
        let version = env!("CARGO_PKG_VERSION").to_owned();
        Self { format: FORMAT, created, version, store_revision, audit, regions, files }
    }

    /// The domains whose keys the backup can bring back by itself.
    #[must_use]
    pub fn domains_held(&self) -> Vec<String> {
        let held = self.regions.iter().filter(|region| !region.flashes.is_empty());
        held.filter_map(|region| region.domain.clone()).collect()
    }

    /// Bytes of all files.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.files.iter().fold(0, |sum, file| sum.saturating_add(file.bytes))
    }

    pub(super) fn write(&self, to: &mut impl Write) -> Result<(), BackupError> {
        let text = serde_json::to_vec(self).map_err(|e| BackupError::Manifest(e.to_string()))?;
        let length = u32::try_from(text.len()).ok().filter(|length| *length <= LONGEST);
        let length = length.ok_or_else(|| BackupError::Manifest("too many files".to_owned()))?;
        to.write_all(&length.to_be_bytes())?;
        Ok(to.write_all(&text)?)
    }

    pub(super) fn read(from: &mut impl Read) -> Result<Self, BackupError> {
        let mut length = [0; 4];
        from.read_exact(&mut length)?;
        let length = u32::from_be_bytes(length);
        if length > LONGEST {
            return Err(BackupError::Manifest("it is too long".to_owned()));
        }
        let mut text = Vec::new();
        from.take(length.into()).read_to_end(&mut text)?;
        #[derive(Deserialize)]
        struct Any {
            format: u32,
        }
        let malformed = |error: serde_json::Error| BackupError::Manifest(error.to_string());
        let Any { format } = serde_json::from_slice(&text).map_err(malformed)?;
        if format > FORMAT {
            return Err(BackupError::Newer);
        }
        let manifest: Self = serde_json::from_slice(&text).map_err(malformed)?;
        manifest.check()?;
        Ok(manifest)
    }

    /// Refuses paths that lead elsewhere. Whoever knows the passphrase could have made them.
    fn check(&self) -> Result<(), BackupError> {
        let mut seen = BTreeSet::new();
        for FileOf { path, .. } in &self.files {
            let plain =
                Path::new(path).components().all(|part| matches!(part, Component::Normal(_)));
            let usual = !path.is_empty() && !path.ends_with('/') && !path.contains("//");
            let clear = !path.contains(['\0', '\n']) && !path.split('/').any(|part| part == ".");
            if !(plain && usual && clear && seen.insert(path.as_str())) {
                return Err(BackupError::Manifest(format!("a file {path:?}")));
            }
        }
        if !seen.contains(STORE) {
            return Err(BackupError::Manifest("it has no store".to_owned()));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(paths: &[&str]) -> Manifest {
        let file = |path: &&str| FileOf { path: (*path).to_owned(), bytes: 1 };
        let at = ("2026-11-28T03:00:00Z".to_owned(), 7, Position::default());
        Manifest::new(at, Vec::new(), paths.iter().map(file).collect())
    }

    fn reread(manifest: &Manifest) -> Result<Manifest, BackupError> {
        let mut bytes = Vec::new();
        manifest.write(&mut bytes).unwrap();
        Manifest::read(&mut &*bytes)
    }

    #[test]
    fn paths_stay_in_the_directory() {
        let good = manifest(&["store.redb", "audit/HEAD", "hsm/us-east-1/soft-0.flash"]);
        assert_eq!(reread(&good).unwrap(), good);
        let bad = ["../x", "/etc/x", "a/../../x", "", "a/", "a//b", "./a", "a/./b", "store.redb"];
        for path in bad {
            let refused = reread(&manifest(&["store.redb", path]));
            assert!(matches!(refused, Err(BackupError::Manifest(_))), "{path:?}");
        }
        assert!(matches!(reread(&manifest(&["audit/HEAD"])), Err(BackupError::Manifest(_))));
    }

    #[test]
    fn later_formats_and_long_ones_are_refused() {
        let mut later = manifest(&["store.redb"]);
        later.format = 2;
        assert!(matches!(reread(&later), Err(BackupError::Newer)));
        let long = [u32::MAX.to_be_bytes().as_slice(), b"{}"].concat();
        assert!(matches!(Manifest::read(&mut &*long), Err(BackupError::Manifest(_))));
    }
}
