//! Boards without a second stage.

use hsm_core::platform::FirmwareUpdate;
use hsm_protocol::ErrorCode;
use hsm_protocol::attestation::Measurement;
use hsm_protocol::command::firmware::{FirmwareState, UpdateProgress};

/// Of a board whose firmware is not replaced over the line: there is none of these.
#[derive(Debug)]
pub(super) enum NoUpdate {}

impl FirmwareUpdate for NoUpdate {
    fn state(&self) -> FirmwareState {
        match *self {}
    }

    fn announced(&self, _: &[u8]) -> Result<Measurement, ErrorCode> {
        match *self {}
    }

    fn begin(&mut self, _: &[u8]) -> Result<UpdateProgress, ErrorCode> {
        match *self {}
    }

    fn write(&mut self, _: u32, _: &[u8]) -> Result<UpdateProgress, ErrorCode> {
        match *self {}
    }

    fn finish(&mut self) -> Result<Measurement, ErrorCode> {
        match *self {}
    }

    fn cancel(&mut self) -> Result<(), ErrorCode> {
        match *self {}
    }

    fn confirm(&mut self) -> Result<(), ErrorCode> {
        match *self {}
    }
}
