//! A host made of nothing but `hsm-protocol`: it can also say what no driver would.

use std::time::{Duration, Instant};

use getrandom::SysRng;
use getrandom::rand_core::UnwrapErr;
use host_driver::transport::{Halves, Receiver, Sender, Transport};
use hsm_protocol::audit::Note;
use hsm_protocol::channel::{AdmissionKey, Initiator, Keys, MESSAGE_1_SIZE, MessageHash};
use hsm_protocol::command::decode;
use hsm_protocol::command::system::{
    Admission, AdmissionChallenge, DeviceInfo, Info, ModuleStatus, Status,
};
use hsm_protocol::frame::{Decoder, FrameKind, Header, MAX_ENCODED, MAX_PAYLOAD, encode};
use hsm_protocol::identity::{IdentityDocument, PublicKey, Signature};
use hsm_protocol::request::{RequestHead, ResponseHead};
use hsm_protocol::{AuditTag, Command, ErrorCode};
use p256::SecretKey;
use p256::ecdsa::signature::Signer;
use p256::ecdsa::{self, SigningKey};
use p256::elliptic_curve::Generate;

use crate::patience::PATIENCE;

/// How long a device may be silent before a request counts as lost.
const SILENCE: Duration = Duration::from_millis(300);

/// An open line to a device.
pub struct Wire {
    sender: Box<dyn Sender>,
    receiver: Box<dyn Receiver>,
    decoder: Box<Decoder<MAX_ENCODED>>,
    unread: Vec<u8>,
    sequence: u32,
}

/// A frame from the device.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Received {
    /// Its header.
    pub header: Header,
    /// Its payload.
    pub payload: Vec<u8>,
}

impl Received {
    /// The code of a link error.
    ///
    /// # Panics
    /// If the frame is malformed.
    #[must_use]
    pub fn link_error(&self) -> ErrorCode {
        assert_eq!(self.header.kind, FrameKind::LinkError, "{self:?}");
        let code = self.payload.as_slice().try_into().map(u16::from_le_bytes).expect("two bytes");
        ErrorCode::from_u16(code).expect("an error")
    }
}

impl Wire {
    /// Takes over a line.
    ///
    /// # Panics
    /// If the operating system refuses.
    #[must_use]
    pub fn new(transport: Box<dyn Transport>) -> Self {
        let Halves { sender, receiver } = transport.split().expect("a line has two directions");
        Self { sender, receiver, decoder: Box::default(), unread: Vec::new(), sequence: 1 }
    }

    /// Sends bytes as they are.
    ///
    /// # Panics
    /// If the line is gone.
    pub fn send_bytes(&mut self, bytes: &[u8]) {
        self.sender.send(bytes).expect("the line takes bytes");
    }

    /// Sends a frame.
    ///
    /// # Panics
    /// If the payload is too long for one, or the line is gone.
    pub fn send(&mut self, header: Header, payload: &[u8]) {
        self.send_bytes(&encoded(header, payload));
    }

    /// The next frame, if one comes within `patience`.
    ///
    /// # Panics
    /// If the line is gone.
    pub fn receive(&mut self, patience: Duration) -> Option<Received> {
        let by = Instant::now() + patience;
        loop {
            let mut rest = self.unread.as_slice();
            let received = self
                .decoder
                .next(&mut rest)
                .map(|frame| Received { header: frame.header, payload: frame.payload.to_vec() });
            let consumed = self.unread.len() - rest.len();
            self.unread.drain(..consumed);
            let left = by.saturating_duration_since(Instant::now());
            if received.is_some() || left.is_zero() {
                return received;
            }
            let mut chunk = [0; 4096];
            let length = self.receiver.receive(&mut chunk, left).expect("the line is there");
            self.unread.extend_from_slice(&chunk[..length]);
        }
    }

    /// Every whole frame up to the end of the line, which must come within [`PATIENCE`].
    ///
    /// # Panics
    /// If it does not.
    #[must_use]
    pub fn rest(mut self) -> Vec<Received> {
        let by = Instant::now() + PATIENCE;
        let mut chunk = [0; 4096];
        while let Ok(length) = self.receiver.receive(&mut chunk, SILENCE) {
            assert!(Instant::now() < by, "the line does not end");
            self.unread.extend_from_slice(&chunk[..length]);
        }
        let mut rest = self.unread.as_slice();
        let mut frames = Vec::new();
        while let Some(frame) = self.decoder.next(&mut rest) {
            frames.push(Received { header: frame.header, payload: frame.payload.to_vec() });
        }
        frames
    }

    /// Sends a frame and waits for the one that answers it.
    ///
    /// # Panics
    /// If none comes.
    pub fn exchange(&mut self, header: Header, payload: &[u8]) -> Received {
        self.send(header, payload);
        self.receive(PATIENCE).expect("every good frame gets an answer")
    }

