//! Keys and signed messages with `libcrux-ml-dsa`, which takes half the instructions and a quarter
//! of the stack of the implementation beside it, but no message representative from outside.

use hsm_protocol::ErrorCode;
use libcrux_ml_dsa::{
    MLDSASignature, MLDSASigningKey, MLDSAVerificationKey, ml_dsa_44, ml_dsa_65, ml_dsa_87,
};
use zeroize::Zeroize;

use super::SEED_SIZE;

/// The parameter sets. Each function has a frame of its own: what one needs of the stack is free
/// again when the next is called.
pub trait Lean {
    /// Writes the public key of a seed (FIPS 204 6.1) into the front of `out`; returns its length.
    ///
    /// # Errors
    /// [`ErrorCode::TOO_LARGE`] if `out` is too small.
    fn public(seed: &[u8; SEED_SIZE], out: &mut [u8]) -> Result<usize, ErrorCode>;

    /// Signs a message with an empty context (5.2) into the front of `out`; returns the
    /// signature's length. All zeros for `random` make it deterministic.
    ///
    /// # Errors
    /// [`ErrorCode::TOO_LARGE`] if `out` is too small.
    fn sign(
        seed: &[u8; SEED_SIZE],
        message: &[u8],
        random: &[u8; 32],
        out: &mut [u8],
    ) -> Result<usize, ErrorCode>;

    /// Whether a signature is valid (5.3). Wrong lengths make it invalid.
    fn verify(public: &[u8], message: &[u8], signature: &[u8]) -> bool;
}

macro_rules! lean {
    ($set:ty, $module:ident, secret = $secret:literal, public = $public:literal, signature = $signature:literal) => {
        impl Lean for $set {
            #[inline(never)]
            fn public(seed: &[u8; SEED_SIZE], out: &mut [u8]) -> Result<usize, ErrorCode> {
                let mut pair = $module::portable::generate_key_pair(*seed);
                pair.signing_key.as_mut_slice().zeroize();
                copy(pair.verification_key.as_ref(), out)
            }

            fn sign(
                seed: &[u8; SEED_SIZE],
                message: &[u8],
                random: &[u8; 32],
                out: &mut [u8],
            ) -> Result<usize, ErrorCode> {
                #[inline(never)]
                fn expand(seed: &[u8; SEED_SIZE], key: &mut [u8]) {
                    let mut pair = $module::portable::generate_key_pair(*seed);
                    key.copy_from_slice(pair.signing_key.as_ref());
                    pair.signing_key.as_mut_slice().zeroize();
                }

                #[inline(never)]
                fn sign(
                    key: &MLDSASigningKey<$secret>,
                    message: &[u8],
                    random: &[u8; 32],
                    out: &mut [u8],
                ) -> Result<usize, ErrorCode> {
                    let signature = $module::portable::sign(key, message, &[], *random);
                    // Fails after some hundred rejections only, which does not happen.
                    copy(signature.map_err(|_| ErrorCode::INTERNAL)?.as_ref(), out)
                }

                let mut key = MLDSASigningKey::new([0; $secret]);
                expand(seed, key.as_mut_slice());
                let length = sign(&key, message, random, out);
                key.as_mut_slice().zeroize();
                length
            }

            #[inline(never)]
            fn verify(public: &[u8], message: &[u8], signature: &[u8]) -> bool {
                let (Ok(public), Ok(signature)) = (public.try_into(), signature.try_into()) else {
                    return false;
                };
                let public = MLDSAVerificationKey::<$public>::new(public);
                let signature = MLDSASignature::<$signature>::new(signature);
                $module::portable::verify(&public, message, &[], &signature).is_ok()
            }
        }
    };
}

// FIPS 204 table 2.
lean!(ml_dsa::MlDsa44, ml_dsa_44, secret = 2560, public = 1312, signature = 2420);
lean!(ml_dsa::MlDsa65, ml_dsa_65, secret = 4032, public = 1952, signature = 3309);
lean!(ml_dsa::MlDsa87, ml_dsa_87, secret = 4896, public = 2592, signature = 4627);

fn copy(bytes: &[u8], out: &mut [u8]) -> Result<usize, ErrorCode> {
    out.get_mut(..bytes.len()).ok_or(ErrorCode::TOO_LARGE)?.copy_from_slice(bytes);
    Ok(bytes.len())
}
