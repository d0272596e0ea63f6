//! `kmsctl audit anchor`: writes a file that names the devices whose signatures of a log count.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde_json::json;

use super::super::{Failure, Outcome, Output};
use kms_audit::{DeviceAnchors, TrustAnchor, verify};
use kms_installation::devices::{self, KnownDevice};

#[derive(Debug, clap::Args)]
pub(in super::super) struct Arguments {
    /// The daemon's data directory, or its audit directory. The daemon may run.
    dir: PathBuf,
    /// Where to write the anchor; no such file may exist. Without it, the anchor is printed.
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

pub(super) fn run(arguments: &Arguments, output: &mut Output<'_>) -> Result<Outcome, Failure> {
    let dir = super::directories(std::slice::from_ref(&arguments.dir)).remove(0);
    let report = verify(&dir)?;
    let written = kms_audit::event_time(SystemTime::now());
    let mut devices = DeviceAnchors::of(&dir, &report, written)?;
    let data =
        if dir == arguments.dir { dir.parent().unwrap_or(Path::new(".")) } else { &arguments.dir };
    let known = devices::known_devices(data)?;
    if !known.is_empty() {
        // Devices that were removed have signed too, and are not to be trusted any more.
        devices.devices.retain_mut(|anchor| {
            let found = known.iter().find(|known| known.device == anchor.device);
            if let Some(KnownDevice { region, domain, .. }) = found {
                (anchor.region, anchor.domain) = (Some(region.clone()), domain.clone());
            }
            found.is_some()
        });
    }
    if devices.devices.is_empty() {
        return Err(kms_audit::AnchorError::NoDevice(dir).into());
    }
    let anchor = TrustAnchor::Devices(devices.clone());
    let Some(path) = &arguments.output else {
        output.out.write_all(anchor.text().as_bytes())?;
        return Ok(Outcome::Good);
    };
    anchor.write_new(path)?;
    output.print(&json!({ "file": path, "anchor": anchor }), |out, _| {
        writeln!(out, "{}: the log up to record {}, and", path.display(), devices.log.sequence)?;
        for one in &devices.devices {
            let region = one.region.as_deref().unwrap_or("an unknown Region");
            writeln!(out, "  device {} of {region}, fingerprint", one.device)?;
            writeln!(out, "    {}", one.fingerprint)?;
        }
        writeln!(
            out,
            "Compare the devices with what their owner sees, and keep the file elsewhere:"
        )?;
        writeln!(out, "whoever can replace it decides what is proven.")
    })?;
    Ok(Outcome::Good)
}
