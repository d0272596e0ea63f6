//! The manifest of an image: what it is, for which board, and who has signed that.
//!
//! The layout is fixed and versioned, little-endian, without padding between fields:
//!
//! ```text
//! body, 96 bytes, signed
//!    0  magic "SRFM" 4 | format version u16 = 1 | zero 2
//!    8  board name 16 | firmware version 16     ASCII, padded with zeros
//!   40  security version u32 | image length u32 | load address u32
//!   52  SHA-256 of the image 32 | zero 12
//! signatures
//!   96  count u8, 1 to 8
//!   97  count times: signer index u8 | r 32 | s 32
//! ```
//!
//! Each signature is ECDSA over P-256 (FIPS 186-5, 6.4) of SHA-256("strongroom-fw-v1" | body). The
//! signatures do not cover one another, so signers can sign in any order and at different places.

use sha2::{Digest, Sha256};

use crate::bytes::{Reader, Writer};

/// Length of the signed body in bytes.
pub const BODY_SIZE: usize = 96;
/// Most signatures of a manifest.
pub const MAX_SIGNATURES: usize = 8;
/// Length of a signature with the index of its signer, in bytes.
pub const SIGNATURE_SIZE: usize = 65;
/// Length of the longest manifest in bytes.
pub const MAX_SIZE: usize = BODY_SIZE + 1 + MAX_SIGNATURES * SIGNATURE_SIZE;
/// The load address of an image that runs from either slot.
pub const ANY_ADDRESS: u32 = u32::MAX;

const MAGIC: [u8; 4] = *b"SRFM";
const VERSION: u16 = 1;
const LABEL: &[u8; 16] = b"strongroom-fw-v1";

/// A name of at most 16 bytes of printable ASCII without spaces, padded with zeros; not empty.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Name([u8; Self::SIZE]);

impl Name {
    /// Length of the padded form in bytes.
    pub const SIZE: usize = 16;

    /// Returns the name, or `None` if it is empty, too long, or has other characters.
    #[must_use]
    pub fn new(name: &str) -> Option<Self> {
        let mut out = [0; Self::SIZE];
        out.get_mut(..name.len())?.copy_from_slice(name.as_bytes());
        Self::from_bytes(&out).filter(|read| read.as_str().len() == name.len())
    }

    /// Reads the padded form.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; Self::SIZE]) -> Option<Self> {
        let length = bytes.iter().position(|byte| *byte == 0).unwrap_or(Self::SIZE);
        let (name, padding) = bytes.split_at_checked(length)?;
        let valid = !name.is_empty()
            && name.iter().all(u8::is_ascii_graphic)
            && padding.iter().all(|byte| *byte == 0);
        valid.then_some(Self(*bytes))
    }

    /// Returns the name without its padding.
    #[must_use]
    pub fn as_str(&self) -> &str {
        let length = self.0.iter().position(|byte| *byte == 0).unwrap_or(Self::SIZE);
        self.0.get(..length).and_then(|name| core::str::from_utf8(name).ok()).unwrap_or_default()
    }
}

/// An ECDSA P-256 signature: r and s, big-endian (FIPS 186-5, 6.4), 64 bytes. As elsewhere in
/// Strongroom, s may be in either half of its range: nothing is identified by a signature.
pub type Signature = [u8; 64];

/// What a manifest says about its image.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Body {
    /// The board for which the image was built.
    pub board: Name,
    /// The version of the firmware, for people; nothing is decided by it.
    pub version: Name,
    /// The value that the rollback floor is compared with. Releases that close a hole raise it.
    pub security_version: u32,
    /// Length of the image in bytes, at least 1.
    pub length: u32,
    /// The address from which the image has to run, or [`ANY_ADDRESS`].
    pub address: u32,
    /// SHA-256 of the image: its measurement.
    pub measurement: [u8; 32],
}

