//! SYMMETRIC_DEFAULT: AES-256-GCM (SP 800-38D) under a key derived for each message.
//!
//! The backing key encrypts nothing itself. Each message has a key of its own, from the backing
//! key, a random 16-byte nonce and the material id (SP 800-108). So the limit of 2^32 random
//! IVs under one key does not apply to the backing key.

use hsm_protocol::bytes::concat;
use hsm_protocol::key_spec::KeySpec;
use hsm_protocol::token::{Blob, IV_SIZE, NONCE_SIZE};
use hsm_protocol::{ErrorCode, MaterialId};
use rand_core::CryptoRng;

use super::{Algorithm, Binding};
use crate::aead;
use crate::kbkdf::{self, Purpose};
use crate::secret::{Secret, SecretBuf};

const KEY_SIZE: usize = 32;

/// The portable implementation.
#[derive(Clone, Copy, Debug)]
pub struct SymmetricDefault;

impl Algorithm for SymmetricDefault {
    fn spec(&self) -> KeySpec {
        KeySpec::SYMMETRIC_DEFAULT
    }

    fn self_test(&self) -> Result<(), ErrorCode> {
        kbkdf::self_test()?;
        aead::self_test()
    }

    fn generate(&self, rng: &mut dyn CryptoRng, out: &mut SecretBuf) -> Result<(), ErrorCode> {
        rng.fill_bytes(out.resize(KEY_SIZE)?);
        Ok(())
    }

    /// A symmetric key has no pair.
    fn pairwise_test(&self, _: &SecretBuf, _: &mut dyn CryptoRng) -> Result<(), ErrorCode> {
        Ok(())
    }

    fn import(&self, material: &[u8], out: &mut SecretBuf) -> Result<(), ErrorCode> {
        if material.len() != KEY_SIZE {
            return Err(ErrorCode::KEY_MATERIAL_INVALID);
        }
        out.resize(KEY_SIZE)?.copy_from_slice(material);
        Ok(())
    }

    fn encrypt(
        &self,
        secret: &SecretBuf,
        binding: &Binding<'_>,
        plaintext: &[u8],
        rng: &mut dyn CryptoRng,
        out: &mut [u8],
    ) -> Result<usize, ErrorCode> {
        let (nonce, iv) = draw(rng);
        let size = plaintext.len().checked_add(Blob::OVERHEAD).ok_or(ErrorCode::TOO_LARGE)?;
        let (out, scratch) = out.split_at_mut_checked(size).ok_or(ErrorCode::TOO_LARGE)?;
        let blob = Blob::write(binding.key, binding.material, &nonce, &iv, plaintext.len(), out)?;
        blob.body.copy_from_slice(plaintext);

        let aad = additional_data(blob.header, binding.context, scratch)?;
        let key = message_key(secret, &nonce, binding.material)?;
        *blob.tag = aead::seal(&key, &iv, aad, blob.body)?;
        Ok(size)
    }

    fn decrypt(
        &self,
        secret: &SecretBuf,
        binding: &Binding<'_>,
        ciphertext: &[u8],
        out: &mut [u8],
    ) -> Result<usize, ErrorCode> {
        let blob = Blob::parse(ciphertext)?;
        if blob.key != binding.key || blob.material != *binding.material {
            return Err(ErrorCode::CIPHERTEXT_INVALID);
        }
        let (sealed, tag) = blob.sealed.split_last_chunk().ok_or(ErrorCode::CIPHERTEXT_INVALID)?;
        let (body, scratch) = out.split_at_mut_checked(sealed.len()).ok_or(ErrorCode::TOO_LARGE)?;
        body.copy_from_slice(sealed);

        let aad = additional_data(blob.header, binding.context, scratch)?;
        let key = message_key(secret, blob.nonce, binding.material)?;
        aead::open(&key, blob.iv, aad, body, tag, ErrorCode::CIPHERTEXT_INVALID)?;
        Ok(body.len())
    }
}

/// The two random parts of a blob, in one request to the DRBG.
fn draw(rng: &mut dyn CryptoRng) -> ([u8; NONCE_SIZE], [u8; IV_SIZE]) {
    let mut random = [0; NONCE_SIZE + IV_SIZE];
    rng.fill_bytes(&mut random);
    let mut parts = ([0; NONCE_SIZE], [0; IV_SIZE]);
    let (nonce, iv) = random.split_at(NONCE_SIZE);
    parts.0.copy_from_slice(nonce);
    parts.1.copy_from_slice(iv);
    parts
}

