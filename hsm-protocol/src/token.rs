//! What leaves the device in a form that only a device can read.
//!
//! | layout | made by | holds |
//! |---|---|---|
//! | [`KeyToken`] | `GenerateKey` | a key's secret under the domain key |
//! | [`Blob`] | `Encrypt` and its kin | a caller's plaintext under a key |
//! | [`DomainToken`] | `ExportDomain` | state and keys of a domain, for one of its members |
//! | [`replica`] | `ExportReplica` | a key's secret, for another domain |
//! | [`recovery`] | `MakeRecovery` | state and keys of a domain, for operators to bring back together |
//! | [`sealed`] | `PrepareKeyPair`, `ParametersForImport` | what a later command takes |
//!
//! Each starts with a version byte and a header that is authenticated as additional data.
//! Layouts are never edited: a change is a new version.

use crate::bytes::{concat, take};
use crate::domain::Rule;
use crate::error::ErrorCode;
use crate::id::{DeviceId, DomainId, KeyId, MaterialId};
use crate::identity::{PublicKey, Signature};
use crate::key_spec::{KeySpec, KeyUsage, MAX_SECRET, Origin};

pub mod context;
mod history;
pub mod recovery;
pub mod replica;
pub mod sealed;

pub use history::History;

/// Length of an AES-GCM tag in bytes (SP 800-38D).
pub const TAG_SIZE: usize = 16;
/// Length of a key-derivation nonce in bytes.
pub const NONCE_SIZE: usize = 16;
/// Length of an AES-GCM IV in bytes.
pub const IV_SIZE: usize = 12;

/// Version 1 had neither a history nor an approval rule.
const KEY_TOKEN_V1: u8 = 0x11;
const KEY_TOKEN_V2: u8 = 0x12;
const BLOB_V1: u8 = 0x21;
/// Version 1 held a state without operators.
const DOMAIN_TOKEN_V2: u8 = 0x32;

/// What a key token says of its key. All of it is authenticated and enforced by the device.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct KeyAttributes {
    /// The domain whose key wraps the token.
    pub domain: DomainId,
    /// Which of the domain's keys.
    pub domain_key: u32,
    /// The KMS key.
    pub key: KeyId,
    /// The key material.
    pub material: MaterialId,
    /// The type of key.
    pub spec: KeySpec,
    /// Its only usage.
    pub usage: KeyUsage,
    /// Where the material came from.
    pub origin: Origin,
    /// What has happened to the material so far.
    pub history: History,
    /// The operators who have to approve each use of the secret; `None`: nobody has to.
    pub approval: Option<Rule>,
}

/// A key token, version 2.
///
/// ```text
/// version 0x12 | domain [16] | domain key u32 LE | key id [17] | material id [32]
/// | spec u8 | usage u8 | origin u8 | history u8 | approvals u8 | officers u8
/// | nonce [16] | AES-256-GCM(secret) | tag [16]
/// ```
/// `approvals` is the number of operators who have to approve each use, `officers` how many of them
/// are security officers; both are 0 for a key without such a rule. Version 1 (0x11) has none of the
/// three bytes after the origin, and is still read: its history is [`History::UNKNOWN`].
///
/// The header up to and including the nonce is additional data. The wrapping key is derived
/// from the domain key and the nonce, so it is used once and the IV is constant zero.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct KeyToken<'a> {
    /// The attributes, not yet authenticated.
    pub attributes: KeyAttributes,
    /// Input of the derivation of the wrapping key.
    pub nonce: &'a [u8; NONCE_SIZE],
    /// The authenticated header.
    pub header: &'a [u8],
    /// Encrypted secret and tag.
    pub sealed: &'a [u8],
}

