use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::Ordering;
use std::task::{Context, Waker};

use hsm_protocol::command::random::Random;
use hsm_protocol::{ErrorCode, ModuleState, Role};

use super::*;
use crate::audit::{DeviceReceipt, Position};
use crate::testing::FakeDevice;

const QUICK: Options =
    Options { patience: Duration::from_millis(300), deadline: Duration::from_secs(600) };

fn open(fake: &Arc<FakeDevice>) -> Device {
    let device = Device::open(&|| fake.connect(), Some(fake.id()), QUICK).unwrap();
    device.authenticate(&HostKey::generate()).unwrap();
    device
}

fn tag(number: u64) -> AuditTag {
    let mut tag = [0; 16];
    tag[..8].copy_from_slice(&number.to_le_bytes());
    AuditTag(tag)
}

fn random(device: &Device, number: u64) -> Result<(), CallError> {
    let reply = device.call_blocking(&Random { length: 16 }, tag(number))?;
    assert_eq!(reply.response()?.bytes.0, tag(number).0);
    assert_eq!(reply.receipt.unwrap().entry.tag, tag(number));
    Ok(())
}

#[derive(Default)]
struct Sink {
    position: Mutex<Option<Position>>,
    missed: Mutex<Vec<u64>>,
    lost: Mutex<Vec<(u64, Range<u64>)>>,
    broken: std::sync::atomic::AtomicBool,
}

impl AuditSink for Sink {
    fn position(&self, _: &DeviceId) -> Option<Position> {
        *self.position.lock().unwrap()
    }

    fn missed(&self, receipts: &[DeviceReceipt]) -> Result<(), String> {
        if self.broken.load(Ordering::SeqCst) {
            return Err("disk full".to_owned());
        }
        let indexes = receipts.iter().map(|receipt| receipt.entry.index);
        self.missed.lock().unwrap().extend(indexes);
        Ok(())
    }

    fn lost(&self, _: &DeviceId, epoch: u64, indexes: Range<u64>) -> Result<(), String> {
        self.lost.lock().unwrap().push((epoch, indexes));
        Ok(())
    }
}

#[test]
fn introduction_handshake_and_calls() {
    let fake = FakeDevice::new();
    let key = HostKey::generate();
    let device = Device::open(&|| fake.connect(), None, QUICK).unwrap();
    assert_eq!(device.id(), fake.id());
    assert_eq!(device.info().board, "fake");
    assert_eq!(device.status().unwrap().epoch, 1);
    assert!(!device.is_ready());
    let error = random(&device, 1).unwrap_err();
    assert!(matches!(error, CallError::SessionLost { sent: false, .. }), "{error}");

    let session = device.authenticate(&key).unwrap();
    assert_eq!((session.device, session.host), (fake.id(), key.id()));
    assert_eq!((session.role, session.state), (Role::CryptoUser, ModuleState::Operational));
    (0..100).for_each(|number| random(&device, number).unwrap());
}

#[test]
fn refusals_carry_their_receipt() {
    let fake = FakeDevice::new();
    let device = open(&fake);
    let error = device.call_blocking(&Random { length: 0 }, tag(5)).unwrap_err();
    let CallError::Refused { code, receipt: Some(receipt), .. } = &error else {
        panic!("{error}");
    };
    assert_eq!(*code, ErrorCode::INVALID_ARGUMENT);
    assert_eq!(receipt.entry.result, Some(ErrorCode::INVALID_ARGUMENT));
    assert!(!error.retryable() && !error.poisons_session());
    random(&device, 6).unwrap();
}

#[test]
fn another_device_is_refused() {
    let (fake, other) = (FakeDevice::new(), FakeDevice::new());
    let error = Device::open(&|| fake.connect(), Some(other.id()), QUICK).unwrap_err();
    assert!(matches!(error, CallError::WrongDevice { .. }), "{error}");
}

#[test]
fn many_threads_share_the_window() {
    let fake = FakeDevice::with(&[], 4);
    let device = open(&fake);
    device.synchronise_audit(&Sink::default()).unwrap(); // or its entries would fill the device
    thread_scope(16, |thread| {
        (0..200).for_each(|call| random(&device, thread * 1000 + call).unwrap());
    });
    assert_eq!(fake.entries(), 3200);
}

fn thread_scope(threads: u64, work: impl Fn(u64) + Sync) {
    std::thread::scope(|scope| {
        for thread in 0..threads {
            let work = &work;
            scope.spawn(move || work(thread));
        }
    });
}

#[test]
fn a_lost_session_is_renewed_on_the_same_line() {
    let fake = FakeDevice::new();
    let device = open(&fake);
    random(&device, 1).unwrap();
    fake.forget_sessions();
    let error = random(&device, 2).unwrap_err();
    assert!(error.poisons_session() && error.retryable(), "{error}");
    assert!(!device.is_ready());
    device.authenticate(&HostKey::generate()).unwrap();
    random(&device, 3).unwrap();
}

#[test]
fn a_hung_device_does_not_hold_callers() {
    let fake = FakeDevice::new();
    let device = open(&fake);
    fake.hang.store(true, Ordering::SeqCst);
    // For its patience, and not until the deadline, which is another error.
    let error = random(&device, 1).unwrap_err();
    assert!(matches!(error, CallError::LinkDown { sent: true, .. }), "{error}");
    let error = random(&device, 2).unwrap_err();
    assert!(matches!(error, CallError::LinkDown { sent: false, .. }), "{error}");
}

