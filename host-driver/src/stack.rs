//! Erases the stacks of threads, on which returning functions leave copies of secrets.

/// Overwrites `SIZE` bytes of this thread's stack below the caller: what the functions that it has
/// called left there, as far down as that. Call it where the stack is as shallow as when they were
/// called.
#[inline(never)]
pub fn erase<const SIZE: usize>() {
    let mut stack = [0_u8; SIZE];
    // The array might have been left out, as nobody reads it.
    std::hint::black_box(&mut stack);
}
