//! `cargo xtask firmware`: builds the image of a board.

use std::{fs, path::PathBuf, process::Command, slice, sync::OnceLock};

use serde_json::json;
use toml::{Table, Value};

use crate::{
    args::Args,
    cargo::{self, Compiled},
    command,
    failure::{Doing, Failure, Result},
    integrity, term,
    toolchain::{self, Toolchain},
};

/// A board with its own image, as its machine description in `qemu/` has it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Board {
    /// Name of the feature, of the binary and of the memory map.
    pub(crate) name: String,
    /// Target triple.
    pub(crate) target: String,
    /// Program that emulates it, and the Debian package with that program.
    pub(crate) emulator: (String, String),
}

/// The board that `kmsd` emulates.
const DEFAULT: &str = "qemu_riscv32";

/// Every board that firmware is built for, the one that `kmsd` emulates first.
pub(crate) fn boards() -> Result<&'static [Board]> {
    static BOARDS: OnceLock<Vec<Board>> = OnceLock::new();
    if let Some(boards) = BOARDS.get() {
        return Ok(boards);
    }
    let directory = command::root().join("qemu");
    let reading = format!("read {}", directory.display());
    let mut boards = Vec::new();
    for file in fs::read_dir(&directory).doing(&reading)? {
        let path = file.doing(&reading)?.path();
        if path.extension().is_some_and(|ending| ending == "toml") {
            let text = fs::read_to_string(&path).doing(format_args!("read {}", path.display()))?;
            let board = Board::parse(&text)
                .map_err(|failure| failure.help(format!("it is about {}", path.display())))?;
            boards.push(board);
        }
    }
    boards.sort_by(|one, other| {
        (!one.is_default(), &one.name).cmp(&(!other.is_default(), &other.name))
    });
    Ok(BOARDS.get_or_init(|| boards))
}

impl Board {
    /// Reads a machine description.
    fn parse(text: &str) -> Result<Self> {
        let table: Table = text.parse().map_err(|error| {
            Failure::new("a machine description cannot be read").help(format!("{error}"))
        })?;
        let value = |key: &str| {
            let value = table.get(key).and_then(Value::as_str).map(str::to_owned);
            value.ok_or_else(|| Failure::new(format!("a machine description has no `{key}`")))
        };
        Ok(Self {
            name: value("board")?,
            target: value("target")?,
            emulator: (value("emulator")?, value("debian_package")?),
        })
    }

    /// The board called `name`.
    pub(crate) fn named(name: &str) -> Result<&'static Self> {
        let boards = boards()?;
        boards.iter().find(|board| board.name == name).ok_or_else(|| {
            let names: Vec<_> = boards.iter().map(|board| &*board.name).collect();
            Failure::new(format!("unknown board `{name}`"))
                .help(format!("there are: {}", names.join(", ")))
        })
    }

    /// Whether it is the one that `kmsd` emulates.
    pub(crate) fn is_default(&self) -> bool {
        self.name == DEFAULT
    }
}

/// A built image.
pub(crate) struct Image {
    pub(crate) board: &'static Board,
    pub(crate) elf: PathBuf,
    pub(crate) toolchain: Toolchain,
    /// Compiler warnings in the crates of this workspace.
    pub(crate) warnings: usize,
}

/// What to build and with what.
#[derive(Debug)]
pub(crate) struct Choice {
    /// One board, or all.
    pub(crate) boards: &'static [Board],
    pub(crate) toolchain: Option<Toolchain>,
}

impl Choice {
    /// Takes `--board` and `--toolchain` from the arguments. Without `--board` it is every board.
    pub(crate) fn parse(args: &mut Args) -> Result<Self> {
        let boards = match args.value("--board")? {
            Some(name) => slice::from_ref(Board::named(&name)?),
            None => boards()?,
        };
        Ok(Self { boards, toolchain: Toolchain::parse(args)? })
    }
}

/// The subcommand.
pub(crate) fn main(mut args: Args) -> Result<()> {
    let choice = Choice::parse(&mut args)?;
    let json = args.flag("--json");
    let deny_warnings = args.flag("--deny-warnings");
    args.finish()?;
    for board in choice.boards {
        let image = build(board, choice.toolchain)?;
        if deny_warnings && image.warnings > 0 {
            return Err(Failure::new(term::count(image.warnings, "compiler warning")));
        }
        if json {
            let image = json!({
                "board": image.board.name,
                "target": image.board.target,
                "toolchain": image.toolchain.name(),
                "elf": image.elf,
            });
            println!("{image}");
        } else {
            println!("{}", image.elf.display());
        }
    }
    Ok(())
}

/// Prepares the toolchain and builds.
pub(crate) fn build(board: &'static Board, toolchain: Option<Toolchain>) -> Result<Image> {
    term::step(&format!("firmware for {}", board.name), || {
        let toolchain = prepare(board, toolchain)?;
        let compiled = cargo::build(vec![vec![build_command(board, toolchain)]])?;
        let compiled = compiled.into_iter().flatten().next().unwrap_or_default();
        finish(board, toolchain, compiled)
    })
}

/// Prepares the toolchain for a board.
pub(crate) fn prepare(board: &Board, toolchain: Option<Toolchain>) -> Result<Toolchain> {
    let toolchain = toolchain::prepare(&board.target, toolchain)?;
    term::note(format!("{} with the {} toolchain", board.target, toolchain.name()));
    Ok(toolchain)
}

/// The build of a board's image.
pub(crate) fn build_command(board: &Board, toolchain: Toolchain) -> Command {
    let mut cargo = cargo(toolchain, "build", board);
    cargo.args(["--bin", &board.name]);
    cargo
}

/// Seals the image that was built.
pub(crate) fn finish(
    board: &'static Board,
    toolchain: Toolchain,
    compiled: Compiled,
) -> Result<Image> {
    let elf = compiled.executable().ok_or_else(|| Failure::new("cargo built no firmware image"))?;
    integrity::seal(&elf)?;
    Ok(Image { board, elf, toolchain, warnings: compiled.warnings })
}

/// Cargo for the firmware crate alone, with the profile and features of a board.
pub(crate) fn cargo(toolchain: Toolchain, subcommand: &str, board: &Board) -> Command {
    let mut cargo = toolchain.cargo(subcommand, &board.target);
    cargo.args(["--package", "hsm-firmware", "--profile", "firmware"]);
    cargo.args(["--no-default-features", "--features", &board.name]);
    cargo
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_board_lists_the_right_ones() {
        let failure = Board::named("pdp11").unwrap_err().to_string();
        assert_eq!(failure, "unknown board `pdp11`\n  there are: qemu_riscv32, mps2_an386");
    }
}
