//! Version, identity, status, self-test, reset.

use serde::{Deserialize, Serialize};

use crate::attestation::Measurement;
use crate::bytes::Bytes;
use crate::channel::Challenge;
use crate::command::ModuleState;
use crate::domain::DeviceKind;
use crate::error::ErrorCode;
use crate::id::DeviceId;
use crate::identity::IdentityDocument;
pub use crate::reset::ResetReport;

/// Asks for version, identity and limits. Answered outside the channel.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Info;

/// What a host must know before it opens a channel. Nothing here is secret or authenticated.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DeviceInfo<'o> {
    /// [`crate::PROTOCOL_VERSION`] of the firmware.
    pub protocol: u16,
    /// Firmware version, as in its package.
    pub firmware: &'o str,
    /// Board name.
    pub board: &'o str,
    /// Identity of the device: its public keys, self-signed.
    pub identity: IdentityDocument,
    /// Requests a host may have unanswered.
    pub window: u16,
    /// Bytes of encoded frames a host may have unanswered.
    pub rx_bytes: u32,
    /// Key specs of the registry, one byte each ([`crate::key_spec::KeySpec`]).
    #[serde(borrow)]
    pub specs: Bytes<'o>,
}

/// Asks for the module's state. Answered outside the channel, in every state.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Status;

/// The module's state and counters.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ModuleStatus {
    /// The device.
    pub device: DeviceId,
    /// Present state.
    pub state: ModuleState,
    /// Why the module is in the error state.
    pub error: Option<ErrorCode>,
    /// Boots since the device was made; the audit chain of this boot carries the number.
    pub epoch: u64,
    /// Entries of this boot's audit chain.
    pub audit_entries: u64,
    /// Microseconds since boot.
    pub uptime_us: u64,
    /// Microseconds of them spent on requests: from a decoded frame to its finished answer.
    pub busy_us: u64,
    /// Open sessions.
    pub sessions: u8,
    /// Algorithms whose known-answer test has passed since boot, one bit for each registry entry.
    pub tested: u32,
    /// Microseconds that the power-up self-tests took.
    pub self_test_us: u32,
    /// Deepest stack use since boot in bytes, as it was found when the stack was erased last or
    /// [`MemoryUse`] was asked; 0 where the board does not measure it.
    pub stack_peak: u32,
    /// Bytes of non-volatile storage in use; 0 where the board does not count.
    pub storage_used: u32,
    /// Bytes of non-volatile storage.
    pub storage_size: u32,
    /// What the device knows itself to be.
    pub kind: DeviceKind,
    /// The firmware image, measured at boot; `None` on a device in an operating system.
    pub measurement: Option<Measurement>,
}

/// Runs every self-test now (ISO/IEC 19790 7.10.3.8, periodic tests on demand).
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct SelfTest;

/// What the self-tests covered. A failure is an error and the error state instead.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct SelfTestReport {
    /// Number of tests run, all passed.
    pub tests: u16,
    /// Microseconds they took.
    pub duration_us: u32,
}

/// Asks how much memory was needed since it was last asked.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct MemoryUse;

/// The most memory in use at a time since [`MemoryUse`] was last asked, or since boot; zeros where
/// the board does not measure it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct MemoryPeaks {
    /// Bytes of stack.
    pub stack: u32,
    /// Bytes of heap.
    pub heap: u32,
}

/// Asks what the next handshake has to answer ([`crate::channel::AdmissionKey`]). Answered outside
/// the channel.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Admission;

/// A challenge, good for some seconds and any number of hosts.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct AdmissionChallenge {
    /// Random bytes.
    pub challenge: Challenge,
}

/// Asks why the device was reset before it started. Answered outside the channel, in every state; not
/// authenticated. Devices that do not know the command refuse it with [`ErrorCode::UNKNOWN_COMMAND`].
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct LastReset;

/// Restarts a module that is in the error state or zeroised.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Reset;
