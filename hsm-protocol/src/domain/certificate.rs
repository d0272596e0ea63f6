//! Certificates of a device CA, which state what a device is.
//!
//! On the wire a [`Certificate`] is a kind and a signature. What is signed is the body of an X.509
//! certificate (RFC 5280) that both ends write alike from the CA's key, the device's identity and the
//! kind, so any tool can check the certificate written out ([`Certificate::to_der`]):
//!
//! ```text
//! version 3, serial number: SHA-256(identity hash | kind u8), first 16 bytes, of which bits 7 and 6 are 0 and 1
//! issuer   CN = "Strongroom device CA " | SHA-256(CA's compressed key), first 16 bytes in hex
//! validity 2020-01-01 to 9999-12-31, as the CA takes its word back in the domain, not here
//! subject  OU = "Strongroom hardware", "Strongroom emulated" or "Strongroom in-process"; CN = device id in hex
//! key      the identity signing key, uncompressed
//! critical basicConstraints (no CA), keyUsage (digitalSignature)
//! others   subject and authority key identifier: SHA-256 of the uncompressed key, first 20 bytes (RFC 7093 2)
//!          2.25.116459465081183455067343252207184415656: OCTET STRING, the identity hash:
//!          SHA-256 of the identity document's signed message
//! ```

use core::fmt;
use core::ops::Deref;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::curve::{Curve, Portable};
use crate::der::{self, Backwards};
use crate::error::ErrorCode;
use crate::identity::{IdentityDocument, PublicKey, Signature};

/// What keeps a device's secrets.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[repr(u8)]
pub enum DeviceKind {
    /// A microcontroller of its own.
    Hardware = 1,
    /// An emulated machine: whoever owns its host can read its memory and its flash.
    Emulated = 2,
    /// A part of the daemon: whoever owns its host can read its memory and its flash.
    InProcess = 3,
}

impl DeviceKind {
    /// All kinds.
    pub const ALL: [Self; 3] = [Self::Hardware, Self::Emulated, Self::InProcess];

    /// The name in attestations.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Hardware => "hardware",
            Self::Emulated => "emulated",
            Self::InProcess => "in-process",
        }
    }
}

impl fmt::Display for DeviceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A device CA's statement about a device.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Certificate {
    /// What the device is.
    pub kind: DeviceKind,
    /// By the device CA over [`Certificate::message`].
    pub signature: Signature,
}

/// What an X.509 certificate of a device CA says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Issued {
    /// The device's identity signing key.
    pub signing: PublicKey,
    /// What the device is.
    pub kind: DeviceKind,
    /// SHA-256 of the identity document's signed message: link and join key belong to it.
    pub identity: [u8; 32],
}

/// Longest certificate, in bytes.
const MAX_DER: usize = 768;

const SIGNED_WITH: [u8; 12] = [0x30, 10, 6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2];
const VALIDITY: &[u8; 34] = b"\x30\x20\x17\x0d200101000000Z\x18\x0f99991231235959Z";
const SPKI: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a,
    0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];
const NOT_A_CA: [u8; 14] = [0x30, 12, 6, 3, 0x55, 0x1d, 19, 1, 1, 0xff, 4, 2, 0x30, 0];
const SIGNS: [u8; 16] = [0x30, 14, 6, 3, 0x55, 0x1d, 15, 1, 1, 0xff, 4, 4, 3, 2, 7, 0x80];
const IS_CA: [u8; 20] =
    [0x30, 18, 6, 3, 0x55, 0x1d, 19, 1, 1, 0xff, 4, 8, 0x30, 6, 1, 1, 0xff, 2, 1, 0];
