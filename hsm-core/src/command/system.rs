//! Version, identity, status, self-test, reset.

use hsm_protocol::command::system::{
    Admission, AdmissionChallenge, DeviceInfo, Info, LastReset, MemoryPeaks, MemoryUse,
    ModuleStatus, Reset, ResetReport, SelfTest, SelfTestReport, Status,
};
use hsm_protocol::{Bytes, ErrorCode, PROTOCOL_VERSION};

use crate::dispatch::{Context, Execute};
use crate::hsm::WINDOW;
use crate::platform::Platform;

impl Execute for Info {
    fn execute<'o, P: Platform>(
        self,
        cx: &mut Context<'_, P>,
        scratch: &'o mut [u8],
    ) -> Result<DeviceInfo<'o>, ErrorCode> {
        let platform = &cx.module.platform;
        let mut count = 0usize;
        for (slot, algorithm) in scratch.iter_mut().zip(platform.algorithms()) {
            *slot = algorithm.spec().0;
            count = count.saturating_add(1);
        }
        Ok(DeviceInfo {
            protocol: PROTOCOL_VERSION,
            firmware: env!("CARGO_PKG_VERSION"),
            board: platform.board(),
            identity: *cx.module.document().ok_or(ErrorCode::STATE_DENIED)?,
            window: WINDOW,
            rx_bytes: platform.receive_buffer(),
            specs: Bytes(scratch.get(..count).unwrap_or_default()),
        })
    }
}

impl Execute for Status {
    fn execute<P: Platform>(
        self,
        cx: &mut Context<'_, P>,
        _: &mut [u8],
    ) -> Result<ModuleStatus, ErrorCode> {
        Ok(cx.module.status(cx.sessions))
    }
}

impl Execute for SelfTest {
    fn execute<P: Platform>(
        self,
        cx: &mut Context<'_, P>,
        _: &mut [u8],
    ) -> Result<SelfTestReport, ErrorCode> {
        let begin = cx.module.platform.monotonic_us();
        let tests = cx.module.self_test()?;
        let elapsed = cx.module.platform.monotonic_us().saturating_sub(begin);
        Ok(SelfTestReport { tests, duration_us: u32::try_from(elapsed).unwrap_or(u32::MAX) })
    }
}

impl Execute for MemoryUse {
    fn execute<P: Platform>(
        self,
        cx: &mut Context<'_, P>,
        _: &mut [u8],
    ) -> Result<MemoryPeaks, ErrorCode> {
        Ok(cx.module.take_peaks())
    }
}

impl Execute for Admission {
    fn execute<P: Platform>(
        self,
        cx: &mut Context<'_, P>,
        _: &mut [u8],
    ) -> Result<AdmissionChallenge, ErrorCode> {
        Ok(AdmissionChallenge { challenge: cx.module.admission_challenge()? })
    }
}

impl Execute for LastReset {
    fn execute<P: Platform>(
        self,
        cx: &mut Context<'_, P>,
        _: &mut [u8],
    ) -> Result<ResetReport, ErrorCode> {
        Ok(cx.module.platform.last_reset())
    }
}

impl Execute for Reset {
    fn execute<P: Platform>(self, cx: &mut Context<'_, P>, _: &mut [u8]) -> Result<(), ErrorCode> {
        cx.module.platform.reset();
        Ok(())
    }
}
