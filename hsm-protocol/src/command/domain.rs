//! Provisioning: hosts, and the domain a device belongs to.

use serde::{Deserialize, Serialize};

use crate::bytes::Bytes;
use crate::command::Role;
use crate::id::{DeviceId, DomainId, HostId};
use crate::identity::{IdentityDocument, PublicKey};

/// Hosts a device can enrol.
pub const MAX_HOSTS: usize = 16;
/// Devices a domain can have.
pub const MAX_MEMBERS: usize = 8;

/// Makes the calling host key the first provisioner of a fresh device (trust on first use).
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Initialise;

/// Enrols a host key with a role. Enrolling the same key again changes its role.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct EnrolHost {
    /// The host's static channel key.
    pub key: PublicKey,
    /// Its role; [`Role::Bootstrap`] is refused.
    pub role: Role,
}

/// An enrolled host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnrolledHost {
    /// Fingerprint of its key.
    pub host: HostId,
    /// Its role.
    pub role: Role,
}

/// Removes a host and ends its sessions. The last provisioner cannot be removed.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct RemoveHost {
    /// The host.
    pub host: HostId,
}

/// Asks for the enrolled hosts.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct ListHosts;

/// The enrolled hosts: a sequence of postcard [`EnrolledHost`], 17 bytes each.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct HostList<'o> {
    /// The rows.
    #[serde(borrow)]
    pub rows: Bytes<'o>,
}

/// Makes a new domain with this device as its only member and a fresh domain key.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct CreateDomain;

/// What may be known of a domain outside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DomainSummary {
    /// The domain.
    pub domain: DomainId,
    /// Version of the domain state; every change adds one.
    pub version: u32,
    /// The domain key that wraps new tokens.
    pub active_key: u32,
    /// Number of member devices this device knows.
    pub members: u8,
}

/// Adds a device to the domain and wraps the domain state to its join key.
///
/// The provisioner approves the joiner by passing its identity document.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct ExportDomain {
    /// The joining device.
    pub joiner: IdentityDocument,
}

/// A domain token ([`crate::token::DomainToken`]); secret only to its joiner.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct ExportedDomain<'o> {
    /// The token.
    #[serde(borrow)]
    pub token: Bytes<'o>,
}

/// Joins the domain of a token.
///
/// The provisioner approves the exporter by passing its identity document.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct JoinDomain<'a> {
    /// The exporting device.
    pub exporter: IdentityDocument,
    /// The token that [`ExportDomain`] answered.
    #[serde(borrow)]
    pub token: Bytes<'a>,
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
