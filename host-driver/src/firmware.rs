//! Replaces the firmware of a device over its line.
//!
//! What is sent is a signed image: a manifest of `hsm-boot`, and the image behind it. The device verifies it; what is
//! checked here spares it a transfer that it would refuse at the end.

use std::thread;
use std::time::{Duration, Instant};

use hsm_boot::manifest::{Body, Manifest};
use hsm_protocol::attestation::Measurement;
use hsm_protocol::command::firmware::{
    BeginUpdate, CancelUpdate, FinishUpdate, FirmwareInfo, FirmwareState, MAX_CHUNK, OtherImage,
    StartUpdate, UpdateProgress, WriteImage,
};
use hsm_protocol::{AuditTag, Bytes, DeviceId, ErrorCode, ModuleState};
use sha2::{Digest, Sha256};

use crate::device::{Device, Options};
use crate::error::CallError;
use crate::host_key::HostKey;
use crate::maintenance;
use crate::transport::Connector;

/// How long a device may take to come back, verified boot and power-up self-tests included.
const RESTART: Duration = Duration::from_secs(60);
/// How long one answer is awaited meanwhile: a device that starts loses requests.
const ANSWER: Duration = Duration::from_millis(500);
/// How often it is asked meanwhile.
const PAUSE: Duration = Duration::from_millis(100);

/// A signed image, whose parts belong together.
#[derive(Clone, Copy, Debug)]
pub struct SignedImage<'b> {
    manifest: Manifest<'b>,
    image: &'b [u8],
}

/// Why a file is not a signed image.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SignedImageError {
    /// It is not one.
    #[error("it is not a signed firmware image, or is cut short")]
    Malformed,
    /// The image is not the one of the manifest.
    #[error("the image in it is damaged: it is not the one that was signed")]
    Damaged,
}

impl<'b> SignedImage<'b> {
    /// Reads one. Whether the right people have signed it is for the device to say.
    ///
    /// # Errors
    /// [`SignedImageError`].
    pub fn parse(signed: &'b [u8]) -> Result<Self, SignedImageError> {
        let (manifest, image) = Manifest::split(signed).ok_or(SignedImageError::Malformed)?;
        match Sha256::digest(image).as_slice() == manifest.body.measurement {
            true => Ok(Self { manifest, image }),
            false => Err(SignedImageError::Damaged),
        }
    }

    /// What the signers have signed.
    #[must_use]
    pub fn body(&self) -> &Body {
        &self.manifest.body
    }

    /// SHA-256 of the image.
    #[must_use]
    pub fn measurement(&self) -> Measurement {
        Measurement(self.manifest.body.measurement)
    }
}

/// Why an update did not end with the new firmware.
#[derive(Debug, thiserror::Error)]
pub enum UpdateError {
    /// A call failed, or the device refused.
    #[error(transparent)]
    Call(#[from] CallError),
    /// What the device says about the image does not fit it, or does not become more.
    #[error(
        "the device does not get on with the update: it says that it has {0} bytes; give the update up with \
         --cancel, and begin again"
    )]
    Stuck(u32),
    /// It was restarted, and is gone.
    #[error(
        "the device did not come back within {} s of its restart; switch it off and on: it then returns to the \
         firmware that it had",
        RESTART.as_secs()
    )]
    Gone,
    /// It runs what it ran before.
    #[error(
        "the device has returned to the firmware that it had: the new one did not start, or did not respond in its \
         trial (reason {0})"
    )]
    Returned(u8),
}

impl Device {
    /// Which firmware runs, and what the other slot holds.
    ///
    /// # Errors
    /// [`ErrorCode::UPDATE_UNSUPPORTED`] from a board without a second stage.
    pub fn firmware(&self) -> Result<FirmwareState, CallError> {
        self.call_blocking(&FirmwareInfo, AuditTag::default())?.response()
    }

    /// Sends an image, and has the device verify it; the device goes on with the firmware that it has. What it has
    /// of this image already is not sent again. `progress` is told how many bytes of how many it has.
    ///
    /// # Errors
    /// [`UpdateError`]; an update that was cut goes on with the next call.
    pub fn send_firmware(
        &self,
        signed: &SignedImage<'_>,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<(), UpdateError> {
        let begin = BeginUpdate { manifest: Bytes(signed.manifest.bytes()) };
        let mut at: UpdateProgress = self.call_of_its_own(&begin)?.response()?;
        let mut resent = 0;
        loop {
            // What the device says of the image has to fit it: a device that lies, or gets nowhere, holds
            // nobody.
            if u32::try_from(signed.image.len()) != Ok(at.length) || at.received > at.length {
                return Err(UpdateError::Stuck(at.received));
            }
            progress(at.received.into(), at.length.into());
            if at.received == at.length {
                break;
            }
            let rest = signed.image.get(at.received as usize..).unwrap_or_default();
            let bytes = rest.get(..MAX_CHUNK).unwrap_or(rest);
            let write = WriteImage { offset: at.received, bytes: Bytes(bytes) };
            at = match self.call_blocking(&write, AuditTag::default()).and_then(|r| r.response()) {
                Ok(next) if next.received > at.received => next,
                Ok(next) => return Err(UpdateError::Stuck(next.received)),
                // An answer was lost: the device tells where it is.
                Err(error) if resent < 3 && is_out_of_step(&error) => {
                    resent += 1;
                    self.call_of_its_own(&begin)?.response()?
                }
                Err(error) => return Err(error.into()),
            };
        }
        self.call_of_its_own(&FinishUpdate)?.response()?;
        Ok(())
    }

