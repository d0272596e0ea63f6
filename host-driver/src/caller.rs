//! On whose behalf a call is made: for fair shares of a device, and so that nothing is done for callers who
//! are gone.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A caller. The default is the host itself, which never goes away.
#[derive(Clone, Debug, Default)]
pub struct Caller {
    /// Callers of one flow share what one flow gets of a device; 0 is the host itself.
    pub flow: u64,
    /// Raised once nobody waits any more.
    pub gone: Gone,
}

/// A flag that says that nobody waits for an answer any more. Clones are the same flag.
#[derive(Clone, Debug, Default)]
pub struct Gone(Arc<AtomicBool>);

impl Gone {
    /// Raises the flag, for good.
    pub fn raise(&self) {
        self.0.store(true, Ordering::Release);
    }

    /// Whether it is raised.
    #[must_use]
    pub fn is_raised(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}
