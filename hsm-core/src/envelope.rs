//! CMS EnvelopedData (RFC 5652 6) for one RSA key: RSAES-OAEP with SHA-256 (RFC 4055 4.1) around
//! an AES-256-CBC key (RFC 3565).
//!
//! The form is the one that enclaves read: one KeyTransRecipientInfo that names its key by the
//! subject key identifier, every algorithm's parameters written out. CBC is not authenticated:
//! integrity is that of the channel the envelope travels on.

use aes::Aes256;
use cbc::cipher::block_padding::Pkcs7;
use cbc::cipher::{BlockModeEncrypt, KeyIvInit};
use hex_literal::hex;
use hsm_protocol::ErrorCode;
use hsm_protocol::key_spec::{EncryptionAlgorithm, KeySpec};
use pkcs8::spki::SubjectPublicKeyInfoRef;
use rand_core::CryptoRng;
use sha1::{Digest, Sha1};
use subtle::ConstantTimeEq;

use crate::algorithm::{Algorithm, PublicKeyBuf};
use crate::fault::{self, Kat};
use crate::secret::Secret;

const BLOCK: usize = 16;
/// Longest RSA ciphertext, in bytes.
const MAX_RSA: usize = 512;
/// Bytes of an envelope besides its content: headers, the encrypted key, padding.
pub const OVERHEAD: usize = 256 + MAX_RSA;

const INTEGER_2: [u8; 3] = hex!("020102");
const OID_ENVELOPED_DATA: [u8; 11] = hex!("06092a864886f70d010703");
const OID_DATA: [u8; 11] = hex!("06092a864886f70d010701");
const OID_AES256_CBC: [u8; 11] = hex!("0609608648016503040 12a");
/// `AlgorithmIdentifier` of RSAES-OAEP: SHA-256, MGF1 with SHA-256, no label.
const RSAES_OAEP: [u8; 62] = hex!(
    "303c 06092a864886f70d010107 302f"
    "a00f 300d 0609608648016503040201 0500"
    "a11c 301a 06092a864886f70d010108 300d 0609608648016503040201 0500"
);

const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const OCTET_STRING: u8 = 0x04;
/// `[0]`, primitive and constructed.
const CONTEXT_0: u8 = 0x80;
const CONTEXT_0_CONSTRUCTED: u8 = 0xa0;

/// The size of an RSA key, by the length of its `SubjectPublicKeyInfo`, of which the modulus is all
/// but some 40 bytes. Whether it is such a key shows when it is used.
///
/// # Errors
/// [`ErrorCode::ATTESTATION_MALFORMED`] for any other length.
pub fn spec_of(public_key: &[u8]) -> Result<KeySpec, ErrorCode> {
    match public_key.len() {
        270..320 => Ok(KeySpec::RSA_2048),
        400..450 => Ok(KeySpec::RSA_3072),
        530..580 => Ok(KeySpec::RSA_4096),
        _ => Err(ErrorCode::ATTESTATION_MALFORMED),
    }
}

/// Encrypts a content-encryption key to the front of `out`; returns the ciphertext's length. `rsa`
/// is the registry entry of [`spec_of`] the key.
///
/// # Errors
/// [`ErrorCode::ATTESTATION_MALFORMED`] if it is not an RSA key of that size.
pub fn encrypt_key(
    rsa: &dyn Algorithm,
    public_key: &[u8],
    key: &Secret<32>,
    rng: &mut dyn CryptoRng,
    out: &mut [u8],
) -> Result<usize, ErrorCode> {
    let mut public = PublicKeyBuf::new();
    public.set(&[public_key])?;
    let algorithm = EncryptionAlgorithm::RSAES_OAEP_SHA_256;
    rsa.encrypt_public(&public, algorithm, key.expose(), rng, out)
        .map_err(|_| ErrorCode::ATTESTATION_MALFORMED)
}

/// Seals `content` to an RSA key, DER `SubjectPublicKeyInfo`, into the front of `out`; returns the
/// envelope's length, at most [`OVERHEAD`] more than the content's.
///
/// # Errors
/// [`ErrorCode::TOO_LARGE`] if `out` is too short; those of [`encrypt_key`].
pub fn seal_to(
    rsa: &dyn Algorithm,
    public_key: &[u8],
    content: &[u8],
    rng: &mut dyn CryptoRng,
    out: &mut [u8],
) -> Result<usize, ErrorCode> {
    let (mut key, mut iv) = (Secret::<32>::zeroed(), [0; BLOCK]);
    rng.fill_bytes(key.expose_mut());
    rng.fill_bytes(&mut iv);
    let mut encrypted_key = [0; MAX_RSA];
    let length = encrypt_key(rsa, public_key, &key, rng, &mut encrypted_key)?;
    let encrypted_key = encrypted_key.get(..length).unwrap_or_default();

    let mut der = Backwards::new(out);
    let end = der.start;
    der.encrypt(&key, &iv, content)?;
    der.wrap(CONTEXT_0, end)?;
    let algorithm = der.start;
    der.prepend(&iv)?;
    der.wrap(OCTET_STRING, algorithm)?;
    der.prepend(&OID_AES256_CBC)?;
    der.wrap(SEQUENCE, algorithm)?;
    der.prepend(&OID_DATA)?;
    der.wrap(SEQUENCE, end)?;

    let recipient = der.start;
    der.prepend(encrypted_key)?;
    der.wrap(OCTET_STRING, recipient)?;
    der.prepend(&RSAES_OAEP)?;
    let name = der.start;
    der.prepend(&key_identifier(public_key)?)?;
    der.wrap(CONTEXT_0, name)?;
    der.prepend(&INTEGER_2)?;
    der.wrap(SEQUENCE, recipient)?;
    der.wrap(SET, recipient)?;

    der.prepend(&INTEGER_2)?;
    der.wrap(SEQUENCE, end)?;
    der.wrap(CONTEXT_0_CONSTRUCTED, end)?;
    der.prepend(&OID_ENVELOPED_DATA)?;
    der.wrap(SEQUENCE, end)?;
    Ok(der.finish())
}

