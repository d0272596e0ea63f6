use hsm_protocol::channel::{HANDSHAKE_1_SIZE, Keys, MESSAGE_1_SIZE, Responder, Welcome};
use hsm_protocol::command::random::Random;
use hsm_protocol::command::system::Status;
use hsm_protocol::curve::{KeyPair, Portable};
use hsm_protocol::frame::{Decoder, MAX_ENCODED};
use hsm_protocol::identity::{IdentityDocument, Signature};
use hsm_protocol::request::RequestHead;
use hsm_protocol::{AuditTag, Command};

use super::*;
use crate::host_key::HostKey;
use crate::key_file::system_rng;
use crate::session::{Handshake, SharedChain};

const PATIENCE: Duration = Duration::from_secs(3);
const SESSION: u16 = 9;

/// A caller, known by its number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Caller(u32, bool);

impl Ticket for Caller {
    fn is_abandoned(&self) -> bool {
        self.1
    }
}

/// An exchange, and the device's end of its line.
struct Rig {
    exchange: Exchange<Caller>,
    decoder: Box<Decoder<MAX_ENCODED>>,
    device: Option<Keys>,
    start: Instant,
}

/// What the device has received.
struct Received {
    header: Header,
    payload: Vec<u8>,
}

fn request<C: Command>(command: &C) -> Arc<Request> {
    Arc::new(Request::encode(command, AuditTag([1; 16])).unwrap())
}

impl Rig {
    fn new() -> Self {
        let start = Instant::now();
        let mut exchange = Exchange::new(PATIENCE, 1000, start);
        exchange.set_credit(Credit { window: 3, bytes: 4096 });
        Self { exchange, decoder: Box::new(Decoder::new()), device: None, start }
    }

    /// With an open session.
    fn with_session() -> Self {
        let mut rig = Self::new();
        let link = KeyPair::generate(&Portable, &mut system_rng()).unwrap();
        let public = link.public();
        let signature = Signature { r: [0; 32], s: [0; 32] };
        let identity = IdentityDocument { signing: public, link: public, join: public, signature };
        let (handshake, message) =
            Handshake::start(&HostKey::generate(), &identity, &[0; 16]).unwrap();
        let responder = Responder::read(&Portable, &link, &message[..MESSAGE_1_SIZE]).unwrap();
        let welcome = Welcome { session: SESSION };
        let (keys, message) = responder.accept(&Portable, welcome, &mut system_rng()).unwrap();
        rig.exchange.install(handshake.finish(&message, SharedChain::default()).unwrap());
        rig.device = Some(keys);
        rig
    }

    fn at(&self, milliseconds: u64) -> Instant {
        self.start + Duration::from_millis(milliseconds)
    }

    fn plain(&mut self, caller: u32) {
        let message = Message::Plain(request(&Status));
        let (deadline, now) = (self.at(1000), self.start);
        self.exchange.submit(message, Caller(caller, false), deadline, now);
    }

    fn sealed(&mut self, caller: u32) {
        let message = Message::Sealed(request(&Random { length: 1 }));
        let (deadline, now) = (self.at(1000), self.start);
        self.exchange.submit(message, Caller(caller, false), deadline, now);
    }

    fn received(&mut self) -> Vec<Received> {
        let output = std::mem::take(self.exchange.output());
        let mut input = output.as_slice();
        let mut all = Vec::new();
        while let Some(Frame { header, payload }) = self.decoder.next(&mut input) {
            all.push(Received { header, payload: payload.to_vec() });
        }
        all
    }

    fn reply(&mut self, header: Header, payload: &[u8]) {
        let mut payload = payload.to_vec();
        let now = self.at(10);
        self.exchange.receive(Frame { header, payload: &mut payload }, now);
    }

    /// Answers a plain request with no body.
    fn answer(&mut self, received: &Received) {
        let (head, _) = RequestHead::split(&received.payload).unwrap();
        let response = [head.id.to_le_bytes(), [0, 0]].concat();
        self.reply(Header { kind: FrameKind::PlainResponse, ..received.header }, &response);
    }

    fn refuse(&mut self, received: &Received, code: ErrorCode) {
        let header = Header { kind: FrameKind::LinkError, ..received.header };
        self.reply(header, &code.to_u16().to_le_bytes());
    }

    /// The callers told since the last time, and whether they got an answer.
    fn told(&mut self) -> Vec<(u32, Result<(), String>)> {
        let done = self.exchange.take_done();
        let outcome = |done: Done<Caller>| {
            let outcome = done.outcome.map(drop).map_err(|error| format!("{error:?}"));
            done.ticket.map(|caller| (caller.0, outcome))
        };
        done.into_iter().filter_map(outcome).collect()
    }
}

