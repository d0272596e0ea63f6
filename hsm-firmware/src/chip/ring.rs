//! Byte queue from an interrupt handler to the main loop.

use core::sync::atomic::{AtomicU8, AtomicUsize, Ordering};

/// Queue of up to `N` bytes, `N` a power of two, with one producer and one consumer.
pub struct Ring<const N: usize> {
    bytes: [AtomicU8; N],
    /// Bytes ever put. Written by the producer only.
    put: AtomicUsize,
    /// Bytes ever taken. Written by the consumer only.
    taken: AtomicUsize,
}

impl<const N: usize> Default for Ring<N> {
    fn default() -> Self {
        Self::new()
    }
}

impl<const N: usize> Ring<N> {
    /// An empty queue.
    #[must_use]
    pub const fn new() -> Self {
        assert!(N.is_power_of_two());
        Self {
            bytes: [const { AtomicU8::new(0) }; N],
            put: AtomicUsize::new(0),
            taken: AtomicUsize::new(0),
        }
    }

    /// Bytes that may be put now.
    #[must_use]
    pub fn room(&self) -> usize {
        N - self.len()
    }

    /// Bytes in the queue.
    #[must_use]
    pub fn len(&self) -> usize {
        self.put.load(Ordering::Acquire).wrapping_sub(self.taken.load(Ordering::Acquire))
    }

    /// Whether the queue is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Producer: adds a byte; false if the queue is full.
    #[must_use]
    pub fn put(&self, byte: u8) -> bool {
        if self.room() == 0 {
            return false;
        }
        let put = self.put.load(Ordering::Relaxed);
        if let Some(place) = self.bytes.get(put % N) {
            place.store(byte, Ordering::Relaxed);
        }
        self.put.store(put.wrapping_add(1), Ordering::Release);
        true
    }

    /// Consumer: moves bytes to the start of `out`, leaving none behind, and returns how many.
    pub fn take(&self, out: &mut [u8]) -> usize {
        let count = self.len().min(out.len());
        let taken = self.taken.load(Ordering::Relaxed);
        let (wrapped, straight) = self.bytes.split_at(taken % N);
        for (byte, place) in out.iter_mut().zip(straight.iter().chain(wrapped)).take(count) {
            *byte = place.load(Ordering::Relaxed);
            place.store(0, Ordering::Relaxed); // seeds are made of such bytes
        }
        self.taken.store(taken.wrapping_add(count), Ordering::Release);
        count
    }
}

#[cfg(test)]
#[allow(clippy::cast_possible_truncation)]
mod tests {
    use std::thread;
    use std::vec::Vec;

    use super::*;

    #[test]
    fn order_and_limits() {
        let ring = Ring::<8>::new();
        let mut out = [0; 16];
        for round in 0..100u8 {
            assert_eq!(ring.room(), 8);
            for n in 0..8 {
                assert!(ring.put(round.wrapping_mul(8) + n));
            }
            assert!(!ring.put(0));
            assert_eq!(ring.take(&mut out[..3]), 3);
            assert_eq!(ring.take(&mut out[3..]), 5);
            let expected: Vec<u8> = (0..8).map(|n| round.wrapping_mul(8) + n).collect();
            assert_eq!(out[..8], expected);
            assert!(ring.is_empty());
        }
    }

    #[test]
    fn two_threads() {
        let ring = Ring::<64>::new();
        thread::scope(|scope| {
            scope.spawn(|| {
                for n in 0..100_000u32 {
                    while !ring.put(n as u8) {
                        thread::yield_now();
                    }
                }
            });
            let mut seen = 0u32;
            let mut out = [0; 50];
            while seen < 100_000 {
                let count = ring.take(&mut out);
                for byte in &out[..count] {
                    assert_eq!(*byte, seen as u8);
                    seen += 1;
                }
                if count == 0 {
                    thread::yield_now();
                }
            }
        });
    }
}
