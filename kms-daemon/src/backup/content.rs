//! Which files of a data directory are in a backup.
//!
//! Everything, but for what belongs to a running daemon (locks, sockets, the reserve), what is
//! being written (`*.new`), and, if so decided, the flash of devices that run there. Store and audit
//! log come from a snapshot, and what is beside the flashes as well: what is written there of the log or
//! the store must not be newer than these. The flashes themselves are read after the snapshot.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::manifest::{AUDIT, RegionOf, STORE};
use super::{BackupError, failed};
use crate::{devices, durable};

/// Not in a backup, at the top of a data directory.
const LEFT_OUT: [&str; 5] =
    [STORE, AUDIT, "reserve", super::snapshot::DIRECTORY, super::restore::MARK];
/// Flash images and small files are held in memory until they are written.
const SMALL: u64 = 1 << 20;
/// How often a file may change while it is read.
const TRIES: usize = 100;
/// Directories within directories.
const DEEPEST: usize = 16;

/// Whether the flash of devices that run in the data directory is in the backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Devices {
    /// In the backup.
    With,
    /// Not in the backup.
    Without,
    /// Nobody said: refused if there are any.
    Undecided,
}

/// A file to be written.
pub(super) struct Item {
    pub(super) path: String,
    pub(super) bytes: u64,
    pub(super) source: Source,
}

/// Where its content is.
pub(super) enum Source {
    /// As it was when it was looked at.
    Memory(Zeroizing<Vec<u8>>),
    /// In a file that does not change any more.
    File(PathBuf),
}

/// The content of a backup of `data`, with store and audit log out of `snapshot`.
pub(super) fn gather(
    data: &Path,
    snapshot: &Path,
    devices: Devices,
) -> Result<(Vec<RegionOf>, Vec<Item>), BackupError> {
    let mut found = Vec::new();
    walk(data, "", 0, &mut found)?;
    let (flashes, rest): (Vec<_>, Vec<_>) =
        found.into_iter().partition(|path| flash_of(path).is_some());
    let mut names: Vec<String> = flashes.iter().filter_map(|path| flash_of(path)).collect();
    names.dedup();
    if devices == Devices::Undecided && !names.is_empty() {
        return Err(BackupError::DevicesUndecided(names.join(", ")));
    }
    let flashes = if devices == Devices::With { flashes } else { Vec::new() };
    let (beside, rest): (Vec<_>, Vec<_>) = rest.into_iter().partition(|path| is_beside(path));
    let mut regions = regions(snapshot)?;
    for path in &flashes {
        let (region, name) = path
            .strip_prefix("hsm/")
            .and_then(|rest| Some((rest.split('/').next()?, flash_of(path)?)))
            .unwrap_or_default();
        if let Some(region) = regions.iter_mut().find(|known| known.region == region)
            && !region.flashes.contains(&name)
        {
            region.flashes.push(name);
        }
    }
    let mut items = Vec::new();
    let mut audit = Vec::new();
    walk(&snapshot.join(AUDIT), "", 0, &mut audit)?;
    let audit = audit.into_iter().map(|name| format!("{AUDIT}/{name}"));
    for path in std::iter::once(STORE.to_owned()).chain(audit) {
        let from = snapshot.join(&path);
        let bytes = fs::metadata(&from).map_err(failed("read", &from))?.len();
        items.push(Item { path, bytes, source: Source::File(from) });
    }
    let beside = beside.into_iter().map(|path| (snapshot.join(&path), path));
    let others = rest.into_iter().chain(flashes).map(|path| (data.join(&path), path));
    for (from, path) in beside.chain(others) {
        let bytes = match fs::metadata(&from) {
            // Files come and go under another name.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            data => data.map_err(failed("read", &from))?.len(),
        };
        if bytes > SMALL && flash_of(&path).is_none() {
            items.push(Item { path, bytes, source: Source::File(from) });
            continue;
        }
        let content = read_stable(&from)?;
        let bytes = content.len() as u64;
        items.push(Item { path, bytes, source: Source::Memory(content) });
    }
    Ok((regions, items))
}

