//! Sealed things in the wrong place: each kind of token with each command that takes one, by a
//! crypto user over the line.
//!
//! A token that two commands accept is a way to take out by the one what the other keeps in: a key
//! pair that became a customer's key was once answered in the clear as a data key pair. So everything
//! that a device seals is tried everywhere, and is good in exactly one place.

use std::collections::BTreeMap;

use host_driver::device::Device;
use host_driver::error::CallError;
use hsm_protocol::command::Command;
use hsm_protocol::command::attest::{Attest, For, Recipient};
use hsm_protocol::command::cipher::{
    Decrypt, Encrypt, GenerateDataKeyPair, GenerateDataKeyPairWithoutPlaintext, ReEncrypt,
};
use hsm_protocol::command::domain::JoinDomain;
use hsm_protocol::command::import::{ImportKey, ParametersForImport};
use hsm_protocol::command::key::{AdoptKeyPair, ExportPublicKey, KeyRef};
use hsm_protocol::command::random::Random;
use hsm_protocol::command::replica::{DomainKeyInfo, ExportReplica, ImportReplica, ReplicationKey};
use hsm_protocol::domain::{Change, DeviceKind};
use hsm_protocol::key_spec::{KeySpec, KeyUsage, WrappingAlgorithm};
use hsm_protocol::token::sealed::PairPurpose;
use hsm_protocol::{Bytes, ErrorCode, KeyId};
use hsm_tests::calls::prepare;
use hsm_tests::enclave::Enclave;
use hsm_tests::on_every_line;
use hsm_tests::testbed::{TAG, Testbed};

on_every_line! {
    pairs:
    what_is_sealed_is_good_in_one_place,
    no_private_half_of_a_key_is_answered,
}

const NOW: u64 = 1_780_000_000_000;
const EXPIRES: u64 = NOW + 60_000;
const SPEC: KeySpec = KeySpec::RSA_2048;
const SIGNING: KeyUsage = KeyUsage::SIGN_VERIFY;
/// Of every key here, so that no refusal is for the id.
const ID: KeyId = KeyId { multi_region: true, bytes: [0x21; 16] };

type Outcome = Result<(), ErrorCode>;

fn outcome<C: Command>(device: &Device, command: &C) -> Outcome {
    match device.call_blocking(command, TAG) {
        Ok(_) => Ok(()),
        Err(CallError::Refused { code, .. }) => Err(code),
        Err(error) => panic!("{:?}: {error}", C::OPCODE),
    }
}

fn generate(device: &Device, spec: KeySpec, usage: KeyUsage) -> Vec<u8> {
    let command = hsm_protocol::command::key::GenerateKey { id: ID, spec, usage };
    let reply = device.call_blocking(&command, TAG).expect("a crypto user may");
    reply.response().expect("decodes").token.to_vec()
}

/// A place where a request has something sealed.
type Place<'a> = (&'static str, Box<dyn Fn(&[u8]) -> Outcome + 'a>);

/// What the places need besides the token under test.
struct Context {
    key: Vec<u8>,
    blob: Vec<u8>,
    recipient: Vec<u8>,
    peer: DomainKeyInfo,
}

