//! The linked firmware, as far as the checks look into it.

use std::{fs, ops::Range, path::Path};

use object::{
    Architecture, Object, ObjectSection, ObjectSymbol, SectionFlags, SectionKind, SymbolKind, elf,
};

use crate::failure::{Doing, Failure, Result};

/// What the checks need of an ELF image.
pub(crate) struct Elf {
    pub(crate) architecture: Architecture,
    pub(crate) sections: Vec<Section>,
    /// In ascending order of address.
    pub(crate) functions: Vec<Function>,
}

/// A section that occupies memory on the device.
pub(crate) struct Section {
    pub(crate) name: String,
    /// In bytes.
    pub(crate) size: u64,
    pub(crate) kind: Kind,
}

/// What a section holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Code,
    Constants,
    /// Variables with initial values.
    Data,
    /// Memory without contents in the image: zeroed variables, stacks.
    Zeroed,
}

/// A function and its machine code.
pub(crate) struct Function {
    /// Demangled, without the hash.
    pub(crate) name: String,
    pub(crate) address: u64,
    /// Data between instructions is blanked where the image tells it apart.
    pub(crate) code: Vec<u8>,
}

impl Elf {
    /// Reads the file.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let bytes = fs::read(path).doing(format_args!("read {}", path.display()))?;
        Self::parse(&bytes)
            .map_err(|e| Failure::new(format!("{} is not a usable ELF: {e}", path.display())))
    }

    fn parse(bytes: &[u8]) -> object::Result<Self> {
        let file = object::File::parse(bytes)?;
        let sections = file.sections().filter_map(section).collect();
        let data = data_in_code(&file);
        let mut functions = file
            .symbols()
            .filter(|symbol| symbol.kind() == SymbolKind::Text && symbol.size() > 0)
            .map(|symbol| function(&file, &symbol, &data))
            .collect::<object::Result<Vec<_>>>()?;
        functions.sort_by(|a, b| (a.address, &a.name).cmp(&(b.address, &b.name)));
        // Identical functions that were folded share an address.
        functions.dedup_by_key(|function| function.address);
        Ok(Self { architecture: file.architecture(), sections, functions })
    }
}

fn section<'a>(section: object::Section<'a, '_>) -> Option<Section> {
    let SectionFlags::Elf { sh_flags } = section.flags() else { return None };
    let flag = |flag: u32| sh_flags & u64::from(flag) != 0;
    if !flag(elf::SHF_ALLOC) || section.size() == 0 {
        return None;
    }
    let zeroed =
        matches!(section.kind(), SectionKind::UninitializedData) || section.file_range().is_none();
    let kind = match () {
        () if zeroed => Kind::Zeroed,
        () if flag(elf::SHF_EXECINSTR) => Kind::Code,
        () if flag(elf::SHF_WRITE) => Kind::Data,
        () => Kind::Constants,
    };
    Some(Section { name: section.name().ok()?.to_owned(), size: section.size(), kind })
}

fn function<'a>(
    file: &object::File<'a>,
    symbol: &object::Symbol<'a, '_>,
    data: &[Range<u64>],
) -> object::Result<Function> {
    let address = match file.architecture() {
        Architecture::Arm => symbol.address() & !1, // the lowest bit says that it is Thumb code
        _ => symbol.address(),
    };
    let code = match symbol.section_index() {
        Some(index) => file.section_by_index(index)?.data_range(address, symbol.size())?,
        None => None,
    };
    let mut code = code.unwrap_or_default().to_owned();
    for (at, byte) in (address..).zip(&mut code) {
        let before = data.partition_point(|range| range.end <= at);
        if data.get(before).is_some_and(|range| range.contains(&at)) {
            *byte = 0;
        }
    }
    let name = format!("{:#}", rustc_demangle::demangle(symbol.name()?));
    Ok(Function { name, address, code })
}

/// Jump tables and constants between instructions, by mapping symbols: `$d` before data, `$t` before Thumb and `$x`
/// before RISC-V instructions (ELF for the Arm architecture, 5.5.5; RISC-V ELF psABI, "Mapping symbols").
fn data_in_code(file: &object::File<'_>) -> Vec<Range<u64>> {
    let mut marks: Vec<_> = file
        .symbols()
        .filter_map(|symbol| match symbol.name().ok()?.get(..2)? {
            "$d" => Some((symbol.address(), true)),
            "$t" | "$x" => Some((symbol.address(), false)),
            _ => None,
        })
        .collect();
    marks.sort_unstable();
    let ends = marks.iter().skip(1).map(|(end, _)| *end);
    let data = marks.iter().zip(ends).filter(|((_, data), _)| *data);
    data.map(|((start, _), end)| *start..end).filter(|range| !range.is_empty()).collect()
}
/// The newest version of the C library that any of these programs needs.
pub(crate) fn newest_glibc(programs: &[&Path]) -> Result<String> {
    let mut newest = None;
    for program in programs {
        let bytes = fs::read(program).doing(format_args!("read {}", program.display()))?;
        let names = object::File::parse(&*bytes)
            .and_then(|file| {
                file.section_by_name(".dynstr")
                    .map_or(Ok(&[][..]), |s| s.data())
                    .map(<[u8]>::to_vec)
            })
            .map_err(|e| Failure::new(format!("{} is not a usable ELF: {e}", program.display())))?;
        newest = newest.max(glibc(&names));
    }
    match newest {
        Some((major, minor)) => Ok(format!("{major}.{minor}")),
        None => Err(Failure::new("the programs do not say which C library they need")),
    }
}

/// The newest of the names like `GLIBC_2.34` in a table of strings.
fn glibc(names: &[u8]) -> Option<(u32, u32)> {
    let names = names.split(|byte| *byte == 0).filter_map(|name| str::from_utf8(name).ok());
    let version = |name: &str| {
        let mut numbers = name.strip_prefix("GLIBC_")?.split('.').map(str::parse);
        Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
    };
    names.filter_map(version).max()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_c_library_counts() {
        let names = b"\0printf\0GLIBC_2.9\0GLIBC_2.34\0GLIBC_2.2.5\0GLIBC_PRIVATE\0";
        assert_eq!(glibc(names), Some((2, 34)));
        assert_eq!(glibc(b"\0printf\0"), None);
    }
}
