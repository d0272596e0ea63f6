//! Builds `kmsd` and `kmsctl`.

use std::path::PathBuf;

use crate::{command, failure::Result, term};

/// How the programs are built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Profile {
    /// Built soon.
    Dev,
    /// Runs fast.
    Release,
}

/// The built programs.
pub(crate) struct Programs {
    pub(crate) kmsd: PathBuf,
    pub(crate) kmsctl: PathBuf,
}

/// Builds both.
pub(crate) fn build(profile: Profile) -> Result<Programs> {
    let (name, dir) = match profile {
        Profile::Dev => ("dev", "debug"),
        Profile::Release => ("release", "release"),
    };
    term::step("kmsd and kmsctl", || {
        let arguments = ["build", "--package", "kms-daemon", "--bins", "--profile", name];
        command::run(&mut command::cargo(arguments))?;
        let dir = command::target_dir().join(dir);
        Ok(Programs { kmsd: dir.join("kmsd"), kmsctl: dir.join("kmsctl") })
    })
}
