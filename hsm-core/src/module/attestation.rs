//! The roots to which attestation documents must chain.

use hsm_protocol::ErrorCode;
use hsm_protocol::command::attest::ROOT_SIZE;

use super::Module;
use crate::platform::Platform;

impl<P: Platform> Module<P> {
    /// The trusted roots, SHA-256 of each certificate: those that the operators have set.
    pub(crate) fn roots(&self) -> Result<&[[u8; ROOT_SIZE]], ErrorCode> {
        Ok(&self.domain().ok_or(ErrorCode::INTERNAL)?.state()?.roots)
    }
}
