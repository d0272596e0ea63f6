//! Lower-case hexadecimal, the text form of hashes and identifiers; in constant time, as some are secrets.

use base16ct::{lower, mixed};

/// Two lower-case digits for each byte.
#[must_use]
pub fn encode(bytes: &[u8]) -> String {
    lower::encode_string(bytes)
}

/// Reads exactly `N` bytes; digits of either case.
#[must_use]
pub fn decode<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut out = [0; N];
    let length = mixed::decode(text, &mut out).ok()?.len();
    (length == N).then_some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trip_and_refusals() {
        assert_eq!(encode(&[0, 0x1f, 0xff]), "001fff");
        assert_eq!(decode("001fFF"), Some([0, 0x1f, 0xff]));
        assert_eq!(decode::<3>("001ff"), None);
        assert_eq!(decode::<3>("001ffff"), None);
        assert_eq!(decode::<2>("00x1"), None);
        assert_eq!(decode::<2>("é00"), None);
    }
}
