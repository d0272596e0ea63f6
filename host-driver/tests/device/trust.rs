//! What people rely on: statements, approvals, backups, all of it over a line to a device.

use host_driver::approval::{GuardedError, Pending, PendingError};
use host_driver::attest::{
    Anchor, AttestError, DeviceCa, anchor_from_pem, certificate_pem, verify, with_certificate,
};
use host_driver::ceremony::{change, propose};
use host_driver::error::CallError;
use host_driver::recovery::{HandOverError, ShareKey, hand_over};
use host_driver::{Device, HostKey, OperatorKey};
use hsm_protocol::command::approval::GenerateGuardedKey;
use hsm_protocol::command::cipher::{Decrypt, Encrypt};
use hsm_protocol::command::key::{GenerateKey, KeyRef};
use hsm_protocol::command::sign::Sign;
use hsm_protocol::domain::{Certificate, Change, DeviceKind, DomainState, Rule};
use hsm_protocol::identity::IdentityDocument;
use hsm_protocol::key_spec::{KeySpec, KeyUsage, MessageType, SigningAlgorithm};
use hsm_protocol::token::History;
use hsm_protocol::token::recovery::{Handover, Share};
use hsm_protocol::{AuditTag, Bytes, ErrorCode, KeyId, Opcode};

use crate::rig::{Hsm, Keys, options};

const ID: KeyId = KeyId { multi_region: false, bytes: [0x11; 16] };
const NONCE: &[u8] = b"the verifier has drawn it";

/// A device in a development domain, and a session.
fn device() -> (Device, Keys, Hsm) {
    let (hsm, keys) = (Hsm::new(), Keys::new());
    keys.provision(&hsm).unwrap();
    (open(&hsm, &keys.user), keys, hsm)
}

fn open(hsm: &Hsm, key: &HostKey) -> Device {
    let device = Device::open(hsm, None, options()).unwrap();
    device.authenticate(key).unwrap();
    device
}

fn refused(error: &CallError) -> Option<ErrorCode> {
    match error {
        CallError::Refused { code, .. } => Some(*code),
        _ => None,
    }
}

fn signing_key(device: &Device, rule: Option<Rule>) -> Vec<u8> {
    let request =
        GenerateKey { id: ID, spec: KeySpec::ECC_NIST_P256, usage: KeyUsage::SIGN_VERIFY };
    let tag = AuditTag::default();
    match rule {
        None => {
            let reply = device.call_blocking(&request, tag).unwrap();
            reply.response().unwrap().token.to_vec()
        }
        Some(rule) => {
            let reply = device.call_blocking(&GenerateGuardedKey { request, rule }, tag).unwrap();
            reply.response().unwrap().token.to_vec()
        }
    }
}

