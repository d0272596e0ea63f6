//! What is inside a record or a plain frame: the heads of requests and responses.
//!
//! ```text
//! request   opcode u16 | request id u16 | note [32], if audited | body
//! response  request id u16 | status u16 | receipt, if audited   | body, if status is 0
//! ```
//! Status: the error code or 0; bit 15: a receipt follows; bit 14: the service was not an approved
//! one (FIPS 140-3 IG 2.4.C).
//!
//! Numbers are little-endian, bodies and receipts postcard; the note is [`Note`]. Plain requests have no
//! note and plain responses no receipt. Requests of which nothing can be recorded (unknown opcode,
//! malformed head or body, no room for entries) carry no receipt either: see [`ResponseHead::receipt`].

use crate::audit::{Note, Receipt};
use crate::bytes::{concat, take};
use crate::error::ErrorCode;
use crate::opcode::Opcode;

/// The head of a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RequestHead {
    /// The command.
    pub opcode: Opcode,
    /// Chosen by the host, echoed by the response.
    pub id: u16,
    /// Present if the command is audited.
    pub note: Option<Note>,
}

impl RequestHead {
    /// Longest head in bytes.
    pub const MAX_SIZE: usize = 4 + Note::SIZE;

    /// Writes the head and returns its length.
    ///
    /// # Errors
    /// [`ErrorCode::TOO_LARGE`] if it does not fit.
    pub fn write(&self, out: &mut [u8]) -> Result<usize, ErrorCode> {
        let note = self.note.as_ref().map(Note::to_bytes);
        let note = note.as_ref().map_or(&[][..], |note| note);
        let parts: [&[u8]; 3] = [&self.opcode.0.to_le_bytes(), &self.id.to_le_bytes(), note];
        concat(out, &parts).map(|head| head.len()).ok_or(ErrorCode::TOO_LARGE)
    }

    /// Splits a request into head and body.
    ///
    /// # Errors
    /// [`ErrorCode::MALFORMED`] if it is too short.
    pub fn split(request: &[u8]) -> Result<(Self, &[u8]), ErrorCode> {
        let (mut head, mut body) = Self::split_plain(request)?;
        if head.opcode.is_audited() {
            head.note = take(&mut body).and_then(Note::from_bytes);
            head.note.ok_or(ErrorCode::MALFORMED)?;
        }
        Ok((head, body))
    }

    /// Splits a request outside the channel, which never has a note.
    ///
    /// # Errors
    /// [`ErrorCode::MALFORMED`] if it is too short.
    pub fn split_plain(mut request: &[u8]) -> Result<(Self, &[u8]), ErrorCode> {
        let input = &mut request;
        let opcode = Opcode(u16::from_le_bytes(*take(input).ok_or(ErrorCode::MALFORMED)?));
        let id = u16::from_le_bytes(*take(input).ok_or(ErrorCode::MALFORMED)?);
        Ok((Self { opcode, id, note: None }, request))
    }
}

/// The head of a response.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ResponseHead {
    /// Of the request.
    pub id: u16,
    /// `None` for success.
    pub status: Option<ErrorCode>,
    /// Present if an audit entry was made.
    pub receipt: Option<Receipt>,
    /// The indicator that an approved service was used (ISO/IEC 19790 7.2.4.2): false if the
    /// command used a key type that FIPS 140-3 does not approve.
    pub approved: bool,
}

/// Bit of the status word which says that a receipt follows. Codes stay below the flags.
const RECEIPT_FLAG: u16 = 0x8000;
/// Bit of the status word which says that the service was not an approved one.
const NOT_APPROVED_FLAG: u16 = 0x4000;

impl ResponseHead {
    /// Longest head in bytes: the fixed part and a receipt with two 10-byte varints.
    pub const MAX_SIZE: usize = 4 + 10 + 10 + 32 + 32;

    /// The head of a refusal without an audit entry.
    #[must_use]
    pub const fn refusal(id: u16, error: ErrorCode) -> Self {
        Self { id, status: Some(error), receipt: None, approved: true }
    }

    /// Writes the head and returns its length.
    ///
    /// # Errors
    /// [`ErrorCode::TOO_LARGE`] if it does not fit.
    pub fn write(&self, out: &mut [u8]) -> Result<usize, ErrorCode> {
        let receipt = if self.receipt.is_some() { RECEIPT_FLAG } else { 0 };
        let approved = if self.approved { 0 } else { NOT_APPROVED_FLAG };
        let status = self.status.map_or(0, ErrorCode::to_u16) | receipt | approved;
        let parts: [&[u8]; 2] = [&self.id.to_le_bytes(), &status.to_le_bytes()];
        let fixed = concat(out, &parts).ok_or(ErrorCode::TOO_LARGE)?.len();
        let Some(receipt) = &self.receipt else { return Ok(fixed) };
        let rest = out.get_mut(fixed..).ok_or(ErrorCode::TOO_LARGE)?;
        let written = postcard::to_slice(receipt, rest)?.len();
        fixed.checked_add(written).ok_or(ErrorCode::TOO_LARGE)
    }

    /// Splits a response into head and body.
    ///
    /// # Errors
    /// [`ErrorCode::MALFORMED`] if it is too short or its receipt does not decode.
    pub fn split(mut response: &[u8]) -> Result<(Self, &[u8]), ErrorCode> {
        let input = &mut response;
        let id = u16::from_le_bytes(*take(input).ok_or(ErrorCode::MALFORMED)?);
        let status = u16::from_le_bytes(*take(input).ok_or(ErrorCode::MALFORMED)?);
        let (receipt, body) = match status & RECEIPT_FLAG {
            0 => (None, response),
            _ => {
                let (receipt, body) = postcard::take_from_bytes(response)?;
                (Some(receipt), body)
            }
        };
        let approved = status & NOT_APPROVED_FLAG == 0;
        let status = ErrorCode::from_u16(status & !(RECEIPT_FLAG | NOT_APPROVED_FLAG));
        Ok((Self { id, status, receipt, approved }, body))
    }
}
