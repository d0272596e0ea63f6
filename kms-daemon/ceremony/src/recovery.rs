//! Recovery shares in files that are carried: the backup of a domain, a share for each operator who holds
//! one, and the handovers for the device that is to become the domain again.
//!
//! All are JSON documents and contain only ciphertext or public data. Their contents are not trusted: a
//! member of the domain has signed backup and shares, the operator has signed a handover, and the device
//! checks all of that again.

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::{fmt, fs, io};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hsm_protocol::domain::{Certificate, DeviceKind, DomainState, Holder, MAX_STATE};
use hsm_protocol::identity::{IdentityDocument, PublicKey, Signature};
use hsm_protocol::token::recovery::{Backup, Handover, Share, backup_digest};
use hsm_protocol::{DomainId, OperatorId};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::text::{TextError, public_key, shortened};
use kms_base::{durable, hex};

/// Longest file that is read, in bytes.
const MAX_FILE: u64 = 64 * 1024;
const RECOVERY: &str = "strongroom-recovery-1";
const SHARE: &str = "strongroom-recovery-share-1";
const REQUEST: &str = "strongroom-handover-request-1";
const HANDOVER: &str = "strongroom-handover-1";
const HOLDER: &str = "strongroom-holder-1";

/// Why a file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RecoveryFileError {
    /// The file system's reason.
    #[error("cannot use {path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the file system said.
        source: io::Error,
    },
    /// It is something else, or was damaged.
    #[error("{path} is not {wanted}, or was changed; take another copy")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wanted.
        wanted: &'static str,
    },
}

/// A backup of a domain, with the public state that is in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecoveryFile {
    /// The state.
    pub state: DomainState,
    /// The encoded [`Backup`].
    pub backup: Vec<u8>,
    /// When it was made, ISO 8601; as claimed by the file's maker.
    pub created: String,
}

/// A share of one operator, with the backup that it belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShareFile {
    /// The backup.
    pub of: RecoveryFile,
    /// The share.
    pub share: Share,
}

/// What operators hand their shares over to: a device, and what it is to bring back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HandoverRequest {
    /// The backup.
    pub of: RecoveryFile,
    /// The device.
    pub identity: IdentityDocument,
    /// What its device CA says of it.
    pub certificate: Option<Certificate>,
    /// Whether it is only to be seen that it would work.
    pub is_drill: bool,
}

/// A share that its operator has wrapped to one device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HandoverFile(pub [u8; Handover::SIZE]);

