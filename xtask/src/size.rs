//! `cargo xtask size`: what the image occupies on the device, against its budget.

use serde_json::json;

use crate::{
    args::Args,
    budget::{self, Budget},
    elf::{Elf, Kind, Section},
    failure::Result,
    firmware::{self, Choice, Image},
};

/// The subcommand.
pub(crate) fn main(mut args: Args) -> Result<()> {
    let choice = Choice::parse(&mut args)?;
    let json = args.flag("--json");
    args.finish()?;
    for board in choice.boards {
        // Each set that has a budget, the board's own last: its image keeps the board's name.
        let sets = board.budgets.iter().map(|(set, _)| *set);
        let mut sets: Vec<_> = choice.algorithms.map_or_else(|| sets.collect(), |set| vec![set]);
        sets.sort_by_key(|set| *set == board.algorithms);
        for set in sets {
            check(&firmware::build(board, set, choice.toolchain)?, json)?;
        }
    }
    Ok(())
}

fn check(image: &Image, json: bool) -> Result<()> {
    let sizes = Sizes::of(&Elf::read(&image.elf)?.sections);
    if json {
        println!(
            "{}",
            json!({
                "board": image.board.name,
                "algorithms": image.algorithms.name(),
                "text": sizes.text,
                "rodata": sizes.rodata,
                "data": sizes.data,
                "bss": sizes.bss,
                "stack": sizes.stack,
                "image": sizes.image(),
                "ram": sizes.ram(),
            })
        );
    }
    let budget = Budget::of(image)?;
    budget::check(&[
        budget.row("text", sizes.text)?,
        budget.row("rodata", sizes.rodata)?,
        budget.row("data", sizes.data)?,
        budget.row("bss", sizes.bss)?,
        budget.row("stack", sizes.stack)?,
        budget.row("image", sizes.image())?,
        budget.row("ram", sizes.ram())?,
    ])
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
