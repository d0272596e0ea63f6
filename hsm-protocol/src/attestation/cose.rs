//! COSE_Sign1 (RFC 9052 4.2) with ES256 (RFC 9053 2.1): tagged, one protected header, and in the
//! unprotected one the key's id and, where somebody has put it there, a certificate (RFC 9360).
//!
//! ```text
//! 18([ << {1: -7, 3: "application/eat+cwt"} >>, {4: device id, ? 33: certificate}, << claims >>, r | s ])
//! signed: SHA-256 of ["Signature1", the protected header, h'', the claims]
//! ```

use minicbor::data::Tag;
use minicbor::encode::write::Cursor;
use minicbor::{Decoder, Encoder};
use sha2::{Digest, Sha256};

use super::Claims;
use crate::error::ErrorCode;
use crate::id::DeviceId;
use crate::identity::{PublicKey, Signature};

/// COSE_Sign1.
const TAG: Tag = Tag::new(18);
/// `{1: -7, 3: "application/eat+cwt"}`.
const PROTECTED: &[u8] = b"\xa2\x01\x26\x03\x73application/eat+cwt";
const KID: u8 = 4;
const X5CHAIN: u8 = 33;
/// Bytes that a statement without a certificate is longer than its claims.
pub const OVERHEAD: usize = 128;

/// A statement taken apart.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Signed<'a> {
    /// The device, by the unprotected header.
    pub device: DeviceId,
    /// The certificate of the device, X.509, if somebody has put it there.
    pub certificate: Option<&'a [u8]>,
    /// The encoded claims.
    pub claims: &'a [u8],
    /// By the identity signing key of the device.
    pub signature: Signature,
}

impl<'a> Signed<'a> {
    /// Reads a statement strictly. Nothing is authentic yet.
    ///
    /// # Errors
    /// [`ErrorCode::STATEMENT_INVALID`].
    pub fn parse(statement: &'a [u8]) -> Result<Self, ErrorCode> {
        Self::read(statement).ok_or(ErrorCode::STATEMENT_INVALID)
    }

    fn read(statement: &'a [u8]) -> Option<Self> {
        let mut cbor = Decoder::new(statement);
        let (TAG, Some(4)) = (cbor.tag().ok()?, cbor.array().ok()?) else { return None };
        if cbor.bytes().ok()? != PROTECTED {
            return None;
        }
        let fields = cbor.map().ok()??;
        let (KID, kid) = (cbor.u8().ok()?, cbor.bytes().ok()?) else { return None };
        let certificate = match fields {
            1 => None,
            2 if cbor.u8().ok()? == X5CHAIN => Some(cbor.bytes().ok()?),
            _ => return None,
        };
        let (claims, signature) = (cbor.bytes().ok()?, cbor.bytes().ok()?);
        let signature = Signature::from_bytes(signature.try_into().ok()?);
        let device = DeviceId(kid.try_into().ok()?);
        (cbor.position() == statement.len()).then_some(Self {
            device,
            certificate,
            claims,
            signature,
        })
    }

    /// Checks that the device with this identity signing key has made the statement; its claims are
    /// authentic then.
    ///
    /// # Errors
    /// [`ErrorCode::IDENTITY_INVALID`] if it is another device's; [`ErrorCode::SIGNATURE_INVALID`];
    /// [`ErrorCode::STATEMENT_INVALID`] if its claims are malformed.
    pub fn verify(&self, signing: &PublicKey) -> Result<Claims<'a>, ErrorCode> {
        if self.device != signing.device_id() {
            return Err(ErrorCode::IDENTITY_INVALID);
        }
        self.signature.verify_digest(signing, &digest(self.claims)?)?;
        let claims = Claims::decode(self.claims)?;
        match claims.device == self.device {
            true => Ok(claims),
            false => Err(ErrorCode::STATEMENT_INVALID),
        }
    }

    /// Writes the statement to the front of `out` and returns its length.
    ///
    /// # Errors
    /// [`ErrorCode::TOO_LARGE`] if it does not fit.
    pub fn write(&self, out: &mut [u8]) -> Result<usize, ErrorCode> {
        let mut cbor = Encoder::new(Cursor::new(out));
        let mut write = || {
            cbor.tag(TAG)?.array(4)?.bytes(PROTECTED)?;
            cbor.map(if self.certificate.is_some() { 2 } else { 1 })?;
            cbor.u8(KID)?.bytes(self.device.as_bytes())?;
            if let Some(certificate) = self.certificate {
                cbor.u8(X5CHAIN)?.bytes(certificate)?;
            }
            cbor.bytes(self.claims)?.bytes(&self.signature.to_bytes())?.ok()
        };
        let written: Result<(), super::Error> = write();
        written.map_err(|_| ErrorCode::TOO_LARGE)?;
        Ok(cbor.writer().position())
    }
}

/// What is signed: SHA-256 of the `Sig_structure` (RFC 9052 4.4).
///
/// # Errors
/// [`ErrorCode::INTERNAL`] only.
pub fn digest(claims: &[u8]) -> Result<[u8; 32], ErrorCode> {
    let mut front = [0; 64];
    let mut cbor = Encoder::new(Cursor::new(front.as_mut_slice()));
    let mut write = || {
        cbor.array(4)?.str("Signature1")?.bytes(PROTECTED)?.bytes(&[])?;
        cbor.bytes_len(claims.len() as u64)?.ok()
    };
    let written: Result<(), super::Error> = write();
    written.map_err(|_| ErrorCode::INTERNAL)?;
    let length = cbor.writer().position();
    let front = front.get(..length).ok_or(ErrorCode::INTERNAL)?;
    Ok(Sha256::new().chain_update(front).chain_update(claims).finalize().into())
}
