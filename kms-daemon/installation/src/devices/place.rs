//! The files below `hsm/` in a data directory: those that the daemon writes, the flashes of devices, and
//! others. Nothing is known about the others, so they are treated as flashes.

use std::fs;
use std::path::{Path, PathBuf};

use hsm_protocol::domain::MAX_MEMBERS;

use kms_base::identifier::is_region;

/// Directories within directories that are looked into.
const DEEPEST: usize = 16;
/// Most files that are reported.
const MOST: usize = 100;

/// What a file below `hsm/` is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place<'p> {
    /// What a Region knows of its devices, of log and store: no secrets.
    Beside,
    /// The flash of a device.
    Flash {
        /// Its Region.
        region: &'p str,
        /// Its name, such as `soft-0`.
        device: &'p str,
    },
    /// The name of the board that a flash is of. It goes where the flash goes, and holds no secret.
    Board,
    /// Nothing that the daemon has made. It may be a copy of a flash.
    Unknown,
}

impl<'p> Place<'p> {
    /// What the file is that has this path in the data directory; `None` if that is not below `hsm/`.
    pub(crate) fn of(path: &'p str) -> Option<Self> {
        let parts: Vec<&str> = path.strip_prefix("hsm/")?.split('/').collect();
        Some(match parts.as_slice() {
            // The second is of the time of one Region.
            [region, "devices.json" | "founding.json" | "mark.json"] if is_region(region) => {
                Self::Beside
            }
            ["devices.json"] => Self::Beside,
            [region, "changes", file] if is_region(region) && is_ballot(file) => Self::Beside,
            [region, "certificates", file] if is_region(region) && is_certificate(file) => {
                Self::Beside
            }
            [region, file] if is_region(region) => match file.strip_suffix(".flash") {
                Some(device) if is_device(device, "soft-") => Self::Flash { region, device },
                _ => Self::Unknown,
            },
            [region, device, "flash.img"] if is_region(region) && is_device(device, "qemu-") => {
                Self::Flash { region, device }
            }
            [region, device, "board"] if is_region(region) && is_device(device, "qemu-") => {
                Self::Board
            }
            _ => Self::Unknown,
        })
    }
}

/// Whether it is the name of a device of this kind, in the one form that the daemon writes.
fn is_device(name: &str, kind: &str) -> bool {
    name.strip_prefix(kind).is_some_and(|number| {
        let parsed = number.parse::<usize>().ok().filter(|n| n.to_string() == number);
        parsed.is_some_and(|number| number < MAX_MEMBERS)
    })
}

/// Whether a name is that of a ballot: `DOMAIN-VERSION.ballot`.
fn is_ballot(name: &str) -> bool {
    let parts = name.strip_suffix(".ballot").and_then(|name| name.split_once('-'));
    parts.is_some_and(|(domain, version)| {
        kms_base::hex::decode::<16>(domain).is_some()
            && version.parse::<u32>().is_ok_and(|number| number.to_string() == version)
    })
}

/// Whether a name is that of a device's certificate: `DEVICE.certificate`.
fn is_certificate(name: &str) -> bool {
    let device = name.strip_suffix(".certificate").and_then(kms_base::hex::decode::<16>);
    device.is_some()
}

/// The files below `hsm/` that the daemon has not made, up to a hundred of them. What cannot be read is
/// passed over.
pub(super) fn strays(data: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    walk(&data.join("hsm"), "hsm", 0, &mut found);
    found
}

fn walk(dir: &Path, below: &str, depth: usize, found: &mut Vec<PathBuf>) {
    let mut entries: Vec<_> = fs::read_dir(dir).into_iter().flatten().flatten().collect();
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let path = entry.path();
        let relative = format!("{below}/{}", entry.file_name().to_string_lossy());
        match fs::metadata(&path) {
            Ok(about) if about.is_dir() && depth < DEEPEST => {
                walk(&path, &relative, depth + 1, found);
            }
            Ok(about)
                if about.is_file()
                    && found.len() < MOST
                    && Place::of(&relative) == Some(Place::Unknown)
                    && !is_working_file(&relative) =>
            {
                found.push(path);
            }
            _ => {}
        }
    }
}