/// Header and context in one piece; the cipher takes no less.
fn additional_data<'a>(
    header: &'a [u8],
    context: &[u8],
    scratch: &'a mut [u8],
) -> Result<&'a [u8], ErrorCode> {
    if context.is_empty() {
        return Ok(header);
    }
    concat(scratch, &[header, context]).map(|aad| &*aad).ok_or(ErrorCode::TOO_LARGE)
}

fn message_key(
    secret: &SecretBuf,
    nonce: &[u8; NONCE_SIZE],
    material: &MaterialId,
) -> Result<Secret<32>, ErrorCode> {
    let backing_key = secret.expose_exact::<KEY_SIZE>()?;
    let mut key = Secret::zeroed();
    kbkdf::derive(
        backing_key,
        Purpose::MessageEncryption,
        &[nonce, material.as_bytes()],
        &mut key,
    )?;
    Ok(key)
}

#[cfg(test)]
mod tests {
    use hsm_protocol::KeyId;

    use super::*;
    use crate::drbg::Drbg;

    const MATERIAL: MaterialId = MaterialId([9; 32]);

    fn binding(context: &[u8]) -> Binding<'_> {
        Binding { key: KeyId::single_region([1; 16]), material: &MATERIAL, context }
    }

    fn encrypt(plaintext: &[u8], context: &[u8]) -> std::vec::Vec<u8> {
        let mut drbg = Drbg::instantiate(&Secret::zeroed(), &[3; 48]);
        let secret = SecretBuf::copy_from(&[5; 32]).unwrap();
        let mut out = std::vec![0; 16384];
        let len = SymmetricDefault
            .encrypt(&secret, &binding(context), plaintext, &mut drbg, &mut out)
            .unwrap();
        out.truncate(len);
        out
    }

    fn decrypt(blob: &[u8], context: &[u8]) -> Result<std::vec::Vec<u8>, ErrorCode> {
        let secret = SecretBuf::copy_from(&[5; 32]).unwrap();
        let mut out = std::vec![0; 16384];
        let len = SymmetricDefault.decrypt(&secret, &binding(context), blob, &mut out)?;
        out.truncate(len);
        Ok(out)
    }

    #[test]
    fn round_trips_and_refuses_every_changed_byte() {
        let blob = encrypt(b"attack at dawn", b"context");
        assert_eq!(blob.len(), 14 + Blob::OVERHEAD);
        assert_eq!(decrypt(&blob, b"context").unwrap(), b"attack at dawn");
        assert_eq!(decrypt(&blob, b"contexT"), Err(ErrorCode::CIPHERTEXT_INVALID));
        assert_eq!(decrypt(&blob, b""), Err(ErrorCode::CIPHERTEXT_INVALID));
        for i in 0..blob.len() {
            let mut bad = blob.clone();
            bad[i] ^= 0x40;
            assert_eq!(decrypt(&bad, b"context"), Err(ErrorCode::CIPHERTEXT_INVALID), "byte {i}");
        }
        for len in 0..blob.len() {
            assert_eq!(decrypt(&blob[..len], b"context"), Err(ErrorCode::CIPHERTEXT_INVALID));
        }
    }

    #[test]
    fn largest_plaintext_and_context_round_trip() {
        let blob = encrypt(&[0xaa; 4096], &[0xbb; 8192]);
        assert_eq!(decrypt(&blob, &[0xbb; 8192]).unwrap(), [0xaa; 4096]);
    }

    #[test]
    fn only_32_bytes_are_imported() {
        let mut secret = SecretBuf::new();
        for length in 0..=64 {
            let imported = SymmetricDefault.import(&[7; 64][..length], &mut secret);
            let expected =
                if length == KEY_SIZE { Ok(()) } else { Err(ErrorCode::KEY_MATERIAL_INVALID) };
            assert_eq!(imported, expected, "{length}");
        }
        assert_eq!(secret.expose(), [7; KEY_SIZE]);
    }

    #[test]
    fn a_small_buffer_is_an_error() {
        let mut drbg = Drbg::instantiate(&Secret::zeroed(), &[3; 48]);
        let secret = SecretBuf::copy_from(&[5; 32]).unwrap();
        for size in 0..4 + Blob::OVERHEAD + Blob::HEADER_SIZE + 1 {
            let mut out = std::vec![0; size];
            let result =
                SymmetricDefault.encrypt(&secret, &binding(b"c"), b"four", &mut drbg, &mut out);
            assert_eq!(result, Err(ErrorCode::TOO_LARGE), "{size}");
        }
    }
}
