//! A device for this crate's own tests: the real frames, channel and audit rule of
//! `hsm-protocol`, with behaviour that a real device cannot be made to show on demand.
//!
//! Its crypto commands are `Random`, which repeats the audit tag, so a test can check that a caller got the
//! response to its own request, and `Decrypt`, whose plaintext is the ciphertext. The key pairs that it finds are names.

use std::collections::HashMap;
use std::io::Write;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use hsm_protocol::audit::{
    Details, Entry, Head, Note, Receipt, RequestDigest, request_digest, signed_head_message,
};
use hsm_protocol::channel::{
    AdmissionKey, Challenge, Keys, MESSAGE_1_SIZE, MessageHash, Responder, Welcome,
};
use hsm_protocol::command::audit::{AuditEntries, AuditHead, AuditPage, SignedHead};
use hsm_protocol::command::cipher::{Decrypt, Plaintext};
use hsm_protocol::command::decode;
use hsm_protocol::command::domain::{DomainStatus, DomainSummary};
use hsm_protocol::command::firmware::UpdateProgress;
use hsm_protocol::command::key::{PrepareKeyPair, PreparedKeyPair};
use hsm_protocol::command::random::{Random, RandomBytes};
use hsm_protocol::command::session::SessionState;
use hsm_protocol::command::system::{
    AdmissionChallenge, DeviceInfo, ModuleStatus, ResetReport, SelfTestReport,
};
use hsm_protocol::curve::{KeyPair, Portable};
use hsm_protocol::domain::{DeviceKind, Kind};
use hsm_protocol::frame::{self, Decoder, Frame, FrameKind, Header, MAX_ENCODED, MAX_PAYLOAD};
use hsm_protocol::identity::{IdentityDocument, PublicKey, Signature};
use hsm_protocol::key_spec::KeySpec;
use hsm_protocol::request::RequestHead;
use hsm_protocol::{
    Bytes, DeviceId, DomainId, ErrorCode, HostId, MaterialId, ModuleState, Opcode,
    PROTOCOL_VERSION, Role,
};
use p256::SecretKey;
use p256::ecdsa::SigningKey;
use p256::ecdsa::signature::hazmat::PrehashSigner;
use p256::elliptic_curve::Generate;
use sha2::{Digest, Sha256};

use crate::key_file::system_rng;
use crate::transport::loopback::{self, Loopback};
use crate::transport::{Transport, TransportError};

use answers::{encode, respond};

mod answers;

/// What every handshake answers here.
const CHALLENGE: Challenge = [0x3c; 16];

/// Entries that an audit page holds, few, so that tests see several pages.
const PAGE: usize = 4;
/// Entries that it keeps for hosts.
pub(crate) const RING: u64 = 128;

pub(crate) struct FakeDevice {
    pub(crate) specs: Vec<u8>,
    pub(crate) window: u16,
    /// Bytes of encoded frames that it takes.
    pub(crate) rx_bytes: AtomicU32,
    signing: SigningKey,
    link: KeyPair,
    pub(crate) identity: IdentityDocument,
    state: Mutex<State>,
    /// What it says of an update, whatever it is sent: bytes that it has, and bytes of the image.
    pub(crate) update: [AtomicU32; 2],
    /// Takes requests and answers nothing.
    pub(crate) hang: AtomicBool,
    /// Refuses connections and drops the present one.
    pub(crate) down: AtomicBool,
    /// Microseconds that a command takes.
    pub(crate) delay_us: AtomicU64,
    /// Executes the next audited command, then loses the connection instead of answering.
    pub(crate) lose_next_answer: AtomicBool,
    pub(crate) executed: AtomicU64,
    /// Ciphertexts that it refuses although they are right.
    pub(crate) refusals: AtomicU64,
    /// Answers that say nothing that can be understood.
    pub(crate) nonsense: AtomicU64,
    /// The next receipt does not continue the chain.
    pub(crate) break_chain: AtomicBool,
    /// What it says its firmware is.
    pub(crate) firmware: Mutex<&'static str>,
    /// How often it is asked for a key pair until it has found one; 0: never, an old firmware.
    pub(crate) questions_per_pair: AtomicU64,
    pub(crate) pair_questions: AtomicU64,
}

