//! The main loop: several lines, slow hosts, garbage.
#![allow(clippy::cast_possible_truncation)]

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use hsm_firmware::serve::{Line, LineBuffers, Port, Responder, Runtime, serve};
use hsm_protocol::frame::{Decoder, Frame, FrameKind, Header, MAX_ENCODED, MAX_PAYLOAD, encode};
use proptest::prelude::*;

/// Answers each frame with its own payload.
struct Echo {
    served: Vec<u16>,
    /// Stops the main loop at this frame.
    stop_at: Option<usize>,
    stop: Rc<RefCell<bool>>,
}

impl Responder for Echo {
    fn process(&mut self, frame: Frame<'_>, reply: &mut [u8]) -> usize {
        self.served.push(frame.header.session);
        if self.stop_at == Some(self.served.len()) {
            *self.stop.borrow_mut() = true;
        }
        encode(frame.header, frame.payload, reply).unwrap()
    }
}

/// A line whose far end is the test.
#[derive(Clone, Default)]
struct Wire(Rc<RefCell<WireState>>);

#[derive(Default)]
struct WireState {
    to_device: VecDeque<u8>,
    from_device: Vec<u8>,
    /// Bytes shown to the device at a time.
    burst: usize,
    /// Bytes that the device may still send.
    credit: usize,
}

/// The device's end. It keeps what it shows, as a port must until it is consumed.
struct WirePort(Wire, Vec<u8>);

impl Port for WirePort {
    fn received(&mut self) -> &[u8] {
        if self.1.is_empty() {
            let mut wire = self.0.0.borrow_mut();
            let count = wire.burst.min(wire.to_device.len());
            self.1 = wire.to_device.drain(..count).collect();
        }
        &self.1
    }

    fn consume(&mut self, count: usize) {
        self.1.drain(..count);
    }

    fn send(&mut self, bytes: &[u8]) -> usize {
        let mut wire = self.0.0.borrow_mut();
        let count = wire.credit.min(bytes.len());
        wire.from_device.extend(&bytes[..count]);
        wire.credit -= count;
        count
    }
}

/// Ends when the device waits with nothing more to come.
struct Script<F> {
    /// Called when the device waits; false to end.
    step: F,
    stop: Rc<RefCell<bool>>,
}

impl<F: FnMut() -> bool> Runtime for Script<F> {
    fn wait(&mut self, _: Option<u64>) {
        if !(self.step)() {
            *self.stop.borrow_mut() = true;
        }
    }

    fn should_stop(&mut self) -> bool {
        *self.stop.borrow()
    }

    fn feed_watchdog(&mut self) {}
}

/// Serves the wires until `step` says that is all, and returns the sessions in order of service.
fn run(wires: &[&Wire], stop_at: Option<usize>, step: impl FnMut() -> bool) -> Vec<u16> {
    let stop = Rc::new(RefCell::new(false));
    let mut echo = Echo { served: Vec::new(), stop_at, stop: Rc::clone(&stop) };
    let mut ports: Vec<WirePort> =
        wires.iter().map(|wire| WirePort((*wire).clone(), Vec::new())).collect();
    let mut buffers: Vec<Box<LineBuffers<MAX_ENCODED>>> =
        wires.iter().map(|_| Box::default()).collect();
    let mut lines: Vec<Line<'_, MAX_ENCODED>> = ports
        .iter_mut()
        .zip(&mut buffers)
        .map(|(port, buffers)| Line::new(port, buffers))
        .collect();
    serve(&mut echo, &mut lines, &mut Script { step, stop });
    echo.served
}

fn wire(burst: usize, credit: usize) -> Wire {
    let wire = Wire::default();
    wire.0.borrow_mut().burst = burst;
    wire.0.borrow_mut().credit = credit;
    wire
}

impl Wire {
    fn host_sends(&self, bytes: &[u8]) {
        self.0.borrow_mut().to_device.extend(bytes);
    }

    /// Session and payload of each frame that came back.
    fn host_received(&self) -> Vec<(u16, Vec<u8>)> {
        let mut decoder = Box::new(Decoder::<MAX_ENCODED>::new());
        let wire = self.0.borrow();
        let mut input = &wire.from_device[..];
        let mut frames = Vec::new();
        while !input.is_empty() {
            if let Some(frame) = decoder.next(&mut input) {
                frames.push((frame.header.session, frame.payload.to_vec()));
            }
        }
        assert_eq!(decoder.dropped(), 0);
        frames
    }
}

