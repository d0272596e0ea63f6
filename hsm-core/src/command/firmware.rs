//! Replaces the firmware, as far as the domain permits it.

use hsm_protocol::attestation::Measurement;
use hsm_protocol::command::firmware::{
    BeginUpdate, CancelUpdate, FinishUpdate, FirmwareInfo, FirmwareState, MAX_CHUNK, OtherImage,
    Staged, StartUpdate, UpdateProgress, WriteImage,
};
use hsm_protocol::{ErrorCode, MaterialId};

use crate::dispatch::{Context, Execute};
use crate::platform::{FirmwareUpdate, Platform};

impl Execute for FirmwareInfo {
    fn execute<P: Platform>(
        self,
        cx: &mut Context<'_, P>,
        _: &mut [u8],
    ) -> Result<FirmwareState, ErrorCode> {
        let permitted = cx.module.permitted_firmware()?;
        Ok(FirmwareState { permitted, ..update(cx)?.state() })
    }
}

impl Execute for BeginUpdate<'_> {
    fn execute<P: Platform>(
        self,
        cx: &mut Context<'_, P>,
        _: &mut [u8],
    ) -> Result<UpdateProgress, ErrorCode> {
        let announced = update(cx)?.announced(&self.manifest)?;
        name(cx, announced);
        // Without a domain there is nobody to ask, and no key that firmware could betray.
        let is_permitted = match cx.module.domain() {
            Some(_) => cx.module.permitted_firmware()? == Some(announced),
            None => true,
        };
        match is_permitted {
            true => update(cx)?.begin(&self.manifest),
            false => Err(ErrorCode::FIRMWARE_NOT_PERMITTED),
        }
    }
}

impl Execute for WriteImage<'_> {
    fn execute<P: Platform>(
        self,
        cx: &mut Context<'_, P>,
        _: &mut [u8],
    ) -> Result<UpdateProgress, ErrorCode> {
        match self.bytes.len() <= MAX_CHUNK {
            true => update(cx)?.write(self.offset, &self.bytes),
            false => Err(ErrorCode::TOO_LARGE),
        }
    }
}

impl Execute for FinishUpdate {
    fn execute<P: Platform>(
        self,
        cx: &mut Context<'_, P>,
        _: &mut [u8],
    ) -> Result<Staged, ErrorCode> {
        let measurement = update(cx)?.finish()?;
        name(cx, measurement);
        Ok(Staged { measurement })
    }
}

impl Execute for CancelUpdate {
    fn execute<P: Platform>(self, cx: &mut Context<'_, P>, _: &mut [u8]) -> Result<(), ErrorCode> {
        update(cx)?.cancel()
    }
}

impl Execute for StartUpdate {
    fn execute<P: Platform>(self, cx: &mut Context<'_, P>, _: &mut [u8]) -> Result<(), ErrorCode> {
        match update(cx)?.state().other {
            OtherImage::Staged => {
                cx.module.platform.reset();
                Ok(())
            }
            _ => Err(ErrorCode::UPDATE_ABSENT),
        }
    }
}

fn update<'c, P: Platform>(
    cx: &'c mut Context<'_, P>,
) -> Result<&'c mut dyn FirmwareUpdate, ErrorCode> {
    cx.module.platform.firmware().ok_or(ErrorCode::UPDATE_UNSUPPORTED)
}

/// The audit entry names the image.
fn name<P: Platform>(cx: &mut Context<'_, P>, measurement: Measurement) {
    cx.subject = MaterialId(measurement.0);
}
