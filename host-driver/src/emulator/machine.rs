//! Machine descriptions: `qemu/*.toml`.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;

/// A machine that runs a board's firmware.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    /// The board.
    pub board: String,
    /// The program.
    pub emulator: String,
    /// The Debian package that has it.
    pub debian_package: String,
    /// Size of the flash image in bytes.
    pub flash_bytes: u64,
    /// What an erased byte reads as.
    pub flash_erased: u8,
    args: Vec<String>,
    links: BTreeMap<String, BTreeMap<String, Vec<String>>>,
}

/// A machine description does not parse.
#[derive(Debug, thiserror::Error)]
#[error("the machine description does not parse: {0}")]
pub struct MachineError(#[from] toml::de::Error);

#[derive(Deserialize)]
struct Description {
    board: String,
    emulator: String,
    debian_package: String,
    args: Vec<String>,
    flash: Flash,
    link: BTreeMap<String, BTreeMap<String, Vec<String>>>,
}

#[derive(Deserialize)]
struct Flash {
    bytes: u64,
    erased: u8,
}

impl Machine {
    /// The `qemu_riscv32` board, described inside this program.
    ///
    /// # Errors
    /// [`MachineError`], which a test rules out.
    pub fn qemu_riscv32() -> Result<Self, MachineError> {
        Self::parse(include_str!("../../../qemu/qemu_riscv32.toml"))
    }

    /// Reads a description.
    ///
    /// # Errors
    /// [`MachineError`].
    pub fn parse(text: &str) -> Result<Self, MachineError> {
        let Description { board, emulator, debian_package, args, flash, link } =
            toml::from_str(text)?;
        let Flash { bytes: flash_bytes, erased: flash_erased } = flash;
        Ok(Self { board, emulator, debian_package, flash_bytes, flash_erased, args, links: link })
    }

    /// The command line: the machine, then each link, `attached` in the way it says and the
    /// others in none.
    #[must_use]
    pub(super) fn arguments(
        &self,
        firmware: &Path,
        flash: &Path,
        socket: &Path,
        attached: (&str, &str),
    ) -> Vec<String> {
        let fill = |argument: &String| {
            argument
                .replace("{firmware}", &quoted(firmware))
                .replace("{flash}", &quoted(flash))
                .replace("{socket}", &quoted(socket))
        };
        let mut arguments: Vec<String> = self.args.iter().map(fill).collect();
        for (name, ways) in &self.links {
            let way = if name == attached.0 { attached.1 } else { "none" };
            arguments.extend(ways.get(way).into_iter().flatten().map(fill));
        }
        arguments
    }
}

/// QEMU splits option values at commas; a doubled one stands for itself.
fn quoted(path: &Path) -> String {
    path.display().to_string().replace(',', ",,")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_described_board_parses_and_fills_in() {
        let machine = Machine::qemu_riscv32().unwrap();
        let arguments = machine.arguments(
            Path::new("/fw.elf"),
            Path::new("/a,b/flash.img"),
            Path::new("/line.sock"),
            ("console", "socket"),
        );
        let line = arguments.join(" ");
        assert!(line.contains("-bios /fw.elf"));
        assert!(line.contains("file=/a,,b/flash.img"));
        assert!(line.contains("path=/line.sock"));
        assert!(line.contains("-serial none"), "{line}");
        assert!(!line.contains('{'), "{line}");
    }
}
