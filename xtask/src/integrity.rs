//! The integrity value of a firmware image: HMAC-SHA-256 over the image as loaded, in its last 32 bytes.
//!
//! The device computes it at power-up and does not run without (`hsm-core/src/self_test.rs`). The key is public: this
//! finds damage; that nobody changed the image on purpose is the loader's business.

use std::{fs, ops::Range, path::Path};

use hmac::{Hmac, KeyInit as _, Mac as _};
use object::{Object, ObjectSegment, ObjectSymbol};
use sha2::Sha256;

use crate::failure::{Doing, Failure, Result};

const KEY: &[u8] = b"strongroom-image-integrity-v1";
const SIZE: usize = 32;

/// Puts the integrity value into a linked image, between its symbols `__integrity` and `__image_end`.
pub(crate) fn seal(path: &Path) -> Result<()> {
    let mut bytes = fs::read(path).doing(format_args!("read {}", path.display()))?;
    let image = locate(&bytes)
        .map_err(|why| Failure::new(format!("{} cannot be sealed: {why}", path.display())))?;
    let (covered, value) =
        bytes[image].split_last_chunk_mut::<SIZE>().expect("located with room for it");
    let mac =
        Hmac::<Sha256>::new_from_slice(KEY).expect("a key of any length").chain_update(covered);
    let mac: [u8; SIZE] = mac.finalize().into_bytes().into();
    if *value == mac {
        return Ok(()); // cargo had nothing to link
    }
    *value = mac;
    fs::write(path, bytes).doing(format_args!("write {}", path.display()))
}

/// Where in the file the image is, integrity value included.
fn locate(elf: &[u8]) -> std::result::Result<Range<usize>, String> {
    let file = object::File::parse(elf).map_err(|error| error.to_string())?;
    let address = |name| {
        let symbol = file.symbols().find(|symbol| symbol.name() == Ok(name));
        symbol.map(|symbol| symbol.address()).ok_or(format!("no symbol {name}"))
    };
    let (start, value, end) =
        (address("__image_start")?, address("__integrity")?, address("__image_end")?);
    if start > value || end.checked_sub(value) != Some(SIZE as u64) {
        return Err(format!("__integrity is not the last {SIZE} bytes of the image"));
    }
    let segment = file
        .segments()
        .find(|segment| {
            segment.address() <= start && end - segment.address() <= segment.file_range().1
        })
        .ok_or("the image is not in one segment")?;
    let offset = segment.file_range().0 + (start - segment.address());
    let range =
        usize::try_from(offset).and_then(|from| Ok(from..from + usize::try_from(end - start)?));
    range.ok().filter(|range| range.end <= elf.len()).ok_or("the file is cut short".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_an_image_is_refused() {
        assert!(locate(b"no ELF").is_err());
        let program = fs::read(std::env::current_exe().unwrap()).unwrap();
        assert_eq!(locate(&program), Err("no symbol __image_start".into()));
    }
}
