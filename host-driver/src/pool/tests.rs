use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;
use std::thread;

use hsm_protocol::command::random::Random;
use hsm_protocol::{DeviceId, ErrorCode, ModuleState};

use super::*;
use crate::audit::{DeviceReceipt, Position};
use crate::health::Service;
use crate::testing::{FakeDevice, RING};

/// When it is given up that something happens, on a machine of any speed.
pub(super) const LONG: Duration = Duration::from_secs(600);

#[derive(Default)]
pub(super) struct Sink(Mutex<Vec<DeviceReceipt>>);

impl AuditSink for Sink {
    fn position(&self, _: &DeviceId) -> Option<Position> {
        None
    }

    fn missed(&self, receipts: &[DeviceReceipt]) -> Result<(), String> {
        self.0.lock().unwrap().extend_from_slice(receipts);
        Ok(())
    }

    fn lost(&self, _: &DeviceId, _: u64, _: Range<u64>) -> Result<(), String> {
        Ok(())
    }
}

pub(super) struct Rig {
    pub(super) devices: Vec<Arc<FakeDevice>>,
    pub(super) pool: Pool,
    sink: Arc<Sink>,
}

pub(super) fn options() -> PoolOptions {
    PoolOptions {
        device: device::Options { patience: Duration::from_millis(300), deadline: LONG },
        probe_interval: Duration::from_millis(100),
        shortest_pause: Duration::from_millis(10),
        longest_pause: Duration::from_millis(50),
        domain: None,
        stock: StockTargets::NONE,
        hedges: 0,
    }
}

pub(super) fn rig(devices: Vec<Arc<FakeDevice>>, options: PoolOptions) -> Rig {
    let member = |(index, device): (usize, &Arc<FakeDevice>)| {
        let device = Arc::clone(device);
        let connector = Arc::new(move || device.connect());
        Member { name: format!("fake:{index}"), connector, expected: None, held: None }
    };
    let members = devices.iter().enumerate().map(member).collect();
    let sink = Arc::new(Sink::default());
    let pool =
        Pool::start(members, HostKey::generate(), Arc::clone(&sink) as Arc<dyn AuditSink>, options);
    Rig { devices, pool: pool.unwrap(), sink }
}

fn pair() -> Rig {
    let rig = rig(vec![FakeDevice::new(), FakeDevice::new()], options());
    rig.until("both are in service", |rig| rig.services() == [Service::InService; 2]);
    rig
}

fn tag(number: u64) -> AuditTag {
    let mut tag = [0; 16];
    tag[..8].copy_from_slice(&number.to_le_bytes());
    AuditTag(tag)
}

impl Rig {
    fn random(&self, number: u64) -> Result<DeviceId, CallError> {
        let reply = self.pool.call_blocking(&Random { length: 16 }, tag(number))?;
        assert_eq!(reply.response()?.bytes.0, tag(number).0);
        let receipt = reply.receipt.unwrap();
        assert_eq!(receipt.entry.tag, tag(number));
        Ok(receipt.device)
    }

    pub(super) fn services(&self) -> Vec<Service> {
        self.pool.health().iter().map(|health| health.service).collect()
    }

    pub(super) fn until(&self, what: &str, condition: impl Fn(&Self) -> bool) {
        let start = Instant::now();
        while !condition(self) {
            assert!(start.elapsed() < LONG, "never: {what}; {:?}", self.pool.health());
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Runs calls on several threads while `disturb` runs; every call must succeed.
    fn under_load(&self, disturb: impl FnOnce()) -> u64 {
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            let work = |thread: u64| {
                let stop = &stop;
                scope.spawn(move || {
                    let mut calls = 0;
                    while !stop.load(Ordering::SeqCst) {
                        self.random(thread << 32 | calls).unwrap();
                        calls += 1;
                    }
                    calls
                })
            };
            let workers: Vec<_> = (0..8).map(work).collect();
            disturb();
            stop.store(true, Ordering::SeqCst);
            workers.into_iter().map(|worker| worker.join().unwrap()).sum()
        })
    }
}

#[test]
fn calls_are_spread() {
    let rig = pair();
    rig.under_load(|| {
        rig.until("each gets some", |rig| rig.pool.health().iter().all(|h| h.answered > 10));
    });
}