#[test]
fn a_statement_is_checked_from_the_root_alone() {
    let (device, _, _hsm) = device();
    let token = signing_key(&device, None);
    let key = KeyRef { id: ID, token: Bytes(&token) };
    let statement = device.attest_key(key, NONCE).unwrap();
    let signing = device.identity().signing;
    let alone = verify(&statement, &Anchor::Device(signing), Some(NONCE)).unwrap();
    assert_eq!((alone.certified, alone.claims.kind), (None, DeviceKind::InProcess));
    assert_eq!(alone.claims.measurement, None, "a part of a program measures nothing");
    let key = alone.claims.key.unwrap();
    assert_eq!((key.id, key.spec), (ID, KeySpec::ECC_NIST_P256));
    assert_eq!(key.history, History::SOFT_MEMBER.and(History::DEVELOPMENT));

    let ca = DeviceCa::new(OperatorKey::generate());
    let root = anchor_from_pem(&ca.root_pem().unwrap()).unwrap();
    assert_eq!(root, Anchor::DeviceCa(ca.public()));
    assert_eq!(verify(&statement, &root, Some(NONCE)).err(), Some(AttestError::NoCertificate));
    let certificate = ca.certify(device.identity(), DeviceKind::InProcess).unwrap();
    let der = certificate.to_der(&ca.public(), device.identity()).unwrap();
    let carried = with_certificate(&statement, &der).unwrap();
    let verified = verify(&carried, &root, Some(NONCE)).unwrap();
    assert_eq!(verified.certified, Some(DeviceKind::InProcess));
    assert_eq!(verified.claims, alone.claims);

    // Another CA, another nonce, a changed byte anywhere.
    let other = DeviceCa::new(OperatorKey::generate());
    let theirs = Anchor::DeviceCa(other.public());
    assert_eq!(verify(&carried, &theirs, Some(NONCE)).err(), Some(AttestError::Untrusted));
    assert_eq!(verify(&carried, &root, Some(b"of yesterday")).err(), Some(AttestError::OtherNonce));
    for index in 0..carried.len() {
        let mut bad = carried.clone();
        bad[index] ^= 1;
        assert!(verify(&bad, &root, Some(NONCE)).is_err(), "byte {index}");
    }
    assert_eq!(verify(&vec![0; 1 << 20], &root, None).err(), Some(AttestError::Malformed));
    // The certificate of another device, and one that calls this device hardware.
    let (another, _, _other) = self::device();
    let certificate = ca.certify(another.identity(), DeviceKind::InProcess).unwrap();
    let der = certificate.to_der(&ca.public(), another.identity()).unwrap();
    let swapped = with_certificate(&statement, &der).unwrap();
    let refused = verify(&swapped, &root, Some(NONCE)).err();
    assert_eq!(refused, Some(AttestError::OtherDevice(device.id())));
    let certificate = ca.certify(device.identity(), DeviceKind::Hardware).unwrap();
    let der = certificate.to_der(&ca.public(), device.identity()).unwrap();
    let flattered = with_certificate(&statement, &der).unwrap();
    let refused = verify(&flattered, &root, Some(NONCE)).err();
    let (certified, said) = (DeviceKind::Hardware, DeviceKind::InProcess);
    assert_eq!(refused, Some(AttestError::OtherKind { certified, said }));
}

#[test]
fn a_device_states_what_it_is() {
    let (device, _, _hsm) = device();
    let statement = device.attest_device(NONCE).unwrap();
    let anchor = Anchor::Device(device.identity().signing);
    let claims = verify(&statement, &anchor, Some(NONCE)).unwrap().claims;
    assert_eq!((claims.device, claims.key), (device.id(), None));
    assert_eq!(claims.domain.unwrap().state, device.domain_state().unwrap().hash().unwrap());
    let status = device.status().unwrap();
    assert_eq!((status.kind, status.measurement), (claims.kind, claims.measurement));
    let refusal = device.attest_device(b"short").err().unwrap();
    assert_eq!(refused(&refusal), Some(ErrorCode::INVALID_ARGUMENT));
}

#[test]
fn pem_files_are_of_one_ca_and_device() {
    let (device, _, _hsm) = device();
    let ca = DeviceCa::new(OperatorKey::generate());
    let identity = device.identity();
    let certificate = ca.certify(identity, DeviceKind::InProcess).unwrap();
    let pem = certificate_pem(&certificate, &ca.public(), identity).unwrap();
    assert!(pem.starts_with("-----BEGIN CERTIFICATE-----\n"));
    assert_eq!(anchor_from_pem(&pem), Err(AttestError::Untrusted), "a device is not a CA");
    assert_eq!(anchor_from_pem("nonsense"), Err(AttestError::Untrusted));
    let other = DeviceCa::new(OperatorKey::generate());
    let refused = certificate_pem(&certificate, &other.public(), identity);
    assert_eq!(refused.err(), Some(ErrorCode::CERTIFICATE_INVALID));
}

