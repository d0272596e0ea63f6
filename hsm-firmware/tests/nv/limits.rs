//! Limits, wear and geometry.

use hsm_firmware::nv::{Geometry, LogError, MAX_DATA, MAX_RECORDS, RecordLog};

use crate::flash::{BLOCK, Chip};
use crate::model::{CHIP, GEOMETRY, open};

#[test]
fn longest_record() {
    let mut log = open(Chip::<4>::new(CHIP, 1));
    let data: Vec<u8> = (0..MAX_DATA).map(|n| n as u8).collect();
    let mut buf = [0; MAX_DATA];
    for len in [0, 1, 15, 16, 17, MAX_DATA - 1, MAX_DATA] {
        log.write(9, &data[..len]).unwrap();
        assert_eq!(log.read(9, &mut buf), Ok(Some(&data[..len])));
    }
    assert_eq!(log.write(9, &vec![0; MAX_DATA + 1]), Err(LogError::TooLong));
    assert_eq!(log.write(9, &vec![0; 70_000]), Err(LogError::TooLong));
    assert_eq!(log.read(9, &mut [0; MAX_DATA - 1]), Err(LogError::BufferTooSmall));
    assert_eq!(log.read(9, &mut buf), Ok(Some(&data[..])));
}

#[test]
fn a_full_log_keeps_working() {
    let mut log = open(Chip::<4>::new(CHIP, 1));
    let mut id = 0;
    while log.write(id, &[id as u8; 500]).is_ok() {
        id += 1;
    }
    assert_eq!(log.write(id, &[0; 500]), Err(LogError::Full));
    assert!(log.capacity() - log.used() < 544);
    let mut buf = [0; 500];
    for round in 0..50 {
        for id in 0..id {
            log.write(id, &[round ^ id as u8; 500]).unwrap();
        }
    }
    for id in 0..id {
        assert_eq!(log.read(id, &mut buf), Ok(Some(&[49 ^ id as u8; 500][..])));
    }
    log.remove(0).unwrap();
    log.write(id, &[7; 500]).unwrap();
}

#[test]
fn as_many_records_as_promised() {
    let mut log = open(Chip::<4>::new(CHIP, 1));
    for id in 0..MAX_RECORDS {
        log.write(id as u16 * 1000, b"x").unwrap();
    }
    assert_eq!(log.write(1, b"x"), Err(LogError::Full));
    log.write(5000, b"y").unwrap();
    log.remove(4000).unwrap();
    log.write(1, b"x").unwrap();
    let mut log = open(log.into_flash());
    assert_eq!(log.read(5000, &mut [0; 9]), Ok(Some(&b"y"[..])));
    assert_eq!(log.read(4000, &mut [0; 9]), Ok(None));
}

#[test]
fn removing_nothing_writes_nothing() {
    let mut log = open(Chip::<4>::new(CHIP, 1));
    log.mount().unwrap();
    let steps = log.flash().steps;
    log.remove(1).unwrap();
    assert_eq!(log.flash().steps, steps);
}

#[test]
fn two_segments_are_enough() {
    let geometry = Geometry { segments: 2, ..GEOMETRY };
    let mut log = RecordLog::new(Chip::<4>::new(CHIP, 1), geometry);
    for round in 0..200 {
        log.write(round % 3, &[round as u8; 400]).unwrap();
    }
    log.erase_all().unwrap();
    log.write(1, b"after").unwrap();
    let mut log = RecordLog::new(log.into_flash(), geometry);
    assert_eq!(log.read(1, &mut [0; 9]), Ok(Some(&b"after"[..])));
    assert_eq!(log.read(2, &mut [0; 9]), Ok(None));
}

#[test]
fn impossible_geometries_are_refused() {
    let block = BLOCK as u32;
    for geometry in [
        Geometry { segments: 1, ..GEOMETRY },
        Geometry { segments: 4, ..GEOMETRY },
        Geometry { segments: u32::MAX, ..GEOMETRY },
        Geometry { start: block / 2, ..GEOMETRY },
        Geometry { start: u32::MAX / block * block, ..GEOMETRY },
        Geometry { segment: 8 * block, ..GEOMETRY },
        Geometry { segment: 9 * block + 16, ..GEOMETRY },
        Geometry { segment: 0, ..GEOMETRY },
    ] {
        let mut log = RecordLog::new(Chip::<4>::new(CHIP, 1), geometry);
        assert_eq!(log.mount(), Err(LogError::Geometry), "{geometry:?}");
        assert_eq!(log.erase_all(), Err(LogError::Geometry), "{geometry:?}");
    }
}

#[test]
fn nothing_outside_the_region_is_touched() {
    let mut log = open(Chip::<4>::new(CHIP, 1));
    for round in 0..300u16 {
        log.write(round % 5, &[round as u8; 300]).unwrap();
    }
    log.erase_all().unwrap();
    let chip = log.into_flash();
    assert!(chip.cells()[..BLOCK].iter().all(|cell| *cell == 0xFF));
    assert!(chip.cells()[CHIP - BLOCK..].iter().all(|cell| *cell == 0xFF));
}