impl KeyAttributes {
    /// Writes the token's header and returns it with the bytes after it.
    ///
    /// # Errors
    /// [`ErrorCode::TOO_LARGE`] if `out` is shorter than [`KeyToken::HEADER_SIZE`].
    pub fn write<'o>(
        &self,
        nonce: &[u8; NONCE_SIZE],
        out: &'o mut [u8],
    ) -> Result<(&'o mut [u8], &'o mut [u8]), ErrorCode> {
        let (header, rest) =
            out.split_at_mut_checked(KeyToken::HEADER_SIZE).ok_or(ErrorCode::TOO_LARGE)?;
        let (approvals, officers) =
            self.approval.map_or((0, 0), |rule| (rule.total, rule.officers));
        let parts: [&[u8]; 8] = [
            &[KEY_TOKEN_V2],
            self.domain.as_bytes(),
            &self.domain_key.to_le_bytes(),
            &self.key.to_bytes(),
            self.material.as_bytes(),
            &[self.spec.0, self.usage.0, self.origin.0],
            &[self.history.bits(), approvals, officers],
            nonce,
        ];
        concat(header, &parts).ok_or(ErrorCode::TOO_LARGE)?;
        Ok((header, rest))
    }
}

impl<'a> KeyToken<'a> {
    /// Length of the header of version 1 in bytes.
    pub const HEADER_SIZE_V1: usize =
        1 + DomainId::SIZE + 4 + KeyId::SIZE + MaterialId::SIZE + 3 + NONCE_SIZE;
    /// Length of the header in bytes.
    pub const HEADER_SIZE: usize = Self::HEADER_SIZE_V1 + 3;
    /// Longest token in bytes.
    pub const MAX_SIZE: usize = Self::HEADER_SIZE + MAX_SECRET + TAG_SIZE;

    /// Reads the layout. Nothing is authenticated yet.
    ///
    /// # Errors
    /// [`ErrorCode::TOKEN_MALFORMED`].
    pub fn parse(token: &'a [u8]) -> Result<Self, ErrorCode> {
        Self::read(token).ok_or(ErrorCode::TOKEN_MALFORMED)
    }

    fn read(token: &'a [u8]) -> Option<Self> {
        let (is_first, size) = match *token.first()? {
            KEY_TOKEN_V1 => (true, Self::HEADER_SIZE_V1),
            KEY_TOKEN_V2 => (false, Self::HEADER_SIZE),
            _ => return None,
        };
        let (header, sealed) = token.split_at_checked(size)?;
        if !(TAG_SIZE..=MAX_SECRET.checked_add(TAG_SIZE)?).contains(&sealed.len()) {
            return None;
        }
        let mut rest = header;
        let _version: &[u8; 1] = take(&mut rest)?;
        let domain = DomainId(*take(&mut rest)?);
        let domain_key = u32::from_le_bytes(*take(&mut rest)?);
        let key = KeyId::from_bytes(take(&mut rest)?)?;
        let material = MaterialId(*take(&mut rest)?);
        let [spec, usage, origin] = *take(&mut rest)?;
        let (spec, usage, origin) = (KeySpec(spec), KeyUsage(usage), Origin(origin));
        let (history, approval) = if is_first {
            let imported = History::UNKNOWN.and(History::IMPORTED);
            (if origin == Origin::AWS_KMS { History::UNKNOWN } else { imported }, None)
        } else {
            let [history, total, officers] = *take(&mut rest)?;
            let approval = match (total, officers) {
                (0, 0) => None,
                (total, officers) if officers <= total => Some(Rule { total, officers }),
                _ => return None,
            };
            (History::from_bits(history)?, approval)
        };
        let attributes = KeyAttributes {
            domain,
            domain_key,
            key,
            material,
            spec,
            usage,
            origin,
            history,
            approval,
        };
        Some(Self { attributes, nonce: take(&mut rest)?, header, sealed })
    }
}

