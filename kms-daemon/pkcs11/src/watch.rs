//! Who is told what a token does, as it happens.

use std::fmt::Debug;
use std::time::Duration;

use crate::Fault;

/// Counts the calls to one token, and its processes. It must not block.
pub trait Watch: Debug + Send + Sync {
    /// A call has ended. The time is that of the token and its process, without that of waiting for other calls.
    fn called(&self, took: Duration, fault: Option<&Fault>);

    /// A process was started, and has logged in.
    fn opened(&self);
}

/// Nobody.
impl Watch for () {
    fn called(&self, _: Duration, _: Option<&Fault>) {}

    fn opened(&self) {}
}
