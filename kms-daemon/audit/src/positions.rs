//! Up to where each device's chain is durably recorded: what the driver asks before it fetches
//! entries that were missed.

use std::collections::BTreeMap;

use host_driver::audit::{DeviceReceipt, Position};
use hsm_protocol::audit::Head;
use hsm_protocol::id::DeviceId;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::chain::{Kind, Line};
use super::checkpoint::Checkpoint;
use super::device::{DeviceChains, Known, Lost};
use super::older::{Behind, DeviceEvent, gives_up_records};
use kms_base::hex;

/// Positions of all devices.
#[derive(Debug, Default)]
pub(super) struct Positions {
    chains: DeviceChains<()>,
    /// Devices that were found older than they had been.
    behind: BTreeMap<DeviceId, Behind>,
    /// The last checkpoint of each device.
    made: BTreeMap<DeviceId, Made>,
    /// Whether somebody has accepted that the log has not all that it had: until a device has vouched
    /// for it again, it need not have what the device vouched for before.
    given_up: bool,
}

/// The last checkpoint of a device that is recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Made {
    pub(super) number: u64,
    pub(super) hash: [u8; 32],
    /// Whether it was recorded after records were given up.
    since: bool,
}

/// The same in the first line of a file.
#[derive(Debug, Serialize, Deserialize)]
struct MadeMembers {
    device: String,
    number: u64,
    hash: String,
    since: bool,
}

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
            Kind::Positions => {
                resume(&mut self.chains, &line.record, &());
                let behind = line.record.get("behind");
                let behind = behind.and_then(|list| Vec::<Behind>::deserialize(list).ok());
                let behind = behind.unwrap_or_default().into_iter();
                self.behind = behind.filter_map(|one| Some((one.device()?, one))).collect();
                self.resume_made(&line.record);
            }
            kind => self.told(kind, &line.record),
        }
        line.device.iter().for_each(|stored| self.recorded(&stored.0));
    }

    /// Takes a recorded entry. Whether it continues its chain is not judged here: the driver has
    /// checked it, and an auditor will.
    pub(super) fn recorded(&mut self, receipt: &DeviceReceipt) {
        let latest = self.chains.latest(&receipt.device);
        let newer = latest.is_some_and(|now| now.at.epoch < receipt.epoch);
        if self.chains.take(*receipt, ()).is_err() {
            tracing::error!(device = %receipt.device, "a recorded entry breaks its chain");
        }
        if newer {
            self.chains.forget_old_epochs();
        }
    }

    /// Whether a record says something of a device beside its entries.
    pub(super) fn concerns(kind: Kind, record: &Value) -> bool {
        [Kind::DeviceEntries, Kind::Checkpoint].contains(&kind)
            || kind == Kind::ServiceEvent
                && (DeviceEvent::read(record).is_some() || gives_up_records(record))
    }

    /// Takes the record of a loss, or of a device that was found older than it had been.
    pub(super) fn told(&mut self, kind: Kind, record: &Value) {
        match kind {
            Kind::DeviceEntries => self.lost(record),
            Kind::Checkpoint => self.vouched(record),
            Kind::ServiceEvent if gives_up_records(record) => {
                self.given_up = true;
                self.made.values_mut().for_each(|made| made.since = false);
            }
            Kind::ServiceEvent => match DeviceEvent::read(record) {
                Some(DeviceEvent::Behind(behind)) => {
                    self.behind.extend(behind.device().map(|device| (device, behind)));
                }
                Some(DeviceEvent::Accepted(device)) => {
                    self.behind.remove(&device);
                    self.made.remove(&device);
                    self.chains.restart(&device);
                    self.chains.forget_past();
                }
                None => {}
            },
            _ => {}
        }
    }

    fn lost(&mut self, record: &Value) {
        let lost = record.get("lost").and_then(|lost| Lost::deserialize(lost).ok());
        if let Some(lost) = lost
            && self.chains.take_lost(&lost, ()).is_err()
        {
            tracing::error!("a recorded entry breaks its chain");
        }
    }

    fn vouched(&mut self, record: &Value) {
        // Written here, so the signature is right; an auditor checks it.
        let read = Checkpoint::read(record).and_then(|(vouched, _)| vouched.numbered);
        let Some(made) = read else { return };
        let (number, hash, since) = (made.number, made.hash(), true);
        self.made.insert(made.device, Made { number, hash, since });
    }

    fn resume_made(&mut self, record: &Value) {
        self.given_up = record["givenUp"] == true;
        let list = record.get("checkpoints");
        let list = list.and_then(|list| Vec::<MadeMembers>::deserialize(list).ok());
        let read = |one: MadeMembers| {
            let MadeMembers { device, number, hash, since } = one;
            let made = Made { number, hash: hex::decode(&hash)?, since };
            Some((DeviceId(hex::decode(&device)?), made))
        };
        self.made = list.unwrap_or_default().into_iter().filter_map(read).collect();
    }

    /// The last checkpoint of a device that is recorded.
    pub(super) fn made(&self, device: &DeviceId) -> Option<Made> {
        self.made.get(device).copied()
    }

    /// Whether the log need not have what the device has vouched for.
    pub(super) fn is_given_up(&self, device: &DeviceId) -> bool {
        self.given_up && !self.made.get(device).is_some_and(|made| made.since)
    }

    /// What is recorded of a device that was found older than it had been, until that is accepted.
    pub(super) fn behind(&self, device: &DeviceId) -> Option<&Behind> {
        self.behind.get(device)
    }

    /// The position of `device`, and whether its boot is known to be over.
    pub(super) fn of(&self, device: &DeviceId) -> Option<(Position, bool)> {
        self.chains.latest(device).map(|chain| (chain.at, chain.closed))
    }

    /// The record that begins a file, so that older files need not be read at start-up.
    pub(super) fn to_record(&self) -> Value {
        let snapshots: Vec<Snapshot> = self
            .chains
            .iter()
            .map(|(device, chain)| Snapshot {
                device: device.to_string(),
                epoch: chain.at.epoch,
                next: chain.at.next,
                head: hex::encode(&chain.at.head.0),
                known: chain.known(),
            })
            .collect();
        let mut record = serde_json::json!({ "devices": snapshots });
        if !self.behind.is_empty() {
            let behind: Vec<&Behind> = self.behind.values().collect();
            record["behind"] = serde_json::json!(behind);
        }
        if !self.made.is_empty() {
            let list = self.made.iter().map(|(device, made)| MadeMembers {
                device: device.to_string(),
                number: made.number,
                hash: hex::encode(&made.hash),
                since: made.since,
            });
            record["checkpoints"] = serde_json::json!(list.collect::<Vec<_>>());
        }
        if self.given_up {
            record["givenUp"] = true.into();
        }
        record
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
