//! Backups of a domain: made for the holders that its operators have named, and opened with their shares.
//!
//! The secret that the shares combine to exists only while a command runs, in the device that makes the
//! backup and in the one that opens it.

use heapless::Vec;
use hsm_protocol::curve::KeyPair;
use hsm_protocol::domain::MAX_OPERATORS;
use hsm_protocol::identity::Signature;
use hsm_protocol::token::TAG_SIZE;
use hsm_protocol::token::recovery::{
    Backup, BackupHeader, Handover, Share, ShareHeader, backup_digest, backup_message,
};
use hsm_protocol::{DeviceId, ErrorCode};
use rand_core::CryptoRng;

use super::domain::{self, Domain, MAX_ENCODED};
use super::identity::Identity;
use crate::aead::{self, ZERO_IV};
use crate::kbkdf::{self, Purpose};
use crate::secret::Secret;
use crate::shamir::{self, MAX_SHARES, SIZE, Sharing};

/// Longest backup, in bytes.
pub(crate) const MAX_BACKUP: usize = Backup::OVERHEAD + MAX_ENCODED;
/// Most bytes of all shares of a backup.
pub(crate) const ALL_SHARES: usize = MAX_OPERATORS * Share::SIZE;

const _: () = assert!(MAX_OPERATORS <= MAX_SHARES, "each operator may hold a share");

/// Makes a backup into the front of `backup` and its shares into the front of `shares`; returns both
/// lengths.
///
/// # Errors
/// [`ErrorCode::RECOVERY_ABSENT`] if nobody holds shares; [`ErrorCode::KEYS_MISSING`];
/// [`ErrorCode::TOO_LARGE`] if there is less room than [`MAX_BACKUP`] and [`ALL_SHARES`].
pub(crate) fn make(
    domain: &Domain,
    own: &Identity,
    rng: &mut dyn CryptoRng,
    backup: &mut [u8],
    shares: &mut [u8],
) -> Result<(usize, usize), ErrorCode> {
    let state = domain.state()?;
    let recovery = state.recovery.as_ref().ok_or(ErrorCode::RECOVERY_ABSENT)?;
    if !domain.has_keys() {
        return Err(ErrorCode::KEYS_MISSING);
    }
    let mut header = BackupHeader {
        domain: state.domain,
        version: state.version,
        state: state.hash()?,
        set: [0; 16],
        maker: own.device_id(),
        threshold: recovery.threshold,
        shares: u8::try_from(recovery.holders.len()).map_err(|_| ErrorCode::INTERNAL)?,
    };
    let mut secret = Secret::<SIZE>::zeroed();
    rng.fill_bytes(&mut header.set);
    rng.fill_bytes(secret.expose_mut());

    let (aad, body) = header.write(backup)?;
    let length = domain.write(body)?;
    let (body, rest) = body.split_at_mut_checked(length).ok_or(ErrorCode::TOO_LARGE)?;
    let tag = rest.first_chunk_mut::<TAG_SIZE>().ok_or(ErrorCode::TOO_LARGE)?;
    *tag = aead::seal(&key_of(&secret, aad)?, &ZERO_IV, aad, body)?;
    let signed = BackupHeader::SIZE.saturating_add(length).saturating_add(TAG_SIZE);
    let (signed_part, rest) = backup.split_at_mut_checked(signed).ok_or(ErrorCode::TOO_LARGE)?;
    let signature = rest.first_chunk_mut().ok_or(ErrorCode::TOO_LARGE)?;
    *signature = own.sign(&backup_message(signed_part), rng)?.to_bytes();
    let whole = signed.saturating_add(Signature::SIZE);
    let digest = backup_digest(backup.get(..whole).ok_or(ErrorCode::INTERNAL)?);

    let sharing = Sharing::of(&secret, recovery.threshold, rng)?;
    let mut end = 0usize;
    for (number, holder) in (1..).zip(&recovery.holders) {
        let mut share = Secret::zeroed();
        sharing.share(number, &mut share)?;
        let header = ShareHeader {
            domain: state.domain,
            version: state.version,
            set: header.set,
            maker: header.maker,
            threshold: recovery.threshold,
            number,
            operator: holder.operator,
            backup: digest,
        };
        let ephemeral = KeyPair::generate(own.curve(), rng)?;
        let sign = |message: &[u8]| own.sign(message, rng);
        let sealed =
            Share::seal(own.curve(), &header, &holder.key, &ephemeral, share.expose(), sign)?;
        let next = end.saturating_add(sealed.len());
        shares.get_mut(end..next).ok_or(ErrorCode::TOO_LARGE)?.copy_from_slice(&sealed);
        end = next;
    }
    Ok((whole, end))
}

