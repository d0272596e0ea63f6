//! The state that the boot record keeps, and the selection of a slot at boot, which is a function of
//! that state and of what the slots hold.

use crate::layout::SlotId;
use crate::reason::Reason;

/// What the slot that is not the active one holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Other {
    /// Nothing that is known of.
    Empty,
    /// A part of an image, which is being received.
    Receiving {
        /// SHA-256 of the encoded manifest.
        manifest: [u8; 32],
        /// Erase blocks of the image that are complete.
        blocks: u32,
    },
    /// A verified image, which the next boot starts for a trial.
    Staged,
    /// An image that was started for a trial.
    Trial {
        /// Further boots in which it may be started before it is confirmed.
        left: u8,
    },
    /// An image that was confirmed, and was active before the present one.
    Confirmed,
    /// An image that was refused, or whose trial ended without a confirmation.
    Failed,
}

/// The state of both slots.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct State {
    /// The slot with the image that was confirmed last.
    pub active: SlotId,
    /// What the other slot holds.
    pub other: Other,
    /// The rollback floor: the highest security version that was confirmed.
    pub floor: u32,
}

/// How an image is started.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Mode {
    /// It is the confirmed image of the active slot.
    Confirmed = 1,
    /// It has to be confirmed before its trial boots are used up.
    Trial = 2,
    /// It was confirmed before, and the one that was active is not valid any more.
    Fallback = 3,
}

/// The slot to be started.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Chosen<T> {
    /// The slot.
    pub slot: SlotId,
    /// How it is started.
    pub mode: Mode,
    /// What its verification has returned.
    pub image: T,
}

/// The result of [`select`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Selection<T> {
    /// The slot to be started; `None` if no slot may be.
    pub chosen: Option<Chosen<T>>,
    /// The state that has to be on flash before the slot is started.
    pub state: State,
    /// Why slot A and slot B are not started; `None` for the chosen slot and for one that nobody asked.
    pub reasons: Reasons,
}

/// Why slots are not started.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Reasons {
    /// Why slot A is not.
    pub a: Option<Reason>,
    /// Why slot B is not.
    pub b: Option<Reason>,
}

impl Reasons {
    /// Notes a reason unless there is one already, which is the cause.
    pub(crate) fn note(&mut self, slot: SlotId, reason: Reason) {
        let of = self.of(slot);
        *of = of.or(Some(reason));
    }

    /// Replaces the reason.
    pub(crate) fn set(&mut self, slot: SlotId, reason: Reason) {
        *self.of(slot) = Some(reason);
    }

    fn of(&mut self, slot: SlotId) -> &mut Option<Reason> {
        match slot {
            SlotId::A => &mut self.a,
            SlotId::B => &mut self.b,
        }
    }
}

impl State {
    /// Returns the state after the confirmation of the trial image, whose security version becomes
    /// the floor if it is higher; `None` if there is no trial.
    #[must_use]
    pub fn confirmed(self, security_version: u32) -> Option<Self> {
        let Other::Trial { .. } = self.other else { return None };
        Some(Self {
            active: self.active.other(),
            other: Other::Confirmed,
            floor: self.floor.max(security_version),
        })
    }

    /// Returns the state with another content of the other slot.
    #[must_use]
    pub const fn with(self, other: Other) -> Self {
        Self { other, ..self }
    }
}

