//! The integrity value of a firmware image, in its last 32 bytes: HMAC-SHA-256 over the SHA-256 of what is before it.
//!
//! The device computes it at power-up and does not run without (`hsm-core/src/self_test.rs`). The key is public: this
//! finds damage; that nobody changed the image on purpose is the loader's business.

use std::{fs, ops::Range, path::Path};

use hmac::{Hmac, KeyInit as _, Mac as _};
use object::{Endianness, Object as _, ObjectSymbol as _, elf::PT_LOAD, read::elf::ElfFile32};
use sha2::{Digest as _, Sha256};

use crate::failure::{Doing, Failure, Result};

const KEY: &[u8] = b"strongroom-image-integrity-v1";
const SIZE: usize = 32;

/// Puts the integrity value into a linked image, between its symbols `__integrity` and `__image_end`. Returns
/// the image as it lies in flash.
pub(crate) fn seal(path: &Path) -> Result<Vec<u8>> {
    let mut elf = fs::read(path).doing(format_args!("read {}", path.display()))?;
    let parts = locate(&elf)
        .map_err(|why| Failure::new(format!("{} cannot be sealed: {why}", path.display())))?;
    let mut image = parts.iter().flat_map(|part| &elf[part.clone()]).copied().collect::<Vec<u8>>();
    let (covered, value) = image.split_last_chunk_mut::<SIZE>().expect("located with room for it");
    let mac = Hmac::<Sha256>::new_from_slice(KEY)
        .expect("a key of any length")
        .chain_update(Sha256::digest(covered));
    let mac: [u8; SIZE] = mac.finalize().into_bytes().into();
    if *value != mac {
        *value = mac;
        let end = parts.last().expect("located").end;
        elf[end - SIZE..end].copy_from_slice(&mac);
        fs::write(path, elf).doing(format_args!("write {}", path.display()))?;
    }
    Ok(image)
}

/// Where in the file the parts of the image are, in the order of their load addresses; they follow one another
/// there. The integrity value is the end of the last one.
fn locate(elf: &[u8]) -> std::result::Result<Vec<Range<usize>>, String> {
    let file = ElfFile32::<Endianness>::parse(elf).map_err(|error| error.to_string())?;
    let address = |name| {
        let symbol = file.symbols().find(|symbol| symbol.name() == Ok(name));
        symbol.map(|symbol| symbol.address()).ok_or(format!("no symbol {name}"))
    };
    let (start, value, end) =
        (address("__image_start")?, address("__integrity")?, address("__image_end")?);
    if start > value || end.checked_sub(value) != Some(SIZE as u64) {
        return Err(format!("__integrity is not the last {SIZE} bytes of the image"));
    }
    let endian = file.endian();
    let mut parts: Vec<(u64, Range<usize>)> = Vec::new();
    for header in file.elf_program_headers() {
        let (offset, size) = (header.p_offset.get(endian), header.p_filesz.get(endian));
        let at = u64::from(header.p_paddr.get(endian));
        if header.p_type.get(endian) == PT_LOAD && size > 0 && (start..end).contains(&at) {
            let range = offset as usize..offset as usize + size as usize;
            parts.push((at, range));
        }
    }
    parts.sort_by_key(|(at, _)| *at);
    let mut next = start;
    for (at, range) in &parts {
        if *at != next || range.end > elf.len() {
            return Err(format!("nothing is loaded to {next:#x}"));
        }
        next += range.len() as u64;
    }
    match next == end {
        true => Ok(parts.into_iter().map(|(_, range)| range).collect()),
        false => Err(format!("the image ends at {next:#x}, not at {end:#x}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_an_image_is_refused() {
        assert!(locate(b"no ELF").is_err());
        let program = fs::read(std::env::current_exe().unwrap()).unwrap();
        assert!(locate(&program).is_err(), "a 64-bit program is not firmware");
    }
}
