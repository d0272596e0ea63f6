//! An encoded request, and its response.

use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use hsm_protocol::audit::{Note, RequestDigest, request_digest};
use hsm_protocol::channel::RECORD_OVERHEAD;
use hsm_protocol::command::decode;
use hsm_protocol::frame::{self, MAX_PAYLOAD};
use hsm_protocol::request::{RequestHead, ResponseHead};
use hsm_protocol::{AuditTag, Command, Opcode};
use zeroize::Zeroizing;

use crate::audit::DeviceReceipt;
use crate::error::CallError;

/// Longest request body in bytes: a frame's payload without the record's tag and the head.
const MAX_BODY: usize = MAX_PAYLOAD - RECORD_OVERHEAD - RequestHead::MAX_SIZE;

/// An encoded request; may be sent to one device after another. Zeroised on drop.
pub(crate) struct Request {
    pub(crate) opcode: Opcode,
    /// Present if the command is audited.
    pub(crate) audited: Option<Audited>,
    pub(crate) body: Zeroizing<Vec<u8>>,
}

/// What an audited request tells of itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Audited {
    pub(crate) tag: AuditTag,
    pub(crate) digest: RequestDigest,
}

impl Request {
    pub(crate) fn encode<C: Command>(command: &C, tag: AuditTag) -> Result<Self, CallError> {
        // Measured first, so that the buffer never moves and leaves a copy of a plaintext.
        let size = postcard::ser_flavors::Size::default();
        let size = postcard::serialize_with_flavor(command, size)
            .map_err(|_| CallError::BadAnswer(C::OPCODE))?;
        if size > MAX_BODY {
            return Err(CallError::TooLarge);
        }
        let mut body = Zeroizing::new(vec![0; size]);
        command.encode(&mut body).map_err(|_| CallError::TooLarge)?;
        let digest = || request_digest(C::OPCODE, &body, command.hidden());
        let audited = C::AUDIT.then(|| Audited { tag, digest: digest() });
        Ok(Self { opcode: C::OPCODE, audited, body })
    }

    /// Length of head and body in bytes.
    pub(crate) fn size(&self) -> usize {
        let head = if self.audited.is_some() { RequestHead::MAX_SIZE } else { 4 };
        head + self.body.len()
    }

    /// Length of the encoded frame that carries it through the channel, in bytes.
    pub(crate) fn frame_size(&self) -> usize {
        frame::encoded_size(self.size() + RECORD_OVERHEAD)
    }

    /// Writes head and body to the start of `out`, which must have [`Request::size`] bytes.
    /// `note` goes with it if the command is audited, and only then.
    pub(crate) fn write(
        &self,
        id: u16,
        note: Option<Note>,
        out: &mut [u8],
    ) -> Result<usize, CallError> {
        let head = RequestHead { opcode: self.opcode, id, note };
        let start = head.write(out).map_err(|_| CallError::TooLarge)?;
        let end = start + self.body.len();
        out.get_mut(start..end).ok_or(CallError::TooLarge)?.copy_from_slice(&self.body);
        Ok(end)
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} [{} bytes]", self.opcode, self.body.len())
    }
}

/// An answer as it came from the device: status checked for its form, body not decoded.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) head: ResponseHead,
    pub(crate) receipt: Option<DeviceReceipt>,
    pub(crate) body: Zeroizing<Vec<u8>>,
    /// How long the device has worked on it; zero if that is not known.
    pub(crate) worked: Duration,
}

/// The device's answer to `C`. Its bytes are zeroised on drop.
pub struct Reply<C> {
    /// The audit entry of the call, if the command is audited.
    pub receipt: Option<DeviceReceipt>,
    approved: bool,
    body: Zeroizing<Vec<u8>>,
    command: PhantomData<fn() -> C>,
}

impl<C: Command> Reply<C> {
    /// Separates success from refusal.
    pub(crate) fn from_answer(answer: Answer) -> Result<Self, CallError> {
        let Answer { head, receipt, body, .. } = answer;
        match head.status {
            Some(code) => {
                let receipt = receipt.map(Box::new);
                Err(CallError::Refused { opcode: C::OPCODE, code, receipt })
            }
            None => {
                let approved = head.approved;
                let reply = Self { receipt, approved, body, command: PhantomData };
                reply.response()?; // so that a device that answers nonsense counts as failing
                Ok(reply)
            }
        }
    }

    /// The response, borrowing this reply's buffer.
    ///
    /// # Errors
    /// [`CallError::BadAnswer`]; not once a call has returned the reply.
    pub fn response(&self) -> Result<C::Response<'_>, CallError> {
        decode(&self.body).map_err(|_| CallError::BadAnswer(C::OPCODE))
    }

    /// Whether the device used approved services only (ISO/IEC 19790 7.2.4.2).
    #[must_use]
    pub const fn approved(&self) -> bool {
        self.approved
    }
}

impl<C: Command> fmt::Debug for Reply<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Reply({:?}, [{} bytes])", C::OPCODE, self.body.len())
    }
}
