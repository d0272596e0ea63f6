//! Random bytes from the device's DRBG (SP 800-90A).

use serde::{Deserialize, Serialize};

use crate::bytes::Bytes;

/// Longest answer, in bytes.
pub const MAX_RANDOM: usize = 1024;

/// Asks for 1 to [`MAX_RANDOM`] random bytes.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Random {
    /// How many bytes.
    pub length: u16,
}

/// Random bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RandomBytes<'o> {
    /// The bytes.
    #[serde(borrow)]
    pub bytes: Bytes<'o>,
}
