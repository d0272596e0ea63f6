//! A CAVP vector (the others are in `tests/vectors`), the reseed interval, and the random-number adapter.

use std::vec::Vec;
use std::{format, vec};

use hex_literal::hex;
use rand_core::Rng;

use super::*;

#[test]
fn known_answer_passes_and_a_corrupted_one_fails() {
    assert_eq!(self_test(), Ok(()));
    fault::inject(Some(Kat::Drbg));
    assert_eq!(self_test(), Err(ErrorCode::SELF_TEST_FAILED));
    fault::inject(None);
}

/// NIST CAVP, additional input and personalization string in use.
#[test]
fn inline_cavp_vector() {
    check(|name| match name {
        "EntropyInput" => &hex!(
            "ae7ebe062971f5eb32e5b21444750785de816595ad2cbe80a209c8f8ab04b546"
            "8166de8c6ae522d8f10b56386a3b424f"
        ),
        "PersonalizationString" => &hex!(
            "55860dae57fcac297087c137efb796878a75868f6e7681114e9b73ed0c67e3c6"
            "2bfc9f5d77e8caa59bcdb223f4ffd247"
        ),
        "EntropyInputReseed" => &hex!(
            "a42407931bfeca70e6ee5dd197021a129525051c07468e8b25587c5ad50abe92"
            "04e882fe847b8fd47cf7b4360e5aa034"
        ),
        "AdditionalInputReseed" => &hex!(
            "ee4c88d1eb05f4853663eada501d2fc4b4984b283a88db579af2113031e03d9b"
            "c570de943dd168918f3ba8065581fea7"
        ),
        "AdditionalInput1" => &hex!(
            "4b4b03ef19b0f259dca2b3ee3ae4cd86c3895a784b3d8eee043a2003c08289f8"
            "fffdad141e6b1ab2174d8d5d79c1e581"
        ),
        "AdditionalInput2" => &hex!(
            "3062b33f116b46e20fe3c354726ae9b2a3a4c51922c8107863cb86f1f0bdad75"
            "54075659d91c371e2b11b1e8106a1ed5"
        ),
        _ => &hex!(
            "0d270518baeafac160ff1cb28c11ef68712c764c0c01674e6c9ca2cc9c7e0e8a"
            "ccfd3c753635ee070081eee7628af6187fbc2854b3c204461a796cf3f3fcb092"
        ),
    });
}

#[test]
fn reseeding_is_due_after_the_interval() {
    let mut drbg = Drbg::instantiate(&Secret::zeroed(), &[0; SEED_SIZE]);
    for _ in 0..RESEED_INTERVAL {
        assert!(!drbg.needs_reseed());
        drbg.requests += 1;
    }
    assert!(drbg.needs_reseed());
    drbg.reseed(&Secret::zeroed(), &[0; SEED_SIZE]);
    assert!(!drbg.needs_reseed());
}

#[test]
fn long_output_is_several_requests() {
    let mut drbg = Drbg::instantiate(&Secret::zeroed(), &[1; SEED_SIZE]);
    let mut out = std::vec![0; MAX_REQUEST + 1];
    drbg.fill_bytes(&mut out);
    assert_eq!(drbg.requests, 3);
}

#[test]
fn odd_lengths_are_prefixes() {
    let output = |len: usize| {
        let mut out = std::vec![0; len];
        Drbg::instantiate(&Secret::zeroed(), &[1; SEED_SIZE]).generate(None, &mut out);
        out
    };
    let long = output(100);
    for len in 0..100 {
        assert_eq!(output(len), long[..len]);
    }
}

#[test]
fn debug_shows_no_state() {
    let drbg = Drbg::instantiate(&Secret::zeroed(), &[0; SEED_SIZE]);
    assert_eq!(format!("{drbg:?}"), "Drbg(request 1)");
}

fn check<'f>(field: impl Fn(&str) -> &'f [u8]) {
    let entropy = |name| Secret::copy_from(field(name).try_into().unwrap());
    let mut drbg =
        Drbg::instantiate(&entropy("EntropyInput"), &pad(field("PersonalizationString")));
    drbg.reseed(&entropy("EntropyInputReseed"), &pad(field("AdditionalInputReseed")));
    let expected = field("ReturnedBits");
    let mut out = std::vec![0; expected.len()];
    for name in ["AdditionalInput1", "AdditionalInput2"] {
        let additional = field(name);
        let padded = pad(additional);
        drbg.generate((!additional.is_empty()).then_some(&padded), &mut out);
    }
    assert_eq!(out, expected);
}

fn pad(bytes: &[u8]) -> [u8; SEED_SIZE] {
    let mut out = [0; SEED_SIZE];
    out[..bytes.len()].copy_from_slice(bytes);
    out
}

#[test]
fn short_draws_are_one_request_and_each_byte_is_given_out_once() {
    let new = || Drbg::instantiate(&Secret::copy_from(&KAT_ENTROPY), &[0; SEED_SIZE]);
    let (mut drawn, mut whole) = (Vec::new(), vec![0; POOL]);
    let mut drbg = new();
    for size in [1, 28, 32, 64, 4, 64, 63, 64, 64, 64, 64] {
        let mut piece = vec![0; size];
        drbg.fill_bytes(&mut piece);
        drawn.extend(piece);
    }
    assert_eq!(drbg.requests, 2);
    assert!(drbg.pool.iter().all(|byte| *byte == 0), "given out, so erased");
    new().generate(None, &mut whole);
    assert_eq!(drawn, whole);
    drbg.fill_bytes(&mut [0; 8]);
    assert_eq!(drbg.requests, 3);
}

#[test]
fn a_reseed_discards_what_was_drawn_ahead() {
    let mut drbg = Drbg::instantiate(&Secret::copy_from(&KAT_ENTROPY), &[0; SEED_SIZE]);
    drbg.fill_bytes(&mut [0; 8]);
    drbg.reseed(&Secret::copy_from(&KAT_RESEED), &[0; SEED_SIZE]);
    assert_eq!(drbg.pooled, 0);
    assert!(drbg.pool.iter().all(|byte| *byte == 0));
}
