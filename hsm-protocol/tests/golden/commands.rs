//! Requests and responses.

use hsm_protocol::approval::digest;
use hsm_protocol::attestation::Measurement;
use hsm_protocol::audit::{Checkpoint, LogPosition, Maker};
use hsm_protocol::command::replica::DomainKeyInfo;
use hsm_protocol::command::{
    ModuleState, Role, agree, approval, audit, cipher, domain, firmware, import, key, mac, random,
    recovery, replica, session, sign, statement, system,
};
use hsm_protocol::domain::{
    Ballot, Certificate, Change, DeviceKind, DomainKeyEntry, DomainState, Holder, Host, Kind,
    MAX_STATE, Member, Operator, OperatorRole, Proposal, Recovery, Rule, Rules, Vote, certificate,
    signed_message,
};
use hsm_protocol::identity::{IdentityDocument, PublicKey};
use hsm_protocol::key_spec::{
    EncryptionAlgorithm, KeySpec, KeyUsage, MacAlgorithm, MessageType, SigningAlgorithm,
    WrappingAlgorithm,
};
use hsm_protocol::reset::ResetReason;
use hsm_protocol::token::sealed::PairPurpose;
use hsm_protocol::{Bytes, DomainId, ErrorCode, Opcode};

use crate::{
    CONTEXT, DEVICE, DOMAIN, HEAD, HOST, ID, IDENTITY, KEY, MATERIAL, MRK, OPERATOR, OTHER, PUBLIC,
    SIGNATURE, golden, request, response,
};

const PAIR: Bytes<'_> = Bytes(b"pair");
const PAIR_REQUEST: cipher::GenerateDataKeyPair<'_> =
    cipher::GenerateDataKeyPair { key: KEY, context: CONTEXT, spec: KeySpec::RSA_3072, pair: PAIR };

#[test]
fn system_commands() {
    let b = &mut [0; 512];
    request(&system::Info, b);
    request(&system::Status, b);
    request(&system::Reset, b);
    request(&system::SelfTest, b);
    request(&system::MemoryUse, b);
    request(&system::Admission, b);
    let info = system::DeviceInfo {
        protocol: 1,
        firmware: "0.1.0",
        board: "host",
        identity: IDENTITY,
        window: 32,
        rx_bytes: 65536,
        specs: Bytes(&[1, 2, 3]),
    };
    response(Opcode::Info, &info, b);
    let status = system::ModuleStatus {
        device: DEVICE,
        state: ModuleState::Error,
        error: Some(ErrorCode::SELF_TEST_FAILED),
        epoch: 300,
        audit_entries: 70_000,
        uptime_us: 1_000_000,
        busy_us: 250_000,
        sessions: 2,
        tested: 0b111,
        self_test_us: 12_345,
        stack_peak: 20_000,
        storage_used: 4096,
        storage_size: 1 << 20,
        kind: DeviceKind::Emulated,
        measurement: Some(Measurement([0x4D; 32])),
    };
    response(Opcode::Status, &status, b);
    response(Opcode::Reset, &(), b);
    response(Opcode::SelfTest, &system::SelfTestReport { tests: 7, duration_us: 500 }, b);
    response(Opcode::MemoryUse, &system::MemoryPeaks { stack: 20_000, heap: 3_000 }, b);
    let challenge = [0xC4; 16];
    response(Opcode::Admission, &system::AdmissionChallenge { challenge }, b);
    request(&system::LastReset, b);
    let report = system::ResetReport { reason: ResetReason::WATCHDOG, failures: 300 };
    response(Opcode::LastReset, &report, b);
}

#[test]
fn session_commands() {
    let b = &mut [0; 512];
    request(&session::CloseSession, b);
    request(&session::SessionInfo, b);
    response(Opcode::CloseSession, &(), b);
    let state = session::SessionState {
        device: DEVICE,
        host: HOST,
        role: Role::CryptoUser,
        state: ModuleState::Operational,
    };
    response(Opcode::SessionInfo, &state, b);
}

