//! The boot record: the present [`State`], which a power cut at any moment leaves at its old or its
//! new value.
//!
//! It is a log of entries of 96 bytes in three sectors, each an erase block:
//!
//! ```text
//! entry   "SRBR" 4 | version u16 = 1 | active u8 | other u8 | trial boots left u8 | zero 3
//!         floor u32 | blocks u32 | generation u32 | index u32 | manifest 32 | CRC-32C of the 60 bytes
//! mark    "settled." 8 | CRC-32C of the entry | its complement | zero 16
//! ```
//!
//! The sector whose first entry has the highest generation counts, and of it the last valid entry.
//! Cells that a cut has left between 0 and 1 may read differently each time, so:
//!
//! * An entry is *settled* once the mark behind it is there, which is programmed after the entry has
//!   been read back. An entry whose mark reads as valid is complete and cannot change any more.
//! * If at mount the newest entry is not settled, or anything else is there that could read as an
//!   entry another time, the state is copied to another sector before anything is decided by it. The
//!   sectors of the newest entry and of the newest settled entry stay until the copy is settled.
//! * After a mount, nothing is appended to a sector that is in use, as its cells may only look
//!   erased: the first entry goes to a sector that was erased for it.
//! * Once an entry is settled in a new sector, the others are erased: no older state comes back.
//!
//! A boot that changes nothing writes nothing.
//!
//! Limits: the record withstands a cut and another one in its repair, if every torn word reads as old
//! or as new at random. With a third cut in a row, each in a mark or a first entry that then reads
//! both ways in turn, it may go back to a former state or be lost; then images decide.

use crc::{CRC_32_ISCSI, Crc, Table};
use embedded_storage::nor_flash::NorFlash;

use crate::bytes::{Reader, Writer};
use crate::layout::{self, FlashError, SECTORS, SlotId, UNIT, erase_size};
use crate::state::{Other, State};

const MAGIC: [u8; 4] = *b"SRBR";
const VERSION: u16 = 1;
const MARK_MAGIC: [u8; 8] = *b"settled.";
const ENTRY_SIZE: u32 = 64;
const ENTRY: usize = ENTRY_SIZE as usize;
/// Bytes of an entry with its mark.
const STRIDE: u32 = 96;
const SIZE: usize = STRIDE as usize;

// Without a table, which would take more flash than all else here; a boot computes a few dozen.
pub(crate) const CRC: Crc<u32, Table<0>> = Crc::<u32, Table<0>>::new(&CRC_32_ISCSI);

/// Where an entry stands; its checksum covers that.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Place {
    generation: u32,
    index: u32,
}

fn encode(state: &State, place: Place) -> [u8; ENTRY] {
    let (other, left, blocks, manifest) = match state.other {
        Other::Empty => (1, 0, 0, [0; 32]),
        Other::Receiving { manifest, blocks } => (2, 0, blocks, manifest),
        Other::Staged => (3, 0, 0, [0; 32]),
        Other::Trial { left } => (4, left, 0, [0; 32]),
        Other::Confirmed => (5, 0, 0, [0; 32]),
        Other::Failed => (6, 0, 0, [0; 32]),
    };
    let mut out = [0; ENTRY];
    let mut at = Writer(&mut out);
    at.put(&MAGIC);
    at.put(&VERSION.to_le_bytes());
    at.put(&[state.active as u8, other, left, 0, 0, 0]);
    at.put_u32(state.floor);
    at.put_u32(blocks);
    at.put_u32(place.generation);
    at.put_u32(place.index);
    at.put(&manifest);
    let crc = out.split_last_chunk::<4>().map_or(0, |(body, _)| CRC.checksum(body));
    if let Some(end) = out.last_chunk_mut() {
        *end = crc.to_le_bytes();
    }
    out
}

/// The state and its place, if these bytes are what [`encode`] writes.
fn decode(bytes: &[u8; ENTRY]) -> Option<(State, Place)> {
    let mut at = Reader(bytes);
    at.take::<6>()?;
    let active = SlotId::from_number(at.u8()?)?;
    let (kind, left) = (at.u8()?, at.u8()?);
    at.take::<3>()?;
    let floor = at.u32()?;
    let blocks = at.u32()?;
    let place = Place { generation: at.u32()?, index: at.u32()? };
    let other = match kind {
        1 => Other::Empty,
        2 => Other::Receiving { manifest: *at.take()?, blocks },
        3 => Other::Staged,
        4 => Other::Trial { left },
        5 => Other::Confirmed,
        6 => Other::Failed,
        _ => return None,
    };
    let state = State { active, other, floor };
    (encode(&state, place) == *bytes).then_some((state, place))
}

fn mark(entry: &[u8; ENTRY]) -> [u8; UNIT] {
    let crc = entry.last_chunk().copied().map_or(0, u32::from_le_bytes);
    let mut out = [0; UNIT];
    let mut at = Writer(&mut out);
    at.put(&MARK_MAGIC);
    at.put_u32(crc);
    at.put_u32(!crc);
    out
}

