//! The session itself.

use serde::{Deserialize, Serialize};

use crate::command::{ModuleState, Role};
use crate::id::{DeviceId, HostId};

/// Ends the session; its keys are zeroised.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct CloseSession;

/// Asks who the device takes this session for.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct SessionInfo;

/// The two ends of the session, as the device sees them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionState {
    /// The device.
    pub device: DeviceId,
    /// Fingerprint of the host key.
    pub host: HostId,
    /// Role of the host key.
    pub role: Role,
    /// Module state.
    pub state: ModuleState,
}
