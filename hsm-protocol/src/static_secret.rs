//! Keys that only the owners of two static key pairs can derive.
//!
//! ```text
//! K = HMAC-SHA-256(HMAC-SHA-256(0^64, Z), [1]_32 || label || 0x00 || context || [256]_32)
//! ```
//! Z is the static ECDH secret (SP 800-56A 6.3, C(0e, 2s)); extraction and expansion are those of
//! SP 800-56C 5.1 with SP 800-108 in counter mode. A label belongs to one purpose.

use hmac::{Hmac, KeyInit, Mac};
use p256::SecretKey;
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::curve::Curve;
use crate::error::ErrorCode;
use crate::identity::PublicKey;

/// Derives 32 bytes from one private and one public key; whoever has the other halves derives the
/// same.
///
/// # Errors
/// [`ErrorCode::IDENTITY_INVALID`] if the public key is not a point.
pub(crate) fn derive(
    curve: &impl Curve,
    own: &SecretKey,
    other: &PublicKey,
    label: &[u8],
    context: &[&[u8]],
) -> Result<Zeroizing<[u8; 32]>, ErrorCode> {
    let shared = curve.agree(own, &other.to_point()?)?;
    let mut extract = mac(&[0; 64])?;
    extract.update(&*shared);
    let extracted = Zeroizing::new(<[u8; 32]>::from(extract.finalize().into_bytes()));
    let mut prf = mac(&*extracted)?;
    prf.update(&1u32.to_be_bytes());
    prf.update(label);
    prf.update(&[0]);
    for part in context {
        prf.update(part);
    }
    prf.update(&256u32.to_be_bytes());
    Ok(Zeroizing::new(prf.finalize().into_bytes().into()))
}

pub(crate) fn mac(key: &[u8]) -> Result<Hmac<Sha256>, ErrorCode> {
    Hmac::new_from_slice(key).map_err(|_| ErrorCode::INTERNAL)
}
