//! Brings the devices behind the lines into one domain.

use std::sync::Arc;
use std::time::{Duration, Instant};

use host_driver::device::{Device, Options};
use host_driver::provision::{Goal, Plan, Provisioned, provision};
use host_driver::transport::Connector;
use host_driver::{CallError, HostKey};
use hsm_protocol::{DeviceId, ModuleState, Role};

use super::registry::Registry;
use super::roots::RootId;
use super::{DevicesError, Line};

/// How long devices may take to boot and test themselves.
const BOOT: Duration = Duration::from_secs(30);

/// Which devices may be provisioned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Those that the daemon runs itself.
    Own,
    /// All, because a person asked for it.
    All,
}

/// The host's keys, as devices know it.
pub struct HostKeys {
    /// Sets devices up.
    pub provisioner: HostKey,
    /// Uses keys.
    pub user: HostKey,
}

/// A device as it is found.
struct Found {
    device: DeviceId,
    state: ModuleState,
}

/// Provisions what `scope` allows and has to be provisioned. Devices that somebody else looks
/// after and that cannot be reached now are left to the pool. Returns how many members the domain
/// has, as those devices know it; 0 if none was looked at so closely.
pub(super) fn prepare(
    lines: &[Line],
    registry: &mut Registry,
    keys: &HostKeys,
    scope: Scope,
    roots: Option<&[RootId]>,
    progress: &mut dyn FnMut(&str, &str),
) -> Result<u8, DevicesError> {
    let may_provision = |line: &Line| line.own || scope == Scope::All;
    let by = Instant::now() + BOOT;
    let mut found = Vec::with_capacity(lines.len());
    for line in lines {
        match look(line, if may_provision(line) { by } else { Instant::now() }) {
            Ok(device) => {
                check_pin(line, &device, registry)?;
                found.push(Some(device));
            }
            Err(reason) if may_provision(line) => return Err(line.failed(reason)),
            Err(error) => {
                tracing::warn!(hsm = line.name, %error, "not reachable now, will be tried again");
                found.push(None);
            }
        }
    }
    let member = |found: &Option<Found>| {
        found.as_ref().is_some_and(|found| found.state == ModuleState::Operational)
    };
    let mut source = lines.iter().zip(&found).find(|(_, f)| member(f)).map(|(line, _)| line);
    // Members first: they tell the domain that the others are to join.
    let (members, rest): (Vec<_>, Vec<_>) =
        lines.iter().zip(&found).partition(|(_, found)| member(found));
    let mut most = 0;
    for (line, found) in members.into_iter().chain(rest) {
        match found {
            Some(_) if may_provision(line) => {
                let goal = goal(line, source, registry)?;
                most = most.max(bring_in(line, goal, registry, keys, roots, progress)?);
                source = source.or(Some(line));
            }
            Some(found) if found.state != ModuleState::Operational => {
                return Err(DevicesError::NotProvisioned { endpoint: line.name.clone() });
            }
            _ => {}
        }
    }
    Ok(most)
}

/// Asks who is there and in which state, until `by`.
fn look(line: &Line, by: Instant) -> Result<Found, CallError> {
    loop {
        let found = Device::open(&*line.connector, None, Options::default())
            .and_then(|device| Ok(Found { device: device.id(), state: device.status()?.state }));
        match found {
            Err(CallError::LinkDown { .. }) if Instant::now() < by => {
                std::thread::sleep(Duration::from_millis(100));
            }
            found => return found,
        }
    }
}

fn check_pin(line: &Line, found: &Found, registry: &Registry) -> Result<(), DevicesError> {
    match registry.device(&line.name) {
        Some(known) if known != found.device => Err(DevicesError::AnotherDevice {
            endpoint: line.name.clone(),
            known,
            found: found.device,
        }),
        _ => Ok(()),
    }
}

fn goal<'l>(
    line: &Line,
    source: Option<&'l Line>,
    registry: &Registry,
) -> Result<Goal<'l>, DevicesError> {
    match (source, registry.domain()) {
        (Some(source), _) if source.name == line.name => Ok(Goal::Create),
        (Some(source), _) => Ok(Goal::Join(&*source.connector)),
        (None, None) => Ok(Goal::Create),
        (None, Some(domain)) => Err(DevicesError::DomainLost { domain }),
    }
}

fn bring_in(
    line: &Line,
    goal: Goal<'_>,
    registry: &mut Registry,
    keys: &HostKeys,
    roots: Option<&[RootId]>,
    progress: &mut dyn FnMut(&str, &str),
) -> Result<u8, DevicesError> {
    let plan = Plan {
        provisioner: &keys.provisioner,
        hosts: &[(keys.user.public(), Role::CryptoUser)],
        goal,
        roots,
        options: Options::default(),
    };
    let connector: Arc<dyn Connector> = Arc::clone(&line.connector);
    let mut report = |step| progress(&line.name, &format!("{step}"));
    let Provisioned { device, domain } =
        provision(&*connector, &plan, &mut report).map_err(|reason| line.failed(reason))?;
    match registry.domain() {
        Some(known) if known != domain.domain => Err(DevicesError::AnotherDomain {
            endpoint: line.name.clone(),
            known,
            found: domain.domain,
        }),
        _ => registry.record(&line.name, device, domain.domain).map(|()| domain.members),
    }
}
