//! Checkpoints: devices vouch for the log.
//!
//! At the start, every few minutes in which something was recorded, and at the stop, each device signs
//! the log's last position together with the head of its own chain. It numbers and chains these
//! checkpoints, and keeps the last one through power loss ([`hsm_protocol::audit::Checkpoint`]). Whoever
//! rewrites the log afterwards needs the device for it, and it signs under no number twice: a checkpoint
//! that was left out shows, and a log that was cut does not have what the device vouched for last.
//!
//! Earlier releases had the device sign its chain's head with half of the log's last hash as the
//! nonce. Such checkpoints are read, and checked; they prove nothing to whoever has a trust anchor,
//! because a host could have them made for any log.

use std::time::{Duration, SystemTime};

use host_driver::{CallError, Device, Pool};
use hsm_protocol::attestation::Measurement;
use hsm_protocol::audit::{self, Head, LogPosition, Maker, SignedCheckpoint, signed_head_message};
use hsm_protocol::command::audit::MakeCheckpoint;
use hsm_protocol::domain::DeviceKind;
use hsm_protocol::identity::{PublicKey, Signature};
use hsm_protocol::{AuditTag, DeviceId, HostId};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::chain::{Kind, LineHash, Position};
use super::log::AuditLog;
use super::record::event_time;
use kms_base::hex;

/// Most checkpoints that close a log, each because something was recorded before the last one.
const CLOSINGS: usize = 3;
/// How often, and how many times, it is looked whether entries are recorded that a checkpoint counts.
const LOOK: Duration = Duration::from_millis(10);
const SETTLING: u32 = 200;
/// The record of a checkpoint; byte strings in hexadecimal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Checkpoint {
    /// The line vouched for.
    pub(super) position: Position,
    device: String,
    epoch: u64,
    /// Entries of the device's chain, and its head after them.
    entries: u64,
    head: String,
    /// The device's identity signing key, compressed.
    signing_key: String,
    /// ECDSA P-256, r and s.
    signature: String,
    /// What checkpoints of earlier releases do not have.
    #[serde(flatten)]
    numbered: Option<Numbered>,
}

/// The place of a checkpoint among those of its device for its host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Numbered {
    number: u64,
    previous: String,
    host: String,
    closing: bool,
    /// When it was recorded, by the host's clock; devices have none, so it is not signed.
    time: String,
    /// What the device was: what keeps its secrets, and the hash of its firmware image where there is
    /// one. Checkpoints of earlier firmware do not say so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    kind: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    measurement: Option<String>,
}

impl Numbered {
    /// What the device was; `Err` if what is written there is nothing that a device says.
    fn maker(&self) -> Result<Option<Maker>, ()> {
        let Some(kind) = &self.kind else {
            return if self.measurement.is_none() { Ok(None) } else { Err(()) };
        };
        let kind = DeviceKind::ALL.into_iter().find(|known| known.name() == kind).ok_or(())?;
        let measurement = match &self.measurement {
            None => None,
            Some(digits) => Some(Measurement(hex::decode(digits).ok_or(())?)),
        };
        Ok(Some(Maker { kind, measurement }))
    }
}

/// What a checkpoint says, its signature checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Vouched {
    pub(super) device: DeviceId,
    pub(super) signing: PublicKey,
    pub(super) epoch: u64,
    pub(super) entries: u64,
    pub(super) head: Head,
    /// `None` if an earlier release wrote it.
    pub(super) numbered: Option<audit::Checkpoint>,
}

impl Checkpoint {
    pub(super) fn new(signed: &SignedCheckpoint, signing: &PublicKey) -> Self {
        let said = &signed.checkpoint;
        Self {
            position: position_of(&said.log),
            device: said.device.to_string(),
            epoch: said.epoch,
            entries: said.entries,
            head: hex::encode(&said.head.0),
            signing_key: hex::encode(&signing.to_bytes()),
            signature: hex::encode(&signed.signature.to_bytes()),
            numbered: Some(Numbered {
                number: said.number,
                previous: hex::encode(&said.previous),
                host: said.host.to_string(),
                closing: said.closing,
                time: event_time(SystemTime::now()),
                kind: said.maker.map(|maker| maker.kind.name().to_owned()),
                measurement: measurement(said),
            }),
        }
    }

    /// Reads a record and checks the signature; `None` if it is not right.
    pub(super) fn read(record: &Value) -> Option<(Vouched, Position)> {
        let read = Self::deserialize(record).ok()?;
        // A member that is there and cannot be read must not make an earlier form of it.
        if read.numbered.is_none() && record.get("number").is_some() {
            return None;
        }
        Some((read.open()?, read.position))
    }

