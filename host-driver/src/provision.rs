//! Brings devices into service: a domain, hosts, attestation roots.
//!
//! Each step checks the present state of the device and does only what is missing, so provisioning may be
//! interrupted anywhere and run again. A change of a domain is signed here only in a development domain,
//! where the key beside the data may sign it. In any other domain, people sign ([`crate::ceremony`]).

use std::fmt;
use std::time::{Duration, Instant};

use hsm_protocol::command::attest::ROOT_SIZE;
use hsm_protocol::command::domain::{DomainSummary, FoundDomain, JoinDomain};
use hsm_protocol::domain::change::Votes;
use hsm_protocol::domain::{
    Certificate, Change, DeviceKind, DomainKeyEntry, DomainState, Host, Kind, MAX_NAME, MAX_STATE,
    Member, OperatorRole, Rules, Vote, signed_message,
};
use hsm_protocol::identity::PublicKey;
use hsm_protocol::{
    AuditTag, Bytes, Command, DeviceId, DomainId, ErrorCode, HostId, ModuleState, Role,
};

use crate::ceremony::{self, CeremonyError, Ledger, OperatorKey};
use crate::device::{Device, Options};
use crate::emulator::Machine;
use crate::error::CallError;
use crate::host_key::HostKey;
use crate::request::Reply;
use crate::transport::Connector;

/// How long a device may take to come back after a reset.
const RESTART: Duration = Duration::from_secs(10);

/// How a device without a domain gets one.
pub enum Goal<'a> {
    /// A new development domain of its own, with this name.
    Create(&'a str),
    /// The domain of these devices, which are in service; the first decides.
    Join(&'a [&'a dyn Connector]),
}

/// What a device is to become.
pub struct Plan<'a> {
    /// The one operator of a development domain.
    pub operator: &'a OperatorKey,
    /// This host; it is one of `hosts`.
    pub host: &'a HostKey,
    /// Hosts that the domain is to have, with their roles.
    pub hosts: &'a [(PublicKey, Role)],
    /// Where its domain comes from.
    pub goal: Goal<'a>,
    /// The roots that attestation documents must chain to, by fingerprint; `None` leaves what is.
    pub roots: Option<&'a [[u8; ROOT_SIZE]]>,
    /// Where changes of the domain are kept.
    pub ledger: &'a dyn Ledger,
    /// How devices are talked to.
    pub options: Options,
}

/// A step that was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// A zeroised device was restarted.
    Restarted,
    /// A development domain was founded.
    Founded,
    /// The device joined a domain.
    Joined,
    /// The device made changes of its domain that it had missed.
    Followed,
    /// The domain got a host.
    HostAdded(HostId, Role),
    /// The domain got this many attestation roots.
    RootsSet(usize),
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Restarted => f.write_str("restarted the zeroised device"),
            Self::Founded => f.write_str("founded a development domain"),
            Self::Joined => f.write_str("joined the domain"),
            Self::Followed => f.write_str("made changes of its domain that it had missed"),
            Self::HostAdded(host, role) => write!(f, "the domain has host {host} as {role:?}"),
            Self::RootsSet(0) => f.write_str("trusts no attestation document any more"),
            Self::RootsSet(1) => f.write_str("trusts one root of attestation documents"),
            Self::RootsSet(count) => write!(f, "trusts {count} roots of attestation documents"),
        }
    }
}

/// A device in service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Provisioned {
    /// The device. Pin it, and compare it with what its owner sees.
    pub device: DeviceId,
    /// Its domain.
    pub domain: DomainSummary,
}

/// Why a device could not be provisioned.
#[derive(Debug, thiserror::Error)]
pub enum ProvisionError {
    /// A call failed.
    #[error(transparent)]
    Call(#[from] CallError),
    /// The domain could not be changed.
    #[error(transparent)]
    Ceremony(#[from] CeremonyError),
    /// A self-test has failed.
    #[error(
        "device {0} is in the error state; restart it with `kmsctl hsm reset`, and if the error \
         comes back do not use it"
    )]
    InError(DeviceId),
    /// Its domain does not have this host.
    #[error(
        "device {device} is in a domain that does not know this host ({host}); have its operators \
         add the host, or use the data directory that it was set up with"
    )]
    NotOurs {
        /// The device.
        device: DeviceId,
        /// This host.
        host: HostId,
    },
}

impl From<FoundError> for ProvisionError {
    fn from(error: FoundError) -> Self {
        match error {
            FoundError::Call(error) => error.into(),
            FoundError::Invalid(code) => code.into(),
            FoundError::AnotherDomain(_) => ErrorCode::DOMAIN_EXISTS.into(),
        }
    }
}

impl From<ErrorCode> for ProvisionError {
    fn from(code: ErrorCode) -> Self {
        Self::Ceremony(code.into())
    }
}

