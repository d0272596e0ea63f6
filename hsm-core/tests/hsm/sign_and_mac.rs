//! Sign, Verify, ExportPublicKey, GenerateMac, VerifyMac.

use hmac::{Hmac, KeyInit, Mac};
use hsm_protocol::command::key::ExportPublicKey;
use hsm_protocol::command::mac::{GenerateMac, VerifyMac};
use hsm_protocol::command::sign::{Sign, Verify};
use hsm_protocol::key_spec::{MacAlgorithm, MessageType, SigningAlgorithm};
use hsm_protocol::{Bytes, ErrorCode};
use p256::ecdsa::signature::hazmat::PrehashVerifier;
use p256::ecdsa::{Signature, VerifyingKey};
use sha2::{Digest, Sha256};

use crate::rig::{Rig, Token};

const ECDSA: SigningAlgorithm = SigningAlgorithm::ECDSA_SHA_256;
const HMAC: MacAlgorithm = MacAlgorithm::HMAC_SHA_256;

fn sign<'a>(token: &'a Token, message_type: MessageType, message: &'a [u8]) -> Sign<'a> {
    Sign { key: token.key(), algorithm: ECDSA, message_type, message: Bytes(message) }
}

/// Verifies with another code path than the device's: raw r and s, point from the SPKI.
fn verifies(spki: &[u8], digest: &[u8], der: &[u8]) -> bool {
    let key = VerifyingKey::from_sec1_bytes(&spki[26..]).unwrap();
    let integer = |at: usize| {
        let length = usize::from(der[at + 1]);
        let magnitude = &der[at + 2..at + 2 + length];
        let mut out = [0; 32];
        let skip = magnitude.len().saturating_sub(32);
        out[32 + skip - magnitude.len()..].copy_from_slice(&magnitude[skip..]);
        (out, at + 2 + length)
    };
    let (r, next) = integer(2);
    let (s, end) = integer(next);
    assert_eq!(end, der.len());
    key.verify_prehash(digest, &Signature::from_scalars(r, s).unwrap()).is_ok()
}

#[test]
fn signatures_verify_in_the_device_and_outside() {
    let mut rig = Rig::operational();
    let token = rig.signing();
    let reply = rig.call(&ExportPublicKey { key: token.key() });
    let spki = reply.ok::<ExportPublicKey>().spki.to_vec();
    assert_eq!(spki.len(), 91);

    let long = vec![7; 4096];
    let digest = Sha256::digest(b"prehashed").to_vec();
    for (message_type, message) in
        [(MessageType::RAW, &b"m"[..]), (MessageType::RAW, &long), (MessageType::DIGEST, &digest)]
    {
        let signature =
            rig.call(&sign(&token, message_type, message)).ok::<Sign>().signature.to_vec();
        let hashed = match message_type {
            MessageType::RAW => Sha256::digest(message).to_vec(),
            _ => message.to_vec(),
        };
        assert!(verifies(&spki, &hashed, &signature));

        let verify = |signature| Verify {
            key: token.key(),
            algorithm: ECDSA,
            message_type,
            message: Bytes(message),
            signature: Bytes(signature),
        };
        rig.call(&verify(&signature)).ok::<Verify>();
        let mut bad = signature.clone();
        *bad.last_mut().unwrap() ^= 1;
        for bad in [&bad[..], &signature[..signature.len() - 1], b""] {
            assert_eq!(rig.call(&verify(bad)).error(), ErrorCode::SIGNATURE_INVALID);
        }
    }
}

#[test]
fn wrong_lengths_types_and_algorithms_are_refused() {
    let mut rig = Rig::operational();
    let token = rig.signing();
    let long = vec![0; 4097];
    for (message_type, message, error) in [
        (MessageType::RAW, &[][..], ErrorCode::MESSAGE_LENGTH),
        (MessageType::RAW, &long, ErrorCode::MESSAGE_LENGTH),
        (MessageType::DIGEST, &[0; 31], ErrorCode::MESSAGE_LENGTH),
        (MessageType::DIGEST, &[0; 33], ErrorCode::MESSAGE_LENGTH),
        (MessageType(9), &[0; 32], ErrorCode::UNSUPPORTED),
    ] {
        assert_eq!(rig.call(&sign(&token, message_type, message)).error(), error);
    }
    let other = Sign { algorithm: SigningAlgorithm(9), ..sign(&token, MessageType::RAW, b"m") };
    assert_eq!(rig.call(&other).error(), ErrorCode::SPEC_DENIED);
}

#[test]
fn macs_verify_and_changed_ones_do_not() {
    let mut rig = Rig::operational();
    let token = rig.mac();
    let long = vec![3; 4096];
    for message in [&b"m"[..], &long] {
        let request = GenerateMac { key: token.key(), algorithm: HMAC, message: Bytes(message) };
        let mac = rig.call(&request).ok::<GenerateMac>().mac.to_vec();
        assert_eq!(mac.len(), 32);
        let again = rig.call(&request).ok::<GenerateMac>().mac.to_vec();
        assert_eq!(mac, again);

        let verify = |mac| VerifyMac {
            key: token.key(),
            algorithm: HMAC,
            message: Bytes(message),
            mac: Bytes(mac),
        };
        rig.call(&verify(&mac)).ok::<VerifyMac>();
        let mut bad = mac.clone();
        bad[31] ^= 1;
        for bad in [&bad[..], &mac[..31], &[&mac[..], &[0]].concat(), b""] {
            assert_eq!(rig.call(&verify(bad)).error(), ErrorCode::MAC_INVALID);
        }
    }
    let empty = GenerateMac { key: token.key(), algorithm: HMAC, message: Bytes(&[]) };
    assert_eq!(rig.call(&empty).error(), ErrorCode::MESSAGE_LENGTH);
    let other = GenerateMac { key: token.key(), algorithm: MacAlgorithm(9), message: Bytes(b"m") };
    assert_eq!(rig.call(&other).error(), ErrorCode::SPEC_DENIED);
}

#[test]
fn macs_are_keyed_by_the_key() {
    let mut rig = Rig::operational();
    let (one, two) = (rig.mac(), rig.mac());
    let mut mac = |token: &Token| {
        let request = GenerateMac { key: token.key(), algorithm: HMAC, message: Bytes(b"m") };
        rig.call(&request).ok::<GenerateMac>().mac.to_vec()
    };
    let (first, second) = (mac(&one), mac(&two));
    assert_ne!(first, second);
    let zero_key = Hmac::<Sha256>::new_from_slice(&[0; 32]).unwrap();
    assert_ne!(first, zero_key.chain_update(b"m").finalize().into_bytes().to_vec());
}