struct State {
    epoch: u64,
    entries: Vec<Entry>,
    heads: Vec<Head>,
    /// Entries before this have been pushed out of the ring.
    oldest: usize,
    /// Entries that a host has.
    taken: u64,
    module: ModuleState,
    domain: DomainId,
    sessions: HashMap<u16, (Keys, HostId)>,
    next_session: u16,
}

impl FakeDevice {
    pub(crate) fn new() -> Arc<Self> {
        Self::with(&[KeySpec::SYMMETRIC_DEFAULT.0], 8)
    }

    pub(crate) fn with(specs: &[u8], window: u16) -> Arc<Self> {
        let key = || SecretKey::generate_from_rng(&mut system_rng());
        let link = KeyPair::generate(&Portable, &mut system_rng()).unwrap();
        let (signing, join) = (key(), key());
        let public = |key: &SecretKey| PublicKey::from_point(&key.public_key());
        let keys = (public(&signing), link.public(), public(&join));
        let signing = SigningKey::from(&signing);
        let message = IdentityDocument::message(&keys.0, &keys.1, &keys.2);
        let signature = sign(&signing, &message);
        let identity = IdentityDocument { signing: keys.0, link: keys.1, join: keys.2, signature };
        let device = Self {
            specs: specs.to_vec(),
            window,
            rx_bytes: AtomicU32::new(64 * 1024),
            update: [AtomicU32::new(0), AtomicU32::new(0)],
            signing,
            link,
            identity,
            state: Mutex::new(State {
                epoch: 0,
                entries: Vec::new(),
                taken: 0,
                heads: Vec::new(),
                oldest: 0,
                module: ModuleState::Operational,
                domain: DomainId([1; 16]),
                sessions: HashMap::new(),
                next_session: 1,
            }),
            hang: AtomicBool::new(false),
            down: AtomicBool::new(false),
            delay_us: AtomicU64::new(0),
            lose_next_answer: AtomicBool::new(false),
            executed: AtomicU64::new(0),
            refusals: AtomicU64::new(0),
            nonsense: AtomicU64::new(0),
            break_chain: AtomicBool::new(false),
            firmware: Mutex::new("0.0.0"),
            questions_per_pair: AtomicU64::new(3),
            pair_questions: AtomicU64::new(0),
        };
        device.reboot();
        Arc::new(device)
    }

    pub(crate) fn id(&self) -> DeviceId {
        self.identity.device_id()
    }

    /// Starts a new boot: sessions and the audit chain of the last one are gone.
    pub(crate) fn reboot(&self) {
        let mut state = self.state.lock().unwrap();
        state.epoch += 1;
        state.entries.clear();
        state.heads = vec![Head::genesis(&self.id(), state.epoch)];
        (state.oldest, state.taken) = (0, 0);
        state.sessions.clear();
    }

    pub(crate) fn forget_sessions(&self) {
        self.state.lock().unwrap().sessions.clear();
    }

    pub(crate) fn set_module_state(&self, module: ModuleState) {
        self.state.lock().unwrap().module = module;
    }

    pub(crate) fn set_domain(&self, domain: DomainId) {
        self.state.lock().unwrap().domain = domain;
    }

    /// Makes the ring forget all but its last `keep` entries.
    pub(crate) fn shorten_ring(&self, keep: usize) {
        let mut state = self.state.lock().unwrap();
        state.oldest = state.entries.len().saturating_sub(keep);
    }

    /// Another host's audited command.
    pub(crate) fn act_for_another_host(&self) {
        let mut state = self.state.lock().unwrap();
        state.record(
            Opcode::Sign,
            None,
            HostId([0xEE; 16]),
            Note::default(),
            RequestDigest::default(),
        );
    }

    pub(crate) fn entries(&self) -> u64 {
        self.state.lock().unwrap().entries.len() as u64
    }

