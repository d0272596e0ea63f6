//! Changes of a domain, and who must have signed them.

use heapless::Vec;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::certificate::{Certificate, DeviceKind};
use super::recovery::{Holder, Recovery};
use super::rules::{Class, Rule, Rules};
use super::state::{DomainKeyEntry, DomainState, Host, Kind, Member, Operator};
use super::{MAX_CHANGES, MAX_OPERATORS, MAX_PROPOSAL, MAX_STATE, StateHash, signed_message};
use crate::attestation::Measurement;
use crate::bytes::Bytes;
use crate::command::attest::ROOT_SIZE;
use crate::command::decode;
use crate::command::replica::DomainKeyInfo;
use crate::curve::Curve;
use crate::error::ErrorCode;
use crate::id::{DeviceId, DomainId, HostId, OperatorId};
use crate::identity::{IdentityDocument, PublicKey, Signature};

/// One change.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Change<'a> {
    /// Takes a device in.
    AddMember {
        /// Its keys, self-signed.
        identity: IdentityDocument,
        /// What it is; as its certificate says, if the domain has a device CA.
        kind: DeviceKind,
        /// The word of the device CA.
        certificate: Option<Certificate>,
    },
    /// Puts a device out. It knows the domain keys, so the same proposal rotates them.
    RemoveMember(DeviceId),
    /// Lets a host use the devices.
    AddHost(Host),
    /// Lets a host in no more.
    RemoveHost(HostId),
    /// Adds an operator.
    AddOperator(Operator),
    /// Removes an operator.
    RemoveOperator(OperatorId),
    /// Replaces the rules.
    SetRules(Rules),
    /// Replaces the device CA.
    SetDeviceCa(Option<PublicKey>),
    /// Says what the domain is for. What was known beside the data stays known, so a domain that
    /// becomes a production domain rotates its key in the same proposal.
    SetKind(Kind),
    /// Makes a new domain key, on one device.
    RotateKey {
        /// The device.
        maker: DeviceId,
    },
    /// Forgets a domain key. Tokens under it are lost, so it is not the key that was active until now.
    RemoveKey(u32),
    /// Approves another domain for the exchange of multi-Region keys; replaces its former key.
    AddPeer(DomainKeyInfo),
    /// Withdraws the approval.
    RemovePeer(DomainId),
    /// Replaces the roots that attestation documents must chain to: fingerprints, one after another.
    #[serde(borrow)]
    SetRoots(Bytes<'a>),
    /// Erases every secret of a device. It stays a member until it is removed.
    Zeroise(DeviceId),
    /// Says who holds recovery shares; no holders and a threshold of 0: nobody. What was shared stays
    /// shared, so whoever is to hold no share any more is put out by a rotation.
    SetRecovery {
        /// How many shares bring the domain back.
        threshold: u8,
        /// [`Holder::to_bytes`](super::recovery::Holder::to_bytes), one after another.
        #[serde(borrow)]
        holders: Bytes<'a>,
    },
    /// Permits the members to replace their firmware by this image, SHA-256 of it, instead of the one that was
    /// permitted before. Firmware has the domain keys, so what decides on members decides on it.
    PermitFirmware(Measurement),
}

/// Changes that are signed and made together.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Proposal<'a> {
    /// The domain.
    pub domain: DomainId,
    /// The version of the new state.
    pub version: u32,
    /// Hash of the state that is changed.
    pub previous: StateHash,
    /// One to [`MAX_CHANGES`] postcard [`Change`]s, one after another.
    #[serde(borrow)]
    pub changes: Bytes<'a>,
}

/// An operator's consent.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Vote {
    /// The operator.
    pub operator: OperatorId,
    /// Over [`signed_message`].
    pub signature: Signature,
}

/// The consent of several operators.
pub type Votes = Vec<Vote, MAX_OPERATORS>;

/// A proposal and who has signed it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Ballot<'a> {
    /// A postcard [`Proposal`].
    #[serde(borrow)]
    pub proposal: Bytes<'a>,
    /// The signatures.
    pub votes: Votes,
}

/// What a change leads to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Outcome {
    /// The new state.
    pub next: DomainState,
    /// The classes whose quorum, by the rules of the old state, it needs.
    pub classes: Classes,
    /// The key that its maker has to make now.
    pub new_key: Option<DomainKeyEntry>,
    /// The device that has to erase itself now.
    pub zeroised: Option<DeviceId>,
    /// The firmware that members may be updated to from now on.
    pub firmware: Option<Measurement>,
}

/// A set of classes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Classes(u8);

impl Classes {
    const ALL: Self = Self(0x7f);

    fn add(&mut self, class: Class) {
        self.0 |= 1 << class as u8;
    }

