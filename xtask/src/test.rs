//! `cargo xtask test`: everything the tests need, then every test. Those of the nightly set run with
//! `--nightly`, or where their suite is named.

use std::path::PathBuf;

use crate::{
    args::Args,
    beside, browser, command,
    daemon::{self, Profile, Programs},
    emulator,
    failure::Result,
    firmware::{Board, emulated, tested},
    package::{self, Source},
    packages::install,
    python, term, tokens,
    toolchain::Toolchain,
};

mod together;

/// The subcommand.
pub(crate) fn main(mut args: Args) -> Result<()> {
    let rest = args.rest();
    let toolchain = Toolchain::parse(&mut args)?;
    let suite = args.value("--suite")?;
    let nightly = args.flag("--nightly") || suite.is_some();
    let beside = args.value("--beside")?;
    let filter = args.positional();
    args.finish()?;
    let profile = if suite.is_some() { Profile::Dev } else { Profile::Tests };
    let mut rig = Rig::prepare(toolchain, nightly, profile)?;
    if nightly && suite.as_deref().is_none_or(|suite| suite == "etcd") || beside.is_some() {
        rig.beside = Some(beside::kmsd(&beside.map_or_else(beside::last_release, Ok)?)?);
    }
    term::headline("tests");
    match suite {
        Some(suite) => rig.run(&selection(&suite, filter.as_deref()), &rest),
        None => together::run(&rig.environment(), &[filter.into_iter().collect(), rest].concat()),
    }
}

/// What tests find in their environment.
struct Rig {
    /// Images for the emulators, by variable.
    firmware: Vec<(String, PathBuf)>,
    /// `STRONGROOM_PYTHON`: interpreter with the client libraries; the `aws` command lies beside it.
    python: PathBuf,
    /// `STRONGROOM_KMSD` and `STRONGROOM_KMSCTL`.
    programs: Programs,
    /// `STRONGROOM_PACKAGE` and `STRONGROOM_PACKAGE_NEXT`: Debian packages of these programs, of which
    /// the second is newer; none where there is no dpkg.
    packages: Vec<PathBuf>,
    /// `STRONGROOM_KRYOPTIC`: the PKCS#11 module of Kryoptic, where it can be built.
    kryoptic: Option<PathBuf>,
    /// `STRONGROOM_KMSD_BESIDE`: the daemon of the last release, or of another commit.
    beside: Option<PathBuf>,
    /// `STRONGROOM_NIGHTLY`: tests that take long run too.
    nightly: bool,
}

impl Rig {
    fn prepare(toolchain: Option<Toolchain>, nightly: bool, profile: Profile) -> Result<Self> {
        emulated()?.iter().try_for_each(emulator::prepare)?;
        let boards = tested()?;
        browser::prepare();
        let kryoptic = tokens::prepare();
        etcd()?;
        clocks();
        let python = python::prepare()?;
        let (programs, images) = daemon::build(boards, toolchain, profile)?;
        let firmware = images.into_iter().map(|image| (variable(image.board), image.elf)).collect();
        let packages = packages(&programs)?;
        Ok(Self { firmware, python, programs, packages, kryoptic, beside: None, nightly })
    }

    /// Runs the tests that `selection` names to cargo; `rest` goes to the test program.
    fn run(&self, selection: &[&str], rest: &[String]) -> Result<()> {
        let mut cargo = command::cargo(["test", "--no-fail-fast"]);
        command::run(cargo.envs(self.environment()).args(selection).arg("--").args(rest))
    }

    fn environment(&self) -> Vec<(String, PathBuf)> {
        let Programs { kmsd, kmsctl } = &self.programs;
        let programs = [("PYTHON", &self.python), ("KMSD", kmsd), ("KMSCTL", kmsctl)].into_iter();
        let programs = programs.map(|(name, path)| (format!("STRONGROOM_{name}"), path.clone()));
        let names = ["STRONGROOM_PACKAGE", "STRONGROOM_PACKAGE_NEXT"].map(str::to_owned);
        let packages = names.into_iter().zip(self.packages.iter().cloned());
        let optional = [("KRYOPTIC", &self.kryoptic), ("KMSD_BESIDE", &self.beside)].into_iter();
        let optional = optional.filter_map(|(name, path)| Some((name, path.clone()?)));
        let packages =
            packages.chain(optional.map(|(name, path)| (format!("STRONGROOM_{name}"), path)));
        let nightly = self.nightly.then(|| ("STRONGROOM_NIGHTLY".to_owned(), "1".into()));
        self.firmware.iter().cloned().chain(programs).chain(packages).chain(nightly).collect()
    }
}

/// Sees to it that there is an etcd cluster to be had: tests of the store need one, and none is left out.
pub(crate) fn etcd() -> Result<()> {
    match command::on_path("etcd") && command::on_path("etcdctl") {
        true => Ok(()),
        false => install(&["etcd-server", "etcd-client"]),
    }
}

/// Sees to it that clocks of daemons can be set. Without, the tests say what they leave out.
pub(crate) fn clocks() {
    if let Err(failure) = install(&["faketime"]) {
        term::note(format!("clocks are not set in tests: {failure}"));
    }
}

fn packages(programs: &Programs) -> Result<Vec<PathBuf>> {
    if !command::on_path("dpkg-deb") {
        term::note("the Debian package is not tested, as there is no dpkg-deb");
        return Ok(Vec::new());
    }
    let source = Source::find();
    term::step("Debian packages", || {
        let version = |add: &str| format!("{}{add}", env!("CARGO_PKG_VERSION"));
        let package = |add| package::build(programs, &version(add), &source, false);
        ["", "+next"].into_iter().map(package).collect()
    })
}

/// `STRONGROOM_FIRMWARE` for the first board, which `kmsd` emulates; the others' names follow it.
pub(crate) fn variable(board: &Board) -> String {
    match board.is_default() {
        true => "STRONGROOM_FIRMWARE".into(),
        false => format!("STRONGROOM_FIRMWARE_{}", board.name.to_uppercase()),
    }
}

/// The tests of one file in `tests/tests`; of these, those with `filter` in their name.
fn selection<'a>(suite: &'a str, filter: Option<&'a str>) -> Vec<&'a str> {
    let mut words = vec!["--package", "hsm-tests", "--test", suite];
    words.extend(filter);
    words
}

#[cfg(test)]
mod tests {
    use super::selection;

    #[test]
    fn a_suite_is_one_file_of_the_end_to_end_tests() {
        let suite = ["--package", "hsm-tests", "--test", "pool", "killed"];
        assert_eq!(selection("pool", Some("killed")), suite);
    }
}