    /// Checks the signature; `None` if it is not right.
    fn open(&self) -> Option<Vouched> {
        let signing = read_key(&self.signing_key)?;
        let signature = Signature::from_bytes(&hex::decode(&self.signature)?);
        let head = Head(hex::decode(&self.head)?);
        let device = hex::decode(&self.device).map(DeviceId);
        let device = device.filter(|id| *id == signing.device_id())?;
        let (epoch, entries) = (self.epoch, self.entries);
        let numbered = match &self.numbered {
            None => {
                let nonce = nonce(&self.position.hash);
                let message = signed_head_message(&device, epoch, entries, &head, &nonce);
                signature.verify(&signing, &message).ok()?;
                None
            }
            Some(numbered) => {
                let checkpoint = audit::Checkpoint {
                    device,
                    host: HostId(hex::decode(&numbered.host)?),
                    number: numbered.number,
                    previous: hex::decode(&numbered.previous)?,
                    epoch,
                    entries,
                    head,
                    closing: numbered.closing,
                    log: log_position(self.position),
                    maker: numbered.maker().ok()?,
                };
                SignedCheckpoint { checkpoint, signature }.verify(&signing).ok()?;
                Some(checkpoint)
            }
        };
        Some(Vouched { device, signing, epoch, entries, head, numbered })
    }
}

/// SHA-256 of the firmware image of the device that made a checkpoint, in hexadecimal; `None` if it said
/// none.
pub(super) fn measurement(made: &audit::Checkpoint) -> Option<String> {
    let measurement = made.maker.and_then(|maker| maker.measurement);
    measurement.map(|Measurement(digest)| hex::encode(&digest))
}

/// Reads a compressed key in hexadecimal.
pub(super) fn read_key(text: &str) -> Option<PublicKey> {
    let key = hex::decode::<{ PublicKey::SIZE }>(text)?;
    let (&tag, x) = key.split_first()?;
    Some(PublicKey { tag, x: x.try_into().ok()? })
}

pub(super) fn position_of(log: &LogPosition) -> Position {
    Position { sequence: log.sequence, hash: LineHash(log.hash) }
}

fn log_position(position: Position) -> LogPosition {
    LogPosition { sequence: position.sequence, hash: position.hash.0 }
}

/// Has each device in service vouch for the log as it is now; `closing` says that it ends here for
/// now.
pub async fn checkpoint(log: &AuditLog, pool: &Pool, closing: bool) {
    for device in pool.devices() {
        if let Err(error) = of_device(log, &device, closing).await {
            tracing::warn!(device = %device.id(), %error, "no checkpoint of the audit log");
        }
    }
}

async fn of_device(log: &AuditLog, device: &Device, closing: bool) -> Result<(), CallError> {
    // One whose answer was lost is recorded first, so that none is missing between.
    let command = hsm_protocol::command::audit::LastCheckpoint { host: None };
    let reply = device.call(&command, AuditTag::default()).await?;
    let signing = device.identity().signing;
    if let Some(last) = reply.response()?.last {
        last.verify(&signing).map_err(CallError::BadIdentity)?;
        if log.lacks(&last) {
            record(log, &last, &signing).await;
        }
    }
    for _ in 0..CLOSINGS {
        let vouched = log.tip();
        let command = MakeCheckpoint { log: log_position(vouched), closing };
        // Not audited, so the tag goes nowhere.
        let reply = device.call(&command, AuditTag::default()).await?;
        let made = reply.response()?;
        made.verify(&signing).map_err(CallError::BadIdentity)?;
        record(log, &made, &signing).await;
        // An entry of the device that was under way is before the record of the checkpoint, which does
        // not vouch for it. The next checkpoint would; after the last one there is none.
        if !closing || log.tip().sequence <= vouched.sequence + 1 {
            break;
        }
    }
    Ok(())
}

async fn record(log: &AuditLog, signed: &SignedCheckpoint, signing: &PublicKey) {
    // Entries that it counts and that are under way are recorded before it: a crash in between would
    // look as if somebody had removed them. Those of other hosts may come later.
    let said = &signed.checkpoint;
    for _ in 0..SETTLING {
        let known = log.positions().of(&said.device).map(|(at, _)| at);
        if known.is_none_or(|at| (at.epoch, at.next) >= (said.epoch, said.entries)) {
            break;
        }
        tokio::time::sleep(LOOK).await;
    }
    let record = serde_json::to_value(Checkpoint::new(signed, signing)).unwrap_or_default();
    // A log that cannot be written has said so already.
    let _ = log.append(Kind::Checkpoint, &record, &[]).await;
}

/// A nonce has 16 bytes: half a hash, 128 bits against a second preimage.
fn nonce(hash: &LineHash) -> [u8; 16] {
    std::array::from_fn(|index| hash.0[index])
}
