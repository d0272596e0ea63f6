//! RSA_2048, RSA_3072, RSA_4096: RSASSA-PSS, RSASSA-PKCS1-v1_5 and RSAES-OAEP (RFC 8017), keys by
//! FIPS 186-5 A.1.3.
//!
//! A secret is both primes; the rest is computed for each use. Private operations are blinded, in
//! base, exponents and primes, and a signature is verified before it leaves: a fault in one half
//! of the Chinese remainder computation would give the primes away (Boneh, DeMillo, Lipton 1997).

use alloc::vec::Vec;

use crypto_bigint::BoxedUint;
use hsm_protocol::ErrorCode;
use hsm_protocol::key_spec::{EncryptionAlgorithm, KeySpec, SigningAlgorithm};
use rand_core::CryptoRng;
use rsa::pkcs8::{DecodePrivateKey, DecodePublicKey, EncodePrivateKey, EncodePublicKey};
use rsa::traits::{PrivateKeyParts, PublicKeyParts, SignatureScheme};
use rsa::{Oaep, Pkcs1v15Sign, PrivateKey, Pss, PublicKey};
use sha1::Sha1;
use sha2::digest::Output;
use sha2::{Digest, Sha256, Sha384, Sha512};
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, Zeroizing};

use super::{Algorithm, Message, PublicKeyBuf};
use crate::fault::{self, Kat};
use crate::secret::SecretBuf;

pub(super) mod known_answers;
mod oaep;
pub mod search;

pub use search::Search;

/// The public exponent of every key.
pub const PUBLIC_EXPONENT: u32 = 65537;

/// The portable implementation of one size.
#[derive(Clone, Copy, Debug)]
pub struct Rsa {
    spec: KeySpec,
    /// Bytes of the modulus.
    size: usize,
}

/// 2048 bits.
pub static RSA_2048: Rsa = Rsa { spec: KeySpec::RSA_2048, size: 256 };
/// 3072 bits.
pub static RSA_3072: Rsa = Rsa { spec: KeySpec::RSA_3072, size: 384 };
/// 4096 bits.
pub static RSA_4096: Rsa = Rsa { spec: KeySpec::RSA_4096, size: 512 };

impl Algorithm for Rsa {
    fn spec(&self) -> KeySpec {
        self.spec
    }

    fn self_test(&self) -> Result<(), ErrorCode> {
        test_signatures().and_then(|()| test_decryption()).map_err(|_| ErrorCode::SELF_TEST_FAILED)
    }

    /// Runs a search to its end: seconds to minutes. A device in operation takes slices.
    fn generate(&self, rng: &mut dyn CryptoRng, out: &mut SecretBuf) -> Result<(), ErrorCode> {
        let mut search = Search::new(self.spec)?;
        while !search.step(rng, out)? {}
        Ok(())
    }

    fn pairwise_test(&self, secret: &SecretBuf, rng: &mut dyn CryptoRng) -> Result<(), ErrorCode> {
        const ALGORITHM: SigningAlgorithm = SigningAlgorithm::RSASSA_PKCS1_V1_5_SHA_256;
        let mut digest = [0x5a; 32];
        let mut signature = [0; 512];
        let mut public = PublicKeyBuf::new();
        let length = self.sign(secret, ALGORITHM, Message::Digest(&digest), rng, &mut signature)?;
        self.public_key(secret, &mut public)?;
        fault::tamper(Kat::Pairwise, &mut digest);
        let signature = signature.get(..length).unwrap_or_default();
        self.verify(&public, ALGORITHM, Message::Digest(&digest), signature)
            .map_err(|_| ErrorCode::PAIRWISE_FAILED)
    }

    fn public_key(&self, secret: &SecretBuf, out: &mut PublicKeyBuf) -> Result<(), ErrorCode> {
        let der = self.private(secret)?.as_public_key().to_public_key_der();
        out.set(&[der.map_err(|_| ErrorCode::INTERNAL)?.as_bytes()])
    }

    fn private_key(&self, secret: &SecretBuf, out: &mut [u8]) -> Result<usize, ErrorCode> {
        let der = self.private(secret)?.to_pkcs8_der().map_err(|_| ErrorCode::INTERNAL)?;
        write(der.as_bytes(), out)
    }