    /// Gives up an update, or an image that was not started yet.
    ///
    /// # Errors
    /// [`CallError`].
    pub fn cancel_update(&self) -> Result<(), CallError> {
        self.call_of_its_own(&CancelUpdate)?.response()
    }
}

fn is_out_of_step(error: &CallError) -> bool {
    matches!(error, CallError::Refused { code, .. } if *code == ErrorCode::UPDATE_OUT_OF_ORDER)
}

/// Restarts the device, which then tries the image that it has verified, and opens a session, which confirms it.
///
/// # Errors
/// [`UpdateError`].
pub fn start(
    device: Device,
    connector: &dyn Connector,
    host: &HostKey,
    options: Options,
    wanted: Measurement,
) -> Result<FirmwareState, UpdateError> {
    let id = device.id();
    let sent = Instant::now();
    match device.call_of_its_own(&StartUpdate) {
        // A device that restarts at once has no time for an answer.
        Ok(_)
        | Err(CallError::LinkDown { sent: true, .. } | CallError::DeadlineExceeded { .. }) => {}
        Err(error) => return Err(error.into()),
    }
    drop(device);
    while sent.elapsed() < RESTART {
        thread::sleep(PAUSE);
        let Some(state) = try_reach(connector, host, options, id, sent) else { continue };
        return match state.measurement == wanted {
            true => Ok(state),
            false => Err(UpdateError::Returned(state.refused)),
        };
    }
    Err(UpdateError::Gone)
}

/// The device after its restart, in a session.
fn try_reach(
    connector: &dyn Connector,
    host: &HostKey,
    options: Options,
    id: DeviceId,
    sent: Instant,
) -> Option<FirmwareState> {
    let brief = Options { patience: ANSWER, deadline: ANSWER };
    let status = maintenance::status(connector, brief).ok()?;
    // Uptime tells a device that is back from one that has yet to go.
    if Duration::from_micros(status.uptime_us) >= sent.elapsed() {
        return None;
    }
    if status.state == ModuleState::Error {
        // Firmware that refuses to work confirms nothing: the next start returns to the former one.
        maintenance::restart(connector, brief).ok()?;
    }
    let device = Device::open(connector, Some(id), options).ok()?;
    device.authenticate(host).ok()?;
    device.firmware().ok().filter(|state| !matches!(state.other, OtherImage::Staged))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use hsm_boot::manifest::{self, MAX_SIZE, Name};

    use super::*;
    use crate::testing::FakeDevice;

    fn signed(image: &[u8]) -> Vec<u8> {
        let name = Name::new("board").unwrap();
        let body = Body {
            board: name,
            version: name,
            security_version: 1,
            length: u32::try_from(image.len()).unwrap(),
            address: manifest::ANY_ADDRESS,
            measurement: Sha256::digest(image).into(),
        };
        let mut out = [0; MAX_SIZE];
        [manifest::encode(&body, &[(0, [1; 64])], &mut out).unwrap(), image].concat()
    }

    #[test]
    fn a_device_that_lies_or_gets_nowhere_holds_nobody() {
        let fake = FakeDevice::new();
        let device = Device::open(&|| fake.connect(), Some(fake.id()), Options::default()).unwrap();
        device.authenticate(&HostKey::generate()).unwrap();
        let signed = signed(&[7; 100]);
        let image = SignedImage::parse(&signed).unwrap();
        // Nothing is taken; the image would be longer, shorter; more is there than there is.
        for [received, length] in [[0, 100], [50, 100], [0, u32::MAX], [0, 0], [101, 100]] {
            fake.update[0].store(received, Ordering::SeqCst);
            fake.update[1].store(length, Ordering::SeqCst);
            match device.send_firmware(&image, &mut |_, _| {}) {
                Err(UpdateError::Stuck(said)) => assert_eq!(said, received),
                other => panic!("{received} of {length}: {other:?}"),
            }
        }
    }

    #[test]
    fn a_file_that_is_cut_or_damaged_is_not_a_signed_image() {
        let signed = signed(&[7; 100]);
        assert_eq!(SignedImage::parse(&signed[1..]).err(), Some(SignedImageError::Malformed));
        assert_eq!(SignedImage::parse(&signed[..99]).err(), Some(SignedImageError::Malformed));
        let mut damaged = signed;
        *damaged.last_mut().unwrap() ^= 1;
        assert_eq!(SignedImage::parse(&damaged).err(), Some(SignedImageError::Damaged));
    }
}
