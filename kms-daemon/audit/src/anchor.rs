//! Trust anchors: whose signatures of an audit log count.
//!
//! A log is kept by a host, which can write into it whatever it likes, signatures of devices of its own
//! making included. So whoever verifies it names the devices whose word they take, in a small file
//! that they wrote when they trusted the machine and have kept elsewhere since. It names a position of
//! the log as well, so that all before is fixed.

use std::path::{Path, PathBuf};
use std::{fs, io};

use hsm_protocol::identity::{IdentityDocument, PublicKey};
use hsm_protocol::{DeviceId, HostId};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::chain::Position;
use super::checkpoint::read_key;
use super::verify::Report;
use kms_base::{durable, hex};

/// Version of the file.
const FORMAT: u64 = 1;

/// Why a trust anchor cannot be used or made.
#[derive(Debug, thiserror::Error)]
pub enum AnchorError {
    /// The file cannot be read or written.
    #[error("cannot access the trust anchor {path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the file system said.
        source: io::Error,
    },
    /// It is not a trust anchor, or was altered.
    #[error("{path} is not a trust anchor: {reason}; `kmsctl audit anchor` writes one")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A later release wrote it.
    #[error("{path} is a trust anchor of {what}, which this kmsctl does not know; use a newer one")]
    Unknown {
        /// The file.
        path: PathBuf,
        /// Its format or kind.
        what: String,
    },
    /// No device has signed the log.
    #[error(
        "no device of {0} has vouched for its audit log yet; start kmsd on it, wait until \
         `kmsctl status` says ready, and try again after some seconds"
    )]
    NoDevice(PathBuf),
    /// A change of the domain that its operators have not signed.
    #[error(
        "the change to version {version} of the domain is not what its operators have signed ({reason}): \
         `hsm/REGION/changes` of the data directory was altered, or is another domain's"
    )]
    Ballot {
        /// The version that it would lead to.
        version: u32,
        /// What is wrong.
        reason: String,
    },
    /// The log is not one to trust.
    #[error("the audit log is broken ({0}); `kmsctl audit verify` on its directory says more")]
    Broken(String),
}

/// Whose signatures count. Further kinds are added here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum TrustAnchor {
    /// Devices, each by its identity key.
    Devices(DeviceAnchors),
    /// The members of a domain, by a state that its operators have signed.
    Domain(DomainAnchor),
}

/// Devices whose word is taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DeviceAnchors {
    /// When this was written, by the clock of the machine.
    pub written: String,
    /// A record that the log had then: what is before it is taken as it is there.
    pub log: Position,
    /// The devices.
    pub devices: Vec<DeviceAnchor>,
}

/// One device; byte strings in hexadecimal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DeviceAnchor {
    /// Device id.
    pub device: String,
    /// SHA-256 of the identity signing key: what people compare.
    pub fingerprint: String,
    /// The identity signing key, compressed.
    pub signing_key: String,
    /// The host key for which the device vouches for this log.
    pub host: String,
    /// Number of the device's last checkpoint for this host then, and its hash.
    pub checkpoint: u64,
    /// Hash of that checkpoint.
    pub checkpoint_hash: String,
    /// Region that the device served, if it was known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// Domain that it belonged to, if it was known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
}

/// The file.
#[derive(Serialize)]
struct Document<'a> {
    format: u64,
    #[serde(flatten)]
    anchor: &'a TrustAnchor,
}

/// A device that is trusted, its members read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Trusted {
    pub(super) device: DeviceId,
    pub(super) signing: PublicKey,
    pub(super) host: HostId,
    /// The last checkpoint that is known; 0 if none is.
    pub(super) checkpoint: u64,
    pub(super) hash: [u8; 32],
}

/// The fingerprint of an identity signing key.
pub(super) fn fingerprint(signing: &PublicKey) -> String {
    hex::encode(&Sha256::digest(signing.to_bytes()))
}

