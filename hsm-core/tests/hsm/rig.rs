//! A device in memory and hosts that talk to it.

use std::fmt::Debug;

use hsm_core::memory::Memory;
use hsm_core::platform::NvStorage;
use hsm_core::testing::{MemoryPlatform, TestRng};
use hsm_core::{Hsm, NextWork};
use hsm_protocol::audit::Note;
use hsm_protocol::audit::Receipt;
use hsm_protocol::channel::{AdmissionKey, Challenge, Initiator, Keys, MessageHash};
use hsm_protocol::command::domain::{
    ChangeDomain, DescribeDomain, DomainSummary, ExportDomain, FoundDomain, JoinDomain,
};
use hsm_protocol::command::key::{AdoptKeyPair, GenerateKey, KeyRef, NewKey, PrepareKeyPair};
use hsm_protocol::command::system::{Admission, Info, ModuleStatus, Status};
use hsm_protocol::command::{Command, ModuleState, Pace, Role, decode};
use hsm_protocol::curve::Portable;
use hsm_protocol::domain::change::Votes;
use hsm_protocol::domain::{
    self as model, Ballot, Change, DeviceKind, DomainKeyEntry, DomainState, Kind, MAX_STATE,
    Member, Operator, OperatorRole, Proposal, Rules, Vote, signed_message,
};
use hsm_protocol::frame::{Decoder, Frame, FrameKind, Header, MAX_ENCODED};
use hsm_protocol::identity::{IdentityDocument, PublicKey, Signature};
use hsm_protocol::key_spec::{KeySpec, KeyUsage};
use hsm_protocol::request::{RequestHead, ResponseHead};
use hsm_protocol::token::sealed::PairPurpose;
use hsm_protocol::{AuditTag, Bytes, ErrorCode, HostId, KeyId};
use p256::SecretKey;
use p256::ecdsa::SigningKey;
use p256::ecdsa::signature::hazmat::PrehashSigner;
use p256::elliptic_curve::Generate;
use sha2::{Digest, Sha256};

/// The time that the hosts of these tests say.
pub(crate) const TIME_MS: u64 = 1_767_225_600_000;
/// The tag of every audited command of these tests.
pub(crate) const TAG: AuditTag = AuditTag([0x7a; 16]);
/// The key id of most keys of these tests.
pub(crate) const KEY_ID: KeyId = KeyId { multi_region: false, bytes: [0x11; 16] };

/// A device.
pub(crate) struct Device {
    hsm: Box<Hsm<MemoryPlatform>>,
}

impl Device {
    /// Boots a board.
    pub(crate) fn boot(platform: MemoryPlatform) -> Self {
        let mut hsm = Box::new(Hsm::new(platform, Memory::boxed()));
        hsm.start();
        Self { hsm }
    }

    /// A new device.
    pub(crate) fn fresh() -> Self {
        Self::boot(MemoryPlatform::new())
    }

    /// The board.
    pub(crate) fn platform(&mut self) -> &mut MemoryPlatform {
        self.hsm.platform()
    }

    /// A step of background work.
    pub(crate) fn work(&mut self) -> NextWork {
        self.hsm.work()
    }

    /// Cuts the power and boots again.
    pub(crate) fn reboot(&mut self) {
        let platform = self.platform().clone();
        *self = Self::boot(platform);
    }

    /// The module's state, asked in the clear.
    pub(crate) fn state(&mut self) -> ModuleState {
        self.status().state
    }

    /// The module's status, asked in the clear.
    pub(crate) fn status(&mut self) -> ModuleStatus {
        let reply = self.plain(&Status);
        reply.ok::<Status>()
    }

    /// What a handshake has to answer now.
    pub(crate) fn challenge(&mut self) -> Challenge {
        self.plain(&Admission).ok::<Admission>().challenge
    }

    /// The device's identity, asked in the clear.
    pub(crate) fn identity(&mut self) -> IdentityDocument {
        let reply = self.plain(&Info);
        let document = reply.ok::<Info>().identity;
        document.verify().unwrap();
        document
    }

