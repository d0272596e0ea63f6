//! Results for attested environments: only the attested key opens them, and OpenSSL can.

use host_driver::OperatorKey;
use host_driver::device::Device;
use hsm_protocol::command::agree::DeriveSharedSecret;
use hsm_protocol::command::attest::{Attest, AttestationRoots, For, Measured, Recipient};
use hsm_protocol::command::cipher::{
    Decrypt, DecryptPrivate, EncryptPublic, GenerateDataKey, GenerateDataKeyPair,
};
use hsm_protocol::command::domain::ChangeDomain;
use hsm_protocol::command::key::{ExportPublicKey, KeyRef};
use hsm_protocol::command::random::Random;
use hsm_protocol::domain::Change;
use hsm_protocol::key_spec::{EncryptionAlgorithm, KeySpec, KeyUsage};
use hsm_protocol::token::sealed::PairPurpose;
use hsm_protocol::{Bytes, ErrorCode, KeyId};
use hsm_tests::ballots::ballot;
use hsm_tests::calls::*;
use hsm_tests::enclave::{Document, Enclave};
use hsm_tests::on_every_line;
use hsm_tests::testbed::{TAG, Testbed};

on_every_line! {
    pairs:
    results_only_the_attested_key_opens,
    roots_are_the_operators_business,
}

/// Devices have no clock; this is the host's.
const NOW: u64 = 1_780_000_000_000;
const MINUTE: u64 = 60_000;
const NO_CONTEXT: Bytes<'_> = Bytes(&[]);

/// A device that trusts the enclave's root, with a crypto user's session.
fn trusting(testbed: &Testbed, enclave: &Enclave) -> Device {
    let hosts = testbed.provision();
    let device = testbed.device_as(&hosts.user);
    hosts.change(&device, &[Change::SetRoots(Bytes(&enclave.root()))]);
    device
}

/// The recipient token of an honest document.
fn attest(device: &Device, enclave: &Enclave) -> Vec<u8> {
    let document = enclave.attest(NOW);
    let request = Attest { now_ms: NOW, document: Bytes(&document) };
    let reply = device.call_blocking(&request, TAG).expect("trusted");
    let attested = reply.response().expect("decodes");
    assert_eq!(attested.module_id, "i-0123456789abcdef0-enc0123456789abcdef");
    assert_eq!((attested.timestamp_ms, attested.measured), (NOW, Measured::Enclave));
    assert_eq!(attested.expires_ms, NOW + 5 * MINUTE);
    let register = |index: u8| [&[index, 48][..], &[0xA0 + index; 48]].concat();
    assert_eq!(&*attested.pcrs, [register(0), register(1), register(8)].concat());
    attested.recipient.to_vec()
}

