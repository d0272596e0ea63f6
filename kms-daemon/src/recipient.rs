//! An attested environment that alone is to read a result: what conditions can ask about it, and what results
//! are sealed to. Only [`crate::engine`] makes one, of a document that a device has verified.

use hsm_protocol::command::attest::Measured;

/// An environment that results can be sealed to, as its document describes it.
#[derive(Debug)]
pub struct Recipient {
    /// The attesting module's id.
    pub module_id: String,
    /// What was measured.
    pub measured: Measured,
    /// The platform configuration registers.
    pub pcrs: Vec<(u8, Vec<u8>)>,
    /// Stands for the attested key at devices.
    pub(crate) token: Vec<u8>,
    /// When devices stop taking the token, in milliseconds since 1970.
    pub(crate) expires_ms: u64,
}

impl Recipient {
    /// A register, if the document has it.
    #[must_use]
    pub fn pcr(&self, index: u8) -> Option<&[u8]> {
        self.pcrs.iter().find(|(number, _)| *number == index).map(|(_, value)| value.as_slice())
    }
}
