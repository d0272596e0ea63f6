//! The board `rp2040` in `tests/rp2040/run.js`: the image that is flashed, in an emulator that a test boots,
//! connects and kills.

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use host_driver::transport::Transport;
use host_driver::transport::unix::Unix;

use crate::environment;
use crate::javascript;
use crate::patience::PATIENCE;
use crate::process::Process;

/// Name of the board, its feature and its image.
pub const BOARD: &str = "rp2040";
/// Name of the file with the records in a device's directory.
const RECORDS: &str = "records.img";

/// A running emulator.
#[derive(Debug)]
pub struct Pico {
    process: Process,
    line: PathBuf,
}

impl Pico {
    /// Boots the device whose records are in `directory`; a directory without them gets blank flash.
    ///
    /// # Panics
    /// If the emulator does not start, or Node.js or npm is missing.
    #[must_use]
    pub fn boot(directory: &Path) -> Self {
        Self::boot_with_noise(directory, Path::new("/dev/urandom"))
    }

    /// As [`Pico::boot`], with the bits of the ring oscillator out of a file.
    ///
    /// # Panics
    /// As [`Pico::boot`].
    #[must_use]
    pub fn boot_with_noise(directory: &Path, noise: &Path) -> Self {
        static INSTALLED: OnceLock<PathBuf> = OnceLock::new();
        let installed = INSTALLED.get_or_init(|| javascript::install("rp2040"));
        let line = directory.join("line.sock");
        let mut node = Command::new("node");
        node.arg(installed.join("run.js"));
        node.arg("--image").arg(environment::firmware_of(BOARD));
        node.arg("--records").arg(directory.join(RECORDS));
        node.arg("--socket").arg(&line).arg("--noise").arg(noise);
        let mut process = Process::start(&mut node);
        let _ = process.expect_line("listening", PATIENCE);
        Self { process, line }
    }

    /// Opens the line.
    ///
    /// # Panics
    /// If it stays closed; what the emulator said is shown.
    #[must_use]
    pub fn connect(&self) -> Box<dyn Transport> {
        match Unix::connect(&self.line) {
            Ok(line) => Box::new(line),
            Err(error) => panic!("{error}\n--- emulator\n{}", self.process.output()),
        }
    }

    /// Gives an order of those in `run.js`.
    ///
    /// # Panics
    /// If the emulator is gone.
    pub fn order(&self, order: &str) {
        let control = self.line.with_added_extension("control");
        let mut control = UnixStream::connect(control).expect("the emulator listens");
        writeln!(control, "{order}").expect("the emulator listens");
    }

    /// Waits for a reset, and returns how many bytes of RAM were not zero then.
    ///
    /// # Panics
    /// If there is none.
    pub fn await_reset(&mut self) -> usize {
        let rest = self.process.expect_line("reset: ", PATIENCE);
        let count = rest.split(' ').next().and_then(|count| count.parse().ok());
        count.unwrap_or_else(|| panic!("a number: {rest}"))
    }

    /// What the emulator has said.
    #[must_use]
    pub fn output(&self) -> String {
        self.process.output()
    }
}
