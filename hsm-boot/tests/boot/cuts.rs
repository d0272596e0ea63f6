//! Cuts power at every program and erase step of a device's life, and of the recovery from a cut.

use crate::flash::{BLOCK, Rng};
use crate::release::Release;
use crate::world::{Op, World};

/// Two updates that are confirmed with one between them that is not, and reboots at every point.
fn life() -> Vec<Op> {
    let second = Release::new("2", 2, 2 * BLOCK + 300);
    let third = Release::new("3", 3, BLOCK);
    let fourth = Release::new("4", 2, 3 * BLOCK);
    vec![
        Op::Boot,
        Op::Boot,
        Op::Install(second, 100),
        Op::Boot,
        Op::Confirm,
        Op::Confirm,
        Op::Boot,
        Op::Install(third, BLOCK),
        Op::Boot,
        Op::Boot,
        Op::Install(fourth, 999),
        Op::Boot,
        Op::Confirm,
        Op::Boot,
    ]
}

/// Runs the life of a device. Before each operation, runs it on copies of the device, one for each of
/// its steps, cuts power in that step, and checks what the device does afterwards. Returns how many
/// cuts there were.
fn every_cut<const W: usize>(
    fuses: bool,
    seed: u64,
    recover: fn(World<W>, &Op, &mut Rng) -> World<W>,
) -> u64 {
    let mut rng = Rng::new(seed);
    let mut world = World::<W>::new(&Release::new("1", 1, 2 * BLOCK), fuses, seed);
    let next = Release::new("next", 5, 2 * BLOCK + 1);
    let mut cuts = 0;
    for op in life() {
        for cut in 0.. {
            let mut victim = world.clone();
            victim.chip.cut_after(cut);
            victim.run(&op);
            if victim.chip.is_powered() {
                break;
            }
            cuts += 1;
            // Once each with the update that was cut, which goes on, and with another one.
            let again = match &op {
                Op::Install(release, _) if cut % 2 == 0 => release,
                _ => &next,
            };
            recover(victim, &op, &mut rng).check(again);
        }
        world.run(&op);
    }
    assert!(cuts > 300, "{cuts} cuts only");
    println!("{cuts} cuts, words of {W} bytes");
    cuts
}

fn at_once<const W: usize>(world: World<W>, _: &Op, _: &mut Rng) -> World<W> {
    world
}

/// Cuts power in the boots after a cut, and in the same operation again, up to six times.
fn in_recovery<const W: usize>(mut world: World<W>, op: &Op, rng: &mut Rng) -> World<W> {
    for _ in 0..rng.below(6) + 1 {
        world.power_on(rng.next());
        world.chip.cut_after(rng.below(40) as u64);
        world.run(&Op::Boot);
        if world.chip.is_powered() && world.can(op) {
            world.chip.cut_after(rng.below(300) as u64);
            world.run(op);
        }
    }
    world
}

#[test]
fn every_step_with_words_of_4() {
    every_cut::<4>(false, 1, at_once);
}

#[test]
fn every_step_with_words_of_8_and_fuses() {
    every_cut::<8>(true, 2, at_once);
}

#[test]
fn every_step_with_words_of_16() {
    for seed in 3..6 {
        every_cut::<16>(seed == 4, seed, at_once);
    }
}

#[test]
fn every_step_with_words_of_32() {
    for seed in 6..12 {
        every_cut::<32>(seed % 2 == 0, seed, at_once);
    }
}

#[test]
fn recovery_survives_cuts() {
    for seed in 20..24 {
        every_cut::<32>(seed % 2 == 0, seed, in_recovery);
    }
    every_cut::<8>(true, 24, in_recovery);
}

/// Every step of the boot after every cut of a boot, of the end of an update and of a confirmation.
#[test]
fn every_step_of_every_boot_after_a_cut() {
    let mut world = World::<16>::new(&Release::new("1", 1, 2 * BLOCK), true, 30);
    let next = Release::new("next", 5, BLOCK);
    let mut cuts = 0;
    for op in [Op::Boot, Op::Install(Release::new("2", 2, 40), 40), Op::Boot, Op::Confirm, Op::Boot]
    {
        for cut in 0.. {
            let mut torn = world.clone();
            torn.chip.cut_after(cut);
            torn.run(&op);
            if torn.chip.is_powered() {
                break;
            }
            for again in 0.. {
                let mut victim = torn.clone();
                victim.power_on(cut + 100 * again);
                victim.chip.cut_after(again);
                victim.run(&Op::Boot);
                let whole = victim.chip.is_powered();
                victim.check(&next);
                cuts += 1;
                if whole {
                    break;
                }
            }
        }
        world.run(&op);
    }
    println!("{cuts} pairs of cuts");
    assert!(cuts > 400, "{cuts} pairs of cuts only");
}

/// Boots that change nothing do not wear the flash.
#[test]
fn a_confirmed_image_starts_without_a_write() {
    let mut world = World::<16>::new(&Release::new("1", 1, BLOCK), false, 31);
    world.run(&Op::Boot);
    let before = world.chip.steps;
    for _ in 0..5 {
        world.run(&Op::Boot);
    }
    assert_eq!(world.chip.steps, before);
}