    fn import(&self, material: &[u8], out: &mut SecretBuf) -> Result<(), ErrorCode> {
        let key = PrivateKey::from_pkcs8_der(material).ok();
        let key = key.filter(|key| self.fits(key.n()) && has_exponent(key.e()));
        let key = key.ok_or(ErrorCode::KEY_MATERIAL_INVALID)?;
        let [first, second] = key.primes() else { return Err(ErrorCode::KEY_MATERIAL_INVALID) };
        let half = self.size >> 1;
        let (first, second) = (prime(first, half)?, prime(second, half)?);
        let (p, q) = if *first > *second { (first, second) } else { (second, first) };
        let out = out.resize(self.size)?;
        hsm_protocol::bytes::concat(out, &[&p, &q]).map(|_| ()).ok_or(ErrorCode::INTERNAL)
    }

    fn sign(
        &self,
        secret: &SecretBuf,
        algorithm: SigningAlgorithm,
        message: Message<'_>,
        rng: &mut dyn CryptoRng,
        out: &mut [u8],
    ) -> Result<usize, ErrorCode> {
        let scheme = Scheme::of(algorithm)?;
        let digest = scheme.digest(message)?;
        let key = self.private(secret)?;
        let mut signature = scheme.sign(&key, &digest, rng)?;
        fault::tamper(Kat::RsaSign, &mut signature);
        scheme.verify(key.as_public_key(), &digest, &signature).map_err(|_| ErrorCode::INTERNAL)?;
        write(&signature, out)
    }

    fn verify(
        &self,
        public: &PublicKeyBuf,
        algorithm: SigningAlgorithm,
        message: Message<'_>,
        signature: &[u8],
    ) -> Result<(), ErrorCode> {
        let scheme = Scheme::of(algorithm)?;
        let digest = scheme.digest(message)?;
        if signature.len() != self.size {
            return Err(ErrorCode::SIGNATURE_INVALID);
        }
        scheme.verify(&self.public(public)?, &digest, signature)
    }

    fn encrypt_public(
        &self,
        public: &PublicKeyBuf,
        algorithm: EncryptionAlgorithm,
        plaintext: &[u8],
        rng: &mut dyn CryptoRng,
        out: &mut [u8],
    ) -> Result<usize, ErrorCode> {
        let public = self.public(public)?;
        let ciphertext = match algorithm {
            EncryptionAlgorithm::RSAES_OAEP_SHA_1 => {
                public.encrypt(rng, Oaep::<Sha1>::new(), plaintext)
            }
            EncryptionAlgorithm::RSAES_OAEP_SHA_256 => {
                public.encrypt(rng, Oaep::<Sha256>::new(), plaintext)
            }
            _ => return Err(ErrorCode::SPEC_DENIED),
        };
        write(&ciphertext.map_err(|_| ErrorCode::MESSAGE_LENGTH)?, out)
    }

    fn decrypt_private(
        &self,
        secret: &SecretBuf,
        algorithm: EncryptionAlgorithm,
        ciphertext: &[u8],
        rng: &mut dyn CryptoRng,
        out: &mut [u8],
    ) -> Result<usize, ErrorCode> {
        if ciphertext.len() != self.size {
            return match algorithm {
                EncryptionAlgorithm::RSAES_OAEP_SHA_1 | EncryptionAlgorithm::RSAES_OAEP_SHA_256 => {
                    Err(ErrorCode::CIPHERTEXT_INVALID)
                }
                _ => Err(ErrorCode::SPEC_DENIED),
            };
        }
        let key = self.private(secret)?;
        let plaintext = match algorithm {
            EncryptionAlgorithm::RSAES_OAEP_SHA_1 => oaep::decrypt::<Sha1>(&key, ciphertext, rng),
            EncryptionAlgorithm::RSAES_OAEP_SHA_256 => {
                oaep::decrypt::<Sha256>(&key, ciphertext, rng)
            }
            _ => return Err(ErrorCode::SPEC_DENIED),
        }?;
        write(&plaintext, out)
    }
}

impl Rsa {
    /// Whether a modulus has exactly the bits of the size.
    fn fits(&self, modulus: &BoxedUint) -> bool {
        let bytes = modulus.to_be_bytes();
        let mut significant = bytes.iter().skip_while(|byte| **byte == 0);
        let count = significant.clone().count();
        count == self.size && significant.next().is_some_and(|first| *first & 0x80 != 0)
    }

    /// The private key of two primes.
    fn private(&self, secret: &SecretBuf) -> Result<PrivateKey, ErrorCode> {
        let half = self.size >> 1;
        let (p, q) = secret.expose().split_at_checked(half).ok_or(ErrorCode::SPEC_DENIED)?;
        if q.len() != half {
            return Err(ErrorCode::SPEC_DENIED);
        }
        private(p, q)
    }

