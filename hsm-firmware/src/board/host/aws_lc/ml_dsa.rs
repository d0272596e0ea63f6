//! ML-DSA of messages. Representatives made elsewhere (EXTERNAL_MU) are the portable entry's work:
//! AWS-LC's Rust interface does not take them.

use aws_lc_rs::signature::{
    ML_DSA_44 as VERIFY_44, ML_DSA_44_SIGNING, ML_DSA_65 as VERIFY_65, ML_DSA_65_SIGNING,
    ML_DSA_87 as VERIFY_87, ML_DSA_87_SIGNING, PqdsaKeyPair, PqdsaSigningAlgorithm,
    PqdsaVerificationAlgorithm, UnparsedPublicKey,
};
use hsm_core::algorithm::{Algorithm, Message, PublicKeyBuf, ml_dsa, test_foreign};
use hsm_core::secret::SecretBuf;
use hsm_protocol::ErrorCode;
use hsm_protocol::key_spec::{KeySpec, SigningAlgorithm};
use rand_core::CryptoRng;

use super::delegate::delegate;

/// `SubjectPublicKeyInfo` up to the key (RFC 9881 4): everything but OID and lengths is the same.
const PREFIX: usize = 22;
const ALGORITHM: SigningAlgorithm = SigningAlgorithm::ML_DSA_SHAKE_256;

/// One parameter set.
pub(super) struct MlDsa {
    portable: &'static dyn Algorithm,
    signing: &'static PqdsaSigningAlgorithm,
    verification: &'static PqdsaVerificationAlgorithm,
    /// The last byte of the OID.
    oid: u8,
    /// Bytes of a `SubjectPublicKeyInfo`, and of a signature.
    sizes: (usize, usize),
}

pub(super) static ML_DSA_44: MlDsa = MlDsa {
    portable: &ml_dsa::ML_DSA_44,
    signing: &ML_DSA_44_SIGNING,
    verification: &VERIFY_44,
    oid: 0x11,
    sizes: (PREFIX + 1312, 2420),
};
pub(super) static ML_DSA_65: MlDsa = MlDsa {
    portable: &ml_dsa::ML_DSA_65,
    signing: &ML_DSA_65_SIGNING,
    verification: &VERIFY_65,
    oid: 0x12,
    sizes: (PREFIX + 1952, 3309),
};
pub(super) static ML_DSA_87: MlDsa = MlDsa {
    portable: &ml_dsa::ML_DSA_87,
    signing: &ML_DSA_87_SIGNING,
    verification: &VERIFY_87,
    oid: 0x13,
    sizes: (PREFIX + 2592, 4627),
};

impl MlDsa {
    fn portable(&self) -> &'static dyn Algorithm {
        self.portable
    }

    fn key_pair(&self, secret: &SecretBuf) -> Result<PqdsaKeyPair, ErrorCode> {
        PqdsaKeyPair::from_seed(self.signing, secret.expose()).map_err(|_| ErrorCode::SPEC_DENIED)
    }

    /// The key of a `SubjectPublicKeyInfo` of this parameter set.
    fn key<'p>(&self, public: &'p PublicKeyBuf) -> Option<&'p [u8]> {
        let (prefix, key) = public.as_bytes().split_at_checked(PREFIX)?;
        let fits = public.as_bytes().len() == self.sizes.0 && prefix.get(16) == Some(&self.oid);
        fits.then_some(key)
    }
}

impl Algorithm for MlDsa {
    delegate! { spec generate pairwise_test public_key import }

    fn self_test(&self) -> Result<(), ErrorCode> {
        self.portable.self_test()?;
        test_foreign(self)
    }

    fn sign(
        &self,
        secret: &SecretBuf,
        algorithm: SigningAlgorithm,
        message: Message<'_>,
        rng: &mut dyn CryptoRng,
        out: &mut [u8],
    ) -> Result<usize, ErrorCode> {
        let (ALGORITHM, Message::Raw(text)) = (algorithm, message) else {
            return self.portable.sign(secret, algorithm, message, rng, out);
        };
        let key = self.key_pair(secret)?;
        let out = out.get_mut(..self.sizes.1).ok_or(ErrorCode::TOO_LARGE)?;
        key.sign(text, out).map_err(|_| ErrorCode::INTERNAL)
    }

    fn verify(
        &self,
        public: &PublicKeyBuf,
        algorithm: SigningAlgorithm,
        message: Message<'_>,
        signature: &[u8],
    ) -> Result<(), ErrorCode> {
        let (ALGORITHM, Message::Raw(text)) = (algorithm, message) else {
            return self.portable.verify(public, algorithm, message, signature);
        };
        let key = self.key(public).ok_or(ErrorCode::SPEC_DENIED)?;
        UnparsedPublicKey::new(self.verification, key)
            .verify(text, signature)
            .map_err(|_| ErrorCode::SIGNATURE_INVALID)
    }
}
