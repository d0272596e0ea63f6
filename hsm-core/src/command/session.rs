//! The session itself.

use hsm_protocol::ErrorCode;
use hsm_protocol::command::session::{CloseSession, SessionInfo, SessionState};

use crate::dispatch::{After, Caller, Context, Execute};
use crate::platform::Platform;

impl Execute for CloseSession {
    fn execute<P: Platform>(self, cx: &mut Context<'_, P>, _: &mut [u8]) -> Result<(), ErrorCode> {
        let Caller::Host { session, .. } = cx.caller else { return Err(ErrorCode::INTERNAL) };
        cx.after = After::CloseSession(session);
        Ok(())
    }
}

impl Execute for SessionInfo {
    fn execute<P: Platform>(
        self,
        cx: &mut Context<'_, P>,
        _: &mut [u8],
    ) -> Result<SessionState, ErrorCode> {
        let Caller::Host { host, role, .. } = cx.caller else { return Err(ErrorCode::INTERNAL) };
        let device = cx.module.identity()?.device_id();
        Ok(SessionState { device, host, role, state: cx.module.state() })
    }
}
