//! Changes of a domain, on the side of hosts and operators: proposals, signatures, delivery.
//!
//! Nothing is decided here. The device decides, with the same code that shows a person what a proposal
//! leads to ([`hsm_protocol::domain`]).

use std::fmt;
use std::io;
use std::path::Path;

use hsm_protocol::command::decode;
use hsm_protocol::command::domain::{
    ChangeDomain, DescribeDomain, DomainSummary, ExportDomain, ReceiveKeys,
};
use hsm_protocol::curve::Portable;
use hsm_protocol::domain::change::Votes;
use hsm_protocol::domain::{
    Ballot, Certificate, Change, DomainState, Operator, OperatorRole, Outcome, Proposal, Vote,
    signed_message,
};
use hsm_protocol::identity::{IdentityDocument, PublicKey, Signature};
use hsm_protocol::{AuditTag, Bytes, Command, DeviceId, DomainId, ErrorCode, OperatorId};
use p256::SecretKey;
use p256::ecdsa::SigningKey;
use p256::ecdsa::signature::hazmat::PrehashSigner;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::device::Device;
use crate::error::CallError;
use crate::key_file::{self, KeyFileError};
use crate::request::Reply;

mod memory;

pub use memory::MemoryLedger;

/// An operator's signing key, P-256, in this process. Zeroised on drop.
#[derive(Clone)]
pub struct OperatorKey(SecretKey);

impl OperatorKey {
    /// Draws a new key from the operating system's random number generator.
    #[must_use]
    pub fn generate() -> Self {
        Self(key_file::generate())
    }

    /// The key of the operator of a development domain: the file at `path`, made if there is none.
    ///
    /// # Errors
    /// [`KeyFileError`].
    pub fn load_or_generate(path: &Path) -> Result<Self, KeyFileError> {
        key_file::load_or_generate(path).map(Self)
    }

    /// The key with this private scalar; `None` if the scalar is invalid.
    #[must_use]
    pub fn from_bytes(scalar: &[u8; 32]) -> Option<Self> {
        SecretKey::from_slice(scalar).ok().map(Self)
    }

    /// The private scalar, big-endian: for a file that protects it.
    #[must_use]
    pub fn to_bytes(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.0.to_bytes().into())
    }

    /// The public half.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        PublicKey::from_point(&self.0.public_key())
    }

    /// The operator, as a domain's state has it.
    #[must_use]
    pub fn operator(&self, role: OperatorRole) -> Operator {
        Operator { key: self.public(), role }
    }

    /// The operator's id.
    #[must_use]
    pub fn id(&self) -> OperatorId {
        self.public().operator_id()
    }

    /// Signs SHA-256 of a message (FIPS 186-5, RFC 6979).
    ///
    /// # Errors
    /// [`ErrorCode::INTERNAL`] only.
    pub fn sign(&self, message: &[u8]) -> Result<Vote, ErrorCode> {
        let signature: p256::ecdsa::Signature = SigningKey::from(&self.0)
            .sign_prehash(&Sha256::digest(message))
            .map_err(|_| ErrorCode::INTERNAL)?;
        let signature = Signature::from_bytes(&signature.to_bytes().into());
        Ok(Vote { operator: self.id(), signature })
    }
}

impl fmt::Debug for OperatorKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OperatorKey({})", self.id())
    }
}

/// A proposal, and what it leads to.
#[derive(Debug, Clone)]
pub struct Proposed {
    /// The encoded [`Proposal`].
    pub proposal: Vec<u8>,
    /// What it leads to.
    pub outcome: Outcome,
    /// What operators sign.
    pub message: Vec<u8>,
}