#[test]
fn domain_commands() {
    let b = &mut [0; 512];
    let summary = domain::DomainSummary {
        domain: DOMAIN,
        kind: Kind::Production,
        version: 3,
        state: [0x57; 32],
        active_key: 1,
        has_keys: true,
        members: 2,
    };
    let vote = Vote { operator: OPERATOR, signature: SIGNATURE };
    let votes = [vote].into_iter().collect();
    let certificate = Some(Certificate { kind: DeviceKind::Hardware, signature: SIGNATURE });
    request(&domain::FoundDomain { state: Bytes(b"state"), votes, certificate }, b);
    response(Opcode::FoundDomain, &summary, b);
    request(&domain::ChangeDomain { ballot: Bytes(b"ballot") }, b);
    response(Opcode::ChangeDomain, &summary, b);
    request(&domain::ExportDomain { member: DEVICE }, b);
    response(Opcode::ExportDomain, &domain::ExportedDomain { token: Bytes(b"domain") }, b);
    request(&domain::JoinDomain { token: Bytes(b"domain") }, b);
    response(Opcode::JoinDomain, &summary, b);
    request(&domain::ReceiveKeys { token: Bytes(b"domain") }, b);
    response(Opcode::ReceiveKeys, &summary, b);
    request(&domain::DomainInfo, b);
    let status = domain::DomainStatus { device: DEVICE, domain: Some(summary) };
    response(Opcode::DomainInfo, &status, b);
    request(&domain::DescribeDomain, b);
    response(Opcode::DescribeDomain, &domain::DescribedDomain { state: Bytes(b"state") }, b);
}

/// Everything that a proposal may have, and the state before it: what is signed is made of them.
#[test]
fn changes_and_states() {
    let (kind, certificate) = (DeviceKind::Hardware, None);
    let peer = replica::DomainKeyInfo { domain: DOMAIN, domain_key: 7, public: PUBLIC };
    let operator = Operator { key: PUBLIC, role: OperatorRole::SecurityOfficer };
    let host = Host { key: PUBLIC, role: Role::CryptoUser };
    let changes = [
        Change::AddMember { identity: IDENTITY, kind, certificate },
        Change::RemoveMember(DEVICE),
        Change::AddHost(host),
        Change::RemoveHost(HOST),
        Change::AddOperator(operator),
        Change::RemoveOperator(OPERATOR),
        Change::SetRules(Rules::uniform(2)),
        Change::SetDeviceCa(Some(PUBLIC)),
        Change::SetKind(Kind::Production),
        Change::RotateKey { maker: DEVICE },
        Change::RemoveKey(300),
        Change::AddPeer(peer),
        Change::RemovePeer(DOMAIN),
        Change::SetRoots(Bytes(&[0x4F; 32])),
        Change::Zeroise(DEVICE),
        Change::SetRecovery { threshold: 2, holders: Bytes(&[0x48; Holder::SIZE]) },
    ];
    let changes: Vec<u8> =
        changes.iter().flat_map(|change| postcard::to_allocvec(change).unwrap()).collect();
    let previous = [0x57; 32];
    let proposal = Proposal { domain: DOMAIN, version: 300, previous, changes: Bytes(&changes) };
    let proposal = postcard::to_allocvec(&proposal).unwrap();
    golden("domain-proposal", &proposal);
    golden("domain-signed-message", &signed_message(&proposal, &previous));
    let vote = Vote { operator: OPERATOR, signature: SIGNATURE };
    let votes = [vote].into_iter().collect();
    let ballot = Ballot { proposal: Bytes(b"proposal"), votes };
    golden("domain-ballot", &postcard::to_allocvec(&ballot).unwrap());

    let holder = Holder { operator: PUBLIC.operator_id(), key: PUBLIC };
    let state = DomainState {
        domain: DOMAIN,
        name: "vault".try_into().unwrap(),
        kind: Kind::Development,
        version: 300,
        previous,
        operators: [operator].into_iter().collect(),
        rules: Rules::uniform(1),
        device_ca: Some(PUBLIC),
        members: [Member { signing: PUBLIC, join: PUBLIC, kind }].into_iter().collect(),
        keys: [DomainKeyEntry { id: 9, maker: DEVICE }].into_iter().collect(),
        hosts: [host].into_iter().collect(),
        peers: [DomainKeyInfo { domain: DomainId([1; 16]), ..peer }].into_iter().collect(),
        roots: [[0x4F; 32]].into_iter().collect(),
        recovery: Some(Recovery { threshold: 1, holders: [holder].into_iter().collect() }),
    };
    let mut buffer = [0; MAX_STATE];
    let encoded = state.encode(&mut buffer).unwrap();
    golden("domain-state", encoded);
    assert_eq!(DomainState::decode(encoded).unwrap(), state);
    golden("domain-state-hash", &state.hash().unwrap());
}

