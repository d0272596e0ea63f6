//! Secrets in RAM: not `Clone`, redacted in `Debug`, zeroised on drop.
//!
//! The bytes come out only by `expose`, whose callers say where the exposure ends. Moving a
//! secret leaves a copy of its bytes on the stack, so these are built in place and borrowed.

use core::fmt;

use hsm_protocol::ErrorCode;
use hsm_protocol::key_spec::MAX_SECRET;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// A secret of `N` bytes.
#[derive(ZeroizeOnDrop)]
pub struct Secret<const N: usize>([u8; N]);

impl<const N: usize> Secret<N> {
    /// An all-zero secret, to be filled by [`Secret::expose_mut`].
    #[must_use]
    pub const fn zeroed() -> Self {
        Self([0; N])
    }

    /// Copies a secret; the caller zeroises the original.
    #[must_use]
    pub fn copy_from(bytes: &[u8; N]) -> Self {
        Self(*bytes)
    }

    /// The bytes. The exposure ends with the borrow; callers copy them only into other secrets.
    #[must_use]
    pub const fn expose(&self) -> &[u8; N] {
        &self.0
    }

    /// The bytes, to be written in place.
    pub const fn expose_mut(&mut self) -> &mut [u8; N] {
        &mut self.0
    }
}

impl<const N: usize> fmt::Debug for Secret<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret([{N} bytes])")
    }
}

/// The secret of a key of any spec: up to [`MAX_SECRET`] bytes.
#[derive(ZeroizeOnDrop)]
pub struct SecretBuf {
    bytes: [u8; MAX_SECRET],
    len: usize,
}

impl SecretBuf {
    /// An empty secret.
    #[must_use]
    pub const fn new() -> Self {
        Self { bytes: [0; MAX_SECRET], len: 0 }
    }

    /// Copies a secret; the caller zeroises the original.
    ///
    /// # Errors
    /// [`ErrorCode::TOO_LARGE`] if it is longer than [`MAX_SECRET`].
    pub fn copy_from(bytes: &[u8]) -> Result<Self, ErrorCode> {
        let mut secret = Self::new();
        secret.set(bytes)?;
        Ok(secret)
    }

    /// Copies a secret into this place; the caller zeroises the original.
    ///
    /// # Errors
    /// [`ErrorCode::TOO_LARGE`] if it is longer than [`MAX_SECRET`].
    pub fn set(&mut self, bytes: &[u8]) -> Result<(), ErrorCode> {
        self.resize(bytes.len())?.copy_from_slice(bytes);
        Ok(())
    }

    /// Clears the secret, sets its length, and gives the bytes, all zero, to be written in place.
    ///
    /// # Errors
    /// [`ErrorCode::TOO_LARGE`] if `len` exceeds [`MAX_SECRET`].
    pub fn resize(&mut self, len: usize) -> Result<&mut [u8], ErrorCode> {
        self.zeroize();
        let bytes = self.bytes.get_mut(..len).ok_or(ErrorCode::TOO_LARGE)?;
        self.len = len;
        Ok(bytes)
    }

    /// The bytes. The exposure ends with the borrow.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }

    /// The bytes of a secret that must have `N`.
    ///
    /// # Errors
    /// [`ErrorCode::SPEC_DENIED`] if it has another length.
    pub fn expose_exact<const N: usize>(&self) -> Result<&[u8; N], ErrorCode> {
        self.expose().try_into().map_err(|_| ErrorCode::SPEC_DENIED)
    }
}

impl Default for SecretBuf {
    fn default() -> Self {
        Self::new()
    }
}

impl Zeroize for SecretBuf {
    fn zeroize(&mut self) {
        self.bytes.zeroize();
        self.len = 0;
    }
}

impl fmt::Debug for SecretBuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretBuf([{} bytes])", self.len)
    }
}

#[cfg(test)]
mod tests {
    use std::format;

    use super::*;

    #[test]
    fn debug_shows_no_bytes() {
        let secret = Secret::copy_from(&[0xa5; 4]);
        assert_eq!(format!("{secret:?}"), "Secret([4 bytes])");
        let secret = SecretBuf::copy_from(&[0xa5; 32]).unwrap();
        assert_eq!(format!("{secret:?}"), "SecretBuf([32 bytes])");
    }

    #[test]
    fn resize_clears_and_bounds() {
        let mut secret = SecretBuf::copy_from(&[0xa5; 32]).unwrap();
        assert_eq!(secret.resize(16).unwrap(), [0; 16]);
        assert_eq!(secret.expose().len(), 16);
        assert_eq!(secret.expose_exact::<32>(), Err(ErrorCode::SPEC_DENIED));
        assert_eq!(secret.resize(MAX_SECRET + 1), Err(ErrorCode::TOO_LARGE));
        assert!(secret.expose().is_empty());
    }
}