/// Proposes changes of a state.
///
/// # Errors
/// Those of [`DomainState::apply`].
pub fn propose(state: &DomainState, changes: &[Change<'_>]) -> Result<Proposed, ErrorCode> {
    let mut encoded = Vec::new();
    for change in changes {
        encoded = postcard::to_extend(change, encoded)?;
    }
    let version = state.version.checked_add(1).ok_or(ErrorCode::CHANGE_INVALID)?;
    let (domain, previous) = (state.domain, state.hash()?);
    let proposal = Proposal { domain, version, previous, changes: Bytes(&encoded) };
    read(state, postcard::to_extend(&proposal, Vec::new())?)
}

/// Reads a proposal of a state, as whoever is to sign it does.
///
/// # Errors
/// Those of [`DomainState::apply`].
pub fn read(state: &DomainState, proposal: Vec<u8>) -> Result<Proposed, ErrorCode> {
    let outcome = state.apply(&Proposal::decode(&proposal)?, &Portable)?;
    let message = signed_message(&proposal, &outcome.next.hash()?).to_vec();
    Ok(Proposed { proposal, outcome, message })
}

impl Proposed {
    /// The encoded [`Ballot`] of the proposal with these signatures.
    ///
    /// # Errors
    /// [`ErrorCode::TABLE_FULL`] if there are more than a domain has operators.
    pub fn ballot(&self, votes: &[Vote]) -> Result<Vec<u8>, ErrorCode> {
        let votes = Votes::from_slice(votes).map_err(|_| ErrorCode::TABLE_FULL)?;
        let ballot = Ballot { proposal: Bytes(&self.proposal), votes };
        Ok(postcard::to_extend(&ballot, Vec::new())?)
    }
}

/// Ballots that were accepted, by the version that they lead to: a member that was away follows by
/// them.
pub trait Ledger {
    /// Keeps a ballot; durable when this returns. It is kept before any device has it, so that a
    /// change that one device has made can always be told to the others.
    ///
    /// # Errors
    /// [`io::ErrorKind::AlreadyExists`] if another ballot leads to that version, which stays; any
    /// failure to.
    fn keep(&self, domain: DomainId, version: u32, ballot: &[u8]) -> io::Result<()>;

    /// The ballot that leads to a version.
    ///
    /// # Errors
    /// Any failure to read it.
    fn ballot(&self, domain: DomainId, version: u32) -> io::Result<Option<Vec<u8>>>;

    /// Forgets a ballot that no device has accepted.
    ///
    /// # Errors
    /// Any failure to.
    fn forget(&self, domain: DomainId, version: u32) -> io::Result<()>;

    /// What the device CA of a domain says of a device, if that was kept: the CA of `state` has signed it.
    ///
    /// # Errors
    /// Any failure to read what was kept.
    fn certificate(
        &self,
        state: &DomainState,
        identity: &IdentityDocument,
    ) -> io::Result<Option<Certificate>> {
        let _ = (state, identity);
        Ok(None)
    }

    /// Where the ballot that leads to a version is, for a person who has to look at it.
    fn place(&self, domain: DomainId, version: u32) -> String {
        format!("version {version} of {domain}")
    }

    /// State and keys of the domain, wrapped to a member by another one that cannot be reached from here.
    ///
    /// # Errors
    /// Any failure to read them.
    fn handed_over(&self, member: DeviceId) -> io::Result<Option<Vec<u8>>> {
        let _ = member;
        Ok(None)
    }
}

/// Why a domain was not changed.
#[derive(Debug, thiserror::Error)]
pub enum CeremonyError {
    /// A call failed, or a device refused.
    #[error(transparent)]
    Call(#[from] CallError),
    /// The proposal is invalid, or is not for the present state of this domain.
    #[error("the change cannot be made: {0}")]
    Invalid(#[from] ErrorCode),
    /// The ballots could not be kept or read.
    #[error("cannot use the record of the domain's changes: {0}")]
    Ledger(#[from] io::Error),
    /// What is kept as the ballot of the next version is not one that a device accepts.
    #[error(
        "the ballot that is kept as {place} does not count ({reason}): it was damaged, or somebody else has put \
         it there. Nothing was changed. Remove it, and the domain can be changed again"
    )]
    Refused {
        /// Where it is.
        place: String,
        /// Why it does not count.
        reason: String,
    },
    /// Another ceremony was faster.
    #[error(
        "another change of the domain was made or is being made; look at it with `kmsctl domain show`, \
         and propose anew what is still wanted"
    )]
    Overtaken,
    /// Only people can change the domain.
    #[error(
        "the domain {0} is ruled by its operators, and no key beside the data is one of them; have \
         them sign the change: kmsctl domain propose"
    )]
    NotOurs(DomainId),
}

