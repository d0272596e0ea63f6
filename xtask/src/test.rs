//! `cargo xtask test`: everything the tests need, then every test.

use std::path::PathBuf;

use crate::{
    args::Args,
    command,
    daemon::{self, Profile, Programs},
    emulator,
    failure::Result,
    firmware::{self, BOARDS, Board},
    python, term,
    toolchain::Toolchain,
};

/// The subcommand.
pub(crate) fn main(mut args: Args) -> Result<()> {
    let rest = args.rest();
    let toolchain = Toolchain::parse(&mut args)?;
    let suite = args.value("--suite")?;
    let filter = args.positional();
    args.finish()?;
    Rig::prepare(toolchain)?.run(&selection(suite.as_deref(), filter.as_deref()), &rest)
}

/// What tests find in their environment.
struct Rig {
    /// Images for the emulators, by variable.
    firmware: Vec<(String, PathBuf)>,
    /// `STRONGROOM_PYTHON`: interpreter with the client libraries; the `aws` command lies beside it.
    python: PathBuf,
    /// `STRONGROOM_KMSD` and `STRONGROOM_KMSCTL`.
    programs: Programs,
}

impl Rig {
    fn prepare(toolchain: Option<Toolchain>) -> Result<Self> {
        BOARDS.iter().try_for_each(emulator::prepare)?;
        let python = python::prepare()?;
        let build = |board| Ok((variable(board), firmware::build(board, toolchain)?.elf));
        let firmware = BOARDS.iter().map(build).collect::<Result<_>>()?;
        let programs = daemon::build(Profile::Dev)?;
        Ok(Self { firmware, python, programs })
    }

    /// Runs the tests that `selection` names to cargo; `rest` goes to the test programs.
    fn run(&self, selection: &[&str], rest: &[String]) -> Result<()> {
        term::headline("tests");
        let mut cargo = command::cargo(["test", "--no-fail-fast"]);
        for (variable, image) in &self.firmware {
            cargo.env(variable, image);
        }
        cargo.env("STRONGROOM_PYTHON", &self.python);
        let Programs { kmsd, kmsctl } = &self.programs;
        cargo.env("STRONGROOM_KMSD", kmsd).env("STRONGROOM_KMSCTL", kmsctl);
        command::run(cargo.args(selection).arg("--").args(rest))
    }
}

/// `STRONGROOM_FIRMWARE` for the first board, which `kmsd` emulates; the others' names follow it.
pub(crate) fn variable(board: &Board) -> String {
    match *board == BOARDS[0] {
        true => "STRONGROOM_FIRMWARE".into(),
        false => format!("STRONGROOM_FIRMWARE_{}", board.name.to_uppercase()),
    }
}

/// Every test, or those of one file in `tests/tests`; of these, those with `filter` in their name.
fn selection<'a>(suite: Option<&'a str>, filter: Option<&'a str>) -> Vec<&'a str> {
    let mut words = match suite {
        Some(suite) => vec!["--package", "hsm-tests", "--test", suite],
        None => vec!["--workspace"],
    };
    words.extend(filter);
    words
}

#[cfg(test)]
mod tests {
    use super::selection;

    #[test]
    fn a_suite_is_one_file_of_the_end_to_end_tests() {
        assert_eq!(selection(None, None), ["--workspace"]);
        assert_eq!(selection(None, Some("cobs")), ["--workspace", "cobs"]);
        let suite = ["--package", "hsm-tests", "--test", "pool", "killed"];
        assert_eq!(selection(Some("pool"), Some("killed")), suite);
    }
}
