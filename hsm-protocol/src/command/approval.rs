//! Keys whose uses operators approve.
//!
//! The rule is in the key token. The device refuses a use with
//! [`APPROVAL_REQUIRED`](crate::ErrorCode::APPROVAL_REQUIRED), returns the message to be signed in
//! response to [`RequestApproval`] ([`crate::approval`]), takes the signatures through [`Approve`], and
//! then accepts that one request once, from that one host.

use serde::{Deserialize, Serialize};

use crate::approval::{Challenge, RequestDigest};
use crate::command::key::{GenerateKey, KeyRef};
use crate::domain::Rule;
use crate::domain::change::Votes;
use crate::id::{DeviceId, DomainId, HostId, KeyId, MaterialId};
use crate::key_spec::KeySpec;
use crate::opcode::Opcode;

/// Generates key material each use of which operators approve. There has never been a token of it
/// without the rule.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct GenerateGuardedKey {
    /// What to generate.
    pub request: GenerateKey,
    /// How many operators approve each use.
    pub rule: Rule,
}

/// As [`super::key::PrepareKeyPair`], for the material of a key each use of which operators approve:
/// [`super::key::AdoptKeyPair`] makes no other key of the pair.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct PrepareGuardedPair {
    /// The type of the pair.
    pub spec: KeySpec,
    /// How many operators approve each use.
    pub rule: Rule,
}

/// Binds a rule to a key that was made without, or a stricter one. The former token is as good as
/// before: whoever has kept it needs no approval, and attestations say so
/// ([`crate::token::History::BOUND_LATER`]). The answer is that of [`super::key::GenerateKey`].
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct RequireApproval<'a> {
    /// The key.
    #[serde(borrow)]
    pub key: KeyRef<'a>,
    /// How many operators approve each use.
    pub rule: Rule,
}

/// Asks what operators have to sign for one request.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct RequestApproval<'a> {
    /// The key that the request uses.
    #[serde(borrow)]
    pub key: KeyRef<'a>,
    /// The command.
    pub opcode: Opcode,
    /// [`crate::approval::digest`] of the request as it will be sent.
    pub request: RequestDigest,
}

/// What operators sign, and how many of them. The device keeps it in RAM, for 24 hours at most.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ApprovalRequest {
    /// The domain.
    pub domain: DomainId,
    /// The one device that will take the request.
    pub device: DeviceId,
    /// The one host that may send it.
    pub host: HostId,
    /// The key.
    pub key: KeyId,
    /// Its material.
    pub material: MaterialId,
    /// How many operators have to sign.
    pub rule: Rule,
    /// The command.
    pub opcode: Opcode,
    /// The request.
    pub request: RequestDigest,
    /// Drawn by the device for this one use.
    pub challenge: Challenge,
}

/// Hands over operators' signatures over [`ApprovalRequest::message`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Approve {
    /// Of the [`ApprovalRequest`].
    pub challenge: Challenge,
    /// The signatures.
    pub votes: Votes,
}

/// Asks whether a key may be deleted: operators approve that as they do a use. A device keeps no keys, so
/// what it can do is to record, in its audit chain, that this was approved.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct PermitDeletion<'a> {
    /// The key.
    #[serde(borrow)]
    pub key: KeyRef<'a>,
}
