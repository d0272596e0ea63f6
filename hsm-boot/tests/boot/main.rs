//! Boot and update on a NOR flash that fails like a real one.

#![allow(clippy::cast_possible_truncation)] // of sizes that the tests have made

// The flash of the record log's tests: one model of what a power cut does.
#[allow(dead_code)]
#[path = "../../../hsm-firmware/tests/nv/flash.rs"]
mod flash;

mod cuts;
mod damage;
mod manifests;
mod random;
mod release;
mod update;
mod world;
