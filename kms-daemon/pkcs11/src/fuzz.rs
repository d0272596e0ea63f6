//! What the fuzz targets call: both ends of the pipe, with bytes that the other end would not send.

use std::pin::pin;
use std::task::{Context, Poll, Waker};

use crate::fault::MAX_NAME;
use crate::message::{Answer, MAX_RANDOM, Request};
use crate::reply::exchange;
use crate::{Fault, MAX_DATA, frame, worker};

/// The worker's end: frames with requests, one after another. No module is loaded. Returns how many requests there were.
///
/// # Panics
/// If a request is not the same after it was sent again, or is obeyed without a module.
pub fn requests(mut input: &[u8]) -> usize {
    let mut read = 0;
    while let Ok(Some(body)) = frame::read(&mut input) {
        let Ok(request) = frame::decode::<Request>(&body) else { break };
        read += 1;
        let sent = frame::encode(&request).expect("it came in a frame");
        let body = frame::read(&mut &sent[..]).expect("a frame").expect("a frame");
        assert!(frame::decode::<Request>(&body).is_ok_and(|again| again == request));
        if !matches!(request, Request::Open { .. }) {
            assert!(worker::answer(&mut None, request) == Err(Fault::Malformed), "obeyed");
        }
    }
    read
}

/// The daemon's end: two bytes are a length, the rest is what a process sends, one answer after another. Returns
/// how many were accepted, faults among them.
///
/// # Panics
/// If an answer is accepted that is not as long as it has to be, or has a text that is not for logs.
pub fn answers(input: &[u8]) -> usize {
    let Some((length, mut stream)) = input.split_first_chunk::<2>() else { return 0 };
    let mut accepted = 0;
    let length = u16::from_le_bytes(*length);
    let wanted = usize::from(length);
    while !stream.is_empty() {
        let reply = match receive(&mut stream) {
            Ok(reply) => reply,
            Err(Fault::Malformed | Fault::Ended) => break,
            Err(fault) => {
                accepted += 1;
                assert!(Fault::NAMES.contains(&fault.name()));
                assert!(fault.to_string().len() < MAX_NAME + 64);
                assert!(!fault.to_string().contains(char::is_control));
                continue;
            }
        };
        accepted += 1;
        let sent = frame::encode(&Answer::Ok(reply.clone())).expect("it came in a frame");
        let body = frame::read(&mut &sent[..]).expect("a frame").expect("a frame");
        assert!(frame::decode::<Answer>(&body).is_ok_and(|again| again == Ok(reply.clone())));
        if let Ok(sealed) = reply.clone().sealed(wanted) {
            assert!(sealed.ciphertext.len() == wanted && wanted <= MAX_DATA);
        }
        assert!(
            reply.clone().opened(wanted).is_ok_and(|it| it.len() == wanted)
                || reply.clone().opened(wanted) == Err(Fault::Malformed)
        );
        if length <= MAX_RANDOM
            && let Ok(random) = reply.clone().random(length)
        {
            assert_eq!(random.len(), wanted);
        }
        if let Ok((modulus, exponent)) = reply.clone().public() {
            assert!(modulus.len() >= 384 && exponent.ends_with(&[1, 0, 1]));
        }
        if let Ok(presence) = reply.clone().present("ada") {
            assert!(presence.label == "ada" && !presence.serial.contains(char::is_control));
        }
        let kinds = [reply.clone().done().is_ok(), reply.wrapped().is_ok()];
        assert_ne!(kinds, [true, true]);
    }
    accepted
}

/// Reads an answer. All of it is there, so that nothing waits.
fn receive(stream: &mut &[u8]) -> Answer {
    let mut sink = tokio::io::sink();
    let reading = pin!(exchange(&mut sink, stream, &Request::Probe));
    match reading.poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(answer) => answer,
        Poll::Pending => Err(Fault::Ended),
    }
}