#[test]
fn key_commands() {
    let b = &mut [0; 512];
    request(
        &key::GenerateKey {
            id: MRK,
            spec: KeySpec::HMAC_256,
            usage: KeyUsage::GENERATE_VERIFY_MAC,
        },
        b,
    );
    response(Opcode::GenerateKey, &key::NewKey { material: MATERIAL, token: Bytes(b"token") }, b);
    request(&key::ExportPublicKey { key: KEY }, b);
    response(Opcode::ExportPublicKey, &key::PublicKeyInfo { spki: Bytes(b"spki") }, b);
    request(&key::PrepareKeyPair { spec: KeySpec::RSA_2048, purpose: PairPurpose::IMPORT }, b);
    response(Opcode::PrepareKeyPair, &key::PreparedKeyPair { pair: PAIR }, b);
    request(&key::AdoptKeyPair { id: MRK, usage: KeyUsage::SIGN_VERIFY, pair: PAIR }, b);
    response(Opcode::AdoptKeyPair, &key::NewKey { material: MATERIAL, token: Bytes(b"token") }, b);
}

#[test]
fn import_commands() {
    let b = &mut [0; 512];
    let parameters = import::ParametersForImport {
        id: ID,
        spec: KeySpec::ECC_NIST_P384,
        usage: KeyUsage::KEY_AGREEMENT,
        algorithm: WrappingAlgorithm::RSA_AES_KEY_WRAP_SHA_256,
        expires_ms: 1_800_000_000_000,
        pair: PAIR,
    };
    request(&parameters, b);
    let answer = import::ImportParameters { public: Bytes(b"spki"), token: Bytes(b"import") };
    response(Opcode::ParametersForImport, &answer, b);
    let (token, wrapped) = (Bytes(b"import"), Bytes(b"wrapped"));
    request(&import::ImportKey { id: ID, now_ms: 1_700_000_000_000, token, wrapped }, b);
    response(Opcode::ImportKey, &key::NewKey { material: MATERIAL, token: Bytes(b"token") }, b);
}

#[test]
fn replica_commands() {
    let b = &mut [0; 512];
    let own = replica::DomainKeyInfo { domain: DOMAIN, domain_key: 7, public: PUBLIC };
    request(&replica::ReplicationKey, b);
    response(Opcode::ReplicationKey, &own, b);
    let peer = own;
    request(&replica::ExportReplica { key: OTHER, peer }, b);
    let token = Bytes(b"replica");
    response(Opcode::ExportReplica, &replica::ExportedReplica { token }, b);
    request(&replica::ImportReplica { id: MRK, peer, token }, b);
    response(Opcode::ImportReplica, &key::NewKey { material: MATERIAL, token: Bytes(b"token") }, b);
}

#[test]
fn agreement_commands() {
    let b = &mut [0; 512];
    let secret = Bytes(b"secret");
    request(&agree::DeriveSharedSecret { key: KEY, peer: Bytes(b"spki") }, b);
    response(Opcode::DeriveSharedSecret, &agree::SharedSecret { secret }, b);
    request(&agree::Encapsulate { key: KEY }, b);
    let ciphertext = Bytes(b"ciphertext");
    response(Opcode::Encapsulate, &agree::Encapsulation { ciphertext, secret }, b);
    request(&agree::Decapsulate { key: KEY, ciphertext }, b);
    response(Opcode::Decapsulate, &agree::SharedSecret { secret }, b);
}

