//! Golden bytes of every command, token and audit value.
//!
//! These bytes are on the wire, in stores and in audit logs. When a test here fails, revert your
//! change, not the golden file; a new layout is a new version with files of its own. Files for
//! new rows are written by `UPDATE_GOLDEN=1 cargo test -p hsm-protocol --test golden`, which never
//! overwrites one.

use std::fmt::Debug;
use std::path::PathBuf;

use hsm_protocol::audit::{Entry, Head, Receipt, signed_head_message};
use hsm_protocol::command::{
    Command, ModuleState, Role, audit, cipher, decode, domain, key, mac, random, session, sign,
    system,
};
use hsm_protocol::identity::{IdentityDocument, PublicKey, Signature};
use hsm_protocol::key_spec::{
    KeySpec, KeyUsage, MacAlgorithm, MessageType, Origin, SigningAlgorithm,
};
use hsm_protocol::request::{RequestHead, ResponseHead};
use hsm_protocol::token::{Blob, DomainToken, KeyAttributes, KeyToken, context};
use hsm_protocol::{
    AuditTag, Bytes, DeviceId, DomainId, ErrorCode, HostId, KeyId, MaterialId, Opcode,
};
use serde::{Deserialize, Serialize};

fn golden(name: &str, bytes: &[u8]) {
    let hex: String = bytes
        .chunks(48)
        .map(|row| row.iter().map(|byte| format!("{byte:02x}")).collect::<String>() + "\n")
        .collect();
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("tests/golden/{name}.hex"));
    if std::env::var_os("UPDATE_GOLDEN").is_some() && !path.exists() {
        std::fs::write(&path, &hex).unwrap();
    }
    let expected = std::fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("{}: {error}; see the head of this file", path.display()));
    assert_eq!(hex, expected, "{name}");
}

fn request<'a, C: Command + Debug + Deserialize<'a>>(command: &C, buffer: &'a mut [u8]) {
    let name = C::OPCODE.name().unwrap();
    let body = &*command.encode(buffer).unwrap();
    golden(&format!("{name}.request"), body);
    let read: C = decode(body).unwrap();
    assert_eq!(format!("{read:?}"), format!("{command:?}"));
    assert!(body.is_empty() || decode::<C>(&body[..body.len() - 1]).is_err(), "{name} cut short");
}

fn response<'a, R: Serialize + Deserialize<'a> + Debug>(
    opcode: Opcode,
    value: &R,
    buffer: &'a mut [u8],
) {
    let body = &*postcard::to_slice(value, buffer).unwrap();
    golden(&format!("{}.response", opcode.name().unwrap()), body);
    let read: R = decode(body).unwrap();
    assert_eq!(format!("{read:?}"), format!("{value:?}"));
}

const ID: KeyId = KeyId { multi_region: false, bytes: [0x1D; 16] };
const MRK: KeyId = KeyId { multi_region: true, bytes: [0x2D; 16] };
const KEY: key::KeyRef<'_> = key::KeyRef { id: ID, token: Bytes(b"token") };
const OTHER: key::KeyRef<'_> = key::KeyRef { id: MRK, token: Bytes(b"other token") };
const CONTEXT: Bytes<'_> = Bytes(b"context");
const DEVICE: DeviceId = DeviceId([0xDE; 16]);
const DOMAIN: DomainId = DomainId([0xD0; 16]);
const HOST: HostId = HostId([0x40; 16]);
const MATERIAL: MaterialId = MaterialId([0x3A; 32]);
const TAG: AuditTag = AuditTag([0x7A; 16]);
const HEAD: Head = Head([0x4E; 32]);
const PUBLIC: PublicKey = PublicKey { tag: 2, x: [0x9B; 32] };
const SIGNATURE: Signature = Signature { r: [0x12; 32], s: [0x34; 32] };
const IDENTITY: IdentityDocument =
    IdentityDocument { signing: PUBLIC, link: PUBLIC, join: PUBLIC, signature: SIGNATURE };