/// SHA-1 of the key's bit string (RFC 5280 4.2.1.2): a name, not a matter of security.
fn key_identifier(public_key: &[u8]) -> Result<[u8; 20], ErrorCode> {
    let malformed = ErrorCode::ATTESTATION_MALFORMED;
    let info = SubjectPublicKeyInfoRef::try_from(public_key).map_err(|_| malformed)?;
    let bits = info.subject_public_key.as_bytes().ok_or(malformed)?;
    Ok(Sha1::digest(bits).into())
}

/// DER written from its end to its start, where each length is known when it is needed.
struct Backwards<'o> {
    out: &'o mut [u8],
    /// Where what is written starts.
    start: usize,
}

impl<'o> Backwards<'o> {
    const fn new(out: &'o mut [u8]) -> Self {
        let start = out.len();
        Self { out, start }
    }

    /// Makes room for `length` bytes before what is there.
    fn room(&mut self, length: usize) -> Result<&mut [u8], ErrorCode> {
        let start = self.start.checked_sub(length).ok_or(ErrorCode::TOO_LARGE)?;
        let room = self.out.get_mut(start..self.start).ok_or(ErrorCode::TOO_LARGE)?;
        self.start = start;
        Ok(room)
    }

    fn prepend(&mut self, bytes: &[u8]) -> Result<(), ErrorCode> {
        self.room(bytes.len())?.copy_from_slice(bytes);
        Ok(())
    }

    /// Makes one element of what is there up to `end`.
    fn wrap(&mut self, tag: u8, end: usize) -> Result<(), ErrorCode> {
        let length = end.checked_sub(self.start).ok_or(ErrorCode::INTERNAL)?;
        let length = u16::try_from(length).map_err(|_| ErrorCode::TOO_LARGE)?;
        match length.to_be_bytes() {
            [0, short @ ..0x80] => self.prepend(&[tag, short]),
            [0, byte] => self.prepend(&[tag, 0x81, byte]),
            [high, low] => self.prepend(&[tag, 0x82, high, low]),
        }
    }

    /// Prepends the ciphertext of `content` (SP 800-38A 6.2), padded (RFC 5652 6.3).
    fn encrypt(
        &mut self,
        key: &Secret<32>,
        iv: &[u8; BLOCK],
        content: &[u8],
    ) -> Result<(), ErrorCode> {
        let length = content.len();
        let padding = BLOCK.saturating_sub(length & (BLOCK - 1));
        let body = self.room(length.checked_add(padding).ok_or(ErrorCode::TOO_LARGE)?)?;
        body.get_mut(..length).ok_or(ErrorCode::INTERNAL)?.copy_from_slice(content);
        cbc::Encryptor::<Aes256>::new(key.expose().into(), iv.into())
            .encrypt_padded::<Pkcs7>(body, length)
            .map(|_| ())
            .map_err(|_| ErrorCode::INTERNAL)
    }

    /// Moves what is written to the front; returns its length.
    fn finish(self) -> usize {
        let length = self.out.len().saturating_sub(self.start);
        self.out.copy_within(self.start.., 0);
        length
    }
}

/// Known answer of AES-256-CBC encryption (SP 800-38A F.2.5, its first block, and the padding).
///
/// # Errors
/// [`ErrorCode::SELF_TEST_FAILED`].
pub fn self_test() -> Result<(), ErrorCode> {
    const KEY: [u8; 32] = hex!("603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4");
    const IV: [u8; BLOCK] = hex!("000102030405060708090a0b0c0d0e0f");
    const PLAINTEXT: [u8; BLOCK] = hex!("6bc1bee22e409f96e93d7e117393172a");
    const CIPHERTEXT: [u8; BLOCK] = hex!("f58c4c04d6e5f1ba779eabfb5f7bfbd6");

    let mut out = [0; 2 * BLOCK];
    Backwards::new(&mut out).encrypt(&Secret::copy_from(&KEY), &IV, &PLAINTEXT)?;
    fault::tamper(Kat::AesCbc, &mut out);
    let first = out.first_chunk().unwrap_or(&[0; BLOCK]);
    match bool::from(first.ct_eq(&CIPHERTEXT)) {
        true => Ok(()),
        false => Err(ErrorCode::SELF_TEST_FAILED),
    }
}
