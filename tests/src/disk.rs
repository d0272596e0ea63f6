//! Disks that can be full, and disks that fail.

use std::fs::{self, File};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::fs::{FallocateFlags, StatVfs, fallocate, statvfs};
use rustix::io::Errno;
use tempfile::TempDir;

use crate::patience::until;

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
        let mount = ["-t", "tmpfs", "-o", &options, "strongroom-test"];
        run(Command::new("mount").args(mount).arg(directory))?;
        Ok(Self { directory: directory.to_owned(), size })
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

/// A file system of ext4 on a disk that can fail, until it is dropped.
#[derive(Debug)]
pub struct FailingDisk {
    directory: PathBuf,
    /// What its blocks are written to, which may have none left.
    blocks: Disk,
    /// The loop device of the image. It stays the same one: another one would have another cache.
    device: String,
    _place: TempDir,
}

impl FailingDisk {
    /// Makes one of so many MiB, and mounts it. Without a journal the kernel goes on with it whatever it cannot write.
    ///
    /// # Errors
    /// Why there can be none: that takes root's rights, and loop devices.
    ///
    /// # Panics
    /// If no file can be made.
    pub fn mount(directory: &Path, megabytes: u64, has_journal: bool) -> Result<Self, String> {
        let place = tempfile::tempdir().expect("a directory");
        let blocks = Disk::mount(place.path(), 2 * megabytes)?;
        let image = place.path().join("image");
        let attach = || {
            let mut losetup = Command::new("losetup");
            let output = losetup.args(["--find", "--show"]).arg(&image).output();
            match output {
                Ok(found) if found.status.success() => {
                    Ok(String::from_utf8_lossy(&found.stdout).trim().to_owned())
                }
                refused => Err(format!("no loop device: {refused:?}")),
            }
        };
        let file = File::create(&image).expect("a file");
        file.set_len(megabytes << 20).expect("a sparse file");
        let journal = if has_journal { "has_journal" } else { "^has_journal" };
        let mut make = Command::new("mkfs.ext4");
        make.args(["-q", "-F", "-m", "0", "-N", "4096", "-O", journal]);
        make.args(["-E", "lazy_itable_init=0,nodiscard"]);
        run(make.arg(&image))?;
        let device = attach()?;
        let disk = Self { directory: directory.to_owned(), blocks, device, _place: place };
        disk.mount_device()?;
        fs::set_permissions(directory, fs::Permissions::from_mode(0o700)).expect("set");
        fs::remove_dir(directory.join("lost+found")).expect("removed");
        Ok(disk)
    }

    fn mount_device(&self) -> Result<(), String> {
        run(Command::new("mount").args(["-t", "ext4", &self.device]).arg(&self.directory))
    }

    /// Has the kernel give up the file system, as it does when it cannot write what holds it together: from now on
    /// nothing can be written, open files included.
    ///
    /// # Panics
    /// If it does not.
    pub fn fail(&self) {
        let mut mount = Command::new("mount");
        run(mount.args(["-o", "remount,abort"]).arg(&self.directory)).expect("it is given up");
    }

    /// Repairs it as a person would. Nobody may have a file of it open.
    ///
    /// # Panics
    /// If that fails.
    pub fn repair(&self) {
        // What has just ended may have files open for a moment yet.
        until("nobody uses the disk", || run(Command::new("umount").arg(&self.directory)).is_ok());
        // It says with 1 that something was repaired.
        let checked = Command::new("fsck.ext4").args(["-p", "-f", &self.device]).output();
        let checked = checked.expect("fsck.ext4 runs");
        assert!(matches!(checked.status.code(), Some(0 | 1)), "{checked:?}");
        self.mount_device().expect("it is mounted again");
        let probe = self.directory.join("probe");
        File::create(&probe).expect("it can be written again");
        fs::remove_file(probe).expect("removed");
    }

    /// Fills it, or takes away what filled it.
    ///
    /// # Panics
    /// If that fails.
    pub fn set_full(&self, is_full: bool) {
        let filler = self.directory.join("filler");
        if !is_full {
            return fs::remove_file(filler).expect("removed");
        }
        let file = File::options().append(true).create(true).open(filler).expect("a file");
        let mut size = 1 << 40;
        while size >= 4096 {
            let end = file.metadata().expect("it is there").len();
            match fallocate(&file, FallocateFlags::empty(), end, size) {
                Ok(()) => {}
                Err(Errno::NOSPC | Errno::FBIG) => size /= 2,
                Err(error) => panic!("the disk cannot be filled: {error}"),
            }
        }
    }

    /// Has each block refused that was not written before, or takes that back.
    ///
    /// # Panics
    /// If that cannot be.
    pub fn set_bad(&self, is_bad: bool) {
        self.blocks.set_full(is_bad);
    }
}

impl Drop for FailingDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.directory).status();
        // Once nobody uses it any more.
        let _ = Command::new("losetup").args(["--detach", &self.device]).status();
    }
}

fn run(command: &mut Command) -> Result<(), String> {
    match command.output() {
        Ok(output) if output.status.success() => Ok(()),
        refused => Err(format!("{command:?}: {refused:?}")),
    }
}
