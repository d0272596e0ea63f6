//! libFuzzer around one target, named by `STRONGROOM_FUZZ_TARGET`.
#![no_main]

use std::env;
use std::sync::OnceLock;

use hsm_fuzz::{TARGETS, Target};
use libfuzzer_sys::fuzz_target;

fn target() -> fn(&[u8]) {
    static TARGET: OnceLock<fn(&[u8])> = OnceLock::new();
    *TARGET.get_or_init(|| {
        let name = env::var("STRONGROOM_FUZZ_TARGET").unwrap_or_default();
        let found = TARGETS.iter().find(|Target(target, _)| *target == name);
        found.unwrap_or_else(|| panic!("no target `{name}`; run: cargo xtask fuzz")).1
    })
}

fuzz_target!(|input: &[u8]| target()(input));
