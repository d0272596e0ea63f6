//! Protocol Buffers, as far as etcd's messages need them: varints and length-delimited fields
//! (protobuf.dev, "Encoding").
//!
//! Written by hand because the daemon needs five messages, and a generator would bring `protoc` or
//! its output, and crates that nothing else here needs.

use hyper::body::Bytes;

/// Type of a field on the wire: a varint.
const VARINT: u64 = 0;
/// Type of a field on the wire: eight bytes.
const EIGHT: u64 = 1;
/// Type of a field on the wire: a length and bytes.
const BYTES: u64 = 2;
/// Type of a field on the wire: four bytes.
const FOUR: u64 = 5;

/// A message that is being written.
#[derive(Debug, Default)]
pub(super) struct Writer(Vec<u8>);

impl Writer {
    pub(super) fn new() -> Self {
        Self::default()
    }

    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push((value & 0x7f) as u8 | 0x80);
            value >>= 7;
        }
        self.0.push((value & 0x7f) as u8);
    }

    /// A number; zero is written as well, which readers take for the default.
    #[must_use]
    pub(super) fn number(mut self, field: u64, value: u64) -> Self {
        self.varint(field << 3 | VARINT);
        self.varint(value);
        self
    }

    /// Bytes, a text or an embedded message.
    #[must_use]
    pub(super) fn bytes(mut self, field: u64, value: &[u8]) -> Self {
        self.varint(field << 3 | BYTES);
        self.varint(value.len() as u64);
        self.0.extend_from_slice(value);
        self
    }

    /// An embedded message.
    #[must_use]
    pub(super) fn message(self, field: u64, message: Self) -> Self {
        self.bytes(field, &message.0)
    }

    pub(super) fn finish(self) -> Vec<u8> {
        self.0
    }
}

/// The value of a field that was read.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Value {
    Number(u64),
    Bytes(Bytes),
    /// Of a type that none of the messages uses.
    Other,
}

impl Value {
    pub(super) fn number(self) -> Result<u64, Malformed> {
        match self {
            Self::Number(number) => Ok(number),
            _ => Err(Malformed),
        }
    }

    pub(super) fn bytes(self) -> Result<Bytes, Malformed> {
        match self {
            Self::Bytes(bytes) => Ok(bytes),
            _ => Err(Malformed),
        }
    }
}

/// The bytes are not a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a message of the server is malformed")]
pub(super) struct Malformed;

/// Goes over the fields of a message.
pub(super) struct Reader(Bytes);

impl Reader {
    pub(super) fn new(message: Bytes) -> Self {
        Self(message)
    }

    fn varint(&mut self) -> Result<u64, Malformed> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = *self.0.first().ok_or(Malformed)?;
            let _ = self.0.split_to(1);
            let bits = u64::from(byte & 0x7f);
            if bits << shift >> shift != bits {
                return Err(Malformed);
            }
            value |= bits << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(Malformed)
    }

    fn take(&mut self, length: u64) -> Result<Bytes, Malformed> {
        match usize::try_from(length) {
            Ok(length) if length <= self.0.len() => Ok(self.0.split_to(length)),
            _ => Err(Malformed),
        }
    }

    /// The next field; `None` at the end.
    pub(super) fn next(&mut self) -> Result<Option<(u64, Value)>, Malformed> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let tag = self.varint()?;
        let value = match tag & 7 {
            VARINT => Value::Number(self.varint()?),
            BYTES => {
                let length = self.varint()?;
                Value::Bytes(self.take(length)?)
            }
            EIGHT => self.take(8).map(|_| Value::Other)?,
            FOUR => self.take(4).map(|_| Value::Other)?,
            _ => return Err(Malformed),
        };
        Ok(Some((tag >> 3, value)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn examples_of_the_specification() {
        // "Encoding": a field 1 with 150, and a field 2 with "testing".
        let message = Writer::new().number(1, 150).bytes(2, b"testing").finish();
        let expected = [&[0x08, 0x96, 0x01, 0x12, 0x07][..], b"testing"].concat();
        assert_eq!(message, expected);
        let mut reader = Reader::new(message.into());
        assert_eq!(reader.next(), Ok(Some((1, Value::Number(150)))));
        let text = Value::Bytes(Bytes::from_static(b"testing"));
        assert_eq!(reader.next(), Ok(Some((2, text))));
        assert_eq!(reader.next(), Ok(None));
    }

    #[test]
    fn what_is_cut_off_or_too_large_is_malformed() {
        for bytes in [
            &b"\x08"[..],
            b"\x08\x96",
            b"\x12\x07test",
            b"\x0b",
            b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02",
            b"\x12\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
        ] {
            let mut reader = Reader::new(Bytes::copy_from_slice(bytes));
            assert_eq!(reader.next(), Err(Malformed), "{bytes:x?}");
        }
        let mut reader = Reader::new(Bytes::from_static(b"\x09\0\0\0\0\0\0\0\0\x0d\0\0\0\0"));
        assert_eq!(reader.next(), Ok(Some((1, Value::Other))));
        assert_eq!(reader.next(), Ok(Some((1, Value::Other))));
        assert_eq!(reader.next(), Ok(None));
    }

    proptest! {
        #[test]
        fn numbers_are_read_back(number: u64, field in 1u64..1000) {
            let mut reader = Reader::new(Writer::new().number(field, number).finish().into());
            prop_assert_eq!(reader.next(), Ok(Some((field, Value::Number(number)))));
        }

        #[test]
        fn any_bytes_are_read_to_their_end(bytes: Vec<u8>) {
            let mut reader = Reader::new(bytes.into());
            while let Ok(Some(_)) = reader.next() {}
        }
    }
}
