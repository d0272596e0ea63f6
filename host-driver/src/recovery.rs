//! Backups that a number of operators restore together, on the side of hosts and operators.
//!
//! A host stores a [`RecoverySet`] and cannot read anything in it. An operator opens their own share and
//! hands it over to one device ([`hand_over`]), after this module has checked whether that device can be
//! trusted.

use std::fmt;
use std::path::Path;

use hsm_protocol::command::domain::DomainSummary;
use hsm_protocol::command::key::KeyRef;
use hsm_protocol::command::recovery::{DrillRecovery, Drilled, MakeRecovery, RestoreDomain};
use hsm_protocol::curve::Portable;
use hsm_protocol::domain::{Certificate, DeviceKind, DomainState, Holder, Kind};
use hsm_protocol::identity::{IdentityDocument, PublicKey, Signature};
use hsm_protocol::token::recovery::{Backup, Handover, HandoverHeader, Share, backup_digest};
use hsm_protocol::{AuditTag, Bytes, Command, DomainId, ErrorCode, OperatorId};
use p256::SecretKey;

use crate::device::Device;
use crate::error::CallError;
use crate::key_file::{self, KeyFileError, system_rng};
use crate::request::Reply;

/// The key that an operator's shares are wrapped to, in this process. Zeroised on drop.
#[derive(Clone)]
pub struct ShareKey(SecretKey);

impl ShareKey {
    /// Draws a new key from the operating system's random number generator.
    #[must_use]
    pub fn generate() -> Self {
        Self(key_file::generate())
    }

    /// The key in the file at `path`, made if there is none.
    ///
    /// # Errors
    /// [`KeyFileError`].
    pub fn load_or_generate(path: &Path) -> Result<Self, KeyFileError> {
        key_file::load_or_generate(path).map(Self)
    }

    /// The key with this private scalar; `None` if the scalar is invalid.
    #[must_use]
    pub fn from_bytes(scalar: &[u8; 32]) -> Option<Self> {
        SecretKey::from_slice(scalar).ok().map(Self)
    }

    /// The public half.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        PublicKey::from_point(&self.0.public_key())
    }

    /// What makes its operator a holder: to be put into a
    /// [`Change::SetRecovery`](hsm_protocol::domain::Change::SetRecovery). `sign` is the operator's key,
    /// wherever it is.
    ///
    /// # Errors
    /// Those of `sign`.
    pub fn holder<E>(
        &self,
        domain: &DomainId,
        operator: OperatorId,
        sign: impl FnOnce(&[u8]) -> Result<Signature, E>,
    ) -> Result<[u8; Holder::SIZE], E> {
        let holder = Holder { operator, key: self.public() };
        let signature = sign(&Holder::message(domain, &holder.key))?;
        Ok(holder.to_bytes(&signature))
    }
}

impl fmt::Debug for ShareKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ShareKey({})", self.public().operator_id())
    }
}

/// A backup and its shares, none of which a host can read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RecoverySet {
    /// The backup.
    pub backup: Vec<u8>,
    /// A share for each holder.
    pub shares: Vec<Share>,
}

/// Why an operator's share is not handed over.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum HandOverError {
    /// The share or the backup is invalid, or they do not belong together or to this state of the domain.
    #[error(
        "share and backup do not belong together, or not to this state of the domain; use those that were \
         made together, and the state of then"
    )]
    NotTogether,
    /// No member of the domain has made it.
    #[error(
        "no device of the domain has made this backup; do not hand over anything: whoever made it knows \
         the keys in it"
    )]
    NotOfMember,
    /// It is somebody else's.
    #[error("the share is another operator's, or wrapped to another share key")]
    NotYours,
    /// The device is not shown to be one that may have it.
    #[error(
        "the device is not certified by the domain's device CA as one that the domain takes; whoever made \
         it up would have your share"
    )]
    DeviceUntrusted,
    /// The operator's key did not sign.
    #[error("the operator's key has not signed the handover")]
    NotSigned,
}

impl RecoverySet {
    /// What a device has answered.
    ///
    /// # Errors
    /// [`CallError::BadAnswer`].
    pub fn of(reply: &Reply<MakeRecovery>) -> Result<Self, CallError> {
        let made = reply.response()?;
        Self::read(&made.backup, &made.shares).ok_or(CallError::BadAnswer(MakeRecovery::OPCODE))
    }

    /// Splits a response into a backup and its shares; `None` if it is malformed.
    #[must_use]
    pub fn read(backup: &[u8], shares: &[u8]) -> Option<Self> {
        let (rows, []) = shares.as_chunks::<{ Share::SIZE }>() else { return None };
        let shares = rows.iter().map(|row| Share::parse(row).ok()).collect::<Option<_>>()?;
        Backup::parse(backup).ok()?;
        Some(Self { backup: backup.to_vec(), shares })
    }

    /// Whether backup and shares are what they say: of this state, made together by one of its members, and a
    /// share for each of its holders.
    ///
    /// # Errors
    /// [`HandOverError::NotTogether`], [`HandOverError::NotOfMember`].
    pub fn check(&self, state: &DomainState) -> Result<(), HandOverError> {
        let together = HandOverError::NotTogether;
        let recovery = state.recovery.as_ref().ok_or(together)?;
        if self.shares.len() != recovery.holders.len() {
            return Err(together);
        }
        for (share, holder) in self.shares.iter().zip(&recovery.holders) {
            check_share(&self.backup, share, state)?;
            if share.header.operator != holder.operator {
                return Err(together);
            }
        }
        Ok(())
    }
}

