//! P-256 private keys in files.
//!
//! On disk each is an unencrypted PKCS#8 PEM (RFC 5958, RFC 7468), mode 0600.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use p256::SecretKey;
use p256::elliptic_curve::Generate;
use p256::pkcs8::{DecodePrivateKey, EncodePrivateKey, LineEnding};
use zeroize::Zeroizing;

/// Longest key file that is read, in bytes.
const MAX_FILE: u64 = 4096;

/// Why a key could not be stored or loaded.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// The file system's reason.
    #[error("cannot access the key {path}: {source}")]
    Io {
        /// The file.
        path: String,
        /// The operating system's reason.
        source: io::Error,
    },
    /// Others can read the file.
    #[error("the key {0} is readable by others; run: chmod 600 {0}, and replace the key")]
    Exposed(String),
    /// The file is not a P-256 private key.
    #[error("{0} is not a PKCS#8 PEM of a P-256 private key; restore it from a backup")]
    Malformed(String),
}

/// Draws a new key from the operating system's random number generator.
pub(crate) fn generate() -> SecretKey {
    SecretKey::generate_from_rng(&mut system_rng())
}

/// Loads the key at `path`, or generates and stores one if there is none.
///
/// # Errors
/// [`KeyFileError`].
pub(crate) fn load_or_generate(path: &Path) -> Result<SecretKey, KeyFileError> {
    match load(path) {
        Err(KeyFileError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            let key = generate();
            match store(&key, path) {
                // Another process was faster: its key counts.
                Err(KeyFileError::Io { source, .. })
                    if source.kind() == io::ErrorKind::AlreadyExists =>
                {
                    load(path)
                }
                outcome => outcome.map(|()| key),
            }
        }
        outcome => outcome,
    }
}

/// Loads a stored key.
///
/// # Errors
/// [`KeyFileError`].
pub(crate) fn load(path: &Path) -> Result<SecretKey, KeyFileError> {
    let failed = |source| io_error(path, source);
    let file = File::open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    if metadata.mode() & 0o077 != 0 {
        return Err(KeyFileError::Exposed(path.display().to_string()));
    }
    // One allocation, so that no copy is left behind by growing.
    let mut pem = Zeroizing::new(String::with_capacity(metadata.len().min(MAX_FILE) as usize));
    file.take(MAX_FILE).read_to_string(&mut pem).map_err(failed)?;
    SecretKey::from_pkcs8_pem(&pem).map_err(|_| KeyFileError::Malformed(path.display().to_string()))
}

/// Stores a key, durably and all at once. A key that is already there is never replaced.
///
/// # Errors
/// [`KeyFileError`], of kind [`io::ErrorKind::AlreadyExists`] if there is one.
pub(crate) fn store(key: &SecretKey, path: &Path) -> Result<(), KeyFileError> {
    let malformed = |_| KeyFileError::Malformed(path.display().to_string());
    let pem = key.to_pkcs8_pem(LineEnding::LF).map_err(malformed)?;
    write_new(path, pem.as_bytes()).map_err(|source| io_error(path, source))
}

/// The operating system's generator; it does not fail on a system that has booted.
pub(crate) fn system_rng() -> impl rand_core::CryptoRng {
    rand_core::UnwrapErr(getrandom::SysRng)
}

fn io_error(path: &Path, source: io::Error) -> KeyFileError {
    KeyFileError::Io { path: path.display().to_string(), source }
}

/// Writes a file that must not exist yet: a temporary file is completed, then linked.
fn write_new(path: &Path, contents: &[u8]) -> io::Result<()> {
    let directory = path.parent().filter(|path| !path.as_os_str().is_empty());
    let directory = directory.unwrap_or(Path::new("."));
    let temporary = path.with_extension(format!("new-{}", std::process::id()));
    let _ = fs::remove_file(&temporary); // left by a crash of an earlier process
    let written = (|| {
        let mut file =
            OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
        file.write_all(contents)?;
        file.sync_all()?;
        fs::hard_link(&temporary, path) // fails if it exists, where rename would replace it
    })();
    let removed = fs::remove_file(&temporary);
    written.and(removed)?;
    File::open(directory)?.sync_all()
}
