//! What no power cut explains: images, manifests and records that have changed, flash and counters
//! that fail. A device starts what it can verify, or says why it starts nothing.

use hsm_boot::{
    Board, CounterError, Layout, Mode, NoCounter, Other, Reason, Reasons, Refusal, Report,
    ResetReason, RollbackCounter, Slot, SlotId, Update, UpdateError, boot,
};

use crate::flash::{BLOCK, Chip};
use crate::release::{CHIP, LAYOUT, Quick, Release, board, start};
use crate::world::{Fuses, flash_slot};

type Flash = Chip<16>;

fn run(chip: &mut Flash) -> Result<Report, Refusal> {
    boot(chip, &board(), &Quick, &mut NoCounter, ResetReason::Pin)
}

fn fuses(value: u32) -> Fuses {
    Fuses { value, used: true, stuck: false }
}

/// A device with an image of this security version in slot A.
fn device(security_version: u32) -> Flash {
    let mut chip = Flash::new(CHIP, 1);
    flash_slot(&mut chip, SlotId::A, &Release::new("1", security_version, 1500));
    run(&mut chip).unwrap();
    chip
}

fn stage(chip: &mut Flash, release: &Release) {
    let report = run(chip).unwrap();
    let board = board();
    let mut update = Update::open(chip, &board, Quick, &report).unwrap();
    update.begin(chip, &release.manifest).unwrap();
    update.write(chip, 0, &release.image).unwrap();
    update.finish(chip).unwrap();
}

fn confirm(chip: &mut Flash, counter: &mut impl RollbackCounter) -> Result<(), UpdateError> {
    let report = boot(chip, &board(), &Quick, counter, ResetReason::Pin).unwrap();
    assert_eq!(report.mode, Mode::Trial);
    let board = board();
    Update::open(chip, &board, Quick, &report).unwrap().confirm(chip, counter)
}

/// Clears a bit at this place, if there is one to clear.
fn flip(chip: &mut Flash, at: usize) -> bool {
    let byte = chip.cells()[at];
    chip.damage(at, byte & byte.wrapping_neg());
    byte != 0
}

#[test]
fn empty_flash_starts_nothing_and_stays_empty() {
    let mut chip = Flash::new(CHIP, 1);
    let reasons = Reasons { a: Some(Reason::Empty), b: Some(Reason::Empty) };
    assert_eq!(run(&mut chip), Err(Refusal::NoImage(reasons)));
    assert_eq!(chip.steps, 0);
}

#[test]
fn no_changed_bit_of_image_or_manifest_is_started() {
    let release = Release::new("1", 1, 1500);
    let slot = start(SlotId::A);
    let manifest = slot + 3 * BLOCK;
    let bytes = (slot..slot + 1500).chain(manifest..manifest + release.manifest.len());
    let sound = device(1);
    for at in bytes {
        let mut chip = sound.clone();
        if flip(&mut chip, at) {
            assert!(matches!(run(&mut chip), Err(Refusal::NoImage(_))), "{at:#x}");
        }
    }
}

#[test]
fn a_staged_image_that_has_changed_is_not_tried() {
    let mut chip = device(1);
    let next = Release::new("2", 2, 1500);
    stage(&mut chip, &next);
    assert!(flip(&mut chip, start(SlotId::B) + 800));
    for reason in [Reason::Measurement, Reason::NotConfirmed] {
        let report = run(&mut chip).unwrap();
        assert_eq!((report.slot, report.mode), (SlotId::A, Mode::Confirmed));
        assert_eq!(report.reasons, Reasons { a: None, b: Some(reason) });
    }
}

