//! The attempts of one call: the devices it has tried, their outcomes, and when to retry.

use std::sync::Arc;
use std::time::{Duration, Instant};

use hsm_protocol::{Command, ErrorCode};

use super::slot::Slot;
use super::{Route, Shared};
use crate::error::CallError;

/// Whether a failed call may be sent to another device, or again.
pub(super) fn may_repeat<C: Command>(error: &CallError) -> bool {
    error.try_elsewhere() && (C::IDEMPOTENT || !error.maybe_executed())
}

/// The attempts of one call.
pub(super) struct Tries<'a> {
    shared: &'a Shared,
    /// Devices that failed since the last pause.
    pub(super) asked: Vec<usize>,
    last: Option<(Arc<Slot>, CallError)>,
    pause: Duration,
}

impl<'a> Tries<'a> {
    pub(super) fn new(shared: &'a Shared) -> Self {
        Self { shared, asked: Vec::new(), last: None, pause: Duration::from_millis(20) }
    }

    pub(super) fn failed(&mut self, slot: Arc<Slot>, error: CallError) {
        tracing::debug!(name = slot.member.name, %error, "call failed, trying elsewhere");
        self.asked.push(slot.number);
        if let Some((slot, error)) = self.last.replace((slot, error)) {
            self.shared.forget(&slot, error);
        }
    }

    /// Whether a device has answered that it will not; not if it will once its entries are fetched.
    pub(super) fn was_refused(&self) -> bool {
        let last = self.last.as_ref().map(|(_, error)| error);
        last.is_some_and(|error| {
            matches!(error, CallError::Refused { code, .. } if *code != ErrorCode::AUDIT_FULL)
        })
    }

    /// Whether every device that was asked has too much to do: waiting would make it worse.
    pub(super) fn was_overloaded(&self) -> bool {
        matches!(self.last, Some((_, CallError::Overloaded)))
    }

    /// Waits until a device comes into service. If one failed but still is, it gets a pause.
    pub(super) async fn wait(
        &mut self,
        route: &Route,
        size: usize,
        deadline: Instant,
    ) -> Result<(), CallError> {
        let until = match self.asked.as_slice() {
            [] => deadline,
            _ => deadline.min(Instant::now() + self.pause),
        };
        let woken = self.shared.waiting.enter(until);
        if self.asked.is_empty() {
            // One may have come into service before this call was on the list.
            if self.shared.pick(route, size, &[])?.is_some() {
                return Ok(());
            }
        } else {
            self.asked.clear();
            self.pause = (self.pause * 2).min(Duration::from_secs(1));
        }
        // Resolves with an error too: the sender is dropped to wake.
        let _ = woken.await;
        Ok(())
    }

    pub(super) fn into_error(mut self) -> CallError {
        match self.last.take() {
            Some((_, error)) => error,
            None => self.shared.unavailable(),
        }
    }
}

impl Drop for Tries<'_> {
    fn drop(&mut self) {
        if let Some((slot, error)) = self.last.take() {
            self.shared.forget(&slot, error);
        }
    }
}
