//! Rotation into a fresh segment, and zeroisation, which is built from it.

use embedded_storage::nor_flash::NorFlash;

use super::layout::{self, Place, SEGMENT_HEADER, SegmentHeader, SegmentKind};
use super::log::{Active, LogError, RecordLog};

/// Zeroisation starts this far above the highest sequence that can be read, so that no header that
/// could not be read outranks it.
const ZEROISE_STRIDE: u64 = 1 << 16;

impl<F: NorFlash> RecordLog<F> {
    /// Erases every segment and leaves an empty log; also possible when the log is corrupt.
    ///
    /// From the moment this has touched the flash the records are lost: after a power cut the next
    /// mount goes on erasing before it answers anything.
    ///
    /// # Errors
    /// [`LogError::Verify`] or a flash error if a segment cannot be erased. All others have been,
    /// no record can be read any more, and each further operation first tries again.
    pub fn erase_all(&mut self) -> Result<(), LogError> {
        self.region.check()?;
        let newest = self.region.newest()?;
        let (segment, sequence) = newest.map_or((0, 0), |(at, header)| (at, header.sequence));
        self.index.clear();
        self.sequence = self.sequence.max(sequence).saturating_add(ZEROISE_STRIDE);
        self.active = Some(Active { segment, sequence, end: SEGMENT_HEADER, closed: true });
        if let Err(error) = self.rotate(SegmentKind::Zeroising, false) {
            // No segment takes the mark that would make this restartable. Erase what can be.
            self.active = None;
            for segment in 0..self.region.geometry().segments {
                self.scrub(segment);
            }
            return Err(error);
        }
        let finished = self.finish_zeroising();
        if finished.is_err() {
            self.active = None; // the mark stands: the next mount goes on
        }
        finished
    }

    /// Erases all segments but the active one, which is of kind `Zeroising`; then starts a log.
    pub(super) fn finish_zeroising(&mut self) -> Result<(), LogError> {
        let marker = self.active.ok_or(LogError::Corrupt)?.segment;
        let mut result = Ok(());
        for segment in (0..self.region.geometry().segments).filter(|other| *other != marker) {
            result = result.and(self.region.erase(segment));
        }
        result?;
        self.rotate(SegmentKind::Log, false)
    }

    /// Copies the live records into the next segment that takes them, makes it active with its
    /// header, and erases the old one.
    ///
    /// `first_loaded` says that the first record of the index is in the buffer already.
    pub(super) fn rotate(&mut self, kind: SegmentKind, first_loaded: bool) -> Result<(), LogError> {
        let Some(old) = self.active else { return Err(LogError::Corrupt) };
        if let Some(active) = &mut self.active {
            active.closed = true;
        }
        let mut target = old.segment;
        let mut result = Err(LogError::Geometry);
        for attempt in 1..self.region.geometry().segments {
            target = self.region.next(target);
            // A new sequence each time: a failed attempt may have left a header that reads well.
            self.sequence = self.sequence.saturating_add(1);
            let header = SegmentHeader { kind, sequence: self.sequence };
            result = self.copy_to(target, header, old, first_loaded && attempt == 1).map(|end| {
                self.index.relocate();
                self.active =
                    Some(Active { segment: target, sequence: header.sequence, end, closed: false });
            });
            match result {
                Err(LogError::Verify | LogError::Flash(_)) => {} // worn out? the next one may do
                Ok(()) => {
                    self.scrub(old.segment);
                    return Ok(());
                }
                Err(error) => return Err(error),
            }
        }
        result
    }

    /// Erases what other segments hold, superseded records and unfinished copies.
    pub(super) fn scrub_others(&mut self) -> Result<(), LogError> {
        let keep = self.active.ok_or(LogError::Corrupt)?.segment;
        let geometry = self.region.geometry();
        for segment in (0..geometry.segments).filter(|other| *other != keep) {
            if !self.region.is_blank(segment, 0, geometry.segment)? {
                self.scrub(segment);
            }
        }
        Ok(())
    }

    /// Erases a segment that is outranked. A segment that does not erase any more must not stop
    /// the log, which does not need it; zeroisation does insist.
    fn scrub(&mut self, segment: u32) {
        let _ = self.region.erase(segment);
    }

    fn copy_to(
        &mut self,
        target: u32,
        header: SegmentHeader,
        from: Active,
        first_loaded: bool,
    ) -> Result<u32, LogError> {
        // Cells that a cut left weakly programmed may look erased: never use one on trust.
        self.region.erase(target)?;
        let mut offset = SEGMENT_HEADER;
        let mut loaded = first_loaded;
        let mut next = 0;
        while let Some(entry) = self.index.entries().get(next).copied() {
            let record =
                if loaded { self.loaded_header(entry)? } else { self.load_entry(from, entry)? };
            let (body, commit) = self.stage(record, Place { sequence: header.sequence, offset })?;
            let size = body + commit;
            let bytes = self.buffer.get(..size as usize).ok_or(LogError::Corrupt)?;
            self.region.program(target, offset, bytes)?;
            offset += size;
            loaded = false;
            next += 1;
        }
        self.region.write_header(target, header)?;
        Ok(offset)
    }

    /// The header of the record that the scan left in the buffer.
    fn loaded_header(&self, entry: super::index::Entry) -> Result<layout::RecordHeader, LogError> {
        let start = layout::RECORD_HEADER as usize;
        let data =
            self.buffer.get(start..start + usize::from(entry.len)).ok_or(LogError::Corrupt)?;
        Ok(layout::RecordHeader {
            kind: layout::RecordKind::Present,
            id: entry.id,
            len: entry.len,
            data_crc: layout::data_crc(data),
        })
    }
}
