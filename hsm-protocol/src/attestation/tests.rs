use std::vec::Vec;

use p256::ecdsa::SigningKey;
use p256::ecdsa::signature::hazmat::PrehashSigner;
use proptest::prelude::*;

use super::*;
use crate::identity::{PublicKey, Signature};

fn key(seed: u8) -> (SigningKey, PublicKey) {
    let key = SigningKey::from_slice(&[seed; 32]).unwrap();
    let public = PublicKey::from_point(&p256::PublicKey::from(key.verifying_key()));
    (key, public)
}

fn sign(key: &SigningKey, claims: &[u8]) -> Signature {
    let digest = cose::digest(claims).unwrap();
    let signature: p256::ecdsa::Signature = key.sign_prehash(&digest).unwrap();
    Signature::from_bytes(&signature.to_bytes().into())
}

fn claims(device: DeviceId) -> Claims<'static> {
    Claims {
        nonce: b"fresh and chosen",
        device,
        kind: DeviceKind::Hardware,
        board: "board",
        firmware: "1.2.3",
        measurement: Some(Measurement([0x4d; 32])),
        boot: 300,
        domain: Some(DomainClaims {
            id: DomainId([0xd0; 16]),
            kind: Kind::Production,
            state: [0x57; 32],
            version: 7,
            soft_members: 0,
        }),
        key: Some(KeyClaims {
            id: KeyId::single_region([0x11; 16]),
            material: MaterialId([0x3a; 32]),
            spec: KeySpec::ECC_NIST_P256,
            usage: KeyUsage::SIGN_VERIFY,
            origin: Origin::AWS_KMS,
            domain_key: 2,
            history: History::CLEAN,
            approval: Some(Rule { total: 2, officers: 1 }),
            public: b"spki",
        }),
    }
}

fn encode(claims: &Claims<'_>) -> Vec<u8> {
    let mut out = [0; MAX_CLAIMS];
    let length = claims.encode(&mut out).unwrap();
    out[..length].to_vec()
}

fn statement(key: &SigningKey, device: DeviceId, claims: &[u8]) -> Vec<u8> {
    let signature = sign(key, claims);
    let signed = Signed { device, certificate: None, claims, signature };
    let mut out = [0; MAX_STATEMENT];
    let length = signed.write(&mut out).unwrap();
    out[..length].to_vec()
}

#[test]
fn a_statement_is_read_as_it_was_made() {
    let (signing, public) = key(1);
    let claims = claims(public.device_id());
    let made = statement(&signing, public.device_id(), &encode(&claims));
    let signed = Signed::parse(&made).unwrap();
    assert_eq!(signed.verify(&public).unwrap(), claims);
    // The certificate is beside what is signed.
    let mut out = [0; MAX_STATEMENT + 100];
    let carried = Signed { certificate: Some(b"certificate"), ..signed };
    let length = carried.write(&mut out).unwrap();
    let read = Signed::parse(&out[..length]).unwrap();
    assert_eq!((read, read.verify(&public).unwrap()), (carried, claims));
}

/// Of any device, in any domain, of any key: the longest fits what the device has room for.
#[test]
fn the_longest_claims_fit() {
    let mut longest = claims(DeviceId([0xff; 16]));
    longest.nonce = &[1; 64];
    (longest.firmware, longest.board) = ("100.100.100-something-long", "a_board_with_a_long_name");
    longest.boot = u64::MAX;
    longest.domain.as_mut().unwrap().version = u32::MAX;
    let key = longest.key.as_mut().unwrap();
    (key.history, key.public) =
        (History::from_bits(0x7f).unwrap(), &[0x30; crate::key_spec::MAX_PUBLIC_KEY]);
    (key.spec, key.usage) = (KeySpec::ECC_NIST_EDWARDS25519, KeyUsage::ENCAPSULATE_DECAPSULATE);
    key.domain_key = u32::MAX;
    let encoded = encode(&longest);
    assert_eq!(Claims::decode(&encoded).unwrap(), longest);
}

