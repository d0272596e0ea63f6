//! Ciphertext blobs as the daemon sees them: which key, and which of its materials, made them.
//!
//! A blob is authenticated only inside a device. What is read here decides where to send it. A ciphertext of a
//! key in an external key store has a second layer around the blob, which its proxy takes off.

use hsm_protocol::MaterialId;
use hsm_protocol::token::Blob;

use kms_base::error::{Exception, KmsError};
use kms_base::identifier::KeyId;
use kms_xks::Outer;

/// A blob whose layout is known.
#[derive(Debug, Clone, Copy)]
pub struct Envelope<'a> {
    /// The key it claims to be encrypted under.
    pub key: KeyId,
    /// The key material it claims.
    pub material: MaterialId,
    /// The whole blob.
    pub bytes: &'a [u8],
    layer: Layer<'a>,
}

/// What is around the blob of a device.
#[derive(Debug, Clone, Copy)]
enum Layer<'a> {
    /// Nothing.
    None,
    /// What a proxy has encrypted.
    Outer(Outer<'a>),
    /// Nothing any more: a proxy has decrypted it.
    Opened,
}

impl<'a> Envelope<'a> {
    /// Reads the layout of a blob.
    ///
    /// # Errors
    /// [`Exception::InvalidCiphertext`].
    pub fn parse(bytes: &'a [u8]) -> Result<Self, KmsError> {
        if let Some(outer) = Outer::parse(bytes) {
            let (key, material) = (outer.key.into(), outer.material);
            return Ok(Self { key, material, bytes, layer: Layer::Outer(outer) });
        }
        let blob = Blob::parse(bytes).map_err(|_| KmsError::bare(Exception::InvalidCiphertext))?;
        Ok(Self { key: blob.key.into(), material: blob.material, bytes, layer: Layer::None })
    }

    /// What a proxy has to decrypt first, if it has to.
    #[must_use]
    pub const fn outer(&self) -> Option<&Outer<'a>> {
        match &self.layer {
            Layer::Outer(outer) => Some(outer),
            Layer::None | Layer::Opened => None,
        }
    }

    /// The blob that a proxy has decrypted; `None` if it is not one of the key and the material that this
    /// ciphertext names.
    #[must_use]
    pub fn opened<'o>(&self, inner: &'o [u8]) -> Option<Envelope<'o>> {
        let holds = self.outer().is_some_and(|outer| outer.holds(inner));
        let (key, material) = (self.key, self.material);
        holds.then_some(Envelope { key, material, bytes: inner, layer: Layer::Opened })
    }

    /// Whether a device may decrypt it with a key, which is in an external key store or is not. The blob of
    /// such a key alone is worth nothing: whoever had it from the proxy would do without the proxy then.
    #[must_use]
    pub const fn is_bare(&self, is_external: bool) -> bool {
        match self.layer {
            Layer::None => !is_external,
            Layer::Outer(_) => false,
            Layer::Opened => is_external,
        }
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

    #[test]
    fn both_layers_are_needed_where_there_are_two() {
        let (key, material) = (KeyId::random(), MaterialId([9; 32]));
        let mut inner = vec![0; Blob::OVERHEAD + 5];
        Blob::write(key.device(), &material, &[1; 16], &[2; 12], 5, &mut inner).unwrap();
        let plain = Envelope::parse(&inner).unwrap();
        assert!(plain.is_bare(false) && !plain.is_bare(true));
        let made = kms_xks::Encrypted {
            ciphertext: vec![0; inner.len()],
            iv: vec![0; 12],
            tag: [0; 16],
            metadata: Vec::new(),
        };
        let outer = Outer::write(&inner, &made).unwrap();
        let sealed = Envelope::parse(&outer).unwrap();
        assert_eq!((sealed.key, sealed.material), (key, material));
        assert!(!sealed.is_bare(false) && !sealed.is_bare(true));
        let opened = sealed.opened(&inner).unwrap();
        assert!(opened.is_bare(true) && !opened.is_bare(false));
        assert!(plain.opened(&inner).is_none(), "there was no other layer");
        inner[20] ^= 1;
        assert!(sealed.opened(&inner).is_none(), "of another material");
    }

    proptest! {
        #[test]
        fn no_blob_makes_parsing_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Envelope::parse(&bytes);
        }
    }
}
