//! The key-confusion matrix: every operation with every wrong key is the right error.

use hsm_core::testing::MemoryPlatform;
use hsm_protocol::command::agree::{Decapsulate, DeriveSharedSecret, Encapsulate};
use hsm_protocol::command::approval::{PermitDeletion, RequestApproval, RequireApproval};
use hsm_protocol::command::cipher::{
    Decrypt, DecryptPrivate, Encrypt, EncryptPublic, GenerateDataKey, GenerateDataKeyPair,
    GenerateDataKeyPairWithoutPlaintext, GenerateDataKeyWithoutPlaintext, ReEncrypt,
    ReEncryptAcross, Side,
};
use hsm_protocol::command::key::{ExportPublicKey, GenerateKey, KeyRef, RewrapKey};
use hsm_protocol::command::mac::{GenerateMac, VerifyMac};
use hsm_protocol::command::replica::{DomainKeyInfo, ExportReplica};
use hsm_protocol::command::sign::{Sign, Verify};
use hsm_protocol::command::statement::AttestKey;
use hsm_protocol::domain::Rule;
use hsm_protocol::key_spec::{
    EncryptionAlgorithm, KEY_SPECS, KeySpec, KeyUsage, MacAlgorithm, MessageType, SigningAlgorithm,
};
use hsm_protocol::token::KeyToken;
use hsm_protocol::{Bytes, DomainId, ErrorCode, KeyId, MaterialId, Opcode};

use crate::approval::guarded;
use crate::cipher::encrypt;
use crate::rig::{Host, KEY_ID, Operators, Reply, Rig, Token};

/// Calls each operation that takes a key with `key`, and for the rest with what is right.
fn operations(
    rig: &mut Rig,
    key: KeyRef<'_>,
    right: &Token,
    blob: &[u8],
) -> Vec<(&'static str, KeyUsage, Reply)> {
    let (context, message, blob) = (Bytes(&[]), Bytes(b"message"), Bytes(blob));
    let ecdsa = SigningAlgorithm::ECDSA_SHA_256;
    let hmac = MacAlgorithm::HMAC_SHA_256;
    let raw = MessageType::RAW;
    let encrypting = KeyUsage::ENCRYPT_DECRYPT;
    let signing = KeyUsage::SIGN_VERIFY;
    let mac_usage = KeyUsage::GENERATE_VERIFY_MAC;
    let (source, destination) = (right.key(), right.key());
    let re_encrypt = |source, destination| ReEncrypt {
        source,
        source_context: context,
        blob,
        destination,
        destination_context: context,
    };
    let oaep = EncryptionAlgorithm::RSAES_OAEP_SHA_256;
    let side = |key| Side { key, algorithm: EncryptionAlgorithm::SYMMETRIC_DEFAULT, context };
    let across = |source, destination| ReEncryptAcross { source, ciphertext: blob, destination };
    let spec = KeySpec::ECC_NIST_P256;
    let pair = GenerateDataKeyPair { key, context, spec, pair: Bytes(&[]) };
    let (agreeing, encapsulating) = (KeyUsage::KEY_AGREEMENT, KeyUsage::ENCAPSULATE_DECAPSULATE);
    vec![
        (
            "EncryptPublic",
            encrypting,
            rig.call(&EncryptPublic { key, algorithm: oaep, plaintext: message }),
        ),
        (
            "DecryptPrivate",
            encrypting,
            rig.call(&DecryptPrivate { key, algorithm: oaep, ciphertext: blob }),
        ),
        ("ReEncryptAcross from", encrypting, rig.call(&across(side(key), side(destination)))),
        ("ReEncryptAcross to", encrypting, rig.call(&across(side(source), side(key)))),
        ("GenerateDataKeyPair", encrypting, rig.call(&pair)),
        (
            "GenerateDataKeyPairWithoutPlaintext",
            encrypting,
            rig.call(&GenerateDataKeyPairWithoutPlaintext { request: pair }),
        ),
        ("DeriveSharedSecret", agreeing, rig.call(&DeriveSharedSecret { key, peer: message })),
        ("Encapsulate", encapsulating, rig.call(&Encapsulate { key })),
        ("Decapsulate", encapsulating, rig.call(&Decapsulate { key, ciphertext: message })),
        ("Encrypt", encrypting, rig.call(&Encrypt { key, context, plaintext: message })),
        ("Decrypt", encrypting, rig.call(&Decrypt { key, context, blob })),
        ("ReEncrypt from", encrypting, rig.call(&re_encrypt(key, destination))),
        ("ReEncrypt to", encrypting, rig.call(&re_encrypt(source, key))),
        ("GenerateDataKey", encrypting, rig.call(&GenerateDataKey { key, context, length: 32 })),
        (
            "GenerateDataKeyWithoutPlaintext",
            encrypting,
            rig.call(&GenerateDataKeyWithoutPlaintext { key, context, length: 32 }),
        ),
        ("Sign", signing, rig.call(&Sign { key, algorithm: ecdsa, message_type: raw, message })),
        (
            "Verify",
            signing,
            rig.call(&Verify {
                key,
                algorithm: ecdsa,
                message_type: raw,
                message,
                signature: Bytes(&[0x30, 6, 2, 1, 1, 2, 1, 1]),
            }),
        ),
        ("ExportPublicKey", signing, rig.call(&ExportPublicKey { key })),
        ("GenerateMac", mac_usage, rig.call(&GenerateMac { key, algorithm: hmac, message })),
        (
            "VerifyMac",
            mac_usage,
            rig.call(&VerifyMac { key, algorithm: hmac, message, mac: Bytes(&[0; 32]) }),
        ),
    ]
}

