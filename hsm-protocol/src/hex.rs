//! Identifiers and digests as text. For what is public: the digits come from a table.

use core::{fmt, str};

const DIGITS: &[u8; 16] = b"0123456789abcdef";

/// Writes two lower-case digits for each byte, up to 32 bytes at a time: a daemon writes many identifiers for each
/// request, and to format each byte by itself took six hundredths of that request.
pub(crate) fn write(bytes: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    for part in bytes.chunks(32) {
        let mut text = [0; 64];
        for (pair, byte) in text.chunks_exact_mut(2).zip(part) {
            pair[0] = DIGITS[usize::from(byte >> 4)];
            pair[1] = DIGITS[usize::from(byte & 0xf)];
        }
        f.write_str(str::from_utf8(&text[..2 * part.len()]).map_err(|_| fmt::Error)?)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::string::{String, ToString};

    use crate::{DeviceId, MaterialId};

    #[test]
    fn each_byte_is_two_digits() {
        let id = DeviceId(core::array::from_fn(|at| u8::try_from(at * 17).unwrap()));
        assert_eq!(id.to_string(), "00112233445566778899aabbccddeeff");
        let all: String = (0..=u8::MAX).map(|byte| std::format!("{byte:02x}")).collect();
        let written = (0..8).map(|part| {
            MaterialId(core::array::from_fn(|at| part * 32 + u8::try_from(at).unwrap()))
        });
        assert_eq!(written.map(|id| id.to_string()).collect::<String>(), all);
    }
}
