//! Requesting and checking statements of devices.
//!
//! [`verify`] needs no device, no network and no clock: only a statement, the key of the device CA, and the
//! nonce of the request. Any COSE and X.509 library can do the same (`docs/attestation.md`).

use std::fmt;

use hsm_protocol::attestation::{Claims, Signed};
use hsm_protocol::command::key::KeyRef;
use hsm_protocol::command::statement::{AttestDevice, AttestKey};
use hsm_protocol::domain::{Certificate, DeviceKind, Issued, certificate};
use hsm_protocol::identity::{IdentityDocument, PublicKey, Signature};
use hsm_protocol::{AuditTag, Bytes, DeviceId, ErrorCode};
use p256::pkcs8::LineEnding;
use p256::pkcs8::der::pem;

use crate::ceremony::OperatorKey;
use crate::device::Device;
use crate::error::CallError;

/// Longest statement that is looked at, in bytes: what a device makes, and a certificate.
pub const MAX_STATEMENT: usize = hsm_protocol::attestation::MAX_STATEMENT + 1024;
/// What PEM calls a certificate (RFC 7468 5).
const PEM_LABEL: &str = "CERTIFICATE";

/// Whom a verifier trusts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Anchor {
    /// A device CA: any device that it has certified.
    DeviceCa(PublicKey),
    /// One device, by its identity signing key. Whether it is hardware is its own word then.
    Device(PublicKey),
}

/// What a statement says, verified.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Verified<'a> {
    /// The claims.
    pub claims: Claims<'a>,
    /// What the device CA says the device is; `None` if a single device was trusted.
    pub certified: Option<DeviceKind>,
}

/// Why a statement proves nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum AttestError {
    /// It cannot be read.
    #[error("this is not a statement of a Strongroom device, or it was damaged")]
    Malformed,
    /// There is nothing to lead from the device CA to the device.
    #[error(
        "the statement carries no certificate of its device; put the certificate in that the device CA \
         has made, or name the device that you trust"
    )]
    NoCertificate,
    /// The certificate is not of this CA.
    #[error(
        "the certificate in the statement is not of the device CA that you trust; check that you have \
         the root of the right CA"
    )]
    Untrusted,
    /// The certificate is of another device.
    #[error(
        "device {0} made the statement, and its certificate, or the device you trust, is another"
    )]
    OtherDevice(DeviceId),
    /// The signature is wrong.
    #[error("the statement was changed, or made by somebody else in the device's name")]
    BadSignature,
    /// It answers another question.
    #[error(
        "the statement has another nonce than you asked with: it may be an old one, shown again"
    )]
    OtherNonce,
    /// Certificate and device disagree.
    #[error(
        "the device CA says that the device is {certified}, and the device says that it is {said}; do not \
         rely on it, and ask the owner of the CA"
    )]
    OtherKind {
        /// What the certificate says.
        certified: DeviceKind,
        /// What the device says.
        said: DeviceKind,
    },
}

/// Verifies a statement, offline. `nonce` is what it was asked for with; `None` leaves open how old it is.
///
/// # Errors
/// [`AttestError`].
pub fn verify<'a>(
    statement: &'a [u8],
    anchor: &Anchor,
    nonce: Option<&[u8]>,
) -> Result<Verified<'a>, AttestError> {
    if statement.len() > MAX_STATEMENT {
        return Err(AttestError::Malformed);
    }
    let signed = Signed::parse(statement).map_err(|_| AttestError::Malformed)?;
    let (signing, certified) = match anchor {
        Anchor::Device(signing) => (*signing, None),
        Anchor::DeviceCa(ca) => {
            let certificate = signed.certificate.ok_or(AttestError::NoCertificate)?;
            let issued = Issued::read(certificate, ca).map_err(|_| AttestError::Untrusted)?;
            (issued.signing, Some(issued.kind))
        }
    };
    let claims = signed.verify(&signing).map_err(|error| match error {
        ErrorCode::IDENTITY_INVALID => AttestError::OtherDevice(signed.device),
        ErrorCode::SIGNATURE_INVALID => AttestError::BadSignature,
        _ => AttestError::Malformed,
    })?;
    if nonce.is_some_and(|nonce| nonce != claims.nonce) {
        return Err(AttestError::OtherNonce);
    }
    match certified {
        Some(certified) if certified != claims.kind => {
            Err(AttestError::OtherKind { certified, said: claims.kind })
        }
        _ => Ok(Verified { claims, certified }),
    }
}

