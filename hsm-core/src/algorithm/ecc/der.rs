//! DER `ECDSA-Sig-Value` (RFC 3279 2.2.3): SEQUENCE { r INTEGER, s INTEGER }.

use hsm_protocol::ErrorCode;

/// Longest encoding in bytes, that of P-521: two integers of 66 bytes, whose top bit is never set.
pub(crate) const MAX_SIZE: usize = 3 + 2 * (2 + 66);

const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;
/// Says that one byte of length follows.
const LONG_FORM: u8 = 0x81;

/// Encodes scalars of at most 66 bytes into the front of `out` and returns the length.
pub(crate) fn encode(r: &[u8], s: &[u8], out: &mut [u8]) -> Result<usize, ErrorCode> {
    let (r, s) = (Integer::minimal(r)?, Integer::minimal(s)?);
    let content = 4u8.saturating_add(r.size).saturating_add(s.size);
    let long: &[u8] = if content < 0x80 { &[] } else { &[LONG_FORM] };
    let parts: [&[u8]; 9] = [
        &[SEQUENCE],
        long,
        &[content],
        &[INTEGER, r.size],
        r.sign,
        r.magnitude,
        &[INTEGER, s.size],
        s.sign,
        s.magnitude,
    ];
    hsm_protocol::bytes::concat(out, &parts).map(|der| der.len()).ok_or(ErrorCode::TOO_LARGE)
}

/// Decodes strictly into two all-zero scalars: any other encoding than DER's only one, and an
/// integer that the scalar has no room for, is `None`.
pub(crate) fn decode(der: &[u8], r: &mut [u8], s: &mut [u8]) -> Option<()> {
    let (content, []) = element(der, SEQUENCE)? else { return None };
    let (first, rest) = element(content, INTEGER)?;
    let (second, []) = element(rest, INTEGER)? else { return None };
    scalar(first, r)?;
    scalar(second, s)
}

struct Integer<'a> {
    size: u8,
    sign: &'a [u8],
    magnitude: &'a [u8],
}

impl<'a> Integer<'a> {
    /// Without leading zeros, but with one where the top bit would mean a negative number.
    fn minimal(scalar: &'a [u8]) -> Result<Self, ErrorCode> {
        let last = scalar.len().saturating_sub(1);
        let start = scalar.iter().position(|byte| *byte != 0).unwrap_or(last);
        let magnitude = scalar.get(start..).unwrap_or_default();
        let negative = magnitude.first().is_some_and(|byte| byte & 0x80 != 0);
        let sign: &[u8] = if negative { &[0] } else { &[] };
        let size = sign.len().saturating_add(magnitude.len());
        let size = u8::try_from(size).map_err(|_| ErrorCode::INTERNAL)?;
        Ok(Self { size, sign, magnitude })
    }
}

/// Splits one element with a length below 256 off the front: its content, and what follows.
fn element(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (length, rest) = match der {
        [first, length @ ..=0x7f, rest @ ..] if *first == tag => (*length, rest),
        [first, LONG_FORM, length @ 0x80..=0xff, rest @ ..] if *first == tag => (*length, rest),
        _ => return None,
    };
    rest.split_at_checked(usize::from(length))
}

/// Reads a non-negative INTEGER, right-aligned.
fn scalar(content: &[u8], out: &mut [u8]) -> Option<()> {
    let magnitude = match content {
        [0, rest @ ..] if rest.first().is_some_and(|byte| byte & 0x80 != 0) => rest,
        [0] | [1..=0x7f, ..] => content,
        _ => return None, // empty, negative, or not minimal
    };
    let start = out.len().checked_sub(magnitude.len())?;
    out.get_mut(start..)?.copy_from_slice(magnitude);
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded<const N: usize>(der: &[u8]) -> Option<([u8; N], [u8; N])> {
        let (mut r, mut s) = ([0; N], [0; N]);
        decode(der, &mut r, &mut s).map(|()| (r, s))
    }

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
                assert_eq!(decoded(&out[..len]), Some((r, s)));
                assert_eq!(decoded::<32>(&out[..len - 1]), None);
                assert_eq!(encode(&r, &s, &mut out[..len - 1]), Err(ErrorCode::TOO_LARGE));
            }
        }
        assert_eq!(encode(&[0xff; 32], &[0xff; 32], &mut [0; MAX_SIZE]), Ok(72));
    }

    #[test]
    fn long_content_has_a_long_length() {
        let (mut r, mut s) = ([0; 66], [0xff; 66]);
        s[0] = 1;
        for shorter in 0..66 {
            r[..shorter].fill(0);
            r[shorter..].fill(0x01);
            let mut out = [0; MAX_SIZE];
            let len = encode(&r, &s, &mut out).unwrap();
            assert_eq!(out[1] == LONG_FORM, len > 0x81, "{len}");
            assert_eq!(decoded(&out[..len]), Some((r, s)));
            assert_eq!(decoded::<65>(&out[..len]), None);
        }
        r.fill(1);
        assert_eq!(encode(&r, &s, &mut [0; MAX_SIZE]), Ok(MAX_SIZE));
    }

    #[test]
    fn other_encodings_are_refused() {
        for bad in [
            &[0x30, 6, 2, 1, 1, 2, 1, 1, 0][..],   // trailing byte
            &[0x30, 0x81, 6, 2, 1, 1, 2, 1, 1],    // long-form length
            &[0x30, 0x80, 2, 1, 1, 2, 1, 1, 0, 0], // indefinite length
            &[0x30, 7, 2, 2, 0, 1, 2, 1, 1],       // not minimal
            &[0x30, 6, 2, 1, 0x81, 2, 1, 1],       // negative
            &[0x30, 5, 2, 0, 2, 1, 1],             // empty integer
            &[0x31, 6, 2, 1, 1, 2, 1, 1],          // not a SEQUENCE
            &[0x30, 3, 2, 1, 1],                   // s is missing
        ] {
            assert_eq!(decoded::<32>(bad), None, "{bad:02x?}");
        }
        assert!(decoded::<32>(&[0x30, 6, 2, 1, 1, 2, 1, 1]).is_some());
    }
}
