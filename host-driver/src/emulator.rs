//! Starts and supervises emulated devices.
//!
//! An [`Emulator`] runs QEMU with the firmware and a flash image of its own, starts it again
//! whenever it ends, and kills it when dropped. If this process dies, even by SIGKILL, the kernel
//! kills QEMU too. Stopping is always a kill: the firmware's storage survives a power cut at any
//! time, and a clean shutdown that nothing else uses would rot.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use hsm_boot::manifest::Manifest;

use crate::transport::serial::{DEFAULT_BAUD, Serial};
use crate::transport::unix::Unix;
use crate::transport::{Connector, Transport, TransportError};

use machine::Paths;
pub use machine::{Attachment, Boot, Flash, Link, Machine};
use process::{CommandLine, Supervisor};
pub use storage::board_of;
use storage::{Contents, Storage};

mod machine;
mod process;
mod storage;

/// How long a connection attempt waits for the emulator to be up.
const START_PATIENCE: Duration = Duration::from_secs(5);
/// The ending of a signed image, which lies beside the linked one.
const SIGNED: &str = "signed";
/// How often it looks.
const START_TICK: Duration = Duration::from_millis(5);

/// What to run.
#[derive(Clone, Debug)]
pub struct EmulatorConfig {
    /// The board.
    pub machine: Machine,
    /// The linked firmware.
    pub firmware: PathBuf,
    /// Where the device's flash image is, or will be made. One process at a time may use it.
    pub directory: PathBuf,
    /// The serial port to talk through; `None` for the machine's default.
    pub link: Option<String>,
    /// How to attach it.
    pub attachment: Attachment,
    /// Further arguments of the emulator, such as `-icount`.
    pub arguments: Vec<String>,
}

/// Why an emulated device cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum EmulatorError {
    /// A program is not installed.
    #[error("{program} is not installed; run: apt-get install {package}")]
    Missing {
        /// The program.
        program: String,
        /// Debian package that has it.
        package: String,
    },
    /// There is no firmware image.
    #[error("there is no firmware at {0}; build it with: cargo xtask firmware")]
    NoFirmware(String),
    /// The file is not a signed image.
    #[error("{0} is not a signed firmware image; build it anew with: cargo xtask firmware")]
    NotSigned(String),
    /// The machine has no such link, or it cannot be attached so.
    #[error("the board has no link {link} that can be attached as {attachment:?}")]
    NoLink {
        /// The link asked for.
        link: String,
        /// How it was to be attached.
        attachment: Attachment,
    },
    /// Another process uses the device.
    #[error("the device in {directory} is in use by another process; stop that one first")]
    InUse {
        /// The device's directory.
        directory: String,
    },
    /// The flash image is another board's.
    #[error(
        "the flash in {directory} is of the board {found}, not of {wanted}; name its board, or use \
         another directory"
    )]
    OtherBoard {
        /// The device's directory.
        directory: String,
        /// The board that the image is of.
        found: String,
        /// The board that was to be started.
        wanted: String,
    },
    /// The flash image is damaged or another board's.
    #[error("{path} has {found} bytes, not {expected}; restore it, or move it away for a new one")]
    ImageSize {
        /// The image.
        path: String,
        /// Its size in bytes.
        found: u64,
        /// The size it must have.
        expected: u64,
    },
    /// The path of the socket would exceed the limit of unix(7).
    #[error("the socket path {0} is too long; set XDG_RUNTIME_DIR to a shorter directory")]
    SocketPath(String),
    /// A file or directory could not be made or read.
    #[error("cannot use {path}: {source}; check its permissions and free space")]
    Storage {
        /// The file or directory.
        path: String,
        /// The operating system's reason.
        source: io::Error,
    },
    /// The operating system gives no thread.
    #[error("cannot supervise the emulator: {0}")]
    Supervisor(#[source] io::Error),
}

/// A running emulated device. Dropping it kills the emulator.
#[derive(Debug)]
pub struct Emulator {
    attachment: Attachment,
    // Before the storage, so that the emulator is gone when the lock is released.
    supervisor: Supervisor,
    storage: Storage,
}