#[test]
fn cipher_commands() {
    let b = &mut [0; 512];
    let ciphertext = cipher::Ciphertext { blob: Bytes(b"blob") };
    let plaintext = Bytes(b"plaintext");
    request(&cipher::Encrypt { key: KEY, context: CONTEXT, plaintext }, b);
    response(Opcode::Encrypt, &ciphertext, b);
    request(&cipher::Decrypt { key: KEY, context: CONTEXT, blob: Bytes(b"blob") }, b);
    response(Opcode::Decrypt, &cipher::Plaintext { plaintext }, b);
    let reencrypt = cipher::ReEncrypt {
        source: KEY,
        source_context: CONTEXT,
        blob: Bytes(b"blob"),
        destination: OTHER,
        destination_context: Bytes(b""),
    };
    request(&reencrypt, b);
    response(Opcode::ReEncrypt, &ciphertext, b);
    request(&cipher::GenerateDataKey { key: KEY, context: CONTEXT, length: 1024 }, b);
    response(Opcode::GenerateDataKey, &cipher::DataKey { plaintext, blob: Bytes(b"blob") }, b);
    request(&cipher::GenerateDataKeyWithoutPlaintext { key: KEY, context: CONTEXT, length: 32 }, b);
    response(Opcode::GenerateDataKeyWithoutPlaintext, &ciphertext, b);
}

#[test]
fn asymmetric_cipher_commands() {
    let b = &mut [0; 512];
    let (plaintext, ciphertext) = (Bytes(b"plaintext"), Bytes(b"ciphertext"));
    let algorithm = EncryptionAlgorithm::RSAES_OAEP_SHA_256;
    request(&cipher::EncryptPublic { key: KEY, algorithm, plaintext }, b);
    response(Opcode::EncryptPublic, &cipher::Ciphertext { blob: ciphertext }, b);
    request(&cipher::DecryptPrivate { key: KEY, algorithm, ciphertext }, b);
    response(Opcode::DecryptPrivate, &cipher::Plaintext { plaintext }, b);
    let source = cipher::Side { key: KEY, algorithm, context: Bytes(b"") };
    let algorithm = EncryptionAlgorithm::SYMMETRIC_DEFAULT;
    let destination = cipher::Side { key: OTHER, algorithm, context: CONTEXT };
    request(&cipher::ReEncryptAcross { source, ciphertext, destination }, b);
    response(Opcode::ReEncryptAcross, &cipher::Ciphertext { blob: Bytes(b"blob") }, b);
    let (blob, public) = (Bytes(b"blob"), Bytes(b"spki"));
    request(&PAIR_REQUEST, b);
    let pair = cipher::DataKeyPair { private: Bytes(b"pkcs8"), blob, public };
    response(Opcode::GenerateDataKeyPair, &pair, b);
    request(&cipher::GenerateDataKeyPairWithoutPlaintext { request: PAIR_REQUEST }, b);
    let pair = cipher::SealedDataKeyPair { blob, public };
    response(Opcode::GenerateDataKeyPairWithoutPlaintext, &pair, b);
}

#[test]
fn sign_mac_and_random_commands() {
    let b = &mut [0; 512];
    let (algorithm, message) = (SigningAlgorithm::ECDSA_SHA_256, Bytes(b"message"));
    let signature = Bytes(b"signature");
    request(&sign::Sign { key: KEY, algorithm, message_type: MessageType::RAW, message }, b);
    response(Opcode::Sign, &sign::Signature { signature }, b);
    let message_type = MessageType::DIGEST;
    request(&sign::Verify { key: KEY, algorithm, message_type, message, signature }, b);
    response(Opcode::Verify, &(), b);
    let algorithm = MacAlgorithm::HMAC_SHA_256;
    request(&mac::GenerateMac { key: KEY, algorithm, message }, b);
    response(Opcode::GenerateMac, &mac::Mac { mac: Bytes(b"mac") }, b);
    request(&mac::VerifyMac { key: KEY, algorithm, message, mac: Bytes(b"mac") }, b);
    response(Opcode::VerifyMac, &(), b);
    request(&random::Random { length: 300 }, b);
    response(Opcode::Random, &random::RandomBytes { bytes: Bytes(b"random") }, b);
}