#[test]
fn the_window_bounds_what_is_unanswered() {
    let mut rig = Rig::new();
    (0..5).for_each(|caller| rig.plain(caller));
    let first = rig.received();
    assert_eq!(
        first.iter().map(|frame| frame.header.sequence).collect::<Vec<_>>(),
        [1000, 1001, 1002]
    );
    assert!(rig.received().is_empty());
    rig.answer(&first[0]);
    let next = rig.received();
    assert_eq!(next.len(), 1);
    rig.answer(&first[1]);
    rig.answer(&first[2]);
    rig.answer(&next[0]);
    let last = rig.received();
    rig.answer(&last[0]);
    assert_eq!(rig.told(), [0, 1, 2, 3, 4].map(|caller| (caller, Ok(()))));
}

#[test]
fn bytes_bound_what_is_unanswered() {
    let mut rig = Rig::new();
    let each = frame::encoded_size(4);
    rig.exchange.set_credit(Credit { window: 100, bytes: 2 * each + 1 });
    (0..3).for_each(|caller| rig.plain(caller));
    let first = rig.received();
    assert_eq!(first.len(), 2);
    rig.answer(&first[0]);
    assert_eq!(rig.received().len(), 1);
}

#[test]
fn what_never_fits_is_refused_at_once() {
    let mut rig = Rig::new();
    rig.exchange.set_credit(Credit { window: 1, bytes: 8 });
    rig.plain(0);
    assert_eq!(rig.told(), [(0, Err("TooLarge".to_owned()))]);
    assert!(rig.received().is_empty());
}

#[test]
fn the_backlog_is_bounded() {
    let mut rig = Rig::new();
    let count = u32::try_from(backlog::MOST).unwrap() + 3;
    (0..count).for_each(|caller| rig.plain(caller));
    assert!(rig.told().is_empty());
    rig.plain(count);
    assert_eq!(rig.told(), [(count, Err("Overloaded".to_owned()))]);
}

#[test]
fn abandoned_calls_are_not_sent() {
    let mut rig = Rig::new();
    rig.exchange.set_credit(Credit { window: 1, bytes: 4096 });
    rig.plain(0);
    let message = Message::Plain(request(&Status));
    let (deadline, now) = (rig.at(1000), rig.start);
    rig.exchange.submit(message, Caller(1, true), deadline, now);
    rig.plain(2);
    let first = rig.received();
    rig.answer(&first[0]);
    let next = rig.received();
    rig.answer(&next[0]);
    assert_eq!(rig.told(), [(1, Err("CallerGone".to_owned())), (0, Ok(())), (2, Ok(()))]);
}

#[test]
fn an_answer_that_was_skipped_is_lost() {
    let mut rig = Rig::new();
    (0..3).for_each(|caller| rig.plain(caller));
    let frames = rig.received();
    rig.answer(&frames[1]);
    assert_eq!(rig.told(), [(0, Err("AnswerLost".to_owned())), (1, Ok(()))]);
    rig.answer(&frames[0]); // too late, and nobody's
    rig.answer(&frames[1]); // a duplicate
    assert!(rig.told().is_empty());
    rig.answer(&frames[2]);
    assert_eq!(rig.told(), [(2, Ok(()))]);
}

#[test]
fn answers_to_nothing_are_dropped() {
    let mut rig = Rig::new();
    rig.plain(0);
    let frames = rig.received();
    let header = frames[0].header;
    for stray in [
        Header { kind: FrameKind::PlainResponse, session: 1, ..header },
        Header { kind: FrameKind::PlainResponse, sequence: 7, ..header },
        Header { kind: FrameKind::Handshake2, ..header },
        Header { kind: FrameKind::PlainRequest, ..header },
    ] {
        rig.reply(stray, &[0; 4]);
    }
    assert!(rig.told().is_empty());
    rig.answer(&frames[0]);
    assert_eq!(rig.told(), [(0, Ok(()))]);
}

#[test]
fn a_deadline_keeps_the_credit() {
    let mut rig = Rig::new();
    rig.exchange.set_credit(Credit { window: 1, bytes: 4096 });
    rig.plain(0);
    rig.plain(1);
    let frames = rig.received();
    rig.exchange.expire(rig.at(999)).unwrap();
    assert!(rig.told().is_empty());
    rig.exchange.expire(rig.at(1000)).unwrap();
    let late = |sent| Err(format!("DeadlineExceeded {{ sent: {sent} }}"));
    assert_eq!(rig.told(), [(0, late(true)), (1, late(false))]);
    rig.plain(2);
    assert!(rig.received().is_empty(), "the device still works on the first");
    rig.answer(&frames[0]);
    assert_eq!(rig.received().len(), 1);
}

