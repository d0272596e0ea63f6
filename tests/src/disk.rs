//! A disk that can be full.

use std::fs::{self, File};
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::fs::{StatVfs, statvfs};

/// A small file system of its own under a directory, until it is dropped.
#[derive(Debug)]
pub struct Disk {
    directory: PathBuf,
    size: u64,
}

impl Disk {
    /// Mounts one of so many MiB.
    ///
    /// # Errors
    /// Why none can be mounted, which takes root's rights.
    pub fn mount(directory: &Path, megabytes: u64) -> Result<Self, String> {
        let size = megabytes << 20;
        let options = format!("size={size},mode=0700");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &options, "strongroom-test"]).arg(directory);
        match mount.output() {
            Ok(output) if output.status.success() => {
                Ok(Self { directory: directory.to_owned(), size })
            }
            refused => Err(format!("no file system can be mounted: {refused:?}")),
        }
    }

    fn look(&self) -> StatVfs {
        statvfs(&self.directory).expect("a file system")
    }

    /// Fills it until so many bytes are free.
    ///
    /// # Panics
    /// If that fails for another reason than for want of room.
    pub fn fill(&self, leave: u64) {
        let filler = self.directory.join("filler");
        let mut file = File::options().append(true).create(true).open(filler).expect("a file");
        let free = || {
            let fs = self.look();
            fs.f_bavail * fs.f_frsize
        };
        while free() > leave {
            let more = usize::try_from((free() - leave).min(1 << 16)).expect("small");
            match file.write_all(&vec![1; more]) {
                Err(error) if error.kind() == ErrorKind::StorageFull => break,
                written => written.expect("written"),
            }
        }
    }

    /// Takes away what filled it.
    ///
    /// # Panics
    /// If nothing did.
    pub fn free(&self) {
        fs::remove_file(self.directory.join("filler")).expect("removed");
    }

    /// Makes it as small as what is on it, or as large as it was.
    ///
    /// # Panics
    /// If that is refused.
    pub fn set_full(&self, is_full: bool) {
        let resize = |size: u64| {
            let option = format!("remount,size={size}");
            let mut mount = Command::new("mount");
            mount.args(["-o", &option]).arg(&self.directory).output().expect("mount runs")
        };
        // More may be on it by now.
        for _ in 0..100 {
            let fs = self.look();
            let used = (fs.f_blocks - fs.f_bfree) * fs.f_frsize;
            let resized = resize(if is_full { used } else { self.size });
            if resized.status.success() {
                return;
            }
        }
        panic!("{} cannot be made full", self.directory.display());
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.directory).status();
    }
}