const CERTIFIES: [u8; 16] = [0x30, 14, 6, 3, 0x55, 0x1d, 15, 1, 1, 0xff, 4, 4, 3, 2, 2, 4];
const SUBJECT_KEY: [u8; 9] = [6, 3, 0x55, 0x1d, 14, 4, 22, 4, 20];
const AUTHORITY_KEY: [u8; 11] = [6, 3, 0x55, 0x1d, 35, 4, 24, 0x30, 22, 0x80, 20];
/// The object identifier of the identity hash, and the heads of what is around it.
const IDENTITY: [u8; 26] = [
    0x06, 0x14, 0x69, 0x81, 0xaf, 0x9d, 0xa3, 0xbc, 0x97, 0xa5, 0xda, 0x91, 0xd3, 0xad, 0x95, 0xaa,
    0xf2, 0xb9, 0x91, 0x92, 0x97, 0x28, 0x04, 0x22, 0x04, 0x20,
];
const COMMON_NAME: [u8; 5] = [6, 3, 0x55, 4, 3];
const UNIT: [u8; 5] = [6, 3, 0x55, 4, 11];
const CA_NAME: &[u8] = b"Strongroom device CA ";
const CONTEXT_0: u8 = 0xa0;
const CONTEXT_3: u8 = 0xa3;

/// An encoded certificate, or what is signed of it.
#[derive(Clone, PartialEq, Eq)]
pub struct Der {
    bytes: [u8; MAX_DER],
    length: usize,
}

impl Der {
    fn build(
        write: impl FnOnce(&mut Backwards<'_>) -> Result<(), ErrorCode>,
    ) -> Result<Self, ErrorCode> {
        let mut buffer = [0; MAX_DER];
        let mut der = Backwards::new(&mut buffer);
        write(&mut der)?;
        let written = der.finish();
        let mut out = Self { bytes: [0; MAX_DER], length: written.len() };
        out.bytes.get_mut(..written.len()).ok_or(ErrorCode::TOO_LARGE)?.copy_from_slice(written);
        Ok(out)
    }

    /// A certificate of this body.
    fn signed(body: &Self, signature: &Signature) -> Result<Self, ErrorCode> {
        Self::build(|der| {
            let end = der.place();
            der.unsigned(&signature.s)?;
            der.unsigned(&signature.r)?;
            der.wrap(der::SEQUENCE, end)?;
            der.prepend(&[0])?;
            der.wrap(der::BIT_STRING, end)?;
            der.prepend(&SIGNED_WITH)?;
            der.prepend(body)?;
            der.wrap(der::SEQUENCE, end)
        })
    }
}

impl Deref for Der {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }
}

impl fmt::Debug for Der {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{} bytes of DER]", self.length)
    }
}

impl Certificate {
    /// What a device CA signs, with SHA-256: the body of the device's certificate.
    ///
    /// # Errors
    /// [`ErrorCode::IDENTITY_INVALID`] if a key is not a point.
    pub fn message(
        ca: &PublicKey,
        identity: &IdentityDocument,
        kind: DeviceKind,
    ) -> Result<Der, ErrorCode> {
        let IdentityDocument { signing, link, join, .. } = identity;
        let identity = Sha256::digest(IdentityDocument::message(signing, link, join)).into();
        body(ca, &Issued { signing: *signing, kind, identity })
    }

    /// Checks the certificate of a device, as hosts do.
    ///
    /// # Errors
    /// [`ErrorCode::CERTIFICATE_INVALID`].
    pub fn verify(&self, ca: &PublicKey, identity: &IdentityDocument) -> Result<(), ErrorCode> {
        self.verify_with(&Portable, ca, identity)
    }

    /// The same, computed by `curve`.
    ///
    /// # Errors
    /// [`ErrorCode::CERTIFICATE_INVALID`].
    pub fn verify_with(
        &self,
        curve: &impl Curve,
        ca: &PublicKey,
        identity: &IdentityDocument,
    ) -> Result<(), ErrorCode> {
        let verified = Self::message(ca, identity, self.kind)
            .and_then(|message| curve.verify(ca, &message, &self.signature));
        verified.map_err(|_| ErrorCode::CERTIFICATE_INVALID)
    }

    /// The certificate written out, X.509.
    ///
    /// # Errors
    /// [`ErrorCode::IDENTITY_INVALID`] if a key is not a point.
    pub fn to_der(&self, ca: &PublicKey, identity: &IdentityDocument) -> Result<Der, ErrorCode> {
        Der::signed(&Self::message(ca, identity, self.kind)?, &self.signature)
    }
}

impl Issued {
    /// Reads an X.509 certificate that this device CA has signed. Any that it would not have written
    /// is refused, whoever signed it.
    ///
    /// # Errors
    /// [`ErrorCode::CERTIFICATE_INVALID`].
    pub fn read(certificate: &[u8], ca: &PublicKey) -> Result<Self, ErrorCode> {
        Self::find(certificate, ca).ok_or(ErrorCode::CERTIFICATE_INVALID)
    }

