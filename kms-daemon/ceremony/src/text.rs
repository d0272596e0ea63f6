//! Public keys as lines of text.

use std::fmt;
use std::str::FromStr;

use hsm_protocol::DomainId;
use hsm_protocol::command::replica::DomainKeyInfo;
use hsm_protocol::identity::PublicKey;

use super::KeyPurpose;
use kms_base::hex;

/// A text that is not what it should be.
#[derive(Debug, thiserror::Error)]
#[error("{text:?} is not {wanted}")]
pub struct TextError {
    pub(super) text: String,
    pub(super) wanted: &'static str,
}

/// A public key with what it is for: the line of a `.pub` file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PublicText {
    /// What it is for.
    pub purpose: KeyPurpose,
    /// The key.
    pub key: PublicKey,
}

impl fmt::Display for PublicText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.purpose.label(), hex::encode(&self.key.to_bytes()))
    }
}

impl FromStr for PublicText {
    type Err = TextError;

    fn from_str(text: &str) -> Result<Self, TextError> {
        let read = || {
            let (label, key) = text.trim().split_once(' ')?;
            Some(Self { purpose: KeyPurpose::from_label(label)?, key: public_key(key)? })
        };
        let wanted = "a public key as `kmsctl operator new` and `kmsctl device-ca new` write it";
        read().ok_or_else(|| TextError { text: shortened(text), wanted })
    }
}

/// What operators approve another domain by: its id, the number of its key, and its replication key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerText(pub DomainKeyInfo);

impl fmt::Display for PeerText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let DomainKeyInfo { domain, domain_key, public } = self.0;
        write!(f, "{domain}:{domain_key}:{}", hex::encode(&public.to_bytes()))
    }
}

impl FromStr for PeerText {
    type Err = TextError;

    fn from_str(text: &str) -> Result<Self, TextError> {
        let read = || {
            let mut parts = text.split(':');
            let (domain, number, key) = (parts.next()?, parts.next()?, parts.next()?);
            let domain_key = number.parse::<u32>().ok().filter(|it| it.to_string() == number)?;
            let domain = DomainId(hex::decode(domain)?);
            let info = DomainKeyInfo { domain, domain_key, public: public_key(key)? };
            parts.next().is_none().then_some(Self(info))
        };
        let wanted = "another domain as its `kmsctl domain show` names it for others";
        read().ok_or_else(|| TextError { text: shortened(text), wanted })
    }
}

/// A point on the curve, compressed, in hexadecimal digits.
pub(super) fn public_key(text: &str) -> Option<PublicKey> {
    let bytes = hex::decode::<{ PublicKey::SIZE }>(text)?;
    let (tag, x) = bytes.split_first()?;
    let key = PublicKey { tag: *tag, x: x.try_into().ok()? };
    key.to_point().is_ok().then_some(key)
}

pub(super) fn shortened(text: &str) -> String {
    text.chars().take(100).collect()
}

#[cfg(test)]
mod tests {
    use host_driver::OperatorKey;

    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let key = OperatorKey::generate().public();
        for purpose in [KeyPurpose::Operator, KeyPurpose::DeviceCa] {
            let text = PublicText { purpose, key };
            assert_eq!(format!("{text}\n").parse::<PublicText>().unwrap(), text);
        }
        let peer =
            PeerText(DomainKeyInfo { domain: DomainId([7; 16]), domain_key: 12, public: key });
        assert_eq!(peer.to_string().parse::<PeerText>().unwrap(), peer);
    }

    #[test]
    fn anything_else_is_refused() {
        let key = hex::encode(&OperatorKey::generate().public().to_bytes());
        let no_point = format!("02{}", "ff".repeat(32));
        for text in [
            String::new(),
            key.clone(),
            format!("strongroom-host-1 {key}"),
            format!("strongroom-operator-1 {}", &key[2..]),
            format!("strongroom-operator-1 {no_point}"),
        ] {
            let error = text.parse::<PublicText>().unwrap_err().to_string();
            assert!(error.contains("kmsctl operator new"), "{error}");
        }
        let domain = "07".repeat(16);
        for text in [
            format!("{domain}:1"),
            format!("{domain}:01:{key}"),
            format!("{domain}:1:{no_point}"),
            format!("{domain}:1:{key}:"),
            format!("{}:1:{key}", &domain[2..]),
        ] {
            assert!(text.parse::<PeerText>().is_err(), "{text}");
        }
    }
}