/// A former image starts again if the active one is damaged, unless it is outlawed.
#[test]
fn the_image_before_is_the_fallback() {
    for (version, started) in [(1, true), (2, false)] {
        let mut chip = device(1);
        stage(&mut chip, &Release::new("2", version, 1500));
        confirm(&mut chip, &mut NoCounter).unwrap();
        let report = run(&mut chip).unwrap();
        assert_eq!((report.slot, report.floor), (SlotId::B, version));
        assert!(flip(&mut chip, start(SlotId::B)));
        if started {
            let report = run(&mut chip).unwrap();
            assert_eq!((report.slot, report.mode), (SlotId::A, Mode::Fallback));
            assert_eq!(report.reasons, Reasons { a: None, b: Some(Reason::Measurement) });
            // It is the active one now, and an update goes to the damaged slot.
            assert_eq!(run(&mut chip).unwrap().mode, Mode::Confirmed);
            let next = Release::new("3", 1, 1500);
            stage(&mut chip, &next);
            assert_eq!(run(&mut chip).unwrap().measurement, next.body.measurement);
        } else {
            let reasons = Reasons { a: Some(Reason::Rollback), b: Some(Reason::Measurement) };
            assert_eq!(run(&mut chip), Err(Refusal::NoImage(reasons)));
        }
    }
}

/// With the active image damaged, a staged one is still tried; if it is not confirmed, nothing is left.
#[test]
fn an_image_that_was_never_confirmed_is_not_a_fallback() {
    let mut chip = device(1);
    stage(&mut chip, &Release::new("2", 1, 1500));
    assert!(flip(&mut chip, start(SlotId::A)));
    assert_eq!(run(&mut chip).unwrap().mode, Mode::Trial);
    let reasons = Reasons { a: Some(Reason::Measurement), b: Some(Reason::TrialEnded) };
    assert_eq!(run(&mut chip), Err(Refusal::NoImage(reasons)));
    let reasons = Reasons { b: Some(Reason::NotConfirmed), ..reasons };
    assert_eq!(run(&mut chip), Err(Refusal::NoImage(reasons)));
}

#[test]
fn without_a_record_the_most_recent_image_is_taken() {
    for (a, b, slot) in [(1, 2, SlotId::B), (2, 1, SlotId::A), (1, 1, SlotId::A)] {
        let mut chip = Flash::new(CHIP, 1);
        flash_slot(&mut chip, SlotId::A, &Release::new("a", a, 100));
        flash_slot(&mut chip, SlotId::B, &Release::new("b", b, 100));
        let report = run(&mut chip).unwrap();
        assert_eq!((report.slot, report.mode, report.floor), (slot, Mode::Confirmed, a.max(b)));
        assert!(report.flags.record_made);
        assert!(!run(&mut chip).unwrap().flags.record_made);
    }
}

/// Whatever single bit of the record changes, a verified image starts, and not an older one.
#[test]
fn a_changed_bit_of_the_record_does_not_stop_a_device() {
    let mut sound = device(1);
    let next = Release::new("2", 2, 1500);
    stage(&mut sound, &next);
    confirm(&mut sound, &mut NoCounter).unwrap();
    for at in 0..3 * BLOCK {
        let mut chip = sound.clone();
        if flip(&mut chip, at) {
            let report = run(&mut chip).unwrap();
            assert_eq!(report.measurement, next.body.measurement, "{at:#x}");
            assert_eq!(run(&mut chip).unwrap().slot, report.slot);
        }
    }
}

/// Otherwise an image that hangs would be started forever.
#[test]
fn no_trial_without_a_record_of_it() {
    let mut chip = device(1);
    stage(&mut chip, &Release::new("2", 2, 1500));
    chip.lock(0..3 * BLOCK);
    for _ in 0..2 {
        let report = run(&mut chip).unwrap();
        assert_eq!((report.slot, report.mode), (SlotId::A, Mode::Confirmed));
        assert_eq!(report.reasons.b, Some(Reason::Record));
        assert!(report.flags.record_stuck);
    }
}

#[test]
fn fuses_outlaw_what_the_record_would_allow() {
    let mut chip = device(1);
    let started = |chip: &mut Flash, value| {
        boot(chip, &board(), &Quick, &mut fuses(value), ResetReason::Pin).map(|report| report.floor)
    };
    assert_eq!(started(&mut chip.clone(), 1), Ok(1));
    let reasons = Reasons { a: Some(Reason::Rollback), b: Some(Reason::NotConfirmed) };
    assert_eq!(started(&mut chip, 2), Err(Refusal::NoImage(reasons)));
}

