//! Devices that are older than the log: their flash was replaced by an older copy.
//!
//! A device counts its boots, and the log has the last one that it knows of. A device that is at an
//! earlier one is kept out of service. That is recorded: its counter would catch up after some starts,
//! and what it is would no longer show. Once somebody has accepted it, its chain begins anew.

use host_driver::audit::Position;
use hsm_protocol::DeviceId;
use hsm_protocol::audit::SignedCheckpoint;
use hsm_protocol::identity::PublicKey;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::chain::Position as LogPosition;
use super::checkpoint::{Checkpoint, position_of};
use super::log::AuditLog;
use super::recovery::{Holds, holds};
use super::{AuditError, Kind, service_event};
use kms_base::hex;

/// Event of finding such a device.
const BEHIND: &str = "DeviceOlderThanLog";
/// Event of accepting it.
const ACCEPTED: &str = "AcceptOlderDevice";

/// Event of going on with a log that has not what a device has vouched for.
const CUT: &str = "AcceptCutLog";
/// Event of going on with a data directory whose parts do not fit together.
const MISMATCH: &str = "AcceptMismatch";
/// Event of restoring a backup.
const RESTORED: &str = "RestoreBackup";

/// Whether a service event says that somebody goes on with a log that has not all that it had. That is
/// the host's word: it lets the daemon go on, and proves nothing to an auditor.
pub(super) fn gives_up_records(record: &Value) -> bool {
    let name = record.get("eventName").and_then(Value::as_str);
    name.is_some_and(|name| [CUT, MISMATCH, RESTORED].contains(&name))
}

/// What is recorded of such a device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Behind {
    device: String,
    /// Boot that it was found at, and entries of that.
    found_boot: u64,
    found_entries: u64,
    /// Boot that the log has, and entries of that.
    known_boot: u64,
    known_entries: u64,
}

impl Behind {
    pub(super) fn device(&self) -> Option<DeviceId> {
        hex::decode(&self.device).map(DeviceId)
    }

    /// What is wrong, and what it means.
    #[must_use]
    pub fn explain(&self) -> String {
        let Self { device, found_boot, found_entries, known_boot, known_entries } = self;
        let what = match found_boot == known_boot {
            true => format!(
                "it came with another course of boot {found_boot} ({found_entries} entries) than the \
                 log has ({known_entries})"
            ),
            false => {
                format!("it came at boot {found_boot}, and the log has boot {known_boot} of it")
            }
        };
        format!(
            "device {device} is older than the audit log: {what}, so an older copy of its flash was put \
             in place. Its keys are the same, but hosts that were removed since then are let in again, \
             and its attestation roots are those of then"
        )
    }
}

/// What accepts a device that was found older than the log.
#[must_use]
pub fn behind_code(behind: &Behind) -> String {
    let digest = Sha256::new()
        .chain_update("strongroom-accept-device-v1")
        .chain_update(&behind.device)
        .chain_update(behind.known_boot.to_le_bytes())
        .chain_update(behind.known_entries.to_le_bytes())
        .finalize();
    hex::encode(&digest[..4])
}

/// A log that has not what a device has vouched for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cut {
    /// Number of the device's checkpoint.
    pub checkpoint: u64,
    /// The position that it vouches for.
    pub vouched: LogPosition,
    /// The last record of the log.
    pub ends: u64,
}

impl Cut {
    /// What is wrong, and what it means.
    #[must_use]
    pub fn explain(&self, device: &DeviceId) -> String {
        let Self { checkpoint, vouched, ends } = self;
        let last = vouched.sequence;
        let what = match last > *ends {
            true => format!("it ends with record {ends}"),
            false => format!("it has another record {last}"),
        };
        format!(
            "the audit log is not the one that device {device} has vouched for: its checkpoint \
             {checkpoint} covers record {last}, and {what}. Records were cut off or rewritten, or an older \
             copy of the log was put in place"
        )
    }

    /// What accepts it.
    #[must_use]
    pub fn code(&self, device: &DeviceId) -> String {
        let digest = Sha256::new()
            .chain_update("strongroom-accept-cut-v1")
            .chain_update(device.as_bytes())
            .chain_update(self.checkpoint.to_le_bytes())
            .chain_update(self.vouched.sequence.to_le_bytes())
            .chain_update(self.vouched.hash.0)
            .finalize();
        hex::encode(&digest[..4])
    }
}

impl AuditLog {
    /// Whether a checkpoint of a device is not recorded, though the log goes on from there.
    pub(super) fn lacks(&self, last: &SignedCheckpoint) -> bool {
        let made = self.positions().made(&last.checkpoint.device);
        made.is_none_or(|made| made.number < last.checkpoint.number)
            && !self.positions().is_given_up(&last.checkpoint.device)
    }