#[test]
fn system_commands() {
    let b = &mut [0; 512];
    request(&system::Info, b);
    request(&system::Status, b);
    request(&system::Reset, b);
    request(&system::SelfTest, b);
    request(&system::Zeroise, b);
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
    };
    response(Opcode::Status, &status, b);
    response(Opcode::Reset, &(), b);
    response(Opcode::SelfTest, &system::SelfTestReport { tests: 7, duration_us: 500 }, b);
    response(Opcode::Zeroise, &(), b);
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
    let enrolled = domain::EnrolledHost { host: HOST, role: Role::Provisioner };
    let summary = domain::DomainSummary { domain: DOMAIN, version: 3, active_key: 1, members: 2 };
    request(&domain::Initialise, b);
    response(Opcode::Initialise, &enrolled, b);
    request(&domain::EnrolHost { key: PUBLIC, role: Role::Auditor }, b);
    response(Opcode::EnrolHost, &enrolled, b);
    request(&domain::RemoveHost { host: HOST }, b);
    response(Opcode::RemoveHost, &(), b);
    request(&domain::ListHosts, b);
    response(Opcode::ListHosts, &domain::HostList { rows: Bytes(&[0x40; 17]) }, b);
    request(&domain::CreateDomain, b);
    response(Opcode::CreateDomain, &summary, b);
    request(&domain::ExportDomain { joiner: IDENTITY }, b);
    response(Opcode::ExportDomain, &domain::ExportedDomain { token: Bytes(b"domain") }, b);
    request(&domain::JoinDomain { exporter: IDENTITY, token: Bytes(b"domain") }, b);
    response(Opcode::JoinDomain, &summary, b);
    request(&domain::DomainInfo, b);
    let status = domain::DomainStatus { device: DEVICE, domain: Some(summary) };
    response(Opcode::DomainInfo, &status, b);
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
}

#[test]
fn every_command_has_golden_bytes() {
    for opcode in Opcode::ALL {
        let name = opcode.name().unwrap();
        assert_eq!(Opcode::from_name(name), Some(*opcode));
        for half in ["request", "response"] {
            let file = format!("{}/tests/golden/{name}.{half}.hex", env!("CARGO_MANIFEST_DIR"));
            assert!(std::path::Path::new(&file).exists(), "{file}");
        }
    }
}

#[test]
fn opcode_numbers() {
    let table: String = Opcode::ALL
        .iter()
        .map(|opcode| format!("0x{:04x} {}\n", opcode.0, opcode.name().unwrap()))
        .collect();
    golden("opcodes", table.as_bytes());
}

#[test]
fn heads() {
    let b = &mut [0; 128];
    let head = RequestHead { opcode: Opcode::Sign, id: 0x0102, tag: Some(TAG) };
    let length = head.write(b).unwrap();
    golden("request-head", &b[..length]);
    assert_eq!(RequestHead::split(&b[..length]).unwrap(), (head, &[][..]));
    assert_eq!(RequestHead::split(&b[..length - 1]).err(), Some(ErrorCode::MALFORMED));

    let receipt = Receipt { epoch: 2, index: 999, subject: MATERIAL, head: HEAD };
    for (name, status, receipt) in [
        ("response-head", None, Some(receipt)),
        ("response-head-error", Some(ErrorCode::CIPHERTEXT_INVALID), Some(receipt)),
        ("response-head-plain", None, None),
    ] {
        let head = ResponseHead { id: 0x0102, status, receipt };
        let length = head.write(b).unwrap();
        golden(name, &b[..length]);
        b[length] = 0xB0;
        assert_eq!(ResponseHead::split(&b[..=length]).unwrap(), (head, &[0xB0][..]));
    }
}

#[test]
fn key_token() {
    let attributes = KeyAttributes {
        domain: DOMAIN,
        domain_key: 0x0102_0304,
        key: MRK,
        material: MATERIAL,
        spec: KeySpec::SYMMETRIC_DEFAULT,
        usage: KeyUsage::ENCRYPT_DECRYPT,
        origin: Origin::AWS_KMS,
    };
    let mut token = [0x5E; KeyToken::MAX_SIZE];
    let (header, sealed) = attributes.write(&[0x0E; 16], &mut token).unwrap();
    assert_eq!((header.len(), sealed.len()), (KeyToken::HEADER_SIZE, 48));
    golden("key-token", &token);
    let read = KeyToken::parse(&token).unwrap();
    assert_eq!(read.attributes, attributes);
    assert_eq!((read.nonce, read.sealed), (&[0x0E; 16], &[0x5E; 48][..]));
    for bad in [&token[..token.len() - 48], &[&token[..], &[0]].concat(), &[]] {
        assert_eq!(KeyToken::parse(bad), Err(ErrorCode::TOKEN_MALFORMED));
    }
}

