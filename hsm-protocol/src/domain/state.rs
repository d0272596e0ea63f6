//! What a domain consists of.

use heapless::{String, Vec};
use serde::{Deserialize, Serialize};

use super::certificate::DeviceKind;
use super::recovery::Recovery;
use super::rules::{Class, Rules};
use super::{
    MAX_DOMAIN_KEYS, MAX_HOSTS, MAX_MEMBERS, MAX_NAME, MAX_OPERATORS, MAX_PEERS, StateHash,
};
use crate::command::Role;
use crate::command::attest::{MAX_ROOTS, ROOT_SIZE};
use crate::command::replica::DomainKeyInfo;
use crate::error::ErrorCode;
use crate::id::{DeviceId, DomainId, HostId, OperatorId};
use crate::identity::PublicKey;

/// What a domain is for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[repr(u8)]
pub enum Kind {
    /// Its operator's key lies beside the data: whoever reads the disk owns the domain.
    Development = 0,
    /// Changed by people only: at least two for everything, none of whose keys lies beside the data.
    Production = 1,
}

/// What an operator is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[repr(u8)]
pub enum OperatorRole {
    /// A key beside the data of a daemon, in development domains only.
    Development = 0,
    /// A person.
    Operator = 1,
    /// A person of whom rules may demand a number of their own.
    SecurityOfficer = 2,
}

/// Who signs changes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Operator {
    /// The public key.
    pub key: PublicKey,
    /// What the operator is.
    pub role: OperatorRole,
}

/// Who uses the devices.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Host {
    /// The static channel key.
    pub key: PublicKey,
    /// [`Role::CryptoUser`] or [`Role::Auditor`].
    pub role: Role,
}

/// A device of the domain.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Member {
    /// The identity signing key.
    pub signing: PublicKey,
    /// The key that domain keys are wrapped to.
    pub join: PublicKey,
    /// What it is: by its certificate where the domain has a device CA, else by its own word.
    pub kind: DeviceKind,
}

/// A domain key. The key itself is inside the members only.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct DomainKeyEntry {
    /// Its number: one more than that of the key before.
    pub id: u32,
    /// The one device that makes it; the others receive it.
    pub maker: DeviceId,
}

/// The public state of a domain. Secrets are not in it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct DomainState {
    /// The domain.
    pub domain: DomainId,
    /// What people call it.
    pub name: String<MAX_NAME>,
    /// What it is for.
    pub kind: Kind,
    /// Number of this state; the first is 1.
    pub version: u32,
    /// Hash of the state before; zeros for the first.
    pub previous: StateHash,
    /// Who signs changes.
    pub operators: Vec<Operator, MAX_OPERATORS>,
    /// How many of them.
    pub rules: Rules,
    /// Who vouches for devices; without one, the operators look at each device themselves.
    pub device_ca: Option<PublicKey>,
    /// The devices.
    pub members: Vec<Member, MAX_MEMBERS>,
    /// The domain keys, oldest first; the last is the active one.
    pub keys: Vec<DomainKeyEntry, MAX_DOMAIN_KEYS>,
    /// Who uses the devices.
    pub hosts: Vec<Host, MAX_HOSTS>,
    /// Other domains that multi-Region keys are exchanged with.
    pub peers: Vec<DomainKeyInfo, MAX_PEERS>,
    /// The roots that attestation documents must chain to: SHA-256 of each certificate's DER.
    pub roots: Vec<[u8; ROOT_SIZE], MAX_ROOTS>,
    /// Who holds recovery shares of the domain keys; `None`: nobody.
    pub recovery: Option<Recovery>,
}

impl Operator {
    /// The operator's id.
    #[must_use]
    pub fn id(&self) -> OperatorId {
        self.key.operator_id()
    }
}

impl Member {
    /// The device.
    #[must_use]
    pub fn device_id(&self) -> DeviceId {
        self.signing.device_id()
    }
}

impl DomainState {
    /// The operator with this id.
    #[must_use]
    pub fn operator(&self, id: OperatorId) -> Option<&Operator> {
        self.operators.iter().find(|operator| operator.id() == id)
    }

    /// The member with this id.
    #[must_use]
    pub fn member(&self, device: DeviceId) -> Option<&Member> {
        self.members.iter().find(|member| member.device_id() == device)
    }

    /// The role of a host.
    #[must_use]
    pub fn role(&self, host: HostId) -> Option<Role> {
        self.hosts.iter().find(|row| row.key.host_id() == host).map(|row| row.role)
    }

    /// The number of the key that wraps new tokens; 0 only of a state that is not checked.
    #[must_use]
    pub fn active_key(&self) -> u32 {
        self.keys.last().map_or(0, |key| key.id)
    }

    /// Whether the other domain is approved, with this very replication key.
    #[must_use]
    pub fn approves(&self, peer: &DomainKeyInfo) -> bool {
        self.peers.contains(peer)
    }

    /// Whether the state is one that a domain can be in: no member, operator, host or peer is there
    /// twice, every rule can be met, keys are in order, and a production domain is what it says.
    ///
    /// # Errors
    /// [`ErrorCode::RULES_DENIED`] if nobody could change the domain any more, or if it is not what
    /// its kind promises; [`ErrorCode::CHANGE_INVALID`] for anything else.
    pub fn check(&self) -> Result<(), ErrorCode> {
        let is_sound = self.version > 0
            && (self.version == 1) == (self.previous == [0; 32])
            && !self.keys.is_empty()
            && self.keys.iter().zip(self.keys.iter().skip(1)).all(|(one, next)| one.id < next.id)
            && self.keys.first().is_some_and(|key| key.id > 0)
            // By x: whoever has a private key has its negative, too, which is another operator by id.
            && unique(self.operators.iter().map(|operator| operator.key.x))
            && unique(self.members.iter().map(Member::device_id))
            && unique(self.hosts.iter().map(|host| host.key.host_id()))
            && unique(self.peers.iter().map(|peer| peer.domain))
            && unique(self.roots.iter())
            && self.peers.iter().all(|peer| peer.domain != self.domain)
            && self.hosts.iter().all(|host| matches!(host.role, Role::CryptoUser | Role::Auditor))
            && self.recovery.as_ref().is_none_or(|recovery| recovery.is_sound(self));
        if !is_sound {
            return Err(ErrorCode::CHANGE_INVALID);
        }
        let can_be_met = Class::ALL.iter().all(|class| {
            let rule = self.rules.of(*class);
            rule.total > 0 && rule.officers <= rule.total && rule.is_met_by(self.operators.iter())
        });
        match can_be_met && (self.kind == Kind::Development || self.is_for_production()) {
            true => Ok(()),
            false => Err(ErrorCode::RULES_DENIED),
        }
    }

    /// Whether nobody alone, and no key beside the data, can change the domain.
    fn is_for_production(&self) -> bool {
        let people = |operator: &Operator| operator.role != OperatorRole::Development;
        let hardware = |member: &Member| member.kind == DeviceKind::Hardware;
        self.operators.iter().all(people)
            && Class::ALL.iter().all(|class| self.rules.of(*class).total >= 2)
            && (self.rules.emulated_members || self.members.iter().all(hardware))
    }
}

pub(super) fn unique<T: PartialEq>(items: impl Iterator<Item = T> + Clone) -> bool {
    let mut rest = items;
    while let Some(item) = rest.next() {
        if rest.clone().any(|other| other == item) {
            return false;
        }
    }
    true
}
