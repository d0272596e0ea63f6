//! The host's static channel key.
//!
//! On disk it is an unencrypted PKCS#8 PEM (RFC 5958, RFC 7468), mode 0600: whoever reads it can
//! act as this host towards every device that enrolled it.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use hsm_protocol::approval::Approval;
use hsm_protocol::command::replica::DomainKeyInfo;
use hsm_protocol::identity::PublicKey;
use hsm_protocol::{ErrorCode, HostId};
use p256::SecretKey;
use p256::elliptic_curve::Generate;
use p256::pkcs8::{DecodePrivateKey, EncodePrivateKey, LineEnding};
use zeroize::Zeroizing;

/// Longest key file that is read, in bytes.
const MAX_FILE: u64 = 4096;

/// A host's static channel key, P-256. Zeroised on drop.
#[derive(Clone)]
pub struct HostKey(SecretKey);

/// Why a host key could not be stored or loaded.
#[derive(Debug, thiserror::Error)]
pub enum HostKeyError {
    /// The file system's reason.
    #[error("cannot access the host key {path}: {source}")]
    Io {
        /// The file.
        path: String,
        /// The operating system's reason.
        source: io::Error,
    },
    /// Others can read the file.
    #[error("the host key {0} is readable by others; run: chmod 600 {0}, and enrol a new key")]
    Exposed(String),
    /// The file is not a P-256 private key.
    #[error("{0} is not a PKCS#8 PEM of a P-256 private key; restore it from a backup")]
    Malformed(String),
}

impl HostKey {
    /// Draws a new key from the operating system's random number generator.
    #[must_use]
    pub fn generate() -> Self {
        Self(SecretKey::generate_from_rng(&mut system_rng()))
    }

    /// Loads the key at `path`, or generates and stores one if there is none.
    ///
    /// # Errors
    /// [`HostKeyError`].
    pub fn load_or_generate(path: &Path) -> Result<Self, HostKeyError> {
        match Self::load(path) {
            Err(HostKeyError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                let key = Self::generate();
                match key.store(path) {
                    // Another process was faster: its key counts.
                    Err(HostKeyError::Io { source, .. })
                        if source.kind() == io::ErrorKind::AlreadyExists =>
                    {
                        Self::load(path)
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
    /// [`HostKeyError`].
    pub fn load(path: &Path) -> Result<Self, HostKeyError> {
        let failed = |source| io_error(path, source);
        let file = File::open(path).map_err(failed)?;
        let metadata = file.metadata().map_err(failed)?;
        if metadata.mode() & 0o077 != 0 {
            return Err(HostKeyError::Exposed(path.display().to_string()));
        }
        let malformed = || HostKeyError::Malformed(path.display().to_string());
        // One allocation, so that no copy is left behind by growing.
        let mut pem = Zeroizing::new(String::with_capacity(metadata.len().min(MAX_FILE) as usize));
        file.take(MAX_FILE).read_to_string(&mut pem).map_err(failed)?;
        SecretKey::from_pkcs8_pem(&pem).map(Self).map_err(|_| malformed())
    }

    /// Stores the key, durably and all at once. A key that is already there is never replaced.
    ///
    /// # Errors
    /// [`HostKeyError`], of kind [`io::ErrorKind::AlreadyExists`] if there is one.
    pub fn store(&self, path: &Path) -> Result<(), HostKeyError> {
        let malformed = |_| HostKeyError::Malformed(path.display().to_string());
        let pem = self.0.to_pkcs8_pem(LineEnding::LF).map_err(malformed)?;
        write_new(path, pem.as_bytes()).map_err(|source| io_error(path, source))
    }

    /// The public half, which devices enrol.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        PublicKey::from_point(&self.0.public_key())
    }

    /// The fingerprint that devices know the host by.
    #[must_use]
    pub fn id(&self) -> HostId {
        self.public().host_id()
    }

    /// Approves the exchange of multi-Region keys of the domain `own`, of which this host is a
    /// provisioner, with `peer`.
    ///
    /// # Errors
    /// [`ErrorCode::IDENTITY_INVALID`] if the replication key of `own` is no point.
    pub fn approve(
        &self,
        own: &DomainKeyInfo,
        peer: &DomainKeyInfo,
    ) -> Result<Approval, ErrorCode> {
        Approval::make(&self.0, own, peer)
    }

    pub(crate) fn secret(&self) -> &SecretKey {
        &self.0
    }
}

impl fmt::Debug for HostKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HostKey({})", self.id())
    }
}

/// The operating system's generator; it does not fail on a system that has booted.
pub(crate) fn system_rng() -> impl rand_core::CryptoRng {
    rand_core::UnwrapErr(getrandom::SysRng)
}

fn io_error(path: &Path, source: io::Error) -> HostKeyError {
    HostKeyError::Io { path: path.display().to_string(), source }
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

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn stored_once_and_loaded() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("host.pem");
        let key = HostKey::load_or_generate(&path).unwrap();
        assert_eq!(HostKey::load_or_generate(&path).unwrap().id(), key.id());
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
        assert!(fs::read_to_string(&path).unwrap().starts_with("-----BEGIN PRIVATE KEY-----\n"));

        let error = HostKey::generate().store(&path).unwrap_err();
        assert!(matches!(error, HostKeyError::Io { source, .. }
            if source.kind() == io::ErrorKind::AlreadyExists));
        assert_eq!(HostKey::load(&path).unwrap().id(), key.id());
    }

    #[test]
    fn exposed_and_damaged_files_are_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("host.pem");
        HostKey::generate().store(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let error = HostKey::load(&path).unwrap_err();
        assert!(error.to_string().contains("chmod 600"), "{error}");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(&path, "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n").unwrap();
        assert!(matches!(HostKey::load(&path), Err(HostKeyError::Malformed(_))));
    }

    #[test]
    fn debug_shows_the_fingerprint_only() {
        let key = HostKey::generate();
        assert_eq!(format!("{key:?}"), format!("HostKey({})", key.id()));
    }
}
