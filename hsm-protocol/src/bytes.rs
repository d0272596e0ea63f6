//! Borrowed byte strings on the wire.

use core::fmt;
use core::ops::Deref;

use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A byte string borrowed from a request or response: a varint length and the bytes.
///
/// A plain `&[u8]` would be written byte by byte; this is one copy. `Debug` shows the length
/// only, because the bytes may be a plaintext.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Bytes<'a>(pub &'a [u8]);

/// Bytes in a request, as they are encoded.
pub(crate) trait Field {
    /// Encoded size in bytes.
    fn size(&self) -> usize;
    /// Bytes of it that tell the length.
    fn length_size(&self) -> usize;
}

impl Field for Bytes<'_> {
    fn size(&self) -> usize {
        self.length_size().saturating_add(self.0.len())
    }

    /// A varint of seven bits each.
    fn length_size(&self) -> usize {
        let bits = usize::BITS.saturating_sub(self.0.len().leading_zeros());
        usize::try_from(bits.div_ceil(7).max(1)).unwrap_or(1)
    }
}

impl<const N: usize> Field for [u8; N] {
    fn size(&self) -> usize {
        N
    }

    fn length_size(&self) -> usize {
        0
    }
}

impl Deref for Bytes<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.0
    }
}

impl<'a> From<&'a [u8]> for Bytes<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }
}

impl fmt::Debug for Bytes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{} bytes]", self.0.len())
    }
}

impl Serialize for Bytes<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Bytes<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Borrowed;

        impl<'de> Visitor<'de> for Borrowed {
            type Value = Bytes<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a byte string")
            }

            fn visit_borrowed_bytes<E: Error>(self, bytes: &'de [u8]) -> Result<Self::Value, E> {
                Ok(Bytes(bytes))
            }
        }

        deserializer.deserialize_bytes(Borrowed)
    }
}

/// Writes `parts` one after another at the start of `out` and returns what was written.
///
/// `None`, with `out` partly written, if they do not fit.
pub fn concat<'o>(out: &'o mut [u8], parts: &[&[u8]]) -> Option<&'o mut [u8]> {
    let mut end = 0usize;
    for part in parts {
        let next = end.checked_add(part.len())?;
        out.get_mut(end..next)?.copy_from_slice(part);
        end = next;
    }
    out.get_mut(..end)
}

/// Splits a fixed-size field off the front; `None` if the input is too short.
#[must_use]
pub fn take<'a, const N: usize>(input: &mut &'a [u8]) -> Option<&'a [u8; N]> {
    let (field, rest) = input.split_first_chunk::<N>()?;
    *input = rest;
    Some(field)
}
