//! `kmsctl hsm erase`: the end of a flash that is no longer in use.

use serde::Serialize;

use super::super::{Failure, Outcome, Output};
use super::confirm;
use super::maintenance::Target;
use crate::daemon::DataDir;
use crate::devices;

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
    let lock = DataDir::open(&data)?;
    let known = devices::devices_of(&data, &region)?;
    let device = known.iter().find(|(line, _)| *line == name).map(|(_, device)| device.clone());
    let others = known.iter().filter(|(known, _)| *known != name).count();
    if others == 0 {
        return Err(Failure(format!(
            "{name} is the only device of {region} that is known here: with it, every key of the domain \
             would be lost. If that is meant: kmsctl hsm zeroise {name} --region {region}"
        )));
    }
    let warning = format!(
        "The flash of {name} of {region} will be erased. Keys open on the {others} other devices of the \
         domain that are known here, if they work."
    );
    let asked = device.as_deref().unwrap_or(&name);
    confirm::on_terminal(asked, &warning, "device", yes)?;
    drop(lock);
    let zeroised = match target.zeroise_quietly(device.as_deref()) {
        Ok(()) => true,
        Err(failure) => {
            eprintln!(
                "{name} could not be zeroised by itself, its flash is overwritten: {failure}"
            );
            false
        }
    };
    let _lock = DataDir::open(&data)?;
    devices::erase(&data, &region, &name)?;
    output.print(&Erased { name, region, device, zeroised }, |out, done| {
        writeln!(out, "the flash of {} is overwritten and removed", done.name)
    })?;
    Ok(Outcome::Good)
}
