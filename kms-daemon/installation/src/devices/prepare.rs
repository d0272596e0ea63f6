//! Brings the devices behind the lines into one domain.
//!
//! A problem with one device does not affect the others: it is reported, and the pool tries again. A domain
//! is made only if there are no keys, no known domain, and no device of ours whose domain could not be
//! determined.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use host_driver::ceremony::CeremonyError;
use host_driver::device::{Device, Options};
use host_driver::provision::{Goal, Plan, ProvisionError, Provisioned, provision};
use host_driver::transport::Connector;
use host_driver::{CallError, HostKey, OperatorKey};
use hsm_protocol::{DeviceId, DomainId, ModuleState, Role};

use super::registry::Registry;
use super::roots::RootId;
use super::{DevicesError, Line, Lost};
use crate::consistency::Bound;
use kms_ceremony::ledger::Ballots;

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
    /// Rules a development domain.
    pub operator: OperatorKey,
    /// Uses keys.
    pub user: HostKey,
}

/// A device as it is found.
struct Found {
    device: DeviceId,
    state: ModuleState,
}

/// How devices are brought into a domain.
pub(super) struct Preparation<'a> {
    pub(super) lines: &'a [Line],
    pub(super) registry: &'a mut Registry,
    pub(super) keys: &'a HostKeys,
    pub(super) scope: Scope,
    pub(super) roots: Option<&'a [RootId]>,
    /// What there are keys of.
    pub(super) bound: Option<&'a Bound>,
    pub(super) region: &'a str,
    /// How the domain came to its state.
    pub(super) ballots: &'a Ballots,
    /// The file that says that a domain is being founded.
    pub(super) founding: &'a Path,
    /// Members of the domain, as its devices count them: the most that one of them has told of.
    pub(super) members: u8,
}

/// What came of it.
#[derive(Debug, Default)]
pub(super) struct Prepared {
    /// What is wrong, with the index of the line.
    pub(super) troubles: Vec<(usize, DevicesError)>,
    /// Whether a device should get into service.
    pub(super) is_promising: bool,
    /// Members of the domain, as its devices count them; 0 if none was looked at so closely.
    pub(super) members: u8,
}

