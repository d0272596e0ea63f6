//! Every curve alike: known answers, RFC 6979, hedging, refusals, PKCS#8. Wycheproof is beside.

use std::vec::Vec;

use hex_literal::hex;
use k256::Secp256k1;
use p256::NistP256;
use p384::NistP384;
use p521::NistP521;

use super::*;
use crate::algorithm::ecdsa_k256::EccSecgP256k1;
use crate::algorithm::ecdsa_p256::EccNistP256;
use crate::algorithm::ecdsa_p384::EccNistP384;
use crate::algorithm::ecdsa_p521::EccNistP521;
use crate::drbg::Drbg;
use crate::secret::Secret;

mod cavp;
mod pkcs8;
mod wycheproof;

const ALL: [(&dyn Algorithm, SigningAlgorithm, &[Kat]); 4] = [
    (
        &EccNistP256,
        SigningAlgorithm::ECDSA_SHA_256,
        &[Kat::HashDrbg, Kat::EcdsaSign, Kat::EcdsaVerify, Kat::Ecdh],
    ),
    (
        &EccNistP384,
        SigningAlgorithm::ECDSA_SHA_384,
        &[Kat::EcdsaP384Sign, Kat::EcdsaP384Verify, Kat::EcdhP384],
    ),
    (
        &EccNistP521,
        SigningAlgorithm::ECDSA_SHA_512,
        &[Kat::EcdsaP521Sign, Kat::EcdsaP521Verify, Kat::EcdhP521],
    ),
    (&EccSecgP256k1, SigningAlgorithm::ECDSA_SHA_256, &[Kat::EcdsaK256Sign, Kat::EcdsaK256Verify]),
];

fn rng() -> Drbg {
    Drbg::instantiate(&Secret::zeroed(), &[3; 48])
}

fn size(entry: &dyn Algorithm) -> usize {
    entry.spec().row().unwrap().secret_size
}

fn generate(entry: &dyn Algorithm, rng: &mut Drbg) -> (SecretBuf, PublicKeyBuf) {
    let mut secret = SecretBuf::new();
    entry.generate(rng, &mut secret).unwrap();
    let mut public = PublicKeyBuf::new();
    entry.public_key(&secret, &mut public).unwrap();
    (secret, public)
}

#[test]
fn known_answers_pass_and_corrupted_ones_fail() {
    for (entry, _, kats) in ALL {
        assert_eq!(entry.self_test(), Ok(()));
        for kat in kats {
            fault::inject(Some(*kat));
            assert_eq!(entry.self_test(), Err(ErrorCode::SELF_TEST_FAILED), "{kat:?}");
            fault::inject(None);
        }
    }
}

#[test]
fn all_but_secp256k1_are_approved() {
    for (entry, ..) in ALL {
        assert_eq!(entry.is_approved(), entry.spec() != KeySpec::ECC_SECG_P256K1);
    }
}

fn signature_of_test<C: NamedCurve>(k: &[u8]) -> Vec<u8> {
    let digest = C::Hash::digest(b"test");
    let secret = parse_secret::<C>(C::SIGNATURE_KAT.secret).unwrap();
    let k = parse_secret::<C>(k).unwrap();
    Portable::sign(&secret, &k, &digest).unwrap().to_bytes().to_vec()
}