    /// Calls a command outside the channel and returns the body of its response.
    ///
    /// # Errors
    /// The device's refusal.
    pub fn plain<C: Command>(&mut self, command: &C) -> Result<Vec<u8>, ErrorCode> {
        self.sequence = self.sequence.wrapping_add(1);
        let header = Header { kind: FrameKind::PlainRequest, session: 0, sequence: self.sequence };
        let answer = self.exchange(header, &request(command, None, 7));
        assert_eq!(answer.header, Header { kind: FrameKind::PlainResponse, ..header });
        let (head, body) = ResponseHead::split(&answer.payload).expect("a response");
        assert_eq!((head.id, head.receipt), (7, None));
        head.status.map_or_else(|| Ok(body.to_vec()), Err)
    }

    /// Module state and counters.
    ///
    /// # Panics
    /// If the device does not answer.
    pub fn status(&mut self) -> ModuleStatus {
        let body = self.plain(&Status).expect("status is answered in every state");
        decode(&body).expect("a status")
    }

    /// As [`Wire::status`], but `None` if no answer comes within `patience`. What the device
    /// answers to earlier requests is thrown away.
    pub fn try_status(&mut self, patience: Duration) -> Option<ModuleStatus> {
        self.sequence = self.sequence.wrapping_add(1);
        let header = Header { kind: FrameKind::PlainRequest, session: 0, sequence: self.sequence };
        // A delimiter first: the device may have the head of a frame that was cut off.
        self.send_bytes(&[0]);
        self.send(header, &request(&Status, None, 7));
        let wanted = Header { kind: FrameKind::PlainResponse, ..header };
        loop {
            let answer = self.receive(patience)?;
            if answer.header == wanted {
                let (_, body) = ResponseHead::split(&answer.payload).ok()?;
                return decode(body).ok();
            }
        }
    }

    /// Waits until the device answers what it is asked now, whatever the line still holds in
    /// either direction; while it boots, it loses what it is sent.
    ///
    /// # Panics
    /// If it never does.
    pub fn synchronise(&mut self) {
        let by = Instant::now() + PATIENCE;
        let mut patience = SILENCE;
        while self.try_status(patience).is_none() {
            assert!(Instant::now() < by, "the device does not answer");
            // A slow machine answers, but later.
            patience = PATIENCE.min(2 * patience);
        }
    }

    /// The device's identity, verified.
    ///
    /// # Panics
    /// If the device does not answer, or its document does not hold.
    pub fn identity(&mut self) -> IdentityDocument {
        let body = self.plain(&Info).expect("info is answered in every state");
        let info: DeviceInfo<'_> = decode(&body).expect("an info");
        info.identity.verify().expect("a device signs its own identity");
        info.identity
    }

    /// Requests that the device takes without having answered.
    ///
    /// # Panics
    /// If the device does not answer.
    pub fn window(&mut self) -> u16 {
        let body = self.plain(&Info).expect("info is answered in every state");
        let info: DeviceInfo<'_> = decode(&body).expect("an info");
        info.window
    }

    /// The payload of a first handshake frame for this device, which answers the challenge of the
    /// one at the other end.
    ///
    /// # Errors
    /// If the link key is not a point, or the device has no challenge to answer.
    pub fn first_message(
        &mut self,
        host: &SecretKey,
        device: &PublicKey,
    ) -> Result<(Initiator, Vec<u8>), ErrorCode> {
        let (initiator, message) = Initiator::start(host, device, &mut UnwrapErr(SysRng))?;
        Ok((initiator, self.admitted(host, device, &message)?))
    }

    /// A first message with the answer to the challenge that the device has now.
    ///
    /// # Errors
    /// As for [`Wire::first_message`].
    pub fn admitted(
        &mut self,
        host: &SecretKey,
        device: &PublicKey,
        message: &[u8; MESSAGE_1_SIZE],
    ) -> Result<Vec<u8>, ErrorCode> {
        let body = self.plain(&Admission)?;
        let AdmissionChallenge { challenge } = decode(&body)?;
        let admission = AdmissionKey::of_host(host, device)?;
        let tag = admission.tag(&challenge, &MessageHash::of(message))?;
        Ok([&message[..], &tag].concat())
    }

    /// Opens a session with this device as this host.
    ///
    /// # Errors
    /// The device's refusal.
    pub fn handshake(
        &mut self,
        host: &SecretKey,
        device: &PublicKey,
    ) -> Result<Session, ErrorCode> {
        let (initiator, payload) = self.first_message(host, device)?;
        let header = Header { kind: FrameKind::Handshake1, session: 0, sequence: 99 };
        let answer = self.exchange(header, &payload);
        assert_eq!(answer.header.sequence, 99);
        match answer.header.kind {
            FrameKind::Handshake2 => {
                let (keys, welcome) = initiator.finish(&answer.payload)?;
                Ok(Session::new(welcome.session, keys))
            }
            _ => Err(answer.link_error()),
        }
    }

    /// Opens a session with whatever device is at the other end.
    ///
    /// # Errors
    /// The device's refusal.
    pub fn session(&mut self, host: &SecretKey) -> Result<Session, ErrorCode> {
        let device = self.identity().link;
        self.handshake(host, &device)
    }
}

