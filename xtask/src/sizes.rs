//! `cargo xtask sizes`: what images occupy on the device, against their budgets.

use std::{fs::OpenOptions, io::Write, path::PathBuf};

use serde_json::{Value, json};

use crate::{
    args::Args,
    budget::{self, Budget},
    elf::{Elf, Kind, Section},
    failure::{Doing, Result},
    firmware::{self, Choice, Image},
    term,
};

/// The subcommand.
pub(crate) fn main(mut args: Args) -> Result<()> {
    let choice = Choice::parse(&mut args)?;
    let json = args.flag("--json");
    let record = args.value("--record")?.map(PathBuf::from);
    args.finish()?;
    let mut fault = Ok(());
    for image in firmware::build_all(&choice)? {
        let sizes = Sizes::of(&Elf::read(&image.elf)?.sections);
        let row = sizes.to_json(&image);
        if json {
            println!("{row}");
        }
        if let Some(history) = &record {
            let file = OpenOptions::new().create(true).append(true).open(history);
            file.and_then(|mut file| writeln!(file, "{row}"))
                .doing(format_args!("write {}", history.display()))?;
        }
        term::note(format!("{}, algorithms: {}", image.board.name, image.algorithms.name()));
        // All are shown, also if one is too large.
        fault = fault.and(sizes.check(&image));
    }
    fault
}

/// Bytes by purpose.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Sizes {
    pub(crate) text: u64,
    pub(crate) rodata: u64,
    pub(crate) data: u64,
    pub(crate) bss: u64,
    /// What the memory map sets aside, not what is used.
    pub(crate) stack: u64,
}

impl Sizes {
    /// Adds up the sections.
    pub(crate) fn of(sections: &[Section]) -> Self {
        let mut sizes = Self::default();
        for section in sections {
            if section.name.starts_with(".guard") {
                continue; // addresses that nothing may use
            }
            let sum = match section.kind {
                Kind::Code => &mut sizes.text,
                Kind::Constants => &mut sizes.rodata,
                Kind::Data => &mut sizes.data,
                Kind::Zeroed if section.name.starts_with(".stack") => &mut sizes.stack,
                Kind::Zeroed => &mut sizes.bss,
            };
            *sum += section.size;
        }
        sizes
    }

    fn to_json(&self, image: &Image) -> Value {
        json!({
            "board": image.board.name,
            "algorithms": image.algorithms.name(),
            "version": env!("CARGO_PKG_VERSION"),
            "text": self.text,
            "rodata": self.rodata,
            "data": self.data,
            "bss": self.bss,
            "stack": self.stack,
            "image": self.image(),
            "ram": self.ram(),
        })
    }

    fn check(&self, image: &Image) -> Result<()> {
        let budget = Budget::of(image)?;
        budget::check(&[
            budget.row("text", self.text)?,
            budget.row("rodata", self.rodata)?,
            budget.row("data", self.data)?,
            budget.row("bss", self.bss)?,
            budget.row("stack", self.stack)?,
            budget.row("image", self.image())?,
            budget.row("ram", self.ram())?,
        ])
    }

    /// What is stored in flash.
    pub(crate) fn image(&self) -> u64 {
        self.text + self.rodata + self.data
    }

    /// What must be writable.
    pub(crate) fn ram(&self) -> u64 {
        self.data + self.bss + self.stack
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_add_up_by_purpose() {
        let section = |name: &str, size, kind| Section { name: name.into(), size, kind };
        let sizes = Sizes::of(&[
            section(".text", 1, Kind::Code),
            section(".text.fast", 2, Kind::Code),
            section(".rodata", 4, Kind::Constants),
            section(".data", 8, Kind::Data),
            section(".bss", 16, Kind::Zeroed),
            section(".stack", 32, Kind::Zeroed),
            section(".guard", 64, Kind::Zeroed),
        ]);
        assert_eq!(sizes, Sizes { text: 3, rodata: 4, data: 8, bss: 16, stack: 32 });
        assert_eq!((sizes.image(), sizes.ram()), (15, 56));
    }
}