/// The statement with a certificate in it, DER, for verifiers who trust a device CA. What was signed stays as
/// it was.
///
/// # Errors
/// [`AttestError::Malformed`].
pub fn with_certificate(statement: &[u8], certificate: &[u8]) -> Result<Vec<u8>, AttestError> {
    let signed = Signed::parse(statement).map_err(|_| AttestError::Malformed)?;
    let carried = Signed { certificate: Some(certificate), ..signed };
    let mut out = vec![0; statement.len() + certificate.len() + 16];
    let length = carried.write(&mut out).map_err(|_| AttestError::Malformed)?;
    out.truncate(length);
    Ok(out)
}

/// A device CA whose key is in this process. Zeroised on drop.
pub struct DeviceCa(OperatorKey);

impl DeviceCa {
    /// The CA with this key.
    #[must_use]
    pub const fn new(key: OperatorKey) -> Self {
        Self(key)
    }

    /// The public key, as a domain's state has it.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        self.0.public()
    }

    /// Says what a device is.
    ///
    /// # Errors
    /// [`ErrorCode::IDENTITY_INVALID`] if the identity document is invalid.
    pub fn certify(
        &self,
        identity: &IdentityDocument,
        kind: DeviceKind,
    ) -> Result<Certificate, ErrorCode> {
        identity.verify()?;
        let message = Certificate::message(&self.public(), identity, kind)?;
        Ok(Certificate { kind, signature: self.sign(&message)? })
    }

    /// The CA's own certificate, PEM: the anchor of other tools.
    ///
    /// # Errors
    /// [`ErrorCode::INTERNAL`] only.
    pub fn root_pem(&self) -> Result<String, ErrorCode> {
        let ca = self.public();
        let signature = self.sign(&certificate::root_message(&ca)?)?;
        to_pem(&certificate::root(&ca, &signature)?)
    }

    fn sign(&self, message: &[u8]) -> Result<Signature, ErrorCode> {
        Ok(self.0.sign(message)?.signature)
    }
}

impl fmt::Debug for DeviceCa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DeviceCa({})", self.0.id())
    }
}

/// The certificate of a device, PEM.
///
/// # Errors
/// [`ErrorCode::CERTIFICATE_INVALID`] if it is not of this CA and device.
pub fn certificate_pem(
    certificate: &Certificate,
    ca: &PublicKey,
    identity: &IdentityDocument,
) -> Result<String, ErrorCode> {
    certificate.verify(ca, identity)?;
    to_pem(&certificate.to_der(ca, identity)?)
}

/// The anchor in the PEM certificate of a device CA.
///
/// # Errors
/// [`AttestError::Untrusted`] if it is not one.
pub fn anchor_from_pem(text: &str) -> Result<Anchor, AttestError> {
    let (label, der) = pem::decode_vec(text.as_bytes()).map_err(|_| AttestError::Untrusted)?;
    let root = certificate::read_root(&der).map_err(|_| AttestError::Untrusted)?;
    (label == PEM_LABEL).then_some(Anchor::DeviceCa(root)).ok_or(AttestError::Untrusted)
}

fn to_pem(der: &[u8]) -> Result<String, ErrorCode> {
    pem::encode_string(PEM_LABEL, LineEnding::LF, der).map_err(|_| ErrorCode::INTERNAL)
}

impl Device {
    /// Asks for a statement about a key.
    ///
    /// # Errors
    /// [`CallError`].
    pub fn attest_key(&self, key: KeyRef<'_>, nonce: &[u8]) -> Result<Vec<u8>, CallError> {
        let request = AttestKey { key, nonce: Bytes(nonce) };
        let reply = self.call_blocking(&request, AuditTag::default())?;
        Ok(reply.response()?.statement.to_vec())
    }

    /// Asks for a statement about the device.
    ///
    /// # Errors
    /// [`CallError`].
    pub fn attest_device(&self, nonce: &[u8]) -> Result<Vec<u8>, CallError> {
        let request = AttestDevice { nonce: Bytes(nonce) };
        let reply = self.call_blocking(&request, AuditTag::default())?;
        Ok(reply.response()?.statement.to_vec())
    }
}
