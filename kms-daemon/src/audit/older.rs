//! Devices that are older than the log: their flash was replaced by an older copy.
//!
//! A device counts its boots, and the log has the last one that it knows of. A device that is at an
//! earlier one is kept out of service. That is recorded: its counter would catch up after some starts,
//! and what it is would no longer show. Once somebody has accepted it, its chain begins anew.

use host_driver::audit::Position;
use hsm_protocol::DeviceId;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::log::AuditLog;
use super::service_event;
use super::{AuditError, Kind};
use crate::hex;

/// Event of finding such a device.
const BEHIND: &str = "DeviceOlderThanLog";
/// Event of accepting it.
const ACCEPTED: &str = "AcceptOlderDevice";

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
        let name = "AcceptMismatch";
        let record = service_event::record(name, self.place(), time, &json!([]), details);
        self.append(Kind::ServiceEvent, &record, &[]).await.map(drop)
    }
}
