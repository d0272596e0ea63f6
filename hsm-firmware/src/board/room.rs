//! How much RAM the core and its lines get, by what the image computes.
//!
//! An image with the small set of algorithms is for boards of 264 KB and less: it takes shorter requests,
//! keeps fewer keys unwrapped, and needs no heap but for what is wrong with a certificate.

use hsm_core::memory::Buffers;
use hsm_protocol::frame::encoded_size;

#[cfg(feature = "classic")]
mod sizes {
    use hsm_core::memory::{FULL_ENTRIES, FULL_KEYS, FULL_PAYLOAD};

    pub(super) const PAYLOAD: usize = FULL_PAYLOAD;
    pub(super) const KEYS: usize = FULL_KEYS;
    pub(super) const ENTRIES: usize = FULL_ENTRIES;
    pub(super) const RECEIVE_BUFFER: usize = 64 * 1024;
    /// The arithmetic of RSA_4096 needs 21 KB.
    pub(super) const HEAP: usize = 32 * 1024;
}

#[cfg(not(feature = "classic"))]
mod sizes {
    use hsm_core::WINDOW;

    /// A frame of that length fits the receive buffer; Encrypt needs 13 KB at most.
    pub(super) const PAYLOAD: usize = 16 * 1024 - 128;
    pub(super) const KEYS: usize = 4;
    /// Twice what a host may have unanswered, so that one that confirms late is not refused.
    pub(super) const ENTRIES: usize = 2 * WINDOW as usize;
    pub(super) const RECEIVE_BUFFER: usize = 16 * 1024;
    pub(super) const HEAP: usize = 8 * 1024;
}

/// Memory of the core.
pub(super) type CoreMemory = Buffers<{ sizes::PAYLOAD }, { sizes::KEYS }, { sizes::ENTRIES }>;

/// Memory of the heap.
pub(super) type Heap = [u64; sizes::HEAP / size_of::<u64>()];

/// The heap, unused.
pub(super) const fn no_heap() -> Heap {
    [0; sizes::HEAP / size_of::<u64>()]
}

/// Bytes of the longest encoded frame.
pub(super) const FRAME: usize = encoded_size(sizes::PAYLOAD);

/// Bytes of encoded frames that every link buffers.
pub(super) const RECEIVE_BUFFER: usize = sizes::RECEIVE_BUFFER;

const _: () = assert!(FRAME <= RECEIVE_BUFFER);