    /// Whether the class is in the set.
    #[must_use]
    pub const fn contains(self, class: Class) -> bool {
        self.0 & (1 << class as u8) != 0
    }
}

impl<'a> Proposal<'a> {
    /// Reads a proposal, up to [`MAX_PROPOSAL`] bytes.
    ///
    /// # Errors
    /// [`ErrorCode::CHANGE_INVALID`].
    pub fn decode(encoded: &'a [u8]) -> Result<Self, ErrorCode> {
        match encoded.len() <= MAX_PROPOSAL {
            true => decode(encoded).map_err(|_| ErrorCode::CHANGE_INVALID),
            false => Err(ErrorCode::CHANGE_INVALID),
        }
    }

    /// The changes, in order; the last item is an error if there are none, too many, or bytes that
    /// are not a change.
    pub fn changes(&self) -> impl Iterator<Item = Result<Change<'a>, ErrorCode>> + use<'a> {
        let mut rest = Some(self.changes.0);
        let mut left = MAX_CHANGES;
        core::iter::from_fn(move || {
            let now = rest.take()?;
            let next = match (left.checked_sub(1), postcard::take_from_bytes(now)) {
                (Some(fewer), Ok((change, after))) => {
                    left = fewer;
                    rest = Some(after).filter(|after| !after.is_empty());
                    Ok(change)
                }
                _ => Err(ErrorCode::CHANGE_INVALID),
            };
            Some(next)
        })
    }
}

impl DomainState {
    /// Makes the changes of a proposal, which nobody needs to have signed for this.
    ///
    /// # Errors
    /// [`ErrorCode::STATE_STALE`] if it is for another domain, version or state;
    /// [`ErrorCode::CHANGE_INVALID`], [`ErrorCode::RULES_DENIED`], [`ErrorCode::CERTIFICATE_INVALID`],
    /// [`ErrorCode::IDENTITY_INVALID`], [`ErrorCode::MEMBERS_FULL`], [`ErrorCode::HOSTS_FULL`],
    /// [`ErrorCode::TABLE_FULL`].
    pub fn apply(&self, proposal: &Proposal<'_>, curve: &impl Curve) -> Result<Outcome, ErrorCode> {
        let version = self.version.checked_add(1).ok_or(ErrorCode::CHANGE_INVALID)?;
        let is_for_this = proposal.domain == self.domain
            && proposal.version == version
            && proposal.previous == self.hash()?;
        if !is_for_this {
            return Err(ErrorCode::STATE_STALE);
        }
        let mut next = self.clone();
        (next.version, next.previous) = (version, proposal.previous);
        let mut outcome = Outcome {
            next,
            classes: Classes::default(),
            new_key: None,
            zeroised: None,
            firmware: None,
        };
        let mut must_rotate = false;
        for change in proposal.changes() {
            must_rotate |= outcome.make(&change?, self, curve)?;
        }
        let Outcome { next, new_key, .. } = &outcome;
        // Who leaves takes no share along that is used on.
        let stays = |holder: &Holder| {
            next.recovery.as_ref().is_some_and(|recovery| recovery.holders.contains(holder))
        };
        let shared = self.recovery.iter().flat_map(|recovery| &recovery.holders);
        must_rotate |= !shared.into_iter().all(stays);
        let is_made_by_member = new_key.is_none_or(|key| next.member(key.maker).is_some());
        if !is_made_by_member || (must_rotate && new_key.is_none()) {
            return Err(ErrorCode::CHANGE_INVALID);
        }
        next.check()?;
        Ok(outcome)
    }

    /// Makes the changes of a ballot, if the quorum that the rules of this state ask for has signed
    /// it.
    ///
    /// # Errors
    /// [`ErrorCode::QUORUM_MISSING`]; [`ErrorCode::SIGNATURE_INVALID`] if one signature is of nobody
    /// or does not verify; those of [`DomainState::apply`].
    pub fn decide(&self, ballot: &Ballot<'_>, curve: &impl Curve) -> Result<Outcome, ErrorCode> {
        let proposal = Proposal::decode(ballot.proposal.0)?;
        let outcome = self.apply(&proposal, curve)?;
        let message = signed_message(ballot.proposal.0, &outcome.next.hash()?);
        self.count(&ballot.votes, &message, outcome.classes, curve)?;
        Ok(outcome)
    }