    /// Hands over a frame's content and returns the reply's.
    pub(crate) fn exchange(&mut self, header: Header, payload: &[u8]) -> (Header, Vec<u8>) {
        let mut payload = payload.to_vec();
        let mut reply = vec![0; MAX_ENCODED];
        let length = self.hsm.process(Frame { header, payload: &mut payload }, &mut reply);
        assert!(length > 0, "every frame is answered");
        let mut decoder = Box::new(Decoder::<MAX_ENCODED>::new());
        let mut input = &reply[..length];
        let frame = decoder.next(&mut input).expect("a whole frame");
        let answer = (frame.header, frame.payload.to_vec());
        assert!(input.is_empty(), "exactly one frame");
        answer
    }

    /// Calls a command outside the channel.
    pub(crate) fn plain<C: Command>(&mut self, command: &C) -> Reply {
        let mut request = vec![0; 24 * 1024];
        let head = RequestHead { opcode: C::OPCODE, id: 77, note: None };
        let start = head.write(&mut request).unwrap();
        let length = start + command.encode(&mut request[start..]).unwrap().len();
        let header = Header { kind: FrameKind::PlainRequest, session: 0, sequence: 5 };
        let (answer, payload) = self.exchange(header, &request[..length]);
        assert_eq!(answer, Header { kind: FrameKind::PlainResponse, ..header });
        Reply::read(&payload, 77)
    }
}

/// The code of a link error.
pub(crate) fn link_error(answer: &(Header, Vec<u8>)) -> ErrorCode {
    assert_eq!(answer.0.kind, FrameKind::LinkError);
    ErrorCode::from_u16(u16::from_le_bytes(answer.1.as_slice().try_into().unwrap())).unwrap()
}

/// A response.
pub(crate) struct Reply {
    /// Its head.
    pub(crate) head: ResponseHead,
    /// Its encoded body.
    pub(crate) body: Vec<u8>,
}

impl Reply {
    fn read(payload: &[u8], id: u16) -> Self {
        let (head, body) = ResponseHead::split(payload).unwrap();
        assert_eq!(head.id, id);
        Self { head, body: body.to_vec() }
    }

    /// The answer of a successful command.
    pub(crate) fn ok<'a, C: Command>(&'a self) -> C::Response<'a> {
        assert_eq!(self.head.status, None, "{:?} succeeds", C::OPCODE);
        decode(&self.body).unwrap()
    }

    /// The error of a refused command.
    pub(crate) fn error(&self) -> ErrorCode {
        assert!(self.body.is_empty(), "nothing follows an error");
        self.head.status.expect("an error")
    }

    /// The audit receipt.
    pub(crate) fn receipt(&self) -> Receipt {
        self.head.receipt.expect("a receipt")
    }
}

/// A host with its key.
pub(crate) struct Host {
    key: SecretKey,
    rng: TestRng,
}

impl Host {
    /// A host; another seed makes another one.
    pub(crate) fn new(seed: u64) -> Self {
        let mut rng = TestRng(seed);
        Self { key: SecretKey::generate_from_rng(&mut rng), rng }
    }

    /// The public key.
    pub(crate) fn public(&self) -> PublicKey {
        PublicKey::from_point(&self.key.public_key())
    }

    /// The fingerprint.
    pub(crate) fn id(&self) -> HostId {
        self.public().host_id()
    }

    /// The first message for a device of this link key, and the answer to the challenge that it has
    /// now.
    pub(crate) fn handshake(
        &mut self,
        device: &mut Device,
        link: &PublicKey,
    ) -> (Initiator, Vec<u8>) {
        let (initiator, message) = Initiator::start(&self.key, link, &mut self.rng).unwrap();
        let challenge = device.challenge();
        let admission = AdmissionKey::of_host(&self.key, link).unwrap();
        let tag = admission.tag(&challenge, &MessageHash::of(&message)).unwrap();
        (initiator, [&message[..], &tag].concat())
    }

