//! `cargo xtask flash`: puts firmware on a board, by the USB drive of its boot loader or by a debug probe.

mod drive;

use std::{
    fs,
    path::{Path, PathBuf},
    slice, thread,
    time::{Duration, Instant},
};

use self::drive::{Drive, Loader};
use crate::{
    args::Args,
    command,
    failure::{Doing, Failure, Result},
    firmware::{self, Algorithms, Board, Choice, Image, Uf2},
    image::Loaded,
    term,
    toolchain::Toolchain,
    uf2,
};

/// What `cargo xtask help flash` says beside the options.
pub(crate) const HELP: &str = "\
Builds the image of BOARD and copies it to the drive of its boot loader. Waits
for the drive, and says which button to press.

  --drive DIR       the drive, where several boards wait or none is found
  --uf2 FILE        write the file for the boot loader, and touch no board
  --probe           write flash with a debug probe and probe-rs
  --chip NAME       the chip for probe-rs, where boards.toml does not name it
  --algorithms SET  small, classic or everything, instead of the board's own
";

/// How long the drive is waited for.
const DRIVE: Duration = Duration::from_secs(120);
/// How often it is looked for.
const TICK: Duration = Duration::from_millis(300);

/// The subcommand.
pub(crate) fn main(mut args: Args) -> Result<()> {
    let name = args.positional().ok_or_else(|| {
        Failure::new("flash needs a board")
            .help("cargo xtask flash BOARD; see hsm-firmware/boards.toml")
    })?;
    let options = Options::parse(&mut args)?;
    args.finish()?;
    let board = Board::named(&name)?;
    let way = options.way(board)?;
    if let Way::Drive { loader, given, .. } = &way
        && drive::find(loader, given.as_deref())?.is_none()
    {
        term::note(format!("there is no drive of {name} yet: {}", loader.how));
    }
    let choice = Choice {
        boards: slice::from_ref(board),
        algorithms: Some(options.algorithms.unwrap_or(board.algorithms)),
        toolchain: options.toolchain,
    };
    let image = firmware::build_all(&choice)?.pop().ok_or_else(|| Failure::new("no image"))?;
    match way {
        Way::File { uf2, path } => {
            let file = made(&image, uf2)?;
            fs::write(&path, &file).doing(format_args!("write {}", path.display()))?;
            println!("{}", path.display());
            Ok(())
        }
        Way::Drive { uf2, loader, given } => {
            let file = made(&image, uf2)?;
            let drive = wait(loader, given.as_deref(), DRIVE)?;
            let title = format!("{} KiB to {}", file.len() / 1024, drive.path.display());
            term::step(&title, || drive.take(&file))?;
            term::note(next_steps(&name));
            Ok(())
        }
        Way::Probe { chip } => {
            term::step(&format!("{name} by debug probe"), || probe(&chip, &image.elf))?;
            term::note(next_steps(&name));
            Ok(())
        }
    }
}

#[derive(Debug, Default)]
struct Options {
    drive: Option<PathBuf>,
    uf2: Option<PathBuf>,
    probe: bool,
    chip: Option<String>,
    algorithms: Option<Algorithms>,
    toolchain: Option<Toolchain>,
}

/// How the image gets onto the board.
enum Way {
    File { uf2: Uf2, path: PathBuf },
    Drive { uf2: Uf2, loader: &'static Loader, given: Option<PathBuf> },
    Probe { chip: String },
}

impl Options {
    fn parse(args: &mut Args) -> Result<Self> {
        Ok(Self {
            drive: args.value("--drive")?.map(PathBuf::from),
            uf2: args.value("--uf2")?.map(PathBuf::from),
            probe: args.flag("--probe"),
            chip: args.value("--chip")?,
            algorithms: args
                .value("--algorithms")?
                .as_deref()
                .map(Algorithms::named)
                .transpose()?,
            toolchain: Toolchain::parse(args)?,
        })
    }

    /// Decides before anything is built.
    fn way(&self, board: &Board) -> Result<Way> {
        let name = &board.name;
        if board.emulator().is_some() {
            return Err(Failure::new(format!("{name} is emulated: there is no board to flash"))
                .help(format!("run it with: cargo xtask run --board {name}")));
        }
        let ways = [self.drive.is_some(), self.uf2.is_some(), self.probe];
        if ways.into_iter().filter(|given| *given).count() > 1 {
            return Err(Failure::new("--drive, --uf2 and --probe exclude each other"));
        }
        if self.chip.is_some() && !self.probe {
            return Err(Failure::new("--chip is for --probe"));
        }
        if self.probe {
            return self.probe_way(board);
        }
        let uf2 = board.uf2.ok_or_else(|| {
            Failure::new(format!("{name} has no boot loader that takes UF2 files"))
                .help(format!("with a debug probe: cargo xtask flash {name} --probe"))
        })?;
        Ok(match &self.uf2 {
            Some(path) => Way::File { uf2, path: path.clone() },
            None => Way::Drive { uf2, loader: Loader::of(uf2.family)?, given: self.drive.clone() },
        })
    }

