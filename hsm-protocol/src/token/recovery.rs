//! Backups of a domain, and the shares that bring one back.
//!
//! ```text
//! backup    0x91 | domain [16] | domain version u32 LE | state hash [32] | set [16] | maker [16]
//!           | threshold u8 | shares u8 | AES-256-GCM(state and keys) | tag [16] | signature [64]
//! share     0x92 | domain [16] | domain version u32 LE | set [16] | maker [16] | threshold u8 | number u8
//!           | operator [16] | backup digest [32] | ephemeral key [33] | AES-256-GCM(share) [32] | tag [16]
//!           | signature [64]
//! handover  0x93 | domain [16] | set [16] | number u8 | operator [16] | backup digest [32] | device [16]
//!           | ephemeral key [33] | AES-256-GCM(share) [32] | tag [16] | signature [64]
//! ```
//! The backup's key comes from a secret of 32 bytes that is in no place but the shares (Shamir's over
//! GF(2^8), a byte each). A share is wrapped to the operator's share key, a handover to the join key of the
//! one device that is to restore: one-pass ECDH (SP 800-56A 6.2.2.2) with the header as context. Headers
//! are additional data; each key is used once, so the IVs are constant zero. Backup and shares are signed by
//! the maker's identity key, handovers by the operator: over the label and SHA-256 of what precedes the
//! signature. The backup digest is SHA-256 of the whole backup.

use aes_gcm::aead::{AeadInOut, KeyInit};
use aes_gcm::{Aes256Gcm, Nonce, Tag};
use p256::SecretKey;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::{IV_SIZE, TAG_SIZE};
use crate::bytes::{concat, take};
use crate::curve::{Curve, KeyPair, Portable};
use crate::domain::StateHash;
use crate::error::ErrorCode;
use crate::id::{DeviceId, DomainId, OperatorId};
use crate::identity::{PublicKey, Signature};
use crate::static_secret;

const BACKUP_V1: u8 = 0x91;
const SHARE_V1: u8 = 0x92;
const HANDOVER_V1: u8 = 0x93;
const BACKUP_LABEL: &[u8; 22] = b"strongroom-recovery-v1";
const SHARE_LABEL: &[u8; 22] = b"strongroom-rcshares-v1";
const HANDOVER_LABEL: &[u8; 22] = b"strongroom-handover-v1";
const SHARE_KEY_LABEL: &[u8] = b"KMS-SHARE-v1";
const HANDOVER_KEY_LABEL: &[u8] = b"KMS-HANDOVER-v1";

/// Length of a share in bytes.
pub const SHARE_SECRET: usize = 32;
const SEALED: usize = SHARE_SECRET + TAG_SIZE;

/// Which backup and shares belong together: drawn at random for each backup.
pub type SetId = [u8; 16];
/// SHA-256 of a whole backup.
pub type BackupDigest = [u8; 32];

/// What a backup says of itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BackupHeader {
    /// The domain.
    pub domain: DomainId,
    /// Version of its state.
    pub version: u32,
    /// Hash of its state.
    pub state: StateHash,
    /// Which shares belong to it.
    pub set: SetId,
    /// The device that made it.
    pub maker: DeviceId,
    /// How many shares it takes.
    pub threshold: u8,
    /// How many there are.
    pub shares: u8,
}

/// A backup, taken apart.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Backup<'a> {
    /// What it says of itself.
    pub header: BackupHeader,
    /// The authenticated header.
    pub aad: &'a [u8],
    /// Encrypted state and keys, and tag.
    pub sealed: &'a [u8],
    signed: &'a [u8],
    signature: Signature,
}

impl BackupHeader {
    /// Length of the header in bytes.
    pub const SIZE: usize = 1 + DomainId::SIZE + 4 + 32 + 16 + DeviceId::SIZE + 2;

    /// Writes the header at the start of `out` and returns it with the bytes after it.
    ///
    /// # Errors
    /// [`ErrorCode::TOO_LARGE`] if `out` is shorter.
    pub fn write<'o>(&self, out: &'o mut [u8]) -> Result<(&'o mut [u8], &'o mut [u8]), ErrorCode> {
        let (header, rest) = out.split_at_mut_checked(Self::SIZE).ok_or(ErrorCode::TOO_LARGE)?;
        let parts: [&[u8]; 7] = [
            &[BACKUP_V1],
            self.domain.as_bytes(),
            &self.version.to_le_bytes(),
            &self.state,
            &self.set,
            self.maker.as_bytes(),
            &[self.threshold, self.shares],
        ];
        concat(header, &parts).ok_or(ErrorCode::TOO_LARGE)?;
        Ok((header, rest))
    }
}

