//! RSA. AWS-LC blinds private operations and verifies their results, as the portable entry does.
//! Primes are found by the portable search, in slices.

use std::sync::OnceLock;
use std::vec;

use aws_lc_rs::digest;
use aws_lc_rs::rsa::{
    KeyPair, OAEP_SHA1_MGF1SHA1, OAEP_SHA256_MGF1SHA256, OaepAlgorithm, OaepPrivateDecryptingKey,
    OaepPublicEncryptingKey, PrivateDecryptingKey, PublicEncryptingKey,
};
use aws_lc_rs::signature::{
    RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512,
    RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512, RSA_PSS_2048_8192_SHA256,
    RSA_PSS_2048_8192_SHA384, RSA_PSS_2048_8192_SHA512, RSA_PSS_SHA256, RSA_PSS_SHA384,
    RSA_PSS_SHA512, RsaEncoding, RsaParameters, UnparsedPublicKey,
};
use hsm_core::algorithm::{Algorithm, Message, PublicKeyBuf, rsa, test_foreign};
use hsm_core::secret::SecretBuf;
use hsm_protocol::ErrorCode;
use hsm_protocol::bytes::concat;
use hsm_protocol::key_spec::{EncryptionAlgorithm, KeySpec, SigningAlgorithm};
use rand_core::CryptoRng;
use zeroize::Zeroizing;

use super::delegate::delegate;
use super::hash;
use super::prepared::Prepared;

/// Bytes of the longest private key, DER PKCS#8.
const MAX_PRIVATE_KEY: usize = 2560;

/// One size.
pub(super) struct Rsa {
    portable: &'static rsa::Rsa,
    /// Bytes of the modulus.
    size: usize,
}

/// A private key, for what it was used for so far. The core keeps few keys, and most have one usage.
#[derive(Default)]
struct Private {
    signing: OnceLock<KeyPair>,
    decryption: OnceLock<OaepPrivateDecryptingKey>,
}

static PREPARED: Prepared<Private> = Prepared::new();

pub(super) static RSA_2048: Rsa = Rsa { portable: &rsa::RSA_2048, size: 256 };
pub(super) static RSA_3072: Rsa = Rsa { portable: &rsa::RSA_3072, size: 384 };
pub(super) static RSA_4096: Rsa = Rsa { portable: &rsa::RSA_4096, size: 512 };

/// A signing algorithm in AWS-LC's terms.
struct Scheme {
    digest: &'static digest::Algorithm,
    signing: &'static dyn RsaEncoding,
    verification: &'static RsaParameters,
}

impl Scheme {
    fn of(algorithm: SigningAlgorithm) -> Result<Self, ErrorCode> {
        let (digest, signing, verification): (_, &'static dyn RsaEncoding, _) = match algorithm {
            SigningAlgorithm::RSASSA_PSS_SHA_256 => {
                (&digest::SHA256, &RSA_PSS_SHA256, &RSA_PSS_2048_8192_SHA256)
            }
            SigningAlgorithm::RSASSA_PSS_SHA_384 => {
                (&digest::SHA384, &RSA_PSS_SHA384, &RSA_PSS_2048_8192_SHA384)
            }
            SigningAlgorithm::RSASSA_PSS_SHA_512 => {
                (&digest::SHA512, &RSA_PSS_SHA512, &RSA_PSS_2048_8192_SHA512)
            }
            SigningAlgorithm::RSASSA_PKCS1_V1_5_SHA_256 => {
                (&digest::SHA256, &RSA_PKCS1_SHA256, &RSA_PKCS1_2048_8192_SHA256)
            }
            SigningAlgorithm::RSASSA_PKCS1_V1_5_SHA_384 => {
                (&digest::SHA384, &RSA_PKCS1_SHA384, &RSA_PKCS1_2048_8192_SHA384)
            }
            SigningAlgorithm::RSASSA_PKCS1_V1_5_SHA_512 => {
                (&digest::SHA512, &RSA_PKCS1_SHA512, &RSA_PKCS1_2048_8192_SHA512)
            }
            _ => return Err(ErrorCode::SPEC_DENIED),
        };
        Ok(Self { digest, signing, verification })
    }
}

fn oaep(algorithm: EncryptionAlgorithm) -> Result<&'static OaepAlgorithm, ErrorCode> {
    match algorithm {
        EncryptionAlgorithm::RSAES_OAEP_SHA_1 => Ok(&OAEP_SHA1_MGF1SHA1),
        EncryptionAlgorithm::RSAES_OAEP_SHA_256 => Ok(&OAEP_SHA256_MGF1SHA256),
        _ => Err(ErrorCode::SPEC_DENIED),
    }
}