    /// Opens a session.
    pub(crate) fn try_open(&mut self, device: &mut Device) -> Result<Session, ErrorCode> {
        let link = device.identity().link;
        let (initiator, payload) = self.handshake(device, &link);
        let header = Header { kind: FrameKind::Handshake1, session: 0, sequence: 9 };
        let answer = device.exchange(header, &payload);
        if answer.0.kind == FrameKind::LinkError {
            return Err(link_error(&answer));
        }
        assert_eq!(answer.0, Header { kind: FrameKind::Handshake2, ..header });
        let (keys, welcome) = initiator.finish(&answer.1).unwrap();
        Ok(Session { id: welcome.session, keys, request: 0, taken: 0 })
    }

    /// Opens a session that must be accepted.
    pub(crate) fn open(&mut self, device: &mut Device) -> Session {
        self.try_open(device).unwrap()
    }
}

/// A host's end of a session.
pub(crate) struct Session {
    /// Its id.
    pub(crate) id: u16,
    /// The channel.
    pub(crate) keys: Keys,
    request: u16,
    /// Entries that the host says it has.
    pub(crate) taken: u64,
}

impl Session {
    /// Seals a request's plaintext into a record for the returned header.
    pub(crate) fn seal(&mut self, plaintext: &[u8]) -> (Header, Vec<u8>) {
        let mut record = plaintext.to_vec();
        record.resize(plaintext.len() + 16, 0);
        let sequence = self.keys.sealer.sequence();
        let length = self.keys.sealer.seal(&mut record, plaintext.len()).unwrap();
        record.truncate(length);
        (Header { kind: FrameKind::SealedRequest, session: self.id, sequence }, record)
    }

    /// Sends a request's plaintext and opens the response's.
    pub(crate) fn exchange(
        &mut self,
        device: &mut Device,
        plaintext: &[u8],
    ) -> Result<Vec<u8>, ErrorCode> {
        let (header, record) = self.seal(plaintext);
        let mut answer = device.exchange(header, &record);
        if answer.0.kind == FrameKind::LinkError {
            return Err(link_error(&answer));
        }
        assert_eq!(answer.0.kind, FrameKind::SealedResponse);
        assert_eq!(answer.0.session, self.id);
        Ok(self.keys.opener.open(answer.0.sequence, &mut answer.1).unwrap().to_vec())
    }

    /// Encodes a request with the next id.
    pub(crate) fn encode<C: Command>(&mut self, command: &C) -> Vec<u8> {
        self.request += 1;
        let note = C::AUDIT.then_some(Note { tag: TAG, time_ms: TIME_MS, taken: self.taken });
        let head = RequestHead { opcode: C::OPCODE, id: self.request, note };
        let mut out = vec![0; 32 * 1024];
        let start = head.write(&mut out).unwrap();
        let length = start + command.encode(&mut out[start..]).unwrap().len();
        out.truncate(length);
        out
    }

    /// Calls a command; the error is one of the link.
    pub(crate) fn try_call<C: Command>(
        &mut self,
        device: &mut Device,
        command: &C,
    ) -> Result<Reply, ErrorCode> {
        let request = self.encode(command);
        let before = device.platform().storage.changes;
        let response = self.exchange(device, &request)?;
        let stored = device.platform().storage.changes != before;
        assert!(!stored || C::PACE == Pace::Slow, "{:?} writes storage", C::OPCODE);
        let reply = Reply::read(&response, self.request);
        let unrecorded = [ErrorCode::UNKNOWN_COMMAND, ErrorCode::AUDIT_FULL].map(Some);
        let recorded = C::AUDIT && !unrecorded.contains(&reply.head.status);
        assert_eq!(reply.head.receipt.is_some(), recorded, "{:?}", C::OPCODE);
        if let Some(receipt) = reply.head.receipt {
            self.taken = receipt.index + 1;
        }
        Ok(reply)
    }

