//! Damage that no power cut explains is reported, and worn cells are avoided.

use embedded_storage::nor_flash::NorFlashErrorKind;
use hsm_firmware::nv::LogError;

use crate::flash::Chip;
use crate::model::{CHIP, GEOMETRY, Model, contents, open};

/// A freshly mounted log with five records of 100 bytes, which follow each other from the header of
/// the active segment on.
fn five_records() -> (Chip<4>, usize, Model) {
    let mut log = open(Chip::new(CHIP, 1));
    for id in 0..5 {
        log.write(id, &[id as u8 | 0xA0; 100]).unwrap();
    }
    let mut log = open(log.into_flash());
    let model = contents(&mut log).unwrap();
    let chip = log.into_flash();
    let active = chip.cells().windows(4).position(|cells| cells == b"SRNV").unwrap();
    (chip, active, model)
}

#[test]
fn a_damaged_record_is_not_replaced_by_an_older_state() {
    let (sound, active, _) = five_records();
    // Header, data and commit of each of the first four records: 16 + 112 + 16 bytes.
    for at in (active + 32..active + 32 + 4 * 144).step_by(3) {
        for mask in [0x01, 0x80, 0xFF] {
            let mut chip = sound.clone();
            chip.damage(at, mask);
            if chip.cells() == sound.cells() {
                continue;
            }
            let padding = (at - active - 32) % 144;
            let mut log = open(chip);
            let expected =
                if (116..128).contains(&padding) { Ok(()) } else { Err(LogError::Corrupt) };
            assert_eq!(log.mount(), expected, "offset {at:#x}, mask {mask:#x}");
        }
    }
}

#[test]
fn a_damaged_header_is_not_taken_for_new_flash() {
    let (sound, active, _) = five_records();
    for at in active..active + 32 {
        let mut chip = sound.clone();
        chip.damage(at, 0xFF);
        if chip.cells() != sound.cells() {
            assert_eq!(open(chip).mount(), Err(LogError::Corrupt), "offset {at:#x}");
        }
    }
}

#[test]
fn foreign_flash_is_refused() {
    let mut chip = Chip::<4>::new(CHIP, 1);
    for at in (0..CHIP).step_by(7) {
        chip.damage(at, 0x55);
    }
    let mut log = open(chip);
    assert_eq!(log.mount(), Err(LogError::Corrupt));
    assert_eq!(log.write(1, b"x"), Err(LogError::Corrupt));
    assert_eq!(log.remove(1), Err(LogError::Corrupt));
}

#[test]
fn zeroisation_works_on_a_corrupt_log() {
    let (sound, active, _) = five_records();
    for at in [active + 4, active + 40] {
        let mut chip = sound.clone();
        chip.damage(at, 0xFF);
        let mut log = open(chip);
        assert_eq!(log.mount(), Err(LogError::Corrupt));
        log.erase_all().unwrap();
        assert_eq!(contents(&mut log), Ok(Model::new()));
        log.write(3, b"new").unwrap();
        let mut log = open(log.into_flash());
        assert_eq!(contents(&mut log), Ok(Model::from([(3, b"new".to_vec())])));
        assert!(!log.into_flash().cells().contains(&0xA1));
    }
}

#[test]
fn a_record_damaged_while_mounted_is_reported() {
    let (chip, active, _) = five_records();
    let mut log = open(chip);
    log.mount().unwrap();
    // Mounting moved on to the next segment.
    let segment = GEOMETRY.segment as usize;
    let index = (active - GEOMETRY.start as usize) / segment;
    let active = GEOMETRY.start as usize + (index + 1) % 3 * segment;
    for at in (active + 32..active + 32 + 5 * 144).step_by(144) {
        log.flash().damage(at + 20, 0xFF);
    }
    for id in 0..5 {
        assert_eq!(log.read(id, &mut [0; 200]), Err(LogError::Corrupt));
    }
    assert_eq!(log.read(6, &mut [0; 200]), Ok(None));
}

#[test]
fn worn_cells_are_avoided() {
    let (sound, active, mut model) = five_records();
    let start = GEOMETRY.start as usize;
    let segment = GEOMETRY.segment as usize;
    for worn in 0..3 {
        for at in [0, 36, 2000] {
            let at = start + worn * segment + at;
            if (active..active + segment).contains(&at) {
                continue; // it holds the records: wear there would be damage
            }
            let mut chip = sound.clone();
            chip.wear_out(at);
            let mut log = open(chip);
            for round in 0..100 {
                let data = vec![round; 200];
                log.write(6, &data).unwrap();
                model.insert(6, data);
                assert_eq!(contents(&mut log).as_ref(), Ok(&model), "worn at {at:#x}");
            }
            let mut log = open(log.into_flash());
            assert_eq!(contents(&mut log).as_ref(), Ok(&model), "worn at {at:#x}");
        }
    }
}

#[test]
fn a_segment_that_does_not_erase_is_outranked() {
    let (sound, active, mut model) = five_records();
    let mut log = open(sound);
    // The segment keeps a valid header and old records permanently.
    log.flash().lock(active..active + GEOMETRY.segment as usize);
    for round in 0..100u8 {
        log.write(2, &[round; 300]).unwrap();
        model.insert(2, vec![round; 300]);
        if round % 7 == 0 {
            log = open(log.into_flash());
        }
        assert_eq!(contents(&mut log).as_ref(), Ok(&model), "round {round}");
    }
    assert_eq!(log.erase_all(), Err(LogError::Flash(NorFlashErrorKind::Other)));
    let mut log = open(log.into_flash());
    assert_eq!(log.read(1, &mut [0; 200]), Err(LogError::Flash(NorFlashErrorKind::Other)));
}

#[test]
fn zeroisation_reports_what_it_cannot_erase() {
    let (sound, active, _) = five_records();
    let mut log = open(sound);
    log.mount().unwrap();
    log.flash().wear_out(active + 3000);
    assert_eq!(log.erase_all(), Err(LogError::Verify));
    // The records are erased nevertheless, and later mounts still report the failure.
    assert_eq!(log.read(1, &mut [0; 200]), Err(LogError::Verify));
    assert!(!log.into_flash().cells().contains(&0xA1));
}
