//! Checkpoints: statements of a device about a log, which it keeps through power loss.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::Head;
use crate::attestation::Measurement;
use crate::bytes::{concat, take};
use crate::domain::DeviceKind;
use crate::error::ErrorCode;
use crate::id::{DeviceId, HostId};
use crate::identity::{PublicKey, Signature};

/// A place in the log that a host keeps of its requests, as the host names it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct LogPosition {
    /// Number of a record, from 1; 0 for an empty log.
    pub sequence: u64,
    /// Hash of that record, which stands for all before it too.
    pub hash: [u8; 32],
}

/// What a device vouches for, and keeps through power loss: where the host's log was, and where its
/// own chain. Checkpoints are numbered and chained, so that one that was left out shows.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Checkpoint {
    /// The device.
    pub device: DeviceId,
    /// The host that keeps the log. Each has checkpoints of its own.
    pub host: HostId,
    /// Number of the checkpoint, from 1 over all boots.
    pub number: u64,
    /// [`Checkpoint::hash`] of the host's one before; zeros for the first.
    pub previous: [u8; 32],
    /// Boot of the device.
    pub epoch: u64,
    /// Entries of this boot's chain so far.
    pub entries: u64,
    /// The chain's head after them.
    pub head: Head,
    /// Whether the host said that it stops after this one.
    pub closing: bool,
    /// The end of the host's log, as the host said.
    pub log: LogPosition,
    /// What the device was. Checkpoints of earlier firmware do not say so.
    pub maker: Option<Maker>,
}

/// What a device is, as it says itself with each checkpoint.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Maker {
    /// What keeps its secrets.
    pub kind: DeviceKind,
    /// SHA-256 of its firmware image, measured at boot; `None` if it runs in an operating system.
    pub measurement: Option<Measurement>,
}

impl Maker {
    const SIZE: usize = 1 + 1 + 32;

    /// Kind, whether there is a measurement, and the measurement or zeros.
    fn to_bytes(self) -> [u8; Self::SIZE] {
        let mut out = [0; Self::SIZE];
        let measured = u8::from(self.measurement.is_some());
        let measurement = self.measurement.map_or([0; 32], |measurement| measurement.0);
        concat(&mut out, &[&[self.kind as u8, measured], &measurement]);
        out
    }

    fn from_bytes(bytes: &[u8; Self::SIZE]) -> Option<Self> {
        let (&[kind, measured], measurement) = bytes.split_first_chunk()?;
        let kind = DeviceKind::ALL.into_iter().find(|known| *known as u8 == kind)?;
        let measurement: [u8; 32] = measurement.try_into().ok()?;
        let measurement = match measured {
            0 if measurement == [0; 32] => None,
            1 => Some(Measurement(measurement)),
            _ => return None,
        };
        Some(Self { kind, measurement })
    }
}

/// The message of a [`Checkpoint`].
pub type CheckpointBytes = heapless::Vec<u8, { Checkpoint::SIZE }>;

impl Checkpoint {
    const LABEL: &[u8; 24] = b"strongroom-checkpoint-v2";
    const LABEL_V1: &[u8; 24] = b"strongroom-checkpoint-v1";
    /// Length of the message in bytes, without [`Maker`].
    pub const SIZE_V1: usize =
        Self::LABEL.len() + DeviceId::SIZE + HostId::SIZE + 8 + 32 + 8 + 8 + 32 + 1 + 8 + 32;
    /// Length of the message in bytes.
    pub const SIZE: usize = Self::SIZE_V1 + Maker::SIZE;

    /// The message that the device signs: a label, then the fields in order, numbers little-endian.
    #[must_use]
    pub fn to_bytes(&self) -> CheckpointBytes {
        let mut out = [0; Self::SIZE];
        let (label, size) = match self.maker {
            Some(_) => (Self::LABEL, Self::SIZE),
            None => (Self::LABEL_V1, Self::SIZE_V1),
        };
        let parts: [&[u8]; 12] = [
            label,
            self.device.as_bytes(),
            self.host.as_bytes(),
            &self.number.to_le_bytes(),
            &self.previous,
            &self.epoch.to_le_bytes(),
            &self.entries.to_le_bytes(),
            &self.head.0,
            &[u8::from(self.closing)],
            &self.log.sequence.to_le_bytes(),
            &self.log.hash,
            &self.maker.map_or([0; Maker::SIZE], Maker::to_bytes),
        ];
        concat(&mut out, &parts);
        CheckpointBytes::from_slice(out.get(..size).unwrap_or_default()).unwrap_or_default()
    }

    /// Takes a message off the front of several.
    #[must_use]
    pub fn take(rest: &mut &[u8]) -> Option<Self> {
        let label: &[u8; 24] = take(rest)?;
        let has_maker = match label {
            Self::LABEL => true,
            Self::LABEL_V1 => false,
            _ => return None,
        };
        let mut found = Self::fields(rest)?;
        if has_maker {
            found.maker = Some(Maker::from_bytes(take(rest)?)?);
        }
        Some(found)
    }

    /// Reads [`Checkpoint::to_bytes`].
    #[must_use]
    pub fn from_bytes(mut bytes: &[u8]) -> Option<Self> {
        let found = Self::take(&mut bytes)?;
        bytes.is_empty().then_some(found)
    }

    fn fields(rest: &mut &[u8]) -> Option<Self> {
        Some(Self {
            device: DeviceId(*take(rest)?),
            host: HostId(*take(rest)?),
            number: u64::from_le_bytes(*take(rest)?),
            previous: *take(rest)?,
            epoch: u64::from_le_bytes(*take(rest)?),
            entries: u64::from_le_bytes(*take(rest)?),
            head: Head(*take(rest)?),
            closing: match *take(rest)? {
                [0] => false,
                [1] => true,
                [_] => return None,
            },
            log: LogPosition { sequence: u64::from_le_bytes(*take(rest)?), hash: *take(rest)? },
            maker: None,
        })
    }

    /// SHA-256 of the message: what the next checkpoint carries as `previous`.
    #[must_use]
    pub fn hash(&self) -> [u8; 32] {
        Sha256::digest(self.to_bytes()).into()
    }
}

/// A checkpoint with the signature of the device that made it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SignedCheckpoint {
    /// What is vouched for.
    pub checkpoint: Checkpoint,
    /// ECDSA P-256 over [`Checkpoint::to_bytes`], by the device's identity key.
    pub signature: Signature,
}

impl SignedCheckpoint {
    /// Checks the signature, and that the checkpoint is of the device whose key this is.
    ///
    /// # Errors
    /// [`ErrorCode::IDENTITY_INVALID`] if it is another device's; [`ErrorCode::SIGNATURE_INVALID`].
    pub fn verify(&self, signing: &PublicKey) -> Result<(), ErrorCode> {
        if self.checkpoint.device != signing.device_id() {
            return Err(ErrorCode::IDENTITY_INVALID);
        }
        self.signature.verify(signing, &self.checkpoint.to_bytes())
    }
}