    /// Calls a command.
    pub(crate) fn call<C: Command>(&mut self, device: &mut Device, command: &C) -> Reply {
        self.try_call(device, command).unwrap()
    }
}

/// People with signing keys.
#[derive(Clone)]
pub(crate) struct Operators {
    keys: Vec<SigningKey>,
    role: OperatorRole,
    kind: Kind,
    quorum: u8,
    members: DeviceKind,
}

impl Operators {
    /// One, of a development domain.
    pub(crate) fn development() -> Self {
        Self {
            keys: keys(9000, 1),
            role: OperatorRole::Development,
            kind: Kind::Development,
            quorum: 1,
            members: DeviceKind::Emulated,
        }
    }

    /// A host's key, as that of an operator of a development domain.
    pub(crate) fn of_host(host: &Host) -> Self {
        Self { keys: vec![SigningKey::from(&host.key)], ..Self::development() }
    }

    /// `quorum` of `count`, of a production domain that takes the devices of these tests.
    pub(crate) fn production(quorum: u8, count: usize) -> Self {
        Self {
            keys: keys(9100, count),
            role: OperatorRole::Operator,
            kind: Kind::Production,
            quorum,
            members: DeviceKind::Emulated,
        }
    }

    /// The same, of a domain whose first member is hardware, as all that follow have to be.
    pub(crate) fn with_hardware(self) -> Self {
        Self { members: DeviceKind::Hardware, ..self }
    }

    /// The operator with this number.
    pub(crate) fn operator(&self, number: usize) -> Operator {
        let public = p256::PublicKey::from(self.keys[number].verifying_key());
        Operator { key: PublicKey::from_point(&public), role: self.role }
    }

    /// The first state of a domain of this device and these hosts.
    pub(crate) fn first_state(
        &self,
        device: &IdentityDocument,
        hosts: &[model::Host],
    ) -> DomainState {
        let IdentityDocument { signing, join, .. } = *device;
        let member = Member { signing, join, kind: self.members };
        let emulated_members = self.members != DeviceKind::Hardware;
        let key = DomainKeyEntry { id: 1, maker: device.device_id() };
        let mut state = DomainState {
            domain: hsm_protocol::DomainId([0; 16]),
            name: "tests".try_into().unwrap(),
            kind: self.kind,
            version: 1,
            previous: [0; 32],
            operators: (0..self.keys.len()).map(|number| self.operator(number)).collect(),
            rules: Rules { emulated_members, ..Rules::uniform(self.quorum) },
            device_ca: None,
            members: [member].into_iter().collect(),
            keys: [key].into_iter().collect(),
            hosts: hosts.iter().copied().collect(),
            peers: heapless::Vec::new(),
            roots: heapless::Vec::new(),
            recovery: None,
        };
        state.domain = state.founding_id().unwrap();
        state
    }

    /// The signatures of the operators with these numbers.
    pub(crate) fn votes(&self, message: &[u8], signers: &[usize]) -> Votes {
        let vote = |number: &usize| {
            let operator = self.operator(*number).id();
            Vote { operator, signature: self.sign(*number, message) }
        };
        signers.iter().map(vote).collect()
    }

    /// The signature of one operator.
    pub(crate) fn sign(&self, number: usize, message: &[u8]) -> Signature {
        let signature: p256::ecdsa::Signature =
            self.keys[number].sign_prehash(&Sha256::digest(message)).unwrap();
        Signature::from_bytes(&signature.to_bytes().into())
    }

    /// As many operators as are needed.
    pub(crate) fn quorum(&self) -> Vec<usize> {
        (0..usize::from(self.quorum)).collect()
    }