/// Calls each operation that takes a key of any usage.
fn operations_of_any_key(rig: &mut Rig, key: KeyRef<'_>) -> Vec<(&'static str, Reply)> {
    let (opcode, request) = (Opcode::Sign, [0; 32]);
    let peer =
        DomainKeyInfo { domain: DomainId([7; 16]), domain_key: 1, public: Host::new(70).public() };
    vec![
        ("AttestKey", rig.call(&AttestKey { key, nonce: Bytes(&[1; 16]) })),
        ("RewrapKey", rig.call(&RewrapKey { key })),
        ("RequireApproval", rig.call(&RequireApproval { key, rule: ONE })),
        ("RequestApproval", rig.call(&RequestApproval { key, opcode, request })),
        ("PermitDeletion", rig.call(&PermitDeletion { key })),
        ("ExportReplica", rig.call(&ExportReplica { key, peer })),
    ]
}

const ONE: Rule = Rule { total: 1, officers: 0 };

/// Operations that use nothing but what everybody may know.
const PUBLIC: [&str; 7] = [
    "EncryptPublic",
    "Encapsulate",
    "Verify",
    "ExportPublicKey",
    "AttestKey",
    "RewrapKey",
    "RequireApproval",
];

/// Every kind of key with a rule, with every command that takes one.
#[test]
fn keys_whose_uses_are_approved() {
    let mut rig = Rig::operational();
    let right = rig.symmetric();
    let blob = encrypt(&mut rig, &right, &[], b"x");
    for (spec, usage) in [
        (KeySpec::SYMMETRIC_DEFAULT, KeyUsage::ENCRYPT_DECRYPT),
        (KeySpec::ECC_NIST_P256, KeyUsage::SIGN_VERIFY),
        (KeySpec::HMAC_256, KeyUsage::GENERATE_VERIFY_MAC),
        (KeySpec::ECC_NIST_P256, KeyUsage::KEY_AGREEMENT),
        (KeySpec::ML_KEM_512, KeyUsage::ENCAPSULATE_DECAPSULATE),
    ] {
        let token = guarded(&mut rig, spec, usage, ONE);
        let (mut refused, mut passed) = (0, 0);
        for (name, wanted, reply) in operations(&mut rig, token.key(), &right, &blob) {
            let status = reply.head.status;
            if usage != wanted {
                continue; // `keys_of_another_usage` has it
            }
            if PUBLIC.contains(&name) {
                assert_ne!(status, Some(ErrorCode::APPROVAL_REQUIRED), "{name} {spec:?}");
                passed += 1;
            } else {
                assert_eq!(status, Some(ErrorCode::APPROVAL_REQUIRED), "{name} {spec:?}");
                refused += 1;
            }
        }
        for (name, reply) in operations_of_any_key(&mut rig, token.key()) {
            match name {
                "PermitDeletion" => assert_eq!(reply.error(), ErrorCode::APPROVAL_REQUIRED),
                // Refused for every key of one Region.
                "ExportReplica" => assert_eq!(reply.error(), ErrorCode::USAGE_DENIED),
                _ => assert_eq!(reply.head.status, None, "{name} {spec:?}"),
            }
        }
        assert!(refused > 0, "{spec:?} {refused} {passed}");
    }
}

