//! Names of aliases.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// What every alias name starts with.
pub const PREFIX: &str = "alias/";
/// Names of AWS managed keys: reserved.
pub const RESERVED_PREFIX: &str = "alias/aws/";
/// Longest alias name, prefix included, in characters.
pub const MAX_NAME: usize = 256;

/// An alias name with its `alias/` prefix, for example `alias/payments`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AliasName(String);

impl AliasName {
    /// Checks a name: prefix, at least one more character, length and characters. Reserved
    /// names are names.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let rest = text.strip_prefix(PREFIX)?;
        let well_formed = !rest.is_empty() && text.len() <= MAX_NAME && matches_pattern(text);
        well_formed.then(|| Self(text.to_owned()))
    }

    /// The name, prefix included.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the name is reserved for AWS managed keys.
    #[must_use]
    pub fn is_reserved(&self) -> bool {
        self.0.starts_with(RESERVED_PREFIX)
    }
}

/// Whether `text` has only the characters of `AliasNameType`.
fn matches_pattern(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b":/_-".contains(&byte);
    !text.is_empty() && text.bytes().all(allowed)
}

impl fmt::Display for AliasName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for AliasName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for AliasName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| de::Error::custom("not an alias name"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_need_prefix_length_and_pattern() {
        for good in ["alias/a", "alias/aws/s3", "alias/a:b/c_d-e", "alias/alias/x"] {
            assert_eq!(AliasName::parse(good).unwrap().as_str(), good);
        }
        let longest = format!("alias/{}", "x".repeat(MAX_NAME - PREFIX.len()));
        assert!(AliasName::parse(&longest).is_some());
        assert!(AliasName::parse(&format!("{longest}x")).is_none());
        for bad in ["", "alias/", "payments", "Alias/a", "alias/a b", "alias/ä", "alias/a\n"] {
            assert!(AliasName::parse(bad).is_none(), "{bad:?}");
        }
    }
}
