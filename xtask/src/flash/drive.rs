//! Boot loaders that show up as a USB drive: which of them are mounted, and copying an image to one.

use std::{
    env,
    fs::{self, File},
    io::{self, Write as _},
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use crate::{
    failure::{Doing, Failure, Result},
    term::Progress,
    uf2::BLOCK,
};

/// The file by which a drive says what it is.
const INFO: &str = "INFO_UF2.TXT";
/// The file that is written. Boot loaders look at what is in a block, not at the name.
const NAME: &str = "strongroom.uf2";
/// Bytes that are written at a time: the time of each shows in the progress.
const PIECE: usize = 64 * BLOCK;
/// How long a board may take to start after its last block.
const RESTART: Duration = Duration::from_secs(15);
/// How often the drive is looked for.
const TICK: Duration = Duration::from_millis(200);

/// A boot loader, known by the family of the images that it takes.
pub(crate) struct Loader {
    families: &'static [u32],
    /// What `Board-ID` in [`INFO`] begins with, in capitals.
    board_id: &'static str,
    /// What a person does to see the drive.
    pub(crate) how: &'static str,
}

/// Families are those of `uf2families.json` in <https://github.com/microsoft/uf2>; board ids are those of the boot
/// ROMs (RP2040 data sheet, 2.8.4; RP2350, 5.5) and of Adafruit's boot loader for the nRF52840.
const LOADERS: [Loader; 3] = [
    Loader {
        families: &[0xe48b_ff56],
        board_id: "RPI-RP2",
        how: "hold BOOTSEL while you plug the board in, and let go when the drive RPI-RP2 is there",
    },
    Loader {
        families: &[0xe48b_ff59, 0xe48b_ff5a, 0xe48b_ff5b],
        board_id: "RP2350",
        how: "hold BOOTSEL while you plug the board in, and let go when the drive RP2350 is there",
    },
    Loader {
        families: &[0xada5_2840],
        board_id: "NRF52840",
        how: "press RESET twice within half a second; a drive shows up",
    },
];

impl Loader {
    /// The boot loader that takes images of a family.
    pub(crate) fn of(family: u32) -> Result<&'static Self> {
        LOADERS.iter().find(|loader| loader.families.contains(&family)).ok_or_else(|| {
            Failure::new(format!("no boot loader for images of the family {family:#010x} is known"))
                .help("write the file with --uf2 FILE, and copy it to the drive yourself")
        })
    }

    fn takes(&self, drive: &Drive) -> bool {
        drive.board_id.to_ascii_uppercase().starts_with(self.board_id)
    }
}

/// A mounted drive of a boot loader.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Drive {
    pub(crate) path: PathBuf,
    pub(crate) board_id: String,
}

impl Drive {
    /// The drive at a directory; `None` if it is not that of a boot loader.
    fn at(path: PathBuf) -> Option<Self> {
        let text = fs::read(path.join(INFO)).ok()?;
        let text = String::from_utf8_lossy(&text).into_owned();
        let board_id =
            text.lines().find_map(|line| line.strip_prefix("Board-ID:"))?.trim().to_owned();
        Some(Self { path, board_id })
    }

    /// Copies a UF2 file, and waits until the board has taken it and starts.
    ///
    /// # Errors
    /// If it cannot be written, or the board stays in its boot loader.
    pub(crate) fn take(&self, file: &[u8]) -> Result<()> {
        self.take_within(file, RESTART)
    }

    fn take_within(&self, file: &[u8], restart: Duration) -> Result<()> {
        let path = self.path.join(NAME);
        self.write(&path, file).doing(format_args!("write {}", path.display()))?;
        let by = Instant::now() + restart;
        while self.is_there() {
            if Instant::now() > by {
                return Err(Failure::new(format!(
                    "{} is still there: the board did not take the image",
                    self.path.display()
                ))
                .help("unplug the board, and try again; the image may be for another chip"));
            }
            thread::sleep(TICK);
        }
        Ok(())
    }

