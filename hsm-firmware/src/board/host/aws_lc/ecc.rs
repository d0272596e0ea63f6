//! ECDSA and ECDH on the NIST curves.

use std::sync::OnceLock;

use aws_lc_rs::agreement;
use aws_lc_rs::digest::{self, Digest};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1,
    ECDSA_P384_SHA384_ASN1_SIGNING, ECDSA_P521_SHA512_ASN1, ECDSA_P521_SHA512_ASN1_SIGNING,
    EcdsaKeyPair, EcdsaSigningAlgorithm, EcdsaVerificationAlgorithm, KeyPair, UnparsedPublicKey,
};
use hsm_core::algorithm::{
    Algorithm, Message, PublicKeyBuf, ecdsa_p256, ecdsa_p384, ecdsa_p521, test_foreign,
};
use hsm_core::secret::SecretBuf;
use hsm_protocol::ErrorCode;
use hsm_protocol::bytes::concat;
use hsm_protocol::key_spec::{KeySpec, SigningAlgorithm};
use rand_core::CryptoRng;
use zeroize::Zeroizing;

use super::delegate::delegate;
use super::hash;
use super::prepared::Prepared;

/// One curve.
pub(super) struct Curve {
    portable: &'static dyn Algorithm,
    algorithm: SigningAlgorithm,
    signing: &'static EcdsaSigningAlgorithm,
    verification: &'static EcdsaVerificationAlgorithm,
    digest: &'static digest::Algorithm,
    agreement: &'static agreement::Algorithm,
    /// Bytes of a scalar.
    size: usize,
    /// `ECPrivateKey` (RFC 5915) before and after the scalar, without the public key.
    frame: (&'static [u8], &'static [u8]),
    /// `SubjectPublicKeyInfo` up to the uncompressed point.
    spki: &'static [u8],
}

/// Key pairs. Scalars of different curves differ in length.
static PREPARED: Prepared<OnceLock<EcdsaKeyPair>> = Prepared::new();

/// Bytes of the longest `ECPrivateKey`.
const MAX_FRAME: usize = 96;

pub(super) static ECC_NIST_P256: Curve = Curve {
    portable: &ecdsa_p256::EccNistP256,
    algorithm: SigningAlgorithm::ECDSA_SHA_256,
    signing: &ECDSA_P256_SHA256_ASN1_SIGNING,
    verification: &ECDSA_P256_SHA256_ASN1,
    digest: &digest::SHA256,
    agreement: &agreement::ECDH_P256,
    size: 32,
    frame: (
        &[0x30, 0x31, 0x02, 0x01, 0x01, 0x04, 0x20],
        &[0xa0, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07],
    ),
    spki: &[
        0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08,
        0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
    ],
};

pub(super) static ECC_NIST_P384: Curve = Curve {
    portable: &ecdsa_p384::EccNistP384,
    algorithm: SigningAlgorithm::ECDSA_SHA_384,
    signing: &ECDSA_P384_SHA384_ASN1_SIGNING,
    verification: &ECDSA_P384_SHA384_ASN1,
    digest: &digest::SHA384,
    agreement: &agreement::ECDH_P384,
    size: 48,
    frame: (
        &[0x30, 0x3e, 0x02, 0x01, 0x01, 0x04, 0x30],
        &[0xa0, 0x07, 0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x22],
    ),
    spki: &[
        0x30, 0x76, 0x30, 0x10, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x05,
        0x2b, 0x81, 0x04, 0x00, 0x22, 0x03, 0x62, 0x00,
    ],
};

pub(super) static ECC_NIST_P521: Curve = Curve {
    portable: &ecdsa_p521::EccNistP521,
    algorithm: SigningAlgorithm::ECDSA_SHA_512,
    signing: &ECDSA_P521_SHA512_ASN1_SIGNING,
    verification: &ECDSA_P521_SHA512_ASN1,
    digest: &digest::SHA512,
    agreement: &agreement::ECDH_P521,
    size: 66,
    frame: (
        &[0x30, 0x50, 0x02, 0x01, 0x01, 0x04, 0x42],
        &[0xa0, 0x07, 0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x23],
    ),
    spki: &[
        0x30, 0x81, 0x9b, 0x30, 0x10, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06,
        0x05, 0x2b, 0x81, 0x04, 0x00, 0x23, 0x03, 0x81, 0x86, 0x00,
    ],
};

