//! The supervisor of a device: a thread that brings it into service and keeps it there.

use std::sync::Arc;
use std::time::{Duration, Instant};

use hsm_protocol::command::domain::{DomainInfo, DomainSummary};
use hsm_protocol::command::system::SelfTest;
use hsm_protocol::{AuditTag, DomainId, ModuleState, Role};

use super::Shared;
use super::slot::Slot;
use crate::audit;
use crate::device::Device;
use crate::error::CallError;
use crate::health::Service;

/// A device that stayed in service for so long starts with the shortest pause when it fails.
const STABLE: Duration = Duration::from_secs(10);

/// How often it is looked whether a device that takes no calls has nothing left to do.
const DRAINING: Duration = Duration::from_millis(20);
/// How long a keeper sleeps while its device is held; whoever changes that wakes it.
const HELD: Duration = Duration::from_secs(3600);

/// Sessions that may be lost between two probes before the line counts as bad.
const MAX_RENEWALS: u32 = 16;

pub(super) fn run(shared: &Shared, slot: &Slot) {
    let mut pause = Pause::new(shared);
    let is_over = || shared.is_closed() || slot.is_removed();
    while !is_over() {
        if slot.hold().is_some() {
            slot.signal.wait(HELD);
            pause.reset();
            continue;
        }
        let name = &slot.member.name;
        let error = match bring_up(shared, slot) {
            Ok((device, domain)) => {
                tracing::info!(device = %device.id(), name, "device in service");
                let device = Arc::new(device);
                slot.in_service(Arc::clone(&device), domain);
                shared.device_ready();
                let start = Instant::now();
                match keep(shared, slot, &device) {
                    End::Idle => {
                        drop(device);
                        slot.drained();
                        tracing::info!(name, "device drained");
                        continue;
                    }
                    End::Failed(error) => {
                        slot.out_of_service(Service::Recovering, &error);
                        if start.elapsed() > STABLE {
                            pause.reset();
                        }
                        error
                    }
                }
            }
            Err(error) => {
                slot.out_of_service(state_after(&error), &error);
                error
            }
        };
        if is_over() {
            break;
        }
        if error.is_misconduct() {
            let reason = error.to_string();
            slot.quarantine(&reason);
            tracing::error!(name, reason, "device quarantined");
            shared.sink.quarantined(name, &reason);
            continue;
        }
        tracing::warn!(name, %error, "device out of service");
        pause.wait(shared, slot);
    }
    slot.close();
}

/// Why a device is kept in service no longer.
enum End {
    /// It has failed.
    Failed(CallError),
    /// It was to take no more calls, and has none left.
    Idle,
}

fn state_after(error: &CallError) -> Service {
    match error {
        CallError::NotOperational(state) => Service::NotProvisioned(*state),
        CallError::LinkDown { .. } | CallError::DeadlineExceeded { .. } => Service::Unreachable,
        _ => Service::Resting,
    }
}

/// Connects, authenticates, checks state and domain, and catches up on the audit chain.
fn bring_up(shared: &Shared, slot: &Slot) -> Result<(Device, DomainSummary), CallError> {
    let (options, chain) = (shared.options.device, slot.chain.clone());
    let (connector, signal) = (slot.member.connector.as_ref(), Arc::clone(&slot.signal));
    let device = Device::open_with(connector, slot.expected(), options, chain, signal)?;
    slot.introduced(&device)?;
    check_module(slot, &device)?;
    let domain = open_session(shared, &device)?;
    if slot.must_test() {
        let reply = device.call_blocking(&SelfTest, AuditTag::default())?;
        if let (Some(receipt), Some(chain)) = (reply.receipt, slot.chain.lock().as_mut()) {
            chain.keep_orphan(receipt);
        }
    }
    Ok((device, domain))
}

/// Opens a session and checks what must hold before calls are let in.
fn open_session(shared: &Shared, device: &Device) -> Result<DomainSummary, CallError> {
    let session = device.authenticate(&shared.key)?;
    if session.role == Role::Bootstrap || session.state != ModuleState::Operational {
        return Err(CallError::NotOperational(session.state));
    }
    let found = domain_of(device)?.domain;
    let belongs = |expected: DomainId| match expected == found {
        true => Ok(()),
        false => Err(CallError::WrongDomain { expected, found }),
    };
    shared.domain.get().copied().map_or(Ok(()), belongs)?;
    // Before it decides what the pool's domain is.
    let admitted = shared.sink.admit(&device.id(), &found);
    admitted.map_err(|reason| CallError::NotAdmitted(reason.into()))?;
    belongs(*shared.domain.get_or_init(|| found))?;
    let known = boot(device);
    device.synchronise_audit(shared.sink.as_ref())?;
    if boot(device) != known {
        report_failure(device)?;
    }
    // What this changes is audited, so the chain is followed already.
    let others: Vec<_> = shared.slots().iter().filter_map(|slot| slot.device()).collect();
    let others: Vec<&Device> =
        others.iter().map(Arc::as_ref).filter(|other| other.id() != device.id()).collect();
    let followed = shared.sink.follow(device, &others);
    followed.map_err(|reason| CallError::NotAdmitted(reason.into()))?;
    domain_with_keys(device)
}

