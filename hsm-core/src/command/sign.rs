//! Signatures.

use hsm_protocol::command::sign::{MAX_MESSAGE, Sign, Signature, Verify};
use hsm_protocol::key_spec::{KeyUsage, MAX_SIGNATURE, MessageType};
use hsm_protocol::{Bytes, ErrorCode};

use crate::algorithm::Message;
use crate::dispatch::{Context, Execute};
use crate::platform::Platform;

impl Execute for Sign<'_> {
    const ANSWER: usize = MAX_SIGNATURE;

    fn execute<'o, P: Platform>(
        self,
        cx: &mut Context<'_, P>,
        scratch: &'o mut [u8],
    ) -> Result<Signature<'o>, ErrorCode> {
        let message = message(self.message_type, self.message)?;
        let key = cx.key(&self.key, KeyUsage::SIGN_VERIFY)?;
        let length = key.sign(self.algorithm, message, scratch)?;
        Ok(Signature { signature: Bytes(scratch.get(..length).unwrap_or_default()) })
    }
}

impl Execute for Verify<'_> {
    fn execute<P: Platform>(self, cx: &mut Context<'_, P>, _: &mut [u8]) -> Result<(), ErrorCode> {
        let message = message(self.message_type, self.message)?;
        let key = cx.public_key(&self.key, KeyUsage::SIGN_VERIFY)?;
        key.verify(self.algorithm, message, &self.signature)
    }
}

/// The message with its type; the algorithm checks a digest's length.
fn message(message_type: MessageType, bytes: Bytes<'_>) -> Result<Message<'_>, ErrorCode> {
    match message_type {
        MessageType::RAW if (1..=MAX_MESSAGE).contains(&bytes.len()) => Ok(Message::Raw(bytes.0)),
        MessageType::RAW => Err(ErrorCode::MESSAGE_LENGTH),
        MessageType::DIGEST => Ok(Message::Digest(bytes.0)),
        MessageType::EXTERNAL_MU => Ok(Message::ExternalMu(bytes.0)),
        _ => Err(ErrorCode::UNSUPPORTED),
    }
}
