//! Every use of keys by the device, through the driver, on every line.

use hsm_protocol::command::cipher::{
    Encrypt, GenerateDataKey, GenerateDataKeyWithoutPlaintext, MAX_PLAINTEXT, ReEncrypt,
};
use hsm_protocol::command::key::{ExportPublicKey, GenerateKey, KeyRef};
use hsm_protocol::command::mac::{GenerateMac, VerifyMac};
use hsm_protocol::command::random::Random;
use hsm_protocol::command::sign::{Sign, Verify};
use hsm_protocol::key_spec::{KeySpec, KeyUsage, MacAlgorithm, MessageType, SigningAlgorithm};
use hsm_protocol::{Bytes, ErrorCode, KeyId};
use hsm_tests::calls::*;
use hsm_tests::testbed::{TAG, Testbed};
use hsm_tests::{on_every_line, seed};
use p256::ecdsa::signature::Verifier;
use p256::ecdsa::signature::hazmat::PrehashVerifier;
use p256::ecdsa::{DerSignature, VerifyingKey};
use p256::pkcs8::DecodePublicKey;

on_every_line! {
    symmetric_keys,
    signing_keys,
    mac_keys,
    random_bytes,
    keys_are_not_confused,
    damaged_tokens_and_blobs_are_refused,
}

fn symmetric_keys(testbed: Testbed) {
    let hosts = testbed.provision();
    let device = testbed.device_as(&hosts.user);
    let (key, other) = (symmetric(&device, 1), symmetric(&device, 2));
    let mut context = vec![0, 0, 0, 1, 0, 0, 0, 1, b'k', 0, 0, 0, 1];
    context.push(b'v');
    for size in [1, 16, 4096] {
        let plaintext = vec![7; size];
        let blob = encrypt(&device, &key, &context, &plaintext);
        assert_eq!(blob.len(), 94 + size);
        assert_eq!(decrypt(&device, &key, &context, &blob), plaintext);
        assert_eq!(decrypt_refused(&device, &key, &[], &blob), ErrorCode::CIPHERTEXT_INVALID);
    }
    let blob = encrypt(&device, &key, &context, b"moved");
    let command = ReEncrypt {
        source: key.by_ref(),
        source_context: Bytes(&context),
        blob: Bytes(&blob),
        destination: other.by_ref(),
        destination_context: Bytes(&[]),
    };
    let reply = device.call_blocking(&command, TAG).expect("re-encrypted");
    let moved = reply.response().expect("decodes").blob.to_vec();
    assert_eq!(decrypt(&device, &other, &[], &moved), b"moved");

    for length in [1, 32, 1024] {
        let command = GenerateDataKey { key: key.by_ref(), context: Bytes(&context), length };
        let reply = device.call_blocking(&command, TAG).expect("a data key");
        let data = reply.response().expect("decodes");
        assert_eq!(data.plaintext.len(), usize::from(length));
        assert_eq!(decrypt(&device, &key, &context, &data.blob), data.plaintext.0);
    }
    let context = Bytes(&context);
    let command = GenerateDataKeyWithoutPlaintext { key: key.by_ref(), context, length: 24 };
    let reply = device.call_blocking(&command, TAG).expect("a data key");
    let blob = reply.response().expect("decodes").blob.to_vec();
    assert_eq!(decrypt(&device, &key, &context, &blob).len(), 24);

    for size in [0, MAX_PLAINTEXT + 1] {
        let plaintext = vec![0; size];
        let command = Encrypt { key: key.by_ref(), context, plaintext: Bytes(&plaintext) };
        assert_eq!(refusal(&device, &command), ErrorCode::MESSAGE_LENGTH);
    }
    for length in [0, 1025] {
        let command = GenerateDataKey { key: key.by_ref(), context, length };
        assert_eq!(refusal(&device, &command), ErrorCode::INVALID_ARGUMENT);
    }
}

fn signing_keys(testbed: Testbed) {
    let hosts = testbed.provision();
    let device = testbed.device_as(&hosts.user);
    let key = signing(&device, 1);
    let reply = device.call_blocking(&ExportPublicKey { key: key.by_ref() }, TAG).expect("public");
    let spki = reply.response().expect("decodes").spki.to_vec();
    let public = VerifyingKey::from_public_key_der(&spki).expect("a P-256 key");

    let algorithm = SigningAlgorithm::ECDSA_SHA_256;
    let sign = |message_type, message: &[u8]| {
        let key = key.by_ref();
        let command = Sign { key, algorithm, message_type, message: Bytes(message) };
        let reply = device.call_blocking(&command, TAG).expect("signed");
        reply.response().expect("decodes").signature.to_vec()
    };
    let message = vec![9; 4096];
    let raw = sign(MessageType::RAW, &message);
    let parsed = DerSignature::try_from(raw.as_slice()).expect("DER");
    public.verify(&message, &parsed).expect("an independent verifier agrees");
    let digest = [0x42; 32];
    let parsed = sign(MessageType::DIGEST, &digest);
    let parsed = DerSignature::try_from(parsed.as_slice()).expect("DER");
    public.verify_prehash(&digest, &parsed).expect("an independent verifier agrees");

    let verify = |message: &[u8], signature: &[u8]| {
        let command = Verify {
            key: key.by_ref(),
            algorithm,
            message_type: MessageType::RAW,
            message: Bytes(message),
            signature: Bytes(signature),
        };
        outcome(&device, &command)
    };
    assert_eq!(verify(&message, &raw), None);
    assert_eq!(verify(&message[1..], &raw), Some(ErrorCode::SIGNATURE_INVALID));
    assert_eq!(verify(&message, &raw[1..]), Some(ErrorCode::SIGNATURE_INVALID));
    let long = Bytes(&[0; 33]);
    let message_type = MessageType::DIGEST;
    let command = Sign { key: key.by_ref(), algorithm, message_type, message: long };
    assert_eq!(refusal(&device, &command), ErrorCode::MESSAGE_LENGTH);
}