/// Changes a domain on these members, signed by one key that is enough. The first member decides; the
/// others follow, or will once they are there.
///
/// # Errors
/// [`CeremonyError`]; of the first member only.
pub fn change(
    members: &[&Device],
    changes: &[Change<'_>],
    operator: &OperatorKey,
    ledger: &dyn Ledger,
) -> Result<DomainState, CeremonyError> {
    let Some(first) = members.first() else {
        return Err(CeremonyError::Invalid(ErrorCode::INVALID_ARGUMENT));
    };
    // What another member may have made already comes first, or the domain would have two histories.
    follow(first, ledger, members.get(1..).unwrap_or_default())?;
    let state = first.domain_state()?;
    if state.operator(operator.id()).is_none() {
        return Err(CeremonyError::NotOurs(state.domain));
    }
    let proposed = propose(&state, changes)?;
    let ballot = proposed.ballot(&[operator.sign(&proposed.message)?])?;
    hand_over(members, &ballot, &state, ledger)
}

/// Hands a ballot over to these members.
///
/// # Errors
/// [`CeremonyError`]; of the first member only. What is wrong with the ballot is found before it is
/// kept or sent.
pub fn submit(
    members: &[&Device],
    ballot: &[u8],
    ledger: &dyn Ledger,
) -> Result<DomainState, CeremonyError> {
    let Some(first) = members.first() else {
        return Err(CeremonyError::Invalid(ErrorCode::INVALID_ARGUMENT));
    };
    follow(first, ledger, members.get(1..).unwrap_or_default())?;
    hand_over(members, ballot, &first.domain_state()?, ledger)
}

/// Hands a ballot for `state` over to members, of which the first has that state.
fn hand_over(
    members: &[&Device],
    ballot: &[u8],
    state: &DomainState,
    ledger: &dyn Ledger,
) -> Result<DomainState, CeremonyError> {
    let Some((first, others)) = members.split_first() else {
        return Err(CeremonyError::Invalid(ErrorCode::INVALID_ARGUMENT));
    };
    // The device decides; but what it would refuse must not be kept, not even until it has.
    let next = state.decide(&decode(ballot)?, &Portable)?.next;
    ledger.keep(next.domain, next.version, ballot).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => CeremonyError::Overtaken,
        _ => CeremonyError::Ledger(error),
    })?;
    match first.change_domain(ballot) {
        Ok(_) => {}
        Err(CallError::Refused { code: ErrorCode::STATE_STALE, .. }) => {
            ledger.forget(next.domain, next.version)?;
            return Err(CeremonyError::Overtaken);
        }
        Err(error @ CallError::Refused { .. }) => {
            ledger.forget(next.domain, next.version)?;
            return Err(error.into());
        }
        // It may have arrived.
        Err(error) => return Err(error.into()),
    }
    for member in others {
        // One that cannot be reached follows when it is.
        let _ = follow(member, ledger, &[first]);
    }
    Ok(next)
}

