//! What travels with a call into a device's queue: until when it is good, for whom, and what it counts.

use std::time::Instant;

use tokio::sync::oneshot;

use super::Outcome;
use super::exchange::Ticket;
use crate::caller::Caller;
use crate::load::Load;

/// The terms of a call.
#[derive(Debug)]
pub(crate) struct Term {
    /// When it must have ended: after that it is not sent.
    pub(crate) deadline: Instant,
    /// For whom: once that one is gone it is not sent.
    pub(crate) caller: Caller,
    /// What it counts for the device.
    pub(crate) load: Option<Load>,
}

impl From<Instant> for Term {
    /// A call of the host itself.
    fn from(deadline: Instant) -> Self {
        Self { deadline, caller: Caller::default(), load: None }
    }
}

/// Tells a caller that its call is done.
#[derive(Debug)]
pub(super) struct Waiter {
    sender: oneshot::Sender<Outcome>,
    caller: Caller,
    cost: u64,
    load: Option<Load>,
}

impl Waiter {
    pub(super) fn new(sender: oneshot::Sender<Outcome>, term: Term) -> Self {
        let cost = term.load.as_ref().map_or(0, Load::cost);
        Self { sender, caller: term.caller, cost, load: term.load }
    }

    /// Tells; returns what nobody hears.
    pub(super) fn tell(self, outcome: Outcome) -> Option<Outcome> {
        let Self { sender, load, .. } = self;
        // Whoever is told may look at the load at once.
        drop(load);
        sender.send(outcome).err()
    }
}

impl Ticket for Waiter {
    fn is_abandoned(&self) -> bool {
        self.sender.is_closed() || self.caller.gone.is_raised()
    }

    fn flow(&self) -> u64 {
        self.caller.flow
    }

    fn cost(&self) -> u64 {
        self.cost
    }

    fn take_load(&mut self) -> Option<Load> {
        self.load.take()
    }
}