#[test]
fn no_call_fails_when_a_device_dies_under_load() {
    let rig = pair();
    rig.under_load(|| {
        for _ in 0..3 {
            thread::sleep(Duration::from_millis(60));
            rig.devices[0].down.store(true, Ordering::SeqCst);
            rig.until("the dead device is out", |rig| {
                matches!(rig.services()[0], Service::Unreachable)
            });
            thread::sleep(Duration::from_millis(60));
            rig.devices[0].down.store(false, Ordering::SeqCst);
            rig.until("it is back", |rig| rig.services()[0] == Service::InService);
        }
    });
    assert!(rig.pool.health()[0].connects >= 4);
}

#[test]
fn no_call_fails_when_a_device_hangs_under_load() {
    let rig = pair();
    rig.under_load(|| {
        thread::sleep(Duration::from_millis(60));
        rig.devices[1].hang.store(true, Ordering::SeqCst);
        rig.until("the hung device is out", |rig| rig.services()[1] == Service::Unreachable);
        rig.devices[1].hang.store(false, Ordering::SeqCst);
        rig.until("it is back", |rig| rig.services()[1] == Service::InService);
    });
}

#[test]
fn no_call_fails_when_sessions_are_lost_under_load() {
    let patient = device::Options { patience: LONG, deadline: LONG };
    let rig = rig(vec![FakeDevice::new()], PoolOptions { device: patient, ..options() });
    rig.under_load(|| {
        for _ in 0..5 {
            thread::sleep(Duration::from_millis(40));
            rig.devices[0].forget_sessions();
        }
        thread::sleep(Duration::from_millis(40));
    });
    // The line stayed up: new sessions, not new connections.
    assert_eq!(rig.pool.health()[0].connects, 1);
}

#[test]
fn a_hung_device_is_found_without_calls() {
    let rig = pair();
    rig.devices[0].hang.store(true, Ordering::SeqCst);
    rig.until("the probe finds it", |rig| rig.services()[0] == Service::Unreachable);
    assert!(rig.pool.health()[0].last_error.as_ref().unwrap().contains("not answered"));
    rig.devices[0].hang.store(false, Ordering::SeqCst);
}

#[test]
fn every_executed_command_reaches_a_caller_or_the_sink() {
    let rig = pair();
    let calls = rig.under_load(|| {
        for round in 0..10 {
            let lose = &rig.devices[round % 2].lose_next_answer;
            lose.store(true, Ordering::SeqCst);
            rig.until("an answer is lost", |_| !lose.load(Ordering::SeqCst));
            thread::sleep(Duration::from_millis(20));
        }
        thread::sleep(Duration::from_millis(50));
    });
    let entries = || rig.devices.iter().map(|device| device.entries()).sum::<u64>();
    rig.until("all are accounted for", |rig| {
        calls + rig.sink.0.lock().unwrap().len() as u64 == entries()
    });
    assert!(entries() > calls);
}

#[test]
fn a_command_that_is_not_idempotent_is_not_repeated() {
    // CloseSession is one that any host may call.
    use hsm_protocol::command::session::CloseSession;
    // No probe finds the loss before.
    let rig = rig(vec![FakeDevice::new()], PoolOptions { probe_interval: LONG, ..options() });
    rig.random(1).unwrap();
    let executed = rig.devices[0].executed.load(Ordering::SeqCst);
    rig.devices[0].forget_sessions();
    let error = rig.pool.call_blocking(&CloseSession, AuditTag::default()).unwrap_err();
    assert!(matches!(error, CallError::SessionLost { sent: true, .. }), "{error}");
    assert!(error.maybe_executed());
    rig.until("the session is renewed", |rig| rig.random(2).is_ok());
    assert!(rig.devices[0].executed.load(Ordering::SeqCst) > executed);
}