/// Selects the slot to be started.
///
/// `trials` is the number of boots that a staged image gets, at least 1. `verify` says whether a slot
/// holds an image that may be started: hash, signatures, board and rollback floor. It is called at
/// most once for each slot, and for no slot that would not be started.
#[must_use]
pub fn select<T>(
    state: State,
    trials: u8,
    mut verify: impl FnMut(SlotId) -> Result<T, Reason>,
) -> Selection<T> {
    let (active, other) = (state.active, state.active.other());
    let mut reasons = Reasons::default();
    let mut after = state;
    let left = match state.other {
        Other::Staged => Some(trials.saturating_sub(1)),
        Other::Trial { left } => left.checked_sub(1),
        _ => None,
    };
    match (left, state.other) {
        (Some(left), _) => match verify(other) {
            Ok(image) => {
                let chosen = Chosen { slot: other, mode: Mode::Trial, image };
                let state = state.with(Other::Trial { left });
                return Selection { chosen: Some(chosen), state, reasons };
            }
            Err(reason) => {
                reasons.note(other, reason);
                after.other = Other::Failed;
            }
        },
        (None, Other::Trial { .. }) => {
            reasons.note(other, Reason::TrialEnded);
            after.other = Other::Failed;
        }
        (None, Other::Confirmed) => {}
        (None, _) => reasons.note(other, Reason::NotConfirmed),
    }
    let chosen = match verify(active) {
        Ok(image) => Some(Chosen { slot: active, mode: Mode::Confirmed, image }),
        Err(reason) => {
            reasons.note(active, reason);
            match state.other {
                Other::Confirmed => match verify(other) {
                    Ok(image) => {
                        // The slot that runs is the active one, so that no update erases it.
                        after = State { active: other, other: Other::Failed, ..state };
                        Some(Chosen { slot: other, mode: Mode::Fallback, image })
                    }
                    Err(reason) => {
                        reasons.note(other, reason);
                        None
                    }
                },
                _ => None,
            }
        }
    };
    Selection { chosen, state: after, reasons }
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::*;
    use Mode::{Confirmed, Fallback, Trial};

    const BAD: Reason = Reason::Measurement;

    fn state(other: Other) -> State {
        State { active: SlotId::A, other, floor: 3 }
    }

    /// Selects with slots A and B that are valid or not.
    fn run(other: Other, a: bool, b: bool) -> (Option<(SlotId, Mode)>, State, Reasons) {
        let mut asked = Vec::new();
        let selection = select(state(other), 1, |slot| {
            assert!(!asked.contains(&slot), "{slot:?} is verified twice");
            asked.push(slot);
            let valid = if slot == SlotId::A { a } else { b };
            if valid { Ok(()) } else { Err(BAD) }
        });
        let chosen = selection.chosen.map(|chosen| (chosen.slot, chosen.mode));
        (chosen, selection.state, selection.reasons)
    }

    #[test]
    fn every_state_with_every_validity() {
        let receiving = Other::Receiving { manifest: [1; 32], blocks: 2 };
        let (a, b) = (SlotId::A, SlotId::B);
        let last = Other::Trial { left: 0 };
        // State of the other slot, validity of A and B, what is started, state afterwards.
        let table = [
            (Other::Empty, true, true, Some((a, Confirmed)), state(Other::Empty)),
            (Other::Empty, false, true, None, state(Other::Empty)),
            (receiving, true, true, Some((a, Confirmed)), state(receiving)),
            (receiving, false, true, None, state(receiving)),
            (Other::Staged, true, true, Some((b, Trial)), state(last)),
            (Other::Staged, true, false, Some((a, Confirmed)), state(Other::Failed)),
            (Other::Staged, false, true, Some((b, Trial)), state(last)),
            (Other::Staged, false, false, None, state(Other::Failed)),
            (
                Other::Trial { left: 2 },
                true,
                true,
                Some((b, Trial)),
                state(Other::Trial { left: 1 }),
            ),
            (last, true, true, Some((a, Confirmed)), state(Other::Failed)),
            (last, false, true, None, state(Other::Failed)),
            (Other::Confirmed, true, true, Some((a, Confirmed)), state(Other::Confirmed)),
            (
                Other::Confirmed,
                false,
                true,
                Some((b, Fallback)),
                State { active: b, other: Other::Failed, floor: 3 },
            ),
            (Other::Confirmed, false, false, None, state(Other::Confirmed)),
            (Other::Failed, true, true, Some((a, Confirmed)), state(Other::Failed)),
            (Other::Failed, false, true, None, state(Other::Failed)),
        ];
        for (other, a, b, started, after) in table {
            let (chosen, next, reasons) = run(other, a, b);
            assert_eq!((chosen, next), (started, after), "{other:?}, {a}, {b}");
            if chosen.is_none() {
                assert!(reasons.a.is_some() && reasons.b.is_some(), "{other:?}: {reasons:?}");
            }
        }
    }

    #[test]
    fn a_trial_has_as_many_boots_as_the_board_gives_it() {
        for trials in 0..4u8 {
            let mut now = state(Other::Staged);
            let mut started = 0;
            loop {
                let selection = select(now, trials, |_| Ok(()));
                now = selection.state;
                if selection.chosen.unwrap().mode != Trial {
                    break;
                }
                started += 1;
            }
            assert_eq!(started, trials.max(1));
            assert_eq!(now, state(Other::Failed));
        }
    }

    #[test]
    fn confirmation_raises_the_floor_and_never_lowers_it() {
        let trial = state(Other::Trial { left: 0 });
        let after = State { active: SlotId::B, other: Other::Confirmed, floor: 7 };
        assert_eq!(trial.confirmed(7), Some(after));
        assert_eq!(trial.confirmed(1), Some(State { floor: 3, ..after }));
        for other in [Other::Empty, Other::Staged, Other::Confirmed, Other::Failed] {
            assert_eq!(state(other).confirmed(7), None);
        }
    }
}
