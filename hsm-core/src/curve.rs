//! P-256 for the module's own keys: channel, identity, tokens and operators' votes are computed by the
//! board's algorithm registry, so by what its processor is fastest at.

use hsm_protocol::ErrorCode;
use hsm_protocol::bytes::concat;
use hsm_protocol::curve::Curve;
use hsm_protocol::identity::{self, Signature};
use hsm_protocol::key_spec::{KeySpec, SigningAlgorithm};
use p256::elliptic_curve::sec1::ToSec1Point;
use p256::{PublicKey, SecretKey};
use rand_core::CryptoRng;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::algorithm::ecc::der;
use crate::algorithm::ecdsa_p256::{SPKI_PREFIX, SPKI_SIZE};
use crate::algorithm::{self, Algorithm, Message, PublicKeyBuf};
use crate::secret::SecretBuf;

/// The registry's entry of P-256.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BoardCurve(&'static dyn Algorithm);

impl BoardCurve {
    /// The entry of a registry. The module's power-up tests have to cover it before it is used.
    ///
    /// # Errors
    /// [`ErrorCode::UNSUPPORTED`] if the registry has none.
    pub(crate) fn of(registry: &'static [&'static dyn Algorithm]) -> Result<Self, ErrorCode> {
        algorithm::find(registry, KeySpec::ECC_NIST_P256).map(|(_, entry)| Self(entry))
    }

    /// Known answers of every operation (FIPS 140-3 IG 10.3.A).
    ///
    /// # Errors
    /// [`ErrorCode::SELF_TEST_FAILED`].
    pub(crate) fn self_test(self) -> Result<(), ErrorCode> {
        self.0.self_test()
    }

    /// Signs SHA-256 of a message (FIPS 186-5 6.4.1). The secret number depends on key and digest as well as on
    /// `rng`, as for every key of the registry.
    ///
    /// # Errors
    /// [`ErrorCode::INTERNAL`] only.
    pub(crate) fn sign(
        self,
        secret: &SecretKey,
        message: &[u8],
        rng: &mut dyn CryptoRng,
    ) -> Result<Signature, ErrorCode> {
        self.sign_digest(secret, &Sha256::digest(message).into(), rng)
    }

    /// Signs a SHA-256 value.
    ///
    /// # Errors
    /// [`ErrorCode::INTERNAL`] only.
    pub(crate) fn sign_digest(
        self,
        secret: &SecretKey,
        digest: &[u8; 32],
        rng: &mut dyn CryptoRng,
    ) -> Result<Signature, ErrorCode> {
        let mut encoded = [0; der::MAX_SIZE];
        let mut scalar = SecretBuf::new();
        fill(&mut scalar, secret)?;
        let (algorithm, message) = (SigningAlgorithm::ECDSA_SHA_256, Message::Digest(digest));
        let length = self.0.sign(&scalar, algorithm, message, rng, &mut encoded)?;
        let mut signature = Signature { r: [0; 32], s: [0; 32] };
        let encoded = encoded.get(..length).ok_or(ErrorCode::INTERNAL)?;
        der::decode(encoded, &mut signature.r, &mut signature.s).ok_or(ErrorCode::INTERNAL)?;
        Ok(signature)
    }
}

impl Curve for BoardCurve {
    fn public(&self, secret: &SecretKey) -> Result<PublicKey, ErrorCode> {
        let (mut scalar, mut spki) = (SecretBuf::new(), PublicKeyBuf::new());
        fill(&mut scalar, secret)?;
        self.0.public_key(&scalar, &mut spki)?;
        let point = spki.as_bytes().strip_prefix(SPKI_PREFIX).ok_or(ErrorCode::INTERNAL)?;
        PublicKey::from_sec1_bytes(point).map_err(|_| ErrorCode::INTERNAL)
    }

    fn agree(
        &self,
        secret: &SecretKey,
        peer: &PublicKey,
    ) -> Result<Zeroizing<[u8; 32]>, ErrorCode> {
        let (mut scalar, mut shared) = (SecretBuf::new(), SecretBuf::new());
        fill(&mut scalar, secret)?;
        self.0.agree(&scalar, &spki(peer)?, &mut shared)?;
        let mut z = Zeroizing::new([0; 32]);
        z.copy_from_slice(shared.expose_exact::<32>()?);
        Ok(z)
    }

