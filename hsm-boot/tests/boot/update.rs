//! The steps of an update, each where it does not belong.

use hsm_boot::{Mode, Other, Reason, Report, SlotId, Update, UpdateError, boot};
use hsm_boot::{NoCounter, ResetReason};

use crate::flash::{BLOCK, Chip};
use crate::release::{CHIP, LAYOUT, Quick, ROOM, Release, board};
use crate::world::flash_slot;

type Flash = Chip<8>;

const KIB: u32 = BLOCK as u32;

fn start(chip: &mut Flash) -> Report {
    boot(chip, &board(), &Quick, &mut NoCounter, ResetReason::Software).unwrap()
}

fn device() -> (Flash, Report) {
    let mut chip = Flash::new(CHIP, 1);
    flash_slot(&mut chip, SlotId::A, &Release::new("1", 1, 900));
    let report = start(&mut chip);
    (chip, report)
}

fn open(chip: &mut Flash, report: &Report) -> Update<'static, Quick> {
    Update::open(chip, Box::leak(Box::new(board())), Quick, report).unwrap()
}

#[test]
fn bytes_come_in_order_and_all_of_them() {
    let (mut chip, report) = device();
    let next = Release::new("2", 2, 2000);
    let mut update = open(&mut chip, &report);
    assert_eq!(update.write(&mut chip, 0, &[1]), Err(UpdateError::NoUpdate));
    assert_eq!(update.finish(&mut chip), Err(UpdateError::NoUpdate));
    assert_eq!(update.cancel(&mut chip), Err(UpdateError::NoUpdate));

    assert_eq!(update.begin(&mut chip, &next.manifest), Ok(0));
    assert_eq!(update.finish(&mut chip), Err(UpdateError::Incomplete { received: 0 }));
    assert_eq!(update.write(&mut chip, 0, &next.image[..300]), Ok(300));
    let expected = Err(UpdateError::OutOfOrder { expected: 300 });
    for offset in [0, 299, 301, u32::MAX] {
        assert_eq!(update.write(&mut chip, offset, &[0]), expected);
    }
    assert_eq!(update.write(&mut chip, 300, &[]), Ok(300));
    assert_eq!(update.write(&mut chip, 300, &[0; 1701]), Err(UpdateError::TooLong));
    assert_eq!(update.begin(&mut chip, &next.manifest), Ok(300), "the same update goes on");
    assert_eq!(update.write(&mut chip, 300, &next.image[300..]), Ok(2000));
    assert_eq!(update.write(&mut chip, 2000, &[0]), Err(UpdateError::TooLong));
    assert_eq!(update.finish(&mut chip).map(drop), Ok(()));
    assert_eq!(update.finish(&mut chip), Err(UpdateError::NoUpdate));
    assert_eq!(update.state().other, Other::Staged);
    assert_eq!(start(&mut chip).measurement, next.body.measurement);
}

#[test]
fn pieces_of_any_length() {
    for length in [1, 255, 256, 257, BLOCK - 1, BLOCK, BLOCK + 1, ROOM] {
        for piece in [1, 7, 255, 256, 257, BLOCK, ROOM] {
            let (mut chip, report) = device();
            let next = Release::new("2", 2, length);
            let mut update = open(&mut chip, &report);
            let mut received = update.begin(&mut chip, &next.manifest).unwrap();
            for bytes in next.image.chunks(piece) {
                received = update.write(&mut chip, received, bytes).unwrap();
            }
            assert_eq!(update.finish(&mut chip).map(drop), Ok(()), "{length} bytes by {piece}");
            assert_eq!(start(&mut chip).measurement, next.body.measurement);
        }
    }
}

#[test]
fn a_restart_goes_on_at_the_erase_block() {
    let (mut chip, report) = device();
    let next = Release::new("2", 2, ROOM);
    for (sent, left) in [(100, 0), (BLOCK, KIB), (2 * BLOCK + 700, 2 * KIB), (ROOM, 3 * KIB)] {
        let mut update = open(&mut chip, &report);
        let begun = update.begin(&mut chip, &next.manifest).unwrap();
        assert_eq!(Some(begun), update.received());
        update.write(&mut chip, begun, &next.image[begun as usize..sent]).unwrap();
        let update = open(&mut chip, &report);
        assert_eq!(update.received(), Some(left));
        // A boot between them changes nothing.
        assert_eq!(start(&mut chip).mode, Mode::Confirmed);
    }
    let mut update = open(&mut chip, &report);
    assert_eq!(update.finish(&mut chip).map(drop), Ok(()));
}

#[test]
fn an_image_without_the_measurement_is_not_staged() {
    for wrong in [0, 1500, 1999] {
        let (mut chip, report) = device();
        let next = Release::new("2", 2, 2000);
        let mut image = next.image.clone();
        image[wrong] ^= 4;
        let mut update = open(&mut chip, &report);
        update.begin(&mut chip, &next.manifest).unwrap();
        update.write(&mut chip, 0, &image).unwrap();
        assert_eq!(update.finish(&mut chip), Err(UpdateError::Refused(Reason::Measurement)));
        assert_eq!((update.state().other, update.received()), (Other::Failed, None));
        let report = start(&mut chip);
        assert_eq!((report.slot, report.mode), (SlotId::A, Mode::Confirmed));
        // And the right one still can be.
        let mut update = open(&mut chip, &report);
        update.begin(&mut chip, &next.manifest).unwrap();
        update.write(&mut chip, 0, &next.image).unwrap();
        assert_eq!(update.finish(&mut chip).map(drop), Ok(()));
    }
}

