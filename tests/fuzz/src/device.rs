//! The whole device: bytes on its line, and requests of an enrolled host.

use std::cell::RefCell;

use host_driver::OperatorKey;
use host_driver::provision::development_domain;
use hsm_core::Hsm;
use hsm_core::memory::Memory;
use hsm_core::testing::{MemoryPlatform, TestRng};
use hsm_protocol::audit::Note;
use hsm_protocol::channel::{AdmissionKey, Initiator, Keys, MessageHash, RECORD_OVERHEAD};
use hsm_protocol::command::domain::FoundDomain;
use hsm_protocol::command::system::{AdmissionChallenge, DeviceInfo};
use hsm_protocol::command::{Command, ModuleState, decode};
use hsm_protocol::domain::{DeviceKind, MAX_STATE, Member};
use hsm_protocol::frame::{Decoder, Frame, FrameKind, Header, MAX_ENCODED};
use hsm_protocol::identity::{IdentityDocument, PublicKey};
use hsm_protocol::key_spec::KeySpec;
use hsm_protocol::request::{RequestHead, ResponseHead};
use hsm_protocol::{Bytes, ErrorCode, Opcode, Role};
use p256::SecretKey;

/// A device in operation with a crypto user's session.
struct Rig {
    hsm: Box<Hsm<MemoryPlatform>>,
    decoder: Box<Decoder<MAX_ENCODED>>,
    user: (u16, Keys),
    /// Audit entries that the host has.
    taken: u64,
}

thread_local! {
    static RIG: RefCell<Rig> = RefCell::new(Rig::new());
}

/// Steps of work in the background after each request.
const STEPS: usize = 4;

/// Bytes as they come on the line. Each frame in them is answered with one frame.
pub(crate) fn line(input: &[u8]) {
    RIG.with_borrow_mut(|rig| {
        let mut decoder = Box::new(Decoder::<MAX_ENCODED>::new());
        let (mut rest, mut reply) = (input, vec![0; MAX_ENCODED]);
        while let Some(frame) = decoder.next(&mut rest) {
            let length = rig.hsm.process(frame, &mut reply);
            let mut answer = &reply[..length];
            rig.decoder.next(&mut answer).expect("a frame for each frame");
            assert!(answer.is_empty(), "exactly one");
        }
        assert_eq!(rig.hsm.state(), ModuleState::Operational);
    });
}

/// A request as an enrolled host may send it: opcode, then the body.
pub(crate) fn requests(input: &[u8]) {
    let Some((number, body)) = input.split_first_chunk() else { return };
    let opcode = Opcode(u16::from_le_bytes(*number));
    // These do what they say, or take long because they are asked to.
    if [Opcode::CloseSession, Opcode::SelfTest].contains(&opcode) || is_slow_search(opcode, body) {
        return;
    }
    RIG.with_borrow_mut(|rig| {
        // All entries so far: what is not taken would refuse what follows.
        let note = Note { taken: rig.taken, ..Note::default() };
        let note = opcode.is_audited().then_some(note);
        let mut request = vec![0; 64 + body.len()];
        let start = RequestHead { opcode, id: 7, note }.write(&mut request).expect("room");
        request.truncate(start);
        request.extend_from_slice(body);
        let Rig { hsm, decoder, user: (session, keys), taken } = rig;
        let answer = exchange(hsm, decoder, *session, keys, &request);
        let (head, _) = ResponseHead::split(&answer).expect("a response's head");
        *taken = head.receipt.map_or(*taken, |receipt| receipt.index + 1);
        assert_ne!(head.status, Some(ErrorCode::AUDIT_FULL));
        // A key pair that is searched for goes on with the next inputs: one of RSA takes seconds.
        for _ in 0..STEPS {
            if hsm.work() != hsm_core::NextWork::AtOnce {
                break;
            }
        }
        assert_eq!(hsm.state(), ModuleState::Operational);
    });
}

/// Whether a request asks for a pair of RSA keys longer than 2048 bits: a step of that search takes a
/// second with what watches the coverage, and shows nothing that the shorter one does not.
fn is_slow_search(opcode: Opcode, body: &[u8]) -> bool {
    let prepares = [Opcode::PrepareKeyPair, Opcode::PrepareGuardedPair].contains(&opcode);
    let spec = postcard::take_from_bytes::<KeySpec>(body).map(|(spec, _)| spec);
    prepares && spec.is_ok_and(|spec| [KeySpec::RSA_3072, KeySpec::RSA_4096].contains(&spec))
}

/// Sends a request's plaintext through a session; returns the response's.
fn exchange(
    hsm: &mut Hsm<MemoryPlatform>,
    decoder: &mut Decoder<MAX_ENCODED>,
    session: u16,
    keys: &mut Keys,
    request: &[u8],
) -> Vec<u8> {
    let mut record = request.to_vec();
    record.resize(request.len() + RECORD_OVERHEAD, 0);
    let sequence = keys.sealer.sequence();
    keys.sealer.seal(&mut record, request.len()).expect("room");
    let header = Header { kind: FrameKind::SealedRequest, session, sequence };
    let mut answer = answer(hsm, decoder, header, &mut record);
    assert_eq!(answer.0.kind, FrameKind::SealedResponse);
    let plain = keys.opener.open(answer.0.sequence, &mut answer.1).expect("the device's record");
    ResponseHead::split(plain).expect("a response's head");
    plain.to_vec()
}

