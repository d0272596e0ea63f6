//! A pool of devices of one domain.
//!
//! Any device can serve any call, because a key comes with the call as a token. A call goes to the
//! device in service that supports the key spec and has the fewest calls under way. If a device fails,
//! calls that may be repeated go to another one. If no device is in service, calls wait until their
//! deadline, or for only a second if there has been none for longer. Each device has a thread that
//! connects it, probes it, and quarantines it for growing pauses while it fails.

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use hsm_protocol::key_spec::KeySpec;
use hsm_protocol::{AuditTag, Command, DeviceId, DomainId, ErrorCode};

use crate::audit::AuditSink;
use crate::device::{self, Device};
use crate::error::CallError;
use crate::health::DeviceHealth;
use crate::host_key::HostKey;
use crate::request::{Reply, Request};
use crate::transport::Connector;
use crate::wait::block_on;

use slot::{Candidate, Lack, Slot};
use stock::Stock;
use tries::{Tries, may_repeat};
use waiting::WaitingRoom;

mod keeper;
mod slot;
mod stock;
mod tries;
mod waiting;

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
#[derive(Clone, Copy, Debug, Default)]
pub struct Route {
    /// The key specs that the device must support.
    pub needs: Needs,
    /// The only device that may take the call: one that holds what the call is about, such as operators'
    /// approval. `None` for any.
    pub device: Option<DeviceId>,
    /// When the call must have ended; `None` for the pool's own limit.
    pub deadline: Option<Instant>,
}

