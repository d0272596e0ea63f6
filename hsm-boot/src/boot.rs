//! What a second stage does: it settles the boot record, selects a slot, and says what it starts.

use embedded_storage::nor_flash::NorFlash;

use crate::counter::{CounterError, RollbackCounter};
use crate::image::{self, Board, Image};
use crate::layout::{LayoutError, SlotId};
use crate::reason::Reason;
use crate::record::Record;
use crate::report::{Flags, Report, ResetReason};
use crate::signer::Verify;
use crate::state::{Chosen, Mode, Other, Reasons, Selection, State, select};

/// Why the second stage starts nothing. It stays where it is, and reports this.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// The layout of the board does not fit its flash.
    Layout,
    /// The rollback counter cannot be read, so that nothing is known to be recent enough.
    Counter,
    /// No slot holds an image that may be started.
    NoImage(Reasons),
}

impl From<LayoutError> for Refusal {
    fn from(_: LayoutError) -> Self {
        Self::Layout
    }
}

impl From<CounterError> for Refusal {
    fn from(_: CounterError) -> Self {
        Self::Counter
    }
}

/// Selects and verifies the image to start. Everything that has to be on flash before the image runs
/// is there when this returns; the caller writes the report to its place and jumps.
///
/// An image is verified at every boot (SP 800-193, 4.3.1). If that of the active slot is not valid
/// any more, the one that was confirmed before it is started, if its security version still suffices
/// (4.4.1: recovery). Before a trial, the second stage should start a watchdog that the firmware has to
/// serve: a trial that hangs ends with the next reset.
///
/// # Errors
/// [`Refusal`].
pub fn boot<F: NorFlash>(
    flash: &mut F,
    board: &Board<'_>,
    verifier: &impl Verify,
    counter: &mut impl RollbackCounter,
    reset: ResetReason,
) -> Result<Report, Refusal> {
    board.layout.check(flash)?;
    let counted = counter.floor()?;
    let mut record = Record::mount(flash, board.layout.record);
    let settled = record.settle(flash).is_ok();
    let known = record.state();
    let mut selection = match known {
        Some(state) => resolve(flash, board, verifier, counted, state),
        None => found(flash, board, verifier, counted),
    };
    let mut flags = Flags { record_made: known.is_none(), ..Flags::default() };
    // Where there is neither record nor image, there is nothing to be kept.
    let changed = match known {
        Some(state) => state != selection.state,
        None => selection.chosen.is_some(),
    };
    if !settled || (changed && record.write(flash, &selection.state).is_err()) {
        flags.record_stuck = true;
        if selection.chosen.is_some_and(|chosen| chosen.mode == Mode::Trial) {
            // A trial that is not on record could be repeated forever.
            let trial = selection.state.active.other();
            let state = selection.state.with(Other::Failed);
            selection = resolve(flash, board, verifier, counted, state);
            selection.reasons.set(trial, Reason::Record);
        }
    }
    let Selection { chosen, state, reasons } = selection;
    let Some(Chosen { slot, mode, image }) = chosen else { return Err(Refusal::NoImage(reasons)) };
    let body = image.body();
    // By the signed image and not by the boot record, which anyone who writes the flash can forge.
    if mode != Mode::Trial && body.security_version > counted {
        flags.counter_behind = counter.raise(body.security_version).is_err();
    }
    Ok(Report {
        slot,
        mode,
        reset,
        reasons,
        flags,
        security_version: body.security_version,
        floor: state.floor.max(counted),
        length: body.length,
        measurement: body.measurement,
    })
}

/// Selects by the boot record.
fn resolve<F: NorFlash>(
    flash: &mut F,
    board: &Board<'_>,
    verifier: &impl Verify,
    counted: u32,
    state: State,
) -> Selection<Image> {
    let floor = state.floor.max(counted);
    select(state, board.trials, |slot| image::load(flash, board, slot, floor, verifier))
}

/// Selects without a boot record, as at a first start: of the images that verify, the one with the
/// higher security version, of equal ones that in slot A. The floor is its security version.
fn found<F: NorFlash>(
    flash: &mut F,
    board: &Board<'_>,
    verifier: &impl Verify,
    counted: u32,
) -> Selection<Image> {
    let mut reasons = Reasons::default();
    let mut best: Option<(SlotId, Image)> = None;
    for slot in [SlotId::A, SlotId::B] {
        match image::load(flash, board, slot, counted, verifier) {
            Ok(image) => {
                let version = image.body().security_version;
                if best.is_none_or(|(_, best)| version > best.body().security_version) {
                    best = Some((slot, image));
                }
            }
            Err(reason) => reasons.note(slot, reason),
        }
    }
    let (active, floor) =
        best.map_or((SlotId::A, 0), |(slot, image)| (slot, image.body().security_version));
    if best.is_some() {
        reasons.note(active.other(), Reason::NotConfirmed);
    }
    Selection {
        chosen: best.map(|(slot, image)| Chosen { slot, mode: Mode::Confirmed, image }),
        state: State { active, other: Other::Empty, floor },
        reasons,
    }
}
