//! The domain: who is in it, who may change it, and how a change is signed.
//!
//! A [`DomainState`] is public; the domain keys that it lists exist only inside the members. It
//! changes only by a [`Proposal`] that a quorum of its operators has signed ([`Ballot`]), and each
//! state names the hash of the one before, so every state has one history. What is here is pure: a
//! device, a ceremony tool and a model in a test decide by the same code.
//!
//! ```text
//! encoded state     0x02 | postcard DomainState
//! state hash        SHA-256("strongroom-domain-state-v2" | encoded state)
//! signed message    "strongroom-domain-change-v1" | SHA-256(postcard Proposal) | hash of the new state
//! ```
//! A signature is for one change of one state of one domain: the new state names the domain, its own
//! version and the state before.

use sha2::{Digest, Sha256};

use crate::bytes::concat;
use crate::command::decode;
use crate::error::ErrorCode;

pub mod certificate;
pub mod change;
pub mod recovery;
pub mod rules;
pub mod state;

pub use certificate::{Certificate, DeviceKind, Issued};
pub use change::{Ballot, Change, Outcome, Proposal, Vote};
pub use recovery::{Holder, Recovery};
pub use rules::{Class, Rule, Rules};
pub use state::{DomainKeyEntry, DomainState, Host, Kind, Member, Operator, OperatorRole};

/// Devices a domain can have.
pub const MAX_MEMBERS: usize = 8;
/// Hosts a domain can have.
pub const MAX_HOSTS: usize = 16;
/// Operators a domain can have.
pub const MAX_OPERATORS: usize = 8;
/// Domain keys: the active one and those that tokens may still be under.
pub const MAX_DOMAIN_KEYS: usize = 4;
/// Other domains that multi-Region keys are exchanged with.
pub const MAX_PEERS: usize = 8;
/// Changes of one proposal.
pub const MAX_CHANGES: usize = 16;
/// Longest name of a domain, in bytes.
pub const MAX_NAME: usize = 32;
/// Longest encoded state, in bytes.
pub const MAX_STATE: usize = 2664;
/// Longest encoded proposal, in bytes.
pub const MAX_PROPOSAL: usize = 4096;

/// Layout version of the encoded state. Version 1 was without operators.
const STATE_V2: u8 = 2;
const STATE_LABEL: &[u8] = b"strongroom-domain-state-v2";
const CHANGE_LABEL: &[u8; 27] = b"strongroom-domain-change-v1";

/// SHA-256 over a domain state, as the next one names it.
pub type StateHash = [u8; 32];

impl DomainState {
    /// Writes the encoded state to the front of `out`; returns it.
    ///
    /// # Errors
    /// [`ErrorCode::TOO_LARGE`] if it does not fit.
    pub fn encode<'o>(&self, out: &'o mut [u8; MAX_STATE]) -> Result<&'o [u8], ErrorCode> {
        let (version, rest) = out.split_first_mut().ok_or(ErrorCode::TOO_LARGE)?;
        *version = STATE_V2;
        let length = postcard::to_slice(self, rest)?.len();
        out.get(..length.saturating_add(1)).ok_or(ErrorCode::TOO_LARGE)
    }

    /// Reads an encoded state, and refuses one that no sequence of changes leads to
    /// ([`DomainState::check`]).
    ///
    /// # Errors
    /// [`ErrorCode::DOMAIN_STATE_INVALID`].
    pub fn decode(encoded: &[u8]) -> Result<Self, ErrorCode> {
        let invalid = |_| ErrorCode::DOMAIN_STATE_INVALID;
        let Some((&STATE_V2, rest)) = encoded.split_first() else {
            return Err(ErrorCode::DOMAIN_STATE_INVALID);
        };
        let state: Self = decode(rest).map_err(invalid)?;
        state.check().map_err(invalid)?;
        Ok(state)
    }

    /// The hash that the next state names.
    ///
    /// # Errors
    /// [`ErrorCode::TOO_LARGE`] only.
    pub fn hash(&self) -> Result<StateHash, ErrorCode> {
        let mut buffer = [0; MAX_STATE];
        let encoded = self.encode(&mut buffer)?;
        Ok(Sha256::new().chain_update(STATE_LABEL).chain_update(encoded).finalize().into())
    }
}

/// What an operator signs: see the [module](self).
#[must_use]
pub fn signed_message(proposal: &[u8], next: &StateHash) -> [u8; 91] {
    let mut out = [0; 91];
    let proposal: [u8; 32] = Sha256::digest(proposal).into();
    concat(&mut out, &[CHANGE_LABEL, &proposal, next]);
    out
}

#[cfg(test)]
mod tests;