    fn public(&self, public: &PublicKeyBuf) -> Result<PublicKey, ErrorCode> {
        let key = PublicKey::from_public_key_der(public.as_bytes());
        key.ok().filter(|key| key.size() == self.size).ok_or(ErrorCode::SPEC_DENIED)
    }
}

fn private(p: &[u8], q: &[u8]) -> Result<PrivateKey, ErrorCode> {
    let integer = |bytes: &[u8]| {
        let bits = u32::try_from(bytes.len().saturating_mul(8)).ok()?;
        BoxedUint::from_be_slice(bytes, bits).ok()
    };
    let (p, q) = (integer(p).ok_or(ErrorCode::INTERNAL)?, integer(q).ok_or(ErrorCode::INTERNAL)?);
    PrivateKey::from_p_q(p, q, BoxedUint::from(PUBLIC_EXPONENT)).map_err(|_| ErrorCode::SPEC_DENIED)
}

/// A prime in `size` bytes.
fn prime(prime: &BoxedUint, size: usize) -> Result<Zeroizing<Vec<u8>>, ErrorCode> {
    let bytes = Zeroizing::new(prime.to_be_bytes().into_vec());
    let zeros = bytes.len().saturating_sub(size);
    match bytes.split_at_checked(zeros) {
        Some((zeros, prime)) if prime.len() == size && zeros.iter().all(|byte| *byte == 0) => {
            Ok(Zeroizing::new(prime.to_vec()))
        }
        _ => Err(ErrorCode::KEY_MATERIAL_INVALID),
    }
}

fn has_exponent(e: &BoxedUint) -> bool {
    let bytes = e.to_be_bytes();
    let significant = bytes.iter().skip_while(|byte| **byte == 0);
    significant.eq(PUBLIC_EXPONENT.to_be_bytes().iter().skip_while(|byte| **byte == 0))
}

fn write(bytes: &[u8], out: &mut [u8]) -> Result<usize, ErrorCode> {
    out.get_mut(..bytes.len()).ok_or(ErrorCode::TOO_LARGE)?.copy_from_slice(bytes);
    Ok(bytes.len())
}

/// Padding and hash of a signing algorithm.
#[derive(Clone, Copy)]
struct Scheme {
    pss: bool,
    hash: Hash,
}

#[derive(Clone, Copy)]
enum Hash {
    Sha256,
    Sha384,
    Sha512,
}

impl Scheme {
    fn of(algorithm: SigningAlgorithm) -> Result<Self, ErrorCode> {
        let (pss, hash) = match algorithm {
            SigningAlgorithm::RSASSA_PSS_SHA_256 => (true, Hash::Sha256),
            SigningAlgorithm::RSASSA_PSS_SHA_384 => (true, Hash::Sha384),
            SigningAlgorithm::RSASSA_PSS_SHA_512 => (true, Hash::Sha512),
            SigningAlgorithm::RSASSA_PKCS1_V1_5_SHA_256 => (false, Hash::Sha256),
            SigningAlgorithm::RSASSA_PKCS1_V1_5_SHA_384 => (false, Hash::Sha384),
            SigningAlgorithm::RSASSA_PKCS1_V1_5_SHA_512 => (false, Hash::Sha512),
            _ => return Err(ErrorCode::SPEC_DENIED),
        };
        Ok(Self { pss, hash })
    }

    fn digest(self, message: Message<'_>) -> Result<Vec<u8>, ErrorCode> {
        match self.hash {
            Hash::Sha256 => digest::<Sha256>(message),
            Hash::Sha384 => digest::<Sha384>(message),
            Hash::Sha512 => digest::<Sha512>(message),
        }
    }

