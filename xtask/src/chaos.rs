//! `cargo xtask chaos`: builds the daemon, the image of an emulated device and the harness of `tests/`, and
//! runs it.

use std::{process::Command, slice};

use crate::{
    args::Args, beside, command, daemon, daemon::Profile, emulator, failure::Result,
    firmware::emulated, term, test, toolchain::Toolchain,
};

/// What `cargo xtask help chaos` says beside the options.
pub(crate) const HELP: &str = "\
Eight clients work on the same keys, aliases, policies and grants of a kmsd, or
a few, while processes, emulated devices and members of the store are killed,
paused and cut off, devices are drained, disks are full or break, and clocks
jump.
Afterwards the order of all answers is checked, every ciphertext is opened,
audit logs are verified, and files are searched for plaintexts.

  --seed N      repeat a schedule of faults [default: a new one]
  --seconds N   how long faults happen [default: 60]
  --minutes N   the same in minutes
  --daemons N   1 to 5; several have a cluster of etcd as their store
                [default: 1]
  --devices N   emulated devices, 1 to 8 [default: 3]
  --regions N   1 or 2; each daemon has a device in each [default: 1]
  --beside COMMIT  every second daemon is of that commit, and each start may be
                of the other one: an upgrade and its way back
  --json        one JSON document instead of text
  --release     compile longer, run faster
";

/// The subcommand; what it does not know goes to the harness.
pub(crate) fn main(mut args: Args) -> Result<()> {
    let toolchain = Toolchain::parse(&mut args)?;
    let profile = Profile::parse(&mut args);
    let mut flags = Vec::new();
    for name in ["--seed", "--seconds", "--minutes", "--daemons", "--devices", "--regions"] {
        if let Some(value) = args.value(name)? {
            flags.extend([name.to_owned(), value]);
        }
    }
    if args.flag("--json") {
        flags.push("--json".to_owned());
    }
    let beside = args.value("--beside")?;
    args.finish()?;
    if let Some(commit) = beside {
        let program = beside::kmsd(&commit)?;
        flags.extend(["--beside".to_owned(), program.display().to_string()]);
    }
    test::etcd()?;
    test::clocks();
    // The one that the harness boots.
    let board = &emulated()?[0];
    emulator::prepare(board)?;
    let mut build = command::cargo(["build", "--package", "hsm-tests", "--bin", "chaos"]);
    let mut directory = "debug";
    if profile != Profile::Dev {
        build.arg("--release");
        directory = "release";
    }
    let (programs, images) = daemon::build(slice::from_ref(board), toolchain, profile)?;
    term::step("chaos", || command::run(&mut build))?;
    let mut chaos = Command::new(command::target_dir().join(directory).join("chaos"));
    chaos.envs(images.into_iter().map(|image| (test::variable(image.board), image.elf)));
    chaos.env("STRONGROOM_KMSD", programs.kmsd).env("STRONGROOM_KMSCTL", programs.kmsctl);
    command::run(chaos.args(flags))
}
