//! Strongroom HSM firmware: boards, drivers and non-volatile storage.
//!
//! | module | subject |
//! |---|---|
//! | [`board`] | one file for each board: what the core's platform is made of there |
//! | [`chip`] | registers, the only place for `unsafe` |
//! | [`nv`] | power-cut-safe records on NOR flash |
//! | [`serve`] | main loop between the lines and the core |
#![no_std]
#![cfg_attr(
    not(test),
    warn(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)
)]

#[cfg(any(test, feature = "host"))]
extern crate std;

pub mod board;
pub mod chip;
pub mod nv;
pub mod serve;