/// Brings a member up to the last change that is known, with the keys that one of `others` has.
/// Whether something changed.
///
/// # Errors
/// [`CeremonyError`].
pub fn follow(
    member: &Device,
    ledger: &dyn Ledger,
    others: &[&Device],
) -> Result<bool, CeremonyError> {
    let mut changed = false;
    let mut summary = match member.domain()? {
        Some(summary) => summary,
        None => return Ok(false),
    };
    while let Some(next) = summary.version.checked_add(1)
        && let Some(ballot) = ledger.ballot(summary.domain, next)?
    {
        summary = match member.change_domain(&ballot) {
            Err(error) if is_about_ballot(&error) => match member.domain()? {
                // Somebody else has handed it over meanwhile.
                Some(now) if now.domain == summary.domain && now.version >= next => now,
                _ => {
                    let (place, reason) = (ledger.place(summary.domain, next), error.to_string());
                    return Err(CeremonyError::Refused { place, reason });
                }
            },
            changed => changed?,
        };
        // Where it came from others, it is kept here from now on.
        ledger.keep(summary.domain, next, &ballot)?;
        changed = true;
    }
    if summary.has_keys {
        return Ok(changed);
    }
    for other in others {
        // One that cannot give them, or is of an earlier state itself, is not an obstacle: another may have
        // them.
        let received = other.export_domain(member.id()).and_then(|it| member.receive_keys(&it));
        if received.is_ok_and(|summary| summary.has_keys) {
            return Ok(true);
        }
    }
    if let Some(token) = ledger.handed_over(member.id())? {
        // It may be of an earlier state; there will be another one.
        let received = member.receive_keys(&token);
        return Ok(received.is_ok_and(|summary| summary.has_keys) || changed);
    }
    Ok(changed)
}

/// Whether no device would take the ballot, whenever it is asked.
fn is_about_ballot(error: &CallError) -> bool {
    let is_of_kind =
        matches!(error, CallError::Refused { .. } | CallError::TooLarge | CallError::NoRoom { .. });
    is_of_kind && !error.retryable()
}

impl Device {
    /// The public state of the device's domain. Any host of it may ask.
    ///
    /// # Errors
    /// [`CallError`].
    pub fn domain_state(&self) -> Result<DomainState, CallError> {
        let reply = self.call_blocking(&DescribeDomain, AuditTag::default())?;
        DomainState::decode(&reply.response()?.state)
            .map_err(|_| CallError::BadAnswer(DescribeDomain::OPCODE))
    }

    /// Hands a ballot over.
    ///
    /// # Errors
    /// [`CallError::Refused`] for what [`DomainState::decide`] refuses.
    pub fn change_domain(&self, ballot: &[u8]) -> Result<DomainSummary, CallError> {
        self.call_of_its_own(&ChangeDomain { ballot: Bytes(ballot) })?.response()
    }

    /// State and keys of the domain, wrapped to another member.
    ///
    /// # Errors
    /// [`CallError::Refused`] if it is not a member, or if this device waits for keys itself.
    pub fn export_domain(&self, member: DeviceId) -> Result<Vec<u8>, CallError> {
        let reply = self.call_of_its_own(&ExportDomain { member })?;
        Ok(reply.response()?.token.to_vec())
    }

    /// Takes keys of the domain that another member has exported.
    ///
    /// # Errors
    /// [`CallError::Refused`].
    pub fn receive_keys(&self, token: &[u8]) -> Result<DomainSummary, CallError> {
        self.call_of_its_own(&ReceiveKeys { token: Bytes(token) })?.response()
    }

    /// Makes a call that no request causes. Its receipt goes to the audit sink, if the device's chain is
    /// followed here.
    pub(crate) fn call_of_its_own<C: Command>(&self, command: &C) -> Result<Reply<C>, CallError> {
        let reply = self.call_blocking(command, AuditTag::default());
        let receipt = match &reply {
            Ok(reply) => reply.receipt,
            Err(CallError::Refused { receipt, .. }) => receipt.as_deref().copied(),
            Err(_) => None,
        };
        if let Some(receipt) = receipt
            && let Some(chain) = self.chain().lock().as_mut()
        {
            chain.keep_orphan(receipt);
        }
        reply
    }
}