#[test]
fn another_update_takes_the_place_of_the_one_under_way() {
    let (mut chip, report) = device();
    let (first, second) = (Release::new("2", 2, 3000), Release::new("3", 2, 1000));
    let mut update = open(&mut chip, &report);
    update.begin(&mut chip, &first.manifest).unwrap();
    update.write(&mut chip, 0, &first.image[..2500]).unwrap();
    assert_eq!(update.begin(&mut chip, &second.manifest), Ok(0));
    assert_eq!(update.begin(&mut chip, &first.manifest), Ok(0), "its bytes are gone");
    update.begin(&mut chip, &second.manifest).unwrap();
    update.write(&mut chip, 0, &second.image).unwrap();
    update.finish(&mut chip).unwrap();
    // One that is refused leaves the staged one alone.
    let mut forged = first.clone();
    forged.sign_quickly(&[1]);
    assert!(update.begin(&mut chip, &forged.manifest).is_err());
    assert_eq!(update.state().other, Other::Staged);
    update.cancel(&mut chip).unwrap();
    assert_eq!(start(&mut chip).mode, Mode::Confirmed);
}

#[test]
fn a_trial_neither_updates_nor_returns_once_confirmed() {
    let (mut chip, report) = device();
    let next = Release::new("2", 2, 500);
    let mut update = open(&mut chip, &report);
    update.begin(&mut chip, &next.manifest).unwrap();
    update.write(&mut chip, 0, &next.image).unwrap();
    update.finish(&mut chip).unwrap();
    // The image that runs is confirmed, the staged one is not meant by this.
    update.confirm(&mut chip, &mut NoCounter).unwrap();
    assert_eq!(update.state().active, SlotId::A);

    let report = start(&mut chip);
    let mut update = open(&mut chip, &report);
    assert_eq!(update.begin(&mut chip, &next.manifest), Err(UpdateError::Unconfirmed));
    assert_eq!(update.cancel(&mut chip), Err(UpdateError::Unconfirmed));
    for _ in 0..2 {
        update.confirm(&mut chip, &mut NoCounter).unwrap();
    }
    // At once, without a reboot, the former slot is free.
    assert_eq!(update.begin(&mut chip, &next.manifest), Ok(0));
    for _ in 0..3 {
        assert_eq!((start(&mut chip).slot, start(&mut chip).mode), (SlotId::B, Mode::Confirmed));
    }
}

#[test]
fn a_board_may_give_several_trials() {
    let (mut chip, report) = device();
    let mut board = board();
    board.trials = 3;
    let next = Release::new("2", 2, 500);
    let mut update = open(&mut chip, &report);
    update.begin(&mut chip, &next.manifest).unwrap();
    update.write(&mut chip, 0, &next.image).unwrap();
    update.finish(&mut chip).unwrap();
    let mut mode =
        || boot(&mut chip, &board, &Quick, &mut NoCounter, ResetReason::Watchdog).unwrap().mode;
    for _ in 0..3 {
        assert_eq!(mode(), Mode::Trial);
    }
    assert_eq!(mode(), Mode::Confirmed);
}

#[test]
fn firmware_that_the_record_does_not_speak_of_updates_nothing() {
    let (mut chip, report) = device();
    let elsewhere = Report { slot: SlotId::B, ..report };
    let board = board();
    let open = |chip: &mut Flash, report| Update::open(chip, &board, Quick, report).err();
    assert_eq!(open(&mut chip, &elsewhere), Some(UpdateError::Record));
    assert_eq!(open(&mut Flash::new(CHIP, 1), &report), Some(UpdateError::Record));
    assert_eq!(open(&mut Flash::new(CHIP - BLOCK, 1), &report), Some(UpdateError::Record));
}

/// A word that does not take a program: the update fails, and the device does not.
#[test]
fn worn_flash_ends_the_update_only() {
    let slot = LAYOUT.b.start as usize;
    let next = Release::new("2", 2, 2500);
    let manifest = slot + 3 * BLOCK;
    for worn in [slot, slot + 1024, slot + 2496, manifest, manifest + 200] {
        let (mut chip, report) = device();
        chip.wear_out(worn);
        let mut update = open(&mut chip, &report);
        let begun = update.begin(&mut chip, &next.manifest);
        if worn < manifest {
            assert_eq!(begun, Ok(0));
            for _ in 0..2 {
                let at = update.received().unwrap();
                let written = update.write(&mut chip, at, &next.image[at as usize..]);
                assert_eq!(written, Err(UpdateError::Flash));
                let whole = (worn - slot) / BLOCK * BLOCK;
                assert_eq!(update.received(), Some(whole as u32));
            }
        } else {
            assert_eq!(begun, Err(UpdateError::Flash));
            assert_eq!(update.received(), None);
        }
        assert_eq!(start(&mut chip).mode, Mode::Confirmed);
    }
}