const fn parameters(pair: Bytes<'_>) -> ParametersForImport<'_> {
    ParametersForImport {
        id: ID,
        spec: KeySpec::SYMMETRIC_DEFAULT,
        usage: KeyUsage::ENCRYPT_DECRYPT,
        algorithm: WrappingAlgorithm::RSAES_OAEP_SHA_256,
        expires_ms: EXPIRES,
        pair,
    }
}

/// Every place that takes something sealed, with the kind that is right there.
fn places<'a>(device: &'a Device, joiner: &'a Device, context: &'a Context) -> Vec<Place<'a>> {
    let none = Bytes(&[]);
    let by_ref = KeyRef { id: ID, token: Bytes(&context.key) };
    // Not closures: each takes tokens of any lifetime.
    fn ours(token: &[u8]) -> KeyRef<'_> {
        KeyRef { id: ID, token: Bytes(token) }
    }
    fn data_key_pair<'t>(key: KeyRef<'t>, pair: &'t [u8]) -> GenerateDataKeyPair<'t> {
        GenerateDataKeyPair { key, context: Bytes(&[]), spec: SPEC, pair: Bytes(pair) }
    }
    let recipient = Recipient { now_ms: NOW, token: Bytes(&context.recipient) };
    vec![
        (
            "symmetric key",
            Box::new(move |sealed| {
                let key = ours(sealed);
                outcome(device, &Encrypt { key, context: none, plaintext: Bytes(b"x") })
            }),
        ),
        (
            "signing key",
            Box::new(move |sealed| outcome(device, &ExportPublicKey { key: ours(sealed) })),
        ),
        (
            "blob",
            Box::new(move |sealed| {
                let blob = Bytes(sealed);
                outcome(device, &Decrypt { key: by_ref, context: none, blob })
            }),
        ),
        (
            "blob",
            Box::new(move |sealed| {
                let (source, destination, blob) = (by_ref, by_ref, Bytes(sealed));
                let (source_context, destination_context) = (none, none);
                let command =
                    ReEncrypt { source, source_context, blob, destination, destination_context };
                outcome(device, &command)
            }),
        ),
        (
            "blob",
            Box::new(move |sealed| {
                let request = Decrypt { key: by_ref, context: none, blob: Bytes(sealed) };
                outcome(device, &For { recipient, request })
            }),
        ),
        (
            "pair KEY",
            Box::new(move |sealed| {
                outcome(device, &AdoptKeyPair { id: ID, usage: SIGNING, pair: Bytes(sealed) })
            }),
        ),
        (
            "pair DATA_KEY_PAIR",
            Box::new(move |sealed| outcome(device, &data_key_pair(by_ref, sealed))),
        ),
        (
            "pair DATA_KEY_PAIR",
            Box::new(move |sealed| {
                let request = data_key_pair(by_ref, sealed);
                outcome(device, &GenerateDataKeyPairWithoutPlaintext { request })
            }),
        ),
        (
            "pair DATA_KEY_PAIR",
            Box::new(move |sealed| {
                let request = data_key_pair(by_ref, sealed);
                outcome(device, &For { recipient, request })
            }),
        ),
        ("pair IMPORT", Box::new(move |sealed| outcome(device, &parameters(Bytes(sealed))))),
        (
            "import token",
            Box::new(move |sealed| {
                let (token, wrapped) = (Bytes(sealed), Bytes(&[0; 256]));
                let command = ImportKey { id: ID, now_ms: NOW, token, wrapped };
                // The token is right if it is the material that is refused.
                match outcome(device, &command) {
                    Err(ErrorCode::CIPHERTEXT_INVALID) => Ok(()),
                    other => other,
                }
            }),
        ),
        (
            "recipient token",
            Box::new(move |sealed| {
                let recipient = Recipient { now_ms: NOW, token: Bytes(sealed) };
                outcome(device, &For { recipient, request: Random { length: 32 } })
            }),
        ),
        (
            "replica token",
            Box::new(move |sealed| {
                let peer = context.peer;
                outcome(device, &ImportReplica { id: ID, peer, token: Bytes(sealed) })
            }),
        ),
        (
            "domain token",
            Box::new(move |sealed| outcome(joiner, &JoinDomain { token: Bytes(sealed) })),
        ),
    ]
}

