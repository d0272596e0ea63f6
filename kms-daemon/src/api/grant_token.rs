//! Grant tokens: the name of a grant, sealed with a MAC.
//!
//! A token gives nothing to somebody who is not the grantee, and is not a secret. It is opaque to
//! clients and different each time, as they expect.
//!
//! ```text
//! version 1 | MAC 16 | nonce 8 | grant id 32 | account/region/key id
//! ```
//! written as URL-safe Base64.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::mac::{MAC_SIZE, MacKey};
use kms_base::error::{Exception, KmsError};
use kms_base::identifier::{KeyId, Scope};
use kms_keys::GrantId;

/// Version of the layout.
const VERSION: u8 = 1;
/// What the MAC is for.
const PURPOSE: &[u8] = b"grant token";
/// Length of the nonce in bytes.
const NONCE_SIZE: usize = 8;

/// What a token names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct GrantToken {
    /// Account and Region of the key.
    pub(super) scope: Scope,
    /// The key.
    pub(super) key: KeyId,
    /// The grant.
    pub(super) grant: GrantId,
}

impl GrantToken {
    /// A new token.
    pub(super) fn issue(&self, seal: &MacKey) -> Result<String, KmsError> {
        let mut nonce = [0; NONCE_SIZE];
        getrandom::fill(&mut nonce).map_err(KmsError::internal)?;
        let Self { scope, key, grant } = self;
        let place = format!("{}/{}/{key}", scope.account, scope.region);
        let body = [nonce.as_slice(), &grant.0, place.as_bytes()].concat();
        let token = [&[VERSION], seal.mac(&[PURPOSE, &body]).as_slice(), &body].concat();
        Ok(URL_SAFE_NO_PAD.encode(token))
    }

    /// Reads a token.
    pub(super) fn read(seal: &MacKey, token: &str) -> Result<Self, KmsError> {
        Self::open(seal, token).ok_or_else(|| KmsError::bare(Exception::InvalidGrantToken))
    }

    fn open(seal: &MacKey, token: &str) -> Option<Self> {
        let token = URL_SAFE_NO_PAD.decode(token).ok()?;
        let (&version, rest) = token.split_first()?;
        let (mac, body) = rest.split_at_checked(MAC_SIZE)?;
        if version != VERSION || !seal.verify(&[PURPOSE, body], mac) {
            return None;
        }
        let (grant, place) = body.get(NONCE_SIZE..)?.split_first_chunk()?;
        let mut place = std::str::from_utf8(place).ok()?.split('/');
        let scope = Scope::new(place.next()?, place.next()?);
        Some(Self { scope, key: KeyId::parse(place.next()?)?, grant: GrantId(*grant) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kms_store::MemoryStore;

    #[tokio::test]
    async fn tokens_are_read_back_and_cannot_be_made_up() {
        let seal = MacKey::open(&MemoryStore::new()).await.unwrap();
        let scope = Scope::new("000000000000", "us-east-1");
        let token = GrantToken { scope, key: KeyId::random(), grant: GrantId([7; 32]) };
        let text = token.issue(&seal).unwrap();
        assert_eq!(GrantToken::read(&seal, &text).unwrap(), token);
        assert_ne!(token.issue(&seal).unwrap(), text);

        let stranger = MacKey::open(&MemoryStore::new()).await.unwrap();
        let mut forged = vec![String::new(), "x".repeat(8192), token.issue(&stranger).unwrap()];
        for at in 0..URL_SAFE_NO_PAD.decode(&text).unwrap().len() {
            let mut bytes = URL_SAFE_NO_PAD.decode(&text).unwrap();
            bytes[at] ^= 1;
            forged.push(URL_SAFE_NO_PAD.encode(&bytes));
            forged.push(URL_SAFE_NO_PAD.encode(&bytes[..at]));
        }
        for text in forged {
            let refusal = GrantToken::read(&seal, &text).unwrap_err();
            assert_eq!(refusal, KmsError::bare(Exception::InvalidGrantToken));
        }
    }
}
