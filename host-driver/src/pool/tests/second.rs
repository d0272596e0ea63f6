//! Calls that are sent twice, turned away, or not sent at all.

use hsm_protocol::command::cipher::Decrypt;
use hsm_protocol::command::key::KeyRef;
use hsm_protocol::{Bytes, KeyId};

use super::*;
use crate::caller::{Caller, Gone};

const KEY: KeyRef<'static> = KeyRef { id: KeyId::single_region([7; 16]), token: Bytes(&[1; 8]) };
const DECRYPT: Decrypt<'static> =
    Decrypt { key: KEY, context: Bytes(&[]), blob: Bytes(b"a ciphertext") };

fn decrypt(rig: &Rig, route: Route) -> Result<Duration, CallError> {
    let start = Instant::now();
    block_on(rig.pool.call_with(&DECRYPT, tag(1), route)).map(|_| start.elapsed())
}

fn patient(hedges: u8) -> PoolOptions {
    let device = device::Options { patience: LONG, deadline: LONG };
    PoolOptions { device, hedges, probe_interval: LONG, ..options() }
}

/// How often the first device is held up.
const STALLS: usize = 8;

/// How long calls take that a device has got which is held up for a quarter of a second, and how many were sent to
/// the other one as well.
fn with_a_device_that_stalls(hedges: u8) -> (Vec<Duration>, u64) {
    let rig = rig(vec![FakeDevice::new(), FakeDevice::new()], patient(hedges));
    rig.until("both are in service", |rig| rig.services() == [Service::InService; 2]);
    // The one that stalls is the faster one, which is asked first.
    for (device, delay) in rig.devices.iter().zip([200, 20_000]) {
        device.delay_us.store(delay, Ordering::SeqCst);
    }
    // Until both are measured.
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..60 {
                    decrypt(&rig, Route::default()).unwrap();
                }
            });
        }
    });
    let mut times = Vec::new();
    let mut calls = 4 * 60;
    for _ in 0..STALLS {
        for _ in 0..40 {
            decrypt(&rig, Route::default()).unwrap();
        }
        calls += 41;
        let hang = &rig.devices[0].hang;
        hang.store(true, Ordering::SeqCst);
        times.push(thread::scope(|scope| {
            scope.spawn(|| {
                thread::sleep(Duration::from_millis(250));
                hang.store(false, Ordering::SeqCst);
            });
            decrypt(&rig, Route::default()).unwrap()
        }));
        rig.until("it has answered", |rig| rig.pool.health()[0].in_flight == 0);
    }
    let hedged = rig.pool.health().iter().map(|health| health.hedged).sum();
    // Each execution is the caller's or in the sink, none twice.
    rig.until("nothing is lost", |rig| {
        let entries: u64 = rig.devices.iter().map(|device| device.entries()).sum();
        calls + rig.sink.0.lock().unwrap().len() as u64 == entries
    });
    times.sort_unstable();
    (times, hedged)
}

#[test]
fn a_device_that_stalls_is_not_waited_for() {
    let (without, none) = with_a_device_that_stalls(0);
    let (with, hedged) = with_a_device_that_stalls(5);
    println!("without hedges: {without:?}; with: {with:?}, {hedged} hedged");
    assert_eq!(none, 0);
    let stalled = |times: &[Duration]| {
        times.iter().filter(|time| **time > Duration::from_millis(200)).count()
    };
    assert!(stalled(&without) >= STALLS - 2, "the stall is felt without hedges: {without:?}");
    assert!(stalled(&with) <= STALLS / 2, "{with:?}");
    // What was saved up, and 5 of 100.
    let budget = (4 * 60 + 41 * STALLS as u64) / 20 + 1;
    assert!((4..=budget).contains(&hedged), "{hedged} of {budget}");
}

