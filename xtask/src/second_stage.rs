//! The second stage of a board's boot: built for size, beside the image that it loads.

use std::{fs, path::Path};

use crate::{
    cargo,
    elf::Elf,
    failure::{Doing, Failure, Result},
    firmware::Board,
    sizes::Sizes,
    term,
    toolchain::{self, Toolchain},
};

/// Most bytes that it may have in flash: all boards set aside so many.
const MOST: u64 = 32 * 1024;

/// SHA-256 in a loop instead of 64 rounds written out: 7 KB less.
const COMPACT: &str = "sha2_backend_soft=\"compact\"";

/// Builds it, and puts it beside the image: `BOARD_boot`.
pub(crate) fn build(board: &Board, toolchain: Toolchain, image: &Path) -> Result<()> {
    let bin = format!("{}_boot", board.name);
    let directory = toolchain::target_dir().join("boot");
    let mut cargo = toolchain.cargo_in(&directory, "build", &board.target);
    toolchain.hide_paths(&mut cargo, &["--cfg", COMPACT]);
    cargo.args(["--package", "hsm-firmware", "--profile", "firmware-boot", "--bin", &bin]);
    cargo.args(["--no-default-features", "--features", &board.name]);
    let compiled = cargo::build(vec![vec![cargo]])?.pop().and_then(|mut lane| lane.pop());
    let elf = compiled.and_then(|compiled| compiled.executable());
    let elf = elf.ok_or_else(|| Failure::new("cargo built no second stage"))?;
    let size = Sizes::of(&Elf::read(&elf)?.sections).image();
    term::note(format!("second stage of {}: {size} of {MOST} bytes", board.name));
    let place = image.with_file_name(&bin);
    fs::copy(&elf, &place).doing(format_args!("write {}", place.display()))?;
    Ok(())
}
