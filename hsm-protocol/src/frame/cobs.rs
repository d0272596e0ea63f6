//! Consistent Overhead Byte Stuffing, streaming out and in place in.

use crate::error::ErrorCode;

/// Longest run of non-zero bytes that one code byte covers.
const MAX_RUN: usize = 254;

/// Encodes parts one after another into a buffer.
pub(super) struct Encoder<'o> {
    out: &'o mut [u8],
    /// Where the code byte of the present run goes.
    code: usize,
    /// Next free byte.
    end: usize,
}

impl<'o> Encoder<'o> {
    pub(super) fn new(out: &'o mut [u8]) -> Self {
        Self { out, code: 0, end: 1 }
    }

    /// Adds bytes, run by run, so that the copying is in blocks.
    pub(super) fn push(&mut self, mut bytes: &[u8]) -> Result<(), ErrorCode> {
        while !bytes.is_empty() {
            let room = MAX_RUN.saturating_sub(self.run());
            let window = bytes.get(..room).unwrap_or(bytes);
            let zero = window.iter().position(|byte| *byte == 0);
            let (run, rest) = bytes.split_at(zero.unwrap_or(window.len()));
            let end = self.end.saturating_add(run.len());
            let free = self.out.get_mut(self.end..end).ok_or(ErrorCode::TOO_LARGE)?;
            free.copy_from_slice(run);
            self.end = end;
            bytes = rest;
            if zero.is_some() {
                bytes = bytes.split_first().map_or(&[], |(_, rest)| rest);
                self.close_run()?;
            } else if self.run() == MAX_RUN {
                self.close_run()?;
            }
        }
        Ok(())
    }

    /// Ends the frame with its delimiter and returns its length.
    pub(super) fn finish(mut self) -> Result<usize, ErrorCode> {
        self.close_run()?;
        // The byte reserved for the next code becomes the delimiter.
        let end = self.code;
        *self.out.get_mut(end).ok_or(ErrorCode::TOO_LARGE)? = 0;
        Ok(end.saturating_add(1))
    }

    fn run(&self) -> usize {
        self.end.saturating_sub(self.code).saturating_sub(1)
    }

    fn close_run(&mut self) -> Result<(), ErrorCode> {
        let code = u8::try_from(self.run().saturating_add(1)).map_err(|_| ErrorCode::TOO_LARGE)?;
        *self.out.get_mut(self.code).ok_or(ErrorCode::TOO_LARGE)? = code;
        self.code = self.end;
        self.end = self.end.saturating_add(1);
        Ok(())
    }
}

/// Decodes a frame without its delimiter in place; `None` if a code points past the end.
pub(super) fn decode_in_place(buffer: &mut [u8]) -> Option<&[u8]> {
    let mut read = 0usize;
    let mut write = 0usize;
    while read < buffer.len() {
        let code = *buffer.get(read)?;
        let run = usize::from(code).checked_sub(1)?;
        let start = read.checked_add(1)?;
        let end = start.checked_add(run)?;
        if end > buffer.len() {
            return None;
        }
        buffer.copy_within(start..end, write);
        write = write.checked_add(run)?;
        // A full run stands for itself, any other for a zero as well, but at the end.
        if code != u8::MAX && end < buffer.len() {
            *buffer.get_mut(write)? = 0;
            write = write.checked_add(1)?;
        }
        read = end;
    }
    buffer.get(..write)
}

#[cfg(test)]
mod tests {
    use std::vec;
    use std::vec::Vec;

    use proptest::prelude::*;

    use super::*;

    fn encode(bytes: &[u8]) -> Vec<u8> {
        let mut out = vec![0xAA; bytes.len() + bytes.len() / 254 + 2];
        let mut encoder = Encoder::new(&mut out);
        encoder.push(bytes).unwrap();
        let len = encoder.finish().unwrap();
        out.truncate(len);
        out
    }

    #[test]
    fn published_examples() {
        // Cheshire and Baker's code on the examples every implementation is compared by.
        let cases: [(&[u8], &[u8]); 6] = [
            (&[], &[1, 0]),
            (&[0], &[1, 1, 0]),
            (&[0, 0], &[1, 1, 1, 0]),
            (&[0x11, 0x22, 0, 0x33], &[3, 0x11, 0x22, 2, 0x33, 0]),
            (&[0x11, 0x22, 0x33, 0x44], &[5, 0x11, 0x22, 0x33, 0x44, 0]),
            (&[0x11, 0, 0, 0], &[2, 0x11, 1, 1, 1, 0]),
        ];
        for (plain, encoded) in cases {
            assert_eq!(encode(plain), encoded, "{plain:x?}");
        }
    }

    #[test]
    fn full_runs() {
        for len in [253, 254, 255, 507, 508, 509, 1000] {
            let plain: Vec<u8> = (1..=255).cycle().take(len).collect();
            let mut encoded = encode(&plain);
            assert_eq!(encoded.pop(), Some(0));
            assert!(!encoded.contains(&0));
            assert_eq!(decode_in_place(&mut encoded), Some(&plain[..]), "{len}");
        }
    }

    proptest! {
        #[test]
        fn round_trip(parts in proptest::collection::vec(
            proptest::collection::vec(prop_oneof![Just(0u8), any::<u8>()], 0..600), 0..4)) {
            let plain = parts.concat();
            let mut out = vec![0xAA; plain.len() + plain.len() / 254 + 2];
            let mut encoder = Encoder::new(&mut out);
            for part in &parts {
                encoder.push(part).unwrap();
            }
            let len = encoder.finish().unwrap();
            out.truncate(len);
            prop_assert_eq!(out.pop(), Some(0));
            prop_assert!(!out.contains(&0));
            prop_assert_eq!(decode_in_place(&mut out), Some(&plain[..]));
        }

        #[test]
        fn decoding_anything_is_safe(mut bytes in proptest::collection::vec(1u8.., 0..600)) {
            let len = bytes.len();
            if let Some(plain) = decode_in_place(&mut bytes) {
                prop_assert!(plain.len() <= len);
            }
        }
    }
}
