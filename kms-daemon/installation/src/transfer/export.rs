//! Writes an export under a temporary name, makes it durable, reads it back, and only then gives it its name.

use std::io::BufWriter;
use std::path::{Path, PathBuf};

use super::file::{ExportFile, Header, seal};
use super::{Progress, TransferError, is_carried};
use crate::backup::create::{Partial, place};
use kms_base::passphrase::Passphrase;
use kms_store::Scan;

/// An export that is whole and durable.
#[derive(Debug)]
pub struct Exported {
    /// The file, absolute.
    pub path: PathBuf,
    /// Its size.
    pub bytes: u64,
    /// Its SHA-256, hexadecimal.
    pub sha256: String,
    /// What it says of itself.
    pub header: Header,
    /// The number of its records.
    pub records: u64,
}

/// Writes all records of `scan` that are carried to `path`, where nothing may be. `progress` hears of the bytes that
/// are written, and then of how far they are read back. Blocks between reads of the store.
///
/// # Errors
/// [`TransferError`]. There is no file of that name then.
pub async fn export(
    path: &Path,
    mut scan: Scan,
    header: Header,
    passphrase: &Passphrase,
    progress: Progress<'_>,
) -> Result<Exported, TransferError> {
    let (_, path) = place(path)?;
    let partial = Partial::begin(&path)?;
    let failed = |source| TransferError::File { what: "write", path: partial.path.clone(), source };
    let out = BufWriter::with_capacity(1 << 20, &partial.file);
    let mut writer = seal(out, passphrase, &header)?;
    let mut written = 0;
    loop {
        let page = scan.next().await?;
        if page.is_empty() {
            break;
        }
        for entry in page.iter().filter(|entry| is_carried(&entry.key)) {
            written += writer.put(entry)?;
        }
        progress(written, 0);
    }
    let (sealer, records) = writer.finish()?;
    let (out, bytes, _) = sealer.finish().map_err(failed)?;
    drop(out);
    partial.file.sync_all().map_err(failed)?;
    let found = ExportFile::open(&partial.path, passphrase, &mut |done, all| progress(done, all))?;
    if *found.header() != header || found.count() != records || found.length() != bytes {
        return Err(TransferError::Incomplete);
    }
    let sha256 = found.sha256().to_owned();
    drop(found);
    partial.finish(&path)?;
    Ok(Exported { path, bytes, sha256, header, records })
}