/// A ciphertext blob, version 1: 94 bytes longer than its plaintext.
///
/// ```text
/// version 0x21 | key id [17] | material id [32] | nonce [16] | IV [12]
/// | AES-256-GCM(plaintext) | tag [16]
/// ```
/// Additional data: the first 66 bytes (up to and including the nonce), then the canonical
/// encryption context. The message key is derived from the backing key and the nonce.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Blob<'a> {
    /// The KMS key.
    pub key: KeyId,
    /// The key material.
    pub material: MaterialId,
    /// Input of the derivation of the message key.
    pub nonce: &'a [u8; NONCE_SIZE],
    /// The authenticated header.
    pub header: &'a [u8],
    /// IV of AES-GCM.
    pub iv: &'a [u8; IV_SIZE],
    /// Encrypted plaintext and tag.
    pub sealed: &'a [u8],
}

/// The parts of a blob under construction.
#[derive(Debug)]
pub struct BlobMut<'o> {
    /// The authenticated header, written.
    pub header: &'o [u8],
    /// The plaintext, to be encrypted in place.
    pub body: &'o mut [u8],
    /// Where the tag goes.
    pub tag: &'o mut [u8; TAG_SIZE],
}

impl<'a> Blob<'a> {
    /// Length of the authenticated header in bytes.
    pub const HEADER_SIZE: usize = 1 + KeyId::SIZE + MaterialId::SIZE + NONCE_SIZE;
    /// Bytes that a blob is longer than its plaintext.
    pub const OVERHEAD: usize = Self::HEADER_SIZE + IV_SIZE + TAG_SIZE;

    /// Reads the layout. Nothing is authenticated yet.
    ///
    /// # Errors
    /// [`ErrorCode::CIPHERTEXT_INVALID`]: a blob's failures are alike.
    pub fn parse(blob: &'a [u8]) -> Result<Self, ErrorCode> {
        Self::read(blob).ok_or(ErrorCode::CIPHERTEXT_INVALID)
    }

    fn read(blob: &'a [u8]) -> Option<Self> {
        let (header, mut body) = blob.split_at_checked(Self::HEADER_SIZE)?;
        let mut rest = header;
        let [BLOB_V1] = take(&mut rest)? else { return None };
        let key = KeyId::from_bytes(take(&mut rest)?)?;
        let material = MaterialId(*take(&mut rest)?);
        let nonce = take(&mut rest)?;
        let iv = take(&mut body)?;
        (body.len() > TAG_SIZE).then_some(Self { key, material, nonce, header, iv, sealed: body })
    }

    /// Lays out a blob for a plaintext of `length` bytes at the start of `out`, which must have
    /// exactly `length` + [`Blob::OVERHEAD`] bytes.
    ///
    /// # Errors
    /// [`ErrorCode::TOO_LARGE`] if `out` has another length.
    pub fn write<'o>(
        key: KeyId,
        material: &MaterialId,
        nonce: &[u8; NONCE_SIZE],
        iv: &[u8; IV_SIZE],
        length: usize,
        out: &'o mut [u8],
    ) -> Result<BlobMut<'o>, ErrorCode> {
        if length.checked_add(Self::OVERHEAD) != Some(out.len()) {
            return Err(ErrorCode::TOO_LARGE);
        }
        let (front, tag) = out.split_last_chunk_mut().ok_or(ErrorCode::TOO_LARGE)?;
        let (header, rest) =
            front.split_at_mut_checked(Self::HEADER_SIZE).ok_or(ErrorCode::TOO_LARGE)?;
        let parts: [&[u8]; 4] = [&[BLOB_V1], &key.to_bytes(), material.as_bytes(), nonce];
        concat(header, &parts).ok_or(ErrorCode::TOO_LARGE)?;
        let (iv_out, body) = rest.split_first_chunk_mut().ok_or(ErrorCode::TOO_LARGE)?;
        *iv_out = *iv;
        Ok(BlobMut { header, body, tag })
    }
}

