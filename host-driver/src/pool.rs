//! A pool of devices of one domain.
//!
//! Any device can serve any call, because a key comes with the call as a token. A call goes to the
//! device in service that supports the key spec and where it should wait least, by what each device was
//! measured to take. If a device fails, calls that may be repeated go to another one; if it is slow, they are
//! sent to an idle one as well. If all have too much to do, calls are turned away at once. If no device is in service, calls wait until their
//! deadline, or for only a second if there has been none for longer. Each device has a thread that
//! connects it, probes it, and lets it rest for growing pauses while it fails. One that does what no device
//! in order does is quarantined until a person resumes it.

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use hsm_protocol::key_spec::KeySpec;
use hsm_protocol::{AuditTag, Command, DeviceId, DomainId, ErrorCode, Opcode};

use crate::audit::AuditSink;
use crate::caller::Caller;
use crate::device::{self, Device};
use crate::error::CallError;
use crate::health::DeviceHealth;
use crate::host_key::HostKey;
use crate::link::Term;
use crate::load::Class;
use crate::request::{Reply, Request};
use crate::transport::Connector;
use crate::wait::block_on;

use second::Spare;
use slot::{Candidate, Lack, Slot};
use stock::Stock;
use tries::{Tries, may_repeat};
use waiting::WaitingRoom;

mod keeper;
mod members;
mod second;
mod slot;
mod stock;
mod tries;
mod waiting;

pub use members::MemberError;
pub use stock::{StockLevel, StockTargets};

/// How long a call waits for a device if there has been none for long.
const OUTAGE: Duration = Duration::from_secs(1);

/// A device to be in the pool.
pub struct Member {
    /// Name for logs, metrics and error messages.
    pub name: String,
    /// Opens lines to it.
    pub connector: Arc<dyn Connector>,
    /// The device that must answer; `None` to pin the first that does, for the pool's life.
    pub expected: Option<DeviceId>,
    /// Why it is to take no calls until a person resumes it, if it is not.
    pub held: Option<Held>,
}

/// Why a device takes no calls until a person says otherwise.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Held {
    /// A person has drained it.
    Drained,
    /// It was quarantined, for this reason.
    Quarantined(Arc<str>),
}

/// How the pool works.
#[derive(Clone, Copy, Debug)]
pub struct PoolOptions {
    /// How devices are talked to.
    pub device: device::Options,
    /// How often a device in service is asked for its status.
    pub probe_interval: Duration,
    /// Pause after the second failure in a row; the first is followed by an attempt at once.
    pub shortest_pause: Duration,
    /// Longest pause between attempts.
    pub longest_pause: Duration,
    /// The domain of the pool; `None` to take the one of the first device in service.
    pub domain: Option<DomainId>,
    /// Key pairs of slow specs to keep in stock.
    pub stock: StockTargets,
    /// Of a hundred calls that may be repeated, how many may be sent to an idle device as well because the one
    /// that has them is slower than it mostly is; 0 for none.
    pub hedges: u8,
}

impl Default for PoolOptions {
    fn default() -> Self {
        Self {
            device: device::Options::default(),
            probe_interval: Duration::from_secs(5),
            shortest_pause: Duration::from_millis(50),
            longest_pause: Duration::from_secs(10),
            domain: None,
            stock: StockTargets::default(),
            hedges: 5,
        }
    }
}

/// Key specs that a device must support for a call.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Needs([Option<KeySpec>; 2]);

impl Needs {
    /// This spec besides the first one.
    #[must_use]
    pub const fn and(self, spec: KeySpec) -> Self {
        Self([self.0[0], Some(spec)])
    }

    /// The first of them.
    pub(crate) const fn first(self) -> Option<KeySpec> {
        self.0[0]
    }

    /// The first of them that a device with these specs lacks.
    pub(crate) fn lacking(self, specs: &[KeySpec]) -> Option<KeySpec> {
        self.0.into_iter().flatten().find(|spec| !specs.contains(spec))
    }
}

impl From<KeySpec> for Needs {
    fn from(spec: KeySpec) -> Self {
        Some(spec).into()
    }
}

