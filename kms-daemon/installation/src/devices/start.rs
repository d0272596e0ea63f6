//! Names every line, and starts those devices of the daemon's own whose flash exists.

use std::collections::BTreeSet;
use std::num::NonZeroU8;
use std::path::Path;
use std::sync::Arc;
use std::{fmt, io, thread};

use host_driver::emulator::{Attachment, EmulatorConfig, EmulatorError, Machine, board_of};
use host_driver::endpoint::Endpoint;
use host_driver::transport::{Transport, TransportError};
use hsm_protocol::domain::MAX_MEMBERS;

use super::own::{Kind, Own, OwnError, flash_of};
use super::{DevicesConfig, DevicesError, Line};

/// The board of emulated devices if none is named, and of those that were made before there was a choice.
const BOARD: &str = "qemu_riscv32";

/// In-process devices that a new Region gets at most by itself. Each takes a processor while it computes.
const MOST_OWN: u8 = 4;

/// Devices that run inside or below this process; they end when it is dropped.
#[derive(Default)]
pub(super) struct Running(Vec<Arc<Own>>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.iter().for_each(|own| own.end());
    }
}

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let emulated = self.0.iter().filter(|own| own.is_emulated()).count();
        write!(f, "{} in-process and {emulated} emulated", self.0.len() - emulated)
    }
}

/// Says how many devices `soft` stands for. If it is the only value: those that are there, or were, and in a new
/// Region one for each processor, up to [`MOST_OWN`]. Beside others it is one.
pub(super) fn counted(mut endpoints: Vec<Endpoint>, dir: &Path, known: &[String]) -> Vec<Endpoint> {
    if let [Endpoint::Soft(count @ None)] = &mut endpoints[..] {
        let most = u8::try_from(MAX_MEMBERS).unwrap_or(u8::MAX);
        let is_there = |number: &u8| {
            let name = format!("soft-{number}");
            known.contains(&name) || flash_of(dir, &name).exists()
        };
        *count = match (0..most).rev().find(is_there) {
            Some(last) => NonZeroU8::new(last + 1),
            None if !known.is_empty() => None,
            None => {
                let processors = thread::available_parallelism().map_or(1, |number| number.get());
                NonZeroU8::new(processors.try_into().unwrap_or(MOST_OWN).min(MOST_OWN))
            }
        };
    }
    endpoints
}

/// Starts what `endpoints` ask for. Devices of one kind are numbered through all endpoints. One that
/// has no flash is not made here.
pub(super) fn start(
    endpoints: &[Endpoint],
    config: &DevicesConfig,
    dir: &Path,
    is_removed: impl Fn(&str) -> bool,
) -> Result<(Vec<Line>, Running), DevicesError> {
    let (mut lines, mut running) = (Vec::new(), Running::default());
    let (mut soft, mut emulated) = (0, 0);
    let mut names = BTreeSet::new();
    let board = board(endpoints, dir)?;
    for endpoint in endpoints {
        match endpoint {
            Endpoint::Soft(count) => {
                for _ in 0..count.map_or(1, NonZeroU8::get) {
                    let name = format!("soft-{soft}");
                    soft += 1;
                    if !is_removed(&name) {
                        let own = Own::new(name.clone(), Kind::Soft, dir);
                        lines.push(run(name, own, &mut running)?);
                    }
                }
            }
            Endpoint::Qemu { count, .. } => {
                for _ in 0..count.get() {
                    let name = format!("qemu-{emulated}");
                    emulated += 1;
                    if !is_removed(&name) {
                        let own = Own::new(name.clone(), qemu(dir, &name, &board, config)?, dir);
                        lines.push(run(name, own, &mut running)?);
                    }
                }
            }
            Endpoint::Line(line) => {
                let name = line.to_string();
                if !names.insert(name.clone()) {
                    return Err(DevicesError::Repeated(name));
                }
                if !is_removed(&name) {
                    lines.push(Line { name, own: None, connector: line.connector() });
                }
            }
        }
    }
    Ok((lines, running))
}