#[test]
fn a_device_that_does_not_answer_counts_as_hung() {
    let mut rig = Rig::new();
    rig.exchange.expire(rig.at(1_000_000)).unwrap();
    rig.plain(0);
    rig.exchange.expire(rig.at(2999)).unwrap();
    let Hung { opcode, .. } = rig.exchange.expire(rig.at(3100)).unwrap_err();
    assert_eq!(opcode, Opcode::Status);
    rig.exchange.fail_all(|sent| CallError::LinkDown { reason: "hung".into(), sent });
    rig.exchange.expire(rig.at(1_000_000)).unwrap();
}

#[test]
fn each_request_gets_the_patience_anew() {
    let mut rig = Rig::new();
    rig.plain(0);
    rig.plain(1);
    let frames = rig.received();
    rig.answer(&frames[0]); // at 10 ms
    rig.exchange.expire(rig.at(3005)).unwrap();
    rig.exchange.expire(rig.at(3100)).unwrap_err();
}

#[test]
fn sealed_answers_are_opened_in_order() {
    let mut rig = Rig::with_session();
    (0..3).for_each(|caller| rig.sealed(caller));
    for mut frame in rig.received() {
        assert_eq!((frame.header.session, frame.header.kind), (SESSION, FrameKind::SealedRequest));
        let Keys { opener, sealer } = rig.device.as_mut().unwrap();
        let plain = opener.open(frame.header.sequence, &mut frame.payload).unwrap();
        let (head, _) = RequestHead::split(plain).unwrap();
        // A refusal, so that no receipt is needed.
        let status = ErrorCode::THROTTLED.to_u16().to_le_bytes();
        let mut record = [head.id.to_le_bytes(), status].concat();
        record.resize(20, 0);
        let sequence = sealer.sequence();
        sealer.seal(&mut record, 4).unwrap();
        let kind = FrameKind::SealedResponse;
        rig.reply(Header { kind, session: SESSION, sequence }, &record);
    }
    assert_eq!(rig.told(), [0, 1, 2].map(|caller| (caller, Ok(()))));
    assert!(rig.exchange.has_session());
}

#[test]
fn a_damaged_record_ends_the_session_and_its_calls() {
    let mut rig = Rig::with_session();
    (0..2).for_each(|caller| rig.sealed(caller));
    let frames = rig.received();
    let kind = FrameKind::SealedResponse;
    rig.reply(Header { kind, ..frames[0].header }, &[0; 40]);
    let lost = Err("SessionLost { reason: BAD_RECORD, sent: true }".to_owned());
    assert_eq!(rig.told(), [(0, lost.clone()), (1, lost)]);
    assert!(!rig.exchange.has_session());
    rig.sealed(2);
    let unsent = Err("SessionLost { reason: NO_SESSION, sent: false }".to_owned());
    assert_eq!(rig.told(), [(2, unsent)]);
    rig.plain(3);
    assert_eq!(rig.received().len(), 1);
}

#[test]
fn a_refused_record_ends_the_session_but_a_refused_handshake_does_not() {
    let mut rig = Rig::with_session();
    let handshake = Message::Handshake(Box::new([0; HANDSHAKE_1_SIZE]));
    let (deadline, now) = (rig.at(1000), rig.start);
    rig.exchange.submit(handshake, Caller(0, false), deadline, now);
    rig.sealed(1);
    let frames = rig.received();
    rig.refuse(&frames[0], ErrorCode::HANDSHAKE_FAILED);
    assert!(rig.exchange.has_session());
    let told = rig.told();
    assert!(
        matches!(&told[..], [(0, Err(error))] if error.contains("HANDSHAKE_FAILED")),
        "{told:?}"
    );
    rig.refuse(&frames[1], ErrorCode::NO_SESSION);
    assert!(!rig.exchange.has_session());
    let lost = Err("SessionLost { reason: NO_SESSION, sent: true }".to_owned());
    assert_eq!(rig.told(), [(1, lost)]);
}

#[test]
fn the_first_bytes_free_a_device_that_was_interrupted() {
    let mut rig = Rig::new();
    rig.plain(0);
    assert_eq!(rig.exchange.output().first(), Some(&0));
}
