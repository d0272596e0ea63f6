//! Published vectors, NIST's above all, against the module's parts and both registries.

use hsm_core::algorithm::PORTABLE;
use hsm_firmware::board::host::AWS_LC;
use hsm_tests::vectors::{self, Report, Subject};

#[test]
fn parts_of_every_board() {
    check(&vectors::run_parts(), 10, 1010);
}

#[test]
fn the_portable_registry() {
    let subject = Subject { registry: PORTABLE, takes_randomness: true };
    let reports = vectors::run_registry(&subject);
    check(&reports, 46, 1090);
    assert!(reports.iter().all(|report| report.skipped == 0));
}

/// What it signs and encapsulates with randomness of its own is left out.
#[test]
fn the_registry_of_aws_lc() {
    let subject = Subject { registry: AWS_LC, takes_randomness: false };
    check(&vectors::run_registry(&subject), 46, 670);
}

/// Prints what was run, and fails if there is less than there was.
fn check(reports: &[Report], sets: usize, vectors: usize) {
    eprint!("{}", vectors::table(reports));
    let run: usize = reports.iter().map(|report| report.run).sum();
    assert!(reports.len() >= sets && run >= vectors, "{run} of {} sets", reports.len());
    assert!(reports.iter().all(|report| report.run + report.skipped > 0));
}