fn answer(
    hsm: &mut Hsm<MemoryPlatform>,
    decoder: &mut Decoder<MAX_ENCODED>,
    header: Header,
    payload: &mut [u8],
) -> (Header, Vec<u8>) {
    let mut reply = vec![0; MAX_ENCODED];
    let length = hsm.process(Frame { header, payload }, &mut reply);
    let frame = decoder.next(&mut &reply[..length]).expect("a frame for each frame");
    (frame.header, frame.payload.to_vec())
}

impl Rig {
    fn new() -> Self {
        let mut hsm = Box::new(Hsm::new(MemoryPlatform::new(), Memory::boxed()));
        hsm.start();
        let mut decoder = Box::new(Decoder::new());
        let key = |byte| SecretKey::from_slice(&[byte; 32]).expect("a scalar");
        let user = key(2);
        let identity = identity(&mut hsm, &mut decoder);
        let link = identity.link;
        let operator = OperatorKey::from_bytes(&[1; 32]).expect("a scalar");
        let (signing, join, kind) = (identity.signing, identity.join, DeviceKind::InProcess);
        let (member, user_key) =
            (Member { signing, join, kind }, PublicKey::from_point(&user.public_key()));
        let hosts = [(user_key, Role::CryptoUser)];
        let founded = development_domain("fuzz", &member, &operator, &hosts);
        let (state, votes) = founded.expect("it is short");
        let mut encoded = [0; MAX_STATE];
        let state = Bytes(state.encode(&mut encoded).expect("it is short"));
        let mut founder = open(&mut hsm, &mut decoder, &user, &link);
        let found = FoundDomain { state, votes, certificate: None };
        call(&mut hsm, &mut decoder, &mut founder, &found);
        let user = open(&mut hsm, &mut decoder, &user, &link);
        assert_eq!(hsm.state(), ModuleState::Operational);
        Self { hsm, decoder, user, taken: 0 }
    }
}

/// The device's keys, as `Info` tells them in the clear.
fn identity(hsm: &mut Hsm<MemoryPlatform>, decoder: &mut Decoder<MAX_ENCODED>) -> IdentityDocument {
    let body = plain(hsm, decoder, Opcode::Info);
    let info: DeviceInfo<'_> = decode(&body).expect("device information");
    info.identity
}

/// The answer to a request without content, in the clear.
fn plain(
    hsm: &mut Hsm<MemoryPlatform>,
    decoder: &mut Decoder<MAX_ENCODED>,
    opcode: Opcode,
) -> Vec<u8> {
    let mut request = vec![0; 64];
    let head = RequestHead { opcode, id: 1, note: None };
    let length = head.write(&mut request).expect("room");
    let header = Header { kind: FrameKind::PlainRequest, session: 0, sequence: 0 };
    let (_, payload) = answer(hsm, decoder, header, &mut request[..length]);
    let (_, body) = ResponseHead::split(&payload).expect("a response");
    body.to_vec()
}

fn open(
    hsm: &mut Hsm<MemoryPlatform>,
    decoder: &mut Decoder<MAX_ENCODED>,
    key: &SecretKey,
    link: &PublicKey,
) -> (u16, Keys) {
    let (initiator, message) = Initiator::start(key, link, &mut TestRng(3)).expect("a link key");
    let body = plain(hsm, decoder, Opcode::Admission);
    let AdmissionChallenge { challenge } = decode(&body).expect("a challenge");
    let admission = AdmissionKey::of_host(key, link).expect("a link key");
    let tag = admission.tag(&challenge, &MessageHash::of(&message)).expect("a tag");
    let header = Header { kind: FrameKind::Handshake1, session: 0, sequence: 0 };
    let (_, payload) = answer(hsm, decoder, header, &mut [&message[..], &tag].concat());
    let (keys, welcome) = initiator.finish(&payload).expect("a session");
    (welcome.session, keys)
}

fn call<C: Command>(
    hsm: &mut Hsm<MemoryPlatform>,
    decoder: &mut Decoder<MAX_ENCODED>,
    (session, keys): &mut (u16, Keys),
    command: &C,
) {
    let mut request = vec![0; 1024];
    let note = C::AUDIT.then(Note::default);
    let start = RequestHead { opcode: C::OPCODE, id: 1, note }.write(&mut request).expect("room");
    let length = start + command.encode(&mut request[start..]).expect("room").len();
    let response = exchange(hsm, decoder, *session, keys, &request[..length]);
    let (head, _) = ResponseHead::split(&response).expect("a response");
    assert_eq!(head.status, None, "{:?}", C::OPCODE);
}
