//! What the daemon asks a worker, and what it answers. Both ends are the same program, so that there is one
//! version.

use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::Fault;

/// Most bytes that are encrypted or decrypted at once, without tag.
pub const MAX_DATA: usize = 6144;
/// Most random bytes at once.
pub const MAX_RANDOM: u16 = 1024;

/// A request. The first one is [`Request::Open`]; [`Request::Login`] comes before any that uses a key.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(Debug))]
pub(crate) enum Request {
    /// Loads a module, and finds a token by its label, and among several ones by its serial number. Answered by
    /// [`Reply::Present`].
    Open { module: String, token: String, serial: Option<String> },
    /// Logs the user in.
    Login {
        pin: Pin,
        /// Whether somebody has asked for it: then the last try is made, too.
        asked: bool,
    },
    /// Whether the token is still there and the user logged in.
    Probe,
    /// Makes an AES-256 key in the token.
    MakeKey { key: Vec<u8>, label: String, extractable: bool },
    /// A public key, modulus and exponent, whose private half stays in this token: [`Reply::Public`].
    Transport,
    /// A key, encrypted under the public key of another token: [`Reply::Bytes`].
    Export { key: Vec<u8>, modulus: Vec<u8>, exponent: Vec<u8> },
    /// Takes in such a key, not extractable.
    Import { key: Vec<u8>, label: String, wrapped: Vec<u8> },
    /// Makes a key not extractable, from now on.
    Close { key: Vec<u8> },
    /// Whether a key is in the token, as it has to be.
    Check { key: Vec<u8> },
    /// Encrypts: [`Reply::Sealed`].
    Encrypt { key: Vec<u8>, iv: [u8; 12], aad: Vec<u8>, plaintext: Vec<u8> },
    /// Decrypts: [`Reply::Bytes`].
    Decrypt { key: Vec<u8>, iv: [u8; 12], aad: Vec<u8>, ciphertext: Vec<u8> },
    /// Random bytes: [`Reply::Bytes`].
    Random { length: u16 },
    /// Destroys a key. It need not be there.
    Destroy { key: Vec<u8> },
}

/// A PIN.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
pub(crate) struct Pin(pub(crate) String);

#[cfg(test)]
impl std::fmt::Debug for Pin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Pin")
    }
}

/// An answer; with [`Fault`] in its place if there is none.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(any(test, feature = "fuzz"), derive(Debug))]
pub(crate) enum Reply {
    Done,
    Present(Presence),
    Public { modulus: Vec<u8>, exponent: Vec<u8> },
    Bytes(Vec<u8>),
    Sealed { iv: [u8; 12], ciphertext: Vec<u8> },
}

/// A token that is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Presence {
    /// The label.
    pub label: String,
    /// The serial number.
    pub serial: String,
    /// Whether one more wrong PIN locks it.
    pub pin_at_risk: bool,
}

/// What comes back.
pub(crate) type Answer = Result<Reply, Fault>;
