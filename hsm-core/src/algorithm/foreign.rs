//! The self-test of registry entries that a platform brings: the known answers of the portable
//! entry of the same key spec, asked for through [`Algorithm`] alone.
//!
//! Where an entry draws its randomness itself, its signature cannot be compared; it is verified.

use core::convert::Infallible;

use hsm_protocol::ErrorCode;
use hsm_protocol::key_spec::{EncryptionAlgorithm, KeySpec, MAX_SECRET, SigningAlgorithm};
use rand_core::{TryCryptoRng, TryRng};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::ecc::{NamedCurve, der};
use super::ml_dsa::{KAT_MESSAGE, KAT_SEED, Set};
use super::{Algorithm, Message, PublicKeyBuf, rsa};
use crate::fault::{self, Kat};
use crate::secret::SecretBuf;

/// Length of the longest RSA signature and plaintext here, in bytes.
const RSA_SIZE: usize = 256;
/// Length of the longest ML-DSA signature, in bytes.
const ML_DSA_SIZE: usize = hsm_protocol::key_spec::MAX_SIGNATURE;

/// Known answers of an entry for a NIST curve, or ML-DSA; for RSA, of the entry of 2048 bits.
///
/// # Errors
/// [`ErrorCode::SELF_TEST_FAILED`]; [`ErrorCode::UNSUPPORTED`] for other key specs.
pub fn test_foreign(entry: &dyn Algorithm) -> Result<(), ErrorCode> {
    match entry.spec() {
        KeySpec::ECC_NIST_P256 => curve::<p256::NistP256>(entry),
        KeySpec::ECC_NIST_P384 => curve::<p384::NistP384>(entry),
        KeySpec::ECC_NIST_P521 => curve::<p521::NistP521>(entry),
        KeySpec::RSA_2048 => rsa_2048(entry),
        KeySpec::ML_DSA_44 => ml_dsa_set::<ml_dsa::MlDsa44>(entry),
        KeySpec::ML_DSA_65 => ml_dsa_set::<ml_dsa::MlDsa65>(entry),
        KeySpec::ML_DSA_87 => ml_dsa_set::<ml_dsa::MlDsa87>(entry),
        _ => return Err(ErrorCode::UNSUPPORTED),
    }
    .map_err(|_| ErrorCode::SELF_TEST_FAILED)
}

fn compare(answer: &[u8], known: &[u8]) -> Result<(), ErrorCode> {
    match bool::from(answer.ct_eq(known)) {
        true => Ok(()),
        false => Err(ErrorCode::SELF_TEST_FAILED),
    }
}

fn curve<C: NamedCurve>(entry: &dyn Algorithm) -> Result<(), ErrorCode> {
    let kat = C::SIGNATURE_KAT;
    let secret = SecretBuf::copy_from(kat.secret)?;
    let mut public = PublicKeyBuf::new();
    entry.public_key(&secret, &mut public)?;
    let point = public.as_bytes().strip_prefix(C::SPKI_PREFIX);
    compare(point.unwrap_or_default(), kat.public)?;

    let message = Message::Raw(kat.message);
    let mut made = [0; der::MAX_SIZE];
    let length = entry.sign(&secret, C::ALGORITHM, message, &mut Fixed, &mut made)?;
    let made = made.get_mut(..length).ok_or(ErrorCode::SELF_TEST_FAILED)?;
    fault::tamper(kat.sign, made);
    entry.verify(&public, C::ALGORITHM, message, made)?;

    let half = kat.signature.len() >> 1;
    let (r, s) = kat.signature.split_at_checked(half).ok_or(ErrorCode::SELF_TEST_FAILED)?;
    let mut known = [0; der::MAX_SIZE];
    let length = der::encode(r, s, &mut known)?;
    let known = known.get_mut(..length).ok_or(ErrorCode::SELF_TEST_FAILED)?;
    fault::tamper(kat.verify, known);
    entry.verify(&public, C::ALGORITHM, message, known)?;

    let Some(kat) = C::AGREEMENT_KAT else { return Ok(()) };
    public.set(&[C::SPKI_PREFIX, kat.peer])?;
    let mut shared = SecretBuf::new();
    entry.agree(&SecretBuf::copy_from(kat.secret)?, public.as_bytes(), &mut shared)?;
    let mut answer = Zeroizing::new([0; MAX_SECRET]);
    let answer = hsm_protocol::bytes::concat(&mut *answer, &[shared.expose()]);
    let answer = answer.ok_or(ErrorCode::SELF_TEST_FAILED)?;
    fault::tamper(kat.kat, answer);
    compare(answer, kat.shared)
}

