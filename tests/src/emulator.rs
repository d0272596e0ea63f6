//! QEMU devices that nobody supervises: a test boots, connects and kills them itself.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, File};
use std::io::{Read, Write, copy, repeat};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

use host_driver::transport::Transport;
use host_driver::transport::serial::Serial;
use host_driver::transport::unix::Unix;
use hsm_boot::manifest::Manifest;
use toml::Table;

use crate::patience::PATIENCE;
use crate::process::Process;
use crate::wire::Wire;
use crate::{environment, probe, programs};

/// Name of the flash image in a device's directory.
pub const FLASH: &str = "flash.img";
/// Where the noise comes from, in the machine descriptions.
const NOISE: &str = "/dev/urandom";
/// Ways to attach a link, in the machine descriptions.
const SOCKET: &str = "socket";
const PTY: &str = "pty";

/// How a device is attached to the host, in the words of the machine descriptions.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Attachment {
    board: &'static str,
    link: &'static str,
    way: &'static str,
}

impl Attachment {
    /// The board that the daemon emulates, by virtio console over a Unix socket.
    pub const CONSOLE: Self = Self { board: "qemu_riscv32", link: "console", way: SOCKET };
    /// The same board, by its UART over a Unix socket.
    pub const UART: Self = Self { link: "uart", ..Self::CONSOLE };
    /// The same, over a pseudo-terminal.
    pub const UART_PTY: Self = Self { way: PTY, ..Self::UART };

    /// Returns a board by the link that it is used with, over a Unix socket.
    ///
    /// # Panics
    /// If no machine description is of this board.
    #[must_use]
    pub fn of(board: &'static str) -> Self {
        let link = machine(board)["default_link"].as_str().expect("a name");
        Self { board, link, way: SOCKET }
    }

    /// Returns a board by its UART over a Unix socket.
    #[must_use]
    pub const fn uart_of(board: &'static str) -> Self {
        Self { board, ..Self::UART }
    }

    /// Returns each emulated board as [`Attachment::of`] has it.
    #[must_use]
    pub fn boards() -> Vec<Self> {
        machines().keys().map(|board| Self::of(board)).collect()
    }

    /// Returns each link of each emulated board in each way that it can be attached.
    ///
    /// # Panics
    /// If a machine description has no links.
    #[must_use]
    pub fn all() -> Vec<Self> {
        let mut all = Vec::new();
        for (board, machine) in machines() {
            for (link, ways) in machine["link"].as_table().expect("links") {
                let ways = [SOCKET, PTY].into_iter().filter(|way| ways.get(way).is_some());
                all.extend(ways.map(|way| Self { board, link, way }));
            }
        }
        all
    }

    /// The board at the other end.
    #[must_use]
    pub const fn board(self) -> &'static str {
        self.board
    }

    /// Whether it is by a pseudo-terminal, whose name is another one each time.
    #[must_use]
    pub fn is_pty(self) -> bool {
        self.way == PTY
    }

    /// Its firmware image.
    #[must_use]
    pub fn firmware(self) -> PathBuf {
        environment::firmware_of(self.board)
    }

    /// The board's machine description.
    ///
    /// # Panics
    /// If there is none.
    #[must_use]
    pub fn machine(self) -> &'static Table {
        machine(self.board)
    }
}

/// Returns whether a test that takes minutes is left out on a board, and says so if it is: by day one of the
/// boards that run code for the same target is enough.
///
/// # Panics
/// If no machine description is of this board.
#[must_use]
pub fn is_left_out(board: &str) -> bool {
    let target = &machine(board)["target"];
    let first = machines().iter().find(|(_, machine)| &machine["target"] == target);
    if first.is_some_and(|(first, _)| first == board) {
        return false;
    }
    let nightly = programs::nightly();
    if let Err(reason) = &nightly {
        programs::skip(&format!("what takes minutes on {board}"), reason);
    }
    nightly.is_err()
}

impl fmt::Debug for Attachment {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} by {} and {}", self.board, self.link, self.way)
    }
}

/// A running emulator.
#[derive(Debug)]
pub struct Emulator {
    process: Process,
    attachment: Attachment,
    line: PathBuf,
}

impl Emulator {
    /// Boots the device whose flash is in `directory`; a directory without one gets a blank one.
    ///
    /// # Panics
    /// If the emulator does not start; its output says why.
    #[must_use]
    pub fn boot(directory: &Path, attachment: Attachment) -> Self {
        Self::boot_image(directory, attachment, &attachment.firmware())
    }

    /// As [`Emulator::boot`], with another firmware image.
    ///
    /// # Panics
    /// As [`Emulator::boot`].
    #[must_use]
    pub fn boot_image(directory: &Path, attachment: Attachment, firmware: &Path) -> Self {
        Self::start(directory, attachment, firmware, NOISE, &[])
    }

    /// As [`Emulator::boot`], with an open monitor and a debugger interface ([`probe`]), and the noise
    /// out of a file if there is one.
    ///
    /// # Panics
    /// As [`Emulator::boot`].
    #[must_use]
    pub fn boot_examined(directory: &Path, attachment: Attachment, noise: Option<&Path>) -> Self {
        let noise = noise.map_or(NOISE.into(), Path::to_string_lossy);
        let arguments = probe::arguments(directory);
        Self::start(directory, attachment, &attachment.firmware(), &noise, &arguments)
    }

