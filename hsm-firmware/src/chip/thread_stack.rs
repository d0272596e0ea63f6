//! The stack of a thread, where the firmware runs in a process.

use core::hint::black_box;
use core::mem::MaybeUninit;

/// Words that are looked at together.
const CHUNK: usize = 64;

/// Overwrites `WORDS` words of this thread's stack below the caller. Call it where the stack is as shallow as
/// when what left secrets there was called, and always with the same `WORDS`, a multiple of 64.
///
/// What is below the deepest word that was used is zero from the last time, and is only looked at: most
/// commands use a few kilobytes, and to write all would cost more than they do.
#[inline(never)]
pub fn erase<const WORDS: usize>() {
    const { assert!(WORDS.is_multiple_of(CHUNK)) };
    let mut stack = MaybeUninit::<[u64; WORDS]>::uninit();
    // For all that the compiler knows, the array is written here.
    let words = black_box(&mut stack).as_mut_ptr();
    // SAFETY: the pointer is to the array of this frame, and all values of its bytes are numbers.
    let words = unsafe { &mut *words };
    let is_used = |chunk: &[u64]| chunk.iter().fold(0, |all, word| all | word) != 0;
    let unused = words.chunks(CHUNK).position(is_used).map_or(WORDS, |chunks| chunks * CHUNK);
    if let Some(used) = words.get_mut(unused..) {
        used.fill(0);
    }
    black_box(words);
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORDS: usize = 8192;
    const MARK: u64 = 0x5bd1_e995_5bd1_e995;

    /// Leaves a mark `depth` words below the caller, and nothing between.
    #[inline(never)]
    fn leave<const DEPTH: usize>() {
        let mut stack = MaybeUninit::<[u64; DEPTH]>::uninit();
        let deepest = black_box(&mut stack).as_mut_ptr().cast::<u64>();
        // SAFETY: the first word of the array of this frame.
        unsafe { deepest.write_volatile(MARK) };
        black_box(&mut stack);
    }

    /// Whether there is a mark below the caller.
    #[inline(never)]
    fn is_left() -> bool {
        let mut stack = MaybeUninit::<[u64; WORDS]>::uninit();
        let words = black_box(&mut stack).as_mut_ptr();
        // SAFETY: as in `erase`.
        let words = unsafe { &*words };
        words.contains(&MARK)
    }

    #[test]
    fn what_is_left_at_any_depth_is_erased() {
        std::thread::spawn(|| {
            erase::<WORDS>();
            for leave in [leave::<16>, leave::<200>, leave::<1000>, leave::<{ WORDS - 200 }>] {
                leave();
                assert!(is_left(), "the test leaves something");
                erase::<WORDS>();
                assert!(!is_left());
            }
        })
        .join()
        .unwrap();
    }
}
