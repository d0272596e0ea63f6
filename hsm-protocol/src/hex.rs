//! Identifiers and digests as text, for what is public.

use core::{fmt, str};

/// Writes two lower-case digits for each byte, up to 32 bytes at a time: a daemon writes many identifiers for each
/// request, and to format each byte by itself took six hundredths of that request's instructions.
pub(crate) fn write(bytes: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    for part in bytes.chunks(32) {
        let mut text = [0; 64];
        let (pairs, _) = text.as_chunks_mut::<2>();
        for ([high, low], byte) in pairs.iter_mut().zip(part) {
            (*high, *low) = (digit(byte >> 4), digit(byte & 0xf));
        }
        let written = text.get(..part.len().saturating_mul(2)).unwrap_or_default();
        f.write_str(str::from_utf8(written).map_err(|_| fmt::Error)?)?;
    }
    Ok(())
}

const fn digit(value: u8) -> u8 {
    match value {
        0..=9 => b'0' | value,
        _ => (b'a' - 10).wrapping_add(value),
    }
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