impl Preparation<'_> {
    /// Provisions what the scope allows and has to be provisioned. Devices that somebody else looks
    /// after and that cannot be reached now are left to the pool.
    pub(super) fn run(mut self, progress: &mut dyn FnMut(&str, &str)) -> Prepared {
        let mut done = Prepared::default();
        let by = Instant::now() + BOOT;
        let mut found: Vec<Option<Found>> = Vec::with_capacity(self.lines.len());
        let mut vacant = Vec::new();
        for (index, line) in self.lines.iter().enumerate() {
            found.push(match self.find(line, by) {
                Ok(Some(found)) => Some(found),
                Ok(None) => {
                    vacant.push(index);
                    None
                }
                Err(None) => None,
                Err(Some(trouble)) => {
                    done.troubles.push((index, trouble));
                    None
                }
            });
        }
        if self.scope == Scope::All && !done.troubles.is_empty() {
            return done; // a person is there to look after it first
        }
        let mut domain = self.bound.map(|bound| bound.domain).or(self.registry.domain());
        // Members first: they tell the domain that the others are to join.
        let mut sources: Vec<&Line> = Vec::new();
        for (index, line) in self.lines.iter().enumerate() {
            let Some(device) = &found[index] else { continue };
            if device.state != ModuleState::Operational {
                continue;
            }
            match self.accept_member(line, &sources, &mut domain, progress) {
                Ok(is_source) => {
                    done.is_promising = true;
                    sources.extend(is_source.then_some(line));
                }
                Err(trouble) => done.troubles.push((index, trouble)),
            }
        }
        // The first may have missed a change whose key a later one has.
        if let Some((first, [_, ..])) = sources.split_first()
            && self.may_provision(first)
            && let Err(trouble) = self.provision(first, false, &sources, domain, progress)
        {
            tracing::warn!(hsm = first.name, error = %trouble, "cannot follow the domain's changes now");
        }
        let may_create = domain.is_none() && done.troubles.is_empty();
        for (index, line) in self.lines.iter().enumerate() {
            let is_new = vacant.contains(&index);
            let is_fresh =
                found[index].as_ref().is_some_and(|found| found.state != ModuleState::Operational);
            if !is_new && !is_fresh {
                continue;
            }
            match self.bring_in(line, is_new, &sources, may_create, &mut domain, progress) {
                Ok(()) => {
                    done.is_promising = true;
                    sources.push(line);
                }
                Err(trouble) => done.troubles.push((index, trouble)),
            }
        }
        // With all of them out of the question, it is not only a device that is missing.
        let hopeless = !done.is_promising && done.troubles.len() == self.lines.len();
        let lost = domain.filter(|_| hopeless).map(|domain| self.domain_lost(domain));
        let is_missing =
            |trouble: &DevicesError| matches!(trouble, DevicesError::FlashMissing { .. });
        for (index, trouble) in &done.troubles {
            let Some(own) = &self.lines[*index].own else { continue };
            own.say(&match &lost {
                Some(lost) if is_missing(trouble) => format!("{trouble}. But {lost}"),
                _ => trouble.to_string(),
            });
        }
        if done.troubles.iter().any(|(_, trouble)| is_missing(trouble)) {
            done.troubles.extend(lost.map(|lost| (0, lost)));
        }
        done.members = self.members;
        done
    }

    fn may_provision(&self, line: &Line) -> bool {
        line.own.is_some() || self.scope == Scope::All
    }

    /// Determines which device responds. `Ok(None)`: nobody yet, a device can be made. `Err(None)`: cannot be
    /// reached now, and will be tried again.
    fn find(&self, line: &Line, by: Instant) -> Result<Option<Found>, Option<DevicesError>> {
        if let Some(own) = line.own.as_ref().filter(|own| own.is_absent()) {
            return match self.registry.device(&line.name) {
                None => Ok(None),
                Some(device) => Err(Some(DevicesError::FlashMissing {
                    endpoint: line.name.clone(),
                    device,
                    path: own.flash().to_owned(),
                    region: self.region.to_owned(),
                })),
            };
        }
        let may_provision = self.may_provision(line);
        match look(line, if may_provision { by } else { Instant::now() }) {
            Ok(device) => {
                check_pin(line, &device, self.registry).map_err(Some)?;
                Ok(Some(device))
            }
            Err(reason) if may_provision => Err(Some(line.failed(reason))),
            Err(error) => {
                tracing::warn!(hsm = line.name, %error, "not reachable now, will be tried again");
                Err(None)
            }
        }
    }

    /// Takes a device that is of a domain, if that is the right one. Returns whether others can join by
    /// it.
    fn accept_member(
        &mut self,
        line: &Line,
        sources: &[&Line],
        domain: &mut Option<DomainId>,
        progress: &mut dyn FnMut(&str, &str),
    ) -> Result<bool, DevicesError> {
        let of_member = member_domain(line, &self.keys.user);
        if !self.may_provision(line) {
            // Somebody else's: the pool will see whether it lets this host in.
            return match of_member {
                Ok(found) if domain.is_none_or(|known| known == found) => Ok(true),
                Ok(found) => Err(self.another_domain(line, *domain, found)),
                Err(_) => Ok(false),
            };
        }
        if let (Ok(found), Some(known)) = (&of_member, *domain)
            && *found != known
        {
            return Err(self.another_domain(line, Some(known), *found));
        }
        // It says what is wrong with a member that could not be asked.
        let found = self.provision(line, false, sources, *domain, progress)?;
        domain.get_or_insert(found);
        Ok(true)
    }

    /// Brings a fresh device into the domain.
    fn bring_in(
        &mut self,
        line: &Line,
        is_new: bool,
        sources: &[&Line],
        may_create: bool,
        domain: &mut Option<DomainId>,
        progress: &mut dyn FnMut(&str, &str),
    ) -> Result<(), DevicesError> {
        if !self.may_provision(line) {
            return Err(DevicesError::NotProvisioned { endpoint: line.name.clone() });
        }
        match (sources, *domain) {
            ([_, ..], _) => {}
            ([], None) if may_create && self.founding.exists() => {
                return Err(DevicesError::BeingFounded {
                    region: self.region.to_owned(),
                    path: self.founding.to_owned(),
                });
            }
            ([], None) if may_create => {}
            ([], None) => {
                return Err(line.failed(
                    "does not get a domain of its own while the domain of another device is not \
                     known",
                ));
            }
            ([], Some(domain)) => return Err(self.domain_lost(domain)),
        }
        if let Some(own) = line.own.as_ref().filter(|_| is_new) {
            own.may_be_made();
            look(line, Instant::now() + BOOT).map_err(|reason| line.failed(reason))?;
        }
        let found = self.provision(line, true, sources, *domain, progress)?;
        domain.get_or_insert(found);
        Ok(())
    }

    fn provision(
        &mut self,
        line: &Line,
        is_fresh: bool,
        sources: &[&Line],
        known: Option<DomainId>,
        progress: &mut dyn FnMut(&str, &str),
    ) -> Result<DomainId, DevicesError> {
        let sources = sources.iter().filter(|source| source.name != line.name);
        let sources: Vec<&dyn Connector> = sources.map(|source| &*source.connector).collect();
        let goal = match sources.as_slice() {
            [] => Goal::Create(self.region),
            sources => Goal::Join(sources),
        };
        let plan = Plan {
            operator: &self.keys.operator,
            host: &self.keys.user,
            hosts: &[(self.keys.user.public(), Role::CryptoUser)],
            goal,
            roots: self.roots,
            ledger: self.ballots,
            options: Options::default(),
        };
        let connector: Arc<dyn Connector> = Arc::clone(&line.connector);
        let mut report = |step| progress(&line.name, &format!("{step}"));
        let Provisioned { device, domain } =
            provision(&*connector, &plan, &mut report).map_err(|reason| match reason {
                ProvisionError::Ceremony(CeremonyError::NotOurs(domain)) if is_fresh => {
                    DevicesError::NotApproved { endpoint: line.name.clone(), domain }
                }
                reason => line.failed(reason),
            })?;
        match known {
            Some(known) if known != domain.domain => {
                Err(self.another_domain(line, Some(known), domain.domain))
            }
            _ => {
                self.registry.record(&line.name, device, domain.domain)?;
                self.members = self.members.max(domain.members);
                Ok(domain.domain)
            }
        }
    }

    fn another_domain(
        &self,
        line: &Line,
        known: Option<DomainId>,
        found: DomainId,
    ) -> DevicesError {
        DevicesError::AnotherDomain {
            endpoint: line.name.clone(),
            known: known.unwrap_or(found),
            found,
        }
    }

    fn domain_lost(&self, domain: DomainId) -> DevicesError {
        let place = |line: &Line| match &line.own {
            Some(own) if own.is_absent() => format!("{} (no file)", own.flash().display()),
            Some(own) => own.flash().display().to_string(),
            None => line.name.clone(),
        };
        let mut devices: Vec<String> =
            self.registry.devices().map(|(name, id)| format!("{name} ({id})")).collect();
        let bound = self.bound.filter(|bound| bound.domain == domain);
        let unnamed = bound.iter().flat_map(|bound| &bound.devices);
        let unnamed = unnamed.filter(|id| self.registry.devices().all(|(_, known)| known != **id));
        devices.extend(unnamed.map(DeviceId::to_string));
        let lost = Box::new(Lost {
            region: self.region.to_owned(),
            store: bound.map(|bound| bound.store.clone()),
            devices,
            looked: self.lines.iter().map(place).collect(),
        });
        DevicesError::DomainLost { domain, lost }
    }
}

/// Whether a line leads to the device that is known there, and that is a member of `domain` now.
pub(super) fn is_member(
    line: &Line,
    registry: &Registry,
    keys: &HostKeys,
    domain: DomainId,
) -> bool {
    let by = match &line.own {
        Some(own) if own.is_absent() => return false,
        Some(_) => Instant::now() + BOOT,
        None => Instant::now(),
    };
    look(line, by).is_ok_and(|found| {
        found.state == ModuleState::Operational
            && registry.device(&line.name) == Some(found.device)
            && member_domain(line, &keys.user).is_ok_and(|of| of == domain)
    })
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

/// The domain of a device that has this host.
fn member_domain(line: &Line, host: &HostKey) -> Result<DomainId, CallError> {
    let device = Device::open(&*line.connector, None, Options::default())?;
    device.authenticate(host)?;
    let domain = device.domain()?;
    domain.map(|domain| domain.domain).ok_or(CallError::NotOperational(ModuleState::Uninitialised))
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
