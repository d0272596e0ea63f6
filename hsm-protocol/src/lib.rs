//! Wire protocol of the Strongroom HSM, shared by the device and its hosts.
//!
//! Everything here is sans-I/O and `no_std`: state machines and layouts over byte slices.
//!
//! | module | guarantees |
//! |---|---|
//! | [`frame`] | a byte stream becomes checked frames; garbage costs at most the frame it hits |
//! | [`channel`] | mutual authentication, forward secrecy, strict record order (Noise IK) |
//! | [`opcode`] | the one table of commands: number, roles, module states, audit, idempotence |
//! | [`command`] | requests and responses of those commands |
//! | [`curve`] | P-256 for channel, identities and tokens, computed by whoever runs this |
//! | [`domain`] | who is in a domain, who may change it, and what a quorum of them signs |
//! | [`token`] | what leaves the device: key tokens, ciphertext blobs, domain tokens |
//! | [`approval`] | what operators sign to approve one use of a key |
//! | [`attestation`] | what a device says of itself and its keys, in a form that other tools check |
//! | [`audit`] | the rule of the device's hash chain, used by device and verifier alike |
//!
//! The layouts are described for implementers in `docs/protocol.md`. Golden bytes in `tests/`
//! pin them: a change that breaks one breaks deployed devices.
#![no_std]
#![cfg_attr(
    not(test),
    warn(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects
    )
)]

#[cfg(test)]
extern crate std;

pub mod approval;
pub mod attestation;
pub mod audit;
pub mod bytes;
pub mod channel;
pub mod command;
pub mod curve;
mod der;
pub mod domain;
pub mod error;
pub mod frame;
mod hex;
pub mod id;
pub mod identity;
pub mod key_spec;
pub mod opcode;
pub mod request;
pub mod reset;
mod static_secret;
pub mod token;

pub use bytes::Bytes;
pub use command::{Command, ModuleState, Role, RoleSet, StateSet};
pub use error::ErrorCode;
pub use id::{AuditTag, DeviceId, DomainId, HostId, KeyId, MaterialId, OperatorId};
pub use opcode::Opcode;

/// Version of everything in this crate; a device and a host must agree on it.
pub const PROTOCOL_VERSION: u16 = 4;