#[test]
fn audit_commands() {
    let b = &mut [0; 512];
    request(&audit::AuditHead { nonce: [0x6E; 16] }, b);
    let head = audit::SignedHead {
        device: DEVICE,
        epoch: 2,
        entries: 1000,
        head: HEAD,
        signature: SIGNATURE,
    };
    response(Opcode::AuditHead, &head, b);
    request(&audit::AuditEntries { from: 900 }, b);
    let page = audit::AuditPage { epoch: 2, first: 900, before: HEAD, entries: Bytes(&[0xE7; 76]) };
    response(Opcode::AuditEntries, &page, b);
    let log = LogPosition { sequence: 1_000_000, hash: [0x10; 32] };
    request(&audit::MakeCheckpoint { log, closing: true }, b);
    let checkpoint = Checkpoint {
        device: DEVICE,
        host: HOST,
        number: 7,
        previous: [0x9E; 32],
        epoch: 2,
        entries: 1000,
        head: HEAD,
        closing: true,
        log,
        maker: Some(Maker {
            kind: DeviceKind::Emulated,
            measurement: Some(Measurement([0x4D; 32])),
        }),
    };
    let signed = audit::SignedCheckpoint { checkpoint, signature: SIGNATURE };
    response(Opcode::MakeCheckpoint, &signed, b);
    request(&audit::LastCheckpoint { host: Some(HOST) }, b);
    response(Opcode::LastCheckpoint, &audit::LastMade { last: Some(signed) }, b);
    // What is signed and stored outlives releases.
    let earlier = Checkpoint { maker: None, ..checkpoint };
    for (name, checkpoint) in [("audit-checkpoint", earlier), ("audit-checkpoint-v2", checkpoint)] {
        let bytes = checkpoint.to_bytes();
        crate::golden(name, &bytes);
        assert_eq!(Checkpoint::from_bytes(&bytes), Some(checkpoint));
        let mut other = bytes.clone();
        other[0] ^= 1;
        assert_eq!(Checkpoint::from_bytes(&other), None, "another label");
        let longer = [bytes.as_slice(), &[0]].concat();
        assert_eq!(Checkpoint::from_bytes(&longer), None);
        assert_eq!(Checkpoint::from_bytes(&bytes[..bytes.len() - 1]), None);
    }
    let mut unmeasured = checkpoint.to_bytes();
    unmeasured[Checkpoint::SIZE_V1 + 1] = 0;
    assert_eq!(Checkpoint::from_bytes(&unmeasured), None, "a measurement that there is not");
}

#[test]
fn statement_commands() {
    let b = &mut [0; 512];
    let nonce = Bytes(&[0x6E; 32]);
    request(&statement::AttestKey { key: KEY, nonce }, b);
    request(&statement::AttestDevice { nonce }, b);
    let statement = statement::Statement { statement: Bytes(b"cose") };
    response(Opcode::AttestKey, &statement, b);
    response(Opcode::AttestDevice, &statement, b);
}

