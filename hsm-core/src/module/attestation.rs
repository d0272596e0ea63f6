//! The roots that attestation documents must chain to.

use hsm_protocol::ErrorCode;
use hsm_protocol::command::attest::MAX_ROOTS;

use super::Module;
use crate::attestation::RootId;
use crate::keystore::record;
use crate::platform::{Platform, RecordId};

/// The trusted roots: SHA-256 of each certificate.
pub(crate) type Roots = heapless::Vec<RootId, MAX_ROOTS>;

impl<P: Platform> Module<P> {
    /// The trusted roots; none until a provisioner has set them.
    pub(crate) fn roots(&mut self) -> Result<Roots, ErrorCode> {
        let mut buffer = record::buffer();
        match record::read(&mut self.platform, RecordId::ROOTS, &mut buffer)? {
            Some(stored) => parse(stored).ok_or(ErrorCode::STORAGE_FAILED),
            None => Ok(Roots::new()),
        }
    }

    /// Replaces the trusted roots; the change is durable when this returns.
    pub(crate) fn set_roots(&mut self, roots: &[u8]) -> Result<(), ErrorCode> {
        parse(roots).ok_or(ErrorCode::INVALID_ARGUMENT)?;
        let secrets = self.secrets.as_mut().ok_or(ErrorCode::INTERNAL)?;
        record::write(&mut self.platform, &mut secrets.drbg, RecordId::ROOTS, roots)
    }
}

fn parse(bytes: &[u8]) -> Option<Roots> {
    let (roots, rest) = bytes.as_chunks();
    rest.is_empty().then(|| Roots::from_slice(roots).ok())?
}