    fn verify_digest(
        &self,
        key: &identity::PublicKey,
        digest: &[u8; 32],
        signature: &Signature,
    ) -> Result<(), ErrorCode> {
        let mut public = PublicKeyBuf::new();
        public.set(&[&spki(&key.to_point()?)?])?;
        let mut encoded = [0; der::MAX_SIZE];
        let length = der::encode(&signature.r, &signature.s, &mut encoded)?;
        let encoded = encoded.get(..length).ok_or(ErrorCode::INTERNAL)?;
        let message = Message::Digest(digest);
        self.0.verify(&public, SigningAlgorithm::ECDSA_SHA_256, message, encoded)
    }
}

/// Fills in the form in which the registry takes a secret scalar.
fn fill(scalar: &mut SecretBuf, secret: &SecretKey) -> Result<(), ErrorCode> {
    scalar.set(&Zeroizing::new(secret.to_bytes()))
}

/// The form in which the registry takes a public key: DER `SubjectPublicKeyInfo`.
fn spki(key: &PublicKey) -> Result<[u8; SPKI_SIZE], ErrorCode> {
    let mut out = [0; SPKI_SIZE];
    let point = key.to_sec1_point(false);
    concat(&mut out, &[SPKI_PREFIX, point.as_bytes()]).ok_or(ErrorCode::INTERNAL)?;
    Ok(out)
}

#[cfg(test)]
mod tests {
    use hsm_protocol::curve::{KeyPair, Portable};

    use super::*;
    use crate::algorithm::PORTABLE;
    use crate::testing::TestRng;

    fn board() -> BoardCurve {
        BoardCurve::of(PORTABLE).unwrap()
    }

    #[test]
    fn the_registry_computes_what_the_curves_crate_does() {
        let mut rng = TestRng(1);
        for _ in 0..8 {
            let own = KeyPair::generate(&board(), &mut rng).unwrap();
            let other = KeyPair::generate(&Portable, &mut rng).unwrap();
            assert_eq!(Portable.public(own.secret()), Ok(*own.point()));
            assert_eq!(board().public(other.secret()), Ok(*other.point()));
            let z = board().agree(own.secret(), other.point()).unwrap();
            assert_eq!(Portable.agree(other.secret(), own.point()).unwrap(), z);
        }
    }

    #[test]
    fn each_verifies_what_the_registry_signs_and_nothing_else() {
        let mut rng = TestRng(2);
        let own = KeyPair::generate(&board(), &mut rng).unwrap();
        let public = own.public();
        let signature = board().sign(own.secret(), b"message", &mut rng).unwrap();
        assert_ne!(board().sign(own.secret(), b"message", &mut rng).unwrap(), signature);
        let invalid = Err(ErrorCode::SIGNATURE_INVALID);
        let verify = |message: &[u8], signature: &Signature| {
            let verified = board().verify(&public, message, signature);
            assert_eq!(Portable.verify(&public, message, signature), verified);
            verified
        };
        assert_eq!(verify(b"message", &signature), Ok(()));
        assert_eq!(verify(b"another", &signature), invalid);
        for byte in 0..32 {
            let (mut r, mut s) = (signature, signature);
            r.r[byte] ^= 1;
            s.s[byte] ^= 1;
            assert_eq!((verify(b"message", &r), verify(b"message", &s)), (invalid, invalid));
        }
        for bad in [[0; 32], [0xff; 32]] {
            assert_eq!(verify(b"message", &Signature { r: bad, ..signature }), invalid);
            assert_eq!(verify(b"message", &Signature { s: bad, ..signature }), invalid);
        }
        let nobody = identity::PublicKey { x: [0xff; 32], ..public };
        let verified = board().verify(&nobody, b"message", &signature);
        assert_eq!(verified, Err(ErrorCode::IDENTITY_INVALID));
    }

    #[test]
    fn a_registry_without_p256_has_no_curve() {
        let none = BoardCurve::of(&[]).map(|_| ());
        assert_eq!(none, Err(ErrorCode::UNSUPPORTED));
    }
}