#[test]
fn approval_commands() {
    let b = &mut [0; 512];
    let rule = Rule { total: 2, officers: 1 };
    let generate =
        key::GenerateKey { id: ID, spec: KeySpec::HMAC_256, usage: KeyUsage::GENERATE_VERIFY_MAC };
    request(&approval::GenerateGuardedKey { request: generate, rule }, b);
    request(&approval::PrepareGuardedPair { spec: KeySpec::RSA_2048, rule }, b);
    request(&approval::RequireApproval { key: KEY, rule }, b);
    request(&key::RewrapKey { key: KEY }, b);
    let new = key::NewKey { material: MATERIAL, token: Bytes(b"token") };
    for opcode in [Opcode::GenerateGuardedKey, Opcode::RequireApproval, Opcode::RewrapKey] {
        response(opcode, &new, &mut [0; 64]);
    }
    response(Opcode::PrepareGuardedPair, &key::PreparedKeyPair { pair: PAIR }, b);
    let digest = digest(Opcode::Sign, b"body");
    let opcode = Opcode::Sign;
    request(&approval::RequestApproval { key: KEY, opcode, request: digest }, b);
    let asked = approval::ApprovalRequest {
        domain: DOMAIN,
        device: DEVICE,
        host: HOST,
        key: ID,
        material: MATERIAL,
        rule,
        opcode,
        request: digest,
        challenge: [0xC4; 16],
    };
    response(Opcode::RequestApproval, &asked, b);
    golden("approval-message", &asked.message());
    let vote = Vote { operator: OPERATOR, signature: SIGNATURE };
    let votes = [vote].into_iter().collect();
    request(&approval::Approve { challenge: [0xC4; 16], votes }, b);
    response(Opcode::Approve, &(), b);
    request(&approval::PermitDeletion { key: KEY }, b);
    response(Opcode::PermitDeletion, &(), b);
}

#[test]
fn recovery_commands() {
    let b = &mut [0; 512];
    let (backup, shares) = (Bytes(b"backup"), Bytes(b"shares"));
    request(&recovery::MakeRecovery, b);
    response(Opcode::MakeRecovery, &recovery::RecoverySet { backup, shares }, b);
    request(&recovery::RestoreDomain { backup, shares, ballot: Bytes(b"ballot") }, b);
    let summary = domain::DomainSummary {
        domain: DOMAIN,
        kind: Kind::Production,
        version: 3,
        state: [0x57; 32],
        active_key: 1,
        has_keys: true,
        members: 2,
    };
    response(Opcode::RestoreDomain, &summary, b);
    request(&recovery::DrillRecovery { backup, shares, key: KEY }, b);
    let drilled =
        recovery::Drilled { domain: DOMAIN, version: 3, state: [0x57; 32], material: MATERIAL };
    response(Opcode::DrillRecovery, &drilled, b);
}

#[test]
fn firmware_commands() {
    let b = &mut [0; 256];
    request(&firmware::FirmwareInfo, b);
    let state = firmware::FirmwareState {
        slot: 2,
        mode: firmware::StartMode::Trial,
        measurement: Measurement([0x21; 32]),
        security_version: 7,
        floor: 6,
        other: firmware::OtherImage::Receiving {
            manifest: [0x43; 32],
            received: 65_536,
            length: 900_000,
        },
        refused: 12,
        permitted: Some(Measurement([0x65; 32])),
    };
    response(Opcode::FirmwareInfo, &state, b);
    let progress = firmware::UpdateProgress { received: 65_536, length: 900_000 };
    request(&firmware::BeginUpdate { manifest: Bytes(b"manifest") }, b);
    response(Opcode::BeginUpdate, &progress, b);
    request(&firmware::WriteImage { offset: 65_536, bytes: Bytes(b"image") }, b);
    response(Opcode::WriteImage, &progress, b);
    request(&firmware::FinishUpdate, b);
    response(Opcode::FinishUpdate, &firmware::Staged { measurement: Measurement([0x21; 32]) }, b);
    request(&firmware::CancelUpdate, b);
    response(Opcode::CancelUpdate, &(), b);
    request(&firmware::StartUpdate, b);
    response(Opcode::StartUpdate, &(), b);
}

/// What a device CA signs, and a certificate of it, as other tools read them.
#[test]
fn certificates() {
    let key = |byte| {
        PublicKey::from_point(&p256::SecretKey::from_slice(&[byte; 32]).unwrap().public_key())
    };
    let (ca, signing, link, join) = (key(1), key(2), key(3), key(4));
    let identity = IdentityDocument { signing, link, join, signature: SIGNATURE };
    for kind in DeviceKind::ALL {
        let certificate = Certificate { kind, signature: SIGNATURE };
        golden(&format!("device-certificate-{kind}"), &certificate.to_der(&ca, &identity).unwrap());
    }
    golden("device-ca", &certificate::root(&ca, &SIGNATURE).unwrap());
    golden("share-key-message", &Holder::message(&DOMAIN, &join));
}
