//! Requests for operators' approval, and the approvals themselves.

use hsm_protocol::ErrorCode;
use hsm_protocol::MaterialId;
use hsm_protocol::approval::Challenge;
use hsm_protocol::command::approval::ApprovalRequest;
use hsm_protocol::domain::change::Votes;

use super::Module;
use crate::platform::Platform;

impl<P: Platform> Module<P> {
    /// Waits for operators' approval of a request.
    pub(crate) fn ask_approval(&mut self, asked: ApprovalRequest) -> Result<(), ErrorCode> {
        let now = self.platform.monotonic_us();
        self.approvals.ask(asked, now)
    }

    /// Takes operators' signatures for a request that waits; returns the material that it is about.
    pub(crate) fn approve(
        &mut self,
        challenge: &Challenge,
        votes: &Votes,
    ) -> Result<MaterialId, ErrorCode> {
        let now = self.platform.monotonic_us();
        let Self { approvals, secrets, .. } = self;
        let secrets = secrets.as_ref().ok_or(ErrorCode::INTERNAL)?;
        let state = secrets.domain().ok_or(ErrorCode::INTERNAL)?.state()?;
        let curve = secrets.identity.as_ref().ok_or(ErrorCode::INTERNAL)?.curve();
        approvals.approve(challenge, votes, (state, curve), now)
    }
}
