//! The search for RSA key pairs of a core without RSA: there is none.

use hsm_protocol::ErrorCode;
use hsm_protocol::key_spec::KeySpec;
use rand_core::CryptoRng;

use crate::secret::SecretBuf;

/// A search that nobody can begin.
pub(crate) enum Search {}

impl Search {
    /// # Errors
    /// [`ErrorCode::UNSUPPORTED`].
    pub(crate) const fn new(_: KeySpec) -> Result<Self, ErrorCode> {
        Err(ErrorCode::UNSUPPORTED)
    }

    /// A slice of a search that never was.
    pub(crate) const fn step(
        &mut self,
        _: &mut dyn CryptoRng,
        _: &mut SecretBuf,
    ) -> Result<bool, ErrorCode> {
        match *self {}
    }
}