impl Emulator {
    /// Starts the emulator and its supervision.
    ///
    /// # Errors
    /// [`EmulatorError`].
    pub fn start(config: &EmulatorConfig) -> Result<Arc<Self>, EmulatorError> {
        let EmulatorConfig { machine, firmware, directory, link, attachment, arguments } = config;
        let attachment = *attachment;
        if !firmware.is_file() {
            return Err(EmulatorError::NoFirmware(firmware.display().to_string()));
        }
        let program = find(&machine.emulator, &machine.debian_package)?;
        let boot = match &machine.boot {
            Some(boot) => firmware.with_file_name(&boot.bin),
            None => firmware.clone(),
        };
        if !boot.is_file() {
            return Err(EmulatorError::NoFirmware(boot.display().to_string()));
        }
        let contents = machine.boot.as_ref().map(|boot| first_contents(boot, firmware));
        let contents = contents.transpose()?.unwrap_or_default();
        let storage = Storage::open(directory, &machine.board, machine.flash, &contents)?;
        let paths = Paths { firmware, boot: &boot, flash: &storage.flash, socket: &storage.socket };
        let link = link.as_ref().unwrap_or(&machine.default_link);
        let no_link = || EmulatorError::NoLink { link: link.clone(), attachment };
        let mut all = machine.arguments(link, attachment, &paths).ok_or_else(no_link)?;
        all.extend_from_slice(arguments);
        let command = CommandLine { guard: guard()?, program, arguments: all };
        let supervisor = Supervisor::start(command).map_err(EmulatorError::Supervisor)?;
        Ok(Arc::new(Self { attachment, supervisor, storage }))
    }

    /// Process id of the emulator; `None` while it is not running.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.supervisor.pid()
    }

    /// How often the emulator has been started.
    #[must_use]
    pub fn starts(&self) -> u64 {
        self.supervisor.starts()
    }

    /// Cuts the device's power; it is started again.
    pub fn cut_power(&self) {
        self.supervisor.kill();
    }

    fn try_connect(&self) -> Result<Box<dyn Transport>, TransportError> {
        match self.attachment {
            Attachment::Socket => Ok(Box::new(Unix::connect(&self.storage.socket)?)),
            Attachment::Pty => {
                let path = self.supervisor.pty().ok_or(TransportError::Closed)?;
                Ok(Box::new(Serial::open(&path, DEFAULT_BAUD)?))
            }
        }
    }
}

impl Connector for Emulator {
    fn connect(&self) -> Result<Box<dyn Transport>, TransportError> {
        let deadline = Instant::now() + START_PATIENCE;
        loop {
            match self.try_connect() {
                Ok(transport) => return Ok(transport),
                Err(_) if Instant::now() < deadline => std::thread::sleep(START_TICK),
                Err(error) => {
                    let output = self.supervisor.last_output();
                    return Err(TransportError::Open {
                        target: "the emulator's line".to_owned(),
                        source: io::Error::other(format!("{error}; the emulator said: {output}")),
                        advice: "look at what the emulator said last",
                    });
                }
            }
        }
    }
}

/// What a new flash holds for a second stage: the signed image that lies beside the firmware, as a programmer would
/// put it there.
fn first_contents(boot: &Boot, firmware: &Path) -> Result<Contents, EmulatorError> {
    let path = firmware.with_extension(SIGNED);
    let shown = || path.display().to_string();
    let signed = fs::read(&path).map_err(|_| EmulatorError::NoFirmware(shown()))?;
    let (manifest, image) =
        Manifest::split(&signed).ok_or_else(|| EmulatorError::NotSigned(shown()))?;
    Ok(vec![(boot.image_at, image.to_vec()), (boot.manifest_at, manifest.bytes().to_vec())])
}

/// The program that has the kernel kill the emulator when this process dies.
#[cfg(target_os = "linux")]
fn guard() -> Result<Option<PathBuf>, EmulatorError> {
    find("setpriv", "util-linux").map(Some)
}

/// Elsewhere the emulator survives this process; its own lock on the image keeps a second one
/// from using it.
#[cfg(not(target_os = "linux"))]
fn guard() -> Result<Option<PathBuf>, EmulatorError> {
    Ok(None)
}

/// Finds a program: a path as it is, a name in `PATH`.
fn find(program: &str, package: &str) -> Result<PathBuf, EmulatorError> {
    let found = if program.contains('/') {
        Some(PathBuf::from(program)).filter(|path| is_executable(path))
    } else {
        let path = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&path)
            .map(|entry| entry.join(program))
            .find(|path| is_executable(path))
    };
    found.ok_or_else(|| EmulatorError::Missing {
        program: program.to_owned(),
        package: package.to_owned(),
    })
}

fn is_executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata().is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests;
