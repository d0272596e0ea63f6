//! Ciphertext blobs of KMS keys that are in an external key store of this installation's own API: a blob of a
//! device, which a proxy has encrypted once more.

use hsm_protocol::token::{Blob, TAG_SIZE};
use hsm_protocol::{KeyId, MaterialId};

use crate::response::{Encrypted, MAX_METADATA};

/// Version of the form. Blobs of devices begin with another number, so that nothing is both.
const OUTER_V1: u8 = 0x29;
/// The lengths that an initialization vector can have, in bytes.
pub(crate) const IV_LENGTHS: [usize; 2] = [12, 16];

/// A blob that a proxy has encrypted:
///
/// ```text
/// version 0x29 | key id [17] | material id [32] | length of metadata [1] | metadata [0..=20]
/// | length of IV [1] | IV [12 or 16] | tag [16] | ciphertext
/// ```
/// The ciphertext is as long as the device's blob in it. Key and material say where to look, and have to be
/// those in the device's blob, which the device authenticates: [`Outer::holds`]. The proxy authenticates
/// metadata, IV and ciphertext, and the encryption context as additional authenticated data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outer<'b> {
    /// The KMS key.
    pub key: KeyId,
    /// Its material.
    pub material: MaterialId,
    /// `ciphertextMetadata`, 0 to 20 bytes; none and empty are the same.
    pub metadata: &'b [u8],
    /// `initializationVector`, 12 or 16 bytes.
    pub iv: &'b [u8],
    /// `authenticationTag`.
    pub tag: &'b [u8; TAG_SIZE],
    /// As long as what was encrypted.
    pub ciphertext: &'b [u8],
}

impl<'b> Outer<'b> {
    /// Most bytes that such a blob is longer than the blob of a device in it.
    pub const MAX_OVERHEAD: usize =
        1 + KeyId::SIZE + MaterialId::SIZE + 1 + MAX_METADATA + 1 + IV_LENGTHS[1] + TAG_SIZE;

    /// Reads the layout; `None` if it is another one. Nothing is authenticated yet.
    #[must_use]
    pub fn parse(bytes: &'b [u8]) -> Option<Self> {
        let ([OUTER_V1], rest) = bytes.split_first_chunk()? else { return None };
        let (key, rest) = rest.split_first_chunk()?;
        let (material, rest) = rest.split_first_chunk()?;
        let (metadata, rest) = counted(rest)?;
        let (iv, rest) = counted(rest)?;
        let (tag, ciphertext) = rest.split_first_chunk()?;
        let valid = metadata.len() <= MAX_METADATA
            && IV_LENGTHS.contains(&iv.len())
            && ciphertext.len() > Blob::OVERHEAD;
        let key = KeyId::from_bytes(key)?;
        let material = MaterialId(*material);
        valid.then_some(Self { key, material, metadata, iv, tag, ciphertext })
    }

    /// Writes the blob of what a proxy has made of a blob of a device; `None` if that is not one.
    #[must_use]
    pub fn write(inner: &[u8], made: &Encrypted) -> Option<Vec<u8>> {
        let inner = Blob::parse(inner).ok()?;
        let mut out = Vec::with_capacity(Self::MAX_OVERHEAD + made.ciphertext.len());
        out.push(OUTER_V1);
        out.extend_from_slice(&inner.key.to_bytes());
        out.extend_from_slice(inner.material.as_bytes());
        for part in [&made.metadata, &made.iv] {
            out.push(u8::try_from(part.len()).ok()?);
            out.extend_from_slice(part);
        }
        out.extend_from_slice(&made.tag);
        out.extend_from_slice(&made.ciphertext);
        Some(out)
    }

    /// What names key and material of such a blob, before any other part: to be authenticated as it is, by key managers
    /// that take it. `None` if `inner` is not a blob of a device.
    #[must_use]
    pub fn head(inner: &[u8]) -> Option<Vec<u8>> {
        let inner = Blob::parse(inner).ok()?;
        Some([&[OUTER_V1][..], &inner.key.to_bytes(), inner.material.as_bytes()].concat())
    }

