//! A device of the pool: its connection and its health.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use hsm_protocol::command::domain::DomainSummary;
use hsm_protocol::command::system::ModuleStatus;
use hsm_protocol::key_spec::KeySpec;
use hsm_protocol::{DeviceId, Opcode};

use super::{Held, Member, Needs};
use crate::device::{Device, DeviceInfo};
use crate::error::CallError;
use crate::health::{Counters, DeviceHealth, Service};
use crate::session::SharedChain;
use crate::wait::Signal;

pub(super) struct Slot {
    /// Tells it from every other one that the pool has or had.
    pub(super) number: usize,
    pub(super) member: Member,
    pub(super) counters: Counters,
    /// Raised when the line or the session is lost, and at shutdown.
    pub(super) signal: Arc<Signal>,
    pub(super) chain: SharedChain,
    /// Raised when the device has no room for entries: others have caused them.
    is_full: AtomicBool,
    /// Raised when a call makes the device look as if something in it has failed.
    is_suspect: AtomicBool,
    /// Whether the pool has it no more.
    is_removed: AtomicBool,
    state: Mutex<State>,
}

/// Why a device takes no calls although it could.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Hold {
    /// A person has said so.
    Drain,
    /// It has done what no device in order does.
    Quarantine(Arc<str>),
}

struct State {
    /// Set while the device takes calls.
    device: Option<Arc<Device>>,
    service: Service,
    since: SystemTime,
    /// When it last went out of service; before its first time, when the pool was started.
    out_since: Instant,
    id: Option<DeviceId>,
    info: Option<DeviceInfo>,
    domain: Option<DomainSummary>,
    module: Option<ModuleStatus>,
    last_error: Option<String>,
    hold: Option<Hold>,
    /// Whether it may have become another firmware, because a person said so.
    takes_changes: bool,
    /// Whether it has to test itself before it takes calls, because it was quarantined.
    must_test: bool,
    /// When answers broke the protocol.
    nonsense: Vec<Instant>,
    /// What a call has found that only the device can have done.
    finding: Option<CallError>,
}

/// Answers that break the protocol within [`MINUTE`] for which a device is quarantined.
const NONSENSE: usize = 3;
const MINUTE: Duration = Duration::from_secs(60);

/// Whether a device is the one for a call.
pub(super) enum Candidate {
    /// Takes calls and supports the key spec.
    Ready(Arc<Device>),
    /// May do so later.
    NotNow,
    /// Cannot take the call.
    Incapable(Lack),
}

/// What a device lacks for a call.
#[derive(Clone, Copy)]
pub(super) enum Lack {
    /// This key spec.
    Spec(KeySpec),
    /// Room for a request of that length: its frames have this many bytes at most.
    Room(u32),
}

impl Lack {
    /// Whether a device that lacks this is nearer to being the one than a device that lacks `other`: it has the
    /// specs, or it has the specs and more room.
    pub(super) const fn is_less_than(self, other: Self) -> bool {
        match (self, other) {
            (Self::Room(room), Self::Room(other)) => room > other,
            (Self::Room(_), Self::Spec(_)) => true,
            (Self::Spec(_), _) => false,
        }
    }
}

impl Slot {
    pub(super) fn new(number: usize, member: Member) -> Self {
        let hold = member.held.clone().map(|held| match held {
            Held::Drained => Hold::Drain,
            Held::Quarantined(reason) => Hold::Quarantine(reason),
        });
        Self {
            number,
            counters: Counters::default(),
            signal: Arc::new(Signal::default()),
            chain: SharedChain::default(),
            is_full: AtomicBool::new(false),
            is_suspect: AtomicBool::new(false),
            is_removed: AtomicBool::new(false),
            state: Mutex::new(State {
                device: None,
                service: match &hold {
                    None => Service::Starting,
                    Some(Hold::Drain) => Service::Drained,
                    Some(Hold::Quarantine(_)) => Service::Quarantined,
                },
                since: SystemTime::now(),
                out_since: Instant::now(),
                id: member.expected,
                info: None,
                domain: None,
                module: None,
                last_error: None,
                hold,
                takes_changes: false,
                must_test: false,
                nonsense: Vec::new(),
                finding: None,
            }),
            member,
        }
    }

