//! What a log is compared with, and what verification found.

use std::path::PathBuf;

use hsm_protocol::audit::Checkpoint;
use serde::Serialize;

use super::signers::Signer;
use crate::anchor::TrustAnchor;
use crate::chain::{LineHash, Position};
use crate::checkpoint;

/// What there is to compare a log with.
#[derive(Debug, Default)]
pub struct VerifyOptions {
    /// Whose signatures count.
    pub anchor: Option<TrustAnchor>,
    /// Records that the log must have.
    pub expected: Vec<Expected>,
    /// What devices have said just now.
    pub live: Vec<Live>,
}

/// A record that a log must have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expected {
    /// The record.
    pub position: Position,
    /// Who says so, for people.
    pub source: String,
}

/// The last checkpoint that a device itself has just said to have made for the log's host.
#[derive(Debug, Clone, Copy)]
pub struct Live {
    /// The checkpoint, its signature checked with the key of the device that was asked.
    pub checkpoint: Checkpoint,
}

/// How far a log is proven.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// To its end, by a device that the trust anchor names.
    Proven,
    /// Intact, but its last records are not proven yet.
    Unproven,
    /// Its chains fit together, but nobody vouches for the devices that signed it.
    Unvouched,
    /// Records were changed, removed or added.
    Broken,
}

/// Up to where a log is proven, and by whom.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Proof {
    /// The last record that is proven.
    pub sequence: u64,
    /// Its hash.
    pub hash: LineHash,
    /// When the last record that says so was recorded; the host's clock, devices have none.
    pub time: Option<String>,
    /// The device that has signed for it.
    pub device: String,
    /// The number of its checkpoint.
    pub checkpoint: u64,
    /// Whether the host stopped after it.
    pub closing: bool,
    /// What the device said that it is; none of earlier firmware.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<&'static str>,
    /// SHA-256 of its firmware image, in hexadecimal; none if it runs in an operating system.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub measurement: Option<String>,
}

/// What verification found.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// How far it is proven.
    pub verdict: Verdict,
    /// Up to where it is proven; `None` without a trust anchor, or if none of its devices has signed.
    pub proof: Option<Proof>,
    /// Records behind those that are proven, or behind the last that a device has signed for.
    pub unproven: u64,
    /// Number of files read.
    pub files: usize,
    /// Number of records whose place in the chain is proven.
    pub records: u64,
    /// The end of the log's chain. Keep it elsewhere to recognise a later truncation.
    pub tip: Position,
    /// Last record that was removed as the log's policy said; 0 if none was. The records that follow
    /// tell of it.
    pub removed: u64,
    /// Last record that a device has vouched for with a signature; 0 if none has.
    pub vouched: u64,
    /// The devices that have signed, by what they have signed last.
    pub signers: Vec<Signer>,
    /// The devices' chains.
    pub devices: Vec<DeviceChain>,
    /// Something that an auditor should know and that is not a fault.
    pub notes: Vec<String>,
    /// The first fault; none if the log is intact.
    pub fault: Option<Fault>,
}

/// One boot of one device.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DeviceChain {
    /// Device id.
    pub device: String,
    /// Boot.
    pub epoch: u64,
    /// Entries whose place in the device's chain is proven.
    pub entries: u64,
    /// Entries that the daemon reported as lost.
    pub lost: u64,
}

/// The first record that is not as it was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Fault {
    /// The file.
    pub file: PathBuf,
    /// The line, from 1.
    pub line: usize,
    /// `eventID` of the record, if it can still be read and has one.
    pub event_id: Option<String>,
    /// What is wrong.
    pub reason: String,
}

impl Live {
    pub(super) fn expected(&self) -> Expected {
        let Checkpoint { device, number, log, .. } = &self.checkpoint;
        let source = format!("device {device} (in its checkpoint {number})");
        Expected { position: checkpoint::position_of(log), source }
    }

    /// Whether it is the checkpoint of a proof: nothing that the device vouched for came after it.
    pub(super) fn confirms(&self, proof: &Proof) -> bool {
        let Checkpoint { device, number, .. } = &self.checkpoint;
        (device.to_string(), *number) == (proof.device.clone(), proof.checkpoint)
    }
}
