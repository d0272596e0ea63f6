//! Random bits: CTR_DRBG with AES-256, no derivation function (SP 800-90A r1, 10.2.1).
//!
//! Without a derivation function the seed must have full entropy: [`crate::entropy`] conditions
//! it. The state is zeroised on drop, which is the uninstantiate function (9.4).
//!
//! [`Drbg::generate`] is the generate function. As a [`CryptoRng`](rand_core::CryptoRng) it gives
//! short draws out of one longer request; a reseed discards what is left of that.

use core::convert::Infallible;
use core::fmt;

use aes::Aes256Enc;
use aes::cipher::{BlockCipherEncrypt, KeyInit};
use hsm_protocol::ErrorCode;
use rand_core::{TryCryptoRng, TryRng};
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::fault::{self, Kat};
use crate::secret::Secret;

/// Length of seeds and additional input in bytes: key and block (SP 800-90A table 3).
pub const SEED_SIZE: usize = KEY_SIZE + BLOCK_SIZE;
/// Requests after which [`Drbg::needs_reseed`] says yes. The standard allows 2^48; this bounds
/// what a state that leaks would give away.
pub const RESEED_INTERVAL: u64 = 1 << 16;

const KEY_SIZE: usize = 32;
const BLOCK_SIZE: usize = 16;
/// Bytes in one request (SP 800-90A table 3: 2^19 bits). Longer output is several requests.
const MAX_REQUEST: usize = 1 << 16;
/// Bytes drawn ahead. A request of its own costs as much as a few hundred bytes of output, as the
/// cipher gets a new key after each.
const POOL: usize = 512;
/// The longest draw that comes out of the pool.
const POOLED: usize = 64;
/// Two blocks: what the bit-sliced AES of a 32-bit processor computes at a time.
const STRIDE: usize = 2 * BLOCK_SIZE;

/// An instantiated DRBG.
///
/// Output does not fail: whoever owns the DRBG reseeds it when [`Drbg::needs_reseed`] says so,
/// long before the limit of the standard.
#[derive(ZeroizeOnDrop)]
pub struct Drbg {
    #[zeroize(skip)] // zeroises itself
    cipher: Aes256Enc,
    v: u128,
    requests: u64,
    /// Output drawn ahead; what has been given out is zero.
    pool: [u8; POOL],
    /// Bytes at the end of the pool that have not been given out.
    pooled: usize,
}

impl Drbg {
    /// Instantiates from a full-entropy seed (10.2.1.3.1).
    #[must_use]
    pub fn instantiate(entropy: &Secret<SEED_SIZE>, personalization: &[u8; SEED_SIZE]) -> Self {
        let mut drbg = Self::uninstantiated();
        drbg.instantiate_in_place(entropy, personalization);
        drbg
    }

    /// A state that holds no secret and must not be used before
    /// [`Drbg::instantiate_in_place`].
    pub(crate) fn uninstantiated() -> Self {
        Self {
            cipher: Aes256Enc::new(&[0; KEY_SIZE].into()),
            v: 0,
            requests: 1,
            pool: [0; POOL],
            pooled: 0,
        }
    }

    /// As [`Drbg::instantiate`], where the state will stay.
    pub(crate) fn instantiate_in_place(
        &mut self,
        entropy: &Secret<SEED_SIZE>,
        personalization: &[u8; SEED_SIZE],
    ) {
        self.uninstantiate();
        self.seed(entropy, personalization);
    }

    /// Erases the state where it is (9.4).
    pub(crate) fn uninstantiate(&mut self) {
        self.cipher = Aes256Enc::new(&[0; KEY_SIZE].into()); // the old one zeroises itself
        self.v.zeroize();
        self.requests = 1;
        self.pool.zeroize();
        self.pooled = 0;
    }

    /// Reseeds with fresh full entropy (10.2.1.4.1).
    pub fn reseed(&mut self, entropy: &Secret<SEED_SIZE>, additional: &[u8; SEED_SIZE]) {
        self.seed(entropy, additional);
        self.requests = 1;
        self.pool.zeroize(); // what was drawn before the new entropy
        self.pooled = 0;
    }

    /// Whether the reseed interval is over.
    #[must_use]
    pub const fn needs_reseed(&self) -> bool {
        self.requests > RESEED_INTERVAL
    }

    /// Fills `out` (10.2.1.5.1).
    pub fn generate(&mut self, additional: Option<&[u8; SEED_SIZE]>, out: &mut [u8]) {
        for request in out.chunks_mut(MAX_REQUEST) {
            if let Some(additional) = additional {
                self.update(additional);
            }
            self.keystream(request);
            self.update(additional.unwrap_or(&[0; SEED_SIZE]));
            self.requests = self.requests.saturating_add(1);
        }
    }

    /// Fills `out` from the pool.
    fn draw(&mut self, out: &mut [u8]) {
        if self.pooled < out.len() {
            let mut pool = Secret::<POOL>::zeroed();
            self.generate(None, pool.expose_mut());
            self.pool = *pool.expose();
            self.pooled = POOL;
        }
        let start = POOL.saturating_sub(self.pooled);
        if let Some(drawn) = self.pool.get_mut(start..start.saturating_add(out.len())) {
            out.copy_from_slice(drawn);
            drawn.zeroize();
        }
        self.pooled = self.pooled.saturating_sub(out.len());
    }

    fn seed(&mut self, entropy: &Secret<SEED_SIZE>, other: &[u8; SEED_SIZE]) {
        let mut material = Secret::copy_from(entropy.expose());
        for (byte, other) in material.expose_mut().iter_mut().zip(other) {
            *byte ^= other;
        }
        self.update(material.expose());
    }

