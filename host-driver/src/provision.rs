//! Brings devices into service: first provisioner, hosts, domain.
//!
//! Each step looks at what the device already is and does only what is missing, so provisioning
//! may be interrupted anywhere and run again.

use std::fmt;
use std::time::{Duration, Instant};

use hsm_protocol::command::attest::{AttestationRoots, ROOT_SIZE, SetAttestationRoots};
use hsm_protocol::command::domain::{
    CreateDomain, DomainInfo, DomainSummary, EnrolHost, EnrolledHost, ExportDomain, Initialise,
    JoinDomain,
};
use hsm_protocol::identity::{IdentityDocument, PublicKey};
use hsm_protocol::{AuditTag, Bytes, Command, DeviceId, HostId, ModuleState, Role};

use crate::device::{Device, Options};
use crate::error::CallError;
use crate::host_key::HostKey;
use crate::request::Reply;
use crate::transport::Connector;

/// How long a device may take to come back after a reset.
const RESTART: Duration = Duration::from_secs(10);

/// How a device without a domain gets one.
pub enum Goal<'a> {
    /// A new domain of its own.
    Create,
    /// The domain of a device that is already in service.
    Join(&'a dyn Connector),
}

/// What a device is to become.
pub struct Plan<'a> {
    /// The provisioner: becomes the first one of a fresh device, must be enrolled in any other.
    pub provisioner: &'a HostKey,
    /// Hosts to enrol.
    pub hosts: &'a [(PublicKey, Role)],
    /// Where its domain comes from.
    pub goal: Goal<'a>,
    /// The roots that attestation documents must chain to, by fingerprint; `None` leaves what is.
    pub roots: Option<&'a [[u8; ROOT_SIZE]]>,
    /// How devices are talked to.
    pub options: Options,
}

/// A step that was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// A zeroised device was restarted.
    Restarted,
    /// A fresh device took this host as its provisioner.
    Initialised,
    /// A host was enrolled.
    Enrolled(HostId, Role),
    /// A domain was created.
    DomainCreated,
    /// The device joined a domain.
    DomainJoined,
    /// The device got this many attestation roots.
    RootsSet(usize),
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Restarted => f.write_str("restarted the zeroised device"),
            Self::Initialised => f.write_str("initialised, this host is its provisioner"),
            Self::Enrolled(host, role) => write!(f, "enrolled host {host} as {role:?}"),
            Self::DomainCreated => f.write_str("created a domain"),
            Self::DomainJoined => f.write_str("joined the domain"),
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
    /// A self-test has failed.
    #[error(
        "device {0} is in the error state; restart it with `kmsctl hsm reset`, and if the error \
         comes back do not use it"
    )]
    InError(DeviceId),
    /// Somebody else is its provisioner.
    #[error(
        "device {device} has other provisioners; use the provisioner key that it was set up with \
         (this one is {host}), or run `kmsctl hsm zeroise` and `kmsctl hsm reset` with that key"
    )]
    NotProvisioner {
        /// The device.
        device: DeviceId,
        /// This host.
        host: HostId,
    },
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
    if device.status()?.state == ModuleState::Uninitialised {
        device.authenticate(plan.provisioner)?;
        call(&device, &Initialise)?;
        progress(Step::Initialised);
    }
    authenticate(&device, plan.provisioner)?;
    enrol(&device, plan.hosts, progress)?;
    if let Some(roots) = plan.roots {
        trust(&device, roots, progress)?;
    }
    let domain = match call(&device, &DomainInfo)?.response()?.domain {
        Some(domain) => domain,
        None => enter_domain(&device, plan, progress)?,
    };
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

fn authenticate(device: &Device, provisioner: &HostKey) -> Result<(), ProvisionError> {
    let refused = ProvisionError::NotProvisioner { device: device.id(), host: provisioner.id() };
    match device.authenticate(provisioner) {
        Ok(session) if session.role == Role::Provisioner => Ok(()),
        Ok(_) | Err(CallError::Handshake(_)) => Err(refused),
        Err(error) => Err(error.into()),
    }
}

fn enrol(
    device: &Device,
    hosts: &[(PublicKey, Role)],
    progress: &mut dyn FnMut(Step),
) -> Result<(), ProvisionError> {
    let known = device.hosts()?;
    for &(key, role) in hosts {
        let host = key.host_id();
        if !known.contains(&EnrolledHost { host, role }) {
            call(device, &EnrolHost { key, role })?;
            progress(Step::Enrolled(host, role));
        }
    }
    Ok(())
}

/// Sets the attestation roots, if they are others.
fn trust(
    device: &Device,
    roots: &[[u8; ROOT_SIZE]],
    progress: &mut dyn FnMut(Step),
) -> Result<(), ProvisionError> {
    let wanted = Bytes(roots.as_flattened());
    if *call(device, &AttestationRoots)?.response()?.roots != *wanted {
        call(device, &SetAttestationRoots { roots: wanted })?;
        progress(Step::RootsSet(roots.len()));
    }
    Ok(())
}

fn enter_domain(
    device: &Device,
    plan: &Plan<'_>,
    progress: &mut dyn FnMut(Step),
) -> Result<DomainSummary, ProvisionError> {
    let (step, domain) = match plan.goal {
        Goal::Create => (Step::DomainCreated, call(device, &CreateDomain)?.response()?),
        Goal::Join(member) => {
            let member = Device::open(member, None, plan.options)?;
            authenticate(&member, plan.provisioner)?;
            let joiner: IdentityDocument = *device.identity();
            let exported = call(&member, &ExportDomain { joiner })?;
            let token = Bytes(exported.response()?.token.0);
            let join = JoinDomain { exporter: *member.identity(), token };
            (Step::DomainJoined, call(device, &join)?.response()?)
        }
    };
    progress(step);
    Ok(domain)
}

/// No KMS request causes these, so their audit tag is zero.
fn call<C: Command>(device: &Device, command: &C) -> Result<Reply<C>, CallError> {
    device.call_blocking(command, AuditTag::default())
}
