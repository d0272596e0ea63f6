//! The bytes of a request body.

use std::io;
use std::ops::Deref;

use memmap2::MmapMut;
use tokio::sync::OwnedSemaphorePermit;
use zeroize::{Zeroize, Zeroizing};

use super::body::{FIRST, MAX_BODY};

/// A body, zeroised when it is dropped: it may hold a plaintext.
#[derive(Debug, Default)]
pub(super) struct Content {
    place: Place,
    /// The share of the memory for bodies that it takes.
    memory: Vec<OwnedSemaphorePermit>,
    /// Bytes that it may have with that.
    granted: usize,
}

#[derive(Debug)]
enum Place {
    /// Up to [`FIRST`].
    Heap(Zeroizing<Vec<u8>>),
    /// What is longer has pages of its own, so that the operating system gets them back when a flood
    /// is over: an allocator keeps some, and locked ones it cannot give back.
    Pages { pages: MmapMut, length: usize },
}

impl Default for Place {
    fn default() -> Self {
        Self::Heap(Zeroizing::default())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Self::Pages { pages, length } = self
            && let Some(used) = pages.get_mut(..*length)
        {
            used.zeroize();
        }
    }
}

impl Deref for Content {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.place {
            Place::Heap(bytes) => bytes,
            Place::Pages { pages, length } => pages.get(..*length).unwrap_or_default(),
        }
    }
}

impl Content {
    /// How much more memory is to be granted before so many bytes fit, in units of [`FIRST`]. It is
    /// granted in doubles, as a body that comes in small pieces would ask often.
    pub(super) fn lacks(&self, needed: usize) -> usize {
        if needed <= self.granted.max(FIRST) {
            return 0;
        }
        let capacity = needed.next_power_of_two().min(MAX_BODY);
        capacity.div_ceil(FIRST) - self.granted.max(FIRST).div_ceil(FIRST)
    }

    /// Takes memory that was granted, of `count` times [`FIRST`].
    pub(super) fn grant(&mut self, count: usize, memory: OwnedSemaphorePermit) {
        self.granted = self.granted.max(FIRST) + count * FIRST;
        self.memory.push(memory);
    }

    /// Appends what fits: the caller has asked [`Self::lacks`].
    ///
    /// # Errors
    /// If the operating system gives no pages.
    pub(super) fn append(&mut self, data: &[u8]) -> io::Result<()> {
        let needed = self.len() + data.len();
        if needed > FIRST
            && let Place::Heap(bytes) = &self.place
        {
            let mut pages = MmapMut::map_anon(MAX_BODY)?;
            let length = bytes.len();
            if let Some(front) = pages.get_mut(..length) {
                front.copy_from_slice(bytes);
            }
            self.place = Place::Pages { pages, length };
        }
        match &mut self.place {
            Place::Heap(bytes) => {
                if needed > bytes.capacity() {
                    // Not grown in place, which would leave the old bytes behind.
                    let mut more = Vec::with_capacity(needed.next_power_of_two());
                    more.extend_from_slice(bytes);
                    *bytes = Zeroizing::new(more);
                }
                bytes.extend_from_slice(data);
            }
            Place::Pages { pages, length } => {
                let place = pages.get_mut(*length..needed).ok_or(io::ErrorKind::OutOfMemory)?;
                place.copy_from_slice(data);
                *length = needed;
            }
        }
        Ok(())
    }

    /// Bytes of the memory for bodies that it has been granted beyond [`FIRST`].
    #[cfg(test)]
    pub(super) fn granted(&self) -> usize {
        self.granted.saturating_sub(FIRST)
    }
}