impl From<Option<KeySpec>> for Needs {
    fn from(spec: Option<KeySpec>) -> Self {
        Self([spec, None])
    }
}

/// What a call needs.
#[derive(Clone, Debug, Default)]
pub struct Route {
    /// The key specs that the device must support.
    pub needs: Needs,
    /// The only device that may take the call: one that holds what the call is about, such as operators'
    /// approval. `None` for any.
    pub device: Option<DeviceId>,
    /// When the call must have ended; `None` for the pool's own limit.
    pub deadline: Option<Instant>,
    /// On whose behalf it is made.
    pub caller: Caller,
}

/// A pool of devices. Dropping it ends its calls and closes its lines.
pub struct Pool {
    shared: Arc<Shared>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

/// A member of the pool, and its device, which is in service.
type Found = (Arc<Slot>, Arc<Device>);

struct Shared {
    slots: RwLock<Arc<Vec<Arc<Slot>>>>,
    /// Devices that the pool had so far.
    numbered: AtomicUsize,
    /// Where the search for the least busy device starts.
    next: AtomicUsize,
    waiting: Arc<WaitingRoom>,
    stock: Stock,
    spare: Spare,
    key: HostKey,
    sink: Arc<dyn AuditSink>,
    domain: OnceLock<DomainId>,
    options: PoolOptions,
}

impl Pool {
    /// Starts bringing devices into service and returns at once. `key` must be enrolled in them
    /// as a crypto user; `sink` takes audit entries that no call returns.
    ///
    /// # Errors
    /// If the operating system gives no threads.
    pub fn start(
        members: Vec<Member>,
        key: HostKey,
        sink: Arc<dyn AuditSink>,
        options: PoolOptions,
    ) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            slots: RwLock::default(),
            numbered: AtomicUsize::new(0),
            next: AtomicUsize::new(0),
            waiting: WaitingRoom::open()?,
            stock: Stock::new(options.stock),
            spare: Spare::new(options.hedges),
            key,
            sink,
            domain: options.domain.map(OnceLock::from).unwrap_or_default(),
            options,
        });
        let pool = Self { shared, threads: Mutex::default() };
        for member in members {
            pool.take_in(member)?;
        }
        let stock = stock::start(Arc::clone(&pool.shared))?;
        pool.threads().push(stock);
        Ok(pool)
    }

    /// Calls a device. `tag` goes into the device's audit chain if the command is audited.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn call<C: Command>(
        &self,
        command: &C,
        tag: AuditTag,
    ) -> Result<Reply<C>, CallError> {
        self.call_with(command, tag, Route::default()).await
    }

    /// Calls a device that fits `route`.
    ///
    /// # Errors
    /// [`CallError`], [`CallError::NoCapableDevice`] if none supports the specs, [`CallError::NoRoom`] if
    /// those that do take no request of that length.
    pub async fn call_with<C: Command>(
        &self,
        command: &C,
        tag: AuditTag,
        route: Route,
    ) -> Result<Reply<C>, CallError> {
        let shared = &*self.shared;
        let request = Arc::new(Request::encode(command, tag)?);
        let size = request.frame_size();
        let limit = || Instant::now() + shared.options.device.deadline;
        let deadline = route.deadline.unwrap_or_else(limit);
        let begin = Instant::now();
        let mut tries = Tries::new(shared);
        loop {
            if route.caller.gone.is_raised() {
                return Err(CallError::CallerGone);
            }
            match shared.pick(&route, size, &tries.asked)? {
                Some(found) => {
                    let call = second::Call::<C>::new(&request, &route, size, deadline);
                    match Box::pin(shared.ask(&call, found)).await {
                        (slot, Err(error)) if may_repeat::<C>(&error) => tries.failed(slot, error),
                        (_, outcome) => return outcome,
                    }
                }
                None => {
                    // A refusal is an answer; only a device that was not asked might differ.
                    let deadline = shared.shortened(deadline, begin);
                    if Instant::now() >= deadline || tries.was_refused() || tries.was_overloaded() {
                        return Err(tries.into_error());
                    }
                    tries.wait(&route, size, deadline).await?;
                }
            }
        }
    }

    /// As [`Pool::call`], on this thread.
    ///
    /// # Errors
    /// [`CallError`].
    pub fn call_blocking<C: Command>(
        &self,
        command: &C,
        tag: AuditTag,
    ) -> Result<Reply<C>, CallError> {
        block_on(self.call(command, tag))
    }
}

