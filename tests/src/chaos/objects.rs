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