#[test]
fn a_guarded_call_answers_what_is_to_be_signed() {
    let (device, keys, _hsm) = device();
    let token = signing_key(&device, Some(Rule { total: 1, officers: 0 }));
    let key = KeyRef { id: ID, token: Bytes(&token) };
    let algorithm = SigningAlgorithm::ECDSA_SHA_256;
    let (message_type, message) = (MessageType::RAW, Bytes(b"a root certificate"));
    let request = Sign { key, algorithm, message_type, message };
    let call = || device.call_guarded(key, &request, AuditTag::default());
    let Err(GuardedError::ApprovalRequired(pending)) = call() else { panic!("it is guarded") };
    assert!(pending.to_bytes().unwrap().len() > request.message.len());
    let asked = *pending.asked();
    assert_eq!((asked.opcode, asked.device, asked.key), (Opcode::Sign, device.id(), ID));

    // As a file to the operator, who sees what it is.
    let file = pending.to_bytes().unwrap();
    let carried = Pending::from_bytes(&file).unwrap();
    assert_eq!(carried, *pending);
    let shown = carried.describe().join("\n");
    for part in ["Sign", "ECDSA_SHA_256", "RAW", "6120726f6f74206365727469666963617465"] {
        assert!(shown.contains(part), "{part} in\n{shown}");
    }
    // A file whose request was replaced shows what would not be signed.
    let mut bad = file.to_vec();
    *bad.last_mut().unwrap() ^= 1;
    assert_eq!(Pending::from_bytes(&bad), Err(PendingError::OtherRequest));
    assert_eq!(Pending::from_bytes(&[]), Err(PendingError::Malformed));
    assert_eq!(Pending::from_bytes(&file[..40]), Err(PendingError::Malformed));

    let stranger = pending.sign(&OperatorKey::generate()).unwrap();
    let refusal = device.approve(&pending, &[stranger]).err().unwrap();
    assert_eq!(refused(&refusal), Some(ErrorCode::SIGNATURE_INVALID));
    device.approve(&pending, &[carried.sign(&keys.operator).unwrap()]).unwrap();
    call().unwrap().response().unwrap();
    assert!(matches!(call(), Err(GuardedError::ApprovalRequired(_))), "once");
    // A key without a rule goes through as ever.
    let free = signing_key(&device, None);
    let key = KeyRef { id: ID, token: Bytes(&free) };
    let request = Sign { key, ..request };
    device.call_guarded(key, &request, AuditTag::default()).unwrap();
}

/// A domain whose one operator holds the one share there is, with what was encrypted in it.
struct Kept {
    state: DomainState,
    backup: Vec<u8>,
    share: Share,
    share_key: ShareKey,
    token: Vec<u8>,
    blob: Vec<u8>,
}

fn kept(device: &Device, keys: &Keys) -> Kept {
    let spec = KeySpec::SYMMETRIC_DEFAULT;
    let request = GenerateKey { id: ID, spec, usage: KeyUsage::ENCRYPT_DECRYPT };
    let reply = device.call_blocking(&request, AuditTag::default()).unwrap();
    let token = reply.response().unwrap().token.to_vec();
    let (key, context) = (KeyRef { id: ID, token: Bytes(&token) }, Bytes(&[]));
    let request = Encrypt { key, context, plaintext: Bytes(b"kept") };
    let reply = device.call_blocking(&request, AuditTag::default()).unwrap();
    let blob = reply.response().unwrap().blob.to_vec();

    let refusal = device.make_recovery().err().unwrap();
    assert_eq!(refused(&refusal), Some(ErrorCode::RECOVERY_ABSENT));
    let share_key = ShareKey::generate();
    let domain = device.domain_state().unwrap().domain;
    let holder = share_key.holder(&domain, keys.operator.id(), |message| {
        keys.operator.sign(message).map(|vote| vote.signature)
    });
    let holder = holder.unwrap();
    let set = Change::SetRecovery { threshold: 1, holders: Bytes(&holder) };
    let state = change(&[device], &[set], &keys.operator, &keys.ballots).unwrap();
    let made = device.make_recovery().unwrap();
    let [share] = made.shares[..] else { panic!("one share") };
    Kept { state, backup: made.backup, share, share_key, token, blob }
}

/// As an operator does it who has the key in this process.
fn handed_over(
    set: (&[u8], &Share),
    state: &DomainState,
    device: (&IdentityDocument, Option<&Certificate>),
    (operator, key): (&OperatorKey, &ShareKey),
) -> Result<[u8; Handover::SIZE], HandOverError> {
    hand_over(set, state, device, (operator.id(), key), |message| {
        operator.sign(message).map(|vote| vote.signature)
    })
}

