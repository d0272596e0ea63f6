//! The part of a flash chip that holds the log, addressed by segment. Every write is read back.

use embedded_storage::nor_flash::{NorFlash, NorFlashError};

use super::layout::{ERASED, MAX_RECORD, SEGMENT_HEADER, SegmentHeader, UNIT};
use super::log::LogError;

/// Bytes compared at a time when flash is verified.
const CHUNK: u32 = 256;

/// Which part of the flash holds the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Geometry {
    /// First byte; a multiple of the erase size.
    pub start: u32,
    /// Bytes of a segment; a multiple of the erase size, with room for the longest record.
    pub segment: u32,
    /// Number of segments, two at least. More spread the wear.
    pub segments: u32,
}

impl Geometry {
    /// Bytes of live records, with 32 bytes each for header and commit, that always fit.
    ///
    /// A rotation copies all live records and must leave room for the write that caused it.
    #[must_use]
    pub const fn capacity(self) -> u32 {
        self.segment.saturating_sub(SEGMENT_HEADER).saturating_sub(MAX_RECORD)
    }

    fn fits<F: NorFlash>(self, flash: &F) -> bool {
        let erase = F::ERASE_SIZE as u64;
        let end = u64::from(self.start) + u64::from(self.segment) * u64::from(self.segments);
        self.segments >= 2
            && self.capacity() >= MAX_RECORD
            && u64::from(self.start).is_multiple_of(erase)
            && u64::from(self.segment).is_multiple_of(erase)
            && end <= flash.capacity() as u64
            && u32::try_from(end).is_ok()
    }
}

/// The segments on their flash.
#[derive(Clone)]
pub(super) struct Region<F> {
    flash: F,
    geometry: Geometry,
}

impl<F: NorFlash> Region<F> {
    const UNITS_FIT: () = assert!(
        (UNIT as usize).is_multiple_of(F::WRITE_SIZE)
            && (UNIT as usize).is_multiple_of(F::READ_SIZE)
    );

    pub(super) const fn new(flash: F, geometry: Geometry) -> Self {
        let () = Self::UNITS_FIT;
        Self { flash, geometry }
    }

    pub(super) fn geometry(&self) -> Geometry {
        self.geometry
    }

    pub(super) fn flash(&mut self) -> &mut F {
        &mut self.flash
    }

    pub(super) fn into_flash(self) -> F {
        self.flash
    }

    /// Fails with [`LogError::Geometry`] if the flash cannot hold the log.
    pub(super) fn check(&self) -> Result<(), LogError> {
        if self.geometry.fits(&self.flash) { Ok(()) } else { Err(LogError::Geometry) }
    }

    pub(super) fn next(&self, segment: u32) -> u32 {
        (segment + 1) % self.geometry.segments
    }

    /// Reads bytes of a segment; offset and length are multiples of [`UNIT`].
    pub(super) fn read(
        &mut self,
        segment: u32,
        offset: u32,
        out: &mut [u8],
    ) -> Result<(), LogError> {
        let at = self.address(segment, offset, out.len())?;
        self.flash.read(at, out).map_err(flash_error)
    }

    /// Programs erased bytes of a segment and reads them back.
    pub(super) fn program(
        &mut self,
        segment: u32,
        offset: u32,
        bytes: &[u8],
    ) -> Result<(), LogError> {
        let at = self.address(segment, offset, bytes.len())?;
        self.flash.write(at, bytes).map_err(flash_error)?;
        let mut seen = [0; CHUNK as usize];
        for (at, expected) in (at..).step_by(CHUNK as usize).zip(bytes.chunks(CHUNK as usize)) {
            let (seen, _) = seen.split_at_mut(expected.len());
            self.flash.read(at, seen).map_err(flash_error)?;
            if seen != expected {
                return Err(LogError::Verify);
            }
        }
        Ok(())
    }

    /// Erases a segment and checks that it is.
    pub(super) fn erase(&mut self, segment: u32) -> Result<(), LogError> {
        let size = self.geometry.segment;
        let at = self.address(segment, 0, size as usize)?;
        self.flash.erase(at, at + size).map_err(flash_error)?;
        if self.is_blank(segment, 0, size)? { Ok(()) } else { Err(LogError::Verify) }
    }

    /// Whether the bytes of a segment from `from` to before `to` read as erased.
    pub(super) fn is_blank(&mut self, segment: u32, from: u32, to: u32) -> Result<bool, LogError> {
        let mut seen = [0; CHUNK as usize];
        let mut offset = from;
        while offset < to {
            let (seen, _) = seen.split_at_mut(CHUNK.min(to - offset) as usize);
            self.read(segment, offset, seen)?;
            if seen.iter().any(|byte| *byte != ERASED) {
                return Ok(false);
            }
            offset += CHUNK;
        }
        Ok(true)
    }

    pub(super) fn header(&mut self, segment: u32) -> Result<Option<SegmentHeader>, LogError> {
        let mut bytes = [0; SEGMENT_HEADER as usize];
        self.read(segment, 0, &mut bytes)?;
        Ok(SegmentHeader::decode(&bytes, self.geometry.segment))
    }

    pub(super) fn write_header(
        &mut self,
        segment: u32,
        header: SegmentHeader,
    ) -> Result<(), LogError> {
        self.program(segment, 0, &header.encode(self.geometry.segment))
    }

    /// The valid segment with the highest sequence.
    pub(super) fn newest(&mut self) -> Result<Option<(u32, SegmentHeader)>, LogError> {
        let mut newest: Option<(u32, SegmentHeader)> = None;
        for segment in 0..self.geometry.segments {
            if let Some(header) = self.header(segment)?
                && newest.is_none_or(|(_, best)| header.sequence > best.sequence)
            {
                newest = Some((segment, header));
            }
        }
        Ok(newest)
    }

    fn address(&self, segment: u32, offset: u32, len: usize) -> Result<u32, LogError> {
        let end = u64::from(offset) + len as u64;
        if segment >= self.geometry.segments || end > u64::from(self.geometry.segment) {
            return Err(LogError::Geometry);
        }
        Ok(self.geometry.start + segment * self.geometry.segment + offset)
    }
}

fn flash_error<E: NorFlashError>(error: E) -> LogError {
    LogError::Flash(error.kind())
}
