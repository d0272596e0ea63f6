//! `cargo xtask panics`: counts the places in the linked image from which the panic handler can be reached.
//!
//! Reads machine code rather than sources: whatever the optimiser proved impossible is gone, and what dependencies
//! panic about is there. The count may not exceed the board's budget.

mod riscv;
mod thumb;

use std::collections::{BTreeMap, BTreeSet};

use object::Architecture;
use serde_json::json;

use crate::{
    args::Args,
    budget::{self, Budget},
    elf::Elf,
    failure::{Failure, Result},
    firmware::{self, Choice, Image},
    term,
};

/// The subcommand.
pub(crate) fn main(mut args: Args) -> Result<()> {
    let choice = Choice::parse(&mut args)?;
    let json = args.flag("--json");
    let all = args.flag("--all");
    args.finish()?;
    firmware::build_all(&choice)?.iter().try_for_each(|image| check(image, json, all))
}

fn check(image: &Image, json: bool, all: bool) -> Result<()> {
    let scan = Scan::of(&Elf::read(&image.elf)?)?;
    if json {
        println!(
            "{}",
            json!({"board": image.board.name, "count": scan.count(), "callers": scan.callers})
        );
    }
    let budget = Budget::of(image)?;
    let row = budget.row("panics", u64::try_from(scan.count()).unwrap_or(u64::MAX))?;
    if all || row.used > row.limit {
        scan.list();
    }
    budget::check(&[row])
}

/// Calls of panicking functions, by caller and callee.
#[derive(Debug, PartialEq, Eq)]
struct Scan {
    callers: BTreeMap<String, BTreeMap<String, usize>>,
}

impl Scan {
    fn of(elf: &Elf) -> Result<Self> {
        let jumps = match elf.architecture {
            Architecture::Riscv32 => riscv::jumps,
            Architecture::Arm => thumb::jumps,
            other => return Err(Failure::new(format!("cannot read {other:?} code"))),
        };
        if elf.functions.is_empty() {
            return Err(Failure::new("the image has no symbols to scan")
                .help("the firmware profile must not strip them"));
        }
        let panics: BTreeMap<_, _> = elf
            .functions
            .iter()
            .filter(|f| panics(&f.name))
            .map(|f| (f.address, &*f.name))
            .collect();
        let mut callers = BTreeMap::<_, BTreeMap<_, _>>::new();
        for caller in elf.functions.iter().filter(|f| !panics.contains_key(&f.address)) {
            // Both are 32-bit machines.
            let address = u32::try_from(caller.address).unwrap_or(u32::MAX);
            let targets = jumps(&caller.code, address).into_iter().map(u64::from);
            for callee in targets.filter_map(|target| panics.get(&target)) {
                let calls = callers.entry(caller.name.clone()).or_default();
                *calls.entry((*callee).to_owned()).or_default() += 1;
            }
        }
        Ok(Self { callers })
    }

    fn count(&self) -> usize {
        self.callers.values().flat_map(BTreeMap::values).sum()
    }

    /// Prints the callers, those with the most panics first.
    fn list(&self) {
        let total = |calls: &BTreeMap<String, usize>| calls.values().sum::<usize>();
        let mut order: Vec<_> = self.callers.iter().collect();
        order.sort_by_key(|(_, calls)| std::cmp::Reverse(total(calls)));
        for (caller, calls) in order {
            term::note(format!("{:>4} {caller}", total(calls)));
            for (callee, count) in calls {
                term::note(format!("     {count:>4} {callee}"));
            }
        }
    }
}

/// True for the functions of the standard library that do nothing but panic.
fn panics(name: &str) -> bool {
    let library = name.starts_with("core::") || name.starts_with("alloc::");
    let last = name.rsplit("::").next().unwrap_or(name);
    let last = last.split('<').next().unwrap_or(last);
    let cold: BTreeSet<_> = ["handle_alloc_error", "handle_error", "capacity_overflow"].into();
    name.starts_with("core::panicking::")
        || library
            && (last.ends_with("fail")
                || last.ends_with("_failed")
                || last.starts_with("panic_")
                || cold.contains(last))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::elf::Function;

    #[test]
    fn panicking_functions_are_known_by_name() {
        for name in [
            "core::panicking::panic_fmt",
            "core::panicking::panic_const::panic_const_div_by_zero",
            "core::option::unwrap_failed",
            "core::slice::index::slice_index_fail",
            "core::slice::copy_from_slice_impl::len_mismatch_fail",
            "core::cell::panic_already_borrowed",
            "alloc::alloc::handle_alloc_error",
        ] {
            assert!(panics(name), "{name}");
        }
        for name in
            ["hsm_core::self_test::fail", "core::fmt::write", "main", "hsm_core::x::panic_y"]
        {
            assert!(!panics(name), "{name}");
        }
    }

    #[test]
    fn calls_are_counted_by_caller() {
        let function = |name: &str, address, code: &[u8]| Function {
            name: name.into(),
            address,
            code: code.to_owned(),
        };
        let jump_100 = [0x6F, 0x00, 0x00, 0x10];
        let elf = Elf {
            architecture: Architecture::Riscv32,
            sections: vec![],
            functions: vec![
                function("a", 0x1000, &jump_100),
                function("b", 0x1004, &jump_100),
                function("core::panicking::panic", 0x1100, &[]),
            ],
        };
        let scan = Scan::of(&elf).unwrap();
        assert_eq!(scan.count(), 1);
        assert_eq!(scan.callers.keys().collect::<Vec<_>>(), ["a"]);
    }
}