/// The number of the boot whose chain is followed.
fn boot(device: &Device) -> Option<u64> {
    device.chain().lock().as_ref().map(|chain| chain.tip().epoch)
}

/// Logs why a device that has started ended before, if that was a failure.
fn report_failure(device: &Device) -> Result<(), CallError> {
    let Some(last) = device.last_reset()? else { return Ok(()) };
    if last.reason.is_failure() {
        let (device, reason, failures) = (device.id(), last.reason, last.failures);
        tracing::error!(%device, %reason, failures, "the device had failed and has started again");
    }
    Ok(())
}

fn domain_of(device: &Device) -> Result<DomainSummary, CallError> {
    let reply = device.call_blocking(&DomainInfo, AuditTag::default())?;
    reply.response()?.domain.ok_or(CallError::NotOperational(ModuleState::Uninitialised))
}

/// The domain of a device that has its keys: without them it is of no use.
fn domain_with_keys(device: &Device) -> Result<DomainSummary, CallError> {
    let domain = domain_of(device)?;
    match domain.has_keys {
        true => Ok(domain),
        false => Err(CallError::KeysMissing),
    }
}

/// Watches a device until it is of no more use.
fn keep(shared: &Shared, slot: &Slot, device: &Device) -> End {
    let mut next_probe = Instant::now() + shared.options.probe_interval;
    let mut renewals = 0;
    loop {
        let left = next_probe.saturating_duration_since(Instant::now());
        let is_held = slot.hold().is_some() || slot.is_removed();
        slot.signal.wait(if is_held { left.min(DRAINING) } else { left });
        if shared.is_closed() {
            return End::Failed(CallError::ShutDown);
        }
        if let Some(finding) = slot.take_finding() {
            return End::Failed(finding);
        }
        let is_idle = slot.counters.in_flight() == 0;
        if is_idle && (slot.hold().is_some() || slot.is_removed()) {
            // What it has done is to be on record before its line is free for others.
            return match look_after(shared, slot, device, false) {
                Ok(()) => End::Idle,
                Err(error) => End::Failed(error),
            };
        }
        let probe = Instant::now() >= next_probe || slot.take_suspicion();
        if probe {
            next_probe = Instant::now() + shared.options.probe_interval;
            renewals = 0;
        }
        let outcome = match device.is_ready() {
            true => look_after(shared, slot, device, probe),
            false => renew(shared, device, &mut renewals),
        };
        match outcome {
            // The device is busy; what it has to answer will show whether it is worse.
            Ok(()) | Err(CallError::DeadlineExceeded { .. } | CallError::Overloaded) => {}
            Err(CallError::SessionLost { .. } | CallError::AnswerLost) => slot.signal.raise(),
            Err(error) => return End::Failed(error),
        }
    }
}

/// Opens a new session on the same line.
fn renew(shared: &Shared, device: &Device, renewals: &mut u32) -> Result<(), CallError> {
    if let Some(reason) = device.link().down() {
        return Err(CallError::LinkDown { reason, sent: false });
    }
    *renewals += 1;
    if *renewals > MAX_RENEWALS {
        let reason = "it loses sessions as soon as they are open; check the line".into();
        return Err(CallError::LinkDown { reason, sent: false });
    }
    open_session(shared, device)?;
    shared.device_ready();
    Ok(())
}

fn look_after(shared: &Shared, slot: &Slot, device: &Device, probe: bool) -> Result<(), CallError> {
    if slot.take_full() {
        // Entries that no receipt has shown.
        audit::synchronise(device, shared.sink.as_ref())?;
        shared.device_ready();
    } else if device.chain().has_news() {
        audit::catch_up(device, shared.sink.as_ref())?;
    }
    if probe {
        check_module(slot, device)?;
        // Another host may have changed it.
        slot.set_domain(domain_with_keys(device)?);
    }
    Ok(())
}

/// Asks for the module's state; not authenticated, so it can only take a device out.
fn check_module(slot: &Slot, device: &Device) -> Result<(), CallError> {
    let module = device.status()?;
    let state = module.state;
    slot.set_module(module)?;
    match state {
        ModuleState::Operational => Ok(()),
        state => Err(CallError::NotOperational(state)),
    }
}

/// The pause before the next attempt: grows by half at random to twice, up to a limit.
struct Pause {
    shortest: Duration,
    longest: Duration,
    next: Duration,
}

impl Pause {
    fn new(shared: &Shared) -> Self {
        let (shortest, longest) = (shared.options.shortest_pause, shared.options.longest_pause);
        Self { shortest, longest, next: Duration::ZERO }
    }

    /// The next failure is the first of a series: tried again at once.
    fn reset(&mut self) {
        self.next = Duration::ZERO;
    }

    fn wait(&mut self, shared: &Shared, slot: &Slot) {
        let until = Instant::now() + self.next;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() || shared.is_closed() || slot.hold().is_some() || slot.is_removed() {
                break;
            }
            slot.signal.wait(left); // may be raised by the line that just ended
        }
        // Random, so that devices that failed together do not come back in step.
        let random = getrandom::u32().unwrap_or_default() % 256;
        let grown = self.next + self.next * (128 + random / 2) / 256;
        self.next = grown.clamp(self.shortest, self.longest);
    }
}
