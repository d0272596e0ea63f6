//! Strongroom HSM firmware: boards, drivers and non-volatile storage.
#![no_std]

#[cfg(test)]
extern crate std;

pub mod nv;
