//! Cuts power at every program and erase step, and at the steps of the recovery from a cut.

use proptest::prelude::*;

use crate::flash::{Chip, Rng};
use crate::model::{CHIP, Model, Op, assert_scrubbed, contents, open};

/// Runs random operations. Before each one, runs it on copies of the chip, one for each of its
/// steps, cuts power in that step, and checks what the log holds afterwards.
fn every_cut<const W: usize>(seed: u64, operations: usize, recover: fn(Chip<W>, u64) -> Chip<W>) {
    let mut rng = Rng::new(seed);
    let mut model = Model::new();
    let mut log = open(Chip::<W>::new(CHIP, seed));
    log.mount().expect("blank flash is formatted");
    let mut cuts = 0u64;
    for number in 0..operations {
        let op = Op::random(&mut rng);
        let before = model.clone();
        let expected = op.apply(&mut model);
        for cut in 0.. {
            let mut victim = log.clone();
            victim.flash().cut_after(cut);
            let result = op.run(&mut victim);
            let torn = victim.into_flash();
            if torn.is_powered() {
                assert_eq!(result, expected, "{op:?}");
                break;
            }
            cuts += 1;
            let context = format!("seed {seed}, operation {number}, cut {cut}");
            check(recover(torn, rng.next()), &before, &model, &context);
        }
        assert_eq!(op.run(&mut log), expected, "seed {seed}, operation {number}: {op:?}");
        assert_eq!(contents(&mut log).as_ref(), Ok(&model), "seed {seed}, operation {number}");
    }
    assert!(cuts > 500, "{cuts} cuts only");
}

/// Checks that the log holds the records from before the operation or those from after it, holds
/// the same records after every restart, and still takes new ones.
fn check<const W: usize>(mut chip: Chip<W>, before: &Model, after: &Model, context: &str) {
    chip.power_on(1);
    let mut log = open(chip);
    let mut now = contents(&mut log).unwrap_or_else(|error| panic!("{context}: {error:?}"));
    assert!(now == *before || now == *after, "{context}: neither before nor after");
    assert_scrubbed(log.flash(), &now);

    let mut chip = log.into_flash();
    for seed in 2..4 {
        chip.power_on(seed);
        let mut log = open(chip);
        assert_eq!(contents(&mut log).as_ref(), Ok(&now), "{context}: changed its mind");
        let op = Op::Write(1, context.as_bytes().to_vec());
        if op.apply(&mut now).is_ok() {
            assert_eq!(op.run(&mut log), Ok(()), "{context}");
        }
        assert_eq!(contents(&mut log).as_ref(), Ok(&now), "{context}");
        chip = log.into_flash();
    }
}

/// Leaves the chip as it is: power comes back and stays.
fn at_once<const W: usize>(chip: Chip<W>, _: u64) -> Chip<W> {
    chip
}

/// Cuts power during the recovery, and during the recovery from that, up to five times.
fn in_recovery<const W: usize>(mut chip: Chip<W>, seed: u64) -> Chip<W> {
    let mut rng = Rng::new(seed);
    for _ in 0..rng.below(5) + 1 {
        chip.power_on(rng.next());
        chip.cut_after(rng.below(80) as u64);
        let mut log = open(chip);
        let _ = log.mount();
        chip = log.into_flash();
    }
    chip
}

#[test]
fn every_step_with_words_of_1() {
    every_cut::<1>(1, 20, at_once);
}

#[test]
fn every_step_with_words_of_2() {
    every_cut::<2>(2, 40, at_once);
}

#[test]
fn every_step_with_words_of_4() {
    for seed in 3..5 {
        every_cut::<4>(seed, 60, at_once);
    }
}

#[test]
fn every_step_with_words_of_8() {
    every_cut::<8>(5, 80, at_once);
}

#[test]
fn every_step_with_words_of_16() {
    every_cut::<16>(6, 100, at_once);
}

#[test]
fn recovery_survives_cuts() {
    for seed in 10..13 {
        every_cut::<4>(seed, 40, in_recovery);
    }
}

