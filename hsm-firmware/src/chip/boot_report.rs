//! The place in RAM where the second stage leaves its report for the firmware; both are linked to the same one, and
//! neither clears it at its start.

use core::ptr;

/// Bytes of the report.
const SIZE: usize = 64;

unsafe extern "C" {
    static mut __boot_report: [u8; SIZE];
}

/// Leaves a report.
pub fn put(report: &[u8; SIZE]) {
    // SAFETY: the memory maps set these bytes aside, and nothing holds a reference to them.
    unsafe { (&raw mut __boot_report).write_volatile(*report) }
}

/// Takes the report; no later start finds it again.
#[must_use]
pub fn take() -> [u8; SIZE] {
    let place = &raw mut __boot_report;
    // SAFETY: as above; every content is valid.
    let report = unsafe { ptr::read_volatile(place) };
    put(&[0; SIZE]);
    report
}
