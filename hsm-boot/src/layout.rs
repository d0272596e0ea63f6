//! Where slots and boot record are on flash, and access to them. Everything programmed is read back.

use embedded_storage::nor_flash::{NorFlash, ReadNorFlash};

/// Largest write size of a flash that can be used, in bytes; everything is programmed in multiples.
pub(crate) const UNIT: usize = 32;
/// Bytes of an image that are programmed or hashed at a time.
pub(crate) const PAGE: u32 = 256;
/// The same, as the length of a buffer.
pub(crate) const PAGE_LEN: usize = PAGE as usize;
/// Sectors of the boot record. With two, a cut during the repair after a cut could destroy both.
pub(crate) const SECTORS: u32 = 3;

const ERASED: u8 = 0xFF;

/// One of the two slots.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum SlotId {
    /// The first one.
    A = 1,
    /// The second one.
    B = 2,
}

impl SlotId {
    /// Returns the other slot.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }

    pub(crate) fn from_number(number: u8) -> Option<Self> {
        [Self::A, Self::B].into_iter().find(|slot| *slot as u8 == number)
    }
}

/// A part of the flash that holds an image, at its beginning, and its manifest, in the last erase
/// block (in the last few if erase blocks are smaller than a manifest).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Slot {
    /// Offset in the flash, in bytes; a multiple of the erase size.
    pub start: u32,
    /// Length in bytes; a multiple of the erase size.
    pub length: u32,
    /// The address from which an image in this slot runs: that of the slot if it runs in place.
    pub address: u32,
}

/// Where everything is on the flash of a board.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Layout {
    /// Slot A.
    pub a: Slot,
    /// Slot B.
    pub b: Slot,
    /// Offset of the boot record, which takes three erase blocks of at least 96 bytes each.
    pub record: u32,
}

/// The boot record and the slots do not fit on the flash, overlap, or are not made of whole erase
/// blocks; or the flash has a read or write size that does not divide 32 bytes, or an erase size
/// that is not a multiple of 256 bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LayoutError;

/// Flash could not be read, programmed or erased, or does not hold what was programmed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FlashError;

impl Layout {
    /// Returns a slot.
    #[must_use]
    pub const fn slot(&self, id: SlotId) -> Slot {
        match id {
            SlotId::A => self.a,
            SlotId::B => self.b,
        }
    }

    /// Checks that everything has its place on this flash.
    ///
    /// # Errors
    /// [`LayoutError`].
    pub fn check<F: NorFlash>(&self, flash: &F) -> Result<(), LayoutError> {
        let sizes = UNIT.is_multiple_of(F::WRITE_SIZE)
            && UNIT.is_multiple_of(F::READ_SIZE)
            && F::ERASE_SIZE.is_multiple_of(PAGE_LEN)
            && F::ERASE_SIZE > 0;
        let parts = [
            (self.a.start, u64::from(self.a.length)),
            (self.b.start, u64::from(self.b.length)),
            (self.record, u64::from(SECTORS).saturating_mul(F::ERASE_SIZE as u64)),
        ]
        .map(|(start, length)| (u64::from(start), u64::from(start).saturating_add(length)));
        let capacity = (flash.capacity() as u64).min(u64::from(u32::MAX));
        let placed = parts.iter().all(|(start, end)| {
            let whole = |at: &u64| at.is_multiple_of(F::ERASE_SIZE as u64);
            whole(start) && whole(end) && *end <= capacity
        });
        let [a, b, record] = parts;
        let apart =
            [(a, b), (a, record), (b, record)].iter().all(|(x, y)| x.1 <= y.0 || y.1 <= x.0);
        let roomy = [self.a, self.b].iter().all(|slot| slot.room::<F>() > 0);
        if sizes && placed && apart && roomy { Ok(()) } else { Err(LayoutError) }
    }
}

impl Slot {
    /// Returns the length of the longest image that fits, in bytes.
    #[must_use]
    pub fn room<F: NorFlash>(&self) -> u32 {
        self.length.saturating_sub(manifest_area::<F>())
    }

    /// Offset of the manifest in the flash.
    pub(crate) fn manifest<F: NorFlash>(&self) -> u32 {
        self.start.saturating_add(self.room::<F>())
    }

    /// Offset of the end in the flash.
    pub(crate) fn end(&self) -> u32 {
        self.start.saturating_add(self.length)
    }
}

/// Bytes at the end of a slot that are kept for the manifest.
fn manifest_area<F: NorFlash>() -> u32 {
    let size = crate::manifest::MAX_SIZE.checked_next_multiple_of(F::ERASE_SIZE);
    size.and_then(|size| u32::try_from(size).ok()).unwrap_or(u32::MAX)
}

/// The erase size in bytes.
pub(crate) fn erase_size<F: NorFlash>() -> u32 {
    u32::try_from(F::ERASE_SIZE).unwrap_or(u32::MAX)
}

/// Reads; offset and length are multiples of [`UNIT`].
pub(crate) fn read<F: ReadNorFlash>(
    flash: &mut F,
    at: u32,
    out: &mut [u8],
) -> Result<(), FlashError> {
    flash.read(at, out).map_err(|_| FlashError)
}

/// Programs at most [`PAGE`] bytes, a multiple of [`UNIT`], and reads them back.
pub(crate) fn program<F: NorFlash>(flash: &mut F, at: u32, bytes: &[u8]) -> Result<(), FlashError> {
    flash.write(at, bytes).map_err(|_| FlashError)?;
    let mut seen = [0; PAGE_LEN];
    let seen = seen.get_mut(..bytes.len()).ok_or(FlashError)?;
    read(flash, at, seen)?;
    if seen == bytes { Ok(()) } else { Err(FlashError) }
}

/// Erases whole blocks and checks that they are blank.
pub(crate) fn erase<F: NorFlash>(flash: &mut F, from: u32, to: u32) -> Result<(), FlashError> {
    flash.erase(from, to).map_err(|_| FlashError)?;
    let mut seen = [0; PAGE_LEN];
    for at in (from..to).step_by(PAGE_LEN) {
        read(flash, at, &mut seen)?;
        if !is_blank(&seen) {
            return Err(FlashError);
        }
    }
    Ok(())
}

/// Whether the bytes are those of erased flash.
pub(crate) fn is_blank(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == ERASED)
}

/// Pads with the bytes of erased flash.
pub(crate) fn pad(bytes: &mut [u8]) {
    bytes.fill(ERASED);
}