/// Copies what is beside the flashes in a data directory.
pub(super) fn copy_beside(data: &Path, snapshot: &Path) -> Result<(), BackupError> {
    let mut found = Vec::new();
    walk(data, "", 0, &mut found)?;
    for path in found.into_iter().filter(|path| is_beside(path)) {
        let (from, to) = (data.join(&path), snapshot.join(&path));
        let content = read_stable(&from)?;
        let parent = to.parent().unwrap_or(snapshot);
        durable::create_private_dir(parent).map_err(failed("make", parent))?;
        durable::write(&to, &content, 0o600).map_err(failed("write", &to))?;
    }
    Ok(())
}

/// Whether a file is one beside the flashes, and none itself.
fn is_beside(path: &str) -> bool {
    path.starts_with("hsm/") && flash_of(path).is_none()
}

/// The paths of the regular files below `dir`, in order, relative to it.
fn walk(dir: &Path, below: &str, depth: usize, found: &mut Vec<String>) -> Result<(), BackupError> {
    let mut entries = fs::read_dir(dir)
        .and_then(|entries| entries.collect::<Result<Vec<_>, _>>())
        .map_err(failed("read", dir))?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let path = entry.path();
        let Ok(name) = entry.file_name().into_string() else {
            let source = io::Error::other("its name is not UTF-8");
            return Err(failed("back up", &path)(source));
        };
        let left_out = depth == 0 && below.is_empty() && LEFT_OUT.contains(&name.as_str());
        if left_out || name == "lock" || name == "lost+found" || name.ends_with(".new") {
            continue;
        }
        let relative = if below.is_empty() { name } else { format!("{below}/{name}") };
        // Links are followed: what they lead to is what the daemon uses.
        match fs::metadata(&path) {
            Ok(data) if data.is_file() => found.push(relative),
            Ok(data) if data.is_dir() && depth < DEEPEST => {
                walk(&path, &relative, depth + 1, found)?;
            }
            Ok(data) if data.is_dir() => {
                let source = io::Error::other("too many directories within each other");
                return Err(failed("back up", &path)(source));
            }
            // A socket.
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed("read", &path)(error)),
        }
    }
    Ok(())
}

/// The name of the device that a file is the flash of, `soft-0` or `qemu-0`.
fn flash_of(path: &str) -> Option<String> {
    let mut parts = path.strip_prefix("hsm/")?.split('/').skip(1);
    let name = parts.next()?;
    let device = match name.strip_suffix(".flash") {
        Some(device) => device,
        None => parts.next().map(|_| name)?,
    };
    let numbered = |kind| device.strip_prefix(kind).is_some_and(|n| n.parse::<u8>().is_ok());
    (numbered("soft-") || numbered("qemu-")).then(|| device.to_owned())
}

fn regions(data: &Path) -> Result<Vec<RegionOf>, BackupError> {
    let known = devices::known(data)?;
    let region = |(region, domain, lines)| RegionOf { region, domain, lines, flashes: Vec::new() };
    Ok(known.into_iter().map(region).collect())
}

/// A file's content at one moment. A device may write its flash: it is read until two readings are
/// the same. What did not change between the two was so in the moment between them.
fn read_stable(path: &Path) -> Result<Zeroizing<Vec<u8>>, BackupError> {
    let read = || -> Result<Zeroizing<Vec<u8>>, BackupError> {
        let mut file = File::open(path).map_err(failed("read", path))?;
        let length = file.metadata().map_err(failed("read", path))?.len();
        // With room for all, so that no part of it is left where a vector was before.
        let room = usize::try_from(length).unwrap_or(0).saturating_add(1);
        let mut content = Zeroizing::new(Vec::with_capacity(room));
        file.read_to_end(&mut content).map_err(failed("read", path))?;
        Ok(content)
    };
    let mut before = read()?;
    for _ in 0..TRIES {
        let now = read()?;
        if now == before {
            return Ok(now);
        }
        before = now;
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    Err(BackupError::Changing(path.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flashes_are_known_by_their_place() {
        let name = |path| flash_of(path);
        assert_eq!(name("hsm/us-east-1/soft-0.flash").as_deref(), Some("soft-0"));
        assert_eq!(name("hsm/us-east-1/qemu-3/flash.img").as_deref(), Some("qemu-3"));
        for other in ["hsm/us-east-1/devices.json", "hosts/crypto-user.pem", "soft-0.flash"] {
            assert_eq!(name(other), None, "{other}");
        }
    }
}
