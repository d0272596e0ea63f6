//! A file with a device CA's certificate for a device: the device's identity and its kind.

use std::path::{Path, PathBuf};
use std::{fs, io};

use host_driver::OperatorKey;
use hsm_protocol::domain::{Certificate, DeviceKind};
use hsm_protocol::identity::{IdentityDocument, PublicKey, Signature};
use hsm_protocol::{DeviceId, ErrorCode};
use serde::{Deserialize, Serialize};

use super::text::public_key;
use kms_base::{durable, hex};

const FORMAT: &str = "strongroom-device-certificate-1";
/// Longest file that is read, in bytes.
const MAX_FILE: u64 = 4096;

/// Why a certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CertificateFileError {
    /// The file system's reason.
    #[error("cannot use the certificate {path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the file system said.
        source: io::Error,
    },
    /// It is malformed.
    #[error("{0} is not a device's certificate as `kmsctl device-ca certify` writes it")]
    Malformed(PathBuf),
    /// It is of another device.
    #[error("the certificate {path} is not for device {device}")]
    Another {
        /// The file.
        path: PathBuf,
        /// The device that it should be of.
        device: DeviceId,
    },
}

/// A device with what its device CA says of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CertificateFile {
    /// The device's keys, self-signed.
    pub identity: IdentityDocument,
    /// What the CA says.
    pub certificate: Certificate,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Content {
    format: String,
    /// For people only.
    device: String,
    signing: String,
    link: String,
    join: String,
    self_signature: String,
    kind: DeviceKind,
    signature: String,
}

impl CertificateFile {
    /// Certifies a device as being of a kind.
    ///
    /// # Errors
    /// [`ErrorCode::IDENTITY_INVALID`] if the identity is not signed by the device.
    pub fn certify(
        ca: &OperatorKey,
        identity: &IdentityDocument,
        kind: DeviceKind,
    ) -> Result<Self, ErrorCode> {
        identity.verify()?;
        let signature = ca.sign(&Certificate::message(&ca.public(), identity, kind)?)?.signature;
        Ok(Self { identity: *identity, certificate: Certificate { kind, signature } })
    }

    /// Checks it against a device CA.
    ///
    /// # Errors
    /// [`ErrorCode::CERTIFICATE_INVALID`].
    pub fn verify(&self, ca: &PublicKey) -> Result<(), ErrorCode> {
        self.certificate.verify(ca, &self.identity)
    }

    /// Reads the certificate of a device, if a file is named.
    ///
    /// # Errors
    /// [`CertificateFileError`], also if it is another device's.
    pub fn of_device(
        path: Option<&Path>,
        identity: &IdentityDocument,
    ) -> Result<Option<Certificate>, CertificateFileError> {
        let Some(path) = path else { return Ok(None) };
        let file = Self::load(path)?;
        match file.identity == *identity {
            true => Ok(Some(file.certificate)),
            false => {
                let (path, device) = (path.to_owned(), identity.device_id());
                Err(CertificateFileError::Another { path, device })
            }
        }
    }

    /// Reads a certificate; the device's own signature is checked.
    ///
    /// # Errors
    /// [`CertificateFileError`].
    pub fn load(path: &Path) -> Result<Self, CertificateFileError> {
        let failed = |source| CertificateFileError::Io { path: path.to_owned(), source };
        let malformed = || CertificateFileError::Malformed(path.to_owned());
        if fs::metadata(path).map_err(failed)?.len() > MAX_FILE {
            return Err(malformed());
        }
        let content = fs::read(path).map_err(failed)?;
        let content: Content = serde_json::from_slice(&content).map_err(|_| malformed())?;
        let signature = |text: &str| hex::decode(text).map(|bytes| Signature::from_bytes(&bytes));
        let identity = || {
            let identity = IdentityDocument {
                signing: public_key(&content.signing)?,
                link: public_key(&content.link)?,
                join: public_key(&content.join)?,
                signature: signature(&content.self_signature)?,
            };
            identity.verify().is_ok().then_some(identity)
        };
        if content.format != FORMAT {
            return Err(malformed());
        }
        let identity = identity().ok_or_else(malformed)?;
        let signature = signature(&content.signature).ok_or_else(malformed)?;
        Ok(Self { identity, certificate: Certificate { kind: content.kind, signature } })
    }

    /// Writes it where nothing is.
    ///
    /// # Errors
    /// [`CertificateFileError::Io`].
    pub fn save(&self, path: &Path) -> Result<(), CertificateFileError> {
        let Self { identity, certificate } = self;
        let key = |key: &PublicKey| hex::encode(&key.to_bytes());
        let content = Content {
            format: FORMAT.to_owned(),
            device: identity.device_id().to_string(),
            signing: key(&identity.signing),
            link: key(&identity.link),
            join: key(&identity.join),
            self_signature: hex::encode(&identity.signature.to_bytes()),
            kind: certificate.kind,
            signature: hex::encode(&certificate.signature.to_bytes()),
        };
        let failed = |source| CertificateFileError::Io { path: path.to_owned(), source };
        let mut text =
            serde_json::to_string_pretty(&content).map_err(|error| failed(error.into()))?;
        text.push('\n');
        durable::write_new(path, text.as_bytes()).map_err(failed)
    }
}