    /// Writes piece by piece, each through to the board. It may start at the last block, before the file is
    /// closed: what fails then has not failed.
    fn write(&self, path: &Path, file: &[u8]) -> io::Result<()> {
        let mut progress = Progress::new(1).counting("KiB");
        let mut to = File::create(path)?;
        let mut written = 0;
        for piece in file.chunks(PIECE) {
            let done = to.write_all(piece).and_then(|()| to.sync_data());
            written += piece.len();
            match done {
                Err(_) if written == file.len() && !self.is_there() => break,
                Err(error) => {
                    progress.clear();
                    return Err(error);
                }
                Ok(()) => progress.steps(0, written / 1024, file.len() / 1024, &self.board_id),
            }
        }
        progress.done(0);
        match to.sync_all() {
            Err(error) if self.is_there() => Err(error),
            _ => Ok(()),
        }
    }

    fn is_there(&self) -> bool {
        self.path.join(INFO).exists()
    }
}

/// The drive of a boot loader: the one at `given`, or else the only one that is mounted. `None` if none is.
///
/// # Errors
/// If the given directory is not such a drive, and if several are mounted.
pub(crate) fn find(loader: &Loader, given: Option<&Path>) -> Result<Option<Drive>> {
    if let Some(given) = given {
        let drive = Drive::at(given.to_owned()).ok_or_else(|| {
            Failure::new(format!(
                "{} is not the drive of a boot loader: it has no {INFO} with a Board-ID",
                given.display()
            ))
        })?;
        if !loader.takes(&drive) {
            return Err(Failure::new(format!(
                "{} is a {}, and the image is for a {}",
                given.display(),
                drive.board_id,
                loader.board_id
            )));
        }
        return Ok(Some(drive));
    }
    choose(loader, below(&places(env::var("USER").ok().as_deref())))
}

/// The only one of these drives that takes the image.
fn choose(loader: &Loader, drives: Vec<Drive>) -> Result<Option<Drive>> {
    let mut fitting: Vec<Drive> = drives.into_iter().filter(|drive| loader.takes(drive)).collect();
    if fitting.len() > 1 {
        let failure = Failure::new("several boards wait for an image; say which: --drive DIR");
        return Err(fitting
            .iter()
            .fold(failure, |failure, drive| failure.help(drive.path.display().to_string())));
    }
    Ok(fitting.pop())
}

/// Where desktops mount drives.
fn places(user: Option<&str>) -> Vec<PathBuf> {
    let own = user
        .into_iter()
        .flat_map(|user| ["/media", "/run/media"].map(|dir| Path::new(dir).join(user)));
    own.chain(["/media".into(), "/Volumes".into()]).collect()
}

/// The drives of boot loaders that are mounted in these directories.
fn below(places: &[PathBuf]) -> Vec<Drive> {
    let entries = places.iter().filter_map(|place| fs::read_dir(place).ok()).flatten().flatten();
    let mut drives: Vec<_> = entries.filter_map(|entry| Drive::at(entry.path())).collect();
    drives.sort_by(|one, other| one.path.cmp(&other.path));
    drives
}

