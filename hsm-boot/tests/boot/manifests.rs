//! Which manifests are accepted: by `begin`, before anything is erased, and at boot.

use hsm_boot::manifest::{ANY_ADDRESS, Manifest, Name, Signature};
use hsm_boot::{
    Board, Mode, NoCounter, P256, Reason, Report, ResetReason, SignerKey, SignerSet, SlotId,
    Update, UpdateError, Verify, boot,
};

use crate::flash::{BLOCK, Chip};
use crate::release::{CHIP, LAYOUT, ROOM, Release, board, ecdsa, keys};
use crate::world::flash_slot;

type Flash = Chip<16>;

fn release(version: &str, security_version: u32) -> Release {
    let mut release = Release::new(version, security_version, BLOCK + 100);
    release.sign(&[0, 1]);
    release
}

fn start(chip: &mut Flash) -> Report {
    boot(chip, &board(), &P256, &mut NoCounter, ResetReason::PowerOn).unwrap()
}

/// A device that runs an image of security version 2 in slot A.
fn device() -> (Flash, Report) {
    let mut chip = Flash::new(CHIP, 1);
    flash_slot(&mut chip, SlotId::A, &release("1", 2));
    let report = start(&mut chip);
    (chip, report)
}

/// What `begin` says; if it refuses, it has changed nothing.
fn begin(manifest: &[u8]) -> Result<u32, UpdateError> {
    let (mut chip, report) = device();
    let board = board();
    let mut update = Update::open(&mut chip, &board, P256, &report).unwrap();
    let before = (chip.cells().to_vec(), chip.steps);
    let begun = update.begin(&mut chip, manifest);
    if begun.is_err() {
        assert!(before == (chip.cells().to_vec(), chip.steps), "a refusal has changed flash");
        assert_eq!(update.received(), None);
    }
    begun
}

fn refused(release: &Release) -> Reason {
    match begin(&release.manifest) {
        Err(UpdateError::Refused(reason)) => reason,
        other => panic!("{release:?}: {other:?}"),
    }
}

#[test]
fn an_update_with_real_signatures_from_begin_to_confirmation() {
    let (mut chip, report) = device();
    assert_eq!((report.slot, report.mode), (SlotId::A, Mode::Confirmed));
    let board = board();
    let next = release("2", 3);
    let mut update = Update::open(&mut chip, &board, P256, &report).unwrap();
    assert_eq!(update.begin(&mut chip, &next.manifest), Ok(0));
    assert_eq!(update.write(&mut chip, 0, &next.image), Ok(BLOCK as u32 + 100));
    update.finish(&mut chip).unwrap();
    let report = start(&mut chip);
    assert_eq!((report.slot, report.mode), (SlotId::B, Mode::Trial));
    assert_eq!((report.measurement, report.floor), (next.body.measurement, 2));
    let mut update = Update::open(&mut chip, &board, P256, &report).unwrap();
    update.confirm(&mut chip, &mut NoCounter).unwrap();
    let report = start(&mut chip);
    assert_eq!((report.slot, report.mode, report.floor), (SlotId::B, Mode::Confirmed, 3));
}

#[test]
fn no_flipped_bit_is_accepted() {
    let good = release("2", 3);
    assert_eq!(begin(&good.manifest), Ok(0));
    let (board, room) = (board(), ROOM as u32);
    let check = |manifest: &[u8]| {
        board.check(manifest, SlotId::B, room, 2, &P256).map(|genuine| genuine.manifest().body)
    };
    assert_eq!(check(&good.manifest), Ok(good.body));
    for at in 0..good.manifest.len() {
        for mask in [0x01, 0x80, 0xFF] {
            let mut bad = good.manifest.clone();
            bad[at] ^= mask;
            // Signer 0 and signer 1 have different keys, so no other index fits either.
            assert!(check(&bad).is_err(), "byte {at}, mask {mask:#x}");
        }
    }
    for at in (0..good.manifest.len()).step_by(7) {
        let mut bad = good.manifest.clone();
        bad[at] ^= 0x10;
        assert!(begin(&bad).is_err(), "byte {at}");
    }
}

