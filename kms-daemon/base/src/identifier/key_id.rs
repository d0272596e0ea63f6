//! Key ids and ARNs.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use uuid::Uuid;

use super::AliasName;

/// Marks the id of a multi-Region key.
const MULTI_REGION: &str = "mrk-";

/// Characters of a key id.
pub const LENGTH: usize = 36;

/// A key id: a lower-case UUID, or `mrk-` and 32 hexadecimal digits. 36 characters either way.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(hsm_protocol::KeyId);

impl KeyId {
    /// A new random id of a single-Region key.
    #[must_use]
    pub fn random() -> Self {
        Self(hsm_protocol::KeyId::single_region(Uuid::new_v4().into_bytes()))
    }

    /// A new random id of a multi-Region key.
    #[must_use]
    pub fn random_multi_region() -> Self {
        let bytes = Uuid::new_v4().into_bytes();
        Self(hsm_protocol::KeyId { multi_region: true, bytes })
    }

    /// Reads an id; `None` unless it is written exactly as [`fmt::Display`] writes it.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let multi_region = text.starts_with(MULTI_REGION);
        let digits = text.strip_prefix(MULTI_REGION).unwrap_or(text);
        let bytes = Uuid::try_parse(digits).ok()?.into_bytes();
        let id = Self(hsm_protocol::KeyId { multi_region, bytes });
        (id.encode(&mut [0; LENGTH]) == text).then_some(id)
    }

    /// The id as text, written into `buffer`.
    pub fn encode(self, buffer: &mut [u8; LENGTH]) -> &str {
        let uuid = Uuid::from_bytes(self.0.bytes);
        if !self.0.multi_region {
            return uuid.hyphenated().encode_lower(buffer);
        }
        let (prefix, digits) = buffer.split_at_mut(MULTI_REGION.len());
        prefix.copy_from_slice(MULTI_REGION.as_bytes());
        uuid.simple().encode_lower(digits);
        // Both halves are ASCII.
        std::str::from_utf8(buffer).unwrap_or_default()
    }

    /// The id in the form devices use.
    #[must_use]
    pub const fn device(self) -> hsm_protocol::KeyId {
        self.0
    }
}

impl From<hsm_protocol::KeyId> for KeyId {
    fn from(id: hsm_protocol::KeyId) -> Self {
        Self(id)
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.encode(&mut [0; LENGTH]))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyId({self})")
    }
}

impl Serialize for KeyId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for KeyId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| de::Error::custom("not a key id"))
    }
}

/// Where a resource lives: an account in a Region.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Scope {
    /// Twelve digits.
    pub account: String,
    /// For example `us-east-1`.
    pub region: String,
}

impl Scope {
    /// A scope of the given account and Region.
    #[must_use]
    pub fn new(account: impl Into<String>, region: impl Into<String>) -> Self {
        Self { account: account.into(), region: region.into() }
    }

    /// The ARN partition of the Region.
    #[must_use]
    pub fn partition(&self) -> &'static str {
        if self.region.starts_with("cn-") {
            "aws-cn"
        } else if self.region.starts_with("us-gov-") {
            "aws-us-gov"
        } else {
            "aws"
        }
    }

    /// The ARN of a key.
    #[must_use]
    pub fn key_arn(&self, id: KeyId) -> String {
        self.arn(&["key/", id.encode(&mut [0; LENGTH])])
    }

    /// The ARN of an alias.
    #[must_use]
    pub fn alias_arn(&self, alias: &AliasName) -> String {
        self.arn(&[alias.as_str()])
    }

    /// The ARN of the account principal.
    #[must_use]
    pub fn root_arn(&self) -> String {
        format!("arn:{}:iam::{}:root", self.partition(), self.account)
    }

    fn arn(&self, resource: &[&str]) -> String {
        let place = ["arn:", self.partition(), ":kms:", &self.region, ":", &self.account, ":"];
        // Every request needs it more than once: one allocation, and no formatting.
        let length = place.iter().chain(resource).map(|part| part.len()).sum();
        let mut arn = String::with_capacity(length);
        place.iter().chain(resource).for_each(|part| arn.push_str(part));
        arn
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SINGLE: &str = "1234abcd-12ab-34cd-56ef-1234567890ab";
    const MULTI: &str = "mrk-1234abcd12ab34cd56ef1234567890ab";

    #[test]
    fn ids_read_back_as_written() {
        for text in [SINGLE, MULTI] {
            assert_eq!(KeyId::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(KeyId::parse(SINGLE).unwrap().device().bytes[..2], [0x12, 0x34]);
        assert!(KeyId::parse(MULTI).unwrap().device().multi_region);
    }

    #[test]
    fn other_spellings_are_no_ids() {
        let others = [
            "",
            "1234ABCD-12AB-34CD-56EF-1234567890AB",
            "1234abcd12ab34cd56ef1234567890ab",
            "mrk-1234abcd-12ab-34cd-56ef-1234567890ab",
            "{1234abcd-12ab-34cd-56ef-1234567890ab}",
            "urn:uuid:1234abcd-12ab-34cd-56ef-1234567890ab",
            "mrk-",
        ];
        for text in others {
            assert_eq!(KeyId::parse(text), None, "{text}");
        }
    }

    #[test]
    fn arns_follow_the_partition() {
        let id = KeyId::parse(SINGLE).unwrap();
        let arn = |region| Scope::new("000000000000", region).key_arn(id);
        assert_eq!(arn("us-east-1"), format!("arn:aws:kms:us-east-1:000000000000:key/{SINGLE}"));
        assert!(arn("cn-north-1").starts_with("arn:aws-cn:kms:"));
        assert!(arn("us-gov-west-1").starts_with("arn:aws-us-gov:kms:"));
    }
}
