//! Message authentication codes.

use hsm_protocol::command::mac::{GenerateMac, Mac, VerifyMac};
use hsm_protocol::command::sign::MAX_MESSAGE;
use hsm_protocol::key_spec::KeyUsage;
use hsm_protocol::{Bytes, ErrorCode};

use crate::dispatch::{Context, Execute};
use crate::platform::Platform;

impl Execute for GenerateMac<'_> {
    fn execute<'o, P: Platform>(
        self,
        cx: &mut Context<'_, P>,
        scratch: &'o mut [u8],
    ) -> Result<Mac<'o>, ErrorCode> {
        check(&self.message)?;
        let key = cx.key(&self.key, KeyUsage::GENERATE_VERIFY_MAC)?;
        let length = key.mac(self.algorithm, &self.message, scratch)?;
        Ok(Mac { mac: Bytes(scratch.get(..length).unwrap_or_default()) })
    }
}

impl Execute for VerifyMac<'_> {
    fn execute<P: Platform>(self, cx: &mut Context<'_, P>, _: &mut [u8]) -> Result<(), ErrorCode> {
        check(&self.message)?;
        let key = cx.key(&self.key, KeyUsage::GENERATE_VERIFY_MAC)?;
        key.verify_mac(self.algorithm, &self.message, &self.mac)
    }
}

fn check(message: &[u8]) -> Result<(), ErrorCode> {
    match (1..=MAX_MESSAGE).contains(&message.len()) {
        true => Ok(()),
        false => Err(ErrorCode::MESSAGE_LENGTH),
    }
}
