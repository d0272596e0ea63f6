//! Checkpoints: devices vouch for the log.
//!
//! Now and then each device signs the head of its own chain, and as the nonce of that signature it
//! signs the hash of this log's last line. Whoever rewrites the log afterwards needs a device for
//! it, and a device cannot sign an earlier head of its chain again: the number of its entries in a
//! forged checkpoint would not fit the entries around it.

use std::time::Duration;

use host_driver::audit::verify_head;
use host_driver::{CallError, Device, Pool};
use hsm_protocol::audit::{Head, signed_head_message};
use hsm_protocol::command::audit::AuditHead;
use hsm_protocol::identity::{PublicKey, Signature};
use hsm_protocol::{AuditTag, DeviceId};
use serde::{Deserialize, Serialize};

use super::chain::{Kind, LineHash, Position};
use super::log::AuditLog;
use crate::consistency::Marks;
use crate::hex;
use crate::regions::Regions;

/// How often devices vouch for the log.
const INTERVAL: Duration = Duration::from_secs(60 * 60);

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
}

/// What a checkpoint says, its signature checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Vouched {
    pub(super) device: DeviceId,
    pub(super) epoch: u64,
    pub(super) entries: u64,
    pub(super) head: Head,
}

impl Checkpoint {
    /// Checks the signature; `None` if it is not right.
    pub(super) fn open(&self) -> Option<Vouched> {
        let key = hex::decode::<{ PublicKey::SIZE }>(&self.signing_key)?;
        let (&tag, x) = key.split_first()?;
        let key = PublicKey { tag, x: x.try_into().ok()? };
        let signature = Signature::from_bytes(&hex::decode(&self.signature)?);
        let head = Head(hex::decode(&self.head)?);
        let device = hex::decode(&self.device).map(DeviceId).filter(|id| *id == key.device_id())?;
        let nonce = nonce(&self.position.hash);
        let message = signed_head_message(&device, self.epoch, self.entries, &head, &nonce);
        signature.verify(&key, &message).ok()?;
        Some(Vouched { device, epoch: self.epoch, entries: self.entries, head })
    }
}

/// Has each device in service vouch for the log, and writes the marks, at the start and every hour,
/// until the task is aborted.
pub async fn keep_checkpoints(log: &AuditLog, regions: &Regions, marks: &Marks) {
    loop {
        for (_, pool) in regions.pools() {
            checkpoint(log, &pool).await;
        }
        marks.write(log, &regions.names()).await;
        tokio::time::sleep(INTERVAL).await;
    }
}

/// Has each device in service vouch for the log as it is now.
pub async fn checkpoint(log: &AuditLog, pool: &Pool) {
    for device in pool.devices() {
        match ask(log.tip(), &device).await {
            Ok(checkpoint) => {
                let record = serde_json::to_value(&checkpoint).unwrap_or_default();
                // A log that cannot be written has said so already.
                let _ = log.append(Kind::Checkpoint, &record, &[]).await;
            }
            Err(error) => {
                tracing::warn!(device = %device.id(), %error, "no checkpoint of the audit log");
            }
        }
    }
}

async fn ask(position: Position, device: &Device) -> Result<Checkpoint, CallError> {
    let nonce = nonce(&position.hash);
    // Not audited, so the tag goes nowhere.
    let reply = device.call(&AuditHead { nonce }, AuditTag::default()).await?;
    let head = reply.response()?;
    verify_head(&head, device.identity(), &nonce).map_err(CallError::BadIdentity)?;
    Ok(Checkpoint {
        position,
        device: head.device.to_string(),
        epoch: head.epoch,
        entries: head.entries,
        head: hex::encode(&head.head.0),
        signing_key: hex::encode(&device.identity().signing.to_bytes()),
        signature: hex::encode(&head.signature.to_bytes()),
    })
}

/// A nonce has 16 bytes: half a hash, 128 bits against a second preimage.
fn nonce(hash: &LineHash) -> [u8; 16] {
    std::array::from_fn(|index| hash.0[index])
}

#[cfg(test)]
mod tests;