    fn probe_way(&self, board: &Board) -> Result<Way> {
        let chip = self.chip.as_ref().or(board.probe_chip.as_ref()).ok_or_else(|| {
            Failure::new(format!("which chip is on {}? Its row has no `probe_chip`", board.name))
                .help("name it with --chip NAME; `probe-rs chip list` lists them")
        })?;
        if !command::on_path("probe-rs") {
            return Err(Failure::new("there is no `probe-rs` on PATH")
                .help("install it with: cargo install probe-rs-tools --locked")
                .help("or as https://probe.rs/docs/getting-started/installation says"));
        }
        Ok(Way::Probe { chip: chip.clone() })
    }
}

fn made(image: &Image, uf2: Uf2) -> Result<Vec<u8>> {
    uf2::file(&Loaded::read(&image.elf)?, uf2)
}

/// The drive, as soon as it is there.
fn wait(loader: &Loader, given: Option<&Path>, limit: Duration) -> Result<Drive> {
    let by = Instant::now() + limit;
    let mut told = false;
    loop {
        if let Some(drive) = drive::find(loader, given)? {
            return Ok(drive);
        }
        if Instant::now() >= by {
            let failure = Failure::new("no drive of a boot loader is mounted").help(loader.how);
            let failure = drive::how_to_mount(loader).into_iter().fold(failure, Failure::help);
            return Err(failure.help("or name its directory: --drive DIR"));
        }
        if !told {
            let how = loader.how;
            term::note(format!("waiting for its drive, up to {} s: {how}", limit.as_secs()));
            told = true;
        }
        thread::sleep(TICK);
    }
}

/// Writes flash and starts the firmware.
fn probe(chip: &str, elf: &Path) -> Result<()> {
    let mut download = command::program("probe-rs", ["download", "--verify", "--chip", chip]);
    command::run(download.arg(elf))?;
    command::run(&mut command::program("probe-rs", ["reset", "--chip", chip]))
}

/// What a person does once firmware runs.
fn next_steps(board: &str) -> String {
    format!(
        "{board} has the firmware. Its port is /dev/ttyACM0, unless other serial ports were there before
(`ls /dev/serial/by-id`; on macOS `ls /dev/cu.usbmodem*`). Then:
  kmsctl hsm status serial:/dev/ttyACM0      # it answers
  kmsctl hsm provision serial:/dev/ttyACM0   # for trials; docs/ceremony.md for keys that matter
  kmsd --hsm serial:/dev/ttyACM0"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn board(text: &str) -> Board {
        let row = format!("target = 't'\nprofile = 'p'\nalgorithms = 'small'\n{text}");
        Board::parse("pico", &row.parse().unwrap()).unwrap()
    }

    const RP2350: &str = "uf2_family = 0xe48bff59\nflash_start = 0x10000000\n";

    fn why(options: &Options, board: &Board) -> String {
        options.way(board).err().unwrap().to_string()
    }

    #[test]
    fn the_way_is_decided_by_the_board_and_the_options() {
        let board = board(RP2350);
        assert!(matches!(Options::default().way(&board), Ok(Way::Drive { given: None, .. })));
        let options = Options { drive: Some("/d".into()), ..Options::default() };
        assert!(matches!(options.way(&board), Ok(Way::Drive { given: Some(_), .. })));
        let options = Options { uf2: Some("/f".into()), ..Options::default() };
        assert!(matches!(options.way(&board), Ok(Way::File { .. })));
        let options = Options { probe: true, ..options };
        assert!(why(&options, &board).contains("exclude each other"));
        let options = Options { chip: Some("x".into()), ..Options::default() };
        assert!(why(&options, &board).contains("--chip is for --probe"));
    }

    #[test]
    fn a_board_that_cannot_be_flashed_says_what_to_do_instead() {
        let emulated = Board::named("mps2_an505").unwrap();
        let text = why(&Options::default(), emulated);
        assert!(text.ends_with("cargo xtask run --board mps2_an505"), "{text}");
        let text = why(&Options::default(), &board(""));
        assert!(text.ends_with("cargo xtask flash pico --probe"), "{text}");
        let options = Options { probe: true, ..Options::default() };
        assert!(why(&options, &board("")).contains("--chip NAME"));
        // Another file than the image is needed for a boot loader that nobody knows.
        let unknown = board("uf2_family = 7\nflash_start = 0\n");
        assert!(why(&Options::default(), &unknown).contains("--uf2 FILE"));
    }

    #[test]
    fn a_probe_needs_its_program() {
        let options = Options { probe: true, ..Options::default() };
        let board = board("probe_chip = 'nRF52840_xxAA'");
        match options.way(&board) {
            Ok(Way::Probe { chip }) => assert_eq!(chip, "nRF52840_xxAA"),
            Ok(_) => panic!("another way"),
            Err(failure) => assert!(failure.to_string().contains("cargo install probe-rs-tools")),
        }
    }

    #[test]
    fn without_a_drive_the_button_is_named() {
        let place = std::env::temp_dir().join(format!("xtask-no-drive-{}", std::process::id()));
        let loader = Loader::of(0xe48b_ff59).unwrap();
        // Machines on which a board happens to wait have a drive.
        if let Err(failure) = wait(loader, None, Duration::ZERO) {
            assert!(failure.to_string().contains("hold BOOTSEL"), "{failure}");
        }
        assert!(wait(loader, Some(&place), Duration::ZERO).is_err());
    }
}
