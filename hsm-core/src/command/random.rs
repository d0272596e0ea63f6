//! Random bytes.

use hsm_protocol::command::random::{MAX_RANDOM, Random, RandomBytes};
use hsm_protocol::{Bytes, ErrorCode};

use crate::dispatch::{Context, Execute};
use crate::platform::Platform;

impl Execute for Random {
    fn execute<'o, P: Platform>(
        self,
        cx: &mut Context<'_, P>,
        scratch: &'o mut [u8],
    ) -> Result<RandomBytes<'o>, ErrorCode> {
        let length = usize::from(self.length);
        if !(1..=MAX_RANDOM).contains(&length) {
            return Err(ErrorCode::INVALID_ARGUMENT);
        }
        let out = scratch.get_mut(..length).ok_or(ErrorCode::INTERNAL)?;
        cx.module.random(out)?;
        Ok(RandomBytes { bytes: Bytes(out) })
    }
}