impl Body {
    /// Returns the signed bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; BODY_SIZE] {
        let mut out = [0; BODY_SIZE];
        let mut at = Writer(&mut out);
        at.put(&MAGIC);
        at.put(&VERSION.to_le_bytes());
        at.put(&[0; 2]);
        at.put(&self.board.0);
        at.put(&self.version.0);
        at.put_u32(self.security_version);
        at.put_u32(self.length);
        at.put_u32(self.address);
        at.put(&self.measurement);
        out
    }

    /// Reads the signed bytes. Every accepted input is what [`Body::encode`] writes.
    #[must_use]
    pub fn decode(bytes: &[u8; BODY_SIZE]) -> Option<Self> {
        let mut at = Reader(bytes);
        let known = *at.take()? == MAGIC && at.u16()? == VERSION;
        at.zeros::<2>()?;
        let body = Self {
            board: Name::from_bytes(at.take()?)?,
            version: Name::from_bytes(at.take()?)?,
            security_version: at.u32()?,
            length: at.u32()?,
            address: at.u32()?,
            measurement: *at.take()?,
        };
        at.zeros::<12>()?;
        (known && body.length > 0).then_some(body)
    }

    /// Returns what signers sign: SHA-256 of a label and the body.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        Sha256::new().chain_update(LABEL).chain_update(self.encode()).finalize().into()
    }
}

/// A manifest that was parsed. Nothing in it is to be trusted before
/// [`Board::check`](crate::Board::check) has verified it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Manifest<'b> {
    /// What the signers have signed.
    pub body: Body,
    bytes: &'b [u8],
    signatures: &'b [u8],
}

impl<'b> Manifest<'b> {
    /// Parses a manifest, in time that is bounded by [`MAX_SIZE`]. Returns `None` for anything that
    /// is not one whole manifest of a known version.
    #[must_use]
    pub fn parse(bytes: &'b [u8]) -> Option<Self> {
        Self::parse_front(bytes).filter(|manifest| manifest.bytes.len() == bytes.len())
    }

    /// Parses the manifest at the front of the bytes, as flash holds it.
    pub(crate) fn parse_front(bytes: &'b [u8]) -> Option<Self> {
        let mut at = Reader(bytes);
        let body = Body::decode(at.take()?)?;
        let count = usize::from(at.u8()?);
        if !(1..=MAX_SIGNATURES).contains(&count) {
            return None;
        }
        let length = count.checked_mul(SIGNATURE_SIZE)?;
        let signatures = at.0.get(..length)?;
        let whole = length.checked_add(BODY_SIZE)?.checked_add(1)?;
        Some(Self { body, bytes: bytes.get(..whole)?, signatures })
    }

    /// Takes a signed image apart, the file that a release has and an update sends: a manifest, and the image
    /// behind it. `None` unless the image has the length that the manifest states.
    #[must_use]
    pub fn split(signed: &'b [u8]) -> Option<(Self, &'b [u8])> {
        let manifest = Self::parse_front(signed)?;
        let image = signed.get(manifest.bytes.len()..)?;
        (u32::try_from(image.len()) == Ok(manifest.body.length)).then_some((manifest, image))
    }

    /// Returns the encoded manifest.
    #[must_use]
    pub fn bytes(&self) -> &'b [u8] {
        self.bytes
    }

    /// Returns SHA-256 of the encoded manifest, which tells one update from another.
    #[must_use]
    pub fn id(&self) -> [u8; 32] {
        Sha256::digest(self.bytes).into()
    }

    /// Returns the signatures with the indices of their signers, in the order of the manifest.
    pub fn signatures(&self) -> impl Iterator<Item = (u8, &'b Signature)> {
        let (entries, _) = self.signatures.as_chunks::<SIGNATURE_SIZE>();
        entries.iter().filter_map(|entry| {
            let (index, signature) = entry.split_first()?;
            Some((*index, signature.first_chunk()?))
        })
    }
}