fn results_only_the_attested_key_opens(testbed: Testbed) {
    let enclave = Enclave::new(2048);
    let device = trusting(&testbed, &enclave);
    let token = attest(&device, &enclave);
    let recipient = Recipient { now_ms: NOW + MINUTE, token: Bytes(&token) };
    let key = symmetric(&device, 1);
    let by_ref = key.by_ref();

    let blob = encrypt(&device, &key, b"", b"for the enclave");
    let request = Decrypt { key: by_ref, context: NO_CONTEXT, blob: Bytes(&blob) };
    let reply = device.call_blocking(&For { recipient, request }, TAG).expect("decrypted");
    let answer = reply.response().expect("decodes");
    assert_eq!(enclave.open(&answer.envelope).expect("opens"), b"for the enclave");
    assert!(answer.blob.is_empty() && answer.public.is_empty());
    // With another key OpenSSL decrypts with one that it makes up, which leaves what looks like padding
    // once in 256 times.
    let opened = Enclave::new(2048).open(&answer.envelope);
    assert_ne!(opened.as_deref(), Ok(&b"for the enclave"[..]), "another key opens it");

    let request = GenerateDataKey { key: by_ref, context: NO_CONTEXT, length: 32 };
    let reply = device.call_blocking(&For { recipient, request }, TAG).expect("generated");
    let answer = reply.response().expect("decodes");
    let data_key = enclave.open(&answer.envelope).expect("opens");
    assert_eq!(data_key.len(), 32);
    assert_eq!(decrypt(&device, &key, b"", &answer.blob), data_key);

    let request = GenerateDataKeyPair {
        key: by_ref,
        context: NO_CONTEXT,
        spec: KeySpec::ECC_NIST_P256,
        pair: Bytes(&[]),
    };
    let reply = device.call_blocking(&For { recipient, request }, TAG).expect("generated");
    let answer = reply.response().expect("decodes");
    let private = enclave.open(&answer.envelope).expect("opens");
    assert_eq!(decrypt(&device, &key, b"", &answer.blob), private);
    let point = &answer.public[answer.public.len() - 65..];
    assert!(private.windows(65).any(|window| window == point), "halves of one pair");

    let request = Random { length: 1024 };
    let reply = device.call_blocking(&For { recipient, request }, TAG).expect("drawn");
    let random = enclave.open(&reply.response().expect("decodes").envelope).expect("opens");
    assert_eq!(random.len(), 1024);

    let ours = make(&device, 2, KeySpec::ECC_NIST_P384, KeyUsage::KEY_AGREEMENT);
    let exported = device.call_blocking(&ExportPublicKey { key: ours.by_ref() }, TAG);
    let exported = exported.expect("exported");
    let peer = exported.response().expect("decodes").spki;
    let request = DeriveSharedSecret { key: ours.by_ref(), peer };
    let plain = device.call_blocking(&request, TAG).expect("agreed");
    let reply = device.call_blocking(&For { recipient, request }, TAG).expect("agreed");
    let secret = enclave.open(&reply.response().expect("decodes").envelope).expect("opens");
    assert_eq!(secret, &*plain.response().expect("decodes").secret);

    let pair = prepare(&device, KeySpec::RSA_2048, PairPurpose::KEY);
    let (id, usage) = (KeyId::single_region([3; 16]), KeyUsage::ENCRYPT_DECRYPT);
    let adopt = hsm_protocol::command::key::AdoptKeyPair { id, usage, pair: Bytes(&pair) };
    let adopted = device.call_blocking(&adopt, TAG).expect("adopted");
    let rsa = KeyRef { id, token: adopted.response().expect("decodes").token };
    let algorithm = EncryptionAlgorithm::RSAES_OAEP_SHA_256;
    let request = EncryptPublic { key: rsa, algorithm, plaintext: Bytes(b"asymmetric") };
    let sealed = device.call_blocking(&request, TAG).expect("encrypted");
    let ciphertext = sealed.response().expect("decodes").blob;
    let request = DecryptPrivate { key: rsa, algorithm, ciphertext };
    let reply = device.call_blocking(&For { recipient, request }, TAG).expect("decrypted");
    let answer = reply.response().expect("decodes");
    assert_eq!(enclave.open(&answer.envelope).expect("opens"), b"asymmetric");
    refusals(&device, &token, &key, &blob);
    sizes(&device, &enclave, &key);
}

fn refusals(device: &Device, token: &[u8], key: &StoredKey, blob: &[u8]) {
    let request = Decrypt { key: key.by_ref(), context: NO_CONTEXT, blob: Bytes(blob) };
    let with = |token: &[u8], now_ms: u64| {
        refusal(device, &For { recipient: Recipient { now_ms, token: Bytes(token) }, request })
    };
    assert_eq!(with(token, NOW + 5 * MINUTE), ErrorCode::TOKEN_EXPIRED);
    assert_eq!(with(&[], NOW), ErrorCode::TOKEN_MALFORMED);
    assert_eq!(with(&key.token, NOW), ErrorCode::TOKEN_MALFORMED, "a key is not a recipient");
    let pair = prepare(device, KeySpec::RSA_2048, PairPurpose::DATA_KEY_PAIR);
    assert_eq!(with(&pair, NOW), ErrorCode::TOKEN_MALFORMED, "a key pair is not a recipient");
    for bit in (0..token.len() * 8).step_by(149) {
        let mut changed = token.to_vec();
        changed[bit / 8] ^= 1 << (bit % 8);
        let code = with(&changed, NOW);
        let expected =
            [ErrorCode::TOKEN_MALFORMED, ErrorCode::TOKEN_DOMAIN, ErrorCode::TOKEN_INVALID];
        assert!(expected.contains(&code), "bit {bit}: {code:?}");
    }
    // The command inside refuses as it does alone.
    let recipient = Recipient { now_ms: NOW, token: Bytes(token) };
    let wrong = Decrypt { context: Bytes(b"another"), ..request };
    assert_eq!(refusal(device, &For { recipient, request: wrong }), ErrorCode::CIPHERTEXT_INVALID);
    let mac = mac(device, 9);
    let wrong = Decrypt { key: mac.by_ref(), ..request };
    assert_eq!(refusal(device, &For { recipient, request: wrong }), ErrorCode::USAGE_DENIED);
    let other = symmetric(device, 8);
    let renamed = KeyRef { id: other.id, token: Bytes(&key.token) };
    let wrong = Decrypt { key: renamed, ..request };
    assert_eq!(refusal(device, &For { recipient, request: wrong }), ErrorCode::KEY_MISMATCH);
    for bit in (0..key.token.len() * 8).step_by(61) {
        let mut changed = key.token.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        let changed = KeyRef { id: key.id, token: Bytes(&changed) };
        let alone = refusal(device, &Decrypt { key: changed, ..request });
        let sealed = For { recipient, request: Decrypt { key: changed, ..request } };
        assert_eq!(refusal(device, &sealed), alone, "bit {bit}");
    }
    let none = For { recipient, request: Random { length: 0 } };
    assert_eq!(refusal(device, &none), ErrorCode::INVALID_ARGUMENT);
}

