//! Machine descriptions: the files of `qemu/`, which `xtask` reads as well.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;

/// The descriptions, which every build carries.
const MACHINES: &[&str] = include!(concat!(env!("OUT_DIR"), "/machines.rs"));

/// How to run a board's firmware in an emulator.
#[derive(Clone, Debug, Deserialize)]
pub struct Machine {
    /// Board name.
    pub board: String,
    /// Rust target of the firmware.
    pub target: String,
    /// Binary of the firmware crate.
    pub bin: String,
    /// Program name of the emulator.
    pub emulator: String,
    /// Debian package that has the emulator.
    pub debian_package: String,
    /// The link to use unless told otherwise.
    pub default_link: String,
    /// Non-volatile storage.
    pub flash: Flash,
    /// Serial ports, by name.
    #[serde(rename = "link")]
    pub links: BTreeMap<String, Link>,
    /// The second stage of the boot, if the board has one.
    pub boot: Option<Boot>,
    args: Vec<String>,
}

/// The flash image of a machine.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct Flash {
    /// Exact size in bytes.
    pub bytes: u64,
    /// The value of an erased byte, which a new image is filled with.
    pub erased: u8,
}

/// The second stage of a board's boot, and where it looks for the image on a new flash.
#[derive(Clone, Debug, Deserialize)]
pub struct Boot {
    /// Binary of the firmware crate; it lies beside the firmware.
    pub bin: String,
    /// Offset of the image in the flash, in bytes.
    pub image_at: u64,
    /// Offset of the manifest in the flash, in bytes.
    pub manifest_at: u64,
}

/// A serial port: arguments for each way to attach it.
#[derive(Clone, Debug, Deserialize)]
pub struct Link {
    socket: Option<Vec<String>>,
    pty: Option<Vec<String>>,
    none: Vec<String>,
}

/// How the host reaches a serial port of the machine.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Attachment {
    /// Unix socket.
    Socket,
    /// Pseudo-terminal.
    Pty,
}

/// Paths that a command line names.
pub(super) struct Paths<'a> {
    pub(super) firmware: &'a Path,
    pub(super) boot: &'a Path,
    pub(super) flash: &'a Path,
    pub(super) socket: &'a Path,
}

impl Machine {
    /// Every board that has a description.
    ///
    /// # Errors
    /// If a description is malformed, which this crate's tests exclude.
    pub fn all() -> Result<Vec<Self>, toml::de::Error> {
        MACHINES.iter().map(|text| toml::from_str(text)).collect()
    }

    /// The description of a board; `None` if there is none.
    ///
    /// # Errors
    /// As [`Machine::all`].
    pub fn of_board(board: &str) -> Result<Option<Self>, toml::de::Error> {
        Ok(Self::all()?.into_iter().find(|machine| machine.board == board))
    }

    /// Arguments of the emulator with `link` attached and the others not; `None` if the machine
    /// has no such link or it cannot be attached so.
    pub(super) fn arguments(
        &self,
        link: &str,
        attachment: Attachment,
        paths: &Paths<'_>,
    ) -> Option<Vec<String>> {
        let chosen = self.links.get(link)?;
        let attached = match attachment {
            Attachment::Socket => chosen.socket.as_ref()?,
            Attachment::Pty => chosen.pty.as_ref()?,
        };
        let links = self.links.iter();
        let links =
            links.flat_map(|(name, other)| if name == link { attached } else { &other.none });
        let arguments = self.args.iter().chain(links);
        Some(arguments.map(|argument| fill_in(argument, paths)).collect())
    }
}

/// Puts paths in place of their names. Within an option, QEMU wants a comma doubled.
fn fill_in(argument: &str, paths: &Paths<'_>) -> String {
    let mut filled = argument.to_owned();
    let places = [
        ("{firmware}", paths.firmware),
        ("{boot}", paths.boot),
        ("{flash}", paths.flash),
        ("{socket}", paths.socket),
    ];
    for (place, path) in places {
        let path = path.to_string_lossy();
        filled = match argument == place {
            true => path.into_owned(),
            false => filled.replace(place, &path.replace(',', ",,")),
        };
        if argument == place {
            break;
        }
    }
    filled
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(link: &str, attachment: Attachment) -> Option<String> {
        let machine = Machine::of_board("qemu_riscv32").unwrap().unwrap();
        let paths = Paths {
            firmware: Path::new("/a,b/fw.elf"),
            boot: Path::new("/a,b/boot.elf"),
            flash: Path::new("/c,d/flash.img"),
            socket: Path::new("/run/link"),
        };
        machine.arguments(link, attachment, &paths).map(|arguments| arguments.join(" "))
    }

    #[test]
    fn descriptions_are_well_formed() {
        let machines = Machine::all().unwrap();
        assert!(machines.len() >= 2, "those of both processors");
        for machine in machines {
            assert!(machine.links.contains_key(&machine.default_link));
            assert!(Machine::of_board(&machine.board).unwrap().is_some());
        }
        assert!(Machine::of_board("toaster").unwrap().is_none());
    }

    #[test]
    fn paths_are_filled_in() {
        let console = arguments("console", Attachment::Socket).unwrap();
        assert!(console.contains("-bios /a,b/fw.elf "), "{console}");
        assert!(console.contains("file=/c,,d/flash.img"), "{console}");
        assert!(console.contains("path=/run/link") && console.contains("-serial none"));
        let uart = arguments("uart", Attachment::Pty).unwrap();
        assert!(uart.contains("pty,id=uart") && !uart.contains("virtconsole"), "{uart}");
        assert_eq!(arguments("console", Attachment::Pty), None);
        assert_eq!(arguments("usb", Attachment::Socket), None);
    }
}