/// A.2.5, A.2.6, A.2.7: the other message, with the k given there.
#[test]
fn rfc_6979() {
    assert_eq!(
        signature_of_test::<NistP256>(&hex!(
            "d16b6ae827f17175e040871a1c7ec3500192c4c92677336ec2537acaee0008e0"
        )),
        hex!(
            "f1abb023518351cd71d881567b1ea663ed3efcf6c5132b354f28d3b0b7d38367"
            "019f4113742a2b14bd25926b49c649155f267e60d3814b4c0cc84250e46f0083"
        )
    );
    assert_eq!(
        signature_of_test::<NistP384>(
            &hex!("015ee46a5bf88773ed9123a5ab0807962d193719503c527b" "031b4c2d225092ada71f4a459bc0da98adb95837db8312ea")
        ),
        hex!(
            "8203b63d3c853e8d77227fb377bcf7b7b772e97892a80f36"
            "ab775d509d7a5feb0542a7f0812998da8f1dd3ca3cf023db"
            "ddd0760448d42d8a43af45af836fce4de8be06b485e9b61b"
            "827c2f13173923e06a739f040649a667bf3b828246baa5a5"
        )
    );
    assert_eq!(
        signature_of_test::<NistP521>(
            &hex!("016200813020ec986863bedfc1b121f605c1215645018aea1a7b215a564de9eb1b" "38a67aa1128b80ce391c4fb71187654aaa3431027bfc7f395766ca988c964dc56d")
        ),
        hex!(
            "013e99020abf5cee7525d16b69b229652ab6bdf2affcaef38773b4b7d08725f10cdb"
            "93482fdcc54edcee91eca4166b2a7c6265ef0ce2bd7051b7cef945babd47ee6d"
            "01fbd0013c674aa79cb39849527916ce301c66ea7ce8b80682786ad60f98f7e78a19"
            "ca69eff5c57400e3b3a0ad66ce0978214d13baf4e9ac60752f7b155e2de4dce3"
        )
    );
}

/// The value of s that the curve's crate does not make is valid too.
#[test]
fn both_values_of_s_verify() {
    fn negated<C: NamedCurve>() {
        let kat = C::SIGNATURE_KAT;
        let digest = C::Hash::digest(kat.message);
        let public = PublicKey::<C>::from_sec1_bytes(kat.public).unwrap();
        let signature = Signature::<C>::from_slice(kat.signature).unwrap();
        let other = Signature::from_scalars(signature.r(), -signature.s()).unwrap();
        assert_ne!(other, signature);
        assert_eq!(verify_digest::<C, Portable>(&public, &digest, other), Ok(()));
    }
    negated::<NistP256>();
    negated::<NistP384>();
    negated::<NistP521>();
    negated::<Secp256k1>();
}

#[test]
fn signatures_are_hedged_and_verify() {
    let mut rng = rng();
    for (entry, algorithm, _) in ALL {
        let (secret, public) = generate(entry, &mut rng);
        entry.pairwise_test(&secret, &mut rng).unwrap();
        let row = entry.spec().row().unwrap();
        assert_eq!(public.as_bytes().len(), row.public_size);
        assert_eq!(secret.expose().len(), row.secret_size);

        let raw = Message::Raw(b"message");
        let mut first = [0; der::MAX_SIZE];
        let mut second = [0; der::MAX_SIZE];
        let n = entry.sign(&secret, algorithm, raw, &mut rng, &mut first).unwrap();
        let m = entry.sign(&secret, algorithm, raw, &mut rng, &mut second).unwrap();
        assert_ne!(first[..n], second[..m]);
        for signature in [&first[..n], &second[..m]] {
            assert_eq!(entry.verify(&public, algorithm, raw, signature), Ok(()));
            let other = Message::Raw(b"messagf");
            let result = entry.verify(&public, algorithm, other, signature);
            assert_eq!(result, Err(ErrorCode::SIGNATURE_INVALID));
        }
        let result = entry.sign(&secret, algorithm, raw, &mut rng, &mut first[..8]);
        assert_eq!(result, Err(ErrorCode::TOO_LARGE));
    }
}

#[test]
fn a_digest_is_signed_as_the_message_is() {
    let digests: [&[u8]; 4] = [
        &sha2::Sha256::digest(b"m"),
        &sha2::Sha384::digest(b"m"),
        &sha2::Sha512::digest(b"m"),
        &sha2::Sha256::digest(b"m"),
    ];
    for ((entry, algorithm, _), digest) in ALL.into_iter().zip(digests) {
        let (secret, public) = generate(entry, &mut rng());
        let mut out = [0; der::MAX_SIZE];
        let message = Message::Digest(digest);
        let n = entry.sign(&secret, algorithm, message, &mut rng(), &mut out).unwrap();
        assert_eq!(entry.verify(&public, algorithm, Message::Raw(b"m"), &out[..n]), Ok(()));
        for wrong in [&digest[1..], &[digest, &[0]].concat()] {
            let message = Message::Digest(wrong);
            let result = entry.sign(&secret, algorithm, message, &mut rng(), &mut out);
            assert_eq!(result, Err(ErrorCode::MESSAGE_LENGTH));
            let result = entry.verify(&public, algorithm, message, &out[..n]);
            assert_eq!(result, Err(ErrorCode::MESSAGE_LENGTH));
        }
    }
}

