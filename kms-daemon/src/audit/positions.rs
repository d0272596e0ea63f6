//! Up to where each device's chain is durably recorded: what the driver asks before it fetches
//! entries that were missed.

use host_driver::audit::{DeviceReceipt, Position};
use hsm_protocol::audit::Head;
use hsm_protocol::id::DeviceId;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::chain::{Kind, Line};
use super::device::{DeviceChains, Known, Lost};
use crate::hex;

/// Positions of all devices.
#[derive(Debug, Default)]
pub(super) struct Positions(DeviceChains<()>);

/// A device's position in the first line of a file.
#[derive(Debug, Serialize, Deserialize)]
struct Snapshot {
    device: String,
    epoch: u64,
    next: u64,
    head: String,
    #[serde(flatten)]
    known: Known,
}

impl Positions {
    /// Follows a line of the log.
    pub(super) fn follow(&mut self, line: &Line) {
        match line.kind {
            Kind::Positions => resume(&mut self.0, &line.record, &()),
            Kind::DeviceEntries => self.lost(&line.record),
            _ => {}
        }
        line.device.iter().for_each(|stored| self.recorded(&stored.0));
    }

    /// Takes a recorded entry. Whether it continues its chain is not judged here: the driver has
    /// checked it, and an auditor will.
    pub(super) fn recorded(&mut self, receipt: &DeviceReceipt) {
        let newer = self.0.latest(&receipt.device).is_some_and(|now| now.at.epoch < receipt.epoch);
        if self.0.take(*receipt, ()).is_err() {
            tracing::error!(device = %receipt.device, "a recorded entry breaks its chain");
        }
        if newer {
            self.0.forget_old_epochs();
        }
    }

    /// Takes the record of a loss.
    pub(super) fn lost(&mut self, record: &Value) {
        let lost = record.get("lost").and_then(|lost| Lost::deserialize(lost).ok());
        if let Some(lost) = lost
            && self.0.take_lost(&lost).is_err()
        {
            tracing::error!("a recorded entry breaks its chain");
        }
    }

    /// The position of `device`, and whether its boot is known to be over.
    pub(super) fn of(&self, device: &DeviceId) -> Option<(Position, bool)> {
        self.0.latest(device).map(|chain| (chain.at, chain.closed))
    }

    /// The record that begins a file, so that older files need not be read at start-up.
    pub(super) fn to_record(&self) -> Value {
        let snapshots: Vec<Snapshot> = self
            .0
            .iter()
            .map(|(device, chain)| Snapshot {
                device: device.to_string(),
                epoch: chain.at.epoch,
                next: chain.at.next,
                head: hex::encode(&chain.at.head.0),
                known: chain.known(),
            })
            .collect();
        serde_json::json!({ "devices": snapshots })
    }
}

/// Begins chains where the first line of a file says.
pub(super) fn resume<L: Clone>(chains: &mut DeviceChains<L>, record: &Value, location: &L) {
    let devices = record.get("devices").and_then(|list| Vec::<Snapshot>::deserialize(list).ok());
    for snapshot in devices.unwrap_or_default() {
        let device = hex::decode(&snapshot.device).map(DeviceId);
        let head = hex::decode(&snapshot.head).map(Head);
        if let Some((device, head)) = device.zip(head) {
            let at = Position { epoch: snapshot.epoch, next: snapshot.next, head };
            chains.resume(&device, at, snapshot.known, location.clone());
        }
    }
}