/// Recipients' keys of every size, and plaintexts up to the longest.
fn sizes(device: &Device, enclave: &Enclave, key: &StoredKey) {
    for (bits, length) in [(3072, 15), (4096, 4096)] {
        let other = Enclave::new(bits);
        let public_key = Some(other.public_key().to_vec());
        let document = enclave.sign(&Document { public_key, ..enclave.document(NOW) });
        let request = Attest { now_ms: NOW, document: Bytes(&document) };
        let reply = device.call_blocking(&request, TAG).expect("trusted");
        let token = reply.response().expect("decodes").recipient;
        let plaintext = vec![0x70; length];
        let blob = encrypt(device, key, b"", &plaintext);
        let request = Decrypt { key: key.by_ref(), context: NO_CONTEXT, blob: Bytes(&blob) };
        let request = For { recipient: Recipient { now_ms: NOW, token }, request };
        let reply = device.call_blocking(&request, TAG).expect("decrypted");
        let envelope = reply.response().expect("decodes").envelope;
        assert_eq!(other.open(&envelope).expect("opens"), plaintext, "RSA-{bits}");
    }
}

fn roots_are_the_operators_business(testbed: Testbed) {
    let enclave = Enclave::new(2048);
    let hosts = testbed.provision();
    let roots = |device: &Device| {
        let reply = device.call_blocking(&AttestationRoots, TAG).expect("anybody enrolled may");
        reply.response().expect("decodes").roots.to_vec()
    };
    let device = testbed.device_as(&hosts.user);
    let document = enclave.attest(NOW);
    let attest = Attest { now_ms: NOW, document: Bytes(&document) };
    assert!(roots(&device).is_empty());
    assert_eq!(refusal(&device, &attest), ErrorCode::ATTESTATION_UNTRUSTED);
    let root = enclave.root();
    let set = Change::SetRoots(Bytes(&root));
    let state = device.domain_state().expect("a host may ask");
    let forged = ballot(&OperatorKey::generate(), &state, &[set]).0;
    let code = refusal(&device, &ChangeDomain { ballot: Bytes(&forged) });
    assert_eq!(code, ErrorCode::SIGNATURE_INVALID);
    for (bad, expected) in [
        (&[0; 31][..], ErrorCode::CHANGE_INVALID),
        (&[0; 33], ErrorCode::CHANGE_INVALID),
        (&[0; 32 * 9], ErrorCode::TABLE_FULL),
    ] {
        let set = Change::SetRoots(Bytes(bad));
        let refused = host_driver::ceremony::propose(&state, &[set]).expect_err("no roots");
        assert_eq!(refused, expected, "{}", bad.len());
    }
    hosts.change(&device, &[set]);
    assert_eq!(roots(&device), root);
    drop(device);

    let testbed = testbed.power_cycle();
    let device = testbed.device_as(&hosts.user);
    assert_eq!(roots(&device), root, "kept");
    device.call_blocking(&attest, TAG).expect("trusted");
    let unusable = |public_key: Option<Vec<u8>>| {
        let document = enclave.sign(&Document { public_key, ..enclave.document(NOW) });
        refusal(&device, &Attest { now_ms: NOW, document: Bytes(&document) })
    };
    for key in [None, Some(vec![]), Some(vec![0x30; 294]), Some(vec![0x30; 1024])] {
        assert_eq!(unusable(key), ErrorCode::ATTESTATION_MALFORMED);
    }
    hosts.change(&device, &[Change::SetRoots(Bytes(&[]))]);
    assert_eq!(refusal(&device, &attest), ErrorCode::ATTESTATION_UNTRUSTED);
}