    fn sign(
        self,
        key: &PrivateKey,
        digest: &[u8],
        rng: &mut dyn CryptoRng,
    ) -> Result<Vec<u8>, ErrorCode> {
        fn sign(
            key: &PrivateKey,
            scheme: impl SignatureScheme,
            digest: &[u8],
            rng: &mut dyn CryptoRng,
        ) -> rsa::Result<Vec<u8>> {
            key.sign_with_rng(rng, scheme, digest)
        }
        match (self.pss, self.hash) {
            (true, Hash::Sha256) => sign(key, Pss::<Sha256>::new(), digest, rng),
            (true, Hash::Sha384) => sign(key, Pss::<Sha384>::new(), digest, rng),
            (true, Hash::Sha512) => sign(key, Pss::<Sha512>::new(), digest, rng),
            (false, Hash::Sha256) => sign(key, Pkcs1v15Sign::new::<Sha256>(), digest, rng),
            (false, Hash::Sha384) => sign(key, Pkcs1v15Sign::new::<Sha384>(), digest, rng),
            (false, Hash::Sha512) => sign(key, Pkcs1v15Sign::new::<Sha512>(), digest, rng),
        }
        .map_err(|_| ErrorCode::INTERNAL)
    }

    fn verify(self, key: &PublicKey, digest: &[u8], signature: &[u8]) -> Result<(), ErrorCode> {
        match (self.pss, self.hash) {
            (true, Hash::Sha256) => key.verify(Pss::<Sha256>::new(), digest, signature),
            (true, Hash::Sha384) => key.verify(Pss::<Sha384>::new(), digest, signature),
            (true, Hash::Sha512) => key.verify(Pss::<Sha512>::new(), digest, signature),
            (false, Hash::Sha256) => key.verify(Pkcs1v15Sign::new::<Sha256>(), digest, signature),
            (false, Hash::Sha384) => key.verify(Pkcs1v15Sign::new::<Sha384>(), digest, signature),
            (false, Hash::Sha512) => key.verify(Pkcs1v15Sign::new::<Sha512>(), digest, signature),
        }
        .map_err(|_| ErrorCode::SIGNATURE_INVALID)
    }
}

fn digest<H: Digest>(message: Message<'_>) -> Result<Vec<u8>, ErrorCode> {
    match message {
        Message::Raw(message) => {
            let digest: Output<H> = H::digest(message);
            Ok(digest.to_vec())
        }
        Message::Digest(digest) if digest.len() == <H as Digest>::output_size() => {
            Ok(digest.to_vec())
        }
        Message::Digest(_) => Err(ErrorCode::MESSAGE_LENGTH),
        Message::ExternalMu(_) => Err(ErrorCode::SPEC_DENIED),
    }
}

/// Not random, for known answers: blinding with it changes no result.
struct Unblinded;

impl rand_core::TryRng for Unblinded {
    type Error = core::convert::Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Self::Error> {
        Ok(0x5555_5555)
    }

    fn try_next_u64(&mut self) -> Result<u64, Self::Error> {
        Ok(0x5555_5555_5555_5555)
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Self::Error> {
        out.fill(0x55);
        Ok(())
    }
}

impl rand_core::TryCryptoRng for Unblinded {}

fn test_signatures() -> Result<(), ErrorCode> {
    use known_answers::{MESSAGE, P, PSS_SIGNATURE, Q, SIGNATURE};

    let key = private(&P, &Q)?;
    let digest = digest::<Sha256>(Message::Raw(MESSAGE))?;
    let pkcs1 = Scheme { pss: false, hash: Hash::Sha256 };
    let mut signature = pkcs1.sign(&key, &digest, &mut Unblinded)?;
    fault::tamper(Kat::RsaSign, &mut signature);
    if !bool::from(signature.ct_eq(&SIGNATURE)) {
        return Err(ErrorCode::SELF_TEST_FAILED);
    }
    let pss = Scheme { pss: true, hash: Hash::Sha256 };
    let tests: [(Scheme, Kat, &[u8]); 2] =
        [(pkcs1, Kat::RsaVerify, &SIGNATURE), (pss, Kat::RsaPssVerify, &PSS_SIGNATURE)];
    for (scheme, kat, known) in tests {
        let mut digest = digest.clone();
        fault::tamper(kat, &mut digest);
        scheme.verify(key.as_public_key(), &digest, known)?;
    }
    Ok(())
}

fn test_decryption() -> Result<(), ErrorCode> {
    use known_answers::{CIPHERTEXT, P, PLAINTEXT, Q};

    let key = private(&P, &Q)?;
    let mut plaintext = oaep::decrypt::<Sha256>(&key, &CIPHERTEXT, &mut Unblinded)?;
    fault::tamper(Kat::RsaOaep, &mut plaintext);
    let equal = bool::from(plaintext.ct_eq(&PLAINTEXT));
    plaintext.zeroize();
    if equal { Ok(()) } else { Err(ErrorCode::SELF_TEST_FAILED) }
}

#[cfg(test)]
mod tests;
