//! An attested environment that alone is to read a result: what conditions can ask about it, and what results
//! are sealed to.

use hsm_protocol::Bytes;
use hsm_protocol::command::attest::{Attested, Measured};

use kms_base::error::KmsError;

/// An environment that results can be sealed to, as its document describes it. It is made only of what a device
/// returns about a document that it has verified.
#[derive(Debug)]
pub struct Recipient {
    /// The attesting module's id.
    pub module_id: String,
    /// What was measured.
    pub measured: Measured,
    /// The platform configuration registers.
    pub pcrs: Vec<(u8, Vec<u8>)>,
    /// Stands for the attested key at devices.
    token: Vec<u8>,
    /// When devices stop taking the token, in milliseconds since 1970.
    expires_ms: u64,
}

impl Recipient {
    /// Reads what a device has returned about a document.
    ///
    /// # Errors
    /// `Exception::KmsInternal` if that is cut short.
    pub(crate) fn verified(attested: &Attested<'_>) -> Result<Self, KmsError> {
        let mut pcrs = Vec::new();
        let mut rest = &*attested.pcrs;
        while let [index, length, tail @ ..] = rest {
            let (value, tail) = tail
                .split_at_checked(usize::from(*length))
                .ok_or_else(|| KmsError::internal("a register is cut short"))?;
            pcrs.push((*index, value.to_vec()));
            rest = tail;
        }
        Ok(Self {
            module_id: attested.module_id.to_owned(),
            measured: attested.measured,
            pcrs,
            token: attested.recipient.to_vec(),
            expires_ms: attested.expires_ms,
        })
    }

    /// One that no device has seen. Its token opens nothing.
    #[cfg(test)]
    pub(crate) fn invented(measured: Measured, pcrs: Vec<(u8, Vec<u8>)>) -> Self {
        let (module_id, token, expires_ms) = (String::new(), Vec::new(), u64::MAX);
        Self { module_id, measured, pcrs, token, expires_ms }
    }

    /// A register, if the document has it.
    #[must_use]
    pub fn pcr(&self, index: u8) -> Option<&[u8]> {
        self.pcrs.iter().find(|(number, _)| *number == index).map(|(_, value)| value.as_slice())
    }

    /// What stands for the attested key at devices.
    pub(crate) fn token(&self) -> Bytes<'_> {
        Bytes(&self.token)
    }

    /// Whether devices still take the token at a time in milliseconds since 1970.
    pub(crate) const fn is_valid_at(&self, now_ms: u64) -> bool {
        now_ms < self.expires_ms
    }
}