#[test]
fn no_truncation_is_accepted() {
    let good = release("2", 3);
    for length in 0..good.manifest.len() {
        let expected = Err(UpdateError::Refused(Reason::Manifest));
        assert_eq!(begin(&good.manifest[..length]), expected, "{length} bytes");
    }
    assert!(begin(&[good.manifest, vec![0]].concat()).is_err());
}

/// Two of three signers, in any order and any number of times.
#[test]
fn as_many_distinct_signers_as_the_set_asks_for() {
    let (board, mut release) = (board(), release("2", 3));
    for sequence in 0..4usize.pow(4) {
        let signers: Vec<u8> = (0..4)
            .map(|place| (sequence / 4usize.pow(place) % 4) as u8)
            .filter(|signer| *signer < 3)
            .collect();
        if signers.is_empty() {
            continue;
        }
        release.sign_quickly(&signers);
        let manifest = Manifest::parse(&release.manifest).unwrap();
        let distinct = (0..3).filter(|signer| signers.contains(signer)).count();
        let expected = if distinct >= 2 { Ok(()) } else { Err(Reason::TooFewSigners) };
        assert_eq!(board.signers.check(&manifest, &crate::release::Quick), expected, "{signers:?}");
    }
}

#[test]
fn signatures_that_do_not_count() {
    let mut bad = release("2", 3);
    let digest = bad.body.digest();
    let (a, b) = (ecdsa(0, &digest), ecdsa(1, &digest));

    bad.attach(&[(0, a)]);
    assert_eq!(refused(&bad), Reason::TooFewSigners);
    bad.attach(&[(0, a), (0, a)]);
    assert_eq!(refused(&bad), Reason::TooFewSigners);
    bad.attach(&[(0, a), (1, a)]);
    assert_eq!(refused(&bad), Reason::Signature);
    bad.attach(&[(0, b), (1, a)]);
    assert_eq!(refused(&bad), Reason::Signature);
    bad.attach(&[(0, a), (1, b), (2, [0; 64])]);
    assert_eq!(refused(&bad), Reason::Signature);
    for stranger in [3, 7, 8, 255] {
        bad.attach(&[(0, a), (1, b), (stranger, ecdsa(3, &digest))]);
        assert_eq!(refused(&bad), Reason::UnknownSigner, "{stranger}");
    }
    bad.attach(&[(0, ecdsa(0, &[1; 32])), (1, b)]);
    assert_eq!(refused(&bad), Reason::Signature);
    // Over the hash of the body without the label.
    let bare = <sha2::Sha256 as sha2::Digest>::digest(bad.body.encode()).into();
    bad.attach(&[(0, ecdsa(0, &bare)), (1, ecdsa(1, &bare))]);
    assert_eq!(refused(&bad), Reason::Signature);
    // Of another manifest.
    let mut other = bad.clone();
    other.body.security_version += 1;
    other.attach(&[(0, a), (1, b)]);
    assert_eq!(refused(&other), Reason::Signature);
}

/// FIPS 186-5, 6.4.2: r and s from 1 to n − 1; nothing more is asked of s.
#[test]
fn the_ranges_of_r_and_s() {
    let digest = [5; 32];
    let key = keys(1)[0];
    let good = ecdsa(0, &digest);
    assert!(P256.verify(&key, &digest, &good));
    let read = p256::ecdsa::Signature::from_slice(&good).unwrap();
    let (r, s) = read.split_scalars();
    let negated = p256::ecdsa::Signature::from_scalars(*r, -*s).unwrap();
    assert!(P256.verify(&key, &digest, &negated.to_bytes().into()));

    let order: [u8; 32] = [
        0xFF, 0xFF, 0xFF, 0xFF, 0, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xBC,
        0xE6, 0xFA, 0xAD, 0xA7, 0x17, 0x9E, 0x84, 0xF3, 0xB9, 0xCA, 0xC2, 0xFC, 0x63, 0x25, 0x51,
    ];
    for out in [[0; 32], order, [0xFF; 32]] {
        for half in [0, 32] {
            let mut bad: Signature = good;
            bad[half..half + 32].copy_from_slice(&out);
            assert!(!P256.verify(&key, &digest, &bad));
        }
    }
    for bad in [SignerKey { x: [0; 32], y: [0; 32] }, SignerKey { y: key.x, ..key }] {
        assert!(!P256.verify(&bad, &digest, &good));
    }
}

