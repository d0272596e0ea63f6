//! Ctrl-C for a child in its own process group.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    iterator::Signals,
};

use crate::{
    failure::{Doing, Failure, Result},
    term,
};

/// From now on Ctrl-C and its like wait to be forwarded.
pub(super) fn catch() -> Result<Signals> {
    Signals::new([SIGINT, SIGTERM, SIGHUP]).doing("catch Ctrl-C")
}

/// Asks the child to stop when we are asked to, and kills its whole group when asked again.
pub(super) struct Forwarder {
    stopped: Arc<AtomicBool>,
}

impl Forwarder {
    /// Forwards `signals` to the process `child`, the leader of its group.
    pub(super) fn start(mut signals: Signals, child: u32) -> Result<Self> {
        let pid = i32::try_from(child).ok().and_then(Pid::from_raw);
        let pid = pid.ok_or_else(|| Failure::new(format!("{child} is not a process id")))?;
        let stopped = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&stopped);
        thread::spawn(move || {
            for _ in signals.forever() {
                // The child may be gone already: then there is nothing to stop.
                if seen.swap(true, Ordering::Relaxed) {
                    term::note("killing");
                    let _gone = kill_process_group(pid, Signal::KILL);
                } else {
                    term::note("stopping (again to kill)");
                    let _gone = kill_process(pid, Signal::INT);
                }
            }
        });
        Ok(Self { stopped })
    }

    /// True if a signal was forwarded.
    pub(super) fn stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }
}