#[test]
fn a_statement_of_another_device_or_that_was_changed_is_refused() {
    let (signing, public) = key(1);
    let device = public.device_id();
    let encoded = encode(&claims(device));
    let good = statement(&signing, device, &encoded);
    let verify = |statement: &[u8]| {
        Signed::parse(statement).and_then(|signed| signed.verify(&public).map(drop))
    };
    assert_eq!(verify(&good), Ok(()));
    for bit in 0..good.len() * 8 {
        let mut bad = good.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        assert!(verify(&bad).is_err(), "bit {bit}");
    }
    for length in 0..good.len() {
        assert_eq!(verify(&good[..length]), Err(ErrorCode::STATEMENT_INVALID), "{length} bytes");
    }
    assert_eq!(verify(&[&good[..], &[0]].concat()), Err(ErrorCode::STATEMENT_INVALID));
    // Somebody else's key, under this device's name or its own.
    let (forger, other) = key(2);
    let forged = statement(&forger, device, &encoded);
    assert_eq!(verify(&forged), Err(ErrorCode::SIGNATURE_INVALID));
    let named = statement(&forger, other.device_id(), &encoded);
    assert_eq!(verify(&named), Err(ErrorCode::IDENTITY_INVALID));
    // Signed by the device, and about another one.
    let about = encode(&claims(other.device_id()));
    let about = statement(&signing, device, &about);
    assert_eq!(verify(&about), Err(ErrorCode::STATEMENT_INVALID));
}

/// What a checkpoint, a domain token or a head signs can be no statement, and the other way round.
#[test]
fn a_statement_is_nothing_else_that_the_key_signs() {
    let prefix = b"\x84\x6aSignature1";
    for label in [
        &b"strongroom-head-v1"[..],
        b"strongroom-checkpoint-v1",
        b"strongroom-id-v1",
        crate::token::DOMAIN_TOKEN_LABEL,
    ] {
        assert_ne!(label[..8], prefix[..8]);
    }
}

#[test]
fn what_a_key_was_is_not_embellished() {
    let mut claims = claims(DeviceId([1; 16]));
    for (fact, name) in History::ALL {
        let key = claims.key.as_mut().unwrap();
        key.history = fact;
        assert_eq!(key.was_never_outside(), fact == History::BOUND_LATER, "{name}");
        let mut encoded = encode(&claims);
        assert_eq!(Claims::decode(&encoded).unwrap(), claims);
        // The conclusion is the last value of the key's map, and must follow from the facts.
        let at = encoded.windows(13).position(|name| name == b"never-outside").unwrap() + 13;
        encoded[at] ^= 1;
        assert_eq!(Claims::decode(&encoded), Err(ErrorCode::STATEMENT_INVALID), "{name}");
    }
    let key = claims.key.as_mut().unwrap();
    (key.history, key.id.multi_region) = (History::CLEAN, true);
    assert!(!key.was_never_outside());
}

#[test]
fn a_nonce_has_a_length() {
    for length in [0, 7, 65] {
        let nonce = &[1; 65][..length];
        let claims = Claims { nonce, ..claims(DeviceId([1; 16])) };
        assert_eq!(claims.encode(&mut [0; MAX_CLAIMS]), Err(ErrorCode::INVALID_ARGUMENT));
    }
}

proptest! {
    #[test]
    fn any_bytes_are_claims_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(claims) = Claims::decode(&bytes) {
            prop_assert_eq!(encode(&claims), bytes);
        }
    }

    #[test]
    fn changed_claims_are_other_claims_or_refused(at in 0usize..600, value in any::<u8>()) {
        let mut bytes = encode(&claims(DeviceId([1; 16])));
        let at = at % bytes.len();
        bytes[at] = value;
        if let Ok(claims) = Claims::decode(&bytes) {
            prop_assert_eq!(encode(&claims), bytes);
        }
    }
}
