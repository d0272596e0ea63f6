//! Mounting: finding the live records, and settling what a power cut left open.

use embedded_storage::nor_flash::NorFlash;
use zeroize::Zeroize;

use super::index::Entry;
use super::layout::{
    self, MAX_RECORD, Place, RecordKind, SEGMENT_HEADER, SegmentHeader, SegmentKind, UNIT,
};
use super::log::{Active, Loaded, LogError, RecordLog};

impl<F: NorFlash> RecordLog<F> {
    pub(super) fn mount_now(&mut self) -> Result<Active, LogError> {
        self.region.check()?;
        let mounted = match self.region.newest()? {
            Some((segment, header)) => self.settle(segment, header),
            None => self.format(),
        };
        self.buffer.zeroize();
        if mounted.is_err() {
            self.active = None;
        }
        mounted.and(self.active.ok_or(LogError::Corrupt))
    }

    /// Moves the state found in the newest segment to a fresh one, where nothing is in doubt.
    fn settle(&mut self, segment: u32, header: SegmentHeader) -> Result<(), LogError> {
        let SegmentHeader { kind, sequence } = header;
        self.sequence = self.sequence.max(sequence);
        self.index.clear();
        let (end, first_loaded) = match kind {
            SegmentKind::Log => self.scan(segment, sequence)?,
            SegmentKind::Zeroising => (SEGMENT_HEADER, false),
        };
        self.active = Some(Active { segment, sequence, end, closed: true });
        // The newest header may itself be half-programmed, so nothing else is erased before this.
        self.rotate(kind, first_loaded)?;
        match kind {
            SegmentKind::Log => self.scrub_others(),
            SegmentKind::Zeroising => self.finish_zeroising(),
        }
    }

    /// Indexes the records of a segment. Returns where they end, and whether the last of them is in
    /// the buffer and first in the index.
    fn scan(&mut self, segment: u32, sequence: u64) -> Result<(u32, bool), LogError> {
        let mut offset = SEGMENT_HEADER;
        let mut last = None;
        loop {
            match self.load(segment, Place { sequence, offset })? {
                Loaded::Record(header) => {
                    match header.kind {
                        RecordKind::Present => {
                            self.index.put(Entry { id: header.id, len: header.len, offset })?;
                            last = Some(header.id);
                        }
                        RecordKind::Removed => {
                            self.index.remove(header.id);
                            last = None;
                        }
                    }
                    offset += layout::record_size(header.len);
                }
                Loaded::Torn => {
                    // The record before it was complete when this one was begun.
                    last = None;
                    break;
                }
                Loaded::Nothing => break,
            }
        }
        // The last commit may be half-programmed and pass only this once: keep what was read.
        let in_buffer = self.check_tail(segment, sequence, offset)? && last.is_some();
        if let Some(id) = last {
            self.index.move_to_front(id);
        }
        Ok((offset, in_buffer))
    }

    /// Checks that a cut explains what follows the last record: one record's worth of anything, no
    /// complete record, and then erased flash. Returns whether the buffer was left alone.
    fn check_tail(&mut self, segment: u32, sequence: u64, end: u32) -> Result<bool, LogError> {
        let size = self.region.geometry().segment;
        let torn_end = end.saturating_add(MAX_RECORD).min(size);
        let mut untouched = true;
        for offset in (end.saturating_add(UNIT)..torn_end).step_by(UNIT as usize) {
            match self.load(segment, Place { sequence, offset })? {
                Loaded::Record(_) => return Err(LogError::Corrupt),
                Loaded::Torn => untouched = false,
                Loaded::Nothing => {}
            }
        }
        if self.region.is_blank(segment, torn_end, size)? {
            Ok(untouched)
        } else {
            Err(LogError::Corrupt)
        }
    }

    /// Makes the first log on flash that never held one.
    ///
    /// Without any valid header the region must be blank but for headers that a cut tore while this
    /// ran before; records without a header are damage.
    fn format(&mut self) -> Result<(), LogError> {
        let geometry = self.region.geometry();
        for segment in 0..geometry.segments {
            if !self.region.is_blank(segment, SEGMENT_HEADER, geometry.segment)? {
                return Err(LogError::Corrupt);
            }
        }
        self.index.clear();
        let segment = geometry.segments - 1;
        self.active = Some(Active { segment, sequence: 0, end: SEGMENT_HEADER, closed: true });
        self.rotate(SegmentKind::Log, false)?;
        self.scrub_others()
    }
}