fn mac_keys(testbed: Testbed) {
    let hosts = testbed.provision();
    let device = testbed.device_as(&hosts.user);
    let (first, second) = (mac(&device, 1), mac(&device, 2));
    let algorithm = MacAlgorithm::HMAC_SHA_256;
    let message = Bytes(b"message");
    let compute = |key: &StoredKey| {
        let command = GenerateMac { key: key.by_ref(), algorithm, message };
        let reply = device.call_blocking(&command, TAG).expect("computed");
        reply.response().expect("decodes").mac.to_vec()
    };
    let tag = compute(&first);
    assert_eq!(tag.len(), 32);
    assert_eq!(tag, compute(&first));
    assert_ne!(tag, compute(&second));
    let verify = |key: &StoredKey, mac: &[u8]| {
        let command = VerifyMac { key: key.by_ref(), algorithm, message, mac: Bytes(mac) };
        outcome(&device, &command)
    };
    assert_eq!(verify(&first, &tag), None);
    assert_eq!(verify(&second, &tag), Some(ErrorCode::MAC_INVALID));
    assert_eq!(verify(&first, &tag[..31]), Some(ErrorCode::MAC_INVALID));
}

fn random_bytes(testbed: Testbed) {
    let hosts = testbed.provision();
    let device = testbed.device_as(&hosts.user);
    let draw = |length| {
        let reply = device.call_blocking(&Random { length }, TAG).expect("drawn");
        reply.response().expect("decodes").bytes.to_vec()
    };
    assert_eq!(draw(1).len(), 1);
    let (first, second) = (draw(1024), draw(1024));
    assert_ne!(first, second);
    let ones: u32 = first.iter().map(|byte| byte.count_ones()).sum();
    assert!((3700..4500).contains(&ones), "{ones} of 8192 bits are set");
    for length in [0, 1025] {
        assert_eq!(refusal(&device, &Random { length }), ErrorCode::INVALID_ARGUMENT);
    }
}

fn keys_are_not_confused(testbed: Testbed) {
    let hosts = testbed.provision();
    let device = testbed.device_as(&hosts.user);
    let keys = [symmetric(&device, 1), signing(&device, 2), mac(&device, 3)];
    let (context, bytes) = (Bytes(&[]), Bytes(b"message"));
    for (index, key) in keys.iter().enumerate() {
        let key = key.by_ref();
        let algorithm = SigningAlgorithm::ECDSA_SHA_256;
        let sign = Sign { key, algorithm, message_type: MessageType::RAW, message: bytes };
        let algorithm = MacAlgorithm::HMAC_SHA_256;
        let outcomes = [
            outcome(&device, &Encrypt { key, context, plaintext: bytes }),
            outcome(&device, &sign),
            outcome(&device, &GenerateMac { key, algorithm, message: bytes }),
        ];
        for (usage, outcome) in outcomes.into_iter().enumerate() {
            let expected = (usage != index).then_some(ErrorCode::USAGE_DENIED);
            assert_eq!(outcome, expected, "key {index}, usage {usage}");
        }
        let stranger = KeyRef { id: KeyId::single_region([9; 16]), ..key };
        let command = ExportPublicKey { key: stranger };
        assert_eq!(refusal(&device, &command), ErrorCode::KEY_MISMATCH);
    }
    for (spec, usage) in [
        (KeySpec::SYMMETRIC_DEFAULT, KeyUsage::SIGN_VERIFY),
        (KeySpec::ECC_NIST_P256, KeyUsage::ENCRYPT_DECRYPT),
        (KeySpec::HMAC_256, KeyUsage::ENCRYPT_DECRYPT),
    ] {
        let command = GenerateKey { id: KeyId::single_region([4; 16]), spec, usage };
        assert_eq!(refusal(&device, &command), ErrorCode::USAGE_DENIED);
    }
    let (id, usage) = (KeyId::single_region([4; 16]), KeyUsage::SIGN_VERIFY);
    let unknown = GenerateKey { id, spec: KeySpec(200), usage };
    assert_eq!(refusal(&device, &unknown), ErrorCode::UNSUPPORTED);
}

fn damaged_tokens_and_blobs_are_refused(testbed: Testbed) {
    let mut random = seed::random("damaged_tokens");
    let hosts = testbed.provision();
    let device = testbed.device_as(&hosts.user);
    let key = symmetric(&device, 1);
    let blob = encrypt(&device, &key, &[], b"plaintext");
    for at in 0..key.token.len() {
        let mut token = key.token.clone();
        token[at] ^= 1 << random.u8(..8);
        let damaged = StoredKey { id: key.id, token };
        let code = decrypt_refused(&device, &damaged, &[], &blob);
        let family = code.to_u16() >> 8;
        assert_eq!(family, 3, "byte {at} of a token: {code:?}");
    }
    for at in 0..blob.len() {
        let mut damaged = blob.clone();
        damaged[at] ^= 1 << random.u8(..8);
        let code = decrypt_refused(&device, &key, &[], &damaged);
        let expected =
            [ErrorCode::CIPHERTEXT_INVALID, ErrorCode::TOKEN_MALFORMED, ErrorCode::KEY_MISMATCH];
        assert!(expected.contains(&code), "byte {at} of a blob: {code:?}");
    }
    assert_eq!(decrypt(&device, &key, &[], &blob), b"plaintext");
}