    /// Connects to the device over a pipe.
    pub(crate) fn connect(self: &Arc<Self>) -> Result<Box<dyn Transport>, TransportError> {
        if self.down.load(Ordering::SeqCst) {
            return Err(TransportError::Closed);
        }
        let (near, far) = loopback::pair();
        let device = Arc::clone(self);
        thread::spawn(move || device.serve(far));
        Ok(Box::new(near))
    }

    fn serve(&self, mut line: Loopback) {
        let mut decoder = Box::new(Decoder::<MAX_ENCODED>::new());
        let mut buffer = [0; 4096];
        let mut out = vec![0; MAX_ENCODED];
        loop {
            if self.down.load(Ordering::SeqCst) {
                return;
            }
            let patience = Duration::from_millis(20);
            let count = match line.reader.read_timeout(&mut buffer, patience) {
                Some(0) => return,
                Some(count) => count,
                None => continue,
            };
            while self.hang.load(Ordering::SeqCst) {
                thread::sleep(Duration::from_millis(5));
            }
            let mut input = &buffer[..count];
            while let Some(frame) = decoder.next(&mut input) {
                let Some((header, payload)) = self.answer(frame) else { return };
                let length = frame::encode(header, &payload, &mut out).unwrap();
                if line.writer.write_all(&out[..length]).is_err() {
                    return;
                }
            }
        }
    }

    /// The answer to a frame; `None` to drop the connection.
    fn answer(&self, frame: Frame<'_>) -> Option<(Header, Vec<u8>)> {
        let Frame { header, payload } = frame;
        let answer = |kind, payload| Some((Header { kind, ..header }, payload));
        match header.kind {
            FrameKind::PlainRequest => answer(FrameKind::PlainResponse, self.plain(payload)),
            FrameKind::Handshake1 => match self.handshake(payload) {
                Ok(message) => answer(FrameKind::Handshake2, message),
                Err(code) => answer(FrameKind::LinkError, code.to_u16().to_le_bytes().to_vec()),
            },
            FrameKind::SealedRequest => match self.sealed(header, payload) {
                Ok((_, None)) => None,
                Ok((sequence, Some(payload))) => {
                    let kind = FrameKind::SealedResponse;
                    Some((Header { kind, sequence, ..header }, payload))
                }
                Err(code) => answer(FrameKind::LinkError, code.to_u16().to_le_bytes().to_vec()),
            },
            _ => {
                let code = ErrorCode::BAD_FRAME_KIND.to_u16().to_le_bytes();
                answer(FrameKind::LinkError, code.to_vec())
            }
        }
    }

    fn plain(&self, request: &[u8]) -> Vec<u8> {
        let (head, _) = RequestHead::split(request).unwrap();
        let state = self.state.lock().unwrap();
        let body = match head.opcode {
            Opcode::Info => encode(&DeviceInfo {
                protocol: PROTOCOL_VERSION,
                firmware: *self.firmware.lock().unwrap(),
                board: "fake",
                identity: self.identity,
                window: self.window,
                rx_bytes: self.rx_bytes.load(Ordering::SeqCst),
                specs: Bytes(&self.specs),
            }),
            Opcode::Status => encode(&ModuleStatus {
                device: self.id(),
                state: state.module,
                error: None,
                epoch: state.epoch,
                audit_entries: state.entries.len() as u64,
                uptime_us: 0,
                sessions: 0,
                busy_us: 0,
                tested: 0,
                self_test_us: 0,
                stack_peak: 0,
                storage_used: 0,
                storage_size: 0,
                kind: DeviceKind::InProcess,
                measurement: None,
            }),
            Opcode::LastReset => encode(&ResetReport::UNKNOWN),
            Opcode::Admission => encode(&AdmissionChallenge { challenge: CHALLENGE }),
            _ => return respond(head.id, Err(ErrorCode::CHANNEL_REQUIRED), None),
        };
        respond(head.id, Ok(body), None)
    }

