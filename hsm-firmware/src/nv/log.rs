//! The record log: read, write, remove.

use embedded_storage::nor_flash::{NorFlash, NorFlashErrorKind};
use zeroize::Zeroize;

use super::MAX_DATA;
use super::index::{Entry, Index};
use super::layout::{
    self, COMMIT, ERASED, MAX_RECORD, Place, RECORD_HEADER, RecordHeader, RecordKind,
};
use super::region::{Geometry, Region};

/// Most records that a log can hold.
pub const MAX_RECORDS: usize = 64;

/// Why an operation of the log failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LogError {
    /// The flash refused an operation.
    Flash(NorFlashErrorKind),
    /// Cells did not take what was programmed, or did not erase, in every segment tried.
    Verify,
    /// The log is damaged in a way that no power cut explains. Only
    /// [`RecordLog::erase_all`] is possible.
    Corrupt,
    /// There is no room for the record, or the log has [`MAX_RECORDS`] already.
    Full,
    /// The data is longer than [`MAX_DATA`].
    TooLong,
    /// The buffer is shorter than the record.
    BufferTooSmall,
    /// The flash cannot hold a log of this geometry.
    Geometry,
}

/// Records of up to [`MAX_DATA`] bytes by 16-bit id on NOR flash; see the [module](super).
///
/// The flash is not touched before the first operation, which mounts the log. A log can be cloned
/// only on simulated flash, which is cloned with it.
#[derive(Clone)]
pub struct RecordLog<F> {
    pub(super) region: Region<F>,
    pub(super) index: Index,
    /// `None` until the log is mounted, and after a failure whose result only a new mount can
    /// determine.
    pub(super) active: Option<Active>,
    /// Highest sequence number used in a header, including headers that failed to be written.
    pub(super) sequence: u64,
    /// One record, from its header to its commit; wiped after each operation.
    pub(super) buffer: [u8; MAX_RECORD as usize],
}

/// The segment that holds the live records.
#[derive(Clone, Copy, Debug)]
pub(super) struct Active {
    pub(super) segment: u32,
    pub(super) sequence: u64,
    /// Offset of the next record.
    pub(super) end: u32,
    /// Nothing may be appended, as it is unknown whether the cells after `end` are erased.
    pub(super) closed: bool,
}

/// What the flash holds at an offset where a record may start.
pub(super) enum Loaded {
    /// There is no header for this offset. The buffer is untouched.
    Nothing,
    /// There is a header, but its data or commit does not match it.
    Torn,
    /// There is a complete record, which is now in the buffer.
    Record(RecordHeader),
}

impl<F: NorFlash> RecordLog<F> {
    /// Creates a log on a part of a flash.
    pub const fn new(flash: F, geometry: Geometry) -> Self {
        Self {
            region: Region::new(flash, geometry),
            index: Index::new(),
            active: None,
            sequence: 0,
            buffer: [ERASED; MAX_RECORD as usize],
        }
    }

    /// Mounts the log if it is not mounted yet. Every other operation does this first.
    ///
    /// # Errors
    /// [`LogError::Corrupt`], [`LogError::Geometry`], or what the flash reports.
    pub fn mount(&mut self) -> Result<(), LogError> {
        self.mounted().map(drop)
    }