/// Locks, and what is being written: it has its name in a moment, or is overwritten by the next.
fn is_working_file(path: &str) -> bool {
    if let Some(device) = path.strip_suffix("/lock") {
        return matches!(Place::of(&format!("{device}/flash.img")), Some(Place::Flash { .. }));
    }
    let Some(whole) = path.strip_suffix(".new") else { return false };
    let is_flash = |path: &str| matches!(Place::of(path), Some(Place::Flash { .. }));
    matches!(Place::of(whole), Some(Place::Beside | Place::Board))
        || is_unfinished(whole)
        || is_flash(&format!("{whole}.flash"))
        || is_flash(&format!("{whole}.img"))
}

/// The name, without its end, that a ballot or a certificate has while it is written.
fn is_unfinished(whole: &str) -> bool {
    let parts: Vec<&str> = whole.split('/').collect();
    let ["hsm", region, "changes" | "certificates", name] = parts.as_slice() else { return false };
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    is_region(region)
        && name.split_once('-').is_some_and(|(process, number)| digits(process) && digits(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_daemon_writes_is_known() {
        let ballot = "us-east-1/changes/00112233445566778899aabbccddeeff-12.ballot";
        let certificate = "us-east-1/certificates/00112233445566778899aabbccddeeff.certificate";
        for path in
            ["us-east-1/devices.json", "us-east-1/mark.json", "devices.json", ballot, certificate]
        {
            assert_eq!(Place::of(&format!("hsm/{path}")), Some(Place::Beside), "{path}");
        }
        let (region, soft, qemu) = ("us-east-1", "soft-0", "qemu-3");
        let flash = |device| Some(Place::Flash { region, device });
        assert_eq!(Place::of("hsm/us-east-1/soft-0.flash"), flash(soft));
        assert_eq!(Place::of("hsm/us-east-1/qemu-3/flash.img"), flash(qemu));
        assert_eq!(Place::of("hsm/us-east-1/qemu-3/board"), Some(Place::Board));
        for path in [
            "us-east-1/soft-0.flash.old",
            "us-east-1/soft-0.flash~",
            "us-east-1/soft-00.flash",
            "us-east-1/soft-8.flash",
            "us-east-1/soft-0",
            "us-east-1/old/soft-0.flash",
            "us-east-1/qemu-3/flash.img.1",
            "us-east-1/qemu-3/lock",
            "us-east-1/qemu-8/board",
            "us-east-1/devices.json.old",
            "us-east-1.old/devices.json",
            "us-east-1/changes/soft-0.flash",
            "us-east-1/changes/0011-1.ballot",
            "us-east-1/certificates/soft-0.certificate",
            "us-east-1/changes/00112233445566778899aabbccddeeff.certificate",
            "us-east-1/changes/00112233445566778899aabbccddeeff-012.ballot",
            "soft-0.flash",
        ] {
            assert_eq!(Place::of(&format!("hsm/{path}")), Some(Place::Unknown), "{path}");
        }
        assert_eq!(Place::of("hosts/provisioner.pem"), None);
    }

    #[test]
    fn what_others_put_there_is_found() {
        let data = tempfile::tempdir().unwrap();
        for path in [
            "us-east-1/devices.json",
            "us-east-1/devices.json.new",
            "us-east-1/soft-0.flash",
            "us-east-1/soft-1.new",
            "us-east-1/qemu-0/flash.img",
            "us-east-1/qemu-0/flash.new",
            "us-east-1/qemu-0/board",
            "us-east-1/qemu-0/board.new",
            "us-east-1/qemu-0/lock",
            "us-east-1/changes/00112233445566778899aabbccddeeff-2.ballot",
            "us-east-1/changes/4711-0.new",
            "us-east-1/certificates/00112233445566778899aabbccddeeff.certificate",
            "us-east-1/certificates/4711-1.new",
            "us-east-1/changes/flash.new",
            "us-east-1/soft-0.flash.old",
            "us-east-1/soft-0.flash.new",
            "us-east-1/kept/lock",
            "away/soft-0.flash",
        ] {
            let path = data.path().join("hsm").join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "x").unwrap();
        }
        let found = strays(data.path());
        let found: Vec<_> = found
            .iter()
            .map(|path| path.strip_prefix(data.path()).unwrap().to_str().unwrap())
            .collect();
        let expected = [
            "hsm/away/soft-0.flash",
            "hsm/us-east-1/changes/flash.new",
            "hsm/us-east-1/kept/lock",
            "hsm/us-east-1/soft-0.flash.new",
            "hsm/us-east-1/soft-0.flash.old",
        ];
        assert_eq!(found, expected);
    }
}