/// Opens a backup with shares that were handed over to this device, into `domain`, where there is none
/// after an error.
///
/// # Errors
/// [`ErrorCode::SHARES_MISSING`] if there are fewer than the backup takes; [`ErrorCode::RECOVERY_INVALID`]
/// alike for every other fault of the backup and the shares.
pub(crate) fn open(
    backup: &[u8],
    shares: &[u8],
    own: &Identity,
    domain: &mut Domain,
) -> Result<(), ErrorCode> {
    domain.clear();
    let opened = open_into(backup, shares, own, domain);
    if opened.is_err() {
        domain.clear();
    }
    opened
}

fn open_into(
    encoded: &[u8],
    shares: &[u8],
    own: &Identity,
    domain: &mut Domain,
) -> Result<(), ErrorCode> {
    let invalid = ErrorCode::RECOVERY_INVALID;
    let backup = Backup::parse(encoded)?;
    let header = backup.header;
    let handovers = read(shares, encoded, &header, own.device_id())?;
    if handovers.len() < usize::from(header.threshold) {
        return Err(ErrorCode::SHARES_MISSING);
    }
    let secret = combine(&handovers, own)?;
    let mut plain = domain::buffer();
    let (body, tag) = backup.sealed.split_last_chunk::<TAG_SIZE>().ok_or(invalid)?;
    let plain = plain.get_mut(..body.len()).ok_or(invalid)?;
    plain.copy_from_slice(body);
    let key = key_of(&secret, backup.aad)?;
    aead::open(&key, &ZERO_IV, backup.aad, plain, tag, invalid)?;
    domain.read(plain).ok_or(invalid)?;

    // What was opened decides who may have made it: a device of that domain, for those operators.
    let state = domain.state()?;
    let recovery = state.recovery.as_ref().ok_or(invalid)?;
    backup.verify(own.curve(), &state.member(header.maker).ok_or(invalid)?.signing)?;
    let is_of = (state.domain, state.version, state.hash()?, recovery.threshold)
        == (header.domain, header.version, header.state, header.threshold);
    for handover in &handovers {
        let (number, _) = recovery.holder(handover.header.operator).ok_or(invalid)?;
        let operator = state.operator(handover.header.operator).ok_or(invalid)?;
        handover.verify(own.curve(), &operator.key)?;
        if number != handover.header.number {
            return Err(invalid);
        }
    }
    match is_of && domain.has_keys() {
        true => Ok(()),
        false => Err(invalid),
    }
}

/// The handovers, each of this backup, for this device, and of another share.
fn read(
    shares: &[u8],
    encoded: &[u8],
    header: &BackupHeader,
    device: DeviceId,
) -> Result<Vec<Handover, MAX_SHARES>, ErrorCode> {
    let invalid = ErrorCode::RECOVERY_INVALID;
    let (rows, []) = shares.as_chunks::<{ Handover::SIZE }>() else { return Err(invalid) };
    let digest = backup_digest(encoded);
    let mut handovers: Vec<Handover, MAX_SHARES> = Vec::new();
    for row in rows {
        let handover = Handover::parse(row)?;
        let its = handover.header;
        let is_of = (its.domain, its.set, its.backup, its.device)
            == (header.domain, header.set, digest, device)
            && handovers.iter().all(|other| other.header.number != its.number);
        if !is_of {
            return Err(invalid);
        }
        handovers.push(handover).map_err(|_| invalid)?;
    }
    Ok(handovers)
}

fn combine(handovers: &[Handover], own: &Identity) -> Result<Secret<SIZE>, ErrorCode> {
    let mut opened = [const { Secret::<SIZE>::zeroed() }; MAX_SHARES];
    for (place, handover) in opened.iter_mut().zip(handovers) {
        *place.expose_mut() = *handover.open(own.curve(), own.join())?;
    }
    let shares: Vec<(u8, &[u8; SIZE]), MAX_SHARES> = handovers
        .iter()
        .zip(&opened)
        .map(|(handover, share)| (handover.header.number, share.expose()))
        .collect();
    let mut secret = Secret::zeroed();
    shamir::combine(&shares, &mut secret).map_err(|_| ErrorCode::RECOVERY_INVALID)?;
    Ok(secret)
}

fn key_of(secret: &Secret<SIZE>, header: &[u8]) -> Result<Secret<32>, ErrorCode> {
    let mut key = Secret::zeroed();
    kbkdf::derive(secret.expose(), Purpose::RecoveryBackup, &[header], &mut key)?;
    Ok(key)
}