impl Pool {
    /// Waits until a device is in service.
    ///
    /// # Errors
    /// [`CallError::Unavailable`] with what is wrong with each device, once `deadline` has
    /// passed.
    pub async fn ready(&self, deadline: Instant) -> Result<(), CallError> {
        let mut tries = Tries::new(&self.shared);
        let any = Route::default();
        while self.shared.pick(&any, 0, &[])?.is_none() {
            if Instant::now() >= deadline {
                return Err(tries.into_error());
            }
            tries.wait(&any, 0, deadline).await?;
        }
        Ok(())
    }

    /// The boot that a device of the pool is in; `None` if it is not in service.
    #[must_use]
    pub fn boot_of(&self, device: DeviceId) -> Option<u64> {
        let slots = self.shared.slots();
        let slot =
            slots.iter().find(|slot| slot.device().is_some_and(|found| found.id() == device))?;
        let chain = slot.chain.lock();
        chain.as_ref().map(|chain| chain.tip().epoch)
    }

    /// What each device is doing, in the order of the members.
    #[must_use]
    pub fn health(&self) -> Vec<DeviceHealth> {
        self.shared.slots().iter().map(|slot| slot.health()).collect()
    }

    /// The devices in service now, for what is asked of each one. Keep them only for the call: a
    /// device that is held does not close its line.
    #[must_use]
    pub fn devices(&self) -> Vec<Arc<Device>> {
        self.shared.slots().iter().filter_map(|slot| slot.device()).collect()
    }

    /// Whether every device in service has something to do. What can wait then leaves the devices to others.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        let slots = self.shared.slots();
        let mut devices = slots.iter().filter(|slot| slot.device().is_some()).peekable();
        devices.peek().is_some() && devices.all(|slot| slot.counters.in_flight() > 0)
    }

    /// The domain of the pool; `None` until a device has been in service.
    #[must_use]
    pub fn domain(&self) -> Option<DomainId> {
        self.shared.domain.get().copied()
    }

    /// Ends calls, closes lines, and waits for the pool's threads: until a connection attempt
    /// that is under way gives up, at most.
    pub fn shut_down(self) {
        self.shared.close();
        let threads = std::mem::take(&mut *self.threads());
        for thread in threads {
            // A thread that panicked has said so on standard error.
            let _ = thread.join();
        }
    }
}

impl Pool {
    /// How long a call may take, if its route does not say.
    #[must_use]
    pub fn limit(&self) -> Duration {
        self.shared.options.device.deadline
    }

    fn threads(&self) -> std::sync::MutexGuard<'_, Vec<JoinHandle<()>>> {
        // The list is whole between any two statements.
        self.threads.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.close();
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pool({} devices)", self.shared.slots().len())
    }
}