    /// Reads a record into `buf`; returns `None` if it does not exist.
    ///
    /// # Errors
    /// [`LogError::BufferTooSmall`]; [`LogError::Corrupt`] if the record has changed since it was
    /// written; those of [`Self::mount`].
    pub fn read<'b>(&mut self, id: u16, buf: &'b mut [u8]) -> Result<Option<&'b [u8]>, LogError> {
        let active = self.mounted()?;
        let Some(entry) = self.index.entry(id) else { return Ok(None) };
        let out = buf.get_mut(..usize::from(entry.len)).ok_or(LogError::BufferTooSmall)?;
        let loaded = self.load_entry(active, entry);
        if loaded.is_ok()
            && let Some(data) = self.buffer.get(RECORD_HEADER as usize..)
        {
            out.copy_from_slice(data.get(..out.len()).ok_or(LogError::Corrupt)?);
        }
        self.buffer.zeroize();
        loaded.map(|_| Some(&*out))
    }

    /// Writes a record, replacing an older record with this id.
    ///
    /// # Errors
    /// [`LogError::TooLong`], [`LogError::Full`]: nothing has changed. [`LogError::Verify`] or a
    /// flash error: the record is either the old or the new one. Also those of [`Self::mount`].
    pub fn write(&mut self, id: u16, data: &[u8]) -> Result<(), LogError> {
        let len = u16::try_from(data.len()).map_err(|_| LogError::TooLong)?;
        if data.len() > MAX_DATA {
            return Err(LogError::TooLong);
        }
        self.mounted()?;
        let replaced = self.index.entry(id).map_or(0, |entry| layout::record_size(entry.len));
        let live = self.index.live() - replaced + layout::record_size(len);
        if live > self.region.geometry().capacity() || !self.index.has_room(id) {
            return Err(LogError::Full);
        }
        let header =
            RecordHeader { kind: RecordKind::Present, id, len, data_crc: layout::data_crc(data) };
        let offset = self.append(header, data)?;
        self.index.put(Entry { id, len, offset })
    }

    /// Removes a record. A record that does not exist is not an error.
    ///
    /// # Errors
    /// As for [`Self::write`].
    pub fn remove(&mut self, id: u16) -> Result<(), LogError> {
        self.mounted()?;
        if self.index.entry(id).is_none() {
            return Ok(());
        }
        let data_crc = layout::data_crc(&[]);
        self.append(RecordHeader { kind: RecordKind::Removed, id, len: 0, data_crc }, &[])?;
        self.index.remove(id);
        Ok(())
    }

    /// Returns the bytes that live records take, including 32 bytes each for header and commit.
    #[must_use]
    pub fn used(&self) -> u32 {
        self.index.live()
    }

    /// Returns the bytes that live records may take, counted as in [`Self::used`].
    #[must_use]
    pub fn capacity(&self) -> u32 {
        self.region.geometry().capacity()
    }

    /// Returns the flash under the log.
    pub fn flash(&mut self) -> &mut F {
        self.region.flash()
    }

    /// Consumes the log and returns its flash.
    pub fn into_flash(self) -> F {
        self.region.into_flash()
    }

    /// Appends a record, in a fresh segment if this one is full or fails.
    fn append(&mut self, header: RecordHeader, data: &[u8]) -> Result<u32, LogError> {
        let active = self.mounted()?;
        let room = self.region.geometry().segment.saturating_sub(active.end);
        if active.closed || room < layout::record_size(header.len) {
            self.rotate(layout::SegmentKind::Log, false)?;
        }
        let appended = match self.append_here(header, data) {
            Err(LogError::Verify | LogError::Flash(_)) => {
                self.rotate(layout::SegmentKind::Log, false)?;
                self.append_here(header, data)
            }
            done => done,
        };
        self.buffer.zeroize();
        appended
    }

    /// Appends a record to the active segment, which must have room for it, and returns its offset.
    fn append_here(&mut self, header: RecordHeader, data: &[u8]) -> Result<u32, LogError> {
        let Some(active) = &mut self.active else { return Err(LogError::Corrupt) };
        let Active { segment, sequence, end: offset, .. } = *active;
        // Closed unless every step succeeds: a torn record must stay the last of its segment.
        active.closed = true;

        let start = RECORD_HEADER as usize;
        let end = start + data.len();
        if let Some(place) = self.buffer.get_mut(start..end) {
            place.copy_from_slice(data);
        }
        if let Some(padding) = self.buffer.get_mut(end..start + layout::padded(header.len) as usize)
        {
            padding.fill(ERASED);
        }
        let (body, commit) = self.stage(header, Place { sequence, offset })?;
        let commit_at = offset + body;
        let (body, commit) = self
            .buffer
            .get(..(body + commit) as usize)
            .and_then(|record| record.split_at_checked(body as usize))
            .ok_or(LogError::TooLong)?;
        self.region.program(segment, offset, body)?;
        // Only after the body has been read back: the commit vouches for it.
        self.region.program(segment, commit_at, commit)?;

        self.active = Some(Active { segment, sequence, end: commit_at + COMMIT, closed: false });
        Ok(offset)
    }

    /// Writes header and commit around the data in the buffer. Returns the length of everything
    /// before the commit, and that of the commit.
    pub(super) fn stage(
        &mut self,
        header: RecordHeader,
        place: Place,
    ) -> Result<(u32, u32), LogError> {
        let body = RECORD_HEADER + layout::padded(header.len);
        let start = self.buffer.first_chunk_mut().ok_or(LogError::TooLong)?;
        *start = header.encode(place);
        let end = self.buffer.get_mut(body as usize..).and_then(|end| end.first_chunk_mut());
        *end.ok_or(LogError::TooLong)? = header.commit(place);
        Ok((body, COMMIT))
    }

    /// Loads a live record into the buffer.
    pub(super) fn load_entry(
        &mut self,
        active: Active,
        entry: Entry,
    ) -> Result<RecordHeader, LogError> {
        let place = Place { sequence: active.sequence, offset: entry.offset };
        match self.load(active.segment, place)? {
            Loaded::Record(header) if header.id == entry.id && header.len == entry.len => {
                Ok(header)
            }
            _ => Err(LogError::Corrupt),
        }
    }

    /// Loads the bytes at an offset into the buffer. Each cell is read only once: a half-programmed
    /// cell could read differently for the check and for the copy.
    pub(super) fn load(&mut self, segment: u32, place: Place) -> Result<Loaded, LogError> {
        let room = self.region.geometry().segment.saturating_sub(place.offset);
        let mut bytes = [0; RECORD_HEADER as usize];
        if room < layout::record_size(0) {
            return Ok(Loaded::Nothing);
        }
        self.region.read(segment, place.offset, &mut bytes)?;
        let Some(header) = RecordHeader::decode(&bytes, place) else { return Ok(Loaded::Nothing) };
        let (data_size, size) = (layout::padded(header.len), layout::record_size(header.len));
        let Some(rest) = self.buffer.get_mut(RECORD_HEADER as usize..size as usize) else {
            return Ok(Loaded::Torn);
        };
        if room < size {
            return Ok(Loaded::Torn);
        }
        self.region.read(segment, place.offset + RECORD_HEADER, rest)?;
        let complete = rest.split_at_checked(data_size as usize).is_some_and(|(data, commit)| {
            let data = data.get(..usize::from(header.len));
            *commit == header.commit(place) && data.map(layout::data_crc) == Some(header.data_crc)
        });
        Ok(if complete { Loaded::Record(header) } else { Loaded::Torn })
    }

    fn mounted(&mut self) -> Result<Active, LogError> {
        match self.active {
            Some(active) => Ok(active),
            None => self.mount_now(),
        }
    }
}
