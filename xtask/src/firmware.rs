//! `cargo xtask firmware`: builds the image of a board.

use std::{fs, path::PathBuf, process::Command, slice, sync::OnceLock};

use serde_json::json;
use toml::{Table, Value};

use crate::{
    args::Args,
    cargo::{self, Compiled},
    command,
    failure::{Doing, Failure, Result},
    integrity, second_stage, signing, term,
    toolchain::{self, Toolchain},
};

/// A board with its own image, as its row in `hsm-firmware/boards.toml` has it.
#[derive(Debug, PartialEq)]
pub(crate) struct Board {
    /// Name of the feature, of the binary and of the memory map.
    pub(crate) name: String,
    /// Target triple.
    pub(crate) target: String,
    /// Cargo profile of its image.
    profile: String,
    /// Address at which its second stage loads the image; `None` if it has no second stage.
    pub(crate) load_address: Option<u32>,
    /// The algorithms of the image that is tested and released.
    pub(crate) algorithms: Algorithms,
    /// What an image may use, for each set of algorithms that is checked.
    pub(crate) budgets: Vec<(Algorithms, Table)>,
    /// How its boot loader takes an image over USB; `None` if it does not.
    pub(crate) uf2: Option<Uf2>,
    /// Its name for `probe-rs`; `None` if the row has none.
    pub(crate) probe_chip: Option<String>,
    /// What one of the tests runs its image in, if that is not an emulator with a machine description.
    simulator: Option<String>,
    /// Program that emulates it, and the Debian package with that program.
    emulator: Option<(String, String)>,
}

/// How a boot loader takes an image as a UF2 file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Uf2 {
    /// Family of the chip, as <https://github.com/microsoft/uf2> lists them.
    pub(crate) family: u32,
    /// The first address of flash that an image may have.
    pub(crate) flash_start: u32,
}

/// How much an image computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Algorithms {
    /// AES, HMAC, P-256 and Ed25519.
    Small,
    /// All but ML-DSA.
    Classic,
    /// Every key spec.
    Everything,
}

impl Algorithms {
    pub(crate) const ALL: [Self; 3] = [Self::Small, Self::Classic, Self::Everything];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Small => "small",
            Self::Classic => "classic",
            Self::Everything => "everything",
        }
    }

    pub(crate) fn named(name: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|set| set.name() == name).ok_or_else(|| {
            Failure::new(format!("unknown algorithms `{name}`"))
                .help(format!("there are: {}", Self::ALL.map(Self::name).join(", ")))
        })
    }
}

/// The board that `kmsd` emulates if none is named.
const DEFAULT: &str = "qemu_riscv32";
/// What is known about each board.
pub(crate) const BOARDS: &str = "hsm-firmware/boards.toml";

/// Every board that firmware is built for: first the one that `kmsd` emulates if none is named, last those that nothing
/// emulates.
pub(crate) fn boards() -> Result<&'static [Board]> {
    static ALL: OnceLock<Vec<Board>> = OnceLock::new();
    if let Some(boards) = ALL.get() {
        return Ok(boards);
    }
    let text = fs::read_to_string(command::root().join(BOARDS));
    let table: Table = text.doing(format_args!("read {BOARDS}"))?.parse().map_err(|error| {
        Failure::new(format!("{BOARDS} is not understood")).help(format!("{error}"))
    })?;
    let mut boards = Vec::new();
    for (name, row) in &table {
        let row = row.as_table().ok_or_else(|| broken(format!("`{name}` needs a table")))?;
        let mut board = Board::parse(name, row)?;
        board.emulator = emulator(name)?;
        boards.push(board);
    }
    boards.sort_by(|one, other| {
        let order = |board: &Board| {
            (!board.is_default(), board.emulator.is_none(), board.simulator.is_none())
        };
        (order(one), &one.name).cmp(&(order(other), &other.name))
    });
    Ok(ALL.get_or_init(|| boards))
}