impl TrustAnchor {
    /// Reads a file.
    ///
    /// # Errors
    /// [`AnchorError`], whose text says what to do.
    pub fn read(path: &Path) -> Result<Self, AnchorError> {
        let file = |source| AnchorError::File { path: path.to_owned(), source };
        let bytes = fs::read(path).map_err(file)?;
        let malformed = |reason: String| AnchorError::Malformed { path: path.to_owned(), reason };
        let mut document: Value =
            serde_json::from_slice(&bytes).map_err(|error| malformed(error.to_string()))?;
        let unknown = |what: String| AnchorError::Unknown { path: path.to_owned(), what };
        let members = document.as_object_mut().ok_or_else(|| malformed("no object".into()))?;
        match members.remove("format").and_then(|format| format.as_u64()) {
            Some(FORMAT) => {}
            Some(later) => return Err(unknown(format!("format {later}"))),
            None => return Err(malformed("it has no format".into())),
        }
        match members.get("kind").and_then(Value::as_str) {
            Some("devices" | "domain") => {}
            Some(kind) => return Err(unknown(format!("kind {kind}"))),
            None => return Err(malformed("it has no kind".into())),
        }
        let anchor: Self =
            serde_json::from_value(document).map_err(|error| malformed(error.to_string()))?;
        let devices = match &anchor {
            Self::Devices(devices) => devices,
            Self::Domain(domain) => {
                let fits = domain.open().map(|_| ());
                fits.ok_or_else(|| {
                    malformed("its state is not the one that its hash names".into())
                })?;
                return Ok(anchor);
            }
        };
        match devices.devices.iter().find(|device| device.open().is_none()) {
            Some(bad) => Err(malformed(format!("its device {} does not fit its key", bad.device))),
            None if devices.devices.is_empty() => Err(malformed("it names no device".into())),
            None => Ok(anchor),
        }
    }

    /// Writes a new file.
    ///
    /// # Errors
    /// [`AnchorError::File`], also if there is one already: an anchor is not replaced by mistake.
    pub fn write_new(&self, path: &Path) -> Result<(), AnchorError> {
        let file = |source| AnchorError::File { path: path.to_owned(), source };
        if path.exists() {
            return Err(file(io::ErrorKind::AlreadyExists.into()));
        }
        durable::write(path, self.text().as_bytes(), 0o644).map_err(file)
    }

    /// The content of the file.
    #[must_use]
    pub fn text(&self) -> String {
        let document = Document { format: FORMAT, anchor: self };
        serde_json::to_string_pretty(&document).unwrap_or_default() + "\n"
    }

    /// Whether it names this device.
    #[must_use]
    pub fn names(&self, identity: &IdentityDocument) -> bool {
        self.trusted().iter().any(|one| one.signing == identity.signing)
    }

    /// Follows what has changed since, as the data directory says and operators have signed.
    ///
    /// # Errors
    /// [`AnchorError::Ballot`].
    pub fn follow(&mut self, data: &Path) -> Result<(), AnchorError> {
        match self {
            Self::Devices(_) => Ok(()),
            Self::Domain(domain) => domain.follow(data),
        }
    }

    /// The domain, if it is the anchor.
    #[must_use]
    pub fn domain(&self) -> Option<&DomainAnchor> {
        match self {
            Self::Devices(_) => None,
            Self::Domain(domain) => Some(domain),
        }
    }

    pub(super) fn trusted(&self) -> Vec<Trusted> {
        match self {
            Self::Devices(devices) => {
                devices.devices.iter().filter_map(DeviceAnchor::open).collect()
            }
            Self::Domain(domain) => domain.trusted(),
        }
    }

    /// The position up to which a log is taken as it is; the beginning if the anchor is of no log.
    pub(super) fn log(&self) -> Position {
        match self {
            Self::Devices(devices) => devices.log,
            Self::Domain(_) => Position::default(),
        }
    }
}

impl DeviceAnchors {
    /// The devices that have signed a log, as `report` of it says, which was made without an anchor.
    ///
    /// # Errors
    /// [`AnchorError::NoDevice`], [`AnchorError::Broken`].
    pub fn of(dir: &Path, report: &Report, written: String) -> Result<Self, AnchorError> {
        if let Some(fault) = &report.fault {
            return Err(AnchorError::Broken(fault.reason.clone()));
        }
        let devices: Vec<DeviceAnchor> = report.signers.iter().map(|one| one.anchor()).collect();
        match devices.is_empty() {
            true => Err(AnchorError::NoDevice(dir.to_owned())),
            false => Ok(Self { written, log: report.tip, devices }),
        }
    }
}

impl DeviceAnchor {
    /// `None` if its members do not fit one another.
    fn open(&self) -> Option<Trusted> {
        let signing = read_key(&self.signing_key)?;
        let device = DeviceId(hex::decode(&self.device)?);
        let fits = device == signing.device_id() && self.fingerprint == fingerprint(&signing);
        let (host, hash) = (HostId(hex::decode(&self.host)?), hex::decode(&self.checkpoint_hash)?);
        let checkpoint = self.checkpoint;
        fits.then_some(Trusted { device, signing, host, checkpoint, hash })
    }
}

mod domain;
#[cfg(test)]
mod tests;

pub use domain::DomainAnchor;
