//! `kmsctl hsm update`: replaces the firmware of a device.

use std::fs;
use std::path::{Path, PathBuf};

use host_driver::firmware::{self, SignedImage};
use hsm_protocol::ErrorCode;
use hsm_protocol::attestation::Measurement;
use hsm_protocol::command::firmware::{FirmwareState, StartMode};
use hsm_protocol::domain::Change;
use serde::Serialize;

use super::maintenance::{OPTIONS, Target};
use crate::progress::Bar;
use crate::{Failure, Outcome, Output, say};
use kms_base::hex;
use kms_installation::devices::HostKeys;

/// Longest file that is read, in bytes: no board has room for more.
const MAX_FILE: u64 = 64 << 20;

#[derive(Debug, clap::Args)]
pub(in super::super) struct Arguments {
    #[command(flatten)]
    target: Target,
    /// Signed image: the .signed file of a release, or of `cargo xtask firmware`.
    #[arg(value_name = "FILE", required_unless_present = "cancel")]
    image: Option<PathBuf>,
    /// Send and verify only; the next start of the device tries the image.
    #[arg(long)]
    no_restart: bool,
    /// Give up an update that is under way, or an image that was not started yet.
    #[arg(long, conflicts_with_all = ["image", "no_restart"])]
    cancel: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Updated {
    device: String,
    before: String,
    after: String,
    version: String,
    security_version: u32,
    state: &'static str,
}

/// A signed image as a file has it.
pub(in super::super) struct File {
    path: PathBuf,
    bytes: Vec<u8>,
}

impl File {
    pub(in super::super) fn read(path: &Path) -> Result<Self, Failure> {
        let shown = path.display();
        let failed = |error| Failure(format!("cannot read {shown}: {error}"));
        if fs::metadata(path).map_err(failed)?.len() > MAX_FILE {
            return Err(Failure(format!("{shown} is too long for a firmware image")));
        }
        Ok(Self { path: path.to_owned(), bytes: fs::read(path).map_err(failed)? })
    }

    pub(in super::super) fn image(&self) -> Result<SignedImage<'_>, Failure> {
        SignedImage::parse(&self.bytes)
            .map_err(|error| Failure(format!("{}: {error}", self.path.display())))
    }
}

pub(super) fn run(arguments: &Arguments, output: &mut Output<'_>) -> Result<Outcome, Failure> {
    let Arguments { target, image, no_restart, cancel } = arguments;
    let file = image.as_deref().map(File::read).transpose()?;
    let signed = file.as_ref().map(File::image).transpose()?;
    let reached = target.reach()?;
    let (device, _) = target.open(&reached)?;
    let before = device.firmware().map_err(unsupported)?;
    let id = device.id().to_string();
    let Some(signed) = signed.filter(|_| !cancel) else {
        device.cancel_update()?;
        let done = serde_json::json!({ "device": id, "state": "cancelled" });
        output.print(&done, |out, _| writeln!(out, "device {id}: the update is given up"))?;
        return Ok(Outcome::Good);
    };
    let wanted = signed.measurement();
    let report = |after: Measurement, state| Updated {
        device: id.clone(),
        before: hex::encode(&before.measurement.0),
        after: hex::encode(&after.0),
        version: signed.body().version.as_str().to_owned(),
        security_version: signed.body().security_version,
        state,
    };
    if before.measurement == wanted && before.mode == StartMode::Confirmed {
        let done = report(wanted, "unchanged");
        output.print(&done, |out, done| {
            writeln!(out, "device {} runs firmware {} already", done.device, done.version)
        })?;
        return Ok(Outcome::Good);
    }
    if before.permitted != Some(wanted) {
        // Where people rule the domain this says whom to ask.
        let change = Change::PermitFirmware(wanted);
        target
            .change(&reached, &device, change)
            .map_err(|failure| unpermitted(&failure, wanted))?;
    }
    let mut bar = Bar::new("sent");
    device.send_firmware(&signed, &mut |done, all| bar.show(done, all))?;
    drop(bar);
    if *no_restart {
        let done = report(before.measurement, "staged");
        output.print(&done, |out, done| {
            writeln!(out, "device {} has verified firmware {}", done.device, done.version)?;
            writeln!(out, "It tries it with its next start.")
        })?;
        return Ok(Outcome::Good);
    }
    say(format_args!("the image is verified; the device restarts to try it"));
    let keys = HostKeys::of_data(&reached.data)?;
    let after: FirmwareState =
        firmware::start(device, &*reached.connector, &keys.user, OPTIONS, wanted)?;
    let done = report(after.measurement, "confirmed");
    output.print(&done, |out, done| {
        writeln!(out, "device {} runs firmware {}, confirmed", done.device, done.version)?;
        writeln!(out, "  measurement       {}", done.after)?;
        writeln!(out, "  security version  {}", done.security_version)
    })?;
    Ok(Outcome::Good)
}

fn unsupported(error: host_driver::CallError) -> Failure {
    match &error {
        host_driver::CallError::Refused { code, .. } if *code == ErrorCode::UPDATE_UNSUPPORTED => {
            Failure(
                "this board has no second stage that verifies firmware: it is flashed as a whole, by whoever holds \
                 it (docs/boards.md)"
                    .to_owned(),
            )
        }
        _ => error.into(),
    }
}

fn unpermitted(failure: &Failure, wanted: Measurement) -> Failure {
    Failure(format!(
        "the operators of the device's domain have to permit this firmware ({}): kmsctl domain propose \
         --permit-firmware FILE; it could not be permitted here: {failure}",
        hex::encode(&wanted.0)
    ))
}