impl<'a> Backup<'a> {
    /// Bytes that a backup is longer than state and keys.
    pub const OVERHEAD: usize = BackupHeader::SIZE + TAG_SIZE + Signature::SIZE;

    /// Reads the layout. Nothing is authenticated yet.
    ///
    /// # Errors
    /// [`ErrorCode::RECOVERY_INVALID`].
    pub fn parse(backup: &'a [u8]) -> Result<Self, ErrorCode> {
        Self::read(backup).ok_or(ErrorCode::RECOVERY_INVALID)
    }

    fn read(backup: &'a [u8]) -> Option<Self> {
        let (signed, signature) = backup.split_last_chunk()?;
        let (aad, sealed) = signed.split_at_checked(BackupHeader::SIZE)?;
        let mut rest = aad;
        let input = &mut rest;
        let [BACKUP_V1] = take(input)? else { return None };
        let (domain, version) = (DomainId(*take(input)?), u32::from_le_bytes(*take(input)?));
        let (state, set, maker) = (*take(input)?, *take(input)?, DeviceId(*take(input)?));
        let [threshold, shares] = *take(input)?;
        let header = BackupHeader { domain, version, state, set, maker, threshold, shares };
        let is_sound = (1..=shares).contains(&threshold) && sealed.len() > TAG_SIZE;
        let signature = Signature::from_bytes(signature);
        is_sound.then_some(Self { header, aad, sealed, signed, signature })
    }

    /// Checks that this device has made it.
    ///
    /// # Errors
    /// [`ErrorCode::RECOVERY_INVALID`].
    pub fn verify(&self, curve: &impl Curve, maker: &PublicKey) -> Result<(), ErrorCode> {
        let is_of = maker.device_id() == self.header.maker;
        check(curve, &self.signature, maker, &backup_message(self.signed), is_of)
    }
}

/// What the maker of a backup signs: `signed` is all but the signature.
#[must_use]
pub fn backup_message(signed: &[u8]) -> [u8; 54] {
    message(BACKUP_LABEL, signed)
}

/// The digest that shares and handovers name.
#[must_use]
pub fn backup_digest(backup: &[u8]) -> BackupDigest {
    Sha256::digest(backup).into()
}

/// What a share says of itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ShareHeader {
    /// The domain.
    pub domain: DomainId,
    /// Version of its state.
    pub version: u32,
    /// Which backup it belongs to.
    pub set: SetId,
    /// The device that made it.
    pub maker: DeviceId,
    /// How many shares bring the backup back.
    pub threshold: u8,
    /// Number of this one, from 1.
    pub number: u8,
    /// Who holds it.
    pub operator: OperatorId,
    /// The backup.
    pub backup: BackupDigest,
}

/// A share, wrapped to the operator who holds it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Share {
    /// What it says of itself.
    pub header: ShareHeader,
    bytes: [u8; Self::SIZE],
}

impl Share {
    /// Length of the header in bytes, the ephemeral key included.
    const HEADER: usize =
        1 + DomainId::SIZE + 4 + 16 + DeviceId::SIZE + 2 + OperatorId::SIZE + 32 + PublicKey::SIZE;
    /// Length of a share in bytes.
    pub const SIZE: usize = Self::HEADER + SEALED + Signature::SIZE;

    /// Wraps a share to its holder, and has it signed. `ephemeral` is used for nothing else.
    ///
    /// # Errors
    /// [`ErrorCode::IDENTITY_INVALID`] if `holder` is not a point; those of `sign`.
    pub fn seal(
        curve: &impl Curve,
        header: &ShareHeader,
        holder: &PublicKey,
        ephemeral: &KeyPair,
        share: &[u8; SHARE_SECRET],
        sign: impl FnOnce(&[u8]) -> Result<Signature, ErrorCode>,
    ) -> Result<[u8; Self::SIZE], ErrorCode> {
        let mut out = [0; Self::SIZE];
        let public = ephemeral.public();
        let parts: [&[u8]; 9] = [
            &[SHARE_V1],
            header.domain.as_bytes(),
            &header.version.to_le_bytes(),
            &header.set,
            header.maker.as_bytes(),
            &[header.threshold, header.number],
            header.operator.as_bytes(),
            &header.backup,
            &public.to_bytes(),
        ];
        concat(&mut out, &parts).ok_or(ErrorCode::INTERNAL)?;
        let wrapping = (ephemeral.secret(), holder, SHARE_KEY_LABEL);
        finish(curve, &mut out, Self::HEADER, wrapping, share, |signed| {
            sign(&message(SHARE_LABEL, signed))
        })?;
        Ok(out)
    }

