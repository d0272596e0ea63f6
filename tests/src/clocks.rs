//! Wall clocks of daemons that are wrong.

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::daemon::Daemon;

/// Where Debian's package `faketime` has the library.
const FAKETIME: &str = "faketime/libfaketime.so.1";
/// Why there may be none.
pub const MISSING: &str = "there is no libfaketime (Debian's package faketime)";

/// The wall clocks of daemons, by libfaketime.
#[derive(Debug)]
pub struct Clocks {
    library: PathBuf,
    /// A file for each daemon says how far its clock is ahead.
    files: TempDir,
}

impl Clocks {
    /// Clocks that are right; `None` without the library.
    ///
    /// # Panics
    /// If the files of the clocks cannot be made.
    #[must_use]
    pub fn of(daemons: usize) -> Option<Self> {
        let places = [format!("/usr/lib/{}-linux-gnu", std::env::consts::ARCH), "/usr/lib".into()];
        let libraries = places.iter().map(|place| Path::new(place).join(FAKETIME));
        let library = libraries.into_iter().find(|library| library.exists())?;
        let clocks = Self { library, files: tempfile::tempdir().expect("a directory") };
        (0..daemons).for_each(|daemon| clocks.set(daemon, 0));
        Some(clocks)
    }

    fn file(&self, daemon: usize) -> PathBuf {
        self.files.path().join(daemon.to_string())
    }

    /// A daemon has this clock from its next start on.
    ///
    /// # Panics
    /// If the library has a name that is not UTF-8.
    pub fn give(&self, number: usize, daemon: &mut Daemon) {
        let text = |path: &Path| path.to_str().expect("UTF-8").to_owned();
        for (name, value) in [
            ("LD_PRELOAD", text(&self.library)),
            ("FAKETIME_TIMESTAMP_FILE", text(&self.file(number))),
            ("FAKETIME_NO_CACHE", "1".to_owned()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
        ] {
            daemon.set_variable(name, &value);
        }
    }

    /// Sets a clock so many seconds ahead, or behind.
    ///
    /// # Panics
    /// If that cannot be written.
    pub fn set(&self, daemon: usize, seconds: i32) {
        let new = self.files.path().join("new");
        fs::write(&new, format!("{seconds:+}\n")).expect("written");
        // Never half of it.
        fs::rename(new, self.file(daemon)).expect("renamed");
    }
}
