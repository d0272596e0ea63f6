//! The cryptographic core of the Strongroom HSM: `no_std`, no `unsafe`, a heap for RSA and
//! certificates only.
#![no_std]
#![cfg_attr(
    not(test),
    warn(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects
    )
)]

// For RSA, whose library has no other numbers, and certification paths, whose library tells of errors
// at length. Boards give it a heap that wipes what is freed.
extern crate alloc;
#[cfg(any(test, feature = "test-platform"))]
extern crate std;

mod admission;
pub mod aead;
pub mod algorithm;
mod approval;
#[cfg(feature = "rsa")]
pub mod attestation;
pub mod audit;
mod command;
mod curve;
mod dispatch;
pub mod drbg;
pub mod entropy;
#[cfg(feature = "rsa")]
pub mod envelope;
pub mod fault;
mod hsm;
pub mod kbkdf;
pub mod keystore;
pub mod memory;
mod module;
pub mod platform;
pub mod secret;
pub mod self_test;
pub mod session;
pub mod shamir;
#[cfg(any(test, feature = "test-platform"))]
pub mod testing;
mod throttle;

pub use hsm::{Hsm, NextWork, WINDOW};
pub use platform::Platform;