    fn handshake(&self, payload: &[u8]) -> Result<Vec<u8>, ErrorCode> {
        let (message, tag) =
            payload.split_first_chunk::<MESSAGE_1_SIZE>().ok_or(ErrorCode::HANDSHAKE_FAILED)?;
        let responder = Responder::read(&Portable, &self.link, message)?;
        let admission = AdmissionKey::of_device(&Portable, &self.link, &responder.host())?;
        let tag = tag.try_into().map_err(|_| ErrorCode::HANDSHAKE_FAILED)?;
        if !admission.admits(&CHALLENGE, &MessageHash::of(message), tag) {
            return Err(ErrorCode::HANDSHAKE_FAILED);
        }
        let host = responder.host().host_id();
        let mut state = self.state.lock().unwrap();
        let session = state.next_session;
        state.next_session += 1;
        let (keys, message) =
            responder.accept(&Portable, Welcome { session }, &mut system_rng())?;
        state.sessions.insert(session, (keys, host));
        Ok(message.to_vec())
    }

    #[allow(clippy::type_complexity)]
    fn sealed(
        &self,
        header: Header,
        record: &mut [u8],
    ) -> Result<(u32, Option<Vec<u8>>), ErrorCode> {
        thread::sleep(Duration::from_micros(self.delay_us.load(Ordering::SeqCst)));
        let mut state = self.state.lock().unwrap();
        let (keys, host) = state.sessions.get_mut(&header.session).ok_or(ErrorCode::NO_SESSION)?;
        let host = *host;
        let opened = keys.opener.open(header.sequence, record).map(|plain| plain.to_vec());
        let request = opened.inspect_err(|_| {
            state.sessions.remove(&header.session);
        })?;
        let (head, body) = RequestHead::split(&request)?;
        let is_full = head.note.is_some_and(|note| state.is_full_for(note));
        let answer = match is_full {
            true => Err(ErrorCode::AUDIT_FULL),
            false => self.execute(&state, head, body, host),
        };
        let digest = request_digest(head.opcode, body, 0); // it has no command that hides anything
        let note = head.note.filter(|_| !is_full);
        let receipt =
            note.map(|note| state.record(head.opcode, answer.as_ref().err(), host, note, digest));
        self.executed.fetch_add(1, Ordering::SeqCst);
        if head.note.is_some() && self.lose_next_answer.swap(false, Ordering::SeqCst) {
            return Ok((0, None));
        }
        let receipt = receipt.map(|receipt| match self.break_chain.swap(false, Ordering::SeqCst) {
            true => Receipt { head: Head::genesis(&DeviceId([9; 16]), 7), ..receipt },
            false => receipt,
        });
        let answer = match head.note.is_some() && take_one(&self.nonsense) {
            true => Ok(Vec::new()),
            false => answer,
        };
        let response = respond(head.id, answer, receipt);
        let mut buffer = vec![0; MAX_PAYLOAD];
        buffer[..response.len()].copy_from_slice(&response);
        let (keys, _) = state.sessions.get_mut(&header.session).unwrap();
        let sequence = keys.sealer.sequence();
        let length = keys.sealer.seal(&mut buffer, response.len())?;
        buffer.truncate(length);
        Ok((sequence, Some(buffer)))
    }

