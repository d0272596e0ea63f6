//! Returns the audit chain's head and entries, and makes checkpoints.

use hsm_protocol::ErrorCode;
use hsm_protocol::audit::{Entry, signed_head_message};
use hsm_protocol::command::audit::{
    AuditEntries, AuditHead, AuditPage, LastCheckpoint, LastMade, MakeCheckpoint, SignedCheckpoint,
    SignedHead,
};

use crate::audit::MAX_KEPT;
use crate::dispatch::{Caller, Context, Execute};
use crate::platform::Platform;

impl Execute for AuditHead {
    fn execute<P: Platform>(
        self,
        cx: &mut Context<'_, P>,
        _: &mut [u8],
    ) -> Result<SignedHead, ErrorCode> {
        let chain = &cx.module.audit;
        let (epoch, entries, head) = (chain.epoch(), chain.entries(), chain.head());
        let (identity, rng) = cx.module.identity_and_rng()?;
        let device = identity.device_id();
        let message = signed_head_message(&device, epoch, entries, &head, &self.nonce);
        let signature = identity.sign(&message, rng)?;
        Ok(SignedHead { device, epoch, entries, head, signature })
    }
}

impl Execute for AuditEntries {
    const ANSWER: usize = MAX_KEPT * Entry::SIZE;

    fn execute<'o, P: Platform>(
        self,
        cx: &mut Context<'_, P>,
        scratch: &'o mut [u8],
    ) -> Result<AuditPage<'o>, ErrorCode> {
        cx.module.audit.page(self.from, scratch)
    }
}

impl Execute for MakeCheckpoint {
    fn execute<P: Platform>(
        self,
        cx: &mut Context<'_, P>,
        _: &mut [u8],
    ) -> Result<SignedCheckpoint, ErrorCode> {
        let Caller::Host { host, .. } = cx.caller else { return Err(ErrorCode::CHANNEL_REQUIRED) };
        cx.module.make_checkpoint(host, self.log, self.closing)
    }
}

impl Execute for LastCheckpoint {
    fn execute<P: Platform>(
        self,
        cx: &mut Context<'_, P>,
        _: &mut [u8],
    ) -> Result<LastMade, ErrorCode> {
        let host = match (self.host, cx.caller) {
            (Some(host), _) | (None, Caller::Host { host, .. }) => host,
            (None, Caller::Anyone) => return Err(ErrorCode::CHANNEL_REQUIRED),
        };
        Ok(LastMade { last: cx.module.last_checkpoint(host)? })
    }
}
