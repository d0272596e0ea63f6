//! Golden bytes of every command, token and audit value.
//!
//! These bytes are on the wire, in stores and in audit logs. When a test here fails, revert your
//! change, not the golden file; a new layout is a new version with files of its own. Files for
//! new rows are written by `UPDATE_GOLDEN=1 cargo test -p hsm-protocol --test golden`, which never
//! overwrites one.

mod attestation;
mod commands;
mod tokens;

use std::fmt::Debug;
use std::path::PathBuf;

use hsm_protocol::audit::{
    Details, Entry, Head, Note, Receipt, request_digest, signed_head_message,
};
use hsm_protocol::channel::{AdmissionKey, MESSAGE_1_SIZE, MessageHash};
use hsm_protocol::command::{Command, decode, key};
use hsm_protocol::curve::{KeyPair, Portable};
use hsm_protocol::identity::{IdentityDocument, PublicKey, Signature};
use hsm_protocol::request::{RequestHead, ResponseHead};
use hsm_protocol::{
    AuditTag, Bytes, DeviceId, DomainId, ErrorCode, HostId, KeyId, MaterialId, Opcode, OperatorId,
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
const OPERATOR: OperatorId = OperatorId([0x09; 16]);
const MATERIAL: MaterialId = MaterialId([0x3A; 32]);
const TAG: AuditTag = AuditTag([0x7A; 16]);
const NOTE: Note = Note { tag: TAG, time_ms: 1_767_225_600_000, taken: 0x0102_0304 };
const HEAD: Head = Head([0x4E; 32]);
const PUBLIC: PublicKey = PublicKey { tag: 2, x: [0x9B; 32] };
const SIGNATURE: Signature = Signature { r: [0x12; 32], s: [0x34; 32] };
const IDENTITY: IdentityDocument =
    IdentityDocument { signing: PUBLIC, link: PUBLIC, join: PUBLIC, signature: SIGNATURE };

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
    let head = RequestHead { opcode: Opcode::Sign, id: 0x0102, note: Some(NOTE) };
    let length = head.write(b).unwrap();
    golden("request-head", &b[..length]);
    assert_eq!(RequestHead::split(&b[..length]).unwrap(), (head, &[][..]));
    assert_eq!(RequestHead::split(&b[..length - 1]).err(), Some(ErrorCode::MALFORMED));

    let receipt = Receipt { epoch: 2, index: 999, subject: MATERIAL, head: HEAD };
    for (name, status, receipt, approved) in [
        ("response-head", None, Some(receipt), true),
        ("response-head-error", Some(ErrorCode::CIPHERTEXT_INVALID), Some(receipt), true),
        ("response-head-plain", None, None, true),
        ("response-head-not-approved", None, Some(receipt), false),
    ] {
        let head = ResponseHead { id: 0x0102, status, receipt, approved };
        let length = head.write(b).unwrap();
        golden(name, &b[..length]);
        b[length] = 0xB0;
        assert_eq!(ResponseHead::split(&b[..=length]).unwrap(), (head, &[0xB0][..]));
    }
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
        details: None,
    };
    let genesis = Head::genesis(&DEVICE, 2);
    golden("audit-genesis", &genesis.0);
    let request = request_digest(Opcode::Decrypt, b"what was asked, and a secret", 14);
    golden("audit-request", &request.0);
    assert_eq!(request, request_digest(Opcode::Decrypt, b"what was asked", 0));
    let details = Some(Details { time_ms: NOTE.time_ms, request });
    let versions = [
        ("audit-entry", "audit-head", entry),
        ("audit-entry-v2", "audit-head-v2", Entry { details, ..entry }),
    ];
    for (name, head, entry) in versions {
        let bytes = entry.to_bytes();
        golden(name, &bytes);
        assert_eq!(Entry::from_bytes(&bytes), Some(entry));
        assert_eq!(Entry::from_bytes(&bytes[1..]), None);
        golden(head, &genesis.extend(&entry).0);
    }
    golden("audit-signed-message", &signed_head_message(&DEVICE, 2, 1, &HEAD, &[0x6E; 16]));
    golden("identity-message", &IdentityDocument::message(&PUBLIC, &PUBLIC, &PUBLIC));
}

#[test]
fn admission_tag() {
    let (host, link) =
        (p256::SecretKey::from_slice(&[7; 32]), p256::SecretKey::from_slice(&[9; 32]));
    let (host, link) = (host.unwrap(), link.unwrap());
    let public = |key: &p256::SecretKey| PublicKey::from_point(&key.public_key());
    let (challenge, message) = ([0xC4; 16], MessageHash::of(&[0x4D; MESSAGE_1_SIZE]));
    let of_host = AdmissionKey::of_host(&host, &public(&link)).unwrap();
    let tag = of_host.tag(&challenge, &message).unwrap();
    golden("admission-tag", &tag);
    let of_device = AdmissionKey::of_device(
        &Portable,
        &KeyPair::new(&Portable, link.clone()).unwrap(),
        &public(&host),
    )
    .unwrap();
    assert!(of_device.admits(&challenge, &message, &tag));
    // The same two key pairs, the other way round: another key.
    let swapped = AdmissionKey::of_host(&link, &public(&host)).unwrap();
    assert_ne!(swapped.tag(&challenge, &message).unwrap(), tag);
    for bit in 0..tag.len() * 8 {
        let mut bad = tag;
        bad[bit / 8] ^= 1 << (bit % 8);
        assert!(!of_device.admits(&challenge, &message, &bad), "bit {bit}");
    }
    assert!(!of_device.admits(&[0xC5; 16], &message, &tag), "another challenge");
    let other = MessageHash::of(&[0x4E; MESSAGE_1_SIZE]);
    assert!(!of_device.admits(&challenge, &other, &tag), "another message");
}

#[test]
fn error_codes_are_pinned_and_below_the_flags() {
    let table: String = ErrorCode::ALL
        .iter()
        .map(|(code, name, _)| format!("0x{:04x} {name}\n", code.to_u16()))
        .collect();
    golden("error-codes", table.as_bytes());
    assert!(ErrorCode::ALL.iter().all(|row| row.0.to_u16() < 0x4000));
    assert!(ErrorCode::ALL.windows(2).all(|pair| pair[0].0 < pair[1].0), "ascending");
}
