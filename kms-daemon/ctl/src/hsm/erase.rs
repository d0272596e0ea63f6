//! `kmsctl hsm erase`: destroys a flash that is no longer in use.

use serde::Serialize;

use super::super::{Failure, Outcome, Output};
use super::confirm;
use super::maintenance::Target;
use kms_installation::data_dir::DataDir;
use kms_installation::devices;

#[derive(Serialize)]
struct Erased {
    name: String,
    region: String,
    device: Option<String>,
    /// Whether the device itself has erased its secrets before the file was overwritten.
    zeroised: bool,
}

pub(super) fn run(target: &Target, yes: bool, output: &mut Output<'_>) -> Result<Outcome, Failure> {
    let (name, region, data) = target.own()?;
    // Held to the end: what is found out about the other devices stays so.
    let lock = DataDir::open(&data)?;
    let known = devices::devices_of(&data, &region)?;
    let device = known.iter().find(|(line, _)| *line == name).map(|(_, device)| device.clone());
    let others = others(target, &lock, &name, &region)?;
    let warning = format!(
        "The flash of {name} of {region} will be erased. Keys of its domain then open on {}, which \
         has just responded.",
        others.join(", ")
    );
    let asked = device.as_deref().unwrap_or(&name);
    confirm::on_terminal(asked, &warning, "device", yes)?;
    if !yes {
        // A person takes their time, and devices elsewhere and files are nobody's to lock.
        self::others(target, &lock, &name, &region)?;
    }
    let zeroised = match target.zeroise_quietly(&lock, device.as_deref()) {
        Ok(()) => true,
        Err(failure) => {
            eprintln!(
                "{name} could not be zeroised by itself, its flash is overwritten: {failure}"
            );
            false
        }
    };
    devices::erase(&data, &region, &name)?;
    output.print(&Erased { name, region, device, zeroised }, |out, done| {
        writeln!(out, "the flash of {} is overwritten and removed", done.name)
    })?;
    Ok(Outcome::Good)
}

/// The other devices that have the domain's key; there must be one.
fn others(
    target: &Target,
    lock: &DataDir,
    name: &str,
    region: &str,
) -> Result<Vec<String>, Failure> {
    let others = target.members(lock, name)?;
    if others.is_empty() {
        return Err(Failure(format!(
            "no other known device of {region} responds as a member of the domain of its keys, so \
             erasing {name} could lose every one of them. Let another device join first (kmsctl \
             hsm provision). To lose the keys on purpose: kmsctl hsm zeroise {name} --region \
             {region}"
        )));
    }
    Ok(others)
}
