//! DER `ECDSA-Sig-Value` (RFC 3279 2.2.3): SEQUENCE { r INTEGER, s INTEGER }, P-256.

use hsm_protocol::ErrorCode;

/// Longest encoding in bytes: two integers of 33 bytes.
pub(super) const MAX_SIZE: usize = 2 + 2 * (2 + SCALAR_SIZE + 1);

const SCALAR_SIZE: usize = 32;
const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;

/// Encodes into the front of `out` and returns the length.
#[allow(clippy::cast_possible_truncation)]
pub(super) fn encode(
    r: &[u8; SCALAR_SIZE],
    s: &[u8; SCALAR_SIZE],
    out: &mut [u8],
) -> Result<usize, ErrorCode> {
    let (r, s) = (minimal(r), minimal(s));
    // At most 70, so the short form of lengths always does.
    let content = 4usize.saturating_add(r.size()).saturating_add(s.size());
    let parts: [&[u8]; 7] = [
        &[SEQUENCE, content as u8],
        &[INTEGER, r.size() as u8],
        r.sign,
        r.magnitude,
        &[INTEGER, s.size() as u8],
        s.sign,
        s.magnitude,
    ];
    hsm_protocol::bytes::concat(out, &parts).map(|der| der.len()).ok_or(ErrorCode::TOO_LARGE)
}

/// Decodes strictly: any other encoding than DER's only one is `None`.
pub(super) fn decode(der: &[u8]) -> Option<([u8; SCALAR_SIZE], [u8; SCALAR_SIZE])> {
    let (content, []) = element(der, SEQUENCE)? else { return None };
    let (r, rest) = element(content, INTEGER)?;
    let (s, []) = element(rest, INTEGER)? else { return None };
    Some((scalar(r)?, scalar(s)?))
}

struct Integer<'a> {
    sign: &'a [u8],
    magnitude: &'a [u8],
}

impl Integer<'_> {
    fn size(&self) -> usize {
        self.sign.len().saturating_add(self.magnitude.len())
    }
}

/// Without leading zeros, but with one where the top bit would mean a negative number.
fn minimal(scalar: &[u8; SCALAR_SIZE]) -> Integer<'_> {
    let start = scalar.iter().position(|byte| *byte != 0).unwrap_or(SCALAR_SIZE - 1);
    let magnitude = scalar.get(start..).unwrap_or_default();
    let negative = magnitude.first().is_some_and(|byte| byte & 0x80 != 0);
    Integer { sign: if negative { &[0] } else { &[] }, magnitude }
}

/// Splits one element with a short-form length off the front: its content, and what follows.
fn element(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let ([first, length], rest) = der.split_first_chunk()?;
    if *first != tag || *length & 0x80 != 0 {
        return None;
    }
    rest.split_at_checked(usize::from(*length))
}

/// Reads a non-negative INTEGER of at most 32 significant bytes.
fn scalar(content: &[u8]) -> Option<[u8; SCALAR_SIZE]> {
    let magnitude = match content {
        [0, rest @ ..] if rest.first().is_some_and(|byte| byte & 0x80 != 0) => rest,
        [0] | [1..=0x7f, ..] => content,
        _ => return None, // empty, negative, or not minimal
    };
    let mut out = [0; SCALAR_SIZE];
    let start = SCALAR_SIZE.checked_sub(magnitude.len())?;
    out.get_mut(start..)?.copy_from_slice(magnitude);
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trips_at_the_edges() {
        let mut low = [0; 32];
        low[31] = 1;
        let mut middle = [0; 32];
        middle[5] = 0x80;
        for r in [low, middle, [0x7f; 32], [0xff; 32]] {
            for s in [low, middle, [0x80; 32]] {
                let mut out = [0; MAX_SIZE];
                let len = encode(&r, &s, &mut out).unwrap();
                assert_eq!(decode(&out[..len]), Some((r, s)));
                assert_eq!(decode(&out[..len - 1]), None);
                assert_eq!(encode(&r, &s, &mut out[..len - 1]), Err(ErrorCode::TOO_LARGE));
            }
        }
        assert_eq!(encode(&[0xff; 32], &[0xff; 32], &mut [0; MAX_SIZE]), Ok(MAX_SIZE));
    }

    #[test]
    fn other_encodings_are_refused() {
        for bad in [
            &[0x30, 6, 2, 1, 1, 2, 1, 1, 0][..], // trailing byte
            &[0x30, 0x81, 6, 2, 1, 1, 2, 1, 1],  // long-form length
            &[0x30, 7, 2, 2, 0, 1, 2, 1, 1],     // not minimal
            &[0x30, 6, 2, 1, 0x81, 2, 1, 1],     // negative
            &[0x30, 5, 2, 0, 2, 1, 1],           // empty integer
            &[0x31, 6, 2, 1, 1, 2, 1, 1],        // not a SEQUENCE
            &[0x30, 3, 2, 1, 1],                 // s is missing
        ] {
            assert_eq!(decode(bad), None, "{bad:02x?}");
        }
        assert!(decode(&[0x30, 6, 2, 1, 1, 2, 1, 1]).is_some());
    }
}
