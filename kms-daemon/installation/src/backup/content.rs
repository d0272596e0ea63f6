//! Which files of a data directory are in a backup.
//!
//! Everything except the files of a running daemon (locks, sockets, the reserve), files that are being
//! written (`*.new`), and, if the caller decides so, the flash of devices that run there. Each file
//! below `hsm/` is treated as a flash, except those that the daemon is known to write beside the
//! flashes, and so is each file elsewhere that has a flash image in it: a copy of a flash holds the
//! domain key as well. Store, audit log and the files beside the flashes come from a snapshot: what
//! those files say about the log and the store must not be newer than these. The flashes themselves are
//! read after the snapshot.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::manifest::{AUDIT, RegionOf, STORE};
use super::{BackupError, failed};
use crate::devices;
use crate::devices::place::Place;
use crate::last_backup::LAST_BACKUP;
use kms_base::durable;

/// Not in a backup, at the top of a data directory.
const LEFT_OUT: [&str; 6] =
    [STORE, AUDIT, "reserve", super::snapshot::DIRECTORY, crate::data_dir::MARK, LAST_BACKUP];
/// Flash images and small files are held in memory until they are written.
const SMALL: u64 = 1 << 20;
/// How often a file may change while it is read.
const TRIES: usize = 100;
/// Directories within directories.
const DEEPEST: usize = 16;
/// What segments of a flash begin with, and what each record of it ends with (`hsm-firmware`, `nv`).
const OF_FLASH: [&[u8]; 2] = [b"SRNV", b"committd"];
/// Where these are: at multiples of this, in an archive as well.
const STEP: usize = 16;

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

/// What a backup is to be made of.
pub(super) struct Gathered {
    pub(super) regions: Vec<RegionOf>,
    pub(super) items: Vec<Item>,
    /// Flashes, and what may be one, that are not in it.
    pub(super) left_out: Vec<String>,
}

/// The content of a backup of `data`, with store and audit log out of `snapshot`. `target` is the
/// directory that the backup is written to, canonical.
pub(super) fn gather(
    data: &Path,
    snapshot: &Path,
    devices: Devices,
    target: &Path,
) -> Result<Gathered, BackupError> {
    let mut found = Vec::new();
    walk(data, "", 0, Some(target), &mut found)?;
    let (mut flashes, mut beside, mut rest) = (Vec::new(), Vec::new(), Vec::new());
    for path in found {
        match Place::of(&path) {
            Some(Place::Beside) => beside.push(path),
            Some(Place::Board) if devices == Devices::With => rest.push(path),
            Some(Place::Board) => {}
            Some(Place::Flash { .. } | Place::Unknown) => flashes.push(path),
            None if has_flash(&data.join(&path))? => flashes.push(path),
            None => rest.push(path),
        }
    }
    if devices == Devices::Undecided && !flashes.is_empty() {
        let mut names: Vec<&str> = flashes.iter().map(|path| name_of(path)).collect();
        names.dedup();
        return Err(BackupError::DevicesUndecided(names.join(", ")));
    }
    let left_out = if devices == Devices::With { Vec::new() } else { std::mem::take(&mut flashes) };
    let mut regions = regions(snapshot)?;
    for path in &flashes {
        // A copy is not counted on: nobody knows of what it is one.
        if let Some(Place::Flash { region, device }) = Place::of(path)
            && let Some(region) = regions.iter_mut().find(|known| known.region == region)
        {
            region.flashes.push(device.to_owned());
        }
    }
    let mut items = Vec::new();
    let mut audit = Vec::new();
    walk(&snapshot.join(AUDIT), "", 0, None, &mut audit)?;
    let audit = audit.into_iter().map(|name| format!("{AUDIT}/{name}"));
    for path in std::iter::once(STORE.to_owned()).chain(audit) {
        let from = snapshot.join(&path);
        let bytes = fs::metadata(&from).map_err(failed("read", &from))?.len();
        items.push(Item { path, bytes, source: Source::File(from) });
    }
    let beside = beside.into_iter().map(|path| (snapshot.join(&path), path, false));
    let rest = rest.into_iter().map(|path| (data.join(&path), path, false));
    let flashes = flashes.into_iter().map(|path| (data.join(&path), path, true));
    for (from, path, is_flash) in beside.chain(rest).chain(flashes) {
        let bytes = match fs::metadata(&from) {
            // Files come and go under another name.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            data => data.map_err(failed("read", &from))?.len(),
        };
        if bytes > SMALL && !is_flash {
            items.push(Item { path, bytes, source: Source::File(from) });
            continue;
        }
        let content = read_stable(&from)?;
        let bytes = content.len() as u64;
        items.push(Item { path, bytes, source: Source::Memory(content) });
    }
    Ok(Gathered { regions, items, left_out })
}

