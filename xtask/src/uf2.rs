//! UF2 files: images as boot loaders take them over USB, in blocks that each say where they belong.
//!
//! The format is specified in <https://github.com/microsoft/uf2>. Boot loaders of the chips here ask for 256 bytes
//! in each block, at a multiple of 256, and for the family of the chip (RP2040 data sheet, 2.8.4.2; RP2350, 5.5.2).

use std::collections::BTreeMap;

use crate::{
    failure::{Failure, Result},
    firmware::Uf2,
    image::{ERASED, Loaded},
};

/// Bytes of a block.
pub(crate) const BLOCK: usize = 512;
/// Bytes of flash that a block carries.
const PAYLOAD: u32 = 256;
/// Bytes of the sectors that flash is erased in. The boot ROM of the RP2040 may leave out blocks after a sector
/// that a file fills in part (erratum RP2040-E14), so every sector is filled.
const SECTOR: u32 = 4096;

const MAGIC: [u32; 2] = [0x0A32_4655, 0x9E5D_5157];
const MAGIC_END: u32 = 0x0AB1_6F30;
/// The last field of the header is the family.
const FAMILY_PRESENT: u32 = 0x2000;

/// The file that puts an image into the flash of a board.
///
/// # Errors
/// If a part of the image is not in flash.
pub(crate) fn file(image: &Loaded, board: Uf2) -> Result<Vec<u8>> {
    if image.start() < board.flash_start {
        return Err(Failure::new(format!(
            "the image begins at {:#010x}, before the flash of the board at {:#010x}",
            image.start(),
            board.flash_start
        )));
    }
    let mut pages: BTreeMap<u32, Page> = BTreeMap::new();
    for piece in image.pieces() {
        for (address, byte) in (piece.address..=u32::MAX).zip(&piece.bytes) {
            let sector = address - address % SECTOR;
            if !pages.contains_key(&sector) {
                let all = (sector..=sector + (SECTOR - 1)).step_by(PAYLOAD as usize);
                pages.extend(all.map(|page| (page, [ERASED; PAYLOAD as usize])));
            }
            let within = address % PAYLOAD;
            let page = pages.get_mut(&(address - within)).expect("of a sector that is there");
            page[within as usize] = *byte;
        }
    }
    let count = u32::try_from(pages.len()).expect("a flash chip has fewer pages");
    let blocks = pages.iter().zip(0..count);
    let blocks = blocks
        .flat_map(|((address, data), number)| block(*address, data, number, count, board.family));
    Ok(blocks.collect())
}

/// What a block carries.
type Page = [u8; PAYLOAD as usize];

/// A block: number `number` of `count`.
fn block(address: u32, data: &Page, number: u32, count: u32, family: u32) -> [u8; BLOCK] {
    let [first, second] = MAGIC;
    let header = [first, second, FAMILY_PRESENT, address, PAYLOAD, number, count, family];
    let mut block = [0; BLOCK];
    let (head, rest) = block.split_at_mut(32);
    for (field, value) in head.chunks_exact_mut(4).zip(header) {
        field.copy_from_slice(&value.to_le_bytes());
    }
    rest[..data.len()].copy_from_slice(data);
    block[BLOCK - 4..].copy_from_slice(&MAGIC_END.to_le_bytes());
    block
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::Piece;

    const BOARD: Uf2 = Uf2 { family: 0xe48b_ff59, flash_start: 0x1000_0000 };

    fn made(pieces: &[(u32, Vec<u8>)]) -> Result<Vec<u8>> {
        let piece =
            |(address, bytes): &(u32, Vec<u8>)| Piece { address: *address, bytes: bytes.clone() };
        file(&Loaded::of(pieces.iter().map(piece).collect()).unwrap(), BOARD)
    }

    /// Reads a file as a boot loader does: what is in flash afterwards, of `flash` that was there before. Every
    /// rule of the specification that the boot ROMs insist on is asserted.
    fn flashed(file: &[u8], flash: &mut BTreeMap<u32, u8>) {
        assert!(file.len().is_multiple_of(512));
        let count = file.len() / 512;
        let mut next = 0;
        for (number, block) in file.chunks(512).enumerate() {
            let field = |at: usize| u32::from_le_bytes(block[at..at + 4].try_into().unwrap());
            assert_eq!(block[..4], *b"UF2\n");
            assert_eq!((field(4), field(508)), (0x9E5D_5157, 0x0AB1_6F30));
            assert_eq!(field(8), 0x2000, "family, and no other flag");
            let address = field(12);
            assert!(address.is_multiple_of(256) && address >= next);
            assert_eq!(field(16), 256);
            assert_eq!((field(20) as usize, field(24) as usize), (number, count));
            assert_eq!(field(28), BOARD.family);
            assert!(block[32 + 256..508].iter().all(|byte| *byte == 0));
            // The sector is erased at its first block.
            if address.is_multiple_of(4096) {
                flash.extend((address..address + 4096).map(|at| (at, 0xff)));
                next = address;
            }
            assert_eq!(address, next, "sectors are whole");
            next += 256;
            flash.extend((address..).zip(block[32..288].iter().copied()));
        }
    }

    #[test]
    fn a_boot_loader_finds_the_image_in_whole_sectors() {
        let code: Vec<u8> = (0..=250).cycle().take(5000).collect();
        let file = made(&[(0x1000_0000, code.clone()), (0x1000_5020, b"data".to_vec())]).unwrap();
        // Two sectors of code and one of data, and nothing of the two between them.
        assert_eq!(file.len(), 3 * 16 * 512);
        let mut flash: BTreeMap<u32, u8> =
            (0x1000_0000..0x1000_8000).map(|at| (at, 0x77)).collect();
        flashed(&file, &mut flash);
        let read = |from: u32, to: u32| (from..to).map(|at| flash[&at]).collect::<Vec<u8>>();
        assert_eq!(read(0x1000_0000, 0x1000_0000 + 5000), code);
        assert_eq!(read(0x1000_1388, 0x1000_2000), vec![0xff; 0x2000 - 0x1388]);
        assert_eq!(read(0x1000_2000, 0x1000_5000), vec![0x77; 0x3000], "records may be here");
        assert_eq!(read(0x1000_501f, 0x1000_5025), [0xff, b'd', b'a', b't', b'a', 0xff]);
        assert_eq!(read(0x1000_6000, 0x1000_8000), vec![0x77; 0x2000]);
    }

    #[test]
    fn an_image_that_does_not_lie_in_flash_is_refused() {
        let why = made(&[(0x0fff_ff00, vec![1; 512])]).unwrap_err().to_string();
        assert!(
            why.contains("begins at 0x0fffff00, before the flash of the board at 0x10000000"),
            "{why}"
        );
    }
}
