//! QEMU devices that nobody supervises: a test boots, connects and kills them itself.

use std::fs::{self, File};
use std::io::{Read, Write, copy, repeat};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use host_driver::transport::Transport;
use host_driver::transport::serial::Serial;
use host_driver::transport::unix::Unix;
use toml::Table;

use crate::patience::PATIENCE;
use crate::process::Process;
use crate::wire::Wire;
use crate::{environment, probe};

/// Name of the flash image in a device's directory.
pub const FLASH: &str = "flash.img";
/// Where the noise comes from, in the machine descriptions.
const NOISE: &str = "/dev/urandom";

/// How the device is attached to the host.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Attachment {
    /// Virtio console over a Unix socket.
    Console,
    /// UART over a Unix socket.
    UartSocket,
    /// UART over a pseudo-terminal.
    UartPty,
    /// The Arm board's UART over a Unix socket.
    ArmSocket,
}

impl Attachment {
    /// The board at the other end.
    #[must_use]
    pub const fn board(self) -> &'static str {
        match self {
            Self::Console | Self::UartSocket | Self::UartPty => "qemu_riscv32",
            Self::ArmSocket => "mps2_an386",
        }
    }

    /// Its firmware image.
    #[must_use]
    pub fn firmware(self) -> PathBuf {
        environment::firmware_of(self.board())
    }

    /// Link and way of the machine description.
    const fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::Console => ("console", "socket"),
            Self::UartSocket | Self::ArmSocket => ("uart", "socket"),
            Self::UartPty => ("uart", "pty"),
        }
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

    fn start(
        directory: &Path,
        attachment: Attachment,
        firmware: &Path,
        noise: &str,
        further: &[String],
    ) -> Self {
        let machine = machine(attachment.board());
        let flash = directory.join(FLASH);
        if !flash.exists() {
            erase(&machine, &flash);
        }
        let socket = directory.join("line.sock");
        let _ = fs::remove_file(&socket);
        let fill = |argument: &str| {
            argument
                .replace("{firmware}", &firmware.to_string_lossy())
                .replace("{flash}", &flash.to_string_lossy())
                .replace("{socket}", &socket.to_string_lossy())
                .replace(NOISE, noise)
        };
        let mut command = Command::new(machine["emulator"].as_str().expect("a program"));
        command.args(strings(&machine["args"]).map(fill));
        let (link, way) = attachment.names();
        for (name, ways) in machine["link"].as_table().expect("links") {
            let way = if name == link { way } else { "none" };
            command.args(strings(&ways[way]).map(fill));
        }
        let mut process = Process::start(command.args(further));
        let line = match attachment {
            Attachment::UartPty => {
                let said = process.expect_line("char device redirected to ", PATIENCE);
                said.split(' ').next().expect("a path").into()
            }
            _ => socket,
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
            let opened: Result<Box<dyn Transport>, _> = match self.attachment {
                Attachment::UartPty => {
                    let path = self.line.to_str().expect("a device file");
                    Serial::open(path, 115_200).map(|line| Box::new(line) as _)
                }
                _ => Unix::connect(&self.line).map(|line| Box::new(line) as _),
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

fn machine(board: &str) -> Table {
    let path = environment::root().join("qemu").join(board).with_extension("toml");
    let text = fs::read_to_string(path).expect("the machine description");
    text.parse().expect("the machine description is TOML")
}

fn strings(list: &toml::Value) -> impl Iterator<Item = &str> {
    list.as_array().expect("a list").iter().map(|item| item.as_str().expect("a string"))
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
