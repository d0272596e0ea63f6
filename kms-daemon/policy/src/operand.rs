//! What typed condition operators compare: numbers, networks and bytes.

use std::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// A decimal number with at most 9 decimal places and at most 24 digits before them, exactly.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Decimal(i128);

const PLACES: usize = 9;
const SCALE: i128 = 1_000_000_000;

impl Decimal {
    pub(crate) fn from_integer(value: i64) -> Self {
        Self(i128::from(value).saturating_mul(SCALE))
    }

    /// Reads an optional sign, digits, and perhaps a point and more digits.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (negative, digits) = match text.strip_prefix('-') {
            Some(digits) => (true, digits),
            None => (false, text.strip_prefix('+').unwrap_or(text)),
        };
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
        let numeric =
            |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let fits = whole.len() <= 24 && fraction.len() <= PLACES;
        if !fits || !numeric(whole) || !numeric(fraction) {
            return None;
        }
        let whole: i128 = whole.parse().ok()?;
        let fraction: i128 = format!("{fraction:0<PLACES$}").parse().ok()?;
        let value = whole.checked_mul(SCALE)?.checked_add(fraction)?;
        Some(Self(if negative { value.checked_neg()? } else { value }))
    }
}

/// A range of addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Network {
    address: u128,
    mask: u128,
    v4: bool,
}

impl Network {
    /// Reads an address, or a range in CIDR notation. Bits beyond the prefix are ignored.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let (address, bits, v4) = number(address.parse().ok()?);
        let prefix = match prefix {
            Some(prefix) if prefix.bytes().all(|byte| byte.is_ascii_digit()) => {
                prefix.parse().ok().filter(|prefix| *prefix <= bits)?
            }
            Some(_) => return None,
            None => bits,
        };
        let free = bits.checked_sub(prefix)?;
        let mask = u128::MAX.checked_shl(free).unwrap_or(0);
        Some(Self { address: address & mask, mask, v4 })
    }

    /// Whether `address` is in the range. An IPv4 address that is written as IPv6, as sockets
    /// for both do, is an IPv4 address.
    pub(crate) fn contains(&self, address: IpAddr) -> bool {
        let (address, _, v4) = number(address.to_canonical());
        v4 == self.v4 && address & self.mask == self.address
    }
}

/// The address as a number, its size in bits, and whether it is IPv4.
fn number(address: IpAddr) -> (u128, u32, bool) {
    match address {
        IpAddr::V4(v4) => (u128::from(u32::from(v4)), 32, true),
        IpAddr::V6(v6) => (u128::from(v6), 128, false),
    }
}

/// The bytes that `text` means in Base64.
pub(crate) fn decode_base64(text: &str) -> Option<Vec<u8>> {
    STANDARD.decode(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_are_exact() {
        let decimal = |text| Decimal::parse(text).unwrap();
        assert_eq!(decimal("1"), decimal("1.000"));
        assert_eq!(decimal("+1"), decimal("001"));
        assert_eq!(decimal("-0"), decimal("0"));
        assert!(decimal("-1.5") < decimal("-1.4"));
        assert!(decimal("9007199254740993") > decimal("9007199254740992"));
        assert!(decimal("0.1") > decimal("0.099999999"));
        assert_eq!(decimal("-7"), Decimal::from_integer(-7));
        let long = "9".repeat(25);
        for text in ["", "-", ".5", "5.", "1e3", "0x10", " 1", "1,5", "١", "0.1234567890", &long] {
            assert_eq!(Decimal::parse(text), None, "{text}");
        }
    }

    #[test]
    fn networks_contain_their_addresses() {
        for (network, address, expected) in [
            ("192.0.2.0/24", "192.0.2.255", true),
            ("192.0.2.77/24", "192.0.2.1", true),
            ("192.0.2.0/24", "192.0.3.0", false),
            ("192.0.2.1", "192.0.2.1", true),
            ("192.0.2.1", "192.0.2.2", false),
            ("0.0.0.0/0", "203.0.113.9", true),
            ("0.0.0.0/0", "2001:db8::1", false),
            ("::/0", "2001:db8::1", true),
            ("::/0", "203.0.113.9", false),
            ("2001:db8::/32", "2001:db8:ffff::1", true),
            ("2001:db8::/32", "2001:db9::1", false),
            ("2001:db8::1", "2001:DB8:0::1", true),
            ("192.0.2.0/24", "::ffff:192.0.2.9", true),
            ("::/0", "::ffff:192.0.2.9", false),
        ] {
            let network = Network::parse(network).unwrap();
            assert_eq!(network.contains(address.parse().unwrap()), expected, "{address}");
        }
        for text in ["", "192.0.2", "192.0.2.0/33", "::/129", "192.0.2.0/", "192.0.2.0/+8", "*"] {
            assert_eq!(Network::parse(text), None, "{text}");
        }
    }
}