/// Starts a device, if its flash is there. What prevents that now may be over when the pool tries.
fn run(name: String, own: Arc<Own>, running: &mut Running) -> Result<Line, DevicesError> {
    match own.start() {
        Ok(()) | Err(OwnError::Missing(_)) => {}
        Err(OwnError::Emulator(error)) => return Err(error.into()),
        Err(OwnError::Io(error)) => {
            let path = own.flash().display();
            tracing::error!(%error, name, %path, "the in-process device does not start");
        }
    }
    running.0.push(Arc::clone(&own));
    let connector = Arc::clone(&own);
    Ok(Line { name, own: Some(own), connector })
}

/// The names of the lines that `endpoints` ask for, each to a device that is out of reach because of
/// `trouble`.
pub(super) fn unusable(endpoints: &[Endpoint], trouble: &str) -> Result<Vec<Line>, DevicesError> {
    let (mut soft, mut emulated) = (0, 0);
    let mut names = Vec::new();
    let numbered = |kind: &str, next: &mut u32, count: u8| {
        let numbers = *next..*next + u32::from(count);
        *next = numbers.end;
        numbers.map(|number| format!("{kind}-{number}")).collect::<Vec<_>>()
    };
    for endpoint in endpoints {
        match endpoint {
            Endpoint::Soft(count) => {
                names.extend(numbered("soft", &mut soft, count.map_or(1, NonZeroU8::get)));
            }
            Endpoint::Qemu { count, .. } => {
                names.extend(numbered("qemu", &mut emulated, count.get()))
            }
            Endpoint::Line(line) => names.push(line.to_string()),
        }
    }
    let mut seen = BTreeSet::new();
    if let Some(twice) = names.iter().find(|name| !seen.insert(name.as_str())) {
        return Err(DevicesError::Repeated(twice.clone()));
    }
    let line = |name: String| {
        let (target, trouble) = (name.clone(), trouble.to_owned());
        let connect = move || -> Result<Box<dyn Transport>, TransportError> {
            Err(TransportError::Open {
                target: target.clone(),
                source: io::Error::new(io::ErrorKind::InvalidData, trouble.clone()),
                advice: "nothing is tried before that",
            })
        };
        Line { name, own: None, connector: Arc::new(connect) }
    };
    Ok(names.into_iter().map(line).collect())
}

/// The one board of all emulated devices, as there is one firmware image for them: the board that is named,
/// or that of the flashes which are there, or were.
fn board(endpoints: &[Endpoint], dir: &Path) -> Result<String, DevicesError> {
    let mut boards: Vec<(String, String)> = Vec::new();
    let mut count = 0;
    let mut lost = None;
    for endpoint in endpoints {
        if let Endpoint::Qemu { board, count: more } = endpoint {
            count += u32::from(more.get());
            boards.extend(board.iter().map(|board| (format!("--hsm {endpoint}"), board.clone())));
        }
    }
    for number in 0..count {
        let (own, name) = (dir.join(format!("qemu-{number}")), format!("qemu-{number}"));
        let recorded =
            board_of(&own).map_err(|source| DevicesError::File { path: own.clone(), source })?;
        if flash_of(dir, &name).exists() {
            let board = recorded.unwrap_or_else(|| BOARD.to_owned());
            boards.push((format!("the flash in {}", own.display()), board));
        } else {
            lost = lost.or(recorded);
        }
    }
    let Some((first, board)) = boards.first() else {
        return Ok(lost.unwrap_or_else(|| BOARD.to_owned()));
    };
    if let Some((other, another)) = boards.iter().find(|(_, another)| another != board) {
        return Err(DevicesError::Boards {
            first: format!("{first} is a {board}"),
            second: format!("{other} is a {another}"),
        });
    }
    Ok(board.clone())
}