/// Refuses a directory that is within what is backed up.
pub(super) fn ensure_outside(data: &Path, target: &Path) -> Result<(), BackupError> {
    walk(data, "", 0, Some(target), &mut Vec::new())
}

/// The domains of which a backup of `data` with devices holds a flash.
pub(super) fn domains_with_flash(data: &Path) -> Result<Vec<String>, BackupError> {
    let mut found = Vec::new();
    walk(data, "", 0, None, &mut found)?;
    let with_flash = |name: &str| {
        found.iter().any(
            |path| matches!(Place::of(path), Some(Place::Flash { region, .. }) if region == name),
        )
    };
    let known = regions(data)?.into_iter().filter(|region| with_flash(&region.region));
    Ok(known.filter_map(|region| region.domain).collect())
}

/// Copies what is beside the flashes in a data directory.
pub(super) fn copy_beside(data: &Path, snapshot: &Path) -> Result<(), BackupError> {
    let mut found = Vec::new();
    walk(data, "", 0, None, &mut found)?;
    for path in found.into_iter().filter(|path| Place::of(path) == Some(Place::Beside)) {
        let (from, to) = (data.join(&path), snapshot.join(&path));
        let content = read_stable(&from)?;
        let parent = to.parent().unwrap_or(snapshot);
        durable::create_private_dir(parent).map_err(failed("make", parent))?;
        durable::write(&to, &content, 0o600).map_err(failed("write", &to))?;
    }
    Ok(())
}

/// The paths of the regular files below `dir`, in order, relative to it. None of its directories may
/// be, or hold, `target`: a backup would hold those before it.
fn walk(
    dir: &Path,
    below: &str,
    depth: usize,
    target: Option<&Path>,
    found: &mut Vec<String>,
) -> Result<(), BackupError> {
    if let Some(target) = target {
        let dir = fs::canonicalize(dir).map_err(failed("read", dir))?;
        if target.starts_with(&dir) {
            return Err(BackupError::Inside { target: target.to_owned(), dir });
        }
    }
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
                walk(&path, &relative, depth + 1, target, found)?;
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

/// What people call a flash: by its device, or else by its path.
fn name_of(path: &str) -> &str {
    match Place::of(path) {
        Some(Place::Flash { device, .. }) => device,
        _ => path,
    }
}

/// Whether a flash image is in a file, as it is or in an archive that is not compressed.
fn has_flash(path: &Path) -> Result<bool, BackupError> {
    let mut file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        file => file.map_err(failed("read", path))?,
    };
    let mut block = Zeroizing::new(vec![0; 4096 * STEP]);
    loop {
        let mut filled = 0;
        while filled < block.len() {
            match file.read(&mut block[filled..]).map_err(failed("read", path))? {
                0 => break,
                more => filled += more,
            }
        }
        let is_of_flash = |part: &[u8]| OF_FLASH.iter().any(|mark| part.starts_with(mark));
        if block[..filled].chunks(STEP).any(is_of_flash) {
            return Ok(true);
        }
        if filled < block.len() {
            return Ok(false);
        }
    }
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