/// A pool of devices. Dropping it ends its calls and closes its lines.
pub struct Pool {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

struct Shared {
    slots: Vec<Arc<Slot>>,
    /// Where the search for the least busy device starts.
    next: AtomicUsize,
    waiting: Arc<WaitingRoom>,
    stock: Stock,
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
            slots: members.into_iter().map(Slot::new).map(Arc::new).collect(),
            next: AtomicUsize::new(0),
            waiting: WaitingRoom::open()?,
            stock: Stock::new(options.stock),
            key,
            sink,
            domain: options.domain.map(OnceLock::from).unwrap_or_default(),
            options,
        });
        let keep = |slot: &Arc<Slot>| {
            let (shared, slot) = (Arc::clone(&shared), Arc::clone(slot));
            thread::Builder::new()
                .name("hsm-keeper".to_owned())
                .spawn(move || keeper::run(&shared, &slot))
        };
        let mut threads = shared.slots.iter().map(keep).collect::<io::Result<Vec<_>>>()?;
        threads.push(stock::start(Arc::clone(&shared))?);
        Ok(Self { shared, threads })
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
    /// [`CallError`], [`CallError::NoCapableDevice`] if none supports the specs, [`CallError::TooLarge`] if
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
            match shared.pick(&route, size, &tries.asked)? {
                Some((index, device)) => {
                    match shared.attempt::<C>(index, &device, &request, deadline).await {
                        Err(error) if may_repeat::<C>(&error) => tries.failed(index, error),
                        outcome => return outcome,
                    }
                }
                None => {
                    // A refusal is an answer; only a device that was not asked might differ.
                    let deadline = shared.shortened(deadline, begin);
                    if Instant::now() >= deadline || tries.was_refused() {
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
        let mut slots = self.shared.slots.iter();
        let slot = slots.find(|slot| slot.device().is_some_and(|found| found.id() == device))?;
        let chain = slot.chain.lock();
        chain.as_ref().map(|chain| chain.tip().epoch)
    }

    /// What each device is doing, in the order of the members.
    #[must_use]
    pub fn health(&self) -> Vec<DeviceHealth> {
        self.shared.slots.iter().map(|slot| slot.health()).collect()
    }

    /// The devices in service now, for what is asked of each one. Keep them only for the call: a
    /// device that is held does not close its line.
    #[must_use]
    pub fn devices(&self) -> Vec<Arc<Device>> {
        self.shared.slots.iter().filter_map(|slot| slot.device()).collect()
    }

    /// The domain of the pool; `None` until a device has been in service.
    #[must_use]
    pub fn domain(&self) -> Option<DomainId> {
        self.shared.domain.get().copied()
    }

    /// Ends calls, closes lines, and waits for the pool's threads: until a connection attempt
    /// that is under way gives up, at most.
    pub fn shut_down(mut self) {
        self.shared.close();
        for thread in self.threads.drain(..) {
            // A thread that panicked has said so on standard error.
            let _ = thread.join();
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.close();
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pool({} devices)", self.shared.slots.len())
    }
}

impl Shared {
    /// The least busy device that fits `route`, takes frames of `size` bytes and is not among `asked`.
    fn pick(
        &self,
        route: &Route,
        size: usize,
        asked: &[usize],
    ) -> Result<Option<(usize, Arc<Device>)>, CallError> {
        let Route { needs, device: only, .. } = *route;
        if self.is_closed() {
            return Err(CallError::ShutDown);
        }
        let count = self.slots.len();
        let start = self.next.fetch_add(1, Ordering::Relaxed);
        let (mut capable, mut lacks) = (false, None);
        let mut best: Option<(usize, usize, Arc<Device>)> = None;
        for offset in 0..count {
            let index = start.wrapping_add(offset) % count;
            let Some(slot) = self.slots.get(index) else { continue };
            if only.is_some_and(|only| slot.expected() != Some(only)) {
                continue;
            }
            match slot.candidate(needs, size) {
                // What the nearest one lacks: a device with all specs is nearer than one without.
                Candidate::Incapable(Lack::Spec(_)) if lacks.is_some() => {}
                Candidate::Incapable(why) => lacks = Some(why),
                Candidate::NotNow => capable = true,
                Candidate::Ready(device) => {
                    capable = true;
                    let load = slot.counters.in_flight();
                    let better = best.as_ref().is_none_or(|(least, ..)| load < *least);
                    if better && !asked.contains(&index) {
                        best = Some((load, index, device));
                    }
                }
            }
        }
        match lacks {
            // Of a device that is not in the pool nothing is known; it is waited for.
            Some(why) if !capable && only.is_none() => Err(match why {
                Lack::Spec(spec) => CallError::NoCapableDevice(spec),
                Lack::Room => CallError::TooLarge,
            }),
            _ => Ok(best.map(|(_, index, device)| (index, device))),
        }
    }

    /// Until when a call that came at `begin` waits for a device: not for long if there has been none
    /// for longer than calls wait, so that calls do not pile up.
    fn shortened(&self, deadline: Instant, begin: Instant) -> Instant {
        let long = self.options.device.deadline;
        match self.slots.iter().all(|slot| slot.is_out_for(long)) {
            true => deadline.min(begin + OUTAGE),
            false => deadline,
        }
    }

    async fn attempt<C: Command>(
        &self,
        index: usize,
        device: &Device,
        request: &Arc<Request>,
        deadline: Instant,
    ) -> Result<Reply<C>, CallError> {
        let Some(slot) = self.slots.get(index) else { return Err(CallError::ShutDown) };
        let under_way = slot.counters.begin();
        let start = Instant::now();
        let answer = device.send::<C>(Arc::clone(request), deadline).await;
        let reply = answer.and_then(Reply::from_answer);
        slot.counters.end(reply.as_ref().err(), start.elapsed());
        if matches!(reply, Err(CallError::Refused { code: ErrorCode::AUDIT_FULL, .. })) {
            slot.say_full();
        }
        drop(under_way);
        reply
    }

    /// Hands the receipt of an attempt that no caller sees to the audit sink.
    fn forget(&self, index: usize, error: CallError) {
        if let CallError::Refused { receipt: Some(receipt), .. } = error
            && let Some(slot) = self.slots.get(index)
            && let Some(chain) = slot.chain.lock().as_mut()
        {
            chain.keep_orphan(*receipt);
            slot.signal.raise();
        }
    }

    fn unavailable(&self) -> CallError {
        let complaints: Vec<String> = self.slots.iter().map(|slot| slot.complaint()).collect();
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
        for slot in &self.slots {
            slot.close();
            slot.signal.raise();
        }
    }
}

#[cfg(test)]
mod tests;
