//! Where the live records of the active segment are.

use heapless::Vec;

use super::layout;
use super::log::{LogError, MAX_RECORDS};

/// A live record.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    pub(super) id: u16,
    /// Bytes of data.
    pub(super) len: u16,
    /// Offset of its header in the active segment.
    pub(super) offset: u32,
}

/// The live records, in the order in which a rotation copies them.
#[derive(Clone)]
pub(super) struct Index(Vec<Entry, MAX_RECORDS>);

impl Index {
    pub(super) const fn new() -> Self {
        Self(Vec::new())
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    pub(super) fn entry(&self, id: u16) -> Option<Entry> {
        self.0.iter().find(|entry| entry.id == id).copied()
    }

    pub(super) fn entries(&self) -> &[Entry] {
        &self.0
    }

    /// Bytes that the live records take, headers and commits included.
    pub(super) fn live(&self) -> u32 {
        self.0.iter().map(|entry| layout::record_size(entry.len)).sum()
    }

    /// Whether an entry for this id could be put.
    pub(super) fn has_room(&self, id: u16) -> bool {
        !self.0.is_full() || self.entry(id).is_some()
    }

    /// Adds or replaces the entry of a record.
    pub(super) fn put(&mut self, new: Entry) -> Result<(), LogError> {
        match self.0.iter_mut().find(|entry| entry.id == new.id) {
            Some(entry) => *entry = new,
            None => self.0.push(new).map_err(|_| LogError::Full)?,
        }
        Ok(())
    }

    pub(super) fn remove(&mut self, id: u16) {
        self.0.retain(|entry| entry.id != id);
    }

    /// Moves an entry to the front.
    pub(super) fn move_to_front(&mut self, id: u16) {
        if let Some(at) = self.0.iter().position(|entry| entry.id == id) {
            self.0.swap(0, at);
        }
    }

    /// Sets the offsets to those of a rotation that copied the entries in order.
    pub(super) fn relocate(&mut self) {
        let mut offset = layout::SEGMENT_HEADER;
        for entry in &mut self.0 {
            entry.offset = offset;
            offset += layout::record_size(entry.len);
        }
    }
}
