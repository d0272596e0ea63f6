//! The engine against a second evaluator, over random cases.

mod common;

use common::generate::{Profile, case};
use common::reference;
use common::rng::Rng;

#[test]
fn the_engine_decides_like_the_reference() {
    const CASES: u64 = 60_000;
    let mut counts = std::collections::BTreeMap::<String, usize>::new();
    for seed in 0..CASES {
        let case = case(&mut Rng::new(seed), Profile::FULL);
        let compiled = case.compile().unwrap_or_else(|error| panic!("{seed}: {error} {case:#?}"));
        let (engine, reference) = (compiled.decide(), reference::decide(&case));
        assert_eq!(engine, reference, "seed {seed}: {case:#?}");
        *counts.entry(format!("{engine:?}")).or_default() += 1;
    }
    println!("{CASES} cases: {counts:#?}");
    // Every outcome is covered by many cases.
    for outcome in ["Allowed", "OtherAccount"] {
        assert!(counts[outcome] > 1_000, "{outcome}");
    }
}
