//! What the clients work on together, and what each operation does to it.

use crate::history::Step;

/// State of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum State {
    /// `Enabled`.
    Enabled,
    /// `Disabled`.
    Disabled,
    /// `PendingDeletion`.
    Pending,
}

/// What was told of the state of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OfKey {
    /// `EnableKey` succeeded.
    Enable,
    /// `DisableKey` succeeded.
    Disable,
    /// `ScheduleKeyDeletion` succeeded.
    Schedule,
    /// `CancelKeyDeletion` succeeded.
    Cancel,
    /// `CancelKeyDeletion` was refused, because the key is not to be deleted.
    NotPending,
    /// The key was described in this state, or used or refused as it is in this state.
    Saw(State),
}

impl Step for OfKey {
    type State = State;

    fn step(&self, state: &State) -> Option<State> {
        use State::{Disabled, Enabled, Pending};
        match (*self, *state) {
            (Self::Enable, Enabled | Disabled) => Some(Enabled),
            (Self::Disable, Enabled | Disabled) | (Self::Cancel, Pending) => Some(Disabled),
            (Self::Schedule, Enabled | Disabled) => Some(Pending),
            (Self::NotPending, Enabled | Disabled) => Some(*state),
            (Self::Saw(seen), state) if seen == state => Some(state),
            _ => None,
        }
    }

    fn only_reads(&self) -> bool {
        matches!(self, Self::Saw(_) | Self::NotPending)
    }
}

/// What was told of an alias: which of the keys, by number, it leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OfAlias {
    /// `CreateAlias` succeeded.
    Create(usize),
    /// `UpdateAlias` succeeded.
    Update(usize),
    /// `DeleteAlias` succeeded.
    Delete,
    /// `CreateAlias` was refused, because there is one.
    Taken,
    /// It was seen, or seen not to be there.
    Saw(Option<usize>),
}

impl Step for OfAlias {
    type State = Option<usize>;

    fn step(&self, state: &Option<usize>) -> Option<Option<usize>> {
        match (*self, *state) {
            (Self::Create(key), None) | (Self::Update(key), Some(_)) => Some(Some(key)),
            (Self::Delete, Some(_)) => Some(None),
            (Self::Taken, Some(key)) => Some(Some(key)),
            (Self::Saw(seen), state) if seen == state => Some(state),
            _ => None,
        }
    }

    fn only_reads(&self) -> bool {
        matches!(self, Self::Saw(_) | Self::Taken)
    }
}

/// What was told of a key whose policy denies its use, or does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OfPolicy {
    /// `PutKeyPolicy` succeeded, with a policy that denies or does not.
    Put {
        /// Whether it denies.
        denies: bool,
    },
    /// A use was denied, or not.
    Saw {
        /// Whether it was denied.
        denied: bool,
    },
}

impl Step for OfPolicy {
    type State = bool;

    fn step(&self, state: &bool) -> Option<bool> {
        match *self {
            Self::Put { denies } => Some(denies),
            Self::Saw { denied } => (denied == *state).then_some(denied),
        }
    }

    fn only_reads(&self) -> bool {
        matches!(self, Self::Saw { .. })
    }
}

/// The one grant of its name on a key, if there is one: its id, unless nobody was told of it.
pub(super) type Granted = Option<Option<u64>>;

/// What was told of a key that another principal may use by a grant only. All grants have one name, so that there is one
/// at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OfGrant {
    /// `CreateGrant` succeeded, with this id; without an answer nobody knows the id.
    Create(Option<u64>),
    /// `RevokeGrant` or `RetireGrant` succeeded for this id.
    Revoke(u64),
    /// Either was refused, because there is no grant of this id.
    Gone(u64),
    /// The other principal used the key, or was refused.
    Saw {
        /// Whether it was allowed.
        allowed: bool,
    },
}

impl Step for OfGrant {
    type State = Granted;

    fn step(&self, state: &Granted) -> Option<Granted> {
        match (*self, *state) {
            (Self::Create(id), None | Some(None)) => Some(Some(id)),
            (Self::Create(None), there) => Some(there),
            (Self::Create(Some(id)), Some(Some(there))) => (id == there).then_some(*state),
            (Self::Revoke(id), Some(there)) => {
                there.is_none_or(|there| there == id).then_some(None)
            }
            (Self::Revoke(_), None) => None,
            (Self::Gone(id), there) => (there != Some(Some(id))).then_some(there),
            (Self::Saw { allowed }, there) => (allowed == there.is_some()).then_some(there),
        }
    }

    fn only_reads(&self) -> bool {
        matches!(self, Self::Saw { .. } | Self::Gone(_))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::{Event, check};

    fn event(begin: u64, operation: OfGrant, answered: bool) -> Event<OfGrant> {
        Event { begin, end: begin + 1, operation, answered }
    }

    #[test]
    fn a_use_after_an_acknowledged_revoke_is_noticed() {
        use OfGrant::{Create, Gone, Revoke, Saw};
        let is_possible = |operations: &[OfGrant]| {
            let events = operations.iter().zip((0..).step_by(10));
            check(None, events.map(|(operation, at)| event(at, *operation, true)).collect()).is_ok()
        };
        let (yes, no) = (Saw { allowed: true }, Saw { allowed: false });
        assert!(is_possible(&[no, Create(Some(1)), yes, Create(Some(1)), Revoke(1), no, Gone(1)]));
        assert!(!is_possible(&[Create(Some(1)), Revoke(1), yes]));
        assert!(!is_possible(&[Create(Some(1)), no]), "a grant that was acknowledged is lost");
        assert!(!is_possible(&[Create(Some(1)), Create(Some(2))]), "there are two of one name");
        assert!(!is_possible(&[Create(Some(1)), Revoke(1), Revoke(1)]), "done twice");
        assert!(!is_possible(&[yes]));
        // One whose answer was lost, under whichever id.
        let unanswered = |rest: &[OfGrant]| {
            let lost = Event { end: 1000, ..event(0, Create(None), false) };
            let rest = rest.iter().zip((10..).step_by(10)).map(|(it, at)| event(at, *it, true));
            check(None, [lost].into_iter().chain(rest).collect()).is_ok()
        };
        assert!(unanswered(&[no, yes, Create(Some(7)), Revoke(7), no]));
        assert!(!unanswered(&[yes, no]));
    }
}