    /// The same of this blob.
    #[must_use]
    pub fn own_head(&self) -> Vec<u8> {
        [&[OUTER_V1][..], &self.key.to_bytes(), self.material.as_bytes()].concat()
    }

    /// Whether what a proxy has decrypted is a blob of the key and material that this one names.
    #[must_use]
    pub fn holds(&self, inner: &[u8]) -> bool {
        Blob::parse(inner)
            .is_ok_and(|inner| inner.key == self.key && inner.material == self.material)
    }
}

fn counted(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first()?;
    rest.split_at_checked(usize::from(*length))
}

#[cfg(test)]
mod tests {
    use kms_base::hex;
    use proptest::prelude::*;

    use super::*;

    fn inner() -> Vec<u8> {
        let (key, material) = (KeyId::single_region([7; 16]), MaterialId([9; 32]));
        let mut out = vec![0; Blob::OVERHEAD + 5];
        Blob::write(key, &material, &[2; 16], &[3; 12], 5, &mut out).unwrap();
        out
    }

    fn made(length: usize) -> Encrypted {
        let (metadata, iv) = (vec![4; 3], vec![5; 12]);
        Encrypted { ciphertext: vec![6; length], iv, tag: [8; 16], metadata }
    }

    /// Blobs outlive releases. Revert your change, not this.
    #[test]
    fn version_1_is_written_as_ever() {
        let inner = inner();
        let written = Outer::write(&inner, &made(inner.len())).unwrap();
        let key = hex::encode(&KeyId::single_region([7; 16]).to_bytes());
        let golden = format!(
            "29{key}{}03040404{}{}{}{}",
            "09".repeat(32),
            "0c",
            "05".repeat(12),
            "08".repeat(16),
            "06".repeat(inner.len())
        );
        assert_eq!(hex::encode(&written), golden);
        let read = Outer::parse(&written).unwrap();
        assert_eq!((read.metadata, read.iv, read.tag), (&[4; 3][..], &[5; 12][..], &[8; 16]));
        assert_eq!(read.ciphertext, vec![6; inner.len()]);
        assert!(read.holds(&inner));
        assert!(Blob::parse(&written).is_err() && Outer::parse(&inner).is_none());
    }

    #[test]
    fn blobs_of_other_keys_and_materials_are_not_held() {
        let inner = inner();
        let written = Outer::write(&inner, &made(inner.len())).unwrap();
        let read = Outer::parse(&written).unwrap();
        for at in 1..=KeyId::SIZE + MaterialId::SIZE {
            let mut other = inner.clone();
            other[at] ^= 1;
            assert!(!read.holds(&other), "byte {at}");
        }
        assert!(!read.holds(b"") && !read.holds(&inner[..Blob::OVERHEAD]));
    }

    #[test]
    fn other_lengths_are_refused() {
        let inner = inner();
        let written = Outer::write(&inner, &made(inner.len())).unwrap();
        let head = written.len() - inner.len();
        for length in 0..=head + Blob::OVERHEAD {
            assert_eq!(Outer::parse(&written[..length]), None, "{length}");
        }
        for (metadata, iv) in [(21, 12), (0, 0), (0, 11), (0, 13), (0, 17)] {
            let made =
                Encrypted { metadata: vec![0; metadata], iv: vec![0; iv], ..made(inner.len()) };
            let written = Outer::write(&inner, &made).unwrap();
            assert_eq!(Outer::parse(&written), None, "{metadata} {iv}");
        }
    }

    proptest! {
        #[test]
        fn no_blob_makes_parsing_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let bytes = [&[OUTER_V1][..], &bytes].concat();
            if let Some(outer) = Outer::parse(&bytes) {
                prop_assert!(outer.ciphertext.len() > Blob::OVERHEAD);
            }
        }
    }
}
