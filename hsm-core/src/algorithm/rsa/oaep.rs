//! RSAES-OAEP decryption (RFC 8017 7.1.2) with an empty label.
//!
//! The library's own accepts an encoded message whose first octet is not zero, which step 3.g
//! refuses. So only the private operation is the library's; the padding is removed here, all
//! checks in constant time and one error for all.

use alloc::vec::Vec;

use crypto_bigint::BoxedUint;
use hsm_protocol::ErrorCode;
use rand_core::CryptoRng;
use rsa::PrivateKey;
use rsa::hazmat::rsa_decrypt_and_check;
use sha2::Digest;
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};
use zeroize::Zeroizing;

/// Decrypts a ciphertext as long as the modulus.
///
/// # Errors
/// [`ErrorCode::CIPHERTEXT_INVALID`] for every fault.
pub(super) fn decrypt<H: Digest>(
    key: &PrivateKey,
    ciphertext: &[u8],
    rng: &mut dyn CryptoRng,
) -> Result<Zeroizing<Vec<u8>>, ErrorCode> {
    let invalid = ErrorCode::CIPHERTEXT_INVALID;
    let size = ciphertext.len();
    let bits = u32::try_from(size.saturating_mul(8)).map_err(|_| invalid)?;
    let number = BoxedUint::from_be_slice(ciphertext, bits).map_err(|_| invalid)?;
    let number = rsa_decrypt_and_check(key, Some(rng), &number).map_err(|_| invalid)?;
    let number = Zeroizing::new(number);
    let mut encoded = Zeroizing::new(number.to_be_bytes().into_vec());
    unpad::<H>(&mut encoded).ok_or(invalid)
}

/// EME-OAEP decoding: 0x00 || masked seed || masked data block.
fn unpad<H: Digest>(encoded: &mut [u8]) -> Option<Zeroizing<Vec<u8>>> {
    let hash_size = <H as Digest>::output_size();
    let (first, rest) = encoded.split_first_mut()?;
    let (seed, block) = rest.split_at_mut_checked(hash_size)?;
    mask::<H>(block, seed);
    mask::<H>(seed, block);

    let (label, padded) = block.split_at_checked(hash_size)?;
    let mut valid = first.ct_eq(&0) & label.ct_eq(&H::digest([]));
    // Zeros, then 0x01, then the message, whose place is secret until all is known to be right.
    let mut looking = Choice::from(1);
    let mut start = 0u32;
    for (at, byte) in (1u32..).zip(padded) {
        let one = byte.ct_eq(&1);
        start.conditional_assign(&at, looking & one);
        valid &= !looking | one | byte.ct_eq(&0);
        looking &= !one;
    }
    valid &= !looking;
    if !bool::from(valid) {
        return None;
    }
    let message = padded.get(usize::try_from(start).ok()?..)?;
    Some(Zeroizing::new(message.to_vec()))
}

/// Exclusive-ors MGF1 of `seed` into `out` (RFC 8017 B.2.1); from the data block to the seed and
/// back, so `seed` is what the mask is made of.
fn mask<H: Digest>(seed: &[u8], out: &mut [u8]) {
    for (counter, chunk) in (0u32..).zip(out.chunks_mut(<H as Digest>::output_size())) {
        let block = H::new().chain_update(seed).chain_update(counter.to_be_bytes()).finalize();
        chunk.iter_mut().zip(block).for_each(|(byte, mask)| *byte ^= mask);
    }
}