    /// Reads the layout. Nothing is authenticated yet.
    ///
    /// # Errors
    /// [`ErrorCode::RECOVERY_INVALID`].
    pub fn parse(share: &[u8]) -> Result<Self, ErrorCode> {
        Self::read(share).ok_or(ErrorCode::RECOVERY_INVALID)
    }

    fn read(share: &[u8]) -> Option<Self> {
        let bytes: [u8; Self::SIZE] = share.try_into().ok()?;
        let mut rest: &[u8] = share;
        let input = &mut rest;
        let [SHARE_V1] = take(input)? else { return None };
        let (domain, version) = (DomainId(*take(input)?), u32::from_le_bytes(*take(input)?));
        let (set, maker) = (*take(input)?, DeviceId(*take(input)?));
        let [threshold, number] = *take(input)?;
        let (operator, backup) = (OperatorId(*take(input)?), *take(input)?);
        let header =
            ShareHeader { domain, version, set, maker, threshold, number, operator, backup };
        (threshold > 0 && number > 0).then_some(Self { header, bytes })
    }

    /// Checks that this device has made it.
    ///
    /// # Errors
    /// [`ErrorCode::RECOVERY_INVALID`].
    pub fn verify(&self, maker: &PublicKey) -> Result<(), ErrorCode> {
        let (signed, signature) = self.bytes.split_last_chunk().ok_or(ErrorCode::INTERNAL)?;
        let is_of = maker.device_id() == self.header.maker;
        let message = message(SHARE_LABEL, signed);
        check(&Portable, &Signature::from_bytes(signature), maker, &message, is_of)
    }

    /// Opens the share with the operator's share key.
    ///
    /// # Errors
    /// [`ErrorCode::RECOVERY_INVALID`] if it is wrapped to another key, or was changed.
    pub fn open(&self, holder: &SecretKey) -> Result<Zeroizing<[u8; SHARE_SECRET]>, ErrorCode> {
        open(&Portable, &self.bytes, Self::HEADER, holder, SHARE_KEY_LABEL)
    }

    /// The share as it was read.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; Self::SIZE] {
        &self.bytes
    }
}

/// What a handover says of itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HandoverHeader {
    /// The domain.
    pub domain: DomainId,
    /// Which backup it belongs to.
    pub set: SetId,
    /// Number of the share.
    pub number: u8,
    /// Who holds it.
    pub operator: OperatorId,
    /// The backup.
    pub backup: BackupDigest,
    /// The one device that can open it.
    pub device: DeviceId,
}

/// A share on its way to the device that is to restore.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Handover {
    /// What it says of itself.
    pub header: HandoverHeader,
    bytes: [u8; Self::SIZE],
}

impl Handover {
    /// Length of the header in bytes, the ephemeral key included.
    const HEADER: usize =
        1 + DomainId::SIZE + 16 + 1 + OperatorId::SIZE + 32 + DeviceId::SIZE + PublicKey::SIZE;
    /// Length of a handover in bytes.
    pub const SIZE: usize = Self::HEADER + SEALED + Signature::SIZE;

    /// Wraps an opened share to a device's join key, and has the operator sign it. `ephemeral` is used for
    /// nothing else.
    ///
    /// # Errors
    /// [`ErrorCode::IDENTITY_INVALID`] if `join` is not a point; those of `sign`.
    pub fn seal(
        header: &HandoverHeader,
        join: &PublicKey,
        ephemeral: &SecretKey,
        share: &[u8; SHARE_SECRET],
        sign: impl FnOnce(&[u8]) -> Result<Signature, ErrorCode>,
    ) -> Result<[u8; Self::SIZE], ErrorCode> {
        let mut out = [0; Self::SIZE];
        let public = PublicKey::from_point(&ephemeral.public_key());
        let parts: [&[u8]; 8] = [
            &[HANDOVER_V1],
            header.domain.as_bytes(),
            &header.set,
            &[header.number],
            header.operator.as_bytes(),
            &header.backup,
            header.device.as_bytes(),
            &public.to_bytes(),
        ];
        concat(&mut out, &parts).ok_or(ErrorCode::INTERNAL)?;
        let wrapping = (ephemeral, join, HANDOVER_KEY_LABEL);
        finish(&Portable, &mut out, Self::HEADER, wrapping, share, |signed| {
            sign(&message(HANDOVER_LABEL, signed))
        })?;
        Ok(out)
    }

    /// Reads the layout. Nothing is authenticated yet.
    ///
    /// # Errors
    /// [`ErrorCode::RECOVERY_INVALID`].
    pub fn parse(handover: &[u8]) -> Result<Self, ErrorCode> {
        Self::read(handover).ok_or(ErrorCode::RECOVERY_INVALID)
    }

