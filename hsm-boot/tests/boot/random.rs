//! Random operations with power cuts at random places; a failing case shrinks to one that is easy to
//! read.

use proptest::prelude::*;

use crate::flash::BLOCK;
use crate::release::{ROOM, Release};
use crate::world::{Op, World};

fn release() -> impl Strategy<Value = Release> {
    let length = prop_oneof![20..ROOM, Just(ROOM), Just(BLOCK), Just(20)];
    (0u32..4, length)
        .prop_map(|(security, length)| Release::new(&format!("v{length}"), security, length))
}

fn op() -> impl Strategy<Value = Op> {
    let piece = prop_oneof![1usize..40, Just(256), 1..ROOM];
    prop_oneof![
        4 => Just(Op::Boot),
        3 => (release(), piece).prop_map(|(release, piece)| Op::Install(release, piece)),
        2 => Just(Op::Confirm),
    ]
}

/// Where power fails in an operation: often at its beginning, where the record is written.
fn cut() -> impl Strategy<Value = Option<u64>> {
    prop_oneof![3 => Just(None), 1 => (0u64..30).prop_map(Some), 1 => (0u64..400).prop_map(Some)]
}

fn run<const W: usize>(ops: &[(Op, Option<u64>)], fuses: bool, seed: u64) {
    let mut world = World::<W>::new(&Release::new("1", 1, 2 * BLOCK), fuses, seed);
    for (number, (op, cut)) in ops.iter().enumerate() {
        if !world.can(op) {
            continue;
        }
        if let Some(cut) = cut {
            world.chip.cut_after(*cut);
        }
        world.run(op);
        world.power_on_if_cut(seed ^ number as u64);
    }
    world.check(&Release::new("next", 9, 2 * BLOCK + 1));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn any_operations_with_words_of_8(
        ops in prop::collection::vec((op(), cut()), 1..25), fuses: bool, seed: u64,
    ) {
        run::<8>(&ops, fuses, seed);
    }

    #[test]
    fn any_operations_with_words_of_32(
        ops in prop::collection::vec((op(), cut()), 1..40), fuses: bool, seed: u64,
    ) {
        run::<32>(&ops, fuses, seed);
    }
}
