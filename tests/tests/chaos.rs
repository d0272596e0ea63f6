//! A minute of faults each, by a schedule that is another one in each run. `cargo xtask chaos` runs longer.

use std::time::Duration;

use hsm_tests::chaos::{Options, run};
use hsm_tests::seed;

#[test]
fn nothing_acknowledged_is_lost_whatever_fails() {
    a_minute("nothing_acknowledged_is_lost_whatever_fails", 1, 2);
}

#[test]
fn nothing_acknowledged_is_lost_by_two_daemons_on_one_cluster() {
    a_minute("nothing_acknowledged_is_lost_by_two_daemons_on_one_cluster", 2, 1);
}

fn a_minute(test: &str, daemons: usize, regions: usize) {
    let mut random = seed::random(test);
    let (seed, time) = (random.u64(..), Duration::from_secs(60));
    // Before anything can fail.
    eprintln!("{test}: seed {seed}, {daemons} daemons, {regions} Regions");
    let report =
        run(Options { seed, time, daemons, devices: 3, regions, beside: None, tells: true });
    eprintln!("{report}");
    assert!(report.violations().is_empty(), "{report}");
    assert!(report.faults() >= 5 && report.answered() >= 100, "too little happened\n{report}");
}