/// How to mount a drive that the kernel knows and nothing has mounted, as on machines without a desktop.
pub(crate) fn how_to_mount(loader: &Loader) -> Option<String> {
    let labels = fs::read_dir("/dev/disk/by-label").ok()?.flatten();
    let label = labels
        .filter_map(|entry| entry.file_name().into_string().ok())
        .find(|label| label.to_ascii_uppercase() == loader.board_id)?;
    Some(format!(
        "its drive is there but not mounted: udisksctl mount -b /dev/disk/by-label/{label}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    const RP2350: &str =
        "UF2 Bootloader v1.0\r\nModel: Raspberry Pi RP2350\r\nBoard-ID: RP2350\r\n";

    /// A directory that looks like a drive; removed at the end.
    struct Fake(PathBuf);

    impl Fake {
        fn new(name: &str, info: &str) -> Self {
            let dir = env::temp_dir().join(format!("xtask-drives-{}-{name}", std::process::id()));
            fs::create_dir_all(dir.join("drive")).unwrap();
            fs::write(dir.join("drive").join(INFO), info).unwrap();
            Self(dir)
        }

        fn drive(&self) -> PathBuf {
            self.0.join("drive")
        }
    }

    impl Drop for Fake {
        fn drop(&mut self) {
            let _gone = fs::remove_dir_all(&self.0);
        }
    }

    fn loader() -> &'static Loader {
        Loader::of(0xe48b_ff59).unwrap()
    }

    #[test]
    fn a_drive_is_known_by_its_board_id() {
        let fake = Fake::new("known", RP2350);
        fs::create_dir(fake.0.join("no drive")).unwrap();
        let drive = Drive { path: fake.drive(), board_id: "RP2350".into() };
        assert_eq!(below(&[fake.0.join("missing"), fake.0.clone()]), [drive]);
        assert_eq!(find(loader(), Some(&fake.drive())).unwrap().unwrap().path, fake.drive());
        let other = Loader::of(0xe48b_ff56).unwrap();
        let why = find(other, Some(&fake.drive())).unwrap_err().to_string();
        assert!(why.ends_with("is a RP2350, and the image is for a RPI-RP2"), "{why}");
        let why = find(loader(), Some(&fake.0)).unwrap_err().to_string();
        assert!(why.contains("not the drive of a boot loader"), "{why}");
        assert_eq!(choose(other, below(std::slice::from_ref(&fake.0))), Ok(None));
    }

    #[test]
    fn boards_of_the_nrf52840_have_names_of_their_own() {
        let fake = Fake::new("nrf", "UF2 Bootloader 0.9.2\nBoard-ID: nRF52840-Feather-revD\n");
        let loader = Loader::of(0xada5_2840).unwrap();
        assert!(find(loader, Some(&fake.drive())).unwrap().is_some());
        assert!(Loader::of(7).is_err());
    }

    #[test]
    fn of_two_drives_the_person_chooses() {
        let drive = |name: &str| Drive { path: name.into(), board_id: "RP2350".into() };
        let why =
            choose(loader(), vec![drive("/media/a"), drive("/media/b")]).unwrap_err().to_string();
        assert!(why.contains("--drive DIR\n  /media/a\n  /media/b"), "{why}");
    }

    #[test]
    fn desktops_mount_below_the_users_name() {
        let expected = ["/media/u", "/run/media/u", "/media", "/Volumes"].map(PathBuf::from);
        assert_eq!(places(Some("u")), expected);
        assert_eq!(places(None), expected[2..]);
    }

    #[test]
    fn the_whole_file_arrives_and_the_board_starts() {
        let fake = Fake::new("arrives", RP2350);
        let drive = find(loader(), Some(&fake.drive())).unwrap().unwrap();
        let file: Vec<u8> = (0..=250).cycle().take(3 * PIECE + BLOCK).collect();
        let (path, whole) = (fake.drive(), file.len() as u64);
        // What a boot ROM does: it has every block, so it starts, and the drive goes.
        let board = thread::spawn(move || {
            while fs::metadata(path.join(NAME)).map_or(0, |file| file.len()) < whole {
                thread::sleep(Duration::from_millis(5));
            }
            fs::remove_file(path.join(INFO)).unwrap();
            fs::read(path.join(NAME)).unwrap()
        });
        drive.take_within(&file, Duration::from_secs(600)).unwrap();
        assert!(board.join().unwrap() == file);
    }

    #[test]
    fn a_board_that_stays_in_its_boot_loader_has_not_taken_the_image() {
        let fake = Fake::new("stays", RP2350);
        let drive = find(loader(), Some(&fake.drive())).unwrap().unwrap();
        let why = drive.take_within(&[0; BLOCK], Duration::ZERO).unwrap_err().to_string();
        assert!(why.contains("is still there: the board did not take the image"), "{why}");
    }

    #[test]
    fn a_drive_that_goes_too_early_is_a_failure() {
        let gone = Drive { path: "/nowhere/drive".into(), board_id: "RP2350".into() };
        let why = gone.take(&[0; BLOCK]).unwrap_err().to_string();
        assert!(why.starts_with("could not write /nowhere/drive/strongroom.uf2"), "{why}");
    }
}
