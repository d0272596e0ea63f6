//! Keys of operators and of device CAs in files, each under a passphrase.
//!
//! A JSON document: the public key, the cost of Argon2id (RFC 9106) with its salt, and the private
//! scalar under AES-256-GCM with the key that Argon2id makes. Everything else of the file is additional
//! data. The IV is zero: a key made from a random salt seals once.

use std::path::{Path, PathBuf};
use std::{fs, io};

use aes_gcm::aead::{AeadInOut, KeyInit};
use aes_gcm::{Aes256Gcm, Nonce, Tag};
use host_driver::OperatorKey;
use hsm_protocol::identity::PublicKey;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::text::public_key;
use kms_base::passphrase::{Cost, Passphrase};
use kms_base::{durable, hex};

/// Longest file that is read, in bytes.
const MAX_FILE: u64 = 4096;
const SALT: usize = 32;
const SCALAR: usize = 32;
const TAG: usize = 16;

/// What a key is for: a key for one purpose cannot be used for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyPurpose {
    /// Signs changes of a domain.
    Operator,
    /// Vouches for devices.
    DeviceCa,
    /// Opens an operator's recovery shares.
    Share,
}

impl KeyPurpose {
    /// What files of this purpose begin with.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Operator => "strongroom-operator-1",
            Self::DeviceCa => "strongroom-device-ca-1",
            Self::Share => "strongroom-share-key-1",
        }
    }

    /// The purpose of a label.
    #[must_use]
    pub fn from_label(label: &str) -> Option<Self> {
        [Self::Operator, Self::DeviceCa, Self::Share]
            .into_iter()
            .find(|purpose| purpose.label() == label)
    }

    const fn in_words(self) -> &'static str {
        match self {
            Self::Operator => "an operator's key",
            Self::DeviceCa => "a device CA's key",
            Self::Share => "a share key",
        }
    }
}

/// Why a key file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// The file system's reason.
    #[error("cannot use the key file {path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the file system said.
        source: io::Error,
    },
    /// It is not a key file, or has another purpose, or its cost is beyond the limits.
    #[error("{path} is not {wanted} as `kmsctl` writes it; restore it from a copy")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wanted.
        wanted: &'static str,
    },
    /// The passphrase does not open it.
    #[error("{0} does not open: the passphrase is another one, or the file was changed")]
    Closed(PathBuf),
    /// Argon2id or the random number generator failed.
    #[error("cannot make a key of the passphrase: {0}")]
    Derivation(String),
}