    /// Whether it is one for a call that needs these specs, in frames of `size` encoded bytes.
    pub(super) fn candidate(&self, needs: Needs, size: usize) -> Candidate {
        let state = self.lock();
        let lack = |info: &DeviceInfo| match needs.lacking(&info.specs) {
            Some(spec) => Some(Lack::Spec(spec)),
            None => (size > info.rx_bytes as usize).then_some(Lack::Room(info.rx_bytes)),
        };
        if let Some(lack) = state.info.as_ref().and_then(lack) {
            return Candidate::Incapable(lack);
        }
        match &state.device {
            Some(device) if state.hold.is_none() && device.is_ready() => {
                Candidate::Ready(Arc::clone(device))
            }
            _ => Candidate::NotNow,
        }
    }

    /// The device, if it is in service.
    pub(super) fn device(&self) -> Option<Arc<Device>> {
        let state = self.lock();
        let device = state.device.clone().filter(|_| state.hold.is_none());
        device.filter(|device| device.is_ready())
    }

    /// Whether it has been out of service for so long.
    pub(super) fn is_out_for(&self, time: Duration) -> bool {
        let state = self.lock();
        state.device.is_none() && state.out_since.elapsed() >= time
    }

    /// The device that must answer here: the configured one, or the one that first did.
    pub(super) fn expected(&self) -> Option<DeviceId> {
        self.lock().id
    }

    /// Notes what a device says of itself, if it is what it was.
    ///
    /// # Errors
    /// [`CallError::Changed`].
    pub(super) fn introduced(&self, device: &Device) -> Result<(), CallError> {
        let mut state = self.lock();
        let now = device.info();
        if let Some(before) = state.info.as_ref().filter(|_| !state.takes_changes) {
            ensure_same("board", &before.board, &now.board)?;
            ensure_same("firmware", &before.firmware, &now.firmware)?;
        }
        state.id = Some(device.id());
        state.info = Some(now.clone());
        Ok(())
    }

