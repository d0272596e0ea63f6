//! The paths of the API: `/PREFIX/kms/xks/v1/health` and `/PREFIX/kms/xks/v1/keys/KEY/CALL`.

use kms_policy::Action;

/// Longest prefix, in characters. AWS takes a path of 128 with `/`, the prefix and `/kms/xks/v1`.
pub const MAX_PREFIX: usize = 64;
/// Longest external key id, in characters.
const MAX_KEY: usize = 128;
/// What follows the prefix, with the version of the API.
const VERSION: &str = "/kms/xks/v1/";

/// A call of the API, and the external key id that its path has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call<'p> {
    /// `GetHealthStatus`.
    Health,
    /// `GetKeyMetadata`.
    Metadata(&'p str),
    /// `Encrypt`.
    Encrypt(&'p str),
    /// `Decrypt`.
    Decrypt(&'p str),
}

impl<'p> Call<'p> {
    /// Returns the name of the operation, as the API has it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Health => "GetHealthStatus",
            Self::Metadata(_) => "GetKeyMetadata",
            Self::Encrypt(_) => "Encrypt",
            Self::Decrypt(_) => "Decrypt",
        }
    }

    /// Returns the external key id; `None` for [`Call::Health`], which is not about a key.
    #[must_use]
    pub const fn key(self) -> Option<&'p str> {
        match self {
            Self::Health => None,
            Self::Metadata(key) | Self::Encrypt(key) | Self::Decrypt(key) => Some(key),
        }
    }

    /// Returns the action that policies decide about; `None` for [`Call::Health`], which is exempt.
    #[must_use]
    pub const fn action(self) -> Option<Action> {
        match self {
            Self::Health => None,
            Self::Metadata(_) => Some(Action::DescribeKey),
            Self::Encrypt(_) => Some(Action::Encrypt),
            Self::Decrypt(_) => Some(Action::Decrypt),
        }
    }
}

/// A path of the API, taken apart. Whether there is such a store or key is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Path<'p> {
    /// The prefix, which names the store.
    pub prefix: &'p str,
    /// The call.
    pub call: Call<'p>,
}

impl<'p> Path<'p> {
    /// Reads a path as it was on the request line; `None` if it is not one of the API. Nothing is decoded:
    /// valid paths have no characters that need it.
    #[must_use]
    pub fn parse(path: &'p str) -> Option<Self> {
        let (prefix, rest) = path.strip_prefix('/')?.split_once('/')?;
        let rest = rest.strip_prefix(VERSION.trim_start_matches('/'))?;
        if !is_prefix(prefix) {
            return None;
        }
        if rest == "health" {
            return Some(Self { prefix, call: Call::Health });
        }
        let (key, call) = rest.strip_prefix("keys/")?.split_once('/')?;
        if !is_key(key) {
            return None;
        }
        let call = match call {
            "metadata" => Call::Metadata(key),
            "encrypt" => Call::Encrypt(key),
            "decrypt" => Call::Decrypt(key),
            _ => return None,
        };
        Some(Self { prefix, call })
    }
}

/// Whether a text can be the prefix of a store: 1 to [`MAX_PREFIX`] letters, digits, `-` and `_`.
#[must_use]
pub fn is_prefix(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    (1..=MAX_PREFIX).contains(&text.len()) && text.bytes().all(allowed)
}

/// Whether a text can be an external key id. Dot segments are not: the canonical form of a signature
/// resolves them.
fn is_key(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    (1..=MAX_KEY).contains(&text.len()) && text.bytes().all(allowed) && !matches!(text, "." | "..")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_call_has_its_path() {
        let health = Path { prefix: "a", call: Call::Health };
        assert_eq!(Path::parse("/a/kms/xks/v1/health"), Some(health));
        for (name, call) in [
            ("metadata", Call::Metadata("k.1_-")),
            ("encrypt", Call::Encrypt("k.1_-")),
            ("decrypt", Call::Decrypt("k.1_-")),
        ] {
            let text = format!("/Store-1/kms/xks/v1/keys/k.1_-/{name}");
            assert_eq!(Path::parse(&text), Some(Path { prefix: "Store-1", call }));
        }
    }

    #[test]
    fn other_paths_are_refused() {
        let long = format!("/{}/kms/xks/v1/health", "a".repeat(MAX_PREFIX + 1));
        let key = format!("/a/kms/xks/v1/keys/{}/encrypt", "k".repeat(MAX_KEY + 1));
        for text in [
            "",
            "/",
            "//kms/xks/v1/health",
            "/kms/xks/v1/health",
            "/a/b/kms/xks/v1/health",
            "/a/kms/xks/v2/health",
            "/a/kms/xks/v1/health/",
            "/a/kms/xks/v1//health",
            "/a/kms/xks/v1/keys/encrypt",
            "/a/kms/xks/v1/keys//encrypt",
            "/a/kms/xks/v1/keys/./encrypt",
            "/a/kms/xks/v1/keys/../encrypt",
            "/a/kms/xks/v1/keys/k%31/encrypt",
            "/a/kms/xks/v1/keys/k/rotate",
            "/a/kms/xks/v1/keys/k/encrypt/",
            "/a.b/kms/xks/v1/health",
            &long,
            &key,
        ] {
            assert_eq!(Path::parse(text), None, "{text}");
        }
    }
}
