//! The message that operators sign to approve one use of a key.
//!
//! ```text
//! request digest    SHA-256("strongroom-request-v1" | opcode u16 LE | encoded request)
//! signed message    "strongroom-approval-v1" | domain [16] | device [16] | host [16] | key id [17] | material [32]
//!                   | approvals u8 | officers u8 | opcode u16 LE | request digest [32] | challenge [16]
//! ```
//! The challenge is drawn by the device for this use and is good once, so nothing that was signed is good
//! for another use, on another device, or for another host.

use sha2::{Digest, Sha256};

use crate::bytes::concat;
use crate::command::approval::ApprovalRequest;
use crate::opcode::Opcode;

const REQUEST_LABEL: &[u8] = b"strongroom-request-v1";
const LABEL: &[u8; 22] = b"strongroom-approval-v1";

/// SHA-256 over a request, as operators sign it.
pub type RequestDigest = [u8; 32];
/// Drawn by the device for one use.
pub type Challenge = [u8; 16];

/// The digest of a request: its command and its encoded body, byte by byte.
#[must_use]
pub fn digest(opcode: Opcode, body: &[u8]) -> RequestDigest {
    Sha256::new()
        .chain_update(REQUEST_LABEL)
        .chain_update(opcode.0.to_le_bytes())
        .chain_update(body)
        .finalize()
        .into()
}

impl ApprovalRequest {
    /// Length of [`ApprovalRequest::message`] in bytes.
    pub const MESSAGE_SIZE: usize = 22 + 3 * 16 + 17 + 32 + 2 + 2 + 32 + 16;

    /// What an operator signs.
    #[must_use]
    pub fn message(&self) -> [u8; Self::MESSAGE_SIZE] {
        let mut out = [0; Self::MESSAGE_SIZE];
        let parts: [&[u8]; 10] = [
            LABEL,
            self.domain.as_bytes(),
            self.device.as_bytes(),
            self.host.as_bytes(),
            &self.key.to_bytes(),
            self.material.as_bytes(),
            &[self.rule.total, self.rule.officers],
            &self.opcode.0.to_le_bytes(),
            &self.request,
            &self.challenge,
        ];
        concat(&mut out, &parts);
        out
    }
}
