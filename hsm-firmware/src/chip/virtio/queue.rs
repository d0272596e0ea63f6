//! Split virtqueue (VIRTIO 1.2, section 2.7), with one fixed buffer for each descriptor.
//!
//! A buffer belongs either to the driver or to the device. The device may write to the memory at
//! any time, so it is read and written through raw pointers; only buffers that belong to the driver
//! are lent out as slices. What the device reports is checked before it is used.

use core::marker::PhantomData;
use core::mem;
use core::ptr;
use core::slice;
use core::sync::atomic::{Ordering, fence};

const DEVICE_WRITES: u16 = 2; // VIRTQ_DESC_F_WRITE
const NO_INTERRUPT: u16 = 1; // VIRTQ_AVAIL_F_NO_INTERRUPT
const NO_NOTIFY: u16 = 1; // VIRTQ_USED_F_NO_NOTIFY

/// Memory of a queue of `N` buffers (a power of two) of `LEN` bytes each, shared with the device.
#[repr(C, align(16))]
pub(super) struct QueueMemory<const N: usize, const LEN: usize> {
    descriptors: [Descriptor; N],
    available: Available<N>,
    used: Used<N>,
    buffers: [[u8; LEN]; N],
}

impl<const N: usize, const LEN: usize> Default for QueueMemory<N, LEN> {
    fn default() -> Self {
        Self::new()
    }
}

impl<const N: usize, const LEN: usize> QueueMemory<N, LEN> {
    /// Creates an empty queue.
    pub(super) const fn new() -> Self {
        assert!(N.is_power_of_two() && N <= 128 && LEN <= 1 << 20);
        Self {
            descriptors: [Descriptor { address: 0, len: 0, flags: 0, next: 0 }; N],
            available: Available { flags: 0, index: 0, ring: [0; N] },
            used: Used { flags: 0, index: 0, ring: [UsedElement { id: 0, len: 0 }; N] },
            buffers: [[0; LEN]; N],
        }
    }
}

#[derive(Clone, Copy)]
#[repr(C, align(16))]
struct Descriptor {
    address: u64,
    len: u32,
    flags: u16,
    next: u16,
}

#[repr(C, align(2))]
struct Available<const N: usize> {
    flags: u16,
    index: u16,
    ring: [u16; N],
}

#[repr(C, align(4))]
struct Used<const N: usize> {
    flags: u16,
    index: u16,
    ring: [UsedElement; N],
}

#[derive(Clone, Copy)]
#[repr(C)]
struct UsedElement {
    id: u32,
    len: u32,
}

/// Addresses of the parts of a queue, for the device.
pub(super) struct QueueAddresses {
    pub(super) size: u32,
    pub(super) descriptors: usize,
    pub(super) available: usize,
    pub(super) used: usize,
}

/// The direction in which the bytes of a queue's buffers go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Direction {
    ToDevice,
    FromDevice,
}

/// Driver side of a queue.
pub(super) struct Queue<const N: usize, const LEN: usize> {
    memory: *mut QueueMemory<N, LEN>,
    direction: Direction,
    /// Next index of the available ring, not yet shown to the device.
    offered: u16,
    /// Next index of the used ring.
    taken: u16,
    /// Buffers that belong to the device.
    lent: [bool; N],
    lifetime: PhantomData<&'static mut QueueMemory<N, LEN>>,
}

#[allow(clippy::cast_possible_truncation)] // `QueueMemory::new` limits `N` and `LEN`
impl<const N: usize, const LEN: usize> Queue<N, LEN> {
    /// Creates a queue in this memory; all buffers belong to the driver.
    pub(super) fn new(memory: &'static mut QueueMemory<N, LEN>, direction: Direction) -> Self {
        *memory = QueueMemory::new();
        let memory = ptr::from_mut(memory);
        Self { memory, direction, offered: 0, taken: 0, lent: [false; N], lifetime: PhantomData }
    }