impl Curve {
    fn portable(&self) -> &'static dyn Algorithm {
        self.portable
    }

    /// Lets `read` have the scalar of a token as `ECPrivateKey`.
    fn with_der<T>(
        &self,
        secret: &SecretBuf,
        read: impl FnOnce(&[u8]) -> Option<T>,
    ) -> Result<T, ErrorCode> {
        let secret = secret.expose();
        if secret.len() != self.size {
            return Err(ErrorCode::SPEC_DENIED);
        }
        let mut der = Zeroizing::new([0; MAX_FRAME]);
        let parts = [self.frame.0, secret, self.frame.1];
        let der = concat(&mut *der, &parts).ok_or(ErrorCode::INTERNAL)?;
        read(der).ok_or(ErrorCode::SPEC_DENIED)
    }

    fn key_pair(&self, secret: &SecretBuf) -> Result<EcdsaKeyPair, ErrorCode> {
        self.with_der(secret, |der| EcdsaKeyPair::from_private_key_der(self.signing, der).ok())
    }

    /// Uses the key pair that is there, or one made for this use.
    fn with_key_pair<T>(
        &self,
        secret: &SecretBuf,
        operation: impl FnOnce(&EcdsaKeyPair) -> T,
    ) -> Result<T, ErrorCode> {
        let prepared = PREPARED.find(secret);
        let place = prepared.as_deref();
        match (place.and_then(OnceLock::get), place) {
            (Some(key), _) => Ok(operation(key)),
            (None, Some(place)) => {
                let key = self.key_pair(secret)?;
                Ok(operation(place.get_or_init(|| key)))
            }
            (None, None) => Ok(operation(&self.key_pair(secret)?)),
        }
    }

    fn hash(&self, algorithm: SigningAlgorithm, message: Message<'_>) -> Result<Digest, ErrorCode> {
        if algorithm != self.algorithm {
            return Err(ErrorCode::SPEC_DENIED);
        }
        hash(self.digest, message)
    }

    /// The uncompressed point of a `SubjectPublicKeyInfo`, not yet looked into.
    fn point<'p>(&self, spki: &'p [u8]) -> Option<&'p [u8]> {
        let point = spki.strip_prefix(self.spki)?;
        (point.len() == 1 + 2 * self.size && point.first() == Some(&0x04)).then_some(point)
    }
}

impl Algorithm for Curve {
    delegate! { spec generate pairwise_test private_key import }

    fn self_test(&self) -> Result<(), ErrorCode> {
        test_foreign(self)
    }

    /// The secret stays as it is; its key pair comes with the first use.
    fn expand(&self, secret: &mut SecretBuf) -> Result<(), ErrorCode> {
        PREPARED.hold(secret);
        Ok(())
    }

    fn forget(&self, secret: &SecretBuf) {
        PREPARED.release(secret);
    }

    fn public_key(&self, secret: &SecretBuf, out: &mut PublicKeyBuf) -> Result<(), ErrorCode> {
        self.with_key_pair(secret, |key| out.set(&[self.spki, key.public_key().as_ref()]))?
    }

    fn sign(
        &self,
        secret: &SecretBuf,
        algorithm: SigningAlgorithm,
        message: Message<'_>,
        _: &mut dyn CryptoRng,
        out: &mut [u8],
    ) -> Result<usize, ErrorCode> {
        let digest = self.hash(algorithm, message)?;
        let signature = self.with_key_pair(secret, |key| key.sign_digest(&digest))?;
        let signature = signature.map_err(|_| ErrorCode::INTERNAL)?;
        let signature = signature.as_ref();
        concat(out, &[signature]).map(|written| written.len()).ok_or(ErrorCode::TOO_LARGE)
    }

    fn verify(
        &self,
        public: &PublicKeyBuf,
        algorithm: SigningAlgorithm,
        message: Message<'_>,
        signature: &[u8],
    ) -> Result<(), ErrorCode> {
        let digest = self.hash(algorithm, message)?;
        let point = self.point(public.as_bytes()).ok_or(ErrorCode::SPEC_DENIED)?;
        let key = UnparsedPublicKey::new(self.verification, point).parse();
        let key = key.map_err(|_| ErrorCode::SPEC_DENIED)?;
        key.verify_digest_sig(&digest, signature).map_err(|_| ErrorCode::SIGNATURE_INVALID)
    }

    fn agree(
        &self,
        secret: &SecretBuf,
        peer: &[u8],
        shared: &mut SecretBuf,
    ) -> Result<(), ErrorCode> {
        let secret = self.with_der(secret, |der| {
            agreement::PrivateKey::from_private_key_der(self.agreement, der).ok()
        })?;
        let point = self.point(peer).ok_or(ErrorCode::KEY_MATERIAL_INVALID)?;
        let peer = agreement::UnparsedPublicKey::new(self.agreement, point);
        agreement::agree(&secret, peer, ErrorCode::KEY_MATERIAL_INVALID, |z| {
            shared.resize(z.len())?.copy_from_slice(z);
            Ok(())
        })
    }
}
