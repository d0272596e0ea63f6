//! An emulated board at the end of a serial line, which can be pulled out and put back in.

use std::fs;
use std::path::PathBuf;

use tempfile::TempDir;

use crate::emulator::{Attachment, Emulator, FLASH};
use crate::probe::Debugger;

/// A board with the real firmware; its line has one name, whatever is plugged in.
#[derive(Debug)]
pub struct Board {
    directory: TempDir,
    attachment: Attachment,
    emulator: Option<Emulator>,
}

impl Board {
    /// A fresh one, which has started.
    ///
    /// # Panics
    /// If it is attached by a pseudo-terminal, whose name changes, or does not start.
    #[must_use]
    pub fn new(attachment: Attachment) -> Self {
        assert!(!attachment.is_pty(), "a line without a name of its own");
        let directory = tempfile::tempdir().expect("a directory");
        let mut board = Self { directory, attachment, emulator: None };
        board.plug();
        board
    }

    /// Plugs it in, and waits until it has started.
    pub fn plug(&mut self) {
        let emulator = Emulator::boot(self.directory.path(), self.attachment);
        emulator.await_start();
        self.emulator = Some(emulator);
    }

    /// Plugs it in with a debugger interface, which stops it wherever it is then.
    pub fn plug_examined(&mut self) -> Debugger {
        let directory = self.directory.path();
        self.emulator = Some(Emulator::boot_examined(directory, self.attachment, None));
        Debugger::open(directory)
    }

    /// Waits until it has started.
    ///
    /// # Panics
    /// If it is not plugged in, or does not start.
    pub fn await_start(&self) {
        self.emulator.as_ref().expect("it is plugged in").await_start();
    }

    /// Pulls it out, as a power cut would.
    pub fn unplug(&mut self) {
        if let Some(mut emulator) = self.emulator.take() {
            emulator.kill();
        }
    }

    /// The line to it, in the form of `--hsm`.
    ///
    /// # Panics
    /// If it is not plugged in.
    #[must_use]
    pub fn line(&self) -> String {
        let emulator = self.emulator.as_ref().expect("it is plugged in");
        format!("unix:{}", emulator.line().display())
    }

    /// The file with its flash.
    #[must_use]
    pub fn flash(&self) -> PathBuf {
        self.directory.path().join(FLASH)
    }

    /// What is written in its flash: all but blocks that are erased.
    ///
    /// # Panics
    /// If it has none.
    #[must_use]
    pub fn written(&self) -> Vec<u8> {
        /// Whole blocks are compared, as images have tens of megabytes.
        const BLOCK: usize = 4096;
        let content = fs::read(self.flash()).expect("a flash");
        let erased = |block: &&[u8]| block == &&[0xff; BLOCK][..] || block == &&[0; BLOCK][..];
        content.chunks(BLOCK).filter(|block| !erased(block)).flatten().copied().collect()
    }
}
