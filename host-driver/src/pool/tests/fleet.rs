//! Devices that come, go, are drained, and are quarantined.

use hsm_protocol::command::cipher::Decrypt;
use hsm_protocol::command::key::KeyRef;
use hsm_protocol::{Bytes, KeyId};

use super::*;
use crate::pool::{Held, MemberError};

fn soon() -> Instant {
    Instant::now() + LONG
}

fn member(name: &str, device: &Arc<FakeDevice>) -> Member {
    let device = Arc::clone(device);
    Member {
        name: name.to_owned(),
        connector: Arc::new(move || device.connect()),
        expected: None,
        held: None,
    }
}

fn decrypt(rig: &Rig, number: u64, blob: &[u8]) -> Result<Vec<u8>, CallError> {
    let key = KeyRef { id: KeyId::single_region([7; 16]), token: Bytes(&[1; 8]) };
    let command = Decrypt { key, context: Bytes(&[]), blob: Bytes(blob) };
    let reply = rig.pool.call_blocking(&command, tag(number))?;
    Ok(reply.response()?.plaintext.0.to_vec())
}

fn misconduct(rig: &Rig, index: usize) -> String {
    let health = &rig.pool.health()[index];
    assert_eq!(health.service, Service::Quarantined, "{health:?}");
    health.misconduct.as_deref().expect("a reason").to_owned()
}

fn until_quarantined(rig: &Rig, index: usize) {
    rig.until("it is quarantined", |rig| rig.services()[index] == Service::Quarantined);
}

#[test]
fn a_drained_device_finishes_and_gets_nothing_new() {
    let rig = pair();
    rig.devices[0].delay_us.store(20_000, Ordering::SeqCst);
    let calls = rig.under_load(|| {
        rig.until("it is busy", |rig| rig.pool.health()[0].in_flight > 0);
        rig.pool.drain("fake:0", false).unwrap();
        rig.until("it is drained", |rig| rig.services()[0] == Service::Drained);
        let answered = rig.devices[0].executed.load(Ordering::SeqCst);
        let others = rig.pool.health()[1].answered;
        rig.until("the other one goes on", |rig| rig.pool.health()[1].answered > others + 50);
        assert_eq!(rig.devices[0].executed.load(Ordering::SeqCst), answered, "its line is closed");
        block_on(rig.pool.resume("fake:0", soon())).unwrap();
        let answered = rig.pool.health()[0].answered;
        rig.until("it works again", |rig| rig.pool.health()[0].answered > answered);
    });
    assert!(calls > 50);
    rig.until("nothing is lost", |rig| {
        let entries: u64 = rig.devices.iter().map(|device| device.entries()).sum();
        calls + rig.sink.0.lock().unwrap().len() as u64 == entries
    });
}

#[test]
fn the_last_device_stays_unless_it_is_forced() {
    let rig = pair();
    rig.pool.drain("fake:0", false).unwrap();
    rig.until("it is drained", |rig| rig.services()[0] == Service::Drained);
    for refused in [rig.pool.drain("fake:1", false), rig.pool.remove("fake:1", false)] {
        assert_eq!(refused, Err(MemberError::Last("fake:1".to_owned())));
    }
    rig.random(1).unwrap();
    // One that does not serve may go.
    rig.pool.remove("fake:0", false).unwrap();
    rig.pool.remove("fake:1", true).unwrap();
    assert!(rig.pool.health().is_empty());
    let error = rig.pool.drain("fake:1", true).unwrap_err();
    assert!(error.to_string().contains("there is no device"), "{error}");
}

#[test]
fn devices_come_and_go_under_load() {
    let rig = rig(vec![FakeDevice::new()], options());
    rig.until("it is in service", |rig| rig.services() == [Service::InService]);
    rig.under_load(|| {
        for round in 0..3 {
            let (name, device) = (format!("more:{round}"), FakeDevice::new());
            block_on(rig.pool.add(member(&name, &device), soon())).unwrap();
            let again = block_on(rig.pool.add(member(&name, &device), soon()));
            assert_eq!(again, Err(MemberError::Repeated(name.clone())));
            rig.until("it works", |_| device.entries() > 5);
            rig.pool.remove(&name, false).unwrap();
            rig.until("it is gone", |_| Arc::strong_count(&device) <= 2);
        }
    });
}

#[test]
fn a_device_that_does_not_fit_is_not_taken_in() {
    let rig = rig(vec![FakeDevice::new()], options());
    rig.until("it is in service", |rig| rig.services() == [Service::InService]);
    let foreign = FakeDevice::new();
    foreign.set_domain(DomainId([2; 16]));
    let refused = block_on(rig.pool.add(member("foreign", &foreign), soon())).unwrap_err();
    assert!(refused.to_string().contains("belongs to domain"), "{refused}");
    let fresh = FakeDevice::new();
    fresh.set_module_state(ModuleState::Uninitialised);
    let refused = block_on(rig.pool.add(member("fresh", &fresh), soon())).unwrap_err();
    assert!(refused.to_string().contains("Uninitialised"), "{refused}");
    let dead = FakeDevice::new();
    dead.down.store(true, Ordering::SeqCst);
    let refused = block_on(rig.pool.add(member("dead", &dead), soon())).unwrap_err();
    assert!(refused.to_string().contains("cannot be reached"), "{refused}");
    let other = FakeDevice::new();
    let pinned = Member { expected: Some(FakeDevice::new().id()), ..member("pinned", &other) };
    let refused = block_on(rig.pool.add(pinned, soon())).unwrap_err();
    assert!(refused.to_string().contains("is expected"), "{refused}");
    assert_eq!(rig.pool.health().len(), 1);
}

