//! A note that neither the wipe nor the start-up code touches: why the firmware ended. It is in RAM, or in registers
//! that keep what was written.
//!
//! ```text
//!   magic u32 | failures in a row u24, reason u8 | complement of the second word
//! ```
//!
//! The reason is 0 while the firmware runs: then it was reset by something else. There is none
//! when power comes on. There is nothing else in it; above all, no addresses and no data.

use hsm_protocol::reset::{ResetReason, ResetReport};

use super::register::Register;

const MAGIC: u32 = 0x4E52_5253; // "SRRN"
const RUNNING: ResetReason = ResetReason(0);
/// Failures that are counted.
const MOST: u32 = 0xFF_FFFF;

unsafe extern "C" {
    static __note: u8;
}

/// Reads why the firmware ended before this start, and notes that it runs. To be called once, first of all.
///
/// A failure that the chip tells as the cause of the reset counts if the firmware did not come to note anything.
#[must_use]
pub fn begin(cause: ResetReason) -> ResetReport {
    let last = match read() {
        None => ResetReport { reason: ResetReason::POWER_ON, failures: 0 },
        Some(ResetReport { reason: RUNNING, failures }) if cause.is_failure() => {
            ResetReport { reason: cause, failures: one_more(failures) }
        }
        Some(ResetReport { reason: RUNNING, failures }) => {
            ResetReport { reason: ResetReason::OTHER, failures }
        }
        Some(last) => last,
    };
    write(ResetReport { reason: RUNNING, ..last });
    last
}

/// Notes why the firmware is about to end, and counts it if that is a failure.
pub fn record(reason: ResetReason) {
    let failures = match (reason.is_failure(), read()) {
        (false, _) => 0,
        (true, None) => 1,
        (true, Some(last)) => one_more(last.failures),
    };
    write(ResetReport { reason, failures });
}

/// Notes that the firmware has been running for long: the next failure is the first one in a row.
pub fn settle() {
    write(ResetReport { reason: RUNNING, failures: 0 });
}

fn one_more(failures: u32) -> u32 {
    failures.saturating_add(1).min(MOST)
}

fn read() -> Option<ResetReport> {
    let [magic, word, complement] = [0, 1, 2].map(|index| register(index).read());
    let [reason, ..] = word.to_le_bytes();
    (magic == MAGIC && complement == !word)
        .then_some(ResetReport { reason: ResetReason(reason), failures: word >> 8 })
}

fn write(last: ResetReport) {
    let word = last.failures << 8 | u32::from(last.reason.0);
    for (index, value) in [MAGIC, word, !word].into_iter().enumerate() {
        register(index).write(value);
    }
}

fn register(index: usize) -> Register<u32> {
    let address = (&raw const __note).expose_provenance() + index * size_of::<u32>();
    // SAFETY: the memory map has room for the note there, aligned, and gives it to nothing else. It is
    // accessed like a register, so that every write is made.
    unsafe { Register::new(address) }
}
