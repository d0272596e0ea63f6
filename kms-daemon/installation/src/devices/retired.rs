//! Flashes that were left behind: those of devices that the daemon no longer runs, and possible copies.

use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use super::DevicesError;
use super::own::flash_of;
use super::place::{self, Place};
use super::registry::Registry;
use kms_base::durable;

/// Bytes that are written at a time.
const BLOCK: usize = 64 << 10;

/// The flash of a device that is not in use. It has the domain key, unless it was zeroised.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetiredFlash {
    /// The Region.
    pub region: String,
    /// Name that the device had, for example `soft-1`.
    pub name: String,
    /// Where it is.
    pub path: PathBuf,
    /// Whether the Region is served, by other devices.
    pub is_served: bool,
}

impl RetiredFlash {
    /// What it is, and what to do.
    #[must_use]
    pub fn explain(&self) -> String {
        let Self { region, name, path, is_served } = self;
        let (kind, number) = name.split_once('-').unwrap_or((name, "0"));
        let count = number.parse::<u32>().unwrap_or(0) + 1;
        let again = match is_served {
            true => format!("--hsm {kind}:{count}"),
            false => format!("--region {region}"),
        };
        format!(
            "{name} of {region} is not in use, and its flash {} is on the disk with the domain key: \
             whoever has it and the store has the keys. Use it again ({again}), or stop kmsd and \
             erase it: kmsctl hsm erase {name} --region {region}",
            path.display()
        )
    }
}

/// The flashes in the directory of a Region that belong to none of the lines of these names; `None` if
/// the Region is not served.
#[must_use]
pub fn retired(data: &Path, region: &str, lines: Option<&[String]>) -> Vec<RetiredFlash> {
    let (is_served, lines) = (lines.is_some(), lines.unwrap_or_default());
    let dir = data.join("hsm").join(region);
    let used: BTreeSet<&str> = lines.iter().map(String::as_str).collect();
    let entries = fs::read_dir(&dir).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let names = names.filter_map(|file| {
        let image = if file.ends_with(".flash") { "" } else { "/flash.img" };
        match Place::of(&format!("hsm/{region}/{file}{image}")) {
            Some(Place::Flash { device, .. }) => Some(device.to_owned()),
            _ => None,
        }
    });
    let unused: BTreeSet<String> = names.filter(|name| !used.contains(name.as_str())).collect();
    let found = unused.into_iter().map(|name| {
        let path = flash_of(&dir, &name);
        RetiredFlash { region: region.to_owned(), name, path, is_served }
    });
    found.filter(|flash| flash.path.is_file()).collect()
}

/// A file below `hsm/` that the daemon has not made. It may be a copy of a device's flash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stray(pub PathBuf);

impl Stray {
    /// What it may be, and what to do.
    #[must_use]
    pub fn explain(&self) -> String {
        let path = self.0.display();
        format!(
            "{path} is not a file that kmsd has made, and may be a copy of a device's flash: whoever has \
             that and the store has the keys, and a backup with devices holds it. Move it to where it is \
             as safe as the keys, or overwrite and remove it: shred -u {path}"
        )
    }
}

/// The files below `hsm/` that the daemon has not made, up to a hundred of them.
#[must_use]
pub fn strays(data: &Path) -> Vec<Stray> {
    place::strays(data).into_iter().map(Stray).collect()
}

/// Overwrites and removes the flash of a device, and forgets the device. What a disk keeps of blocks
/// that were overwritten is its own.
///
/// # Errors
/// [`DevicesError`] if a file cannot be written or removed.
pub fn erase(data: &Path, region: &str, name: &str) -> Result<(), DevicesError> {
    let dir = data.join("hsm").join(region);
    let flash = flash_of(&dir, name);
    let failed = |source| DevicesError::File { path: flash.clone(), source };
    overwrite(&flash).map_err(failed)?;
    fs::remove_file(&flash).map_err(failed)?;
    let own = flash.parent().unwrap_or(&dir);
    durable::sync_dir(own).map_err(failed)?;
    if own != dir {
        fs::remove_dir_all(own).map_err(failed)?;
        durable::sync_dir(&dir).map_err(failed)?;
    }
    Registry::load(&dir)?.forget_line(name)
}

fn overwrite(path: &Path) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).open(path)?;
    let mut left = file.metadata()?.len();
    let zeros = [0; BLOCK];
    while left > 0 {
        let size = usize::try_from(left).unwrap_or(BLOCK).min(BLOCK);
        file.write_all(&zeros[..size])?;
        left -= size as u64;
    }
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_flashes_that_nobody_uses_are_found_and_erased() {
        let data = tempfile::tempdir().unwrap();
        let dir = data.path().join("hsm/us-east-1");
        fs::create_dir_all(dir.join("qemu-1")).unwrap();
        fs::create_dir_all(dir.join("qemu-2")).unwrap(); // without a flash
        for file in ["soft-0.flash", "soft-1.flash", "qemu-1/flash.img", "devices.json.old"] {
            fs::write(dir.join(file), "the domain key").unwrap();
        }
        let lines = ["soft-0".to_owned()];
        let found = retired(data.path(), "us-east-1", Some(&lines));
        let names: Vec<&str> = found.iter().map(|flash| flash.name.as_str()).collect();
        assert_eq!(names, ["qemu-1", "soft-1"]);
        let text = found[1].explain();
        assert!(
            text.contains("--hsm soft:2") && text.contains("kmsctl hsm erase soft-1"),
            "{text}"
        );
        // Another name of the file shows what is left in its blocks.
        let kept = data.path().join("kept");
        fs::hard_link(dir.join("soft-1.flash"), &kept).unwrap();
        for flash in &found {
            erase(data.path(), "us-east-1", &flash.name).unwrap();
        }
        assert_eq!(fs::read(&kept).unwrap(), [0; 14]);
        assert_eq!(retired(data.path(), "us-east-1", Some(&lines)), []);
        // A Region that is no longer served leaves all of them.
        let left = retired(data.path(), "us-east-1", None);
        assert!(left.len() == 1 && left[0].explain().contains("--region us-east-1"), "{left:?}");
        assert!(dir.join("soft-0.flash").exists() && !dir.join("qemu-1").exists());
        assert!(erase(data.path(), "us-east-1", "soft-1").is_err());
    }
}