/// The boards that are emulated, on which devices are tested.
pub(crate) fn emulated() -> Result<&'static [Board]> {
    let boards = boards()?;
    Ok(&boards[..boards.partition_point(|board| board.emulator.is_some())])
}

/// Those, and the ones that a test simulates by itself: their images are built for tests.
pub(crate) fn tested() -> Result<&'static [Board]> {
    let boards = boards()?;
    let is_tested = |board: &Board| board.emulator.is_some() || board.simulator.is_some();
    Ok(&boards[..boards.partition_point(is_tested)])
}

/// Program and package of a board's machine description in `qemu/`; `None` if there is none.
fn emulator(board: &str) -> Result<Option<(String, String)>> {
    let path = command::root().join("qemu").join(format!("{board}.toml"));
    if !path.exists() {
        return Ok(None);
    }
    let text = fs::read_to_string(&path).doing(format_args!("read {}", path.display()))?;
    let table: Table = text.parse().map_err(|error| {
        Failure::new(format!("{} cannot be read", path.display())).help(format!("{error}"))
    })?;
    Ok(Some((value(&table, "emulator")?, value(&table, "debian_package")?)))
}

/// The keys `uf2_family` and `flash_start` of a row, of which it has both or none.
fn uf2(board: &str, row: &Table) -> Result<Option<Uf2>> {
    let number = |key: &str| {
        let Some(value) = row.get(key) else { return Ok(None) };
        let number = value.as_integer().and_then(|number| u32::try_from(number).ok());
        number.map(Some).ok_or_else(|| broken(format!("`{key}` of `{board}` has 32 bits")))
    };
    match (number("uf2_family")?, number("flash_start")?) {
        (Some(family), Some(flash_start)) => Ok(Some(Uf2 { family, flash_start })),
        (None, None) => Ok(None),
        _ => Err(broken(format!("`{board}` needs both `uf2_family` and `flash_start`, or none"))),
    }
}

fn broken(why: String) -> Failure {
    Failure::new(format!("{BOARDS} is not understood")).help(why)
}

fn value(table: &Table, key: &str) -> Result<String> {
    let value = table.get(key).and_then(Value::as_str).map(str::to_owned);
    value.ok_or_else(|| Failure::new(format!("the description of a board has no `{key}`")))
}

fn load_address(board: &str, row: &Table) -> Result<Option<u32>> {
    let Some(address) = row.get("second_stage") else { return Ok(None) };
    let address = address.as_integer().and_then(|address| u32::try_from(address).ok());
    address
        .map(Some)
        .ok_or_else(|| broken(format!("`second_stage` of `{board}` is not an address")))
}