/// Writes a manifest to the front of a buffer and returns it, or `None` if it has no signature, more
/// than [`MAX_SIGNATURES`], or does not fit. Release tools call it; devices only read manifests.
#[must_use]
pub fn encode<'b>(
    body: &Body,
    signatures: &[(u8, Signature)],
    out: &'b mut [u8; MAX_SIZE],
) -> Option<&'b [u8]> {
    let mut at = Writer(out);
    at.put(&body.encode());
    at.put(&[u8::try_from(signatures.len()).ok()?]);
    for (index, signature) in signatures {
        at.put(&[*index]);
        at.put(signature);
    }
    Manifest::parse_front(out).map(|manifest| manifest.bytes)
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::*;

    fn body() -> Body {
        Body {
            board: Name::new("pico2").unwrap(),
            version: Name::new("1.2.3").unwrap(),
            security_version: 0x0403_0201,
            length: 0x0807_0605,
            address: ANY_ADDRESS,
            measurement: [7; 32],
        }
    }

    /// Second stages in the field read this layout: add a version, never edit it.
    #[test]
    fn golden_bytes() {
        let mut out = [0; MAX_SIZE];
        let bytes = encode(&body(), &[(3, [9; 64])], &mut out).unwrap();
        assert_eq!(bytes.len(), 162);
        assert_eq!(bytes[..8], *b"SRFM\x01\0\0\0");
        assert_eq!(bytes[8..40], *b"pico2\0\0\0\0\0\0\0\0\0\0\x001.2.3\0\0\0\0\0\0\0\0\0\0\0");
        assert_eq!(bytes[40..52], [1, 2, 3, 4, 5, 6, 7, 8, 255, 255, 255, 255]);
        assert_eq!(bytes[52..84], [7; 32]);
        assert_eq!(bytes[84..98], [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 3]);
        assert_eq!(bytes[98..], [9; 64]);

        let mut signed = b"strongroom-fw-v1".to_vec();
        signed.extend_from_slice(&bytes[..96]);
        assert_eq!(body().digest(), <[u8; 32]>::from(Sha256::digest(signed)));
    }

    #[test]
    fn what_is_written_is_read() {
        let mut out = [0; MAX_SIZE];
        for count in 1..=8 {
            let signatures: Vec<_> = (0..count).map(|n| (n, [n; 64])).collect();
            let bytes = encode(&body(), &signatures, &mut out).unwrap();
            let manifest = Manifest::parse(bytes).unwrap();
            assert_eq!(manifest.body, body());
            assert_eq!(manifest.signatures().map(|(n, s)| (n, *s)).collect::<Vec<_>>(), signatures);
        }
        assert_eq!(encode(&body(), &[], &mut out), None);
        assert_eq!(encode(&body(), &[(0, [0; 64]); 9], &mut out), None);
    }

    #[test]
    fn no_truncation_and_no_extension_is_a_manifest() {
        let mut out = [0; MAX_SIZE];
        let bytes = encode(&body(), &[(0, [1; 64]), (1, [2; 64])], &mut out).unwrap().to_vec();
        for length in 0..bytes.len() {
            assert_eq!(Manifest::parse(&bytes[..length]), None, "{length} bytes");
        }
        for byte in [0, 1, 0xFF] {
            assert_eq!(Manifest::parse(&[&bytes[..], &[byte]].concat()), None);
        }
    }

    #[test]
    fn a_signed_image_is_a_manifest_and_as_many_bytes_as_it_states() {
        let mut out = [0; MAX_SIZE];
        let body = Body { length: 3, ..body() };
        let mut signed = encode(&body, &[(0, [1; 64])], &mut out).unwrap().to_vec();
        assert_eq!(Manifest::split(&signed), None);
        signed.extend_from_slice(b"abc");
        let (manifest, image) = Manifest::split(&signed).unwrap();
        assert_eq!((manifest.body, image), (body, &b"abc"[..]));
        signed.push(b'd');
        assert_eq!(Manifest::split(&signed), None);
    }

    #[test]
    fn names_have_one_form() {
        assert_eq!(Name::new("sixteen-letters!").unwrap().as_str(), "sixteen-letters!");
        for bad in ["", "seventeen-letters", "with space", "tab\t", "nul\0", "\0", "ü"] {
            assert_eq!(Name::new(bad), None, "{bad:?}");
        }
        assert_eq!(Name::from_bytes(b"a\0b\0\0\0\0\0\0\0\0\0\0\0\0\0"), None);
    }
}