#[test]
fn signer_sets() {
    let all = keys(8);
    assert!(SignerSet::new(&all, 8).is_some());
    assert!(SignerSet::new(&all[..1], 1).is_some());
    assert!(SignerSet::new(&all, 0).is_none());
    assert!(SignerSet::new(&all[..2], 3).is_none());
    assert!(SignerSet::new(&[], 0).is_none());
    assert!(SignerSet::new(&keys(9), 5).is_none());
    assert!(SignerSet::new(&[all[0], all[1], all[0]], 2).is_none());
}

#[test]
fn images_that_do_not_belong_here() {
    let signed = |change: fn(&mut Release)| {
        let mut release = release("2", 3);
        change(&mut release);
        release.sign(&[0, 1]);
        release
    };
    let other_board = signed(|release| release.body.board = Name::new("bench2").unwrap());
    assert_eq!(refused(&other_board), Reason::Board);
    assert_eq!(refused(&signed(|release| release.body.security_version = 1)), Reason::Rollback);
    let long = signed(|release| release.body.length = ROOM as u32 + 1);
    assert_eq!(refused(&long), Reason::Length);
    assert_eq!(refused(&signed(|release| release.body.length = u32::MAX)), Reason::Length);
    // Slot A runs, so the image goes to slot B.
    let for_a = signed(|release| release.body.address = LAYOUT.a.address);
    assert_eq!(refused(&for_a), Reason::Address);
    let for_b = signed(|release| release.body.address = LAYOUT.b.address);
    assert_eq!(begin(&for_b.manifest), Ok(0));
    let anywhere = signed(|release| release.body.address = ANY_ADDRESS);
    assert_eq!(begin(&anywhere.manifest), Ok(0));
    assert_eq!(begin(&signed(|release| release.body.security_version = 2).manifest), Ok(0));
    assert_eq!(begin(&signed(|release| release.body.length = ROOM as u32).manifest), Ok(0));
}

/// What `begin` refuses, the second stage refuses as well, if it gets into a slot in another way.
#[test]
fn the_second_stage_checks_all_of_it_again() {
    let refusal = |board: &Board<'_>, release: &Release| {
        let mut chip = Flash::new(CHIP, 1);
        flash_slot(&mut chip, SlotId::B, release);
        let reset = ResetReason::PowerOn;
        boot(&mut chip, board, &P256, &mut NoCounter, reset).map(|report| report.slot)
    };
    let none = |b| Err(hsm_boot::Refusal::NoImage(reasons(b)));
    let fresh = board();
    assert_eq!(refusal(&fresh, &release("1", 2)), Ok(SlotId::B));

    let mut bad = release("1", 2);
    bad.sign(&[1]);
    assert_eq!(refusal(&fresh, &bad), none(Reason::TooFewSigners));
    bad.attach(&[(0, [1; 64]), (1, [1; 64])]);
    assert_eq!(refusal(&fresh, &bad), none(Reason::Signature));
    let elsewhere = Board { name: Name::new("other").unwrap(), ..fresh };
    assert_eq!(refusal(&elsewhere, &release("1", 2)), none(Reason::Board));
    let mut bad = release("1", 2);
    bad.body.address = LAYOUT.a.address;
    bad.sign(&[0, 1]);
    assert_eq!(refusal(&fresh, &bad), none(Reason::Address));
    let mut bad = release("1", 2);
    bad.image[17] ^= 1;
    assert_eq!(refusal(&fresh, &bad), none(Reason::Measurement));
    let mut bad = release("1", 2);
    bad.manifest.truncate(100);
    assert_eq!(refusal(&fresh, &bad), none(Reason::Signature));
}

fn reasons(b: Reason) -> hsm_boot::Reasons {
    hsm_boot::Reasons { a: Some(Reason::Empty), b: Some(b) }
}