impl Rsa {
    fn portable(&self) -> &'static dyn Algorithm {
        self.portable
    }

    /// Uses the private key in one of its forms, which is read from PKCS#8 unless it is there already.
    fn with_key<K, T>(
        &self,
        secret: &SecretBuf,
        form: impl Fn(&Private) -> &OnceLock<K>,
        read: impl FnOnce(&[u8]) -> Option<K>,
        operation: impl FnOnce(&K) -> Result<T, ErrorCode>,
    ) -> Result<T, ErrorCode> {
        let prepared = PREPARED.find(secret);
        let place = prepared.as_deref().map(form);
        if let Some(key) = place.and_then(OnceLock::get) {
            return operation(key);
        }
        let mut der = Zeroizing::new([0; MAX_PRIVATE_KEY]);
        let length = self.portable.private_key(secret, &mut *der)?;
        let key = read(der.get(..length).unwrap_or_default()).ok_or(ErrorCode::SPEC_DENIED)?;
        match place {
            Some(place) => operation(place.get_or_init(|| key)),
            None => operation(&key),
        }
    }

    /// Reads a public key of the size.
    fn public(&self, public: &PublicKeyBuf) -> Result<PublicEncryptingKey, ErrorCode> {
        let key = PublicEncryptingKey::from_der(public.as_bytes()).ok();
        key.filter(|key| key.key_size_bytes() == self.size).ok_or(ErrorCode::SPEC_DENIED)
    }
}

impl Algorithm for Rsa {
    delegate! { spec generate pairwise_test public_key private_key import }

    fn self_test(&self) -> Result<(), ErrorCode> {
        test_foreign(&RSA_2048)
    }

    /// The secret stays as it is: AWS-LC takes a key only as a whole, which it checks.
    fn expand(&self, secret: &mut SecretBuf) -> Result<(), ErrorCode> {
        PREPARED.hold(secret);
        Ok(())
    }

    fn forget(&self, secret: &SecretBuf) {
        PREPARED.release(secret);
    }

    fn sign(
        &self,
        secret: &SecretBuf,
        algorithm: SigningAlgorithm,
        message: Message<'_>,
        _: &mut dyn CryptoRng,
        out: &mut [u8],
    ) -> Result<usize, ErrorCode> {
        let scheme = Scheme::of(algorithm)?;
        let digest = hash(scheme.digest, message)?;
        let signature = out.get_mut(..self.size).ok_or(ErrorCode::TOO_LARGE)?;
        let read = |der: &[u8]| KeyPair::from_pkcs8(der).ok();
        self.with_key(
            secret,
            |key| &key.signing,
            read,
            |key| {
                key.sign_digest(scheme.signing, &digest, signature).map_err(|_| ErrorCode::INTERNAL)
            },
        )?;
        Ok(self.size)
    }

    fn verify(
        &self,
        public: &PublicKeyBuf,
        algorithm: SigningAlgorithm,
        message: Message<'_>,
        signature: &[u8],
    ) -> Result<(), ErrorCode> {
        let scheme = Scheme::of(algorithm)?;
        let digest = hash(scheme.digest, message)?;
        if signature.len() != self.size {
            return Err(ErrorCode::SIGNATURE_INVALID);
        }
        self.public(public)?;
        UnparsedPublicKey::new(scheme.verification, public.as_bytes())
            .verify_digest(&digest, signature)
            .map_err(|_| ErrorCode::SIGNATURE_INVALID)
    }

    fn encrypt_public(
        &self,
        public: &PublicKeyBuf,
        algorithm: EncryptionAlgorithm,
        plaintext: &[u8],
        _: &mut dyn CryptoRng,
        out: &mut [u8],
    ) -> Result<usize, ErrorCode> {
        let key = self.public(public)?;
        let oaep = oaep(algorithm)?;
        let key = OaepPublicEncryptingKey::new(key).map_err(|_| ErrorCode::SPEC_DENIED)?;
        if plaintext.len() > key.max_plaintext_size(oaep) {
            return Err(ErrorCode::MESSAGE_LENGTH);
        }
        let out = out.get_mut(..self.size).ok_or(ErrorCode::TOO_LARGE)?;
        key.encrypt(oaep, plaintext, out, None).map_err(|_| ErrorCode::INTERNAL)?;
        Ok(self.size)
    }

    fn decrypt_private(
        &self,
        secret: &SecretBuf,
        algorithm: EncryptionAlgorithm,
        ciphertext: &[u8],
        _: &mut dyn CryptoRng,
        out: &mut [u8],
    ) -> Result<usize, ErrorCode> {
        let oaep = oaep(algorithm)?;
        if ciphertext.len() != self.size {
            return Err(ErrorCode::CIPHERTEXT_INVALID);
        }
        let read = |der: &[u8]| {
            OaepPrivateDecryptingKey::new(PrivateDecryptingKey::from_pkcs8(der).ok()?).ok()
        };
        let mut plaintext = Zeroizing::new(vec![0; self.size]);
        self.with_key(
            secret,
            |key| &key.decryption,
            read,
            |key| {
                let plaintext = key
                    .decrypt(oaep, ciphertext, &mut plaintext, None)
                    .map_err(|_| ErrorCode::CIPHERTEXT_INVALID)?;
                concat(out, &[plaintext]).map(|written| written.len()).ok_or(ErrorCode::TOO_LARGE)
            },
        )
    }
}