    /// Returns what the device must know: the size, and the addresses.
    pub(super) fn addresses(&self) -> QueueAddresses {
        // SAFETY: `memory` always points to a whole `QueueMemory`.
        unsafe {
            QueueAddresses {
                size: N as u32,
                descriptors: (&raw mut (*self.memory).descriptors).expose_provenance(),
                available: (&raw mut (*self.memory).available).expose_provenance(),
                used: (&raw mut (*self.memory).used).expose_provenance(),
            }
        }
    }

    /// Tells the device whether to interrupt when it has used a buffer.
    pub(super) fn want_interrupts(&mut self, wanted: bool) {
        let flags = if wanted { 0 } else { NO_INTERRUPT };
        // SAFETY: `memory` points to a whole `QueueMemory`; the field is the driver's to write.
        unsafe { (&raw mut (*self.memory).available.flags).write_volatile(flags) };
    }

    /// Returns the bytes of a buffer that belongs to the driver; empty if the device has it.
    pub(super) fn buffer(&mut self, buffer: usize) -> &mut [u8] {
        match self.lent.get(buffer) {
            Some(false) => {
                // SAFETY: the index is within the array, and the device does not touch a buffer
                // that is not lent. The slice borrows the queue, so the buffer cannot be lent
                // meanwhile.
                unsafe {
                    let buffers = &raw mut (*self.memory).buffers;
                    slice::from_raw_parts_mut(buffers.cast::<u8>().add(buffer * LEN), LEN)
                }
            }
            _ => &mut [],
        }
    }

    /// Lends the first `len` bytes of a buffer to the device, with effect from [`Self::publish`].
    pub(super) fn offer(&mut self, buffer: usize, len: usize) {
        match self.lent.get_mut(buffer) {
            Some(lent) if !*lent => *lent = true,
            _ => return,
        }
        let flags = if self.direction == Direction::FromDevice { DEVICE_WRITES } else { 0 };
        // SAFETY: `buffer` and the ring position are within their arrays. The device does not read
        // them before the index is published.
        unsafe {
            let address = (&raw mut (*self.memory).buffers).cast::<u8>().add(buffer * LEN);
            let descriptor = Descriptor {
                address: address.expose_provenance() as u64,
                len: len.min(LEN) as u32,
                flags,
                next: 0,
            };
            (&raw mut (*self.memory).descriptors)
                .cast::<Descriptor>()
                .add(buffer)
                .write_volatile(descriptor);
            (&raw mut (*self.memory).available.ring)
                .cast::<u16>()
                .add(usize::from(self.offered) % N)
                .write_volatile(buffer as u16);
        }
        self.offered = self.offered.wrapping_add(1);
    }

    /// Shows all offered buffers to the device. Returns true if the device wants to be notified of
    /// them.
    #[must_use]
    pub(super) fn publish(&mut self) -> bool {
        fence(Ordering::Release); // descriptors before the index
        // SAFETY: fields of the queue's memory; the driver may write the index, and the device
        // writes the flags.
        unsafe {
            (&raw mut (*self.memory).available.index).write_volatile(self.offered);
            fence(Ordering::SeqCst); // the index before the device's flags are read
            (&raw const (*self.memory).used.flags).read_volatile() & NO_NOTIFY == 0
        }
    }

    /// Takes back a buffer that the device has used; returns its index and the number of bytes
    /// written.
    pub(super) fn take(&mut self) -> Option<(usize, usize)> {
        loop {
            // SAFETY: a field of the queue's memory, which the device writes.
            let index = unsafe { (&raw const (*self.memory).used.index).read_volatile() };
            if index == self.taken {
                return None;
            }
            fence(Ordering::Acquire); // the index before the element
            // SAFETY: the ring position is within the array.
            let element = unsafe {
                (&raw const (*self.memory).used.ring)
                    .cast::<UsedElement>()
                    .add(usize::from(self.taken) % N)
                    .read_volatile()
            };
            self.taken = self.taken.wrapping_add(1);
            let buffer = element.id as usize;
            // Buffers that the device returns without having been lent them are ignored.
            if let Some(lent) = self.lent.get_mut(buffer)
                && mem::take(lent)
            {
                return Some((buffer, (element.len as usize).min(LEN)));
            }
        }
    }
}
