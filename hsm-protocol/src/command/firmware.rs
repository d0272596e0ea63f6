//! Firmware updates over the line.
//!
//! The device takes an image that enough firmware signers have signed and, once it has a domain, that the domain's
//! operators permit ([`Change::PermitFirmware`](crate::domain::Change::PermitFirmware)). It is stored beside the one
//! that runs, verified, started for a trial, and confirmed when a host has reached it; else the device returns to
//! the former one (NIST SP 800-193, 4.2 and 4.4).

use serde::{Deserialize, Serialize};

use crate::attestation::Measurement;
use crate::bytes::Bytes;

/// Asks which firmware runs and what the other slot holds.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct FirmwareInfo;

/// How the second stage has started the firmware.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[repr(u8)]
pub enum StartMode {
    /// It was confirmed before.
    Confirmed = 0,
    /// For a trial.
    Trial = 1,
    /// In place of the confirmed one, which is damaged.
    Fallback = 2,
}

/// What the slot that does not run holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum OtherImage {
    /// Nothing that may be started.
    Empty,
    /// An image that is being received.
    Receiving {
        /// SHA-256 of its manifest.
        manifest: [u8; 32],
        /// Bytes of the image that the device has.
        received: u32,
        /// Bytes of the image in all.
        length: u32,
    },
    /// A verified image, which the next start tries.
    Staged,
    /// One that was started for a trial and not confirmed yet.
    Trial,
    /// One that did not verify, or whose trial failed.
    Failed,
    /// The one that was confirmed before.
    Former,
}

/// The firmware of a device.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct FirmwareState {
    /// The slot that runs: 1 or 2.
    pub slot: u8,
    /// How it was started.
    pub mode: StartMode,
    /// SHA-256 of the image, as the second stage has verified it.
    pub measurement: Measurement,
    /// Its security version.
    pub security_version: u32,
    /// The lowest security version that is accepted.
    pub floor: u32,
    /// What the other slot holds.
    pub other: OtherImage,
    /// Why the other slot was not started, as `hsm-boot` numbers it; 0 for no reason.
    pub refused: u8,
    /// The image that the domain permits; without a domain none needs to.
    pub permitted: Option<Measurement>,
}

/// Begins an update, or continues the one with this manifest. Nothing is erased before the signatures, the
/// board and the security version are checked.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct BeginUpdate<'a> {
    /// The encoded manifest of `hsm-boot`.
    #[serde(borrow)]
    pub manifest: Bytes<'a>,
}

/// How far an update has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct UpdateProgress {
    /// Bytes of the image that the device has; the next ones begin there.
    pub received: u32,
    /// Bytes of the image in all.
    pub length: u32,
}

/// Sends bytes of the image. After a restart of the device an update goes on at the last whole erase block.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct WriteImage<'a> {
    /// Offset of the first one in the image, in bytes.
    pub offset: u32,
    /// Up to [`MAX_CHUNK`] bytes.
    #[serde(borrow)]
    pub bytes: Bytes<'a>,
}

/// Most bytes of one [`WriteImage`]: every board takes a request of this length.
pub const MAX_CHUNK: usize = 8 * 1024;

/// Ends an update: the device verifies what its flash holds, and the next start tries it.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct FinishUpdate;

/// The image that was verified.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Staged {
    /// SHA-256 of it.
    pub measurement: Measurement,
}

/// Gives up an update, or an image that was not tried yet.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct CancelUpdate;

/// Restarts the device, which then tries the verified image.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct StartUpdate;
