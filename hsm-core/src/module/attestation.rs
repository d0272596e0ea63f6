//! The roots to which attestation documents must chain.

use hsm_protocol::ErrorCode;

use super::Module;
use crate::attestation::RootId;
use crate::platform::Platform;

impl<P: Platform> Module<P> {
    /// The trusted roots, SHA-256 of each certificate: those that the operators have set.
    pub(crate) fn roots(&self) -> Result<&[RootId], ErrorCode> {
        Ok(&self.domain().ok_or(ErrorCode::INTERNAL)?.state()?.roots)
    }
}
