//! The memory that a board gives the core: how much of it, and where it is.
//!
//! What grows with a board's choice is outside [`crate::Hsm`], which is small and may be made by value.
//! A board without an operating system lends static memory; elsewhere it comes from the heap.

extern crate alloc;

use alloc::boxed::Box;
use core::ops::DerefMut;

use heapless::Vec;

use crate::audit;
use crate::hsm::WINDOW;
use crate::keystore::cache;

/// Longest request in bytes that a device takes if its board has room enough: as long as any frame.
pub const FULL_PAYLOAD: usize = hsm_protocol::frame::MAX_PAYLOAD;
/// Keys that stay unwrapped if the board has room enough.
pub const FULL_KEYS: usize = 16;
/// Keys that stay unwrapped in memory of a heap, which is larger than any board's.
pub const HEAP_KEYS: usize = 64;
/// Entries kept for hosts if the board has room enough.
pub const FULL_ENTRIES: usize = audit::MAX_KEPT;

/// Shortest longest request, in bytes: states of a domain, shares and statements are not longer.
const LEAST_PAYLOAD: usize = 8 * 1024;

/// How memory is held. Whoever holds it is the only one who reaches it.
pub trait Owner {
    /// Holds a `T`.
    type Of<T: ?Sized + 'static>: DerefMut<Target = T>;
}

/// Memory that was lent for good: statics of an image.
#[derive(Clone, Copy, Debug)]
pub struct Lent;

impl Owner for Lent {
    type Of<T: ?Sized + 'static> = &'static mut T;
}

/// Memory of the heap.
#[derive(Clone, Copy, Debug)]
pub struct Boxed;

impl Owner for Boxed {
    type Of<T: ?Sized + 'static> = Box<T>;
}

/// Memory of a board to be lent: for requests and answers of `PAYLOAD` bytes, `KEYS` unwrapped keys, and
/// `ENTRIES` entries of the audit chain that no host has yet. All of it is zero, and no part of an image.
pub struct Buffers<const PAYLOAD: usize, const KEYS: usize, const ENTRIES: usize> {
    scratch: [u8; PAYLOAD],
    answer: [u8; PAYLOAD],
    keys: Vec<cache::Slot, KEYS>,
    entries: Vec<audit::Slot, ENTRIES>,
}

impl<const PAYLOAD: usize, const KEYS: usize, const ENTRIES: usize>
    Buffers<PAYLOAD, KEYS, ENTRIES>
{
    /// Compiles only for sizes that a device can work with.
    const IS_ENOUGH: () = assert!(
        PAYLOAD >= LEAST_PAYLOAD
            && PAYLOAD <= FULL_PAYLOAD
            && KEYS >= 2
            && ENTRIES >= WINDOW as usize
            && ENTRIES <= FULL_ENTRIES
    );

    /// The memory, unused.
    #[must_use]
    pub const fn new() -> Self {
        let () = Self::IS_ENOUGH;
        Self { scratch: [0; PAYLOAD], answer: [0; PAYLOAD], keys: Vec::new(), entries: Vec::new() }
    }
}

impl<const PAYLOAD: usize, const KEYS: usize, const ENTRIES: usize> Default
    for Buffers<PAYLOAD, KEYS, ENTRIES>
{
    fn default() -> Self {
        Self::new()
    }
}

/// Memory of the core.
pub struct Memory<O: Owner> {
    /// What a handler works in.
    pub(crate) scratch: O::Of<[u8]>,
    /// The answer. It has as many bytes as the longest payload.
    pub(crate) answer: O::Of<[u8]>,
    /// Unwrapped keys.
    pub(crate) keys: O::Of<[cache::Slot]>,
    /// Entries of the audit chain.
    pub(crate) entries: O::Of<[audit::Slot]>,
}

impl Memory<Lent> {
    /// Memory that a board lends.
    pub fn lent<const PAYLOAD: usize, const KEYS: usize, const ENTRIES: usize>(
        buffers: &'static mut Buffers<PAYLOAD, KEYS, ENTRIES>,
    ) -> Self {
        let Buffers { scratch, answer, keys, entries } = buffers;
        while keys.push(None).is_ok() {}
        while entries.push(None).is_ok() {}
        Self { scratch, answer, keys, entries }
    }
}

impl Memory<Boxed> {
    /// Memory of the heap, with all the room that the core can use.
    #[must_use]
    pub fn boxed() -> Self {
        Self {
            scratch: zeros(FULL_PAYLOAD),
            answer: zeros(FULL_PAYLOAD),
            keys: (0..HEAP_KEYS).map(|_| None).collect(),
            entries: (0..FULL_ENTRIES).map(|_| None).collect(),
        }
    }
}

fn zeros(length: usize) -> Box<[u8]> {
    alloc::vec![0; length].into_boxed_slice()
}