fn rsa_2048(entry: &dyn Algorithm) -> Result<(), ErrorCode> {
    use rsa::known_answers::{CIPHERTEXT, MESSAGE, P, PLAINTEXT, PSS_SIGNATURE, Q, SIGNATURE};
    const PKCS1: SigningAlgorithm = SigningAlgorithm::RSASSA_PKCS1_V1_5_SHA_256;
    const PSS: SigningAlgorithm = SigningAlgorithm::RSASSA_PSS_SHA_256;

    let mut secret = SecretBuf::new();
    let parts: [&[u8]; 2] = [&P, &Q];
    hsm_protocol::bytes::concat(secret.resize(RSA_SIZE)?, &parts).ok_or(ErrorCode::INTERNAL)?;
    let mut public = PublicKeyBuf::new();
    entry.public_key(&secret, &mut public)?;

    let message = Message::Raw(MESSAGE);
    let mut answer = Zeroizing::new([0; RSA_SIZE]);
    entry.sign(&secret, PKCS1, message, &mut Fixed, &mut *answer)?;
    fault::tamper(Kat::RsaSign, &mut *answer);
    compare(&*answer, &SIGNATURE)?;
    for (algorithm, kat, mut known) in
        [(PKCS1, Kat::RsaVerify, SIGNATURE), (PSS, Kat::RsaPssVerify, PSS_SIGNATURE)]
    {
        fault::tamper(kat, &mut known);
        entry.verify(&public, algorithm, message, &known)?;
    }
    let oaep = EncryptionAlgorithm::RSAES_OAEP_SHA_256;
    let length = entry.decrypt_private(&secret, oaep, &CIPHERTEXT, &mut Fixed, &mut *answer)?;
    let plaintext = answer.get_mut(..length).ok_or(ErrorCode::SELF_TEST_FAILED)?;
    fault::tamper(Kat::RsaOaep, plaintext);
    compare(plaintext, &PLAINTEXT)
}

/// The known signature is the portable implementation's, whose hash is known.
fn ml_dsa_set<P: Set>(entry: &dyn Algorithm) -> Result<(), ErrorCode> {
    const ALGORITHM: SigningAlgorithm = SigningAlgorithm::ML_DSA_SHAKE_256;
    let secret = SecretBuf::copy_from(&KAT_SEED)?;
    let mut public = PublicKeyBuf::new();
    entry.public_key(&secret, &mut public)?;
    let (_, key) = public.as_bytes().split_at_checked(22).ok_or(ErrorCode::SELF_TEST_FAILED)?;
    let mut answer: [u8; 32] = Sha256::digest(key).into();
    fault::tamper(Kat::MlDsaKeyGen, &mut answer);
    compare(&answer, &P::PUBLIC_KAT)?;

    let message = Message::Raw(KAT_MESSAGE);
    let mut signature = [0; ML_DSA_SIZE];
    let length = entry.sign(&secret, ALGORITHM, message, &mut Fixed, &mut signature)?;
    let made = signature.get_mut(..length).ok_or(ErrorCode::SELF_TEST_FAILED)?;
    fault::tamper(Kat::MlDsaSign, made);
    entry.verify(&public, ALGORITHM, message, made)?;

    let length = P::sign(&KAT_SEED, KAT_MESSAGE, &[0; 32], &mut signature)?;
    let known = signature.get_mut(..length).ok_or(ErrorCode::SELF_TEST_FAILED)?;
    let hash: [u8; 32] = Sha256::digest(&*known).into();
    compare(&hash, &P::SIGNATURE_KAT)?;
    fault::tamper(Kat::MlDsaVerify, known);
    entry.verify(&public, ALGORITHM, message, known)
}

/// Not random; for entries that draw here what they do not compare.
struct Fixed;

impl TryRng for Fixed {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok(0x5555_5555)
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(0x5555_5555_5555_5555)
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Infallible> {
        out.fill(0x55);
        Ok(())
    }
}

impl TryCryptoRng for Fixed {}