#[test]
fn a_domain_comes_back_by_its_shares() {
    let (device, keys, hsm) = device();
    let kept = kept(&device, &keys);
    let lost = device.id();
    drop((device, hsm));

    let hsm = Hsm::new();
    let fresh = open(&hsm, &HostKey::generate());
    let identity = *fresh.identity();
    let own = (&keys.operator, &kept.share_key);
    let set = (&kept.backup[..], &kept.share);
    let handover = handed_over(set, &kept.state, (&identity, None), own).unwrap();
    let key = KeyRef { id: ID, token: Bytes(&kept.token) };
    let drilled = fresh.drill_recovery(&kept.backup, &[handover], key).unwrap();
    assert_eq!((drilled.domain, drilled.version), (kept.state.domain, kept.state.version));

    let kind = DeviceKind::InProcess;
    let changes = [
        Change::AddMember { identity, kind, certificate: None },
        Change::RemoveMember(lost),
        Change::RotateKey { maker: fresh.id() },
    ];
    let proposed = propose(&kept.state, &changes).unwrap();
    let ballot = proposed.ballot(&[keys.operator.sign(&proposed.message).unwrap()]).unwrap();
    let summary = fresh.restore_domain(&kept.backup, &[handover], &ballot).unwrap();
    assert_eq!(summary.state, proposed.outcome.next.hash().unwrap());

    drop(fresh); // a device serves one line at a time
    let back = open(&hsm, &keys.user);
    let request = Decrypt { key, context: Bytes(&[]), blob: Bytes(&kept.blob) };
    let reply = back.call_blocking(&request, AuditTag::default()).unwrap();
    assert_eq!(reply.response().unwrap().plaintext.0, b"kept");
}

#[test]
fn an_operator_hands_a_share_to_nobody_else() {
    let (device, keys, _hsm) = device();
    let kept = kept(&device, &keys);
    let set = (&kept.backup[..], &kept.share);
    let empty = Hsm::new();
    let fresh = Device::open(&empty, None, options()).unwrap();
    let identity = *fresh.identity();
    let own = (&keys.operator, &kept.share_key);
    let hand = |set, state: &DomainState, certificate: Option<&Certificate>, own| {
        handed_over(set, state, (&identity, certificate), own).err()
    };
    assert_eq!(hand(set, &kept.state, None, own), None);
    // Another state, another backup, another operator, another share key.
    let later = DomainState { version: kept.state.version + 1, ..kept.state.clone() };
    let together = Some(HandOverError::NotTogether);
    assert_eq!(hand(set, &later, None, own), together);
    let again = device.make_recovery().unwrap();
    assert_eq!(hand((&again.backup, &kept.share), &kept.state, None, own), together);
    assert_eq!(hand((b"none", &kept.share), &kept.state, None, own), together);
    let (stranger, other_key) = (OperatorKey::generate(), ShareKey::generate());
    let yours = Some(HandOverError::NotYours);
    assert_eq!(hand(set, &kept.state, None, (&stranger, &kept.share_key)), yours);
    assert_eq!(hand(set, &kept.state, None, (&keys.operator, &other_key)), yours);

    // With a device CA: whoever makes up an identity gets nothing.
    let ca = DeviceCa::new(OperatorKey::generate());
    let anchored = Change::SetDeviceCa(Some(ca.public()));
    let state = change(&[&device], &[anchored], &keys.operator, &keys.ballots).unwrap();
    let made = device.make_recovery().unwrap();
    let set = (&made.backup[..], &made.shares[0]);
    let untrusted = Some(HandOverError::DeviceUntrusted);
    assert_eq!(hand(set, &state, None, own), untrusted);
    let other = DeviceCa::new(OperatorKey::generate());
    let theirs = other.certify(&identity, DeviceKind::Hardware).unwrap();
    assert_eq!(hand(set, &state, Some(&theirs), own), untrusted);
    let of_another = ca.certify(device.identity(), DeviceKind::InProcess).unwrap();
    assert_eq!(hand(set, &state, Some(&of_another), own), untrusted);
    let good = ca.certify(&identity, DeviceKind::InProcess).unwrap();
    assert_eq!(hand(set, &state, Some(&good), own), None);
    let mut strict = state;
    (strict.kind, strict.rules.emulated_members) = (hsm_protocol::domain::Kind::Production, false);
    // Of a state that the backup is not of: it is refused before the device is looked at.
    assert_eq!(hand(set, &strict, Some(&good), own), together);
}
