//! Pages of the flash: how bytes are cut into the pages that are programmed.

/// Bytes of a page, which is programmed at a time.
pub const PAGE: u32 = 256;

/// Cuts bytes at the borders of pages: for each page its offset, the place of the bytes in it, and the bytes.
pub(super) fn pages(offset: u32, bytes: &[u8]) -> impl Iterator<Item = (u32, usize, &[u8])> {
    let mut next = offset;
    let mut rest = bytes;
    core::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let place = next % PAGE;
        let (part, others) = rest.split_at_checked((PAGE - place) as usize).unwrap_or((rest, &[]));
        let page = next - place;
        rest = others;
        next = page + PAGE;
        Some((page, place as usize, part))
    })
}

#[cfg(test)]
mod tests {
    use std::vec;
    use std::vec::Vec;

    use super::*;

    #[test]
    fn bytes_are_cut_at_pages_and_none_is_lost() {
        let bytes: Vec<u8> = (0..=255).cycle().take(1000).collect();
        for offset in [0, 16, 240, 255, 256, 4080] {
            for len in [0, 1, 16, 255, 256, 257, 512, 1000] {
                let mut flash = vec![0xAA; 8192];
                for (page, place, part) in pages(offset, &bytes[..len]) {
                    assert_eq!(page % PAGE, 0);
                    assert!(!part.is_empty() && place + part.len() <= PAGE as usize);
                    flash[page as usize + place..][..part.len()].copy_from_slice(part);
                }
                let start = offset as usize;
                assert_eq!(flash[start..start + len], bytes[..len]);
                assert!(flash[..start].iter().chain(&flash[start + len..]).all(|b| *b == 0xAA));
            }
        }
    }

    #[test]
    fn a_record_of_one_unit_is_one_page() {
        let cut: Vec<_> = pages(0x1230, &[7; 16]).collect();
        assert_eq!(cut, [(0x1200, 0x30, &[7; 16][..])]);
    }
}