    /// The request that founds a domain, as `encoded` state.
    pub(crate) fn founding<'s>(
        &self,
        state: &DomainState,
        encoded: &'s mut [u8; MAX_STATE],
    ) -> FoundDomain<'s> {
        let votes = self.votes(&signed_message(&[], &state.hash().unwrap()), &self.quorum());
        FoundDomain { state: Bytes(state.encode(encoded).unwrap()), votes, certificate: None }
    }

    /// A ballot on changes of `state`.
    pub(crate) fn ballot(
        &self,
        state: &DomainState,
        changes: &[Change<'_>],
        signers: &[usize],
    ) -> Vec<u8> {
        let changes: Vec<u8> =
            changes.iter().flat_map(|change| postcard::to_allocvec(change).unwrap()).collect();
        let (domain, version) = (state.domain, state.version + 1);
        let previous = state.hash().unwrap();
        let proposal = Proposal { domain, version, previous, changes: Bytes(&changes) };
        let encoded = postcard::to_allocvec(&proposal).unwrap();
        let next = state.apply(&proposal, &Portable);
        let next = next.map_or([0; 32], |outcome| outcome.next.hash().unwrap());
        let votes = self.votes(&signed_message(&encoded, &next), signers);
        postcard::to_allocvec(&Ballot { proposal: Bytes(&encoded), votes }).unwrap()
    }
}

fn keys(seed: u64, count: usize) -> Vec<SigningKey> {
    let key = |number: usize| {
        let mut rng = TestRng(seed + number as u64);
        SigningKey::from(SecretKey::generate_from_rng(&mut rng))
    };
    (0..count).map(key).collect()
}

/// A device in operation with a session for each role.
pub(crate) struct Rig {
    /// The device.
    pub(crate) device: Device,
    /// Those who may change its domain.
    pub(crate) operators: Operators,
    /// A crypto user.
    pub(crate) user_host: Host,
    /// The crypto user's session.
    pub(crate) user: Session,
    /// An auditor's session.
    pub(crate) auditor: Session,
}

impl Rig {
    /// A device with a domain of its own.
    pub(crate) fn operational() -> Self {
        Self::founded(MemoryPlatform::new(), 100, Operators::development())
    }

    /// A device with a domain of its own, and hosts of this seed.
    pub(crate) fn founded(platform: MemoryPlatform, seed: u64, operators: Operators) -> Self {
        let mut device = Device::boot(platform);
        let hosts = [(seed + 1, Role::CryptoUser), (seed + 2, Role::Auditor)]
            .map(|(seed, role)| model::Host { key: Host::new(seed).public(), role });
        let state = operators.first_state(&device.identity(), &hosts);
        let mut encoded = [0; MAX_STATE];
        let request = operators.founding(&state, &mut encoded);
        let mut stranger = Host::new(seed).open(&mut device);
        stranger.call(&mut device, &request).ok::<FoundDomain>();
        Self::enter(device, seed, operators)
    }

    /// A device that joins the domain of this one, with the same hosts.
    pub(crate) fn second(&mut self, platform: MemoryPlatform, seed: u64) -> Self {
        let mut device = Device::boot(platform);
        let token = self.admit(&device.identity());
        let mut stranger = Host::new(999).open(&mut device);
        let join = JoinDomain { token: Bytes(&token) };
        stranger.call(&mut device, &join).ok::<JoinDomain>();
        Self::enter(device, seed, self.operators.clone())
    }

    /// Opens the sessions of hosts of this seed.
    pub(crate) fn enter(mut device: Device, seed: u64, operators: Operators) -> Self {
        let mut user_host = Host::new(seed + 1);
        let user = user_host.open(&mut device);
        let auditor = Host::new(seed + 2).open(&mut device);
        Self { device, operators, user_host, user, auditor }
    }

    /// The state of the domain.
    pub(crate) fn state(&mut self) -> DomainState {
        let reply = self.call(&DescribeDomain);
        DomainState::decode(&reply.ok::<DescribeDomain>().state).unwrap()
    }

    /// Hands over a ballot.
    pub(crate) fn submit(&mut self, ballot: &[u8]) -> Result<DomainSummary, ErrorCode> {
        let reply = self.call(&ChangeDomain { ballot: Bytes(ballot) });
        match reply.head.status {
            None => Ok(reply.ok::<ChangeDomain>()),
            Some(_) => Err(reply.error()),
        }
    }

