//! The authenticated channel: `Noise_IK_P256_AESGCM_SHA256` (Noise Protocol Framework rev. 34).
//!
//! The host is the initiator and knows the device's link key, which it pinned when the device
//! was provisioned; the device learns the host's static key from the first message and looks it
//! up among the enrolled hosts. Both ends are authenticated and every session has fresh
//! ephemeral keys, so a key that leaks later opens no recorded session.
//!
//! Noise leaves P-256 undefined; the profile here is the one of the `snow` crate: public keys
//! are uncompressed SEC 1 points of 65 bytes, a DH output is the x-coordinate. The tests run
//! both ends against it.
//!
//! A host that shakes hands proves first that it has an enrolled key ([`AdmissionKey`]), so that
//! strangers cost the device next to nothing.
//!
//! Records carry strict counters: anything lost, repeated, reordered or altered fails to open,
//! and the session is over. Each direction rekeys after [`REKEY_INTERVAL`] records.

mod admission;
mod handshake;
mod record;

pub use admission::{
    ADMISSION_SIZE, AdmissionKey, AdmissionTag, CHALLENGE_SIZE, Challenge, HANDSHAKE_1_SIZE,
    MessageHash,
};
pub use handshake::{Initiator, PROLOGUE, Responder};
pub use record::{Opener, REKEY_INTERVAL, Sealer};

/// Length of an uncompressed point in bytes.
const POINT_SIZE: usize = 65;
/// Length of a record's tag in bytes.
pub const RECORD_OVERHEAD: usize = 16;

/// Length of the first handshake message in bytes: e, encrypted s, and an empty payload.
pub const MESSAGE_1_SIZE: usize = POINT_SIZE + POINT_SIZE + RECORD_OVERHEAD + RECORD_OVERHEAD;
/// Length of the second handshake message in bytes: e and the encrypted [`Welcome`].
pub const MESSAGE_2_SIZE: usize = POINT_SIZE + Welcome::SIZE + RECORD_OVERHEAD;

/// What the device tells an authenticated host: the payload of the second message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Welcome {
    /// Goes into the header of every sealed frame of the session.
    pub session: u16,
}

impl Welcome {
    /// Length in bytes.
    pub const SIZE: usize = 2;
}

/// The keys of an open session, one for each direction.
#[derive(Debug)]
pub struct Keys {
    /// Seals what this end sends.
    pub sealer: Sealer,
    /// Opens what this end receives.
    pub opener: Opener,
}