    pub(super) fn in_service(&self, device: Arc<Device>, domain: DomainSummary) {
        let mut state = self.lock();
        state.enter(Service::InService);
        (state.takes_changes, state.must_test) = (false, false);
        state.device = Some(device);
        state.domain = Some(domain);
        self.counters.connects.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn out_of_service(&self, service: Service, error: &CallError) {
        let mut state = self.lock();
        state.enter(service);
        if state.device.take().is_some() {
            state.out_since = Instant::now();
        }
        state.last_error = Some(error.to_string());
        if state.hold == Some(Hold::Drain) {
            state.enter(Service::Drained);
        }
    }

    pub(super) fn set_domain(&self, domain: DomainSummary) {
        self.lock().domain = Some(domain);
    }

    /// Notes the module's state, if its firmware is what it was.
    ///
    /// # Errors
    /// [`CallError::Changed`].
    pub(super) fn set_module(&self, module: ModuleStatus) -> Result<(), CallError> {
        let mut state = self.lock();
        let before = state.module.as_ref().and_then(|before| before.measurement);
        if let (Some(before), Some(now)) = (before, module.measurement)
            && !state.takes_changes
        {
            ensure_same("measurement", &hex(&before.0), &hex(&now.0))?;
        }
        state.module = Some(module);
        Ok(())
    }

    /// Notes an answer that could not be understood.
    pub(super) fn heard_nonsense(&self, opcode: Opcode) {
        let mut state = self.lock();
        let now = Instant::now();
        state.nonsense.retain(|heard| now.saturating_duration_since(*heard) < MINUTE);
        state.nonsense.push(now);
        let count = state.nonsense.len();
        if count >= NONSENSE {
            state.nonsense.clear();
            state.finding = Some(CallError::Nonsense { count, opcode });
            drop(state);
            self.signal.raise();
        }
    }

    /// Notes what no device in order does.
    pub(super) fn found(&self, finding: CallError) {
        self.lock().finding = Some(finding);
        self.signal.raise();
    }

    /// Takes what calls have found.
    pub(super) fn take_finding(&self) -> Option<CallError> {
        self.lock().finding.take()
    }

    /// The device is to be asked for its state now.
    pub(super) fn suspect(&self) {
        self.is_suspect.store(true, Ordering::SeqCst);
        self.signal.raise();
    }

    /// Whether that was said since the last time.
    pub(super) fn take_suspicion(&self) -> bool {
        self.is_suspect.swap(false, Ordering::SeqCst)
    }

    /// Why it takes no calls, if something keeps it.
    pub(super) fn hold(&self) -> Option<Hold> {
        self.lock().hold.clone()
    }

    /// No call is given to it any more. Returns whether it was given any before.
    pub(super) fn drain(&self) -> bool {
        let mut state = self.lock();
        let is_new = state.hold.is_none();
        if is_new {
            state.hold = Some(Hold::Drain);
            let service = if state.device.is_some() { Service::Draining } else { Service::Drained };
            state.enter(service);
        }
        drop(state);
        self.signal.raise();
        is_new
    }

    /// Nothing keeps it any more, and it may have become another firmware meanwhile.
    pub(super) fn release(&self) -> Option<Hold> {
        let mut state = self.lock();
        let hold = state.hold.take();
        if hold.is_some() {
            state.takes_changes = true;
            state.must_test |= matches!(hold, Some(Hold::Quarantine(_)));
            state.finding = None;
            state.last_error = None;
            let service =
                if state.device.is_some() { Service::InService } else { Service::Starting };
            state.enter(service);
        }
        drop(state);
        self.signal.raise();
        hold
    }

    /// Keeps it as it was kept before.
    pub(super) fn hold_again(&self, hold: Hold) {
        let mut state = self.lock();
        state.enter(match &hold {
            Hold::Drain => Service::Drained,
            Hold::Quarantine(_) => Service::Quarantined,
        });
        state.hold = Some(hold);
        drop(state);
        self.signal.raise();
    }

    /// Takes it out for what it has done.
    pub(super) fn quarantine(&self, reason: &str) {
        let mut state = self.lock();
        state.hold = Some(Hold::Quarantine(reason.into()));
        state.device = None;
        state.out_since = Instant::now();
        state.last_error = Some(reason.to_owned());
        state.enter(Service::Quarantined);
    }

    /// It has nothing to do any more, and its line is closed.
    pub(super) fn drained(&self) {
        let mut state = self.lock();
        if state.device.take().is_some() {
            state.out_since = Instant::now();
        }
        if state.hold == Some(Hold::Drain) {
            state.enter(Service::Drained);
        }
    }

    pub(super) fn must_test(&self) -> bool {
        self.lock().must_test
    }

    /// The pool has it no more.
    pub(super) fn remove(&self) {
        self.is_removed.store(true, Ordering::SeqCst);
        self.signal.raise();
    }

    pub(super) fn is_removed(&self) -> bool {
        self.is_removed.load(Ordering::SeqCst)
    }

    /// The device takes no commands until its entries are fetched.
    pub(super) fn say_full(&self) {
        self.is_full.store(true, Ordering::SeqCst);
        self.signal.raise();
    }

    /// Whether that was said since the last time.
    pub(super) fn take_full(&self) -> bool {
        self.is_full.swap(false, Ordering::SeqCst)
    }

    /// Takes the device out of service and closes its line.
    pub(super) fn close(&self) {
        if let Some(device) = self.lock().device.take() {
            device.link().close("the pool is shutting down");
        }
    }

    /// Name, state and latest error, for an error message.
    pub(super) fn complaint(&self) -> String {
        let state = self.lock();
        let error = state.last_error.as_deref().unwrap_or("no error yet");
        format!("{} is {}: {error}", self.member.name, state.service)
    }

    pub(super) fn name(&self) -> &str {
        &self.member.name
    }

    pub(super) fn health(&self) -> DeviceHealth {
        let state = self.lock();
        let mut health = DeviceHealth {
            name: self.member.name.clone(),
            device: state.id,
            service: state.service,
            since: state.since,
            info: state.info.clone(),
            domain: state.domain,
            module: state.module.clone(),
            in_flight: 0,
            answered: 0,
            failed: 0,
            hedged: 0,
            connects: 0,
            latency: Duration::ZERO,
            quantiles: Default::default(),
            misconduct: match &state.hold {
                Some(Hold::Quarantine(reason)) => Some(Arc::clone(reason)),
                _ => None,
            },
            last_error: state.last_error.clone(),
        };
        drop(state);
        self.counters.write_to(&mut health);
        health
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // The state is whole between any two statements, so a panic elsewhere spoils nothing.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn ensure_same(what: &'static str, before: &str, now: &str) -> Result<(), CallError> {
    match before == now {
        true => Ok(()),
        false => Err(CallError::Changed { what, before: before.into(), now: now.into() }),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl State {
    fn enter(&mut self, service: Service) {
        if self.service != service {
            self.service = service;
            self.since = SystemTime::now();
        }
    }
}
