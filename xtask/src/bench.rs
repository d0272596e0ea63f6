//! `cargo xtask bench`: builds everything for speed and runs the benchmark of `tests/`.

use crate::{
    args::Args,
    command,
    daemon::{self, Profile, Programs},
    emulator,
    failure::Result,
    firmware::emulated,
    sizes, term, test,
    toolchain::Toolchain,
};

/// The subcommand; everything after `--` goes to the benchmark.
pub(crate) fn main(mut args: Args) -> Result<()> {
    let rest = args.rest();
    let toolchain = Toolchain::parse(&mut args)?;
    args.finish()?;
    let boards = emulated()?;
    boards.iter().try_for_each(emulator::prepare)?;
    let (programs, images) = daemon::build(boards, toolchain, Profile::Release(String::new()))?;
    let Programs { kmsd, kmsctl } = programs;
    let images: Vec<_> =
        images.into_iter().map(|image| (test::variable(image.board), image.elf)).collect();
    let build = ["build", "--package", "hsm-tests", "--bin", "bench", "--release"];
    term::step("benchmark", || command::run(&mut command::cargo(build)))?;
    let mut bench = std::process::Command::new(command::target_dir().join("release/bench"));
    bench.envs(images).env("STRONGROOM_KMSD", kmsd).env("STRONGROOM_KMSCTL", kmsctl);
    let json = rest.iter().any(|flag| flag == "--json");
    command::run(bench.args(rest))?;
    // Flash and RAM of the image belong to the picture; a JSON document stays one document.
    if json { Ok(()) } else { sizes::main(Args::new([])) }
}