/// Whether a share belongs to a backup of this state, and a member of it has made both.
fn check_share(encoded: &[u8], share: &Share, state: &DomainState) -> Result<(), HandOverError> {
    let together = HandOverError::NotTogether;
    let backup = Backup::parse(encoded).map_err(|_| together)?;
    let (its, of) = (&share.header, &backup.header);
    let is_of_state = (of.domain, of.version, of.state)
        == (state.domain, state.version, state.hash().map_err(|_| together)?);
    let is_of_backup = (its.domain, its.version, its.set, its.maker, its.threshold)
        == (of.domain, of.version, of.set, of.maker, of.threshold);
    if !is_of_state || !is_of_backup || its.backup != backup_digest(encoded) {
        return Err(together);
    }
    let maker = state.member(of.maker).ok_or(HandOverError::NotOfMember)?;
    let made = backup.verify(&Portable, &maker.signing).and_then(|()| share.verify(&maker.signing));
    made.map_err(|_| HandOverError::NotOfMember)
}

/// Wraps an operator's share to the device that is to restore. `state` is that of the backup, which operators
/// keep or compare by its hash; `certificate` is the word of its device CA about the device; `sign` is the
/// operator's key, wherever it is.
///
/// # Errors
/// [`HandOverError`].
pub fn hand_over(
    (encoded, share): (&[u8], &Share),
    state: &DomainState,
    device: (&IdentityDocument, Option<&Certificate>),
    (operator, key): (OperatorId, &ShareKey),
    sign: impl FnOnce(&[u8]) -> Result<Signature, ErrorCode>,
) -> Result<[u8; Handover::SIZE], HandOverError> {
    check_share(encoded, share, state)?;
    let its = &share.header;
    if its.operator != operator {
        return Err(HandOverError::NotYours);
    }
    let (identity, certificate) = device;
    check_device(state, identity, certificate)?;
    let opened = share.open(&key.0).map_err(|_| HandOverError::NotYours)?;
    let header = HandoverHeader {
        domain: its.domain,
        set: its.set,
        number: its.number,
        operator: its.operator,
        backup: its.backup,
        device: identity.device_id(),
    };
    let ephemeral = {
        use p256::elliptic_curve::Generate;
        SecretKey::generate_from_rng(&mut system_rng())
    };
    Handover::seal(&header, &identity.join, &ephemeral, &opened, sign)
        .map_err(|_| HandOverError::NotSigned)
}

/// Whether the domain takes such a device. Without a device CA people look at the device themselves.
fn check_device(
    state: &DomainState,
    identity: &IdentityDocument,
    certificate: Option<&Certificate>,
) -> Result<(), HandOverError> {
    let untrusted = HandOverError::DeviceUntrusted;
    identity.verify().map_err(|_| untrusted)?;
    let Some(ca) = &state.device_ca else { return Ok(()) };
    let certificate = certificate.ok_or(untrusted)?;
    certificate.verify(ca, identity).map_err(|_| untrusted)?;
    let is_taken = certificate.kind == DeviceKind::Hardware
        || state.kind == Kind::Development
        || state.rules.emulated_members;
    if is_taken { Ok(()) } else { Err(untrusted) }
}

impl Device {
    /// Makes a backup and its shares.
    ///
    /// # Errors
    /// [`CallError::Refused`] with [`ErrorCode::RECOVERY_ABSENT`] if nobody holds shares.
    pub fn make_recovery(&self) -> Result<RecoverySet, CallError> {
        RecoverySet::of(&self.call_blocking(&MakeRecovery, AuditTag::default())?)
    }

    /// Brings a domain back in this fresh device.
    ///
    /// # Errors
    /// [`CallError::Refused`] with [`ErrorCode::SHARES_MISSING`], [`ErrorCode::RECOVERY_INVALID`], or what
    /// [`DomainState::decide`] refuses.
    pub fn restore_domain(
        &self,
        backup: &[u8],
        handovers: &[[u8; Handover::SIZE]],
        ballot: &[u8],
    ) -> Result<DomainSummary, CallError> {
        let (backup, shares) = (Bytes(backup), Bytes(handovers.as_flattened()));
        let request = RestoreDomain { backup, shares, ballot: Bytes(ballot) };
        self.call_blocking(&request, AuditTag::default())?.response()
    }

    /// Opens a backup and one key token in this fresh device, which stays fresh.
    ///
    /// # Errors
    /// As [`Device::restore_domain`]; [`CallError::Refused`] with [`ErrorCode::TOKEN_INVALID`] if the key
    /// is not one of the backup.
    pub fn drill_recovery(
        &self,
        backup: &[u8],
        handovers: &[[u8; Handover::SIZE]],
        key: KeyRef<'_>,
    ) -> Result<Drilled, CallError> {
        let (backup, shares) = (Bytes(backup), Bytes(handovers.as_flattened()));
        let request = DrillRecovery { backup, shares, key };
        self.call_blocking(&request, AuditTag::default())?.response()
    }
}