    /// CTR_DRBG_Update (10.2.1.2).
    fn update(&mut self, provided: &[u8; SEED_SIZE]) {
        let mut state = Secret::<SEED_SIZE>::zeroed();
        self.keystream(state.expose_mut());
        for (byte, provided) in state.expose_mut().iter_mut().zip(provided) {
            *byte ^= provided;
        }
        if let Some((key, v)) = state.expose().split_first_chunk::<KEY_SIZE>() {
            self.cipher = Aes256Enc::new(key.into());
            if let Ok(v) = v.try_into() {
                self.v = u128::from_be_bytes(v);
            }
        }
    }

    /// Writes E(K, V+1), E(K, V+2), … and leaves V at the last block used.
    fn keystream(&mut self, out: &mut [u8]) {
        let mut blocks = [aes::Block::default(); 2];
        for chunk in out.chunks_mut(STRIDE) {
            // A short chunk must not advance V past the blocks it takes.
            let count = chunk.len().div_ceil(BLOCK_SIZE);
            let Some(used) = blocks.get_mut(..count) else { return };
            for block in used.iter_mut() {
                self.v = self.v.wrapping_add(1);
                *block = self.v.to_be_bytes().into();
            }
            self.cipher.encrypt_blocks(used);
            for (out, block) in chunk.chunks_mut(BLOCK_SIZE).zip(used) {
                if let Some(head) = block.get(..out.len()) {
                    out.copy_from_slice(head);
                }
            }
        }
        blocks.iter_mut().for_each(|block| block.as_mut_slice().zeroize());
    }
}

impl fmt::Debug for Drbg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Drbg(request {})", self.requests)
    }
}

impl TryRng for Drbg {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let mut bytes = [0; 4];
        self.draw(&mut bytes);
        Ok(u32::from_le_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let mut bytes = [0; 8];
        self.draw(&mut bytes);
        Ok(u64::from_le_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Infallible> {
        match out.len() {
            0..=POOLED => self.draw(out),
            _ => self.generate(None, out),
        }
        Ok(())
    }
}

impl TryCryptoRng for Drbg {}

/// Health test: known answers of instantiate, reseed and generate (SP 800-90A 11.3).
///
/// # Errors
/// [`ErrorCode::SELF_TEST_FAILED`].
pub fn self_test() -> Result<(), ErrorCode> {
    let mut drbg = Drbg::instantiate(&Secret::copy_from(&KAT_ENTROPY), &[0; SEED_SIZE]);
    drbg.reseed(&Secret::copy_from(&KAT_RESEED), &[0; SEED_SIZE]);
    let mut output = [0; 64];
    drbg.generate(None, &mut output);
    drbg.generate(None, &mut output);
    fault::tamper(Kat::Drbg, &mut output);
    if bool::from(output.ct_eq(&KAT_OUTPUT)) { Ok(()) } else { Err(ErrorCode::SELF_TEST_FAILED) }
}

// NIST CAVP CTR_DRBG, AES-256, no derivation function, with reseed; the first vector.
const KAT_ENTROPY: [u8; SEED_SIZE] = [
    0xe4, 0xbc, 0x23, 0xc5, 0x08, 0x9a, 0x19, 0xd8, 0x6f, 0x41, 0x19, 0xcb, 0x3f, 0xa0, 0x8c, 0x0a,
    0x49, 0x91, 0xe0, 0xa1, 0xde, 0xf1, 0x7e, 0x10, 0x1e, 0x4c, 0x14, 0xd9, 0xc3, 0x23, 0x46, 0x0a,
    0x7c, 0x2f, 0xb5, 0x8e, 0x0b, 0x08, 0x6c, 0x6c, 0x57, 0xb5, 0x5f, 0x56, 0xca, 0xe2, 0x5b, 0xad,
];
const KAT_RESEED: [u8; SEED_SIZE] = [
    0xfd, 0x85, 0xa8, 0x36, 0xbb, 0xa8, 0x50, 0x19, 0x88, 0x1e, 0x8c, 0x6b, 0xad, 0x23, 0xc9, 0x06,
    0x1a, 0xdc, 0x75, 0x47, 0x76, 0x59, 0xac, 0xae, 0xa8, 0xe4, 0xa0, 0x1d, 0xfe, 0x07, 0xa1, 0x83,
    0x2d, 0xad, 0x1c, 0x13, 0x6f, 0x59, 0xd7, 0x0f, 0x86, 0x53, 0xa5, 0xdc, 0x11, 0x86, 0x63, 0xd6,
];
const KAT_OUTPUT: [u8; 64] = [
    0xb2, 0xcb, 0x89, 0x05, 0xc0, 0x5e, 0x59, 0x50, 0xca, 0x31, 0x89, 0x50, 0x96, 0xbe, 0x29, 0xea,
    0x3d, 0x5a, 0x3b, 0x82, 0xb2, 0x69, 0x49, 0x55, 0x54, 0xeb, 0x80, 0xfe, 0x07, 0xde, 0x43, 0xe1,
    0x93, 0xb9, 0xe7, 0xc3, 0xec, 0xe7, 0x3b, 0x80, 0xe0, 0x62, 0xb1, 0xc1, 0xf6, 0x82, 0x02, 0xfb,
    0xb1, 0xc5, 0x2a, 0x04, 0x0e, 0xa2, 0x47, 0x88, 0x64, 0x29, 0x52, 0x82, 0x23, 0x4a, 0xaa, 0xda,
];

#[cfg(test)]
mod tests;