#[test]
fn commands_with_effects_are_not_sent_twice() {
    let rig = rig(vec![FakeDevice::new(), FakeDevice::new()], patient(100));
    rig.until("both are in service", |rig| rig.services() == [Service::InService; 2]);
    for number in 0..300 {
        rig.random(number).unwrap();
    }
    let before: u64 = rig.devices.iter().map(|device| device.entries()).sum();
    for device in &rig.devices {
        device.delay_us.store(50_000, Ordering::SeqCst);
    }
    for number in 0..6 {
        rig.random(number).unwrap();
    }
    let after: u64 = rig.devices.iter().map(|device| device.entries()).sum();
    assert_eq!(after - before, 6);
}

#[test]
fn what_exceeds_a_devices_time_is_turned_away_at_once() {
    let device = FakeDevice::with(&[KeySpec::SYMMETRIC_DEFAULT.0], 2);
    let rig = rig(vec![device], patient(0));
    rig.until("it is in service", |rig| rig.services() == [Service::InService]);
    for _ in 0..4 {
        decrypt(&rig, Route::default()).unwrap();
    }
    rig.devices[0].hang.store(true, Ordering::SeqCst);
    let turned_away = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..400 {
            scope.spawn(|| {
                let start = Instant::now();
                let caller = Caller { flow: 1, ..Caller::default() };
                match decrypt(&rig, Route { caller, ..Route::default() }) {
                    Ok(_) => {}
                    Err(CallError::Overloaded) => turned_away.lock().unwrap().push(start.elapsed()),
                    Err(error) => panic!("{error}"),
                }
            });
        }
        rig.until("the queue is full", |_| turned_away.lock().unwrap().len() >= 400 - 258);
        // Another flow has its share of the queue.
        scope.spawn(|| {
            let caller = Caller { flow: 2, ..Caller::default() };
            decrypt(&rig, Route { caller, ..Route::default() }).unwrap();
        });
        rig.until("one more of the flood makes room", |_| {
            turned_away.lock().unwrap().len() > 400 - 258
        });
        rig.devices[0].hang.store(false, Ordering::SeqCst);
    });
    let turned_away = turned_away.into_inner().unwrap();
    assert_eq!(turned_away.len(), 400 - 258 + 1);
}

#[test]
fn nothing_is_sent_for_who_is_gone_or_too_late() {
    let device = FakeDevice::with(&[KeySpec::SYMMETRIC_DEFAULT.0], 1);
    let rig = rig(vec![device], patient(0));
    rig.until("it is in service", |rig| rig.services() == [Service::InService]);
    decrypt(&rig, Route::default()).unwrap();
    let before = rig.devices[0].entries();
    rig.devices[0].hang.store(true, Ordering::SeqCst);
    thread::scope(|scope| {
        let first = scope.spawn(|| decrypt(&rig, Route::default()));
        rig.until("it has the first", |rig| rig.pool.health()[0].in_flight == 1);
        let gone = Gone::default();
        let caller = Caller { flow: 1, gone: gone.clone() };
        let rig = &rig;
        let leaves = move || decrypt(rig, Route { caller: caller.clone(), ..Route::default() });
        let leaver = scope.spawn(leaves.clone());
        let hurried = scope.spawn(|| {
            let deadline = Some(Instant::now() + Duration::from_millis(150));
            decrypt(rig, Route { deadline, ..Route::default() })
        });
        rig.until("both wait", |rig| rig.pool.health()[0].in_flight == 3);
        gone.raise();
        let error = leaver.join().unwrap().unwrap_err();
        assert!(matches!(error, CallError::CallerGone), "{error}");
        let error = hurried.join().unwrap().unwrap_err();
        assert!(matches!(error, CallError::DeadlineExceeded { sent: false }), "{error}");
        rig.devices[0].hang.store(false, Ordering::SeqCst);
        first.join().unwrap().unwrap();
        assert!(matches!(leaves(), Err(CallError::CallerGone)), "not even asked");
    });
    decrypt(&rig, Route::default()).unwrap();
    assert_eq!(rig.devices[0].entries(), before + 2);
}