/// An operator who is to hold shares: a line of text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HolderText {
    /// The domain.
    pub domain: DomainId,
    /// The encoded [`Holder`], signed by the operator.
    pub holder: [u8; Holder::SIZE],
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct BackupContent {
    format: String,
    created: String,
    /// Base64 of the encoded state.
    state: String,
    /// Base64.
    backup: String,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ShareContent {
    format: String,
    /// For people only.
    operator: String,
    share: String,
    of: BackupContent,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RequestContent {
    format: String,
    /// For people only.
    device: String,
    drill: bool,
    /// The keys that it signs, talks and receives with, and its signature over them.
    identity: [String; 4],
    /// What it is, and the device CA's signature over that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    certificate: Option<(DeviceKind, String)>,
    of: BackupContent,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct HandoverContent {
    format: String,
    /// For people only.
    operator: String,
    handover: String,
}

impl RecoveryFile {
    /// A backup of this state.
    #[must_use]
    pub const fn new(state: DomainState, backup: Vec<u8>, created: String) -> Self {
        Self { state, backup, created }
    }

    /// Reads a backup. It is of the state in it, but nobody has checked who made it.
    ///
    /// # Errors
    /// [`RecoveryFileError`].
    pub fn load(path: &Path) -> Result<Self, RecoveryFileError> {
        let wanted = "a domain's backup as `kmsctl domain backup` writes it";
        read(path, wanted, |content: BackupContent| Self::of(content))
    }

    /// Writes it where nothing is.
    ///
    /// # Errors
    /// [`RecoveryFileError::Io`].
    pub fn save_new(&self, path: &Path) -> Result<(), RecoveryFileError> {
        write_new(path, &self.content(path)?)
    }

    fn of(content: BackupContent) -> Option<Self> {
        let state = DomainState::decode(&STANDARD.decode(&content.state).ok()?).ok()?;
        let backup = STANDARD.decode(&content.backup).ok()?;
        let header = Backup::parse(&backup).ok()?.header;
        let is_of = (header.domain, header.version, header.state)
            == (state.domain, state.version, state.hash().ok()?);
        let is_this = content.format == RECOVERY && is_of;
        is_this.then_some(Self { state, backup, created: content.created })
    }

    fn content(&self, path: &Path) -> Result<BackupContent, RecoveryFileError> {
        let mut buffer = [0; MAX_STATE];
        let state = self.state.encode(&mut buffer).map_err(|error| RecoveryFileError::Io {
            path: path.to_owned(),
            source: io::Error::other(error.to_string()),
        })?;
        Ok(BackupContent {
            format: RECOVERY.to_owned(),
            created: self.created.clone(),
            state: STANDARD.encode(state),
            backup: STANDARD.encode(&self.backup),
        })
    }
}

impl ShareFile {
    /// Reads a share and its backup.
    ///
    /// # Errors
    /// [`RecoveryFileError`].
    pub fn load(path: &Path) -> Result<Self, RecoveryFileError> {
        let wanted = "an operator's share as `kmsctl domain backup` writes it";
        read(path, wanted, |content: ShareContent| {
            let share = Share::parse(&STANDARD.decode(&content.share).ok()?).ok()?;
            let is_this = content.format == SHARE;
            Some(Self { of: RecoveryFile::of(content.of)?, share }).filter(|_| is_this)
        })
    }

    /// Writes it where nothing is.
    ///
    /// # Errors
    /// [`RecoveryFileError::Io`].
    pub fn save_new(&self, path: &Path) -> Result<(), RecoveryFileError> {
        let content = ShareContent {
            format: SHARE.to_owned(),
            operator: self.share.header.operator.to_string(),
            share: STANDARD.encode(self.share.as_bytes()),
            of: self.of.content(path)?,
        };
        write_new(path, &content)
    }
}

impl HandoverRequest {
    /// Reads a request. The device has signed its own identity.
    ///
    /// # Errors
    /// [`RecoveryFileError`].
    pub fn load(path: &Path) -> Result<Self, RecoveryFileError> {
        let wanted = "a request as `kmsctl domain restore begin` and `drill begin` write it";
        read(path, wanted, |content: RequestContent| {
            let key = |text: &String| public_key(text);
            let signature = |text: &String| Some(Signature::from_bytes(&hex::decode(text)?));
            let [signing, link, join, signed] = &content.identity;
            let identity = IdentityDocument {
                signing: key(signing)?,
                link: key(link)?,
                join: key(join)?,
                signature: signature(signed)?,
            };
            identity.verify().ok()?;
            let certificate = match &content.certificate {
                None => None,
                Some((kind, text)) => {
                    Some(Certificate { kind: *kind, signature: signature(text)? })
                }
            };
            let is_this = content.format == REQUEST;
            let (of, is_drill) = (RecoveryFile::of(content.of)?, content.drill);
            Some(Self { of, identity, certificate, is_drill }).filter(|_| is_this)
        })
    }

    /// Writes it where nothing is.
    ///
    /// # Errors
    /// [`RecoveryFileError::Io`].
    pub fn save_new(&self, path: &Path) -> Result<(), RecoveryFileError> {
        let key = |key: &PublicKey| hex::encode(&key.to_bytes());
        let signed = |signature: &Signature| hex::encode(&signature.to_bytes());
        let IdentityDocument { signing, link, join, signature } = &self.identity;
        let content = RequestContent {
            format: REQUEST.to_owned(),
            device: self.identity.device_id().to_string(),
            drill: self.is_drill,
            identity: [key(signing), key(link), key(join), signed(signature)],
            certificate: self.certificate.map(|it| (it.kind, signed(&it.signature))),
            of: self.of.content(path)?,
        };
        write_new(path, &content)
    }

    /// SHA-256 over device and backup, its first 16 bytes: operators compare it.
    #[must_use]
    pub fn digest(&self) -> [u8; 16] {
        let mut out = [0; 16];
        let hash = Sha256::new()
            .chain_update(REQUEST)
            .chain_update([u8::from(self.is_drill)])
            .chain_update(backup_digest(&self.of.backup))
            .chain_update(self.identity.device_id().as_bytes())
            .finalize();
        out.copy_from_slice(&hash[..16]);
        out
    }
}

impl HandoverFile {
    /// Who has handed it over, by its own word.
    #[must_use]
    pub fn operator(&self) -> Option<OperatorId> {
        Handover::parse(&self.0).ok().map(|handover| handover.header.operator)
    }

    /// Reads a handover.
    ///
    /// # Errors
    /// [`RecoveryFileError`].
    pub fn load(path: &Path) -> Result<Self, RecoveryFileError> {
        let wanted = "a handed-over share as `kmsctl domain hand-over` writes it";
        read(path, wanted, |content: HandoverContent| {
            let bytes = STANDARD.decode(&content.handover).ok()?;
            let bytes = <[u8; Handover::SIZE]>::try_from(bytes).ok()?;
            Handover::parse(&bytes).ok().filter(|_| content.format == HANDOVER)?;
            Some(Self(bytes))
        })
    }

    /// Writes it where nothing is.
    ///
    /// # Errors
    /// [`RecoveryFileError::Io`].
    pub fn save_new(&self, path: &Path) -> Result<(), RecoveryFileError> {
        let operator = self.operator().map(|operator| operator.to_string()).unwrap_or_default();
        let (format, handover) = (HANDOVER.to_owned(), STANDARD.encode(self.0));
        write_new(path, &HandoverContent { format, operator, handover })
    }
}

impl fmt::Display for HolderText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{HOLDER} {} {}", self.domain, hex::encode(&self.holder))
    }
}

impl FromStr for HolderText {
    type Err = TextError;

    fn from_str(text: &str) -> Result<Self, TextError> {
        let read = || {
            let mut words = text.split_whitespace();
            let (label, domain, holder) = (words.next()?, words.next()?, words.next()?);
            let (domain, holder) = (DomainId(hex::decode(domain)?), hex::decode(holder)?);
            (label == HOLDER && words.next().is_none()).then_some(Self { domain, holder })
        };
        let wanted = "a holder of shares as `kmsctl operator new-share` writes it";
        read().ok_or_else(|| TextError { text: shortened(text), wanted })
    }
}

fn read<C: DeserializeOwned, T>(
    path: &Path,
    wanted: &'static str,
    of: impl FnOnce(C) -> Option<T>,
) -> Result<T, RecoveryFileError> {
    let failed = |source| RecoveryFileError::Io { path: path.to_owned(), source };
    let malformed = || RecoveryFileError::Malformed { path: path.to_owned(), wanted };
    if fs::metadata(path).map_err(failed)?.len() > MAX_FILE {
        return Err(malformed());
    }
    let content = fs::read(path).map_err(failed)?;
    let content = serde_json::from_slice(&content).map_err(|_| malformed())?;
    of(content).ok_or_else(malformed)
}

fn write_new(path: &Path, content: &impl Serialize) -> Result<(), RecoveryFileError> {
    let failed = |source| RecoveryFileError::Io { path: path.to_owned(), source };
    let mut text = serde_json::to_string_pretty(content).map_err(|error| failed(error.into()))?;
    text.push('\n');
    durable::write_new(path, text.as_bytes()).map_err(failed)
}
