//! What the verifier has to know of an access key.
//!
//! The verifier looks nothing up. Its caller asks a [`Claim`](super::Claim) for the access key id,
//! finds the key however long that takes, and hands what it found, or that there is nothing, to
//! [`Verifier::verify`](super::Verifier::verify). A caller should take about as long to find
//! nothing as to find a key.

use std::time::SystemTime;

use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

/// A key that was found. The verifier gives it back if the request was signed with it: whatever
/// else a caller keeps with it, its principal for example, is then that of the request.
pub trait AccessKey {
    /// The secret access key.
    fn secret(&self) -> &str;

    /// What a temporary key demands besides; `None` for a long-term key, with which no session
    /// token may come.
    fn session(&self) -> Option<Session>;
}

/// The session of a temporary key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Session {
    token: TokenDigest,
    expires: SystemTime,
}

impl Session {
    /// A session that ends at `expires`, of which this much is left after the token: its digest.
    #[must_use]
    pub const fn new(token: TokenDigest, expires: SystemTime) -> Self {
        Self { token, expires }
    }

    pub(super) const fn token(&self) -> &TokenDigest {
        &self.token
    }

    pub(super) fn has_expired(&self, now: SystemTime) -> bool {
        now >= self.expires
    }
}

/// SHA-256 of a session token. A store of keys need not keep the token itself.
#[derive(Debug, Clone, Copy)]
pub struct TokenDigest([u8; 32]);

impl TokenDigest {
    /// The digest of `token`.
    #[must_use]
    pub fn of(token: &[u8]) -> Self {
        Self(Sha256::digest(token).into())
    }

    /// From its 32 bytes, as [`TokenDigest::as_bytes`] gave them.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl ConstantTimeEq for TokenDigest {
    fn ct_eq(&self, other: &Self) -> Choice {
        self.0.ct_eq(&other.0)
    }
}

impl PartialEq for TokenDigest {
    fn eq(&self, other: &Self) -> bool {
        self.ct_eq(other).into()
    }
}

impl Eq for TokenDigest {}