fn frame(session: u16, payload: &[u8]) -> Vec<u8> {
    let mut out = vec![0; MAX_ENCODED];
    let header = Header { kind: FrameKind::SealedRequest, session, sequence: 7 };
    let len = encode(header, payload, &mut out).unwrap();
    out.truncate(len);
    out
}

#[test]
fn every_frame_is_answered_in_order() {
    let line = wire(100, usize::MAX);
    let payloads: Vec<Vec<u8>> =
        [0, 1, 253, 254, 255, 5000, MAX_PAYLOAD].map(|len| vec![len as u8; len]).to_vec();
    for (session, payload) in (0..).zip(&payloads) {
        line.host_sends(&frame(session, payload));
    }
    run(&[&line], None, || false);
    assert_eq!(line.host_received(), (0..).zip(payloads).collect::<Vec<_>>());
}

#[test]
fn lines_take_turns() {
    let (busy, quiet) = (wire(usize::MAX, usize::MAX), wire(usize::MAX, usize::MAX));
    for _ in 0..10 {
        busy.host_sends(&frame(1, b"busy"));
    }
    for _ in 0..3 {
        quiet.host_sends(&frame(2, b"quiet"));
    }
    let served = run(&[&busy, &quiet], None, || false);
    assert_eq!(served, [1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 1, 1]);
}

#[test]
fn a_host_that_does_not_read_stops_its_own_line_only() {
    let (deaf, good) = (wire(usize::MAX, 5), wire(usize::MAX, usize::MAX));
    for _ in 0..5 {
        deaf.host_sends(&frame(1, b"never read"));
        good.host_sends(&frame(2, b"read"));
    }
    let waits = RefCell::new(0);
    let served = run(&[&deaf, &good], None, || {
        *waits.borrow_mut() += 1;
        match *waits.borrow() {
            1 => assert_eq!(good.host_received().len(), 5),
            // It comes back: what it missed is there, complete.
            2 => deaf.0.borrow_mut().credit = usize::MAX,
            _ => return false,
        }
        true
    });
    assert_eq!(served.iter().filter(|session| **session == 1).count(), 5);
    assert_eq!(deaf.host_received(), vec![(1, b"never read".to_vec()); 5]);
    // No more than one frame was served for it while it was deaf.
    assert_eq!(served[..6], [1, 2, 2, 2, 2, 2]);
}

#[test]
fn a_slow_line_gets_whole_replies() {
    let line = wire(3, 0);
    let payload = vec![9; 1000];
    line.host_sends(&frame(1, &payload));
    line.host_sends(&frame(2, &payload));
    let mut waits = 0;
    run(&[&line], None, || {
        waits += 1;
        line.0.borrow_mut().credit = 7;
        waits < 400
    });
    assert_eq!(line.host_received(), vec![(1, payload.clone()), (2, payload)]);
}

#[test]
fn the_last_reply_is_sent_before_the_loop_ends() {
    let line = wire(usize::MAX, 0);
    for session in 0..4 {
        line.host_sends(&frame(session, b"reset"));
    }
    let served = run(&[&line], Some(1), || {
        line.0.borrow_mut().credit = 1;
        true
    });
    assert_eq!(served, [0]);
    assert_eq!(line.host_received(), vec![(0, b"reset".to_vec())]);
}

proptest! {
    /// Whatever is on the line between frames costs at most the frame it runs into, and a
    /// delimiter ends it.
    #[test]
    fn garbage_is_survived(
        noise in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 1..8),
        burst in 1usize..400,
    ) {
        let line = wire(burst, usize::MAX);
        let mut sessions = Vec::new();
        for (session, noise) in (1..).zip(&noise) {
            line.host_sends(noise);
            line.host_sends(&[0]);
            line.host_sends(&frame(session, noise));
            sessions.push((session, noise.clone()));
        }
        run(&[&line], None, || false);
        prop_assert_eq!(line.host_received(), sessions);
    }
}

#[test]
fn an_endless_frame_is_dropped() {
    let line = wire(4096, usize::MAX);
    line.host_sends(&vec![0x55; 10 * MAX_ENCODED]);
    line.host_sends(&[0]);
    line.host_sends(&frame(3, b"good"));
    assert_eq!(run(&[&line], None, || false), [3]);
}