/// An open session: a channel, and request ids.
#[derive(Debug)]
pub struct Session {
    /// The session's number on the line.
    pub id: u16,
    keys: Keys,
    requests: u16,
    /// Audit entries that the host says it has: all that its answers have told of.
    pub taken: u64,
}

impl Session {
    /// A session whose channel was opened elsewhere.
    #[must_use]
    pub fn new(id: u16, keys: Keys) -> Self {
        Self { id, keys, requests: 0, taken: 0 }
    }

    /// Seals a request; the frame can be sent once, or more often.
    ///
    /// # Panics
    /// If the request is too long for a frame.
    #[must_use]
    pub fn seal<C: Command>(&mut self, command: &C) -> (Header, Vec<u8>) {
        self.requests = self.requests.wrapping_add(1);
        let (tag, taken) = (tag_of(self.requests), self.taken);
        let note = C::AUDIT.then_some(Note { tag, time_ms: TIME_MS, taken });
        self.seal_bytes(&request(command, note, self.requests))
    }

    /// Seals any bytes.
    ///
    /// # Panics
    /// If they are too long for a frame.
    #[must_use]
    pub fn seal_bytes(&mut self, plaintext: &[u8]) -> (Header, Vec<u8>) {
        let header = Header {
            kind: FrameKind::SealedRequest,
            session: self.id,
            sequence: self.keys.sealer.sequence(),
        };
        let mut record = vec![0; MAX_PAYLOAD];
        record[..plaintext.len()].copy_from_slice(plaintext);
        let length = self.keys.sealer.seal(&mut record, plaintext.len()).expect("it fits");
        record.truncate(length);
        (header, record)
    }

    /// Opens an answer: its head and body.
    ///
    /// # Errors
    /// The code of a link error, or [`ErrorCode::BAD_RECORD`].
    pub fn open(&mut self, mut answer: Received) -> Result<(ResponseHead, Vec<u8>), ErrorCode> {
        if answer.header.kind == FrameKind::LinkError {
            return Err(answer.link_error());
        }
        assert_eq!(answer.header.kind, FrameKind::SealedResponse);
        assert_eq!(answer.header.session, self.id);
        let plain = self.keys.opener.open(answer.header.sequence, &mut answer.payload)?;
        let (head, body) = ResponseHead::split(plain)?;
        self.taken = head.receipt.map_or(self.taken, |receipt| receipt.index + 1);
        Ok((head, body.to_vec()))
    }

    /// Calls a command and returns the body of its response.
    ///
    /// # Errors
    /// The device's refusal, of the command or of the session.
    pub fn call<C: Command>(&mut self, wire: &mut Wire, command: &C) -> Result<Vec<u8>, ErrorCode> {
        let (header, payload) = self.seal(command);
        let answer = wire.exchange(header, &payload);
        let (head, body) = self.open(answer)?;
        assert_eq!(head.id, self.requests, "answers come in order");
        head.status.map_or_else(|| Ok(body), Err)
    }
}

/// A new host key.
#[must_use]
pub fn host_key() -> SecretKey {
    SecretKey::generate_from_rng(&mut UnwrapErr(SysRng))
}

/// The public half of a host key in the protocol's form.
#[must_use]
pub fn public(key: &SecretKey) -> PublicKey {
    PublicKey::from_point(&key.public_key())
}

/// The identity document of a device that has one key for everything.
///
/// # Panics
/// Never: every key can sign.
#[must_use]
pub fn identity_of(key: &SecretKey) -> IdentityDocument {
    let own = public(key);
    let message = IdentityDocument::message(&own, &own, &own);
    let signature: ecdsa::Signature = SigningKey::from(key).sign(&message);
    let (r, s) = signature.split_bytes();
    let signature = Signature { r: r.into(), s: s.into() };
    IdentityDocument { signing: own, link: own, join: own, signature }
}

/// A frame's bytes on the line.
///
/// # Panics
/// If the payload is too long for a frame.
#[must_use]
pub fn encoded(header: Header, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; MAX_ENCODED];
    let length = encode(header, payload, &mut bytes).expect("the payload fits a frame");
    bytes.truncate(length);
    bytes
}

/// A request's bytes.
///
/// # Panics
/// If it is too long for a frame.
#[must_use]
pub fn request<C: Command>(command: &C, note: Option<Note>, id: u16) -> Vec<u8> {
    let mut bytes = vec![0; MAX_PAYLOAD];
    let head = RequestHead { opcode: C::OPCODE, id, note }.write(&mut bytes).expect("a head");
    let body = command.encode(&mut bytes[head..]).expect("the request fits a frame").len();
    bytes.truncate(head + body);
    bytes
}

/// The time that sessions say, in milliseconds since 1970-01-01 UTC.
pub const TIME_MS: u64 = 1_767_225_600_000;

/// The audit tag of a session's request with this id.
#[must_use]
pub fn tag_of(request: u16) -> AuditTag {
    let mut tag = AuditTag([0xa5; AuditTag::SIZE]);
    tag.0[..2].copy_from_slice(&request.to_le_bytes());
    tag
}