fn qemu(dir: &Path, name: &str, board: &str, config: &DevicesConfig) -> Result<Kind, DevicesError> {
    let firmware = config.firmware.clone().ok_or(DevicesError::NoFirmware)?;
    if !firmware.is_file() {
        return Err(EmulatorError::NoFirmware(firmware.display().to_string()).into());
    }
    let no_machine = || DevicesError::NoMachine(board.to_owned());
    let machine = Machine::of_board(board).ok().flatten().ok_or_else(no_machine)?;
    let (link, attachment) = match config.link {
        None => (machine.default_link.as_str(), Attachment::Socket),
        Some(super::Link::Console) => ("console", Attachment::Socket),
        Some(super::Link::Uart) => ("uart", Attachment::Pty),
    };
    let link = link.to_owned();
    Ok(Kind::Qemu(Box::new(EmulatorConfig {
        machine,
        firmware,
        directory: dir.join(name),
        link: Some(link),
        attachment,
        arguments: Vec::new(),
    })))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// The board for these values of `--hsm`, or why there is none.
    fn chosen(hsms: &[&str], dir: &Path) -> Result<String, String> {
        let endpoints: Vec<Endpoint> = hsms.iter().map(|hsm| hsm.parse().unwrap()).collect();
        board(&endpoints, dir).map_err(|error| error.to_string())
    }

    fn flash(dir: &Path, name: &str, board: Option<&str>) {
        let own = dir.join(name);
        fs::create_dir_all(&own).unwrap();
        fs::write(own.join("flash.img"), "x").unwrap();
        if let Some(board) = board {
            fs::write(own.join("board"), format!("{board}\n")).unwrap();
        }
    }

    #[test]
    fn soft_alone_stands_for_what_is_there_and_in_a_new_region_for_the_processors() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        let of = |hsms: &[&str], known: &[&str]| {
            let endpoints = hsms.iter().map(|hsm| hsm.parse().unwrap()).collect();
            let known: Vec<_> = known.iter().map(|&line| line.to_owned()).collect();
            let counted = counted(endpoints, dir, &known);
            counted.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
        };
        let processors = thread::available_parallelism().unwrap().get().min(4);
        assert_eq!(of(&["soft"], &[]), format!("soft:{processors}"));
        assert_eq!(of(&["soft:3"], &["soft-0"]), "soft:3");
        assert_eq!(of(&["soft"], &["soft-0"]), "soft:1", "nobody has asked for another one");
        assert_eq!(of(&["soft"], &["soft-0", "soft-5"]), "soft:6");
        assert_eq!(of(&["soft"], &["serial:/dev/x"]), "soft", "one, beside what was there");
        assert_eq!(of(&["soft", "unix:/x"], &[]), "soft unix:/x");
        // One whose record is lost, or that a killed daemon has made.
        fs::write(flash_of(dir, "soft-1"), "x").unwrap();
        assert_eq!(of(&["soft"], &[]), "soft:2");
    }

    #[test]
    fn the_named_board_is_started_and_without_a_name_the_one_that_is_there() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        assert_eq!(chosen(&["soft", "qemu"], dir).unwrap(), "qemu_riscv32");
        assert_eq!(chosen(&["qemu:mps2_an505:2"], dir).unwrap(), "mps2_an505");
        assert_eq!(chosen(&["qemu:mps2_an505", "qemu"], dir).unwrap(), "mps2_an505");
        flash(dir, "qemu-0", Some("mps2_an386"));
        assert_eq!(chosen(&["qemu:2"], dir).unwrap(), "mps2_an386");
        assert_eq!(chosen(&["qemu:mps2_an386"], dir).unwrap(), "mps2_an386");
        // A flash that is lost may be put back; a new device may be of another board.
        fs::remove_file(dir.join("qemu-0/flash.img")).unwrap();
        assert_eq!(chosen(&["qemu"], dir).unwrap(), "mps2_an386");
        assert_eq!(chosen(&["qemu:mps2_an505"], dir).unwrap(), "mps2_an505");
    }

    #[test]
    fn the_flash_of_one_board_is_not_given_to_another() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        let error = chosen(&["qemu:mps2_an505", "qemu:mps2_an386"], dir).unwrap_err();
        assert!(error.contains("--hsm qemu:mps2_an386:1 is a mps2_an386"), "{error}");
        // As it was before there was a choice.
        flash(dir, "qemu-0", None);
        assert_eq!(chosen(&["qemu"], dir).unwrap(), "qemu_riscv32");
        let error = chosen(&["qemu:mps2_an505"], dir).unwrap_err();
        assert!(error.contains("qemu-0 is a qemu_riscv32"), "{error}");
        assert!(error.contains("--hsm qemu:BOARD"), "{error}");
        // The second device is of another board.
        flash(dir, "qemu-1", Some("mps2_an386"));
        assert_eq!(chosen(&["qemu"], dir).unwrap(), "qemu_riscv32");
        assert!(chosen(&["qemu:2"], dir).unwrap_err().contains("qemu-1 is a mps2_an386"));
    }
}