/// A domain that operators have agreed on.
#[derive(Clone, Copy, Debug)]
pub struct Founding<'a> {
    /// Its first state, with one member.
    pub state: &'a DomainState,
    /// The operators' signatures.
    pub votes: &'a [Vote],
    /// The word of its device CA about the member.
    pub certificate: Option<Certificate>,
}

/// Why a domain was not founded.
#[derive(Debug, thiserror::Error)]
pub enum FoundError {
    /// A call failed, or the device refused.
    #[error(transparent)]
    Call(#[from] CallError),
    /// It cannot be a first state.
    #[error("no domain can begin like that: {0}")]
    Invalid(#[from] ErrorCode),
    /// The device is of another domain.
    #[error("the device is of domain {0} already")]
    AnotherDomain(DomainId),
}

/// Founds a domain on a fresh device, by a host of it. Again: on a device where that was done, nothing.
///
/// # Errors
/// [`FoundError`].
pub fn found(
    device: &Device,
    host: &HostKey,
    founding: &Founding<'_>,
) -> Result<DomainSummary, FoundError> {
    // A fresh device lets anybody in.
    device.authenticate(host)?;
    match device.domain()? {
        Some(found) if found.domain == founding.state.domain => Ok(found),
        Some(found) => Err(FoundError::AnotherDomain(found.domain)),
        None => {
            hand_over(device, founding)?;
            device.authenticate(host)?;
            Ok(device.domain()?.ok_or(CallError::NotOperational(ModuleState::Uninitialised))?)
        }
    }
}

fn hand_over(device: &Device, founding: &Founding<'_>) -> Result<(), FoundError> {
    let Founding { state, votes, certificate } = *founding;
    let votes = Votes::from_slice(votes).map_err(|_| ErrorCode::TABLE_FULL)?;
    let mut encoded = [0; MAX_STATE];
    let state = Bytes(state.encode(&mut encoded)?);
    call(device, &FoundDomain { state, votes, certificate })?;
    Ok(())
}

/// Provisions a device; `progress` hears of each step that was necessary.
///
/// # Errors
/// [`ProvisionError`]. What was done so far stays done; run it again.
pub fn provision(
    connector: &dyn Connector,
    plan: &Plan<'_>,
    progress: &mut dyn FnMut(Step),
) -> Result<Provisioned, ProvisionError> {
    let device = open_working(connector, plan.options, progress)?;
    let mut others = Vec::new();
    if let Goal::Join(members) = plan.goal {
        for member in members {
            let member = Device::open(*member, None, plan.options)?;
            authenticate(&member, plan.host)?;
            others.push(member);
        }
    }
    let others: Vec<&Device> = others.iter().filter(|other| other.id() != device.id()).collect();
    if device.status()?.state == ModuleState::Uninitialised {
        enter(&device, &others, plan, progress)?;
    }
    authenticate(&device, plan.host)?;
    if ceremony::follow(&device, plan.ledger, &others)? {
        progress(Step::Followed);
    }
    let members: Vec<&Device> = [&device].into_iter().chain(others).collect();
    complete(&members, plan, progress)?;
    let domain = device.domain()?.ok_or(CallError::NotOperational(ModuleState::Uninitialised))?;
    Ok(Provisioned { device: device.id(), domain })
}

/// Opens a device that is neither in the error state nor zeroised.
fn open_working(
    connector: &dyn Connector,
    options: Options,
    progress: &mut dyn FnMut(Step),
) -> Result<Device, ProvisionError> {
    let device = Device::open(connector, None, options)?;
    match device.status()?.state {
        ModuleState::Error => Err(ProvisionError::InError(device.id())),
        ModuleState::Zeroised => {
            device.reset()?;
            drop(device);
            let device = reopen(connector, options)?;
            progress(Step::Restarted);
            Ok(device)
        }
        _ => Ok(device),
    }
}

/// Waits for a device that restarts.
fn reopen(connector: &dyn Connector, options: Options) -> Result<Device, ProvisionError> {
    let by = Instant::now() + RESTART;
    loop {
        let opened = Device::open(connector, None, options)
            .and_then(|device| Ok((device.status()?.state, device)));
        match opened {
            Ok((state, device)) if state != ModuleState::Zeroised => return Ok(device),
            Err(error) if Instant::now() > by => return Err(error.into()),
            Ok((_, device)) if Instant::now() > by => {
                return Err(ProvisionError::InError(device.id()));
            }
            _ => std::thread::sleep(Duration::from_millis(50)),
        }
    }
}

fn authenticate(device: &Device, host: &HostKey) -> Result<(), ProvisionError> {
    match device.authenticate(host) {
        Ok(_) => Ok(()),
        Err(CallError::Handshake(_)) => {
            Err(ProvisionError::NotOurs { device: device.id(), host: host.id() })
        }
        Err(error) => Err(error.into()),
    }
}

/// Brings a fresh device into a domain.
fn enter(
    device: &Device,
    others: &[&Device],
    plan: &Plan<'_>,
    progress: &mut dyn FnMut(Step),
) -> Result<(), ProvisionError> {
    // Anybody is let in now.
    device.authenticate(plan.host)?;
    match (&plan.goal, others.first()) {
        (Goal::Create(name), _) => {
            let identity = device.identity();
            let kind = kind_of(&device.info().board);
            let member = Member { signing: identity.signing, join: identity.join, kind };
            let (state, votes) = development_domain(name, &member, plan.operator, plan.hosts)?;
            hand_over(device, &Founding { state: &state, votes: &votes, certificate: None })?;
            progress(Step::Founded);
        }
        (Goal::Join(_), Some(first)) => {
            // It may have been made a member already, in a change that was cut off.
            ceremony::follow(first, plan.ledger, others)?;
            let state = first.domain_state()?;
            if state.member(device.id()).is_none() {
                let (identity, kind) = (*device.identity(), kind_of(&device.info().board));
                let add = Change::AddMember { identity, kind, certificate: None };
                ceremony::change(others, &[add], plan.operator, plan.ledger)?;
            }
            let token = first.export_domain(device.id())?;
            call(device, &JoinDomain { token: Bytes(&token) })?;
            progress(Step::Joined);
        }
        (Goal::Join(_), None) => {
            return Err(CallError::NotOperational(ModuleState::Uninitialised).into());
        }
    }
    Ok(())
}

/// What a device is by its own word: what a domain without a device CA goes by.
#[must_use]
pub fn kind_of(board: &str) -> DeviceKind {
    match board {
        "host" => DeviceKind::InProcess,
        emulated if Machine::of_board(emulated).is_ok_and(|machine| machine.is_some()) => {
            DeviceKind::Emulated
        }
        _ => DeviceKind::Hardware,
    }
}

/// The first state of a development domain with one device, and the signature of its one operator.
///
/// # Errors
/// [`ErrorCode::HOSTS_FULL`] if there are more hosts than a domain has; else [`ErrorCode::INTERNAL`] only.
pub fn development_domain(
    name: &str,
    member: &Member,
    operator: &OperatorKey,
    hosts: &[(PublicKey, Role)],
) -> Result<(DomainState, Votes), ErrorCode> {
    let hosts: Vec<Host> = hosts.iter().map(|&(key, role)| Host { key, role }).collect();
    let name = &name[..name.floor_char_boundary(MAX_NAME)];
    let mut state = DomainState {
        domain: DomainId([0; 16]),
        name: heapless::String::try_from(name).unwrap_or_default(),
        kind: Kind::Development,
        version: 1,
        previous: [0; 32],
        operators: [operator.operator(OperatorRole::Development)].into_iter().collect(),
        rules: Rules { emulated_members: true, ..Rules::uniform(1) },
        device_ca: None,
        members: [*member].into_iter().collect(),
        keys: [DomainKeyEntry { id: 1, maker: member.device_id() }].into_iter().collect(),
        hosts: heapless::Vec::from_slice(&hosts).map_err(|_| ErrorCode::HOSTS_FULL)?,
        peers: heapless::Vec::new(),
        roots: heapless::Vec::new(),
        recovery: None,
    };
    state.domain = state.founding_id()?;
    let vote = operator.sign(&signed_message(&[], &state.hash()?))?;
    Ok((state, [vote].into_iter().collect()))
}

/// Adds hosts and roots that the domain does not have.
fn complete(
    members: &[&Device],
    plan: &Plan<'_>,
    progress: &mut dyn FnMut(Step),
) -> Result<(), ProvisionError> {
    let Some(first) = members.first() else { return Ok(()) };
    let state = first.domain_state()?;
    let missing = plan.hosts.iter().filter(|(key, role)| state.role(key.host_id()) != Some(*role));
    let missing: Vec<_> = missing.copied().collect();
    let mut changes: Vec<Change<'_>> = missing
        .iter()
        .map(|(key, role)| Change::AddHost(Host { key: *key, role: *role }))
        .collect();
    // Naming no root does not mean that the operators' own roots are to be removed.
    let is_ours = state.operator(plan.operator.id()).is_some();
    let roots = plan.roots.filter(|roots| *roots != state.roots.as_slice());
    let roots = roots.filter(|roots| is_ours || !roots.is_empty());
    changes.extend(roots.map(|roots| Change::SetRoots(Bytes(roots.as_flattened()))));
    if changes.is_empty() {
        return Ok(());
    }
    ceremony::change(members, &changes, plan.operator, plan.ledger)?;
    for (key, role) in missing {
        progress(Step::HostAdded(key.host_id(), role));
    }
    if let Some(roots) = roots {
        progress(Step::RootsSet(roots.len()));
    }
    Ok(())
}

/// No KMS request causes these, so their audit tag is zero.
fn call<C: Command>(device: &Device, command: &C) -> Result<Reply<C>, CallError> {
    device.call_blocking(command, AuditTag::default())
}
