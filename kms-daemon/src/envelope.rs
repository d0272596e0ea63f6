//! Ciphertext blobs as the daemon sees them: which key, and which of its materials, made them.
//!
//! A blob is authenticated only inside a device. What is read here decides where to send it.

use hsm_protocol::MaterialId;
use hsm_protocol::token::Blob;

use kms_base::error::{Exception, KmsError};
use kms_base::identifier::KeyId;

/// A blob whose layout is known.
#[derive(Debug, Clone, Copy)]
pub struct Envelope<'a> {
    /// The key it claims to be encrypted under.
    pub key: KeyId,
    /// The key material it claims.
    pub material: MaterialId,
    /// The whole blob.
    pub bytes: &'a [u8],
}

impl<'a> Envelope<'a> {
    /// Reads the layout of a blob.
    ///
    /// # Errors
    /// [`Exception::InvalidCiphertext`].
    pub fn parse(bytes: &'a [u8]) -> Result<Self, KmsError> {
        let blob = Blob::parse(bytes).map_err(|_| KmsError::bare(Exception::InvalidCiphertext))?;
        Ok(Self { key: blob.key.into(), material: blob.material, bytes })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn key_and_material_are_found() {
        let key = KeyId::random();
        let material = MaterialId([9; 32]);
        let mut bytes = vec![0; Blob::OVERHEAD + 5];
        Blob::write(key.device(), &material, &[1; 16], &[2; 12], 5, &mut bytes).unwrap();
        let envelope = Envelope::parse(&bytes).unwrap();
        assert_eq!((envelope.key, envelope.material), (key, material));
        for damaged in [&bytes[..Blob::OVERHEAD], &bytes[1..], b""] {
            let refusal = Envelope::parse(damaged).unwrap_err();
            assert_eq!(refusal, KmsError::bare(Exception::InvalidCiphertext));
        }
    }

    proptest! {
        #[test]
        fn no_blob_makes_parsing_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Envelope::parse(&bytes);
        }
    }
}
