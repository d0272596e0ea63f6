//! Requirements of every transport, tested against each of them.

use std::thread;
use std::time::{Duration, Instant};

use super::{Halves, Receiver, Transport, TransportError};

type Pair = (Box<dyn Transport>, Box<dyn Transport>);

/// What comes at all has come by then, on a machine of any speed.
const LONG: Duration = Duration::from_secs(600);

/// Checks a transport; `open` makes both ends of a new one.
pub(super) fn check(open: impl Fn() -> Pair) {
    check_without_end(&open);
    closing_ends_both_directions(&open);
}

/// As [`check`], for transports whose far end cannot see that the near one is gone.
pub(super) fn check_without_end(open: impl Fn() -> Pair) {
    bytes_arrive_in_order(&open);
    silence_is_not_an_error(&open);
    sending_does_not_wait_for_the_reader(&open);
}

fn split(pair: Pair) -> (Halves, Halves) {
    (pair.0.split().unwrap(), pair.1.split().unwrap())
}

fn receive_exactly(receiver: &mut dyn Receiver, count: usize) -> Vec<u8> {
    let mut all = Vec::new();
    let mut buffer = [0; 1000];
    let deadline = Instant::now() + LONG;
    while all.len() < count && Instant::now() < deadline {
        let got = receiver.receive(&mut buffer, LONG).unwrap();
        all.extend_from_slice(&buffer[..got]);
    }
    all
}

/// Every byte value, so that a line discipline that is not raw would show.
fn pattern(length: usize) -> Vec<u8> {
    (0..=u8::MAX).cycle().take(length).collect()
}

fn bytes_arrive_in_order(open: &impl Fn() -> Pair) {
    let (mut near, mut far) = split(open());
    let sent = pattern(100_000);
    let expected = sent.clone();
    let sender = thread::spawn(move || {
        sent.chunks(777).for_each(|chunk| near.sender.send(chunk).unwrap());
        near
    });
    assert!(receive_exactly(far.receiver.as_mut(), expected.len()) == expected);
    let mut near = sender.join().unwrap();
    far.sender.send(&expected[..2000]).unwrap();
    assert!(receive_exactly(near.receiver.as_mut(), 2000) == expected[..2000]);
}

fn silence_is_not_an_error(open: &impl Fn() -> Pair) {
    let (mut near, _far) = split(open());
    let start = Instant::now();
    let patience = Duration::from_millis(30);
    assert_eq!(near.receiver.receive(&mut [0; 10], patience).unwrap(), 0);
    assert!(start.elapsed() >= Duration::from_millis(25), "waited {:?}", start.elapsed());
    assert!(start.elapsed() < LONG);
}

/// A window's worth of bytes goes out although nobody reads.
fn sending_does_not_wait_for_the_reader(open: &impl Fn() -> Pair) {
    let (mut near, mut far) = split(open());
    // A sender that waits for the reader, which comes later, waits in vain.
    near.sender.send(&pattern(64 * 1024)).unwrap();
    assert!(receive_exactly(far.receiver.as_mut(), 64 * 1024) == pattern(64 * 1024));
}

fn closing_ends_both_directions(open: &impl Fn() -> Pair) {
    let (mut near, mut far) = split(open());
    let waiting = thread::spawn(move || near.receiver.receive(&mut [0; 10], LONG));
    thread::sleep(Duration::from_millis(20));
    let start = Instant::now();
    near.sender.close();
    assert!(matches!(waiting.join().unwrap(), Err(TransportError::Closed)));
    assert!(matches!(far.receiver.receive(&mut [0; 10], LONG), Err(TransportError::Closed)));
    assert!(start.elapsed() < LONG);
    assert!(near.sender.send(b"late").is_err());
}