    /// Checks the first state of a domain: that it is one, that its id is derived from it, and that
    /// its operators have signed it as their own rules ask for every change.
    ///
    /// # Errors
    /// [`ErrorCode::CHANGE_INVALID`], [`ErrorCode::RULES_DENIED`], [`ErrorCode::IDENTITY_INVALID`],
    /// [`ErrorCode::QUORUM_MISSING`], [`ErrorCode::SIGNATURE_INVALID`].
    pub fn check_founding(&self, votes: &Votes, curve: &impl Curve) -> Result<(), ErrorCode> {
        self.check()?;
        if self.version != 1 || self.domain != self.founding_id()? {
            return Err(ErrorCode::CHANGE_INVALID);
        }
        let operators = self.operators.iter().map(|operator| &operator.key);
        let hosts = self.hosts.iter().map(|host| &host.key);
        let peers = self.peers.iter().map(|peer| &peer.public);
        let mut keys = operators.chain(hosts).chain(peers).chain(&self.device_ca);
        keys.try_for_each(|key| key.to_point().map(drop))?;
        self.count(votes, &signed_message(&[], &self.hash()?), Classes::ALL, curve)
    }

    /// The id of the domain whose first state this is: so an id names its founders, too.
    ///
    /// # Errors
    /// [`ErrorCode::TOO_LARGE`] only.
    pub fn founding_id(&self) -> Result<DomainId, ErrorCode> {
        let nameless = Self { domain: DomainId([0; 16]), ..self.clone() };
        let mut buffer = [0; MAX_STATE];
        let hash = Sha256::new()
            .chain_update(b"strongroom-domain-id-v2")
            .chain_update(nameless.encode(&mut buffer)?)
            .finalize();
        hash.first_chunk().map(|id| DomainId(*id)).ok_or(ErrorCode::INTERNAL)
    }

    /// Checks that operators have signed a message, as many as a rule asks for.
    ///
    /// # Errors
    /// [`ErrorCode::QUORUM_MISSING`]; [`ErrorCode::SIGNATURE_INVALID`] if one signature is of nobody, does
    /// not verify, or is there twice.
    pub fn check_votes(
        &self,
        votes: &Votes,
        message: &[u8],
        rule: Rule,
        curve: &impl Curve,
    ) -> Result<(), ErrorCode> {
        match rule.is_met_by(self.signers(votes, message, curve)?.iter()) {
            true => Ok(()),
            false => Err(ErrorCode::QUORUM_MISSING),
        }
    }

    fn count(
        &self,
        votes: &Votes,
        message: &[u8],
        classes: Classes,
        curve: &impl Curve,
    ) -> Result<(), ErrorCode> {
        let signers = self.signers(votes, message, curve)?;
        let needed = Class::ALL.iter().filter(|class| classes.contains(**class));
        let mut met = needed.map(|class| self.rules.of(*class).is_met_by(signers.iter()));
        match met.all(|met| met) {
            true => Ok(()),
            false => Err(ErrorCode::QUORUM_MISSING),
        }
    }

    /// Who has signed a message.
    fn signers(
        &self,
        votes: &Votes,
        message: &[u8],
        curve: &impl Curve,
    ) -> Result<Vec<Operator, MAX_OPERATORS>, ErrorCode> {
        let mut signers: Vec<Operator, MAX_OPERATORS> = Vec::new();
        for vote in votes {
            let operator = self.operator(vote.operator).ok_or(ErrorCode::SIGNATURE_INVALID)?;
            curve.verify(&operator.key, message, &vote.signature)?;
            if signers.contains(operator) {
                return Err(ErrorCode::SIGNATURE_INVALID);
            }
            signers.push(*operator).map_err(|_| ErrorCode::SIGNATURE_INVALID)?;
        }
        Ok(signers)
    }
}