    fn execute(
        &self,
        state: &State,
        head: RequestHead,
        body: &[u8],
        host: HostId,
    ) -> Result<Vec<u8>, ErrorCode> {
        Ok(match head.opcode {
            Opcode::SessionInfo => encode(&SessionState {
                device: self.id(),
                host,
                role: Role::CryptoUser,
                state: state.module,
            }),
            Opcode::DomainInfo => encode(&DomainStatus {
                device: self.id(),
                domain: Some(DomainSummary {
                    domain: state.domain,
                    kind: Kind::Development,
                    version: 1,
                    state: [0; 32],
                    active_key: 1,
                    has_keys: true,
                    members: 1,
                }),
            }),
            Opcode::Random => {
                let Random { length } = decode(body)?;
                if length == 0 {
                    return Err(ErrorCode::INVALID_ARGUMENT);
                }
                let tag = head.note.unwrap().tag.0;
                let bytes: Vec<u8> = tag.into_iter().cycle().take(length.into()).collect();
                encode(&RandomBytes { bytes: Bytes(&bytes) })
            }
            Opcode::SelfTest => encode(&SelfTestReport { tests: 1, duration_us: 1 }),
            Opcode::Decrypt => {
                let Decrypt { blob, .. } = decode(body)?;
                if blob.0.is_empty() || take_one(&self.refusals) {
                    return Err(ErrorCode::CIPHERTEXT_INVALID);
                }
                encode(&Plaintext { plaintext: blob })
            }
            Opcode::BeginUpdate | Opcode::WriteImage => {
                let [received, length] = self.update.each_ref().map(|it| it.load(Ordering::SeqCst));
                encode(&UpdateProgress { received, length })
            }
            Opcode::PrepareKeyPair => {
                let PrepareKeyPair { spec, purpose } = decode(body)?;
                let question = self.pair_questions.fetch_add(1, Ordering::SeqCst) + 1;
                match question.checked_rem(self.questions_per_pair.load(Ordering::SeqCst)) {
                    None => return Err(ErrorCode::UNKNOWN_COMMAND),
                    Some(1..) => return Err(ErrorCode::NOT_READY),
                    Some(0) => {}
                }
                let pair = format!("{spec:?} {purpose:?} {question} of {}", self.id());
                encode(&PreparedKeyPair { pair: Bytes(pair.as_bytes()) })
            }
            Opcode::AuditHead => {
                let AuditHead { nonce } = decode(body)?;
                let (device, epoch) = (self.id(), state.epoch);
                let entries = state.entries.len() as u64;
                let head = *state.heads.last().unwrap();
                let message = signed_head_message(&device, epoch, entries, &head, &nonce);
                let signature = sign(&self.signing, &message);
                encode(&SignedHead { device, epoch, entries, head, signature })
            }
            Opcode::AuditEntries => {
                let AuditEntries { from } = decode(body)?;
                let first = usize::try_from(from).unwrap().max(state.oldest);
                let rows = state.entries.get(first..).ok_or(ErrorCode::AUDIT_RANGE)?;
                let rows: Vec<u8> = rows.iter().take(PAGE).flat_map(Entry::to_bytes).collect();
                encode(&AuditPage {
                    epoch: state.epoch,
                    first: first as u64,
                    before: state.heads[first],
                    entries: Bytes(&rows),
                })
            }
            _ => return Err(ErrorCode::UNKNOWN_COMMAND),
        })
    }
}

impl State {
    /// As a device does it: takes note of what the host has.
    fn is_full_for(&mut self, note: Note) -> bool {
        let entries = self.entries.len() as u64;
        if note.taken <= entries {
            self.taken = self.taken.max(note.taken);
        }
        entries - self.taken >= RING
    }

    fn record(
        &mut self,
        opcode: Opcode,
        result: Option<&ErrorCode>,
        host: HostId,
        note: Note,
        request: RequestDigest,
    ) -> Receipt {
        let subject = MaterialId([3; 32]);
        let index = self.entries.len() as u64;
        let (result, Note { tag, time_ms, .. }) = (result.copied(), note);
        let details = Some(Details { time_ms, request });
        let entry = Entry { index, opcode, result, host, subject, tag, details };
        let head = self.heads.last().unwrap().extend(&entry);
        self.entries.push(entry);
        self.heads.push(head);
        Receipt { epoch: self.epoch, index, subject, head }
    }
}

/// Takes one of a number; whether there was one.
fn take_one(number: &AtomicU64) -> bool {
    let less = |left: u64| left.checked_sub(1);
    number.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less).is_ok()
}

fn sign(key: &SigningKey, message: &[u8]) -> Signature {
    let signature: p256::ecdsa::Signature = key.sign_prehash(&Sha256::digest(message)).unwrap();
    Signature::from_bytes(&signature.to_bytes().into())
}