/// A key file as it is, closed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyFile {
    purpose: KeyPurpose,
    public: PublicKey,
    cost: Cost,
    salt: [u8; SALT],
    sealed: [u8; SCALAR + TAG],
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Content {
    format: String,
    /// Compressed point.
    public: String,
    argon2id: Derivation,
    aes256_gcm: String,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Derivation {
    memory_kib: u32,
    passes: u32,
    lanes: u32,
    salt: String,
}

impl KeyFile {
    /// Closes a key under a passphrase.
    ///
    /// # Errors
    /// [`KeyFileError::Derivation`].
    pub fn close(
        purpose: KeyPurpose,
        key: &OperatorKey,
        passphrase: &Passphrase,
    ) -> Result<Self, KeyFileError> {
        Self::close_at(purpose, key, passphrase, Cost::OF_NEW)
    }

    fn close_at(
        purpose: KeyPurpose,
        key: &OperatorKey,
        passphrase: &Passphrase,
        cost: Cost,
    ) -> Result<Self, KeyFileError> {
        let mut salt = [0; SALT];
        getrandom::fill(&mut salt).map_err(|error| KeyFileError::Derivation(error.to_string()))?;
        let public = key.public();
        let mut file = Self { purpose, public, cost, salt, sealed: [0; SCALAR + TAG] };
        let cipher = file.cipher(passphrase)?;
        let mut scalar = key.to_bytes();
        let tag = cipher
            .encrypt_inout_detached(&Nonce::default(), &file.additional(), (&mut scalar[..]).into())
            .map_err(|error| KeyFileError::Derivation(error.to_string()))?;
        file.sealed[..SCALAR].copy_from_slice(&*scalar);
        file.sealed[SCALAR..].copy_from_slice(&tag);
        Ok(file)
    }

    /// The key.
    ///
    /// # Errors
    /// [`KeyFileError::Closed`] if the passphrase is another one; `path` is only for the text.
    pub fn open(&self, passphrase: &Passphrase, path: &Path) -> Result<OperatorKey, KeyFileError> {
        let closed = || KeyFileError::Closed(path.to_owned());
        let cipher = self.cipher(passphrase)?;
        let mut scalar = Zeroizing::new([0; SCALAR]);
        scalar.copy_from_slice(&self.sealed[..SCALAR]);
        let mut tag = [0; TAG];
        tag.copy_from_slice(&self.sealed[SCALAR..]);
        cipher
            .decrypt_inout_detached(
                &Nonce::default(),
                &self.additional(),
                (&mut scalar[..]).into(),
                &Tag::from(tag),
            )
            .map_err(|_| closed())?;
        let key = OperatorKey::from_bytes(&scalar).ok_or_else(closed)?;
        match key.public() == self.public {
            true => Ok(key),
            false => Err(closed()),
        }
    }

    /// The public half, by the word of the file.
    #[must_use]
    pub const fn public(&self) -> PublicKey {
        self.public
    }

    /// Reads a key file of this purpose.
    ///
    /// # Errors
    /// [`KeyFileError::Io`], [`KeyFileError::Malformed`].
    pub fn load(path: &Path, purpose: KeyPurpose) -> Result<Self, KeyFileError> {
        let malformed =
            || KeyFileError::Malformed { path: path.to_owned(), wanted: purpose.in_words() };
        let failed = |source| KeyFileError::Io { path: path.to_owned(), source };
        if fs::metadata(path).map_err(failed)?.len() > MAX_FILE {
            return Err(malformed());
        }
        let content = fs::read(path).map_err(failed)?;
        let content: Content = serde_json::from_slice(&content).map_err(|_| malformed())?;
        let Derivation { memory_kib: memory, passes, lanes, salt } = content.argon2id;
        let cost = Cost { memory, passes, lanes };
        if content.format != purpose.label() || !cost.is_bounded() {
            return Err(malformed());
        }
        let public = public_key(&content.public).ok_or_else(malformed)?;
        let salt = hex::decode(&salt).ok_or_else(malformed)?;
        let sealed = hex::decode(&content.aes256_gcm).ok_or_else(malformed)?;
        Ok(Self { purpose, public, cost, salt, sealed })
    }

    /// Writes it where nothing is, mode 0600; durable when it returns.
    ///
    /// # Errors
    /// [`KeyFileError::Io`], of kind [`io::ErrorKind::AlreadyExists`] if something is there.
    pub fn save(&self, path: &Path) -> Result<(), KeyFileError> {
        let Cost { memory, passes, lanes } = self.cost;
        let salt = hex::encode(&self.salt);
        let content = Content {
            format: self.purpose.label().to_owned(),
            public: hex::encode(&self.public.to_bytes()),
            argon2id: Derivation { memory_kib: memory, passes, lanes, salt },
            aes256_gcm: hex::encode(&self.sealed),
        };
        let failed = |source| KeyFileError::Io { path: path.to_owned(), source };
        let mut text =
            serde_json::to_string_pretty(&content).map_err(|error| failed(error.into()))?;
        text.push('\n');
        durable::write_new(path, text.as_bytes()).map_err(failed)
    }

    fn cipher(&self, passphrase: &Passphrase) -> Result<Aes256Gcm, KeyFileError> {
        let mut key = Zeroizing::new([0; 32]);
        passphrase
            .derive(&self.salt, self.cost, &mut *key)
            .map_err(|error| KeyFileError::Derivation(error.to_string()))?;
        Ok(Aes256Gcm::new((&*key).into()))
    }

    fn additional(&self) -> Vec<u8> {
        let public = self.public.to_bytes();
        let cost = self.cost.to_bytes();
        [self.purpose.label().as_bytes(), &public, &cost, &self.salt].concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHEAP: Cost = Cost { memory: 64, passes: 1, lanes: 1 };

    fn passphrase(text: &str) -> Passphrase {
        Passphrase::of_file(text.as_bytes()).unwrap()
    }

    #[test]
    fn only_its_passphrase_opens_it_and_only_for_its_purpose() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.key");
        let (key, right) = (OperatorKey::generate(), passphrase("correct horse battery"));
        let file = KeyFile::close_at(KeyPurpose::Operator, &key, &right, CHEAP).unwrap();
        file.save(&path).unwrap();
        let again = file.save(&path).unwrap_err();
        assert!(matches!(again, KeyFileError::Io { source, .. }
            if source.kind() == io::ErrorKind::AlreadyExists));
        let mode = std::os::unix::fs::MetadataExt::mode(&fs::metadata(&path).unwrap());
        assert_eq!(mode & 0o777, 0o600);

        let loaded = KeyFile::load(&path, KeyPurpose::Operator).unwrap();
        assert_eq!(loaded, file);
        assert_eq!(loaded.open(&right, &path).unwrap().public(), key.public());
        let wrong = loaded.open(&passphrase("correct horse batterz"), &path).unwrap_err();
        assert!(matches!(wrong, KeyFileError::Closed(_)), "{wrong}");
        let other = KeyFile::load(&path, KeyPurpose::DeviceCa).unwrap_err();
        assert!(other.to_string().contains("a device CA's key"), "{other}");
        let text = fs::read_to_string(&path).unwrap();
        assert!(!text.contains(&hex::encode(&*key.to_bytes())), "the scalar is in the clear");
    }

    #[test]
    fn every_part_of_the_file_counts() {
        let dir = tempfile::tempdir().unwrap();
        let (key, right) = (OperatorKey::generate(), passphrase("correct horse battery"));
        let file = KeyFile::close_at(KeyPurpose::Operator, &key, &right, CHEAP).unwrap();
        let (mut public, mut cost, mut salt, mut sealed, mut purpose) =
            (file.clone(), file.clone(), file.clone(), file.clone(), file.clone());
        public.public = OperatorKey::generate().public();
        cost.cost.passes = 2;
        salt.salt[0] ^= 1;
        sealed.sealed[40] ^= 1;
        purpose.purpose = KeyPurpose::DeviceCa;
        for changed in [public, cost, salt, sealed, purpose] {
            let refused = changed.open(&right, dir.path());
            assert!(matches!(refused, Err(KeyFileError::Closed(_))), "{changed:?}");
        }
    }

    #[test]
    fn a_file_that_asks_for_too_much_is_refused_before_it_is_computed() {
        let dir = tempfile::tempdir().unwrap();
        let (key, right) = (OperatorKey::generate(), passphrase("correct horse battery"));
        let file = KeyFile::close_at(KeyPurpose::Operator, &key, &right, CHEAP).unwrap();
        for (name, cost) in [
            ("memory", Cost { memory: u32::MAX, ..CHEAP }),
            ("passes", Cost { passes: 1000, ..CHEAP }),
            ("lanes", Cost { lanes: 0, ..CHEAP }),
        ] {
            let path = dir.path().join(name);
            KeyFile { cost, ..file.clone() }.save(&path).unwrap();
            let refused = KeyFile::load(&path, KeyPurpose::Operator);
            assert!(matches!(refused, Err(KeyFileError::Malformed { .. })), "{name}");
        }
        let path = dir.path().join("long");
        fs::write(&path, " ".repeat(5000)).unwrap();
        assert!(KeyFile::load(&path, KeyPurpose::Operator).is_err());
    }
}