impl Outcome {
    /// Makes one change; true if it asks for a rotation in the same proposal.
    fn make(
        &mut self,
        change: &Change<'_>,
        before: &DomainState,
        curve: &impl Curve,
    ) -> Result<bool, ErrorCode> {
        let Self { next, classes, new_key, zeroised, firmware } = self;
        classes.add(change.class());
        match change {
            Change::AddMember { identity, kind, certificate } => {
                identity.verify_with(curve)?;
                match (next.device_ca, certificate) {
                    (None, None) => {}
                    (Some(ca), Some(certificate)) if certificate.kind == *kind => {
                        certificate.verify_with(curve, &ca, identity)?;
                    }
                    _ => return Err(ErrorCode::CERTIFICATE_INVALID),
                }
                let IdentityDocument { signing, join, .. } = *identity;
                let member = Member { signing, join, kind: *kind };
                next.members.push(member).map_err(|_| ErrorCode::MEMBERS_FULL)?;
            }
            Change::RemoveMember(device) => {
                remove(&mut next.members, |member| member.device_id() == *device)?;
                return Ok(true);
            }
            Change::AddHost(host) => {
                host.key.to_point()?;
                let id = host.key.host_id();
                next.hosts.retain(|known| known.key.host_id() != id);
                next.hosts.push(*host).map_err(|_| ErrorCode::HOSTS_FULL)?;
            }
            Change::RemoveHost(host) => {
                remove(&mut next.hosts, |known| known.key.host_id() == *host)?;
            }
            // Whoever adds operators could meet every rule by them.
            Change::AddOperator(operator) => {
                *classes = Classes::ALL;
                operator.key.to_point()?;
                next.operators.push(*operator).map_err(|_| ErrorCode::TABLE_FULL)?;
            }
            Change::RemoveOperator(operator) => {
                *classes = Classes::ALL;
                remove(&mut next.operators, |known| known.id() == *operator)?;
                if let Some(recovery) = &mut next.recovery {
                    recovery.holders.retain(|holder| holder.operator != *operator);
                }
            }
            Change::SetRules(rules) => {
                for class in Class::ALL {
                    let (old, new) = (before.rules.of(class), rules.of(class));
                    if new.total < old.total || new.officers < old.officers {
                        classes.add(class);
                    }
                }
                if rules.emulated_members && !before.rules.emulated_members {
                    classes.add(Class::Members);
                }
                next.rules = *rules;
            }
            Change::SetDeviceCa(ca) => {
                classes.add(Class::Members);
                ca.iter().try_for_each(|key| key.to_point().map(drop))?;
                next.device_ca = *ca;
            }
            Change::SetKind(kind) => {
                *classes = Classes::ALL;
                let hardens = next.kind == Kind::Development && *kind == Kind::Production;
                next.kind = *kind;
                return Ok(hardens);
            }
            Change::RotateKey { maker } => {
                let id = next.active_key().checked_add(1).ok_or(ErrorCode::CHANGE_INVALID)?;
                let key = DomainKeyEntry { id, maker: *maker };
                if new_key.replace(key).is_some() {
                    return Err(ErrorCode::CHANGE_INVALID);
                }
                next.keys.push(key).map_err(|_| ErrorCode::TABLE_FULL)?;
            }
            // What the key that is active now wraps has to be rewrapped first: that takes a change
            // of its own. Whether it was done since then is for the hosts to see, who have the tokens.
            Change::RemoveKey(id) => {
                if [next.active_key(), before.active_key()].contains(id) {
                    return Err(ErrorCode::CHANGE_INVALID);
                }
                remove(&mut next.keys, |key| key.id == *id)?;
            }
            Change::AddPeer(peer) => {
                peer.public.to_point()?;
                next.peers.retain(|known| known.domain != peer.domain);
                next.peers.push(*peer).map_err(|_| ErrorCode::TABLE_FULL)?;
            }
            Change::RemovePeer(domain) => remove(&mut next.peers, |peer| peer.domain == *domain)?,
            Change::SetRoots(roots) => {
                let (roots, []) = roots.0.as_chunks::<ROOT_SIZE>() else {
                    return Err(ErrorCode::CHANGE_INVALID);
                };
                next.roots = Vec::from_slice(roots).map_err(|_| ErrorCode::TABLE_FULL)?;
            }
            Change::Zeroise(device) => {
                if next.member(*device).is_none() || zeroised.replace(*device).is_some() {
                    return Err(ErrorCode::CHANGE_INVALID);
                }
            }
            // So many shares are the domain itself.
            Change::SetRecovery { threshold, holders } => {
                *classes = Classes::ALL;
                next.recovery = Recovery::read(next, *threshold, holders, curve)?;
            }
            Change::PermitFirmware(measurement) => {
                if firmware.replace(*measurement).is_some() {
                    return Err(ErrorCode::CHANGE_INVALID);
                }
            }
        }
        Ok(false)
    }
}

impl Change<'_> {
    /// The class whose rule decides on it, at least.
    #[must_use]
    pub const fn class(&self) -> Class {
        match self {
            Self::AddMember { .. } | Self::RemoveMember(_) | Self::PermitFirmware(_) => {
                Class::Members
            }
            Self::AddHost(_) | Self::RemoveHost(_) => Class::Hosts,
            Self::AddOperator(_)
            | Self::RemoveOperator(_)
            | Self::SetRules(_)
            | Self::SetDeviceCa(_)
            | Self::SetKind(_) => Class::Rules,
            Self::RotateKey { .. } | Self::RemoveKey(_) | Self::SetRecovery { .. } => Class::Keys,
            Self::AddPeer(_) | Self::RemovePeer(_) => Class::Peers,
            Self::SetRoots(_) => Class::Roots,
            Self::Zeroise(_) => Class::Zeroise,
        }
    }
}

/// Removes the one item; the order of the others stays.
fn remove<T, const N: usize>(
    items: &mut Vec<T, N>,
    is_it: impl Fn(&T) -> bool,
) -> Result<(), ErrorCode> {
    let before = items.len();
    items.retain(|item| !is_it(item));
    match items.len() < before {
        true => Ok(()),
        false => Err(ErrorCode::CHANGE_INVALID),
    }
}
