//! Shamir's secret sharing over GF(2^8), a byte each (A. Shamir, "How to share a secret", 1979).
//!
//! The field is that of AES (FIPS 197 4): polynomials modulo x^8 + x^4 + x^3 + x + 1. Share `n` of a byte is
//! a random polynomial of degree `threshold` - 1, whose constant is the byte, at `n`. Every coefficient is
//! drawn from all 256 values, zero among them: then fewer shares than the threshold are independent of the
//! secret. No branch and no address depends on a secret; numbers of shares are public.

use hex_literal::hex;
use hsm_protocol::ErrorCode;
use rand_core::CryptoRng;
use subtle::ConstantTimeEq;

use crate::fault::{self, Kat};
use crate::secret::Secret;

/// Length of a secret and of a share in bytes.
pub const SIZE: usize = 32;
/// Most shares of a secret.
pub const MAX_SHARES: usize = 8;

/// A secret that is being shared: the coefficients of its polynomials.
pub struct Sharing {
    /// By degree.
    coefficients: [Secret<SIZE>; MAX_SHARES],
    threshold: usize,
}

impl Sharing {
    /// Draws polynomials for `secret`, which `threshold` shares will give.
    ///
    /// # Errors
    /// [`ErrorCode::INVALID_ARGUMENT`] for a threshold of 0 or beyond [`MAX_SHARES`].
    pub fn of(
        secret: &Secret<SIZE>,
        threshold: u8,
        rng: &mut dyn CryptoRng,
    ) -> Result<Self, ErrorCode> {
        let threshold = usize::from(threshold);
        if !(1..=MAX_SHARES).contains(&threshold) {
            return Err(ErrorCode::INVALID_ARGUMENT);
        }
        let mut sharing =
            Self { coefficients: [const { Secret::zeroed() }; MAX_SHARES], threshold };
        let mut used = sharing.coefficients.iter_mut().take(threshold);
        if let Some(constant) = used.next() {
            constant.expose_mut().copy_from_slice(secret.expose());
        }
        used.for_each(|coefficient| rng.fill_bytes(coefficient.expose_mut()));
        Ok(sharing)
    }

    /// The share with this number, from 1, into `share`.
    ///
    /// # Errors
    /// [`ErrorCode::INVALID_ARGUMENT`] for number 0: that would be the secret.
    pub fn share(&self, number: u8, share: &mut Secret<SIZE>) -> Result<(), ErrorCode> {
        if number == 0 {
            return Err(ErrorCode::INVALID_ARGUMENT);
        }
        let share = share.expose_mut();
        share.fill(0);
        // Horner's rule.
        for coefficient in self.coefficients.iter().take(self.threshold).rev() {
            for (out, coefficient) in share.iter_mut().zip(coefficient.expose()) {
                *out = multiply(*out, number) ^ coefficient;
            }
        }
        Ok(())
    }
}

/// Puts shares with different numbers together into `secret`. Nothing here tells whether they belong
/// together: too few, or wrong ones, give another secret.
///
/// # Errors
/// [`ErrorCode::INVALID_ARGUMENT`] if there are none or too many, or numbers are 0 or repeated.
pub fn combine(shares: &[(u8, &[u8; SIZE])], secret: &mut Secret<SIZE>) -> Result<(), ErrorCode> {
    let is_sound = (1..=MAX_SHARES).contains(&shares.len())
        && shares.iter().enumerate().all(|(at, (number, _))| {
            *number != 0 && shares.iter().take(at).all(|(other, _)| other != number)
        });
    if !is_sound {
        return Err(ErrorCode::INVALID_ARGUMENT);
    }
    let secret = secret.expose_mut();
    secret.fill(0);
    for (number, share) in shares {
        // Lagrange's basis polynomial at 0; minus is plus.
        let others = shares.iter().filter(|(other, _)| other != number);
        let basis = others
            .fold(1, |basis, (other, _)| multiply(basis, multiply(*other, invert(other ^ number))));
        for (out, byte) in secret.iter_mut().zip(*share) {
            *out ^= multiply(*byte, basis);
        }
    }
    Ok(())
}

/// The product, in constant time.
fn multiply(a: u8, b: u8) -> u8 {
    let (mut a, mut product) = (a, 0);
    for bit in 0..8 {
        // All ones or all zeros.
        product ^= a & (b >> bit & 1).wrapping_neg();
        let carry = (a >> 7).wrapping_neg();
        a = a << 1 ^ carry & 0x1b;
    }
    product
}

/// The inverse: the power of 254. That of 0 is 0.
fn invert(a: u8) -> u8 {
    let mut power = a; // of 2^n - 1
    for _ in 0..6 {
        power = multiply(multiply(power, power), a);
    }
    multiply(power, power)
}

/// Known answers: the last of the shares in the tests, and the secret out of it and two others.
///
/// # Errors
/// [`ErrorCode::SELF_TEST_FAILED`].
pub fn self_test() -> Result<(), ErrorCode> {
    const SHARE_8: [u8; SIZE] =
        hex!("7b32e9a0440dd69f054c97de3a73a8e187ce155cb8f12a63f9b06b22c68f541d");
    let mut sharing =
        Sharing { coefficients: [const { Secret::zeroed() }; MAX_SHARES], threshold: 3 };
    for (coefficient, start) in sharing.coefficients.iter_mut().zip([0u8, 0x40, 0x80]) {
        coefficient.expose_mut().iter_mut().zip(start..).for_each(|(out, byte)| *out = byte);
    }
    let mut shares = [const { Secret::zeroed() }; 3];
    for (number, share) in [1, 2, 8].into_iter().zip(&mut shares) {
        sharing.share(number, share)?;
    }
    let [one, two, eight] = &mut shares;
    fault::tamper(Kat::Shamir, eight.expose_mut());
    let mut secret = Secret::zeroed();
    let given = [(1, one.expose()), (2, two.expose()), (8, eight.expose())];
    combine(&given, &mut secret)?;
    let [constant, ..] = &sharing.coefficients;
    let is_right = eight.expose().ct_eq(&SHARE_8) & secret.expose().ct_eq(constant.expose());
    if bool::from(is_right) { Ok(()) } else { Err(ErrorCode::SELF_TEST_FAILED) }
}

#[cfg(test)]
mod tests;