impl Shared {
    /// The devices, as they are now.
    fn slots(&self) -> Arc<Vec<Arc<Slot>>> {
        Arc::clone(&self.slots.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The device that fits `route`, takes frames of `size` bytes and is not among `asked`, where a call should
    /// wait least.
    fn pick(
        &self,
        route: &Route,
        size: usize,
        asked: &[usize],
    ) -> Result<Option<Found>, CallError> {
        let Route { needs, device: only, .. } = *route;
        if self.is_closed() {
            return Err(CallError::ShutDown);
        }
        let slots = self.slots();
        let count = slots.len();
        // What only matters is which device is faster at it.
        let class = Class::of(Opcode::Info, needs.first());
        // Devices that are about as good take turns, unless waking a second one costs more than it saves.
        let start = match slots.iter().all(|slot| slot.counters.meter.is_cheap(class)) {
            true => 0,
            false => self.next.fetch_add(1, Ordering::Relaxed),
        };
        let mut capable = false;
        // What the nearest of those that cannot take it lacks.
        let mut nearest: Option<(Lack, &Arc<Slot>)> = None;
        let mut best: Option<(u64, &Arc<Slot>, Arc<Device>)> = None;
        for offset in 0..count {
            let Some(slot) = slots.get(start.wrapping_add(offset) % count) else { continue };
            if only.is_some_and(|only| slot.expected() != Some(only)) {
                continue;
            }
            match slot.candidate(needs, size) {
                Candidate::Incapable(lack) => {
                    if nearest.is_none_or(|(other, _)| lack.is_less_than(other)) {
                        nearest = Some((lack, slot));
                    }
                }
                Candidate::NotNow => capable = true,
                Candidate::Ready(device) => {
                    capable = true;
                    let meter = &slot.counters.meter;
                    let expected = meter.expected(class);
                    let slack = meter.slack(class);
                    let better = best.as_ref().is_none_or(|(least, ..)| expected + slack < *least);
                    if better && !asked.contains(&slot.number) {
                        best = Some((expected, slot, device));
                    }
                }
            }
        }
        match nearest {
            // Of a device that is not in the pool nothing is known; it is waited for.
            Some((lack, slot)) if !capable && only.is_none() => Err(match lack {
                Lack::Spec(spec) => CallError::NoCapableDevice(spec),
                Lack::Room(room) => CallError::NoRoom { size, room, device: slot.name().into() },
            }),
            _ => Ok(best.map(|(_, slot, device)| (Arc::clone(slot), device))),
        }
    }

    /// Until when a call that came at `begin` waits for a device: not for long if there has been none
    /// for longer than calls wait, so that calls do not pile up.
    fn shortened(&self, deadline: Instant, begin: Instant) -> Instant {
        let long = self.options.device.deadline;
        match self.slots().iter().all(|slot| slot.is_out_for(long)) {
            true => deadline.min(begin + OUTAGE),
            false => deadline,
        }
    }

    async fn attempt<C: Command>(
        &self,
        call: &second::Call<'_, C>,
        slot: &Slot,
        device: &Device,
    ) -> Result<Reply<C>, CallError> {
        let meter = &slot.counters.meter;
        let class = call.class();
        let load = Some(meter.begin(class));
        let caller = call.route.caller.clone();
        let term = Term { deadline: call.deadline, caller, load };
        let start = Instant::now();
        let answer = device.send::<C>(Arc::clone(call.request), term).await;
        if let Ok(answer) = &answer {
            meter.answered(class, answer.worked, start.elapsed());
        }
        let reply = answer.and_then(Reply::from_answer);
        slot.counters.end(reply.as_ref().err(), start.elapsed());
        match &reply {
            Err(CallError::Refused { code: ErrorCode::AUDIT_FULL, .. }) => slot.say_full(),
            Err(CallError::BadAnswer(opcode)) => slot.heard_nonsense(*opcode),
            Err(error @ CallError::AuditChain(_)) => slot.found(error.clone()),
            Err(error) if error.is_failure() => slot.suspect(),
            _ => {}
        }
        reply
    }

    /// Hands the receipt of an attempt that no caller sees to the audit sink.
    fn forget(&self, slot: &Slot, error: CallError) {
        if let CallError::Refused { receipt: Some(receipt), .. } = error
            && let Some(chain) = slot.chain.lock().as_mut()
        {
            chain.keep_orphan(*receipt);
            slot.signal.raise();
        }
    }

    fn unavailable(&self) -> CallError {
        let slots = self.slots();
        let complaints: Vec<String> = slots.iter().map(|slot| slot.complaint()).collect();
        let reason = match complaints.as_slice() {
            [] => "the pool has none; configure one".to_owned(),
            complaints => complaints.join("; "),
        };
        CallError::Unavailable { reason: reason.into() }
    }

    /// A device has come into service: calls and searches that wait for one go on.
    fn device_ready(&self) {
        self.waiting.wake_all();
        self.stock.wake();
    }

    fn is_closed(&self) -> bool {
        self.waiting.is_closed()
    }

    fn close(&self) {
        self.waiting.close();
        self.stock.wake();
        for slot in &*self.slots() {
            slot.close();
            slot.signal.raise();
        }
    }
}

#[cfg(test)]
mod tests;
