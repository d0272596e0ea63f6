//! The parts of a ciphertext, and what stands for key material in them.

use hsm_protocol::token::{Blob, IV_SIZE, NONCE_SIZE, TAG_SIZE};
use hsm_protocol::{KeyId, MaterialId};
use sha2::{Digest, Sha256};

/// Length of `ciphertextMetadata`, in bytes: as long as AWS KMS takes it.
pub const CIPHERTEXT_METADATA: usize = 20;
/// Version of the form of `ciphertextMetadata`. Another form gets another number.
const VERSION: u8 = 1;
/// Bytes of the id of key material that there is room for.
const MATERIAL: usize = CIPHERTEXT_METADATA - 1 - NONCE_SIZE;

/// `ciphertextMetadata`:
///
/// ```text
/// version 0x01 | first bytes of the material id [3] | nonce [16]
/// ```
/// The device authenticates nonce and material id, as they are in the header of its blob. Ids of
/// material are pseudo-random, so that three bytes of them nearly always say which material of a key it
/// is; if they do not, the few that begin alike are tried. A number in the key's list of materials would
/// be shorter, but would be wrong after a restore or in another Region that lists them differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CiphertextMetadata {
    material: [u8; MATERIAL],
    nonce: [u8; NONCE_SIZE],
}

impl CiphertextMetadata {
    /// Reads the metadata of a ciphertext; `None` if the proxy cannot have written them.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let ([VERSION], rest) = bytes.split_first_chunk()? else { return None };
        let (material, rest) = rest.split_first_chunk()?;
        Some(Self { material: *material, nonce: rest.try_into().ok()? })
    }

    /// Returns the metadata as they are sent.
    #[must_use]
    pub fn to_bytes(self) -> [u8; CIPHERTEXT_METADATA] {
        let mut bytes = [VERSION; CIPHERTEXT_METADATA];
        bytes[1..=MATERIAL].copy_from_slice(&self.material);
        bytes[1 + MATERIAL..].copy_from_slice(&self.nonce);
        bytes
    }

    /// Whether the ciphertext may be of this material.
    #[must_use]
    pub fn may_be_of(&self, material: &MaterialId) -> bool {
        material.as_bytes().starts_with(&self.material)
    }
}

/// The parts of a ciphertext, as the API has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parts<'c> {
    /// As long as the plaintext.
    pub ciphertext: &'c [u8],
    /// `initializationVector`.
    pub iv: &'c [u8; IV_SIZE],
    /// `authenticationTag`.
    pub tag: &'c [u8; TAG_SIZE],
    /// `ciphertextMetadata`.
    pub metadata: CiphertextMetadata,
}

impl<'c> Parts<'c> {
    /// Takes a blob of a device apart; `None` if it is not one.
    #[must_use]
    pub fn of_blob(blob: &'c [u8]) -> Option<Self> {
        let blob = Blob::parse(blob).ok()?;
        let (ciphertext, tag) = blob.sealed.split_last_chunk()?;
        let metadata = CiphertextMetadata {
            material: *blob.material.as_bytes().first_chunk()?,
            nonce: *blob.nonce,
        };
        Some(Self { ciphertext, iv: blob.iv, tag, metadata })
    }

    /// Puts the blob of a key and of one of its materials together. The device decides whether it is one.
    #[must_use]
    pub fn to_blob(&self, key: KeyId, material: &MaterialId) -> Option<Vec<u8>> {
        let (nonce, length) = (&self.metadata.nonce, self.ciphertext.len());
        let mut blob = vec![0; length.checked_add(Blob::OVERHEAD)?];
        let parts = Blob::write(key, material, nonce, self.iv, length, &mut blob).ok()?;
        parts.body.copy_from_slice(self.ciphertext);
        *parts.tag = *self.tag;
        Some(blob)
    }

    /// Returns `ciphertextDataIntegrityValue` of these parts and the additional authenticated data.
    #[must_use]
    pub fn integrity(&self, aad: &[u8]) -> [u8; 32] {
        integrity([aad, &self.metadata.to_bytes(), self.iv, self.ciphertext, self.tag])
    }
}

/// SHA-256 over additional authenticated data, metadata, IV, ciphertext and tag, without lengths.
fn integrity(parts: [&[u8]; 5]) -> [u8; 32] {
    let digest = parts.iter().fold(Sha256::new(), |digest, part| digest.chain_update(part));
    digest.finalize().into()
}

#[cfg(test)]
mod tests {
    use kms_base::hex;
    use proptest::prelude::*;

    use super::*;

    fn blob(material: u8) -> (KeyId, MaterialId, Vec<u8>) {
        let (key, material) = (KeyId::single_region([7; 16]), MaterialId([material; 32]));
        let mut out = vec![0; Blob::OVERHEAD + 5];
        let parts = Blob::write(key, &material, &[2; 16], &[3; 12], 5, &mut out).unwrap();
        parts.body.copy_from_slice(b"hello");
        *parts.tag = [4; 16];
        (key, material, out)
    }

    #[test]
    fn a_blob_is_taken_apart_and_put_together() {
        let (key, material, blob) = blob(9);
        let parts = Parts::of_blob(&blob).unwrap();
        assert_eq!((parts.ciphertext, parts.iv, parts.tag), (&b"hello"[..], &[3; 12], &[4; 16]));
        let sent = parts.metadata.to_bytes();
        assert_eq!(hex::encode(&sent), format!("01090909{}", "02".repeat(16)));
        let metadata = CiphertextMetadata::parse(&sent).unwrap();
        assert!(metadata.may_be_of(&material) && !metadata.may_be_of(&MaterialId([8; 32])));
        assert_eq!(Parts { metadata, ..parts }.to_blob(key, &material), Some(blob));
    }

    #[test]
    fn metadata_of_another_form_are_refused() {
        let sent = Parts::of_blob(&blob(9).2).unwrap().metadata.to_bytes();
        for length in 0..sent.len() {
            assert_eq!(CiphertextMetadata::parse(&sent[..length]), None);
        }
        assert_eq!(CiphertextMetadata::parse(&[&sent[..], b"x"].concat()), None);
        let other = [&[2], &sent[1..]].concat();
        assert_eq!(CiphertextMetadata::parse(&other), None, "another version");
    }

    /// The test vector of the specification of the API.
    #[test]
    fn the_integrity_value_is_that_of_the_specification() {
        let iv: [u8; 12] = hex::decode("1ccae5470f39700254779031").unwrap();
        let ciphertext: [u8; 12] = hex::decode("821c642b5b71783367deaf18").unwrap();
        let tag: [u8; 16] = hex::decode("bc1c4dda7707d6812447c5955e99b261").unwrap();
        let value = integrity([
            b"project=nile,department=marketing",
            b"key_version=1",
            &iv,
            &ciphertext,
            &tag,
        ]);
        let expected = "a8703f2260bd8791ec2d15ea0b23e65a0631eedcf2a13a65cc82db3f47cf5ec7";
        assert_eq!(hex::encode(&value), expected);
    }

    proptest! {
        #[test]
        fn parts_of_anything(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = CiphertextMetadata::parse(&bytes);
            if let Some(parts) = Parts::of_blob(&bytes) {
                let blob = Blob::parse(&bytes).unwrap();
                prop_assert_eq!(parts.to_blob(blob.key, &blob.material), Some(bytes.clone()));
            }
        }
    }
}
