//! Makes sure that a board's emulator is installed.

use crate::{
    command,
    failure::{Failure, Result},
    firmware::Board,
    packages,
};

/// Installs the emulator of `board` if it has a machine description and the emulator is not on PATH.
pub(crate) fn prepare(board: &Board) -> Result<()> {
    let (program, package) = board.emulator().ok_or_else(|| {
        let failure = Failure::new(format!("{} is not an emulated board", board.name));
        failure.help(format!("put its firmware on a board with: cargo xtask flash {}", board.name))
    })?;
    if command::on_path(program) {
        return Ok(());
    }
    packages::install(&[package])?;
    if command::on_path(program) {
        return Ok(());
    }
    Err(Failure::new(format!("{package} is installed, but {program} is not on PATH"))
        .help("put /usr/bin on PATH"))
}