    /// As [`Emulator::boot`], with a clock that counts instructions: each takes 2^`shift` ns, at most 10.
    ///
    /// # Panics
    /// As [`Emulator::boot`].
    #[must_use]
    pub fn boot_counted(directory: &Path, attachment: Attachment, shift: u32) -> Self {
        let arguments = ["-icount".to_owned(), format!("shift={shift}")];
        Self::start(directory, attachment, &attachment.firmware(), NOISE, &arguments)
    }

    fn start(
        directory: &Path,
        attachment: Attachment,
        firmware: &Path,
        noise: &str,
        further: &[String],
    ) -> Self {
        let machine = attachment.machine();
        let flash = directory.join(FLASH);
        let boot = machine.get("boot");
        if !flash.exists() {
            erase(machine, &flash);
            if let Some(boot) = boot {
                program(boot, firmware, &flash);
            }
        }
        let boot = boot.map_or_else(
            || firmware.to_owned(),
            |boot| firmware.with_file_name(boot["bin"].as_str().expect("a name")),
        );
        let socket = directory.join("line.sock");
        let _ = fs::remove_file(&socket);
        let fill = |argument: &str| {
            argument
                .replace("{firmware}", &firmware.to_string_lossy())
                .replace("{boot}", &boot.to_string_lossy())
                .replace("{flash}", &flash.to_string_lossy())
                .replace("{socket}", &socket.to_string_lossy())
                .replace(NOISE, noise)
        };
        let mut command = Command::new(machine["emulator"].as_str().expect("a program"));
        command.args(strings(&machine["args"]).map(fill));
        for (name, ways) in machine["link"].as_table().expect("links") {
            let way = if name == attachment.link { attachment.way } else { "none" };
            command.args(strings(&ways[way]).map(fill));
        }
        let mut process = Process::start(command.args(further));
        let line = if attachment.is_pty() {
            let said = process.expect_line("char device redirected to ", PATIENCE);
            said.split(' ').next().expect("a path").into()
        } else {
            socket
        };
        Self { process, attachment, line }
    }

    /// Opens the line.
    ///
    /// # Panics
    /// If it stays closed.
    #[must_use]
    pub fn connect(&self) -> Box<dyn Transport> {
        let by = Instant::now() + PATIENCE;
        loop {
            let opened: Result<Box<dyn Transport>, _> = if self.attachment.is_pty() {
                let path = self.line.to_str().expect("a device file");
                Serial::open(path, 115_200).map(|line| Box::new(line) as _)
            } else {
                Unix::connect(&self.line).map(|line| Box::new(line) as _)
            };
            match opened {
                Ok(line) => return line,
                Err(error) if Instant::now() > by => {
                    panic!("{error}\n--- emulator\n{}", self.process.output())
                }
                Err(_) => thread::sleep(Duration::from_millis(2)),
            }
        }
    }

    /// Waits until the device answers, and leaves the line to others: that the emulator listens does not
    /// mean that the device has started.
    ///
    /// # Panics
    /// If it never does.
    pub fn await_start(&self) {
        Wire::new(self.connect()).synchronise();
    }

    /// Ends the emulator as a power cut would.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// The emulator's process.
    #[must_use]
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Where the line is: a socket, or a pseudo-terminal's device file.
    #[must_use]
    pub fn line(&self) -> &Path {
        &self.line
    }
}

/// The machine descriptions, by board: they say which boards there are.
fn machines() -> &'static BTreeMap<String, Table> {
    static MACHINES: OnceLock<BTreeMap<String, Table>> = OnceLock::new();
    MACHINES.get_or_init(|| {
        let files = fs::read_dir(environment::root().join("qemu")).expect("machine descriptions");
        let files = files.map(|file| file.expect("a machine description").path());
        let files = files.filter(|path| path.extension().is_some_and(|ending| ending == "toml"));
        files
            .map(|path| {
                let text = fs::read_to_string(path).expect("the machine description");
                let table: Table = text.parse().expect("the machine description is TOML");
                (table["board"].as_str().expect("a name").to_owned(), table)
            })
            .collect()
    })
}

fn machine(board: &str) -> &'static Table {
    machines().get(board).unwrap_or_else(|| panic!("no machine description is of {board}"))
}

fn strings(list: &toml::Value) -> impl Iterator<Item = &str> {
    list.as_array().expect("a list").iter().map(|item| item.as_str().expect("a string"))
}

/// Puts the signed image beside `firmware` into a flash, as a programmer would.
fn program(boot: &toml::Value, firmware: &Path, flash: &Path) {
    let signed = fs::read(firmware.with_extension("signed")).expect("a signed image");
    let (manifest, image) = Manifest::split(&signed).expect("a signed image");
    let file = File::options().write(true).open(flash).expect("the flash image");
    for (at, bytes) in [("image_at", image), ("manifest_at", manifest.bytes())] {
        let at = boot[at].as_integer().and_then(|at| u64::try_from(at).ok()).expect("an offset");
        file.write_all_at(bytes, at).expect("the flash image can be written");
    }
}

/// Makes a blank flash image.
fn erase(machine: &Table, path: &Path) {
    let number = |name: &str| machine["flash"][name].as_integer().expect("a number");
    let size = u64::try_from(number("bytes")).expect("a size");
    let erased = u8::try_from(number("erased")).expect("a byte");
    let mut file = File::create(path).expect("the flash image can be made");
    copy(&mut repeat(erased).take(size), &mut file).expect("the flash image can be written");
    file.flush().expect("the flash image can be written");
}
