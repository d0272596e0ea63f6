//! The definition of a command: a request type with a number, a response, and the conditions of its use.

use serde::{Deserialize, Serialize};

use crate::error::ErrorCode;
use crate::opcode::Opcode;

pub mod agree;
pub mod approval;
pub mod attest;
pub mod audit;
pub mod cipher;
pub mod domain;
pub mod firmware;
pub mod import;
pub mod key;
pub mod mac;
pub mod random;
pub mod recovery;
pub mod replica;
pub mod session;
pub mod sign;
pub mod statement;
pub mod system;

/// A request of the command table. Implemented by [`crate::opcode`]'s table, never by hand.
pub trait Command: Serialize {
    /// The number on the wire.
    const OPCODE: Opcode;
    /// The roles that may call it; empty means: outside the channel, by anybody.
    const ROLES: RoleSet;
    /// The module states it is allowed in.
    const STATES: StateSet;
    /// Whether the device's audit chain records it.
    const AUDIT: bool;
    /// Whether it may be repeated, on this or another device of the domain, without harm.
    const IDEMPOTENT: bool;
    /// How long a device takes over it.
    const PACE: Pace;
    /// The answer.
    type Response<'o>: Serialize + Deserialize<'o>;

    /// How many bytes at the end of the encoded body the audit chain's digest leaves out: a caller's own
    /// data, which who reads the log could guess, and what is behind it.
    fn hidden(&self) -> usize {
        0
    }

    /// Encodes the request body.
    ///
    /// # Errors
    /// [`ErrorCode::TOO_LARGE`] if it does not fit `out`.
    fn encode<'b>(&self, out: &'b mut [u8]) -> Result<&'b mut [u8], ErrorCode> {
        Ok(postcard::to_slice(self, out)?)
    }
}

/// Decodes a whole body; bytes left over are an error.
///
/// # Errors
/// [`ErrorCode::MALFORMED`].
pub fn decode<'b, T: Deserialize<'b>>(body: &'b [u8]) -> Result<T, ErrorCode> {
    match postcard::take_from_bytes(body)? {
        (value, []) => Ok(value),
        _ => Err(ErrorCode::MALFORMED),
    }
}

/// The role of a host key. What a FIPS 140-3 Crypto Officer does, operators do together
/// ([`crate::domain`]).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[repr(u8)]
pub enum Role {
    /// A host key that nobody enrolled, on an uninitialised device. Never stored.
    Bootstrap = 0,
    /// Uses keys.
    CryptoUser = 2,
    /// Reads audit entries and status.
    Auditor = 3,
}

/// How long a device takes over a command: when a host has to count a silent device as hung.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Pace {
    /// Works in RAM, with a few operations of a key.
    Ordinary,
    /// Answers whether or not a key pair was found, after a share of the search for one and the test of
    /// what was found. Hosts ask for it over and over, before other calls.
    Search,
    /// Writes or erases non-volatile storage, verifies or signs many messages, runs every self-test, or
    /// makes or imports a key, which is tested as a pair.
    Slow,
}

/// A set of roles.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RoleSet(u8);

impl RoleSet {
    /// Anybody, outside the channel.
    pub const PUBLIC: Self = Self(0);
    /// Any host key, on an uninitialised device.
    pub const BOOTSTRAP: Self = Self(1 << Role::Bootstrap as u8);
    /// [`Role::CryptoUser`].
    pub const CRYPTO_USER: Self = Self(1 << Role::CryptoUser as u8);
    /// [`Role::Auditor`] and [`Role::CryptoUser`], who has to keep the audit log.
    pub const AUDITOR: Self = Self(1 << Role::Auditor as u8 | Self::CRYPTO_USER.0);
    /// Who may deliver firmware: [`Role::CryptoUser`], or any host key on an uninitialised device.
    pub const UPDATER: Self = Self(Self::CRYPTO_USER.0 | Self::BOOTSTRAP.0);
    /// Every enrolled host.
    pub const ENROLLED: Self = Self::AUDITOR;
    /// Every host with a session, enrolled or not.
    pub const ANY: Self = Self(Self::ENROLLED.0 | Self::BOOTSTRAP.0);

    /// Whether the command is answered outside the channel.
    #[must_use]
    pub const fn is_public(self) -> bool {
        self.0 == 0
    }

    /// Whether `role` is in the set.
    #[must_use]
    pub const fn contains(self, role: Role) -> bool {
        self.0 & (1 << role as u8) != 0
    }
}

/// The state of the module (FIPS 140-3; ISO/IEC 19790 7.2.4 and 7.11.8).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[repr(u8)]
pub enum ModuleState {
    /// Fresh: founds a domain, or joins one.
    Uninitialised = 0,
    /// Member of a domain: serves keys.
    Operational = 2,
    /// A self-test failed: only status and reset answer.
    Error = 3,
    /// All secrets erased; a reset makes a fresh device of it.
    Zeroised = 4,
}

/// A set of module states.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StateSet(u8);

impl StateSet {
    /// Only [`ModuleState::Uninitialised`].
    pub const UNINITIALISED: Self = Self(1 << ModuleState::Uninitialised as u8);
    /// Only [`ModuleState::Operational`].
    pub const OPERATIONAL: Self = Self(1 << ModuleState::Operational as u8);
    /// Every state in which secrets and algorithms may be used.
    pub const WORKING: Self = Self(Self::OPERATIONAL.0 | Self::UNINITIALISED.0);
    /// The states in which nothing but a reset helps.
    pub const HALTED: Self = Self(1 << ModuleState::Error as u8 | 1 << ModuleState::Zeroised as u8);
    /// Every state.
    pub const ALL: Self = Self(Self::WORKING.0 | Self::HALTED.0);

    /// Whether `state` is in the set.
    #[must_use]
    pub const fn contains(self, state: ModuleState) -> bool {
        self.0 & (1 << state as u8) != 0
    }
}
