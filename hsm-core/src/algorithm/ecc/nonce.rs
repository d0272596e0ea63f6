//! Per-message secret numbers of ECDSA: testing candidates (FIPS 186-5 A.3.2) that come out of a
//! Hash_DRBG with SHA-256 (SP 800-90A 10.1.1).
//!
//! Each candidate has an instance of its own. Its entropy is fresh output of the module's
//! generator, its personalization string private key and digest. So a weak or repeating generator
//! does not give the key away: the number would still be a pseudo-random function of the two.

use hsm_protocol::ErrorCode;
use rand_core::CryptoRng;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::fault::{self, Kat};
use crate::secret::Secret;

/// Length of the state V in bytes: 440 bits (SP 800-90A table 2).
const SEED_SIZE: usize = 55;
/// Entropy input and nonce: one and a half times the security strength (8.6.7).
const ENTROPY_SIZE: usize = 48;

type State = Secret<SEED_SIZE>;

/// Draws as many bytes as `out` has.
pub(super) fn draw(secret: &[u8], digest: &[u8], rng: &mut dyn CryptoRng, out: &mut [u8]) {
    let mut entropy = Secret::<ENTROPY_SIZE>::zeroed();
    rng.fill_bytes(entropy.expose_mut());
    generate(&instantiate(&[entropy.expose(), secret, digest]), out);
}

/// Hash_DRBG_Instantiate (10.1.1.2): V. C is for later requests, which [`draw`] does not make.
fn instantiate(seed: &[&[u8]]) -> State {
    derive(&[], seed)
}

/// Hash_df (10.3.1) of `prefix` and `input`.
fn derive(prefix: &[u8], input: &[&[u8]]) -> State {
    const BITS: [u8; 4] = 440u32.to_be_bytes();
    let mut out = State::zeroed();
    for (part, counter) in out.expose_mut().chunks_mut(Sha256::output_size()).zip(1u8..) {
        let hash = Sha256::new().chain_update([counter]).chain_update(BITS).chain_update(prefix);
        copy(&input.iter().fold(hash, Digest::chain_update).finalize(), part);
    }
    out
}

/// Hashgen (10.1.1.4).
fn generate(state: &State, out: &mut [u8]) {
    let mut data = State::copy_from(state.expose());
    for part in out.chunks_mut(Sha256::output_size()) {
        copy(&Sha256::digest(data.expose()), part);
        add(&mut data, &[1]);
    }
}

/// Fills `part` with the front of a hash.
fn copy(hash: &[u8], part: &mut [u8]) {
    part.iter_mut().zip(hash).for_each(|(out, byte)| *out = *byte);
}

/// Adds a big-endian number, modulo 2^440.
fn add(state: &mut State, number: &[u8]) {
    let mut carry = 0u16;
    let number = number.iter().rev().chain(core::iter::repeat(&0));
    for (byte, other) in state.expose_mut().iter_mut().rev().zip(number) {
        let [low, high] =
            u16::from(*byte).wrapping_add(u16::from(*other)).wrapping_add(carry).to_le_bytes();
        (*byte, carry) = (low, u16::from(high));
    }
}

/// Known answer of instantiate and two requests. NIST CAVP, Hash_DRBG, SHA-256, no reseed, no
/// prediction resistance, the first vector.
///
/// # Errors
/// [`ErrorCode::SELF_TEST_FAILED`].
pub(super) fn self_test() -> Result<(), ErrorCode> {
    let mut state = instantiate(&[&KAT_ENTROPY, &KAT_NONCE]);
    let constant = derive(&[0], &[state.expose()]);
    let hash = Sha256::new().chain_update([3]).chain_update(state.expose()).finalize();
    for number in [&hash[..], constant.expose(), &[1]] {
        add(&mut state, number);
    }
    let mut output = [0; KAT_OUTPUT.len()];
    generate(&state, &mut output);
    fault::tamper(Kat::HashDrbg, &mut output);
    if bool::from(output.ct_eq(&KAT_OUTPUT)) { Ok(()) } else { Err(ErrorCode::SELF_TEST_FAILED) }
}

const KAT_ENTROPY: [u8; 32] =
    hex_literal::hex!("a65ad0f345db4e0effe875c3a2e71f42c7129d620ff5c119a9ef55f05185e0fb");
const KAT_NONCE: [u8; 16] = hex_literal::hex!("8581f9317517276e06e9607ddbcbcc2e");
const KAT_OUTPUT: [u8; 128] = hex_literal::hex!(
    "d3e160c35b99f340b2628264d1751060e0045da383ff57a57d73a673d2b8d80d"
    "aaf6a6c35a91bb4579d73fd0c8fed111b0391306828adfed528f018121b3febd"
    "c343e797b87dbb63db1333ded9d1ece177cfa6b71fe8ab1da46624ed6415e51c"
    "cde2c7ca86e283990eeaeb91120415528b2295910281b02dd431f4c9f70427df"
);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drbg::Drbg;

    fn drawn(secret: u8, digest: u8, seed: u8) -> [u8; 66] {
        let mut rng = Drbg::instantiate(&Secret::zeroed(), &[seed; 48]);
        let mut out = [0; 66];
        draw(&[secret; 32], &[digest; 32], &mut rng, &mut out);
        out
    }

    #[test]
    fn known_answer_passes_and_a_corrupted_one_fails() {
        assert_eq!(self_test(), Ok(()));
        fault::inject(Some(Kat::HashDrbg));
        assert_eq!(self_test(), Err(ErrorCode::SELF_TEST_FAILED));
        fault::inject(None);
    }

    #[test]
    fn key_digest_and_generator_each_make_another_number() {
        let base = drawn(1, 2, 3);
        assert_eq!(base, drawn(1, 2, 3));
        for other in [drawn(9, 2, 3), drawn(1, 9, 3), drawn(1, 2, 9)] {
            assert!(base.iter().zip(other).filter(|(a, b)| **a == *b).count() < 8);
        }
    }

    #[test]
    fn addition_carries_and_wraps() {
        let mut state = State::copy_from(&[0xff; SEED_SIZE]);
        add(&mut state, &[1]);
        assert_eq!(*state.expose(), [0; SEED_SIZE]);
        add(&mut state, &[2, 0xff]);
        add(&mut state, &[1]);
        assert_eq!(state.expose()[SEED_SIZE - 3..], [0, 3, 0]);
    }
}