#[test]
fn refusals_are_answers() {
    // However late the answer is, no other device is asked.
    let patient = device::Options { patience: LONG, deadline: LONG };
    let devices = vec![FakeDevice::new(), FakeDevice::new()];
    let rig = rig(devices, PoolOptions { device: patient, ..options() });
    let error = rig.pool.call_blocking(&Random { length: 0 }, tag(1)).unwrap_err();
    let CallError::Refused { code: ErrorCode::INVALID_ARGUMENT, receipt, .. } = error else {
        panic!("{error}");
    };
    assert!(receipt.is_some());
    assert_eq!(rig.devices.iter().map(|device| device.entries()).sum::<u64>(), 1);
}

#[test]
fn calls_go_where_the_key_spec_is_supported() {
    let both = [KeySpec::SYMMETRIC_DEFAULT.0, KeySpec::HMAC_256.0];
    let devices = vec![FakeDevice::with(&both[..1], 8), FakeDevice::with(&both, 8)];
    let rig = rig(devices, options());
    rig.until("both are in service", |rig| rig.services() == [Service::InService; 2]);
    let call = |spec: KeySpec| {
        let route = Route { needs: spec.into(), ..Route::default() };
        block_on(rig.pool.call_with(&Random { length: 1 }, tag(1), route))
    };
    for _ in 0..10 {
        let receipt = call(KeySpec::HMAC_256).unwrap().receipt.unwrap();
        assert_eq!(receipt.device, rig.devices[1].id());
    }
    let error = call(KeySpec::ECC_NIST_P256).unwrap_err();
    assert!(matches!(error, CallError::NoCapableDevice(KeySpec::ECC_NIST_P256)), "{error}");
    assert!(!error.retryable());
    let needs = Needs::from(KeySpec::SYMMETRIC_DEFAULT);
    for (other, device) in [(KeySpec::HMAC_256, Some(1)), (KeySpec::RSA_2048, None)] {
        let route = Route { needs: needs.and(other), ..Route::default() };
        match block_on(rig.pool.call_with(&Random { length: 1 }, tag(1), route)) {
            Ok(reply) => {
                let device = device.map(|index: usize| rig.devices[index].id());
                assert_eq!(Some(reply.receipt.unwrap().device), device);
            }
            Err(error) => {
                assert_eq!(device, None);
                assert!(matches!(error, CallError::NoCapableDevice(spec) if spec == other));
            }
        }
    }
}

#[test]
fn calls_go_where_there_is_room_for_them() {
    let all = [KeySpec::SYMMETRIC_DEFAULT.0, KeySpec::HMAC_256.0];
    let devices = vec![FakeDevice::new(), FakeDevice::with(&all, 8)];
    devices[0].rx_bytes.store(8 * 1024, Ordering::SeqCst);
    let rig = rig(devices, options());
    rig.until("both are in service", |rig| rig.services() == [Service::InService; 2]);
    let pick = |size| {
        let picked = rig.pool.shared.pick(&Route::default(), size, &[]);
        picked.map(|found| found.map(|(slot, _)| slot.number))
    };
    for _ in 0..10 {
        assert!(matches!(pick(8 * 1024 + 1), Ok(Some(1))));
    }
    let mut short: Vec<_> = (0..10).filter_map(|_| pick(8 * 1024).ok().flatten()).collect();
    short.sort_unstable();
    short.dedup();
    assert_eq!(short, [0, 1], "both take what fits both");
    // The one with the most room is named, in whatever order they are looked at.
    let largest = rig.pool.health()[1].name.clone();
    let no_room = |error: &CallError, size| {
        matches!(error, CallError::NoRoom { size: told, room: 65_536, device }
            if *told == size && **device == *largest)
    };
    let long = 64 * 1024 + 1;
    assert!((0..4).all(|_| no_room(&pick(long).err().unwrap(), long)));
    // One has the spec and no room, the other no spec.
    let route = Route { needs: KeySpec::HMAC_256.into(), ..Route::default() };
    for _ in 0..4 {
        assert!(no_room(&rig.pool.shared.pick(&route, long, &[]).err().unwrap(), long));
    }
}

