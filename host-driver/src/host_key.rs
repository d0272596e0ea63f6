//! The host's static channel key. Whoever has it can act as this host towards every device whose domain
//! has admitted it.

use std::fmt;
use std::path::Path;

use hsm_protocol::HostId;
use hsm_protocol::identity::PublicKey;
use p256::SecretKey;

use crate::key_file::{self, KeyFileError};

/// A host's static channel key, P-256. Zeroised on drop.
#[derive(Clone)]
pub struct HostKey(SecretKey);

impl HostKey {
    /// Draws a new key from the operating system's random number generator.
    #[must_use]
    pub fn generate() -> Self {
        Self(key_file::generate())
    }

    /// Loads the key at `path`, or generates and stores one if there is none.
    ///
    /// # Errors
    /// [`KeyFileError`].
    pub fn load_or_generate(path: &Path) -> Result<Self, KeyFileError> {
        key_file::load_or_generate(path).map(Self)
    }

    /// Loads a stored key.
    ///
    /// # Errors
    /// [`KeyFileError`].
    pub fn load(path: &Path) -> Result<Self, KeyFileError> {
        key_file::load(path).map(Self)
    }

    /// Stores the key, durably and all at once. A key that is already there is never replaced.
    ///
    /// # Errors
    /// [`KeyFileError`], of kind [`std::io::ErrorKind::AlreadyExists`] if there is one.
    pub fn store(&self, path: &Path) -> Result<(), KeyFileError> {
        key_file::store(&self.0, path)
    }

    /// The public half, which a domain's state has.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        PublicKey::from_point(&self.0.public_key())
    }

    /// The fingerprint that devices know the host by.
    #[must_use]
    pub fn id(&self) -> HostId {
        self.public().host_id()
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

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io;
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

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
        assert!(matches!(error, KeyFileError::Io { source, .. }
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
        assert!(matches!(HostKey::load(&path), Err(KeyFileError::Malformed(_))));
    }

    #[test]
    fn debug_shows_the_fingerprint_only() {
        let key = HostKey::generate();
        assert_eq!(format!("{key:?}"), format!("HostKey({})", key.id()));
    }
}