#[test]
fn keys_of_another_usage() {
    let mut rig = Rig::operational();
    let right = rig.symmetric();
    let blob = encrypt(&mut rig, &right, &[], b"x");
    let encapsulating = KeyUsage::ENCAPSULATE_DECAPSULATE;
    let keys = [
        (KeyUsage::ENCRYPT_DECRYPT, right.clone()),
        (KeyUsage::SIGN_VERIFY, rig.signing()),
        (KeyUsage::GENERATE_VERIFY_MAC, rig.mac()),
        (KeyUsage::KEY_AGREEMENT, rig.key(KeySpec::ECC_NIST_P256, KeyUsage::KEY_AGREEMENT)),
        (KeyUsage::ENCAPSULATE_DECAPSULATE, rig.key(KeySpec::ML_KEM_512, encapsulating)),
    ];
    for (usage, token) in &keys {
        for (name, wanted, reply) in operations(&mut rig, token.key(), &right, &blob) {
            let public = [KeyUsage::KEY_AGREEMENT, encapsulating].contains(usage);
            if *usage == wanted || (name == "ExportPublicKey" && public) {
                let status = reply.head.status;
                let wrong_input = [
                    None,
                    Some(ErrorCode::SIGNATURE_INVALID),
                    Some(ErrorCode::MAC_INVALID),
                    Some(ErrorCode::CIPHERTEXT_INVALID),
                    Some(ErrorCode::KEY_MATERIAL_INVALID),
                    Some(ErrorCode::SPEC_DENIED), // the other kind of encryption
                ];
                assert!(wrong_input.contains(&status), "{name} with {usage:?}: {status:?}");
            } else {
                assert_eq!(reply.error(), ErrorCode::USAGE_DENIED, "{name} with {usage:?}");
            }
        }
    }
}

#[test]
fn tokens_of_another_key_id() {
    let mut rig = Rig::operational();
    let right = rig.symmetric();
    let blob = encrypt(&mut rig, &right, &[], b"x");
    let other_id = KeyId::single_region([0x99; 16]);
    let multi_region = KeyId { multi_region: true, ..KEY_ID };
    for id in [other_id, multi_region] {
        for token in [right.clone(), rig.signing(), rig.mac()] {
            let key = KeyRef { id, token: Bytes(&token.bytes) };
            for (name, _, reply) in operations(&mut rig, key, &right, &blob) {
                assert_eq!(reply.error(), ErrorCode::KEY_MISMATCH, "{name}");
            }
            for (name, reply) in operations_of_any_key(&mut rig, key) {
                let is_export = name == "ExportReplica";
                let refusal = if is_export && !id.multi_region {
                    ErrorCode::USAGE_DENIED // whatever the token
                } else if is_export {
                    ErrorCode::PEER_DENIED
                } else {
                    ErrorCode::KEY_MISMATCH
                };
                assert_eq!(reply.error(), refusal, "{name}");
            }
        }
    }
}

#[test]
fn tokens_of_another_domain() {
    let mut rig = Rig::operational();
    let right = rig.symmetric();
    let blob = encrypt(&mut rig, &right, &[], b"x");
    let platform = MemoryPlatform::with_seed(2);
    let mut other = Rig::founded(platform, 200, Operators::development());
    for token in [other.symmetric(), other.signing(), other.mac()] {
        for (name, _, reply) in operations(&mut rig, token.key(), &right, &blob) {
            assert_eq!(reply.error(), ErrorCode::TOKEN_DOMAIN, "{name}");
        }
        for (name, reply) in operations_of_any_key(&mut rig, token.key()) {
            if name != "ExportReplica" {
                assert_eq!(reply.error(), ErrorCode::TOKEN_DOMAIN, "{name}");
            }
        }
    }
}