#[test]
fn a_deadline_ends_the_call_and_not_the_session() {
    let fake = FakeDevice::new();
    let patience = Duration::from_secs(600);
    let options = Options { deadline: patience, patience };
    let mut device = Device::open(&|| fake.connect(), None, options).unwrap();
    device.authenticate(&HostKey::generate()).unwrap();
    let sink = Sink::default();
    device.synchronise_audit(&sink).unwrap();
    // Not before: on a slow machine a handshake takes longer.
    device.options.deadline = Duration::from_millis(100);
    fake.delay_us.store(200_000, Ordering::SeqCst);
    let error = random(&device, 1).unwrap_err();
    assert!(matches!(error, CallError::DeadlineExceeded { sent: true }), "{error}");
    fake.delay_us.store(0, Ordering::SeqCst);
    // Once what is late has come; on a slow machine more than one may be.
    let answered = (2..1000).find(|number| random(&device, *number).is_ok());
    assert!(answered.is_some(), "the session has ended");
    // Answers that came too late are not lost to the audit log.
    device.options.deadline = patience;
    device.synchronise_audit(&sink).unwrap();
    let late: Vec<u64> = (0..fake.entries() - 1).collect();
    assert_eq!(*sink.missed.lock().unwrap(), late);
}

/// Of two devices that were asked, the other one was faster by a little: the answer has come, and nobody looks at it.
#[test]
fn an_answer_that_nobody_looks_at_is_on_record() {
    let fake = FakeDevice::new();
    let (device, sink) = (open(&fake), Sink::default());
    device.synchronise_audit(&sink).unwrap();
    fake.delay_us.store(10_000, Ordering::SeqCst);
    let command = Random { length: 16 };
    // On a slow machine it may be there at the first look.
    let unseen = (0..100).find(|number| {
        let mut call = std::pin::pin!(device.call(&command, tag(*number)));
        let mut context = Context::from_waker(Waker::noop());
        let is_seen = call.as_mut().poll(&mut context).is_ready();
        // Answers come in order.
        random(&device, 1000).unwrap();
        !is_seen
    });
    let entry = 2 * unseen.expect("an answer takes its time");
    device.synchronise_audit(&sink).unwrap();
    assert_eq!(*sink.missed.lock().unwrap(), [entry]);
}

#[test]
fn entries_of_lost_answers_and_other_hosts_are_fetched() {
    let fake = FakeDevice::new();
    let sink = Sink::default();
    let chain = SharedChain::default();
    let open = || {
        let signal = Arc::new(Signal::default());
        let connector = || fake.connect();
        let device = Device::open_with(&connector, None, QUICK, chain.clone(), signal).unwrap();
        device.authenticate(&HostKey::generate()).unwrap();
        device.synchronise_audit(&sink).unwrap();
        device
    };
    let device = open();
    random(&device, 0).unwrap();
    fake.lose_next_answer.store(true, Ordering::SeqCst);
    random(&device, 1).unwrap_err();
    let device = open();
    assert_eq!(*sink.missed.lock().unwrap(), [1]);
    random(&device, 2).unwrap();
    (0..10).for_each(|_| fake.act_for_another_host());
    random(&device, 13).unwrap();
    device.synchronise_audit(&sink).unwrap();
    let missed: Vec<u64> = std::iter::once(1).chain(3..13).collect();
    assert_eq!(*sink.missed.lock().unwrap(), missed);
    assert!(sink.lost.lock().unwrap().is_empty());

    // A new boot has a new chain; the end of the old one cannot be known.
    fake.reboot();
    drop(device);
    let device = open();
    random(&device, 0).unwrap();
    assert_eq!(*sink.lost.lock().unwrap(), [(1, 14..u64::MAX)]);
}

#[test]
fn the_stored_position_counts_after_a_restart_of_the_host() {
    let fake = FakeDevice::new();
    let sink = Sink::default();
    let device = open(&fake);
    device.synchronise_audit(&sink).unwrap();
    let replies: Vec<_> = (0..9)
        .map(|n| device.call_blocking(&Random { length: 1 }, tag(n)).unwrap())
        .map(|reply| reply.receipt.unwrap())
        .collect();
    drop(device);
    let position = Position { epoch: 1, next: 3, head: replies[2].head };
    *sink.position.lock().unwrap() = Some(position);
    open(&fake).synchronise_audit(&sink).unwrap();
    assert_eq!(*sink.missed.lock().unwrap(), [3, 4, 5, 6, 7, 8]);

    // What the device no longer has is reported.
    fake.shorten_ring(2);
    sink.missed.lock().unwrap().clear();
    open(&fake).synchronise_audit(&sink).unwrap();
    assert_eq!(*sink.missed.lock().unwrap(), [7, 8]);
    assert_eq!(*sink.lost.lock().unwrap(), [(1, 3..7)]);

    // A device whose chain does not continue what is stored is refused: the same number of boots, but
    // another boot.
    let forged = Position { head: replies[3].head, ..position };
    *sink.position.lock().unwrap() = Some(forged);
    fake.shorten_ring(100);
    let error = open(&fake).synchronise_audit(&sink).unwrap_err();
    assert!(matches!(error, CallError::Behind(_)), "{error}");
}

#[test]
fn entries_are_kept_until_they_can_be_stored() {
    let fake = FakeDevice::new();
    let sink = Sink::default();
    fake.act_for_another_host();
    sink.broken.store(true, Ordering::SeqCst);
    let device = open(&fake);
    let error = device.synchronise_audit(&sink).unwrap_err();
    assert!(error.to_string().contains("disk full"), "{error}");
    sink.broken.store(false, Ordering::SeqCst);
    device.synchronise_audit(&sink).unwrap();
    assert_eq!(*sink.missed.lock().unwrap(), [0]);
}
