//! The domain to which a device belongs: founded, joined, and changed by a quorum of its operators.
//!
//! No host decides anything here. Whoever has a session may deliver what operators have signed
//! ([`crate::domain`]), or ciphertext for another member.

use serde::{Deserialize, Serialize};

use crate::bytes::Bytes;
use crate::domain::change::Votes;
use crate::domain::{Certificate, Kind, StateHash};
use crate::id::{DeviceId, DomainId};

/// Makes a domain with this device as its only member and a fresh domain key. A fresh device takes the
/// first domain that it is given.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct FoundDomain<'a> {
    /// The encoded first state ([`crate::domain::DomainState`]).
    #[serde(borrow)]
    pub state: Bytes<'a>,
    /// Its operators' signatures.
    pub votes: Votes,
    /// The word of its device CA about this device, if the domain has one.
    pub certificate: Option<Certificate>,
}

/// Joins a domain that has made this device a member. A fresh device takes the first domain that it is
/// given.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct JoinDomain<'a> {
    /// What [`ExportDomain`] answered on a member.
    #[serde(borrow)]
    pub token: Bytes<'a>,
}

/// Changes the domain, on this device.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct ChangeDomain<'a> {
    /// A postcard [`crate::domain::Ballot`].
    #[serde(borrow)]
    pub ballot: Bytes<'a>,
}

/// Wraps state and domain keys to another member.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct ExportDomain {
    /// The member.
    pub member: DeviceId,
}

/// A domain token ([`crate::token::DomainToken`]); secret only to its member.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct ExportedDomain<'o> {
    /// The token.
    #[serde(borrow)]
    pub token: Bytes<'o>,
}

/// Takes domain keys that another member has made. Its state must be the same.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct ReceiveKeys<'a> {
    /// What [`ExportDomain`] answered on the other member.
    #[serde(borrow)]
    pub token: Bytes<'a>,
}

/// What may be known of a domain outside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DomainSummary {
    /// The domain.
    pub domain: DomainId,
    /// What it is for.
    pub kind: Kind,
    /// Version of the domain state; every change adds one.
    pub version: u32,
    /// Hash of the state.
    pub state: StateHash,
    /// The domain key that wraps new tokens.
    pub active_key: u32,
    /// Whether this device has all domain keys; else it waits for [`ReceiveKeys`], and does not serve.
    pub has_keys: bool,
    /// Number of member devices.
    pub members: u8,
}

/// Asks for the domain this device belongs to.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct DomainInfo;

/// The device and its domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DomainStatus {
    /// The device.
    pub device: DeviceId,
    /// Its domain, if it belongs to one.
    pub domain: Option<DomainSummary>,
}

/// Asks for the whole public state.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct DescribeDomain;

/// The public state of the domain.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct DescribedDomain<'o> {
    /// The encoded [`crate::domain::DomainState`].
    #[serde(borrow)]
    pub state: Bytes<'o>,
}
