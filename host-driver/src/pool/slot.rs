//! A device of the pool: its connection and its health.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use hsm_protocol::DeviceId;
use hsm_protocol::command::domain::DomainSummary;
use hsm_protocol::command::system::ModuleStatus;
use hsm_protocol::key_spec::KeySpec;

use super::{Member, Needs};
use crate::device::{Device, DeviceInfo};
use crate::error::CallError;
use crate::health::{Counters, DeviceHealth, Service};
use crate::session::SharedChain;
use crate::wait::Signal;

pub(super) struct Slot {
    pub(super) member: Member,
    pub(super) counters: Counters,
    /// Raised when the line or the session is lost, and at shutdown.
    pub(super) signal: Arc<Signal>,
    pub(super) chain: SharedChain,
    /// Raised when the device has no room for entries: others have caused them.
    is_full: AtomicBool,
    state: Mutex<State>,
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
}

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
    /// Room for a request of that length.
    Room,
}

impl Slot {
    pub(super) fn new(member: Member) -> Self {
        Self {
            counters: Counters::default(),
            signal: Arc::new(Signal::default()),
            chain: SharedChain::default(),
            is_full: AtomicBool::new(false),
            state: Mutex::new(State {
                device: None,
                service: Service::Starting,
                since: SystemTime::now(),
                out_since: Instant::now(),
                id: member.expected,
                info: None,
                domain: None,
                module: None,
                last_error: None,
            }),
            member,
        }
    }

    /// Whether it is one for a call that needs these specs, in frames of `size` encoded bytes.
    pub(super) fn candidate(&self, needs: Needs, size: usize) -> Candidate {
        let state = self.lock();
        let lack = |info: &DeviceInfo| match needs.lacking(&info.specs) {
            Some(spec) => Some(Lack::Spec(spec)),
            None => (size > info.rx_bytes as usize).then_some(Lack::Room),
        };
        if let Some(lack) = state.info.as_ref().and_then(lack) {
            return Candidate::Incapable(lack);
        }
        match &state.device {
            Some(device) if device.is_ready() => Candidate::Ready(Arc::clone(device)),
            _ => Candidate::NotNow,
        }
    }

    /// The device, if it is in service.
    pub(super) fn device(&self) -> Option<Arc<Device>> {
        self.lock().device.clone().filter(|device| device.is_ready())
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

    pub(super) fn introduced(&self, device: &Device) {
        let mut state = self.lock();
        state.id = Some(device.id());
        state.info = Some(device.info().clone());
    }

    pub(super) fn in_service(&self, device: Arc<Device>, domain: DomainSummary) {
        let mut state = self.lock();
        state.enter(Service::InService);
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
    }

    pub(super) fn set_domain(&self, domain: DomainSummary) {
        self.lock().domain = Some(domain);
    }

    pub(super) fn set_module(&self, module: ModuleStatus) {
        self.lock().module = Some(module);
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
            connects: 0,
            latency: Duration::ZERO,
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

impl State {
    fn enter(&mut self, service: Service) {
        if self.service != service {
            self.service = service;
            self.since = SystemTime::now();
        }
    }
}
