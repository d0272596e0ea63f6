//! A minute of faults, by a schedule that is another one in each run. `cargo xtask chaos` runs longer.

use std::time::Duration;

use hsm_tests::chaos::{Options, run};
use hsm_tests::seed;

#[test]
fn nothing_acknowledged_is_lost_whatever_fails() {
    let mut random = seed::random("nothing_acknowledged_is_lost_whatever_fails");
    let time = Duration::from_secs(60);
    let report = run(Options { seed: random.u64(..), time, devices: 3, tells: true });
    eprintln!("{report}");
    assert!(report.violations().is_empty(), "{report}");
    assert!(report.faults() >= 5 && report.answered() >= 100, "too little happened\n{report}");
}