    /// Compares the log with what a device has vouched for last, and records that checkpoint if only its
    /// answer was lost. Blocks.
    ///
    /// # Errors
    /// [`VouchError::Cut`] if the log has not what the device has vouched for.
    pub fn vouched(&self, last: &SignedCheckpoint, signing: &PublicKey) -> Result<(), VouchError> {
        let said = &last.checkpoint;
        if self.positions().is_given_up(&said.device) {
            return Ok(());
        }
        let vouched = position_of(&said.log);
        let path = self.directory().to_owned();
        let tip = self.tip();
        let holds = holds(&path, tip, vouched);
        let holds = holds.map_err(|source| AuditError::Directory { path, source })?;
        if !matches!(holds, Holds::Yes) {
            let (checkpoint, ends) = (said.number, tip.sequence);
            return Err(VouchError::Cut(Cut { checkpoint, vouched, ends }));
        }
        if self.lacks(last) {
            let record = serde_json::to_value(Checkpoint::new(last, signing)).unwrap_or_default();
            self.append_blocking(Kind::Checkpoint, &record, &[])?;
        }
        Ok(())
    }
}

/// Why a log does not go on under a device.
#[derive(Debug, thiserror::Error)]
pub enum VouchError {
    /// It has not what the device has vouched for.
    #[error("the audit log has not what the device has vouched for")]
    Cut(Cut),
    /// It cannot be read or written.
    #[error(transparent)]
    Log(#[from] AuditError),
}

/// What a service event says of a device.
pub(super) enum DeviceEvent {
    Behind(Behind),
    Accepted(DeviceId),
}

impl DeviceEvent {
    /// `None` if it is another event.
    pub(super) fn read(record: &Value) -> Option<Self> {
        let details = record.get("serviceEventDetails")?;
        match record.get("eventName")?.as_str()? {
            BEHIND => Behind::deserialize(details).ok().map(Self::Behind),
            ACCEPTED => {
                let device = hex::decode(details.get("device")?.as_str()?)?;
                Some(Self::Accepted(DeviceId(device)))
            }
            _ => None,
        }
    }
}

impl AuditLog {
    /// Records that a device is older than the log. Blocks.
    ///
    /// # Errors
    /// [`AuditError::Unwritable`].
    pub fn device_behind(
        &self,
        device: &DeviceId,
        found: Position,
        known: Position,
    ) -> Result<Behind, AuditError> {
        let behind = Behind {
            device: device.to_string(),
            found_boot: found.epoch,
            found_entries: found.next,
            known_boot: known.epoch,
            known_entries: known.next,
        };
        let details = serde_json::to_value(&behind).unwrap_or_default();
        self.event_blocking(BEHIND, &details)?;
        Ok(behind)
    }

    /// Whether it is recorded that a device is older than the log, and not yet accepted.
    #[must_use]
    pub fn behind(&self, device: &DeviceId) -> Option<Behind> {
        self.positions().behind(device).cloned()
    }

    /// Records that somebody has accepted a device that is older than the log; its chain begins anew.
    /// Blocks.
    ///
    /// # Errors
    /// [`AuditError::Unwritable`].
    pub fn accept_device(&self, behind: &Behind) -> Result<(), AuditError> {
        let mut details = serde_json::to_value(behind).unwrap_or_default();
        details["code"] = json!(behind_code(behind));
        self.event_blocking(ACCEPTED, &details)
    }

    /// Records that somebody goes on with this log, which has not what `device` has vouched for. Blocks.
    ///
    /// # Errors
    /// [`AuditError::Unwritable`].
    pub fn accept_cut(&self, device: &DeviceId, cut: &Cut) -> Result<(), AuditError> {
        let details = json!({
            "device": device.to_string(),
            "checkpoint": cut.checkpoint,
            "vouchedFor": cut.vouched,
            "code": cut.code(device),
        });
        self.event_blocking(CUT, &details)
    }

    fn event_blocking(&self, name: &str, details: &Value) -> Result<(), AuditError> {
        let time = std::time::SystemTime::now();
        let record = service_event::record(name, self.place(), time, &json!([]), details);
        self.append_blocking(Kind::ServiceEvent, &record, &[]).map(drop)
    }

    /// Records that somebody has accepted that the data directory does not fit together.
    ///
    /// # Errors
    /// [`AuditError::Unwritable`].
    pub async fn accepted(&self, details: &Value) -> Result<(), AuditError> {
        let time = std::time::SystemTime::now();
        let name = MISMATCH;
        let record = service_event::record(name, self.place(), time, &json!([]), details);
        self.append(Kind::ServiceEvent, &record, &[]).await.map(drop)
    }
}