fn what_is_sealed_is_good_in_one_place(testbed: Testbed) {
    let enclave = Enclave::new(2048);
    let hosts = testbed.provision();
    let device = testbed.device_as(&hosts.user);
    // The others are boards in this process: what counts is who opens their tokens.
    let board = || Testbed::new(hsm_tests::testbed::Line::Host(Default::default()));
    let (second, third) = (board(), board());
    let joiner = second.device_as(&hosts.user);
    let others = third.provision();
    let elsewhere = third.device_as(&others.user);
    let info = |device: &Device| {
        let reply = device.call_blocking(&ReplicationKey, TAG).expect("a crypto user may");
        reply.response().expect("decodes")
    };
    let (own, peer) = (info(&device), info(&elsewhere));
    let (identity, kind) = (*joiner.identity(), DeviceKind::InProcess);
    hosts.change(
        &device,
        &[
            Change::SetRoots(Bytes(&enclave.root())),
            Change::AddMember { identity, kind, certificate: None },
            Change::AddPeer(peer),
        ],
    );
    others.change(&elsewhere, &[Change::AddPeer(own)]);
    let domain_token = device.export_domain(joiner.id()).expect("a member");

    let key = generate(&device, KeySpec::SYMMETRIC_DEFAULT, KeyUsage::ENCRYPT_DECRYPT);
    let signing = generate(&device, KeySpec::ECC_NIST_P256, SIGNING);
    let by_ref = KeyRef { id: ID, token: Bytes(&key) };
    let (context, plaintext) = (Bytes(&[][..]), Bytes(b"a plaintext"));
    let blob = device.call_blocking(&Encrypt { key: by_ref, context, plaintext }, TAG);
    let blob = blob.expect("encrypted").response().expect("decodes").blob.to_vec();
    let document = enclave.attest(NOW);
    let attested = device.call_blocking(&Attest { now_ms: NOW, document: Bytes(&document) }, TAG);
    let recipient = attested.expect("trusted").response().expect("decodes").recipient.to_vec();
    // Made elsewhere, for this domain.
    let there = generate(&elsewhere, KeySpec::SYMMETRIC_DEFAULT, KeyUsage::ENCRYPT_DECRYPT);
    let export = ExportReplica { key: KeyRef { id: ID, token: Bytes(&there) }, peer: own };
    let replica = elsewhere.call_blocking(&export, TAG);
    let replica = replica.expect("approved").response().expect("decodes").token.to_vec();

    let mut kinds = BTreeMap::new();
    for purpose in PairPurpose::ALL {
        kinds.insert(format!("pair {purpose:?}"), prepare(&device, SPEC, purpose));
    }
    let pair = Bytes(&kinds["pair IMPORT"]);
    let import = device.call_blocking(&parameters(pair), TAG).expect("a crypto user may");
    let import = import.response().expect("decodes").token.to_vec();
    for (name, token) in [
        ("symmetric key", &key),
        ("signing key", &signing),
        ("blob", &blob),
        ("import token", &import),
        ("recipient token", &recipient),
        ("replica token", &replica),
        ("domain token", &domain_token),
    ] {
        kinds.insert(name.to_owned(), token.clone());
    }
    let context = Context { key, blob, recipient, peer };
    assert!(!context.blob.is_empty());

    // The domain token last: once it is taken, the joiner no longer waits to join.
    let places = places(&device, &joiner, &context);
    let (right, wrong): (Vec<_>, Vec<_>) = places
        .iter()
        .flat_map(|place| kinds.iter().map(move |kind| (place, kind)))
        .partition(|((expected, _), (kind, _))| expected == kind);
    for ((place, call), (kind, token)) in &wrong {
        let expected = match (*place, kind.as_str()) {
            (place, kind) if place.starts_with("pair") && kind.starts_with("pair") => {
                ErrorCode::PAIR_DENIED
            }
            ("symmetric key", "signing key") | ("signing key", "symmetric key") => {
                ErrorCode::USAGE_DENIED
            }
            ("blob", _) => ErrorCode::CIPHERTEXT_INVALID,
            ("domain token", _) => ErrorCode::DOMAIN_TOKEN_INVALID,
            _ => ErrorCode::TOKEN_MALFORMED,
        };
        assert_eq!(call(token), Err(expected), "{kind} where a {place} belongs");
    }
    for ((place, call), (_, token)) in &right {
        assert_eq!(call(token), Ok(()), "{place}");
    }
    assert_eq!((right.len(), wrong.len()), (14, 14 * 9));
}

/// The attack: the material of a key, or the wrapping key of an import, asked for once more as a data
/// key pair, whose private half is answered.
fn no_private_half_of_a_key_is_answered(testbed: Testbed) {
    let hosts = testbed.provision();
    let device = testbed.device_as(&hosts.user);
    let none = Bytes(&[]);
    let token = generate(&device, KeySpec::SYMMETRIC_DEFAULT, KeyUsage::ENCRYPT_DECRYPT);
    let key = KeyRef { id: ID, token: Bytes(&token) };
    for purpose in [PairPurpose::KEY, PairPurpose::IMPORT] {
        let prepared = prepare(&device, SPEC, purpose);
        let pair = Bytes(&prepared);
        let used = match purpose {
            PairPurpose::KEY => outcome(&device, &AdoptKeyPair { id: ID, usage: SIGNING, pair }),
            _ => outcome(&device, &parameters(pair)),
        };
        assert_eq!(used, Ok(()));
        let attack = GenerateDataKeyPair { key, context: none, spec: SPEC, pair };
        assert_eq!(outcome(&device, &attack), Err(ErrorCode::PAIR_DENIED), "{purpose:?}");
        let sealed = GenerateDataKeyPairWithoutPlaintext { request: attack };
        assert_eq!(outcome(&device, &sealed), Err(ErrorCode::PAIR_DENIED), "{purpose:?}");

        // The purpose is authenticated: it cannot be rewritten in the token.
        let purposes = prepared.iter().enumerate().filter(|(_, byte)| **byte == purpose.0);
        for (index, _) in purposes.take(64) {
            let mut rewritten = prepared.clone();
            rewritten[index] = PairPurpose::DATA_KEY_PAIR.0;
            let attack = GenerateDataKeyPair { pair: Bytes(&rewritten), ..attack };
            let refused = outcome(&device, &attack).expect_err("a forged purpose");
            let expected =
                [ErrorCode::TOKEN_MALFORMED, ErrorCode::TOKEN_DOMAIN, ErrorCode::TOKEN_INVALID];
            assert!(expected.contains(&refused), "byte {index}: {refused:?}");
        }
    }
}