#[test]
fn a_pairwise_fault_is_found() {
    for (entry, ..) in ALL {
        let (secret, _) = generate(entry, &mut rng());
        fault::inject(Some(Kat::Pairwise));
        let result = entry.pairwise_test(&secret, &mut rng());
        fault::inject(None);
        assert_eq!(result, Err(ErrorCode::PAIRWISE_FAILED));
    }
}

#[test]
fn bad_secrets_and_other_algorithms_are_refused() {
    for (entry, algorithm, _) in ALL {
        let mut out = [0; 256];
        let size = size(entry);
        // All ones is above each order, all zeros below one.
        for bad in [std::vec![0; size], std::vec![0xff; size], std::vec![1; size - 1]] {
            let secret = SecretBuf::copy_from(&bad).unwrap();
            let raw = Message::Raw(b"m");
            let result = entry.sign(&secret, algorithm, raw, &mut rng(), &mut out);
            assert_eq!(result, Err(ErrorCode::SPEC_DENIED));
            assert_eq!(entry.private_key(&secret, &mut out), Err(ErrorCode::SPEC_DENIED));
            let mut public = PublicKeyBuf::new();
            assert_eq!(entry.public_key(&secret, &mut public), Err(ErrorCode::SPEC_DENIED));
        }
        let (secret, public) = generate(entry, &mut rng());
        for (other, message) in [
            (SigningAlgorithm::ED25519_SHA_512, Message::Raw(b"m")),
            (SigningAlgorithm(99), Message::Raw(b"m")),
            (algorithm, Message::ExternalMu(&[0; 64])),
        ] {
            let result = entry.sign(&secret, other, message, &mut rng(), &mut out);
            assert_eq!(result, Err(ErrorCode::SPEC_DENIED));
            let result = entry.verify(&public, other, message, &out);
            assert_eq!(result, Err(ErrorCode::SPEC_DENIED));
        }
    }
}

#[test]
fn two_keys_agree_and_keys_of_other_curves_do_not() {
    let mut rng = rng();
    for (entry, ..) in ALL {
        let (ours, our_public) = generate(entry, &mut rng);
        let (theirs, their_public) = generate(entry, &mut rng);
        let (mut first, mut second) = (SecretBuf::new(), SecretBuf::new());
        let agreed = entry.agree(&ours, their_public.as_bytes(), &mut first);
        if entry.spec() == KeySpec::ECC_SECG_P256K1 {
            assert_eq!(agreed, Err(ErrorCode::UNSUPPORTED));
            continue;
        }
        assert_eq!(agreed, Ok(()));
        entry.agree(&theirs, our_public.as_bytes(), &mut second).unwrap();
        assert_eq!(first.expose(), second.expose());
        assert_eq!(first.expose().len(), size(entry));

        for (other, ..) in ALL.iter().filter(|row| row.0.spec() != entry.spec()) {
            let (_, public) = generate(*other, &mut rng);
            let result = entry.agree(&ours, public.as_bytes(), &mut first);
            assert_eq!(result, Err(ErrorCode::KEY_MATERIAL_INVALID));
        }
        let good = their_public.as_bytes();
        let mut off_curve = good.to_vec();
        *off_curve.last_mut().unwrap() ^= 1;
        let mut identity = good[..good.len() - 2 * size(entry)].to_vec();
        *identity.last_mut().unwrap() = 0;
        for bad in [&off_curve[..], &identity, &good[..good.len() - 1], &[good, &[0]].concat(), &[]]
        {
            let result = entry.agree(&ours, bad, &mut first);
            assert_eq!(result, Err(ErrorCode::KEY_MATERIAL_INVALID));
        }
    }
}
