//! What a linked image puts into memory, by the address at which it is stored: the contents of its raw binary
//! and of its UF2 file.

use std::{fs, path::Path};

use object::{
    Endianness,
    elf::{FileHeader32, PT_LOAD},
    read::elf::{FileHeader as _, ProgramHeader as _},
};

use crate::failure::{Doing, Failure, Result};

/// An erased byte of NOR flash, which gaps are filled with.
pub(crate) const ERASED: u8 = 0xff;
/// Most bytes between the first and the last: the window in which the RP2040 (data sheet, 2.6.3) and the
/// RP2350 (4.4) see a flash chip. A longer image has a part that is not in flash.
const WINDOW: usize = 16 << 20;

/// Contents of memory: pieces in ascending order, none of which overlaps another.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Loaded(Vec<Piece>);

/// Bytes from an address on.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    pub(crate) address: u32,
    pub(crate) bytes: Vec<u8>,
}

impl Piece {
    /// The address behind the last byte.
    fn end(&self) -> u64 {
        u64::from(self.address) + self.bytes.len() as u64
    }
}

impl Loaded {
    /// Reads an ELF file.
    pub(crate) fn read(elf: &Path) -> Result<Self> {
        let bytes = fs::read(elf).doing(format_args!("read {}", elf.display()))?;
        Self::parse(&bytes)
            .map_err(|why| Failure::new(format!("{} cannot be loaded: {why}", elf.display())))
    }

    fn parse(elf: &[u8]) -> std::result::Result<Self, String> {
        let text = |error: object::Error| error.to_string();
        let header = FileHeader32::<Endianness>::parse(elf).map_err(text)?;
        let endian = header.endian().map_err(text)?;
        let mut pieces = Vec::new();
        for segment in header.program_headers(endian, elf).map_err(text)? {
            let bytes = segment.data(endian, elf).map_err(|()| "a segment is cut short")?;
            if segment.p_type(endian) == PT_LOAD && !bytes.is_empty() {
                pieces.push(Piece { address: segment.p_paddr(endian), bytes: bytes.to_vec() });
            }
        }
        Self::of(pieces)
    }

    /// Sorts the pieces, and refuses those that no flash can hold together.
    pub(crate) fn of(mut pieces: Vec<Piece>) -> std::result::Result<Self, String> {
        pieces.sort_by_key(|piece| piece.address);
        let (Some(first), Some(last)) = (pieces.first(), pieces.last()) else {
            return Err("it has nothing to load".into());
        };
        let span = last.end() - u64::from(first.address);
        if span > WINDOW as u64 {
            return Err(format!(
                "it reaches from {:#010x} to {:#x}, more than a flash chip",
                first.address,
                last.end()
            ));
        }
        match pieces.windows(2).find(|pair| pair[0].end() > u64::from(pair[1].address)) {
            Some(pair) => Err(format!("its segments overlap at {:#010x}", pair[1].address)),
            None => Ok(Self(pieces)),
        }
    }

    pub(crate) fn pieces(&self) -> &[Piece] {
        &self.0
    }

    /// The address of the first byte.
    pub(crate) fn start(&self) -> u32 {
        self.0[0].address
    }

    /// All of it from the first byte on, as flash holds it.
    pub(crate) fn binary(&self) -> Vec<u8> {
        let mut all = Vec::new();
        for piece in &self.0 {
            // No piece begins before the first one, nor beyond the window.
            all.resize((piece.address - self.start()) as usize, ERASED);
            all.extend_from_slice(&piece.bytes);
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(address: u32, bytes: &[u8]) -> Piece {
        Piece { address, bytes: bytes.to_vec() }
    }

    /// An ELF file for a 32-bit little-endian machine with these segments: type, address, bytes.
    pub(crate) fn elf(segments: &[(u32, u32, &[u8])]) -> Vec<u8> {
        let half = |value: u16| value.to_le_bytes().to_vec();
        let word = |value: u32| value.to_le_bytes().to_vec();
        let count = u32::try_from(segments.len()).unwrap();
        let mut file = b"\x7fELF\x01\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
        // Type, machine (Arm); version, entry, headers, sections, flags; sizes and counts.
        file.extend([half(2), half(40), word(1), word(0), word(52), word(0), word(0)].concat());
        let sizes = [52, 32, u16::try_from(count).unwrap(), 40, 0, 0];
        file.extend(sizes.map(half).concat());
        let mut offset = 52 + 32 * count;
        for (kind, address, bytes) in segments {
            let size = u32::try_from(bytes.len()).unwrap();
            // The address while it runs differs from that where it is stored.
            let fields = [*kind, offset, 0x2000_0000, *address, size, size + 64, 4, 4];
            file.extend(fields.map(word).concat());
            offset += size;
        }
        segments.iter().for_each(|(.., bytes)| file.extend_from_slice(bytes));
        file
    }

    #[test]
    fn segments_lie_where_they_are_stored() {
        let file = elf(&[
            (PT_LOAD, 0x1000_0008, b"data"),
            (PT_LOAD, 0x1000_0000, b"code"),
            (PT_LOAD, 0x2000_0000, b""),
            (6, 0x7000_0000, b"no memory"),
        ]);
        let loaded = Loaded::parse(&file).unwrap();
        assert_eq!(loaded.pieces(), [piece(0x1000_0000, b"code"), piece(0x1000_0008, b"data")]);
        assert_eq!(loaded.start(), 0x1000_0000);
        assert_eq!(loaded.binary(), b"code\xff\xff\xff\xffdata");
    }

    #[test]
    fn what_no_flash_holds_is_refused() {
        let why = |pieces| Loaded::of(pieces).unwrap_err();
        assert_eq!(why(vec![]), "it has nothing to load");
        let far = vec![piece(0x1000_0000, b"code"), piece(0x2000_0000, b"variables")];
        assert_eq!(why(far), "it reaches from 0x10000000 to 0x20000009, more than a flash chip");
        let twice = vec![piece(4, b"one"), piece(0, b"other")];
        assert_eq!(why(twice), "its segments overlap at 0x00000004");
        let mut cut = elf(&[(PT_LOAD, 0, b"code")]);
        cut.pop();
        assert_eq!(Loaded::parse(&cut), Err("a segment is cut short".into()));
        assert!(Loaded::parse(b"no ELF").is_err());
    }
}