#[test]
fn blob() {
    let mut out = [0; 32 + Blob::OVERHEAD];
    let parts = Blob::write(ID, &MATERIAL, &[0x0E; 16], &[0x1F; 12], 32, &mut out).unwrap();
    parts.body.fill(0xC7);
    parts.tag.fill(0x7A);
    golden("blob", &out);
    assert_eq!(out.len(), 126, "32 bytes encrypted must stay under 150");
    let read = Blob::parse(&out).unwrap();
    assert_eq!((read.key, read.material, read.iv), (ID, MATERIAL, &[0x1F; 12]));
    assert_eq!(read.sealed.len(), 48);
    assert_eq!(Blob::parse(&out[..Blob::OVERHEAD]), Err(ErrorCode::CIPHERTEXT_INVALID));
    let mut flag = out;
    flag[1] = 2;
    assert_eq!(Blob::parse(&flag), Err(ErrorCode::CIPHERTEXT_INVALID));
}

#[test]
fn domain_token() {
    let mut out = [0x5E; DomainToken::OVERHEAD + 100];
    let joiner = DeviceId([0x10; 16]);
    DomainToken::write_header(&DOMAIN, 7, &DEVICE, &joiner, &PUBLIC, &mut out).unwrap();
    let start = out.len() - Signature::SIZE;
    out[start..].copy_from_slice(&SIGNATURE.to_bytes());
    golden("domain-token", &out);
    let read = DomainToken::parse(&out).unwrap();
    assert_eq!((read.domain, read.version), (DOMAIN, 7));
    assert_eq!((read.exporter, read.joiner, read.ephemeral), (DEVICE, joiner, PUBLIC));
    assert_eq!((read.sealed.len(), read.signature), (116, SIGNATURE));
    assert_eq!(DomainToken::parse(&out[..100]), Err(ErrorCode::DOMAIN_TOKEN_INVALID));
}

#[test]
fn encryption_context() {
    let pairs: [(&[u8], &[u8]); 2] = [(b"purpose", b"test"), (b"tenant", b"")];
    let mut out = [0; 64];
    let unsorted = context::encode(pairs.into_iter(), &mut out);
    assert_eq!(unsorted, Ok(4 + 4 + 7 + 4 + 4 + 4 + 6 + 4), "purpose sorts before tenant");
    golden("context", &out[..unsorted.unwrap()]);
    let swapped = context::encode(pairs.into_iter().rev(), &mut out);
    assert_eq!(swapped, Err(ErrorCode::INVALID_ARGUMENT));
    let twice = context::encode([pairs[0], pairs[0]].into_iter(), &mut out);
    assert_eq!(twice, Err(ErrorCode::INVALID_ARGUMENT));
    assert_eq!(context::encode(pairs.into_iter(), &mut out[..36]), Err(ErrorCode::TOO_LARGE));
    assert_eq!(context::encode([].into_iter(), &mut []), Ok(0));
}

#[test]
fn audit_values() {
    let entry = Entry {
        index: 1,
        opcode: Opcode::Decrypt,
        result: Some(ErrorCode::CIPHERTEXT_INVALID),
        host: HOST,
        subject: Entry::subject_of_two(&MATERIAL, &MaterialId([1; 32])),
        tag: TAG,
    };
    let bytes = entry.to_bytes();
    golden("audit-entry", &bytes);
    assert_eq!(Entry::from_bytes(&bytes), Some(entry));
    let genesis = Head::genesis(&DEVICE, 2);
    golden("audit-genesis", &genesis.0);
    golden("audit-head", &genesis.extend(&entry).0);
    golden("audit-signed-message", &signed_head_message(&DEVICE, 2, 1, &HEAD, &[0x6E; 16]));
    golden("identity-message", &IdentityDocument::message(&PUBLIC, &PUBLIC, &PUBLIC));
}

#[test]
fn error_codes_are_pinned_and_below_the_receipt_flag() {
    let table: String = ErrorCode::ALL
        .iter()
        .map(|(code, name, _)| format!("0x{:04x} {name}\n", code.to_u16()))
        .collect();
    golden("error-codes", table.as_bytes());
    assert!(ErrorCode::ALL.iter().all(|row| row.0.to_u16() < 0x8000));
    assert!(ErrorCode::ALL.windows(2).all(|pair| pair[0].0 < pair[1].0), "ascending");
}