/// Every step of the recovery from every cut of a write, a removal and a zeroisation.
#[test]
fn every_step_of_every_recovery() {
    let mut model = Model::new();
    let mut log = open(Chip::<16>::new(CHIP, 7));
    for id in 0..4 {
        let op = Op::Write(id, vec![id as u8 + 1; 40]);
        op.apply(&mut model).unwrap();
        op.run(&mut log).unwrap();
    }
    let sound = log;
    for op in [Op::Write(2, vec![0x5A; 50]), Op::Remove(3), Op::EraseAll, Op::Remount] {
        let mut after = model.clone();
        op.apply(&mut after).unwrap();
        for cut in 0.. {
            let mut victim = sound.clone();
            victim.flash().cut_after(cut);
            let _ = op.run(&mut victim);
            let torn = victim.into_flash();
            if torn.is_powered() {
                break;
            }
            for again in 0.. {
                let mut chip = torn.clone();
                chip.power_on(cut + 1);
                chip.cut_after(again);
                let mut log = open(chip);
                let _ = log.mount();
                let chip = log.into_flash();
                let recovered = chip.is_powered();
                check(chip, &model, &after, &format!("{op:?}, cut {cut}, then {again}"));
                if recovered {
                    break;
                }
            }
        }
    }
}

/// A zeroisation that has begun is never undone, and leaves nothing of the records anywhere.
#[test]
fn zeroisation_is_finished_by_the_next_mount() {
    let mut log = open(Chip::<4>::new(CHIP, 8));
    for id in 0..5 {
        log.write(id, &[0x11; 300]).unwrap();
    }
    let sound = log.into_flash();
    let mut begun = false;
    for cut in 0.. {
        let mut log = open(sound.clone());
        log.mount().unwrap();
        log.flash().cut_after(cut);
        let _ = log.erase_all();
        let mut chip = log.into_flash();
        let done = chip.is_powered();
        chip.power_on(cut);
        let mut log = open(chip);
        let now = contents(&mut log).unwrap();
        // A zeroisation that is cut in its first steps has not begun; after them, it cannot be
        // undone.
        assert!(now.is_empty() || now.len() == 5);
        assert!(!begun || now.is_empty(), "cut {cut}: undone");
        begun = begun || (now.is_empty() && cut > 20);
        if now.is_empty() {
            let chip = log.into_flash();
            assert!(!chip.cells().contains(&0x11), "cut {cut}: data left");
        }
        if done {
            assert!(begun);
            break;
        }
    }
}

#[test]
fn first_start_survives_cuts() {
    for cut in 0.. {
        let mut chip = Chip::<4>::new(CHIP, cut);
        chip.cut_after(cut);
        let mut log = open(chip);
        let result = log.mount();
        let chip = log.into_flash();
        let done = chip.is_powered();
        check(chip, &Model::new(), &Model::new(), &format!("first start, cut {cut}"));
        if done {
            assert_eq!(result, Ok(()));
            break;
        }
    }
}

/// A torn zeroisation mark on flash that never held a log does not count: the flash can be used.
#[test]
fn erasing_a_fresh_chip_survives_cuts() {
    for seed in 0..8 {
        for cut in 0.. {
            let mut chip = Chip::<8>::new(CHIP, seed);
            chip.cut_after(cut);
            let mut log = open(chip);
            let _ = log.erase_all();
            let chip = log.into_flash();
            let done = chip.is_powered();
            check(chip, &Model::new(), &Model::new(), &format!("seed {seed}, cut {cut}"));
            if done {
                break;
            }
        }
    }
}

fn op() -> impl Strategy<Value = Op> {
    let data = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..64),
        prop::collection::vec(prop_oneof![Just(0xFF), Just(0)], 0..700),
        (any::<u8>(), 0usize..4200).prop_map(|(byte, len)| vec![byte; len]),
    ];
    prop_oneof![
        8 => (0u16..7, data).prop_map(|(id, data)| Op::Write(id, data)),
        2 => (0u16..7).prop_map(Op::Remove),
        1 => Just(Op::EraseAll),
        2 => Just(Op::Remount),
    ]
}

proptest! {
    /// Runs any operations and cuts power at any step; a failing case shrinks to one that is easy
    /// to read.
    #[test]
    fn any_operations(ops in prop::collection::vec(op(), 1..40), cut in 0u64..4000, seed: u64) {
        let mut model = Model::new();
        let mut chip = Chip::<8>::new(CHIP, seed);
        chip.cut_after(cut);
        let mut log = open(chip);
        for op in &ops {
            let before = model.clone();
            let expected = op.apply(&mut model);
            let result = op.run(&mut log);
            if !log.flash().is_powered() {
                check(log.into_flash(), &before, &model, &format!("{op:?}"));
                return Ok(());
            }
            prop_assert_eq!(result, expected);
            let now = contents(&mut log);
            if !log.flash().is_powered() {
                check(log.into_flash(), &before, &model, &format!("after {op:?}"));
                return Ok(());
            }
            prop_assert_eq!(now.as_ref(), Ok(&model));
        }
    }
}