    fn read(handover: &[u8]) -> Option<Self> {
        let bytes: [u8; Self::SIZE] = handover.try_into().ok()?;
        let mut rest: &[u8] = handover;
        let input = &mut rest;
        let [HANDOVER_V1] = take(input)? else { return None };
        let (domain, set) = (DomainId(*take(input)?), *take(input)?);
        let [number] = *take(input)?;
        let (operator, backup) = (OperatorId(*take(input)?), *take(input)?);
        let device = DeviceId(*take(input)?);
        let header = HandoverHeader { domain, set, number, operator, backup, device };
        (number > 0).then_some(Self { header, bytes })
    }

    /// Checks that this operator has signed it.
    ///
    /// # Errors
    /// [`ErrorCode::RECOVERY_INVALID`].
    pub fn verify(&self, curve: &impl Curve, operator: &PublicKey) -> Result<(), ErrorCode> {
        let (signed, signature) = self.bytes.split_last_chunk().ok_or(ErrorCode::INTERNAL)?;
        let is_of = operator.operator_id() == self.header.operator;
        let message = message(HANDOVER_LABEL, signed);
        check(curve, &Signature::from_bytes(signature), operator, &message, is_of)
    }

    /// Opens the share with the device's join key.
    ///
    /// # Errors
    /// [`ErrorCode::RECOVERY_INVALID`] if it is wrapped to another key, or was changed.
    pub fn open(
        &self,
        curve: &impl Curve,
        join: &SecretKey,
    ) -> Result<Zeroizing<[u8; SHARE_SECRET]>, ErrorCode> {
        open(curve, &self.bytes, Self::HEADER, join, HANDOVER_KEY_LABEL)
    }
}

fn message(label: &[u8; 22], signed: &[u8]) -> [u8; 54] {
    let mut out = [0; 54];
    concat(&mut out, &[label, &Sha256::digest(signed)]);
    out
}

fn check(
    curve: &impl Curve,
    signature: &Signature,
    key: &PublicKey,
    message: &[u8],
    is_of: bool,
) -> Result<(), ErrorCode> {
    match is_of && curve.verify(key, message, signature).is_ok() {
        true => Ok(()),
        false => Err(ErrorCode::RECOVERY_INVALID),
    }
}

/// Seals the share behind the header, and signs all.
fn finish(
    curve: &impl Curve,
    out: &mut [u8],
    header: usize,
    (ephemeral, recipient, label): (&SecretKey, &PublicKey, &[u8]),
    share: &[u8; SHARE_SECRET],
    sign: impl FnOnce(&[u8]) -> Result<Signature, ErrorCode>,
) -> Result<(), ErrorCode> {
    let (signed, signature) = out.split_last_chunk_mut().ok_or(ErrorCode::INTERNAL)?;
    let (header, sealed) = signed.split_at_mut_checked(header).ok_or(ErrorCode::INTERNAL)?;
    let (body, tag) = sealed.split_last_chunk_mut::<TAG_SIZE>().ok_or(ErrorCode::INTERNAL)?;
    let key = static_secret::derive(curve, ephemeral, recipient, label, &[header])?;
    body.copy_from_slice(share);
    let iv = Nonce::from([0; IV_SIZE]);
    let cipher = Aes256Gcm::new((&*key).into());
    let made = cipher.encrypt_inout_detached(&iv, header, body.into());
    *tag = made.map_err(|_| ErrorCode::INTERNAL)?.into();
    *signature = sign(signed)?.to_bytes();
    Ok(())
}

fn open(
    curve: &impl Curve,
    bytes: &[u8],
    header: usize,
    own: &SecretKey,
    label: &[u8],
) -> Result<Zeroizing<[u8; SHARE_SECRET]>, ErrorCode> {
    let read = || {
        let (signed, _) = bytes.split_last_chunk::<{ Signature::SIZE }>()?;
        let (header, sealed) = signed.split_at_checked(header)?;
        let (_, ephemeral) = header.split_last_chunk::<{ PublicKey::SIZE }>()?;
        let (tag, x) = ephemeral.split_first()?;
        let ephemeral = PublicKey { tag: *tag, x: x.try_into().ok()? };
        let key = static_secret::derive(curve, own, &ephemeral, label, &[header]).ok()?;
        let (body, tag) = sealed.split_last_chunk::<TAG_SIZE>()?;
        let mut share = Zeroizing::new([0; SHARE_SECRET]);
        share.copy_from_slice(body);
        let iv = Nonce::from([0; IV_SIZE]);
        let cipher = Aes256Gcm::new((&*key).into());
        let opened = cipher.decrypt_inout_detached(
            &iv,
            header,
            share.as_mut_slice().into(),
            &Tag::from(*tag),
        );
        opened.ok().map(|()| share)
    };
    read().ok_or(ErrorCode::RECOVERY_INVALID)
}