/// What a sector holds.
#[derive(Clone, Copy)]
struct Found {
    sector: u32,
    state: State,
    place: Place,
    /// Whether the last entry is settled and nothing comes after it.
    settled: bool,
    /// Whether any entry is settled.
    any_settled: bool,
}

/// The boot record. It keeps what it has read: cells are read once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Record {
    start: u32,
    state: Option<State>,
    generation: u32,
    settled: bool,
    /// Sectors that may not be erased before a newer entry is settled.
    kept: [bool; SECTORS as usize],
    /// Sectors that were erased since the mount and not written to.
    clean: [bool; SECTORS as usize],
    /// Where the next entry goes without an erasure: sector and index.
    next: Option<(u32, u32)>,
}

impl Record {
    /// Reads the record; changes nothing. Entries that cannot be read are not valid.
    pub(crate) fn mount<F: NorFlash>(flash: &mut F, start: u32) -> Self {
        let mut sectors = [None::<Found>; SECTORS as usize];
        let mut touched = 0_u32;
        for (sector, found) in (0..SECTORS).zip(&mut sectors) {
            let read = scan(flash, start, sector);
            touched = touched.saturating_add(u32::from(!matches!(read, Scan::Blank)));
            if let Scan::Found(read) = read {
                *found = Some(read);
            }
        }
        let all = || sectors.iter().flatten();
        let newest = all().max_by_key(|found| found.place.generation).copied();
        let others =
            || all().filter(|found| newest.is_none_or(|newest| newest.sector != found.sector));
        let anchor =
            all().filter(|found| found.any_settled).max_by_key(|found| found.place.generation);
        // A torn mark may have been read before, and not now: what is next to the newest could be all.
        let anchor = anchor.or(others().max_by_key(|found| found.place.generation));
        let others_blank = touched == u32::from(newest.is_some());
        let mut kept = [false; SECTORS as usize];
        for found in [newest.as_ref(), anchor].into_iter().flatten() {
            keep(&mut kept, found.sector);
        }
        Self {
            start,
            state: newest.map(|found| found.state),
            generation: newest.map_or(0, |found| found.place.generation),
            settled: others_blank && newest.is_none_or(|found| found.settled),
            kept,
            clean: [false; SECTORS as usize],
            next: None,
        }
    }

    /// The present state; `None` if the record holds no entry.
    pub(crate) fn state(&self) -> Option<State> {
        self.state
    }

    /// Makes sure that the state that was read stays, and that no other appears.
    pub(crate) fn settle<F: NorFlash>(&mut self, flash: &mut F) -> Result<(), FlashError> {
        match self.state {
            _ if self.settled => Ok(()),
            Some(state) => self.rotate(flash, &state),
            None => {
                for sector in 0..SECTORS {
                    self.wipe(flash, sector)?;
                }
                self.settled = true;
                Ok(())
            }
        }
    }

    /// Replaces the state. When it returns, no power cut undoes that.
    ///
    /// # Errors
    /// [`FlashError`]; then the record holds the old or the new state.
    pub(crate) fn write<F: NorFlash>(
        &mut self,
        flash: &mut F,
        state: &State,
    ) -> Result<(), FlashError> {
        let Some((sector, index)) = self.next.take() else { return self.rotate(flash, state) };
        // Until the entry is settled, a repair starts from what is in doubt.
        self.settled = false;
        let place = Place { generation: self.generation, index };
        self.append(flash, sector, place, state)
    }

    /// Writes the state to a sector of its own, then erases the others.
    fn rotate<F: NorFlash>(&mut self, flash: &mut F, state: &State) -> Result<(), FlashError> {
        let generation = self.generation.checked_add(1).ok_or(FlashError)?;
        let mut target = None;
        // All that is not kept, as a torn entry in it could have this generation.
        let kept = self.kept;
        for sector in (0..SECTORS).filter(|sector| !is_in(&kept, *sector)) {
            self.wipe(flash, sector)?;
            target = target.or(Some(sector));
        }
        let target = target.ok_or(FlashError)?;
        set(&mut self.clean, target, false);
        self.append(flash, target, Place { generation, index: 0 }, state)?;
        self.generation = generation;
        self.kept = [false; SECTORS as usize];
        keep(&mut self.kept, target);
        for sector in (0..SECTORS).filter(|sector| *sector != target) {
            self.wipe(flash, sector)?;
        }
        Ok(())
    }

    fn wipe<F: NorFlash>(&mut self, flash: &mut F, sector: u32) -> Result<(), FlashError> {
        if !is_in(&self.clean, sector) {
            let at = address::<F>(self.start, sector, 0);
            layout::erase(flash, at, at.saturating_add(erase_size::<F>()))?;
            set(&mut self.clean, sector, true);
        }
        Ok(())
    }

    fn append<F: NorFlash>(
        &mut self,
        flash: &mut F,
        sector: u32,
        place: Place,
        state: &State,
    ) -> Result<(), FlashError> {
        let at = address::<F>(self.start, sector, place.index);
        let entry = encode(state, place);
        layout::program(flash, at, &entry)?;
        self.state = Some(*state);
        layout::program(flash, at.saturating_add(ENTRY_SIZE), &mark(&entry))?;
        self.settled = true;
        let index = place.index.saturating_add(1);
        self.next = (index < entries::<F>()).then_some((sector, index));
        Ok(())
    }
}

