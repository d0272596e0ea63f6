//! `cargo xtask test`: everything the tests need, then every test.

use std::path::PathBuf;

use crate::{
    args::Args,
    command,
    daemon::{self, Profile, Programs},
    emulator,
    failure::Result,
    firmware::{self, Choice},
    python, term,
};

/// The subcommand.
pub(crate) fn main(mut args: Args) -> Result<()> {
    let rest = args.rest();
    let choice = Choice::parse(&mut args)?;
    let filter = args.positional();
    args.finish()?;
    let rig = Rig::prepare(&choice)?;
    rig.run(filter.as_deref(), &rest)
}

/// What tests find in their environment.
struct Rig {
    /// `STRONGROOM_FIRMWARE`: image for the emulator.
    firmware: PathBuf,
    /// `STRONGROOM_PYTHON`: interpreter with the client libraries; the `aws` command lies beside it.
    python: PathBuf,
    /// `STRONGROOM_KMSD` and `STRONGROOM_KMSCTL`.
    programs: Programs,
}

impl Rig {
    fn prepare(choice: &Choice) -> Result<Self> {
        emulator::prepare(choice.board)?;
        let python = python::prepare()?;
        let firmware = firmware::build(choice)?.elf;
        let programs = daemon::build(Profile::Dev)?;
        Ok(Self { firmware, python, programs })
    }

    /// Runs the tests whose name contains `filter`; `rest` goes to the test programs.
    fn run(&self, filter: Option<&str>, rest: &[String]) -> Result<()> {
        term::headline("tests");
        let mut cargo = command::cargo(["test", "--workspace", "--no-fail-fast"]);
        cargo.env("STRONGROOM_FIRMWARE", &self.firmware).env("STRONGROOM_PYTHON", &self.python);
        let Programs { kmsd, kmsctl } = &self.programs;
        cargo.env("STRONGROOM_KMSD", kmsd).env("STRONGROOM_KMSCTL", kmsctl);
        cargo.args(filter).arg("--").args(rest);
        command::run(&mut cargo)
    }
}