#[test]
fn tokens_that_are_none() {
    let mut rig = Rig::operational();
    let right = rig.symmetric();
    let blob = encrypt(&mut rig, &right, &[], b"x");
    let long = [&right.bytes[..], &[0; KeyToken::MAX_SIZE]].concat();
    let mut version = right.bytes.clone();
    version[0] ^= 1;
    for bad in [&b""[..], &[0x11], &right.bytes[..100], &blob, &long, &version] {
        let key = KeyRef { id: KEY_ID, token: Bytes(bad) };
        for (name, _, reply) in operations(&mut rig, key, &right, &blob) {
            assert_eq!(reply.error(), ErrorCode::TOKEN_MALFORMED, "{name}");
            assert_eq!(reply.receipt().subject.0 == [0; 32], !name.ends_with("to"), "{name}");
        }
        for (name, reply) in operations_of_any_key(&mut rig, key) {
            if name != "ExportReplica" {
                assert_eq!(reply.error(), ErrorCode::TOKEN_MALFORMED, "{name}");
            }
        }
    }
}

#[test]
fn tokens_of_another_length() {
    let mut rig = Rig::operational();
    let right = rig.symmetric();
    let blob = encrypt(&mut rig, &right, &[], b"x");
    let longer = [&right.bytes[..], &[0]].concat();
    for bad in [&right.bytes[..right.bytes.len() - 1], &longer] {
        let key = KeyRef { id: KEY_ID, token: Bytes(bad) };
        for (name, _, reply) in operations(&mut rig, key, &right, &blob) {
            assert_eq!(reply.error(), ErrorCode::TOKEN_INVALID, "{name}");
        }
        for (name, reply) in operations_of_any_key(&mut rig, key) {
            if name != "ExportReplica" {
                assert_eq!(reply.error(), ErrorCode::TOKEN_INVALID, "{name}");
            }
        }
    }
}

/// A right token is in the cache, so this also shows that the cache finds no token but its own.
#[test]
fn every_flipped_bit_of_a_token() {
    let mut rig = Rig::operational();
    let right = rig.symmetric();
    let blob = encrypt(&mut rig, &right, &[], b"x");
    for bit in 0..right.bytes.len() * 8 {
        let mut bytes = right.bytes.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        let bad = Token { id: KEY_ID, bytes };
        let request = Decrypt { key: bad.key(), context: Bytes(&[]), blob: Bytes(&blob) };
        let expected = match bit / 8 {
            0 => ErrorCode::TOKEN_MALFORMED,
            1..=16 => ErrorCode::TOKEN_DOMAIN,
            // The flag byte of the key id has only two values.
            21 if bit % 8 != 0 => ErrorCode::TOKEN_MALFORMED,
            // A fact that nobody knows, and more officers than operators.
            73 if bit % 8 == 7 => ErrorCode::TOKEN_MALFORMED,
            75 => ErrorCode::TOKEN_MALFORMED,
            _ => ErrorCode::TOKEN_INVALID,
        };
        let reply = rig.call(&request);
        assert_eq!(reply.error(), expected, "bit {bit}");
        assert_eq!(reply.receipt().subject, MaterialId([0; 32]), "nothing authentic to name");
    }
}

#[test]
fn attributes_of_a_token_cannot_be_mixed() {
    let mut rig = Rig::operational();
    let (one, two) = (rig.symmetric(), rig.symmetric());
    let blob = encrypt(&mut rig, &one, &[], b"x");
    // The header of one key with the sealed secret of another.
    let spliced =
        [&one.bytes[..KeyToken::HEADER_SIZE], &two.bytes[KeyToken::HEADER_SIZE..]].concat();
    let key = KeyRef { id: KEY_ID, token: Bytes(&spliced) };
    let reply = rig.call(&Decrypt { key, context: Bytes(&[]), blob: Bytes(&blob) });
    assert_eq!(reply.error(), ErrorCode::TOKEN_INVALID);
}

#[test]
fn keys_are_made_only_for_usages_of_their_spec() {
    let mut rig = Rig::operational();
    let id = KEY_ID;
    for row in KEY_SPECS.iter().filter(|row| !row.slow) {
        let (spec, allowed) = (row.spec, row.usages);
        for usage in (0..=6).map(KeyUsage) {
            let reply = rig.call(&GenerateKey { id, spec, usage });
            if allowed.contains(&usage) {
                reply.ok::<GenerateKey>();
            } else {
                assert_eq!(reply.error(), ErrorCode::USAGE_DENIED, "{spec:?} {usage:?}");
            }
        }
    }
    for spec in [KeySpec(0), KeySpec(200)] {
        let reply = rig.call(&GenerateKey { id, spec, usage: KeyUsage::SIGN_VERIFY });
        assert_eq!(reply.error(), ErrorCode::UNSUPPORTED);
    }
}