#[test]
fn a_held_device_stays_held_at_the_start() {
    let devices = [FakeDevice::new(), FakeDevice::new(), FakeDevice::new()];
    let held = [None, Some(Held::Drained), Some(Held::Quarantined("it lied".into()))];
    let members = devices.iter().zip(held).enumerate();
    let members = members
        .map(|(n, (device, held))| Member { held, ..member(&format!("fake:{n}"), device) })
        .collect();
    let sink = Arc::new(Sink::default());
    let pool = Pool::start(members, HostKey::generate(), sink, options()).unwrap();
    block_on(pool.ready(soon())).unwrap();
    thread::sleep(Duration::from_millis(200));
    let services: Vec<_> = pool.health().iter().map(|health| health.service).collect();
    assert_eq!(services, [Service::InService, Service::Drained, Service::Quarantined]);
    assert_eq!(pool.health()[2].misconduct.as_deref(), Some("it lied"));
    assert_eq!(devices[2].executed.load(Ordering::SeqCst), 0);
    block_on(pool.resume("fake:2", soon())).unwrap();
    assert_eq!(pool.health()[2].service, Service::InService);
}

#[test]
fn a_module_in_the_error_state_stays_out_until_it_is_resumed() {
    let rig = pair();
    rig.devices[0].set_module_state(ModuleState::Error);
    until_quarantined(&rig, 0);
    assert!(misconduct(&rig, 0).contains("Error"));
    // It is still in that state: resuming changes nothing.
    let refused = block_on(rig.pool.resume("fake:0", soon())).unwrap_err();
    assert!(matches!(&refused, MemberError::Refused { .. }), "{refused}");
    until_quarantined(&rig, 0);
    assert_eq!(rig.pool.drain("fake:0", false), Err(MemberError::Quarantined("fake:0".to_owned())));
    rig.devices[0].set_module_state(ModuleState::Operational);
    thread::sleep(Duration::from_millis(300));
    misconduct(&rig, 0); // it does not come back by itself
    block_on(rig.pool.resume("fake:0", soon())).unwrap();
    assert_eq!(rig.services(), [Service::InService; 2]);
}

#[test]
fn a_chain_that_does_not_continue_quarantines() {
    let rig = pair();
    rig.under_load(|| {
        rig.devices[1].break_chain.store(true, Ordering::SeqCst);
        until_quarantined(&rig, 1);
    });
    assert!(misconduct(&rig, 1).contains("audit chain"));
}

#[test]
fn answers_that_break_the_protocol_again_and_again_quarantine() {
    let rig = pair();
    rig.under_load(|| {
        rig.devices[0].nonsense.store(1, Ordering::SeqCst);
        rig.until("one is passed over", |rig| rig.devices[0].nonsense.load(Ordering::SeqCst) == 0);
        thread::sleep(Duration::from_millis(100));
        assert_eq!(rig.services(), [Service::InService; 2], "once is nothing");
        rig.devices[0].nonsense.store(1000, Ordering::SeqCst);
        until_quarantined(&rig, 0);
    });
    assert!(misconduct(&rig, 0).contains("broke the protocol"));
}

#[test]
fn another_firmware_than_before_quarantines_until_it_is_resumed() {
    let rig = pair();
    *rig.devices[0].firmware.lock().unwrap() = "6.6.6";
    thread::sleep(Duration::from_millis(100));
    rig.devices[0].down.store(true, Ordering::SeqCst);
    rig.until("it is out", |rig| rig.services()[0] != Service::InService);
    rig.devices[0].down.store(false, Ordering::SeqCst);
    until_quarantined(&rig, 0);
    let reason = misconduct(&rig, 0);
    assert!(reason.contains("0.0.0") && reason.contains("6.6.6"), "{reason}");
    block_on(rig.pool.resume("fake:0", soon())).unwrap();
    assert_eq!(rig.pool.health()[0].info.as_ref().unwrap().firmware, "6.6.6");
}

#[test]
fn a_ciphertext_that_only_one_device_refuses_quarantines_that_one() {
    let rig = pair();
    rig.devices[0].refusals.store(u64::MAX, Ordering::SeqCst);
    // Whichever device is asked, the caller gets the plaintext, as long as the doubt is in the budget.
    rig.until("the wrong one is asked", |rig| {
        thread::sleep(Duration::from_millis(100));
        let _ = decrypt(rig, 1, b"right");
        rig.services()[0] == Service::Quarantined
    });
    assert!(misconduct(&rig, 0).contains("another device"));
    for number in 0..10 {
        assert_eq!(decrypt(&rig, number, b"right").unwrap(), b"right");
    }
    assert_eq!(rig.services()[1], Service::InService);
}

#[test]
fn a_ciphertext_that_all_refuse_is_the_callers_fault() {
    let rig = pair();
    for number in 0..20 {
        let error = decrypt(&rig, number, b"").unwrap_err();
        assert!(matches!(error, CallError::Refused { code: ErrorCode::CIPHERTEXT_INVALID, .. }));
    }
    assert_eq!(rig.services(), [Service::InService; 2]);
    let entries: u64 = rig.devices.iter().map(|device| device.entries()).sum();
    assert!((20..=24).contains(&entries), "second opinions are few: {entries}");
}
