//! AES-256-GCM in place, under a derived key (SP 800-38D).

use aes_gcm::aead::{AeadInOut, KeyInit};
use aes_gcm::{Aes256Gcm, Nonce, Tag};
use hsm_protocol::ErrorCode;
use hsm_protocol::token::{IV_SIZE, TAG_SIZE};

use crate::secret::Secret;

/// The IV of a key that seals one message only.
pub(crate) const ONE_TIME_IV: [u8; IV_SIZE] = [0; IV_SIZE];

/// Encrypts `body` in place and returns the tag.
///
/// # Errors
/// [`ErrorCode::TOO_LARGE`] beyond the limits of the mode, which nothing here reaches.
pub(crate) fn seal(
    key: &Secret<32>,
    iv: &[u8; IV_SIZE],
    aad: &[u8],
    body: &mut [u8],
) -> Result<[u8; TAG_SIZE], ErrorCode> {
    Aes256Gcm::new(key.expose().into())
        .encrypt_inout_detached(&Nonce::from(*iv), aad, body.into())
        .map(Into::into)
        .map_err(|_| ErrorCode::TOO_LARGE)
}

/// Decrypts `body` in place; `None`, with `body` unchanged, if the tag is wrong.
pub(crate) fn open(
    key: &Secret<32>,
    iv: &[u8; IV_SIZE],
    aad: &[u8],
    body: &mut [u8],
    tag: &[u8; TAG_SIZE],
) -> Option<()> {
    Aes256Gcm::new(key.expose().into())
        .decrypt_inout_detached(&Nonce::from(*iv), aad, body.into(), &Tag::from(*tag))
        .ok()
}