    fn find(certificate: &[u8], ca: &PublicKey) -> Option<Self> {
        let (found, signature) = split(certificate)?;
        let mut fields = der::expect(&mut &*found, der::SEQUENCE)?;
        for _ in 0..6 {
            der::take(&mut fields)?; // version to subject
        }
        let (_, _, key) = der::take(&mut fields)?;
        let signing = public_key(key)?;
        // The last extension.
        let (rest, identity) = fields.split_last_chunk::<32>()?;
        rest.ends_with(&IDENTITY).then_some(())?;
        let issued = |kind| Self { signing, kind, identity: *identity };
        let is_it = |issued: &Self| body(ca, issued).is_ok_and(|body| *body == *found);
        let issued = DeviceKind::ALL.into_iter().map(issued).find(is_it)?;
        signature.verify(ca, found).ok()?;
        Some(issued)
    }

    /// Whether this is the device with that identity document.
    #[must_use]
    pub fn is_of(&self, identity: &IdentityDocument) -> bool {
        let IdentityDocument { signing, link, join, .. } = identity;
        let hash: [u8; 32] = Sha256::digest(IdentityDocument::message(signing, link, join)).into();
        self.signing == *signing && self.identity == hash
    }
}

/// What a device CA signs, with SHA-256, to have a certificate of its own: the anchor that other tools
/// ask for.
///
/// # Errors
/// [`ErrorCode::IDENTITY_INVALID`] if the key is not a point.
pub fn root_message(ca: &PublicKey) -> Result<Der, ErrorCode> {
    let point = ca.to_uncompressed()?;
    Der::build(|der| {
        let end = der.place();
        extension(der, &SUBJECT_KEY, &key_identifier(&point))?;
        der.prepend(&CERTIFIES)?;
        der.prepend(&IS_CA)?;
        der.wrap(der::SEQUENCE, end)?;
        der.wrap(CONTEXT_3, end)?;
        der.prepend(&point)?;
        der.prepend(&SPKI)?;
        ca_name(der, ca)?;
        der.prepend(VALIDITY)?;
        ca_name(der, ca)?;
        front(der, &Sha256::digest(point), end)
    })
}

/// The certificate of a device CA, X.509, self-signed.
///
/// # Errors
/// [`ErrorCode::IDENTITY_INVALID`] if the key is not a point.
pub fn root(ca: &PublicKey, signature: &Signature) -> Result<Der, ErrorCode> {
    Der::signed(&root_message(ca)?, signature)
}

/// The key of a device CA, out of its certificate.
///
/// # Errors
/// [`ErrorCode::CERTIFICATE_INVALID`] for any that [`root`] does not write.
pub fn read_root(certificate: &[u8]) -> Result<PublicKey, ErrorCode> {
    let read = || {
        let (found, signature) = split(certificate)?;
        let mut fields = der::expect(&mut &*found, der::SEQUENCE)?;
        for _ in 0..6 {
            der::take(&mut fields)?;
        }
        let ca = public_key(der::take(&mut fields)?.2)?;
        (*root_message(&ca).ok()? == *found).then_some(())?;
        signature.verify(&ca, found).ok()?;
        Some(ca)
    };
    read().ok_or(ErrorCode::CERTIFICATE_INVALID)
}

/// The body of a device's certificate.
fn body(ca: &PublicKey, issued: &Issued) -> Result<Der, ErrorCode> {
    let (authority, point) = (ca.to_uncompressed()?, issued.signing.to_uncompressed()?);
    let serial = Sha256::new().chain_update(issued.identity).chain_update([issued.kind as u8]);
    Der::build(|der| {
        let end = der.place();
        extension(der, &IDENTITY, &issued.identity)?;
        extension(der, &AUTHORITY_KEY, &key_identifier(&authority))?;
        extension(der, &SUBJECT_KEY, &key_identifier(&point))?;
        der.prepend(&SIGNS)?;
        der.prepend(&NOT_A_CA)?;
        der.wrap(der::SEQUENCE, end)?;
        der.wrap(CONTEXT_3, end)?;
        der.prepend(&point)?;
        der.prepend(&SPKI)?;
        let name = der.place();
        attribute(der, &COMMON_NAME, &[&hex(issued.signing.device_id().as_bytes())])?;
        attribute(der, &UNIT, &[b"Strongroom ", issued.kind.name().as_bytes()])?;
        der.wrap(der::SEQUENCE, name)?;
        der.prepend(VALIDITY)?;
        ca_name(der, ca)?;
        front(der, &serial.finalize(), end)
    })
}

