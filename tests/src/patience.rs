//! Waiting for what must happen, on a machine of any speed.
//!
//! A test waits for a condition and never for a time: how fast the machine is, and what else it does,
//! decides how long a test takes and not how it ends. A condition that does not hold after
//! [`PATIENCE`] never will. That time is not a promise, and far beyond what any machine needs. Where
//! speed is the promise, a test counts work, or compares with what the same machine does in the same
//! run.

use std::fmt::Display;
use std::fs;
use std::thread;
use std::time::{Duration, Instant};

/// When a test stops to believe that something will still happen.
pub const PATIENCE: Duration = Duration::from_secs(600);
/// How often it looks.
const LOOK: Duration = Duration::from_millis(20);
/// Looks in a row at which a process has to be found at rest.
const AT_REST: u32 = 5;

/// Waits until `done`.
///
/// # Panics
/// With `what`, if that never is.
pub fn until(what: impl Display, mut done: impl FnMut() -> bool) {
    let by = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < by, "never: {what}");
        thread::sleep(LOOK);
    }
}

/// Waits until a process has done all that it had to do: every thread of it waits for something, time
/// and again. A thread that has work to do and no processor to do it on is not at rest.
///
/// # Panics
/// If there is no such process, or it never rests.
pub fn at_rest(process: u32) {
    let mut looks = 0;
    until(format_args!("process {process} is at rest"), || {
        looks = if rests(process) { looks + 1 } else { 0 };
        looks == AT_REST
    });
}

/// Whether all threads of a process sleep.
fn rests(process: u32) -> bool {
    let threads = fs::read_dir(format!("/proc/{process}/task")).expect("it runs");
    threads.filter_map(Result::ok).all(|thread| {
        // proc(5): "pid (name) state …"; the name may itself contain parentheses. A thread that has
        // ended since it was listed has nothing to do.
        let stat = fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
        stat.rsplit_once(')').is_none_or(|(_, state)| state.starts_with(" S"))
    })
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn who_has_work_to_do_is_not_at_rest() {
        let mut busy = Command::new("sh").args(["-c", "while :; do :; done"]).spawn().expect("sh");
        let mut idle = Command::new("sleep").arg("600").spawn().expect("sleep");
        at_rest(idle.id());
        // It gets to its loop some time, and does not leave it.
        until("it is busy", || !rests(busy.id()));
        assert!((0..50).all(|_| {
            thread::sleep(Duration::from_millis(1));
            !rests(busy.id())
        }));
        for child in [&mut busy, &mut idle] {
            child.kill().expect("killed");
            child.wait().expect("ended");
        }
    }
}