/// The fuses follow the confirmed image, also if they fail meanwhile, and never a trial.
#[test]
fn fuses_are_raised_after_the_confirmation_and_not_before() {
    let mut chip = device(1);
    let mut counter = fuses(1);
    stage(&mut chip, &Release::new("2", 5, 1500));
    counter.stuck = true;
    assert_eq!(confirm(&mut chip, &mut counter), Err(UpdateError::Counter));
    assert_eq!(counter.value, 1);
    let again = |chip: &mut Flash, counter: &mut Fuses| {
        let report = boot(chip, &board(), &Quick, counter, ResetReason::Pin).unwrap();
        assert_eq!((report.slot, report.mode, report.floor), (SlotId::B, Mode::Confirmed, 5));
        report.flags.counter_behind
    };
    assert!(again(&mut chip, &mut counter));
    counter.stuck = false;
    assert!(!again(&mut chip, &mut counter));
    assert_eq!(counter.value, 5);

    let mut chip = device(1);
    let mut counter = fuses(1);
    stage(&mut chip, &Release::new("2", 5, 1500));
    let report = boot(&mut chip, &board(), &Quick, &mut counter, ResetReason::Pin).unwrap();
    assert_eq!((report.mode, counter.value), (Mode::Trial, 1));
    assert_eq!(run(&mut chip).unwrap().slot, SlotId::A);
}

#[test]
fn a_counter_that_cannot_be_read_stops_the_boot() {
    struct Broken;

    impl RollbackCounter for Broken {
        fn floor(&mut self) -> Result<u32, CounterError> {
            Err(CounterError)
        }

        fn raise(&mut self, _: u32) -> Result<(), CounterError> {
            Err(CounterError)
        }
    }

    let mut chip = device(1);
    let started = boot(&mut chip, &board(), &Quick, &mut Broken, ResetReason::Pin);
    assert_eq!(started, Err(Refusal::Counter));
}

#[test]
fn layouts_that_do_not_fit() {
    let kib = BLOCK as u32;
    let slot = |start, length| Slot { start: start * kib, length: length * kib, address: 0 };
    let layout = |a, b, record| Layout { a, b, record: record * kib };
    let chip = Flash::new(CHIP, 1);
    let good = [LAYOUT, layout(slot(0, 2), slot(2, 2), 4), layout(slot(9, 2), slot(0, 6), 6)];
    for layout in good {
        assert!(layout.check(&chip).is_ok(), "{layout:?}");
    }
    let bad = [
        layout(slot(3, 4), slot(6, 4), 0),
        layout(slot(2, 4), slot(7, 4), 0),
        layout(slot(3, 4), slot(7, 5), 0),
        layout(slot(3, 4), slot(7, 1), 0),
        layout(slot(3, 0), slot(7, 4), 0),
        layout(slot(3, 4), slot(3, 4), 0),
        layout(slot(0, 4), slot(4, 4), 9),
        Layout { record: 512, ..layout(slot(4, 3), slot(7, 4), 0) },
        Layout { a: Slot { length: 4 * kib - 16, ..LAYOUT.a }, ..LAYOUT },
        Layout { a: Slot { start: u32::MAX - 1023, ..LAYOUT.a }, ..LAYOUT },
    ];
    for layout in bad {
        assert!(layout.check(&chip).is_err(), "{layout:?}");
        let board = Board { layout, ..board() };
        let mut chip = chip.clone();
        let started = boot(&mut chip, &board, &Quick, &mut NoCounter, ResetReason::Pin);
        assert_eq!(started, Err(Refusal::Layout));
    }
}

/// What the state says is only what the record says: a forged one starts nothing that is not signed.
#[test]
fn the_state_is_no_proof() {
    let state = hsm_boot::State { active: SlotId::B, other: Other::Confirmed, floor: 0 };
    let selection = hsm_boot::select(state, 1, |_| Err::<(), _>(Reason::Signature));
    assert_eq!(selection.chosen, None);
}
