//! Makes sure that a board's emulator is installed.

use crate::{
    command,
    failure::{Failure, Result},
    firmware::Board,
    packages,
};

/// Installs the emulator of `board` if it has a machine description and the emulator is not on PATH.
pub(crate) fn prepare(board: &Board) -> Result<()> {
    let Some((program, package)) = board.emulator() else { return Ok(()) };
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
