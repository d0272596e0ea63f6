//! When a certificate ends: `notAfter` of RFC 5280 section 4.1.2.5, read from its DER.

use std::path::Path;
use std::time::SystemTime;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use time::PrimitiveDateTime;
use time::macros::format_description;

use super::{TlsError, pem_error};

const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// When the first certificate of a PEM file ends, which is the one that a server shows; `None` if it
/// does not say so in a form that RFC 5280 knows.
///
/// # Errors
/// [`TlsError`] if the file holds no certificate.
pub fn expiry(path: &Path) -> Result<Option<SystemTime>, TlsError> {
    let certificate = CertificateDer::from_pem_file(path)
        .map_err(|error| pem_error(path, "certificate", error))?;
    Ok(not_after(&certificate))
}

/// `notAfter` of a certificate.
pub(super) fn not_after(certificate: &[u8]) -> Option<SystemTime> {
    let (certificate, _) = element(certificate, SEQUENCE)?;
    let (mut rest, _) = element(certificate, SEQUENCE)?;
    if let Some((_, after)) = element(rest, VERSION) {
        rest = after;
    }
    // Serial number, signature algorithm, issuer.
    for _ in 0..3 {
        rest = any(rest)?.2;
    }
    let (validity, _) = element(rest, SEQUENCE)?;
    let (_, _, not_after) = any(validity)?;
    let (tag, text, _) = any(not_after)?;
    let text = std::str::from_utf8(text).ok()?;
    let text = match tag {
        // Years from 50 on are of the last century.
        UTC_TIME => {
            let century = if text.get(..2)? < "50" { "20" } else { "19" };
            format!("{century}{text}")
        }
        GENERALIZED_TIME => text.to_owned(),
        _ => return None,
    };
    let form = format_description!("[year][month][day][hour][minute][second]Z");
    Some(PrimitiveDateTime::parse(&text, form).ok()?.assume_utc().into())
}

/// The content of an element with this tag, and what follows it.
fn element(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (found, content, rest) = any(bytes)?;
    (found == tag).then_some((content, rest))
}

/// Tag and content of an element, and what follows it.
fn any(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = bytes.split_first()?;
    let (&first, mut rest) = rest.split_first()?;
    let mut length = usize::from(first);
    if first >= 0x80 {
        let count = usize::from(first & 0x7f);
        let (digits, after) = rest.split_at_checked(count).filter(|_| (1..=4).contains(&count))?;
        length = digits.iter().fold(0, |length, digit| length << 8 | usize::from(*digit));
        rest = after;
    }
    let (content, rest) = rest.split_at_checked(length)?;
    Some((tag, content, rest))
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use rcgen::{CertificateParams, KeyPair};
    use time::{Date, Month, OffsetDateTime};

    use super::*;

    fn ending(year: i32) -> (OffsetDateTime, Vec<u8>) {
        let day = Date::from_calendar_date(year, Month::February, 3).unwrap();
        let end = day.with_hms(4, 5, 6).unwrap().assume_utc();
        let mut parameters = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        parameters.not_after = end;
        let made = parameters.self_signed(&KeyPair::generate().unwrap()).unwrap();
        (end, made.der().to_vec())
    }

    #[test]
    fn both_forms_of_time_are_read() {
        // Up to 2049 the year has two digits.
        for year in [1999, 2026, 2049, 2050, 4096] {
            let (end, der) = ending(year);
            assert_eq!(not_after(&der), Some(end.into()), "{year}");
        }
        let (_, der) = ending(2026);
        let end = UNIX_EPOCH + Duration::from_secs(1_770_091_506);
        assert_eq!(not_after(&der), Some(end));
    }

    #[test]
    fn what_is_no_certificate_has_no_end() {
        let (_, der) = ending(2026);
        for length in 0..der.len() {
            assert_eq!(not_after(&der[..length]), None, "cut to {length}");
        }
        assert_eq!(not_after(&[SEQUENCE, 0x84, 0xff, 0xff, 0xff, 0xff]), None);
        assert_eq!(not_after(&[SEQUENCE, 0x80, 0, 0]), None);
    }
}