    /// Changes the domain, signed by a quorum.
    pub(crate) fn change(&mut self, changes: &[Change<'_>]) -> Result<DomainSummary, ErrorCode> {
        let (state, signers) = (self.state(), self.operators.quorum());
        let ballot = self.operators.ballot(&state, changes, &signers);
        self.submit(&ballot)
    }

    /// Makes a device a member, and exports the domain to it.
    pub(crate) fn admit(&mut self, device: &IdentityDocument) -> Vec<u8> {
        let kind = DeviceKind::Emulated;
        let add = Change::AddMember { identity: *device, kind, certificate: None };
        self.change(&[add]).unwrap();
        let reply = self.call(&ExportDomain { member: device.device_id() });
        reply.ok::<ExportDomain>().token.to_vec()
    }

    /// Boots again and opens the crypto user's session anew; the auditor's is lost.
    pub(crate) fn reboot(&mut self) {
        self.device.reboot();
        self.user = self.user_host.open(&mut self.device);
    }

    /// Calls a command as crypto user.
    pub(crate) fn call<C: Command>(&mut self, command: &C) -> Reply {
        self.user.call(&mut self.device, command)
    }

    /// Generates a key and returns its token.
    pub(crate) fn key(&mut self, spec: KeySpec, usage: KeyUsage) -> Token {
        self.key_with_id(KEY_ID, spec, usage)
    }

    /// Generates a key with this id and returns its token.
    pub(crate) fn key_with_id(&mut self, id: KeyId, spec: KeySpec, usage: KeyUsage) -> Token {
        let reply = if spec.row().is_some_and(|row| row.slow) {
            let pair = self.prepared(spec, PairPurpose::KEY);
            self.call(&AdoptKeyPair { id, usage, pair: Bytes(&pair) })
        } else {
            self.call(&GenerateKey { id, spec, usage })
        };
        let NewKey { material, token } = reply.ok::<GenerateKey>();
        assert_eq!(reply.receipt().subject, material);
        Token { id, bytes: token.to_vec() }
    }

    /// A key pair of a slow spec, prepared for a purpose.
    pub(crate) fn prepared(&mut self, spec: KeySpec, purpose: PairPurpose) -> Vec<u8> {
        self.prepared_by(&PrepareKeyPair { spec, purpose })
    }

    /// The pair that a command prepares.
    pub(crate) fn prepared_by(&mut self, command: &impl Command) -> Vec<u8> {
        loop {
            let reply = self.call(command);
            if reply.head.status != Some(ErrorCode::NOT_READY) {
                return reply.ok::<PrepareKeyPair>().pair.to_vec();
            }
        }
    }

    /// A symmetric key.
    pub(crate) fn symmetric(&mut self) -> Token {
        self.key(KeySpec::SYMMETRIC_DEFAULT, KeyUsage::ENCRYPT_DECRYPT)
    }

    /// A signing key.
    pub(crate) fn signing(&mut self) -> Token {
        self.key(KeySpec::ECC_NIST_P256, KeyUsage::SIGN_VERIFY)
    }

    /// A MAC key.
    pub(crate) fn mac(&mut self) -> Token {
        self.key(KeySpec::HMAC_256, KeyUsage::GENERATE_VERIFY_MAC)
    }
}

/// A key token, as a host stores it.
#[derive(Clone, Debug)]
pub(crate) struct Token {
    /// The key's id.
    pub(crate) id: KeyId,
    /// The token.
    pub(crate) bytes: Vec<u8>,
}

impl Token {
    /// A reference for a request.
    pub(crate) fn key(&self) -> KeyRef<'_> {
        KeyRef { id: self.id, token: Bytes(&self.bytes) }
    }
}

/// Erases a board's storage, as its owner might.
pub(crate) fn wipe(device: &mut Device) {
    device.platform().storage.erase_all().unwrap();
}