/// A domain token, version 2.
///
/// ```text
/// version 0x32 | domain [16] | domain version u32 LE | exporter [16] | joiner [16]
/// | ephemeral key [33] | AES-256-GCM(state and keys) | tag [16] | signature [64]
/// ```
/// The header up to and including the ephemeral key is additional data. The wrapping key comes
/// from one-pass ECDH of the ephemeral key and the joiner's join key (SP 800-56A 6.2.2.2), used
/// once, so the IV is constant zero. The exporter's identity key signs all that precedes the
/// signature.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DomainToken<'a> {
    /// The domain.
    pub domain: DomainId,
    /// Version of the domain state inside.
    pub version: u32,
    /// The device that made the token.
    pub exporter: DeviceId,
    /// The only device that can open it.
    pub joiner: DeviceId,
    /// The exporter's ephemeral public key.
    pub ephemeral: PublicKey,
    /// The authenticated header.
    pub header: &'a [u8],
    /// Encrypted state, keys, and tag.
    pub sealed: &'a [u8],
    /// What the signature covers.
    pub signed: &'a [u8],
    /// The exporter's signature.
    pub signature: Signature,
}

/// Starts every message that signs a domain token.
pub const DOMAIN_TOKEN_LABEL: &[u8] = b"strongroom-domain-token-v2";

impl<'a> DomainToken<'a> {
    /// Length of the header in bytes.
    pub const HEADER_SIZE: usize =
        1 + DomainId::SIZE + 4 + DeviceId::SIZE + DeviceId::SIZE + PublicKey::SIZE;
    /// Bytes that a token is longer than the domain state inside.
    pub const OVERHEAD: usize = Self::HEADER_SIZE + TAG_SIZE + Signature::SIZE;

    /// Reads the layout. Nothing is authenticated yet.
    ///
    /// # Errors
    /// [`ErrorCode::DOMAIN_TOKEN_INVALID`].
    pub fn parse(token: &'a [u8]) -> Result<Self, ErrorCode> {
        Self::read(token).ok_or(ErrorCode::DOMAIN_TOKEN_INVALID)
    }

    fn read(token: &'a [u8]) -> Option<Self> {
        let (signed, signature) = token.split_last_chunk()?;
        let (header, sealed) = signed.split_at_checked(Self::HEADER_SIZE)?;
        let mut rest = header;
        let [DOMAIN_TOKEN_V2] = take(&mut rest)? else { return None };
        let token = Self {
            domain: DomainId(*take(&mut rest)?),
            version: u32::from_le_bytes(*take(&mut rest)?),
            exporter: DeviceId(*take(&mut rest)?),
            joiner: DeviceId(*take(&mut rest)?),
            ephemeral: PublicKey { tag: take::<1>(&mut rest)?[0], x: *take(&mut rest)? },
            header,
            sealed,
            signed,
            signature: Signature::from_bytes(signature),
        };
        (sealed.len() > TAG_SIZE).then_some(token)
    }

    /// Writes the header at the start of `out` and returns header and rest.
    ///
    /// # Errors
    /// [`ErrorCode::TOO_LARGE`] if `out` is shorter than [`DomainToken::HEADER_SIZE`].
    pub fn write_header<'o>(
        domain: &DomainId,
        version: u32,
        exporter: &DeviceId,
        joiner: &DeviceId,
        ephemeral: &PublicKey,
        out: &'o mut [u8],
    ) -> Result<(&'o mut [u8], &'o mut [u8]), ErrorCode> {
        let (header, rest) =
            out.split_at_mut_checked(Self::HEADER_SIZE).ok_or(ErrorCode::TOO_LARGE)?;
        let parts: [&[u8]; 6] = [
            &[DOMAIN_TOKEN_V2],
            domain.as_bytes(),
            &version.to_le_bytes(),
            exporter.as_bytes(),
            joiner.as_bytes(),
            &ephemeral.to_bytes(),
        ];
        concat(header, &parts).ok_or(ErrorCode::TOO_LARGE)?;
        Ok((header, rest))
    }
}