#[test]
fn calls_wait_for_a_device_until_their_deadline() {
    let device = FakeDevice::new();
    device.down.store(true, Ordering::SeqCst);
    let rig = rig(vec![device], options());
    let deadline = Some(Instant::now() + Duration::from_millis(200));
    let route = Route { deadline, ..Route::default() };
    let start = Instant::now();
    let error = block_on(rig.pool.call_with(&Random { length: 1 }, tag(1), route)).unwrap_err();
    assert!(matches!(&error, CallError::Unavailable { reason } if reason.contains("fake:0")));
    assert!(error.retryable());
    let waited = start.elapsed();
    assert!(waited >= Duration::from_millis(200), "{waited:?}");

    thread::scope(|scope| {
        scope.spawn(|| rig.random(2).unwrap());
        thread::sleep(Duration::from_millis(100));
        rig.devices[0].down.store(false, Ordering::SeqCst);
    });
    block_on(rig.pool.ready(Instant::now() + LONG)).unwrap();
}

#[test]
fn devices_to_be_provisioned_and_foreign_ones_stay_out() {
    let devices = vec![FakeDevice::new(), FakeDevice::new()];
    devices[0].set_module_state(ModuleState::Uninitialised);
    let domain = DomainId([1; 16]);
    let rig = rig(devices, PoolOptions { domain: Some(domain), ..options() });
    rig.until("one is in service", |rig| rig.services()[1] == Service::InService);
    rig.until("the other is not", |rig| {
        rig.services()[0] == Service::NotProvisioned(ModuleState::Uninitialised)
    });
    rig.devices[0].set_module_state(ModuleState::Operational);
    rig.until("it comes into service", |rig| rig.services()[0] == Service::InService);

    rig.devices[0].set_domain(DomainId([2; 16]));
    rig.devices[0].forget_sessions();
    rig.until("it is found to be foreign", |rig| {
        let _ = rig.random(1);
        rig.pool.health()[0].last_error.as_ref().is_some_and(|error| error.contains("domain"))
    });
    assert_eq!(rig.pool.domain(), Some(domain));
}

#[test]
fn a_swapped_device_is_refused() {
    let first = FakeDevice::new();
    let second = FakeDevice::new();
    let current = Arc::new(Mutex::new(Arc::clone(&first)));
    let line = Arc::clone(&current);
    let connector = Arc::new(move || line.lock().unwrap().connect());
    let members = vec![Member { name: "line".to_owned(), connector, expected: None, held: None }];
    let sink = Arc::new(Sink::default());
    let pool = Pool::start(members, HostKey::generate(), sink, options()).unwrap();
    block_on(pool.ready(Instant::now() + LONG)).unwrap();
    *current.lock().unwrap() = second;
    first.down.store(true, Ordering::SeqCst);
    let start = Instant::now();
    let refused = |health: &DeviceHealth| {
        health.last_error.as_ref().is_some_and(|error| error.contains("is expected"))
    };
    while !refused(&pool.health()[0]) {
        assert!(start.elapsed() < LONG);
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn shutting_down_ends_waiting_calls() {
    let device = FakeDevice::new();
    device.down.store(true, Ordering::SeqCst);
    let rig = rig(vec![device], options());
    thread::scope(|scope| {
        let call = scope.spawn(|| rig.random(1));
        thread::sleep(Duration::from_millis(50));
        rig.pool.shared.close();
        assert!(matches!(call.join().unwrap(), Err(CallError::ShutDown)));
    });
    rig.pool.shut_down();
}

/// Entries of another host fill a device: the pool fetches them, hands them over, and goes on.
#[test]
fn a_device_that_others_have_filled_is_emptied_and_used() {
    let rig = rig(vec![FakeDevice::new()], options());
    rig.until("it is in service", |rig| rig.services() == [Service::InService]);
    rig.random(0).unwrap();
    let others = usize::try_from(RING).unwrap() + 70;
    (0..others).for_each(|_| rig.devices[0].act_for_another_host());
    rig.random(1).unwrap();
    let stored = |rig: &Rig| rig.sink.0.lock().unwrap().len();
    rig.until("they are stored", |rig| stored(rig) == others);
    // Its own are taken with the calls that follow: many more than it keeps, from several callers.
    let calls = rig.under_load(|| {
        rig.until("some time", |rig| rig.devices[0].entries() > 20 * RING);
    });
    assert!(calls > 10 * RING, "{calls}");
    assert_eq!(rig.services(), [Service::InService]);
}

mod fleet;
mod second;