/// Version, serial number and algorithm, and what is around all.
fn front(der: &mut Backwards<'_>, serial: &[u8], end: usize) -> Result<(), ErrorCode> {
    der.prepend(&SIGNED_WITH)?;
    let mut number = *serial.first_chunk::<16>().ok_or(ErrorCode::INTERNAL)?;
    let [first, ..] = &mut number;
    *first = *first & 0x3f | 0x40;
    der.element(der::INTEGER, &number)?;
    der.prepend(&[CONTEXT_0, 3, der::INTEGER, 1, 2])?;
    der.wrap(der::SEQUENCE, end)
}

fn extension(der: &mut Backwards<'_>, head: &[u8], value: &[u8]) -> Result<(), ErrorCode> {
    let end = der.place();
    der.prepend(value)?;
    der.prepend(head)?;
    der.wrap(der::SEQUENCE, end)
}

fn attribute(der: &mut Backwards<'_>, kind: &[u8], text: &[&[u8]]) -> Result<(), ErrorCode> {
    let end = der.place();
    for part in text.iter().rev() {
        der.prepend(part)?;
    }
    der.wrap(der::UTF8_STRING, end)?;
    der.prepend(kind)?;
    der.wrap(der::SEQUENCE, end)?;
    der.wrap(der::SET, end)
}

fn ca_name(der: &mut Backwards<'_>, ca: &PublicKey) -> Result<(), ErrorCode> {
    let name = der.place();
    attribute(der, &COMMON_NAME, &[CA_NAME, &hex(&ca.operator_id().0)])?;
    der.wrap(der::SEQUENCE, name)
}

fn key_identifier(point: &[u8; 65]) -> [u8; 20] {
    let hash: [u8; 32] = Sha256::digest(point).into();
    *hash.first_chunk().unwrap_or(&[0; 20])
}

fn hex(bytes: &[u8; 16]) -> [u8; 32] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |nibble: u8| DIGITS.get(usize::from(nibble)).copied().unwrap_or_default();
    let mut out = [0; 32];
    for (pair, byte) in out.as_chunks_mut::<2>().0.iter_mut().zip(bytes) {
        *pair = [digit(byte >> 4), digit(byte & 15)];
    }
    out
}

/// Takes a certificate apart: its body as a whole, and its signature.
fn split(certificate: &[u8]) -> Option<(&[u8], Signature)> {
    let mut rest = certificate;
    let mut fields = der::expect(&mut rest, der::SEQUENCE)?;
    let (_, _, body) = der::take(&mut fields)?;
    let mut fields = fields.strip_prefix(&SIGNED_WITH)?;
    let mut bits = der::expect(&mut fields, der::BIT_STRING)?.strip_prefix(&[0])?;
    let mut scalars = der::expect(&mut bits, der::SEQUENCE)?;
    let (r, s) = (scalar(&mut scalars)?, scalar(&mut scalars)?);
    let is_whole = rest.is_empty() && fields.is_empty() && bits.is_empty() && scalars.is_empty();
    is_whole.then_some((body, Signature { r, s }))
}

fn scalar(input: &mut &[u8]) -> Option<[u8; 32]> {
    let content = der::expect(input, der::INTEGER)?;
    let bytes = match content {
        [0, rest @ ..] if rest.first()? & 0x80 != 0 => rest,
        [first, ..] if (1..0x80).contains(first) => content,
        _ => return None,
    };
    let mut out = [0; 32];
    let start = out.len().checked_sub(bytes.len())?;
    out.get_mut(start..)?.copy_from_slice(bytes);
    Some(out)
}

fn public_key(spki: &[u8]) -> Option<PublicKey> {
    let point = spki.strip_prefix(&SPKI)?;
    let point = p256::PublicKey::from_sec1_bytes(point).ok()?;
    Some(PublicKey::from_point(&point))
}