fn keep(sectors: &mut [bool; SECTORS as usize], sector: u32) {
    set(sectors, sector, true);
}

fn set(sectors: &mut [bool; SECTORS as usize], sector: u32, value: bool) {
    if let Some(at) = sectors.get_mut(sector as usize) {
        *at = value;
    }
}

fn is_in(sectors: &[bool; SECTORS as usize], sector: u32) -> bool {
    sectors.get(sector as usize).copied().unwrap_or_default()
}

/// Entries in a sector.
fn entries<F: NorFlash>() -> u32 {
    erase_size::<F>().checked_div(STRIDE).unwrap_or_default()
}

fn address<F: NorFlash>(start: u32, sector: u32, index: u32) -> u32 {
    let sector = sector.saturating_mul(erase_size::<F>());
    start.saturating_add(sector).saturating_add(index.saturating_mul(STRIDE))
}

/// What [`scan`] has read.
enum Scan {
    /// No entry, and where the first one would be, flash is erased.
    Blank,
    /// No entry, but something that may read as one another time.
    Torn,
    /// The last valid entry.
    Found(Found),
}

/// Reads a sector up to its last valid entry.
fn scan<F: NorFlash>(flash: &mut F, start: u32, sector: u32) -> Scan {
    let mut found: Option<Found> = None;
    for index in 0..entries::<F>() {
        let mut bytes = [0; SIZE];
        // Flash with error correction may be unable to read a torn word.
        let readable = layout::read(flash, address::<F>(start, sector, index), &mut bytes).is_ok();
        let blank = readable && layout::is_blank(&bytes);
        let decoded = bytes.split_first_chunk::<ENTRY>().and_then(|(entry, seen)| {
            let (state, place) = decode(entry).filter(|_| readable)?;
            Some((state, place, seen == mark(entry)))
        });
        let generation = found.map(|found| found.place.generation);
        match decoded {
            Some((state, place, settled))
                if place.index == index && generation.is_none_or(|of| of == place.generation) =>
            {
                let any_settled = settled || found.is_some_and(|found| found.any_settled);
                found = Some(Found { sector, state, place, settled, any_settled });
            }
            _ => {
                let Some(mut found) = found else {
                    return if blank { Scan::Blank } else { Scan::Torn };
                };
                found.settled &= blank;
                return Scan::Found(found);
            }
        }
    }
    found.map_or(Scan::Blank, Scan::Found)
}

#[cfg(test)]
mod moody;

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::*;

    const PLACE: Place = Place { generation: 0x0403_0201, index: 5 };

    fn states() -> Vec<State> {
        let manifest = [0x5A; 32];
        let others = [
            Other::Empty,
            Other::Receiving { manifest, blocks: 700 },
            Other::Staged,
            Other::Trial { left: 2 },
            Other::Confirmed,
            Other::Failed,
        ];
        let slots = [SlotId::A, SlotId::B];
        let all = others.into_iter().flat_map(|other| slots.map(|slot| (slot, other)));
        all.map(|(active, other)| State { active, other, floor: 9 }).collect()
    }

    /// Second stages in the field read this layout: add a version, never edit it.
    #[test]
    fn golden_bytes() {
        let other = Other::Receiving { manifest: [7; 32], blocks: 3 };
        let bytes = encode(&State { active: SlotId::B, other, floor: 9 }, PLACE);
        assert_eq!(bytes[..12], *b"SRBR\x01\0\x02\x02\0\0\0\0");
        assert_eq!(bytes[12..28], [9, 0, 0, 0, 3, 0, 0, 0, 1, 2, 3, 4, 5, 0, 0, 0]);
        assert_eq!(bytes[28..60], [7; 32]);
        assert_eq!(bytes[60..], CRC.checksum(&bytes[..60]).to_le_bytes());

        let mark = mark(&bytes);
        assert_eq!(mark[..8], *b"settled.");
        assert_eq!(mark[8..12], bytes[60..]);
        assert!(mark[8..12].iter().zip(&mark[12..16]).all(|(a, b)| *a == !*b));
        assert_eq!(mark[16..], [0; 16]);
    }

    #[test]
    fn crc_is_the_published_one() {
        // RFC 3720 appendix B.4.
        assert_eq!(CRC.checksum(&[0; 32]), 0x8A91_36AA);
    }

    #[test]
    fn what_is_written_is_read_and_any_flipped_bit_voids_it() {
        for state in states() {
            let bytes = encode(&state, PLACE);
            assert_eq!(decode(&bytes), Some((state, PLACE)));
            for bit in 0..bytes.len() * 8 {
                let mut bad = bytes;
                bad[bit / 8] ^= 1 << (bit % 8);
                assert_eq!(decode(&bad), None, "{state:?}, bit {bit}");
            }
        }
    }
}