impl Board {
    /// Reads a row.
    pub(crate) fn parse(name: &str, row: &Table) -> Result<Self> {
        let mut budgets = Vec::new();
        for (set, limits) in row.get("budget").and_then(Value::as_table).into_iter().flatten() {
            let limits = limits.as_table().ok_or_else(|| broken(format!("budget of `{name}`")))?;
            budgets.push((Algorithms::named(set)?, limits.clone()));
        }
        Ok(Self {
            name: name.to_owned(),
            target: value(row, "target")?,
            profile: value(row, "profile")?,
            load_address: load_address(name, row)?,
            algorithms: Algorithms::named(&value(row, "algorithms")?)?,
            budgets,
            uf2: uf2(name, row)?,
            probe_chip: row.get("probe_chip").and_then(Value::as_str).map(str::to_owned),
            simulator: row.get("simulator").and_then(Value::as_str).map(str::to_owned),
            emulator: None,
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

    /// Whether it is the one that `kmsd` emulates if none is named.
    pub(crate) fn is_default(&self) -> bool {
        self.name == DEFAULT
    }

    /// Program that emulates it, and the Debian package with that program.
    pub(crate) fn emulator(&self) -> Option<(&str, &str)> {
        self.emulator.as_ref().map(|(program, package)| (&**program, &**package))
    }
}

/// A built image.
pub(crate) struct Image {
    pub(crate) board: &'static Board,
    pub(crate) algorithms: Algorithms,
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
    /// `None`: those of each board.
    pub(crate) algorithms: Option<Algorithms>,
    pub(crate) toolchain: Option<Toolchain>,
}

impl Choice {
    /// Takes `--board`, `--algorithms` and `--toolchain` from the arguments. Without `--board` it is every
    /// board.
    pub(crate) fn parse(args: &mut Args) -> Result<Self> {
        let boards = match args.value("--board")? {
            Some(name) => slice::from_ref(Board::named(&name)?),
            None => boards()?,
        };
        let algorithms = args.value("--algorithms")?;
        Ok(Self {
            boards,
            algorithms: algorithms.as_deref().map(Algorithms::named).transpose()?,
            toolchain: Toolchain::parse(args)?,
        })
    }
}

impl Choice {
    /// The sets of algorithms to build for a board, its own last: that image keeps the board's name.
    fn sets(&self, board: &Board) -> Vec<Algorithms> {
        if let Some(chosen) = self.algorithms {
            return vec![chosen];
        }
        let mut sets: Vec<_> = board.budgets.iter().map(|(set, _)| *set).collect();
        sets.sort_by_key(|set| *set == board.algorithms);
        sets
    }
}

/// The subcommand.
pub(crate) fn main(mut args: Args) -> Result<()> {
    let choice = Choice::parse(&mut args)?;
    let json = args.flag("--json");
    let deny_warnings = args.flag("--deny-warnings");
    args.finish()?;
    for image in build_all(&choice)? {
        if deny_warnings && image.warnings > 0 {
            return Err(Failure::new(term::count(image.warnings, "compiler warning")));
        }
        if json {
            let image = json!({
                "board": image.board.name,
                "target": image.board.target,
                "algorithms": image.algorithms.name(),
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

/// What an image is built from.
type Wanted = (&'static Board, Algorithms, Toolchain);

/// Prepares the toolchains and builds the image of each board with each set of algorithms that has a budget,
/// or the one that was chosen. Profiles are built side by side: what takes long in an image is the linker's
/// work, on one processor.
pub(crate) fn build_all(choice: &Choice) -> Result<Vec<Image>> {
    let mut lanes: Vec<(&str, Vec<Wanted>)> = Vec::new();
    for board in choice.boards {
        let toolchain = prepare(board, choice.toolchain)?;
        let known = lanes.iter().position(|(profile, _)| *profile == board.profile);
        let lane = known.unwrap_or_else(|| {
            lanes.push((&board.profile, Vec::new()));
            lanes.len() - 1
        });
        lanes[lane].1.extend(choice.sets(board).into_iter().map(|set| (board, set, toolchain)));
    }
    let lanes: Vec<_> = lanes.into_iter().map(|(_, lane)| lane).collect();
    let commands = lanes.iter().map(|lane| {
        let command = |&(board, set, toolchain)| build_command(board, set, toolchain);
        lane.iter().map(command).collect()
    });
    let count = lanes.iter().map(Vec::len).sum();
    let images = term::step(&term::count(count, "firmware image"), || {
        cargo::build_then(commands.collect(), |lane, place, compiled| {
            let (board, set, toolchain) = lanes[lane][place];
            finish(board, set, toolchain, compiled)
        })
    })?;
    Ok(images.into_iter().flatten().collect())
}

/// Prepares the toolchain for a board.
pub(crate) fn prepare(board: &Board, toolchain: Option<Toolchain>) -> Result<Toolchain> {
    let toolchain = toolchain::prepare(&board.target, toolchain)?;
    term::note(format!("{} with the {} toolchain", board.target, toolchain.name()));
    Ok(toolchain)
}

/// The build of a board's image.
pub(crate) fn build_command(
    board: &Board,
    algorithms: Algorithms,
    toolchain: Toolchain,
) -> Command {
    let mut cargo = cargo(toolchain, "build", board, algorithms);
    cargo.args(["--bin", &board.name]);
    cargo
}

/// Seals the image that was built. One with other algorithms than the board's own gets a name of its own.
pub(crate) fn finish(
    board: &'static Board,
    algorithms: Algorithms,
    toolchain: Toolchain,
    compiled: Compiled,
) -> Result<Image> {
    let elf = compiled.executable().ok_or_else(|| Failure::new("cargo built no firmware image"))?;
    let elf = if algorithms == board.algorithms {
        elf
    } else {
        let named = elf.with_file_name(format!("{}-{}", board.name, algorithms.name()));
        fs::rename(&elf, &named).doing("name the image")?;
        named
    };
    let bytes = integrity::seal(&elf)?;
    if let Some(address) = board.load_address {
        signing::sign(board, address, &bytes, &elf)?;
        second_stage::build(board, toolchain, &elf)?;
    }
    Ok(Image { board, algorithms, elf, toolchain, warnings: compiled.warnings })
}

/// Cargo for the firmware crate alone, with the profile and features of a board.
pub(crate) fn cargo(
    toolchain: Toolchain,
    subcommand: &str,
    board: &Board,
    algorithms: Algorithms,
) -> Command {
    let mut cargo = toolchain.cargo(subcommand, &board.target);
    cargo.args(["--profile", &board.profile]).args(crate_of(board, algorithms));
    toolchain.hide_paths(&mut cargo, &[]);
    cargo
}

/// Cargo for a question about the crates of an image, which needs no toolchain for the board.
pub(crate) fn cargo_offline(subcommand: &str, board: &Board, algorithms: Algorithms) -> Command {
    let mut cargo = command::cargo([subcommand, "--offline", "--target", &board.target]);
    cargo.args(crate_of(board, algorithms));
    cargo
}

/// The firmware crate with the features of an image.
fn crate_of(board: &Board, algorithms: Algorithms) -> [String; 5] {
    let features = match algorithms {
        Algorithms::Small => board.name.clone(),
        set => format!("{},{}", board.name, set.name()),
    };
    ["--package", "hsm-firmware", "--no-default-features", "--features", &features].map(Into::into)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(text: &str) -> Result<Board> {
        let head = "target = 't'\nprofile = 'p'\nalgorithms = 'small'\n";
        Board::parse("b", &format!("{head}{text}").parse().unwrap())
    }

    #[test]
    fn a_board_with_a_uf2_boot_loader_has_family_and_start() {
        let uf2 = row("uf2_family = 0xe48bff59\nflash_start = 0x10000000").unwrap().uf2;
        assert_eq!(uf2, Some(Uf2 { family: 0xe48b_ff59, flash_start: 0x1000_0000 }));
        assert_eq!(row("").unwrap().uf2, None);
        assert!(row("flash_start = 0").unwrap_err().to_string().contains("needs both"));
        assert!(row("uf2_family = -1\nflash_start = 0").is_err());
        assert!(row("uf2_family = 0x1_0000_0000\nflash_start = 0").is_err());
    }

    #[test]
    fn what_nothing_emulates_is_built_and_not_tested() {
        let names = |boards: &[Board]| boards.iter().map(|board| board.name.clone()).collect();
        let [all, emulated]: [Vec<_>; 2] = [names(boards().unwrap()), names(emulated().unwrap())];
        assert!(all.contains(&"rp2350".into()) && !emulated.contains(&"rp2350".into()));
        assert!(all.starts_with(&emulated));
        let tested: Vec<_> = names(tested().unwrap());
        assert!(tested.contains(&"rp2040".into()) && tested.starts_with(&emulated));
        let count = fs::read_dir(command::root().join("qemu")).unwrap().filter(|entry| {
            entry.as_ref().unwrap().path().extension().is_some_and(|kind| kind == "toml")
        });
        assert_eq!(emulated.len(), count.count());
    }

    #[test]
    fn a_wrong_board_lists_the_right_ones() {
        let failure = Board::named("pdp11").unwrap_err().to_string();
        assert_eq!(
            failure,
            "unknown board `pdp11`\n  there are: qemu_riscv32, mps2_an386, mps2_an505, rp2040, rp2350"
        );
    }
}
