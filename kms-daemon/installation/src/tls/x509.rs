//! Reads the parts of a certificate that the daemon needs: names, dates, subject and key (RFC 5280
//! section 4.1).

use std::net::IpAddr;
use std::time::{SystemTime, UNIX_EPOCH};

use der::asn1::{AnyRef, GeneralizedTime, UtcTime};
use der::{Decode, Reader, SliceReader};

/// Identifier octets, X.690 section 8.1.2.
const UTC_TIME: u8 = 0x17;
const VERSION: u8 = 0xa0;
const EXTENSIONS: u8 = 0xa3;
const BOOLEAN: u8 = 0x01;
const DNS_NAME: u8 = 0x82;
const IP_ADDRESS: u8 = 0x87;
/// id-ce-subjectAltName, 2.5.29.17.
const SUBJECT_ALT_NAME: &[u8] = &[0x55, 0x1d, 0x11];

/// id-at-commonName, 2.5.4.3.
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];

/// What a certificate says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Facts {
    /// Host names in lower case, and addresses, sorted.
    pub(super) names: Vec<String>,
    pub(super) not_before: SystemTime,
    pub(super) not_after: SystemTime,
    /// The subject's name, DER.
    pub(super) subject: Vec<u8>,
    /// The SubjectPublicKeyInfo, DER.
    pub(super) public_key: Vec<u8>,
}

/// Reads a certificate; `None` if it is malformed, or has dates before 1970.
pub(super) fn read(certificate: &[u8]) -> Option<Facts> {
    read_der(certificate).ok()
}

fn read_der(certificate: &[u8]) -> der::Result<Facts> {
    let mut certificate = inside(&mut SliceReader::new(certificate)?)?;
    let mut tbs = inside(&mut certificate)?;
    if tbs.peek_byte() == Some(VERSION) {
        tbs.tlv_bytes()?;
    }
    for _serial_algorithm_issuer in 0..3 {
        tbs.tlv_bytes()?;
    }
    let mut validity = inside(&mut tbs)?;
    let (not_before, not_after) = (time(&mut validity)?, time(&mut validity)?);
    let subject = tbs.tlv_bytes()?.to_vec();
    let public_key = tbs.tlv_bytes()?.to_vec();
    let mut names = Vec::new();
    while !tbs.is_finished() {
        if tbs.peek_byte() != Some(EXTENSIONS) {
            tbs.tlv_bytes()?;
            continue;
        }
        let mut extensions = inside(&mut inside(&mut tbs)?)?;
        while !extensions.is_finished() {
            let mut extension = inside(&mut extensions)?;
            let id = AnyRef::decode(&mut extension)?;
            if extension.peek_byte() == Some(BOOLEAN) {
                extension.tlv_bytes()?;
            }
            if id.value() == SUBJECT_ALT_NAME {
                names = alternative_names(inside(&mut inside(&mut extension)?)?)?;
            }
        }
    }
    names.sort();
    Ok(Facts { names, not_before, not_after, subject, public_key })
}

/// The common names in the name of a subject, DER, in lower case.
///
/// # Errors
/// If it is malformed.
pub(super) fn common_names(subject: &[u8]) -> der::Result<Vec<String>> {
    let mut names = Vec::new();
    let mut relative = inside(&mut SliceReader::new(subject)?)?;
    while !relative.is_finished() {
        let mut attributes = inside(&mut relative)?;
        while !attributes.is_finished() {
            let mut attribute = inside(&mut attributes)?;
            let kind = AnyRef::decode(&mut attribute)?;
            let value = AnyRef::decode(&mut attribute)?.value();
            if kind.value() == COMMON_NAME {
                names.push(String::from_utf8_lossy(value).to_ascii_lowercase());
            }
        }
    }
    Ok(names)
}

fn alternative_names(mut list: SliceReader<'_>) -> der::Result<Vec<String>> {
    let mut names = Vec::new();
    while !list.is_finished() {
        let kind = list.peek_byte();
        let value = AnyRef::decode(&mut list)?.value();
        match (kind, value.len()) {
            (Some(DNS_NAME), _) => {
                names.push(String::from_utf8_lossy(value).to_ascii_lowercase());
            }
            (Some(IP_ADDRESS), 4) => names.extend(<[u8; 4]>::try_from(value).map(ip)),
            (Some(IP_ADDRESS), 16) => names.extend(<[u8; 16]>::try_from(value).map(ip)),
            _ => {}
        }
    }
    Ok(names)
}

fn ip(octets: impl Into<IpAddr>) -> String {
    octets.into().to_string()
}

/// Reads the next value, and gives a reader of what is in it.
fn inside<'a>(reader: &mut SliceReader<'a>) -> der::Result<SliceReader<'a>> {
    SliceReader::new(AnyRef::decode(reader)?.value())
}

fn time(reader: &mut SliceReader<'_>) -> der::Result<SystemTime> {
    let since = match reader.peek_byte() {
        Some(UTC_TIME) => UtcTime::decode(reader)?.to_unix_duration(),
        _ => GeneralizedTime::decode(reader)?.to_unix_duration(),
    };
    Ok(UNIX_EPOCH + since)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rcgen::{CertificateParams, DnType, KeyPair, PublicKeyData, date_time_ymd};

    use super::*;

    #[test]
    fn names_and_dates() {
        let names = ["kms.example", "192.0.2.1", "2001:db8::1"].map(str::to_owned);
        let mut parameters = CertificateParams::new(names).unwrap();
        parameters.not_before = date_time_ymd(2026, 1, 2); // UTCTime
        parameters.not_after = date_time_ymd(2050, 1, 1); // GeneralizedTime
        let key = KeyPair::generate().unwrap();
        let facts = read(parameters.self_signed(&key).unwrap().der()).unwrap();
        assert_eq!(facts.names, ["192.0.2.1", "2001:db8::1", "kms.example"]);
        assert_eq!(facts.not_before, UNIX_EPOCH + Duration::from_secs(1_767_312_000));
        assert_eq!(facts.not_after, UNIX_EPOCH + Duration::from_secs(2_524_608_000));
        assert_eq!(facts.public_key, key.subject_public_key_info());
        let without = CertificateParams::default().self_signed(&key).unwrap();
        assert!(read(without.der()).unwrap().names.is_empty());
    }

    #[test]
    fn the_common_name_of_a_subject() {
        let mut parameters = CertificateParams::default();
        parameters.distinguished_name.push(DnType::OrganizationName, "cks.example");
        parameters.distinguished_name.push(DnType::CommonName, "CKS.kms.us-east-1.amazonaws.com");
        let key = KeyPair::generate().unwrap();
        let facts = read(parameters.self_signed(&key).unwrap().der()).unwrap();
        let names = common_names(&facts.subject).unwrap();
        assert_eq!(names.last().unwrap(), "cks.kms.us-east-1.amazonaws.com");
        assert!(!names.contains(&"cks.example".to_owned()), "of another attribute");
        for length in 1..facts.subject.len() {
            let _ = common_names(&facts.subject[..length]); // whatever it is, it ends
        }
    }

    #[test]
    fn what_is_no_certificate() {
        let key = KeyPair::generate().unwrap();
        let good = CertificateParams::default().self_signed(&key).unwrap().der().to_vec();
        for length in 0..good.len() {
            assert_eq!(read(&good[..length]), None, "{length} bytes");
        }
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 0xff;
            let _ = read(&bad); // whatever it is, it ends
        }
    }
}
