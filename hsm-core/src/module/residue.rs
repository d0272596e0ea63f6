//! Erases copies of secrets on the stack.
//!
//! A secret zeroises itself where it ends; copies that the compiler and libraries have made of it on
//! the stack do not. They are erased where secrets end for the module: after the start, when a
//! session ends, when keys have been idle, when the module fails and when it is zeroised. Nothing
//! stays for longer than [`cache::IDLE_US`] in any case, so a device that is never idle erases
//! once a minute, not with each command.

use super::Module;
use crate::keystore::cache;
use crate::platform::Platform;

/// What is left on the stack.
pub(super) struct Residue {
    /// Since when there may be any, in microseconds since boot.
    since: Option<u64>,
    /// Secrets have ended: what is left of them must not stay.
    is_due: bool,
}

impl Residue {
    pub(super) const fn none() -> Self {
        Self { since: None, is_due: false }
    }

    /// When it must be erased at the latest.
    fn expiry(&self) -> Option<u64> {
        self.since.map(|since| since.saturating_add(cache::IDLE_US))
    }
}

impl<P: Platform> Module<P> {
    /// Secrets are used now: some of their bytes will be left on the stack.
    pub(crate) fn leave_residue(&mut self) {
        if self.residue.since.is_none() {
            self.residue.since = Some(self.platform.monotonic_us());
        }
    }

    /// Secrets have ended: [`Module::erase_residue`] has something to do.
    pub(crate) const fn end_secrets(&mut self) {
        self.residue.is_due = true;
    }

    /// Whether [`Module::erase_residue`] has something to do.
    pub(crate) const fn has_ended_secrets(&self) -> bool {
        self.residue.is_due
    }

    /// Erases what is left below the caller's frame.
    pub(crate) fn erase_residue(&mut self) {
        self.residue = Residue::none();
        self.platform.erase_stack();
    }

    /// Zeroises idle keys; when there will be something to erase again, in microseconds since boot.
    pub(crate) fn expire(&mut self) -> Option<u64> {
        let keys = self.secrets.as_ref().and_then(|secrets| secrets.cache.next_expiry());
        let next = earlier(keys, self.residue.expiry())?;
        let now = self.platform.monotonic_us();
        if now < next {
            return Some(next);
        }
        if let Some(secrets) = self.secrets.as_mut() {
            secrets.cache.expire(now);
        }
        self.residue = Residue { since: None, is_due: true };
        self.secrets.as_ref()?.cache.next_expiry()
    }
}

/// The earlier of two times that there may be.
fn earlier(a: Option<u64>, b: Option<u64>) -> Option<u64> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}
