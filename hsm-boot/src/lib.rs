//! Verified boot and A/B update of the Strongroom firmware: `no_std`, no heap, no `unsafe`.
//!
//! The second-stage boot loader of a board calls [`boot`] and jumps to the slot of the [`Report`]; the
//! firmware that it starts updates itself with [`Update`]. Both work on `embedded_storage`'s NOR flash
//! and are built with the same [`Board`]. What they protect follows NIST SP 800-193: updates are
//! authenticated (4.2.1.1), corrupted code is detected at every boot (4.3.1), and the device returns to
//! an image that worked (4.4.1). SP 800-147B asks the same of servers' firmware.
//!
//! | module | subject |
//! |---|---|
//! | [`manifest`] | what an image is, and its signatures |
//! | `signer` | m of n firmware signers |
//! | `layout` | slots and boot record on flash |
//! | `record` | the boot record, which power cuts do not harm |
//! | `state` | states, and the selection of a slot |
//! | `image` | verification of manifest and image |
//! | `boot` | the second stage's half |
//! | `update` | the firmware's half |
//! | `report` | what the second stage tells the firmware |
//! | `counter` | rollback counters in one-time-programmable memory |
//!
//! # States
//!
//! One slot is active: it holds the image that was confirmed last. The table is about the other one.
//!
//! | state of the other slot | event | next state | started |
//! |---|---|---|---|
//! | any but trial | `begin`, manifest verified | empty, then receiving, once the manifest is there | |
//! | receiving | block complete | receiving, one block more | |
//! | receiving | `finish`, image verified | staged | |
//! | receiving | `finish`, image not verified | failed | |
//! | receiving, staged | `cancel` | empty | |
//! | empty, receiving, failed, confirmed | boot | the same | active |
//! | staged, or trial with boots left | boot, image verified | trial, one boot fewer | other, as a trial |
//! | staged, or trial with boots left | boot, image not verified | failed | active |
//! | trial, in its boot | `confirm` | the slots change places; confirmed; the floor rises | |
//! | trial without boots left | boot | failed | active |
//! | confirmed | boot, active image not valid | the slots change places; failed | other, as a fallback |
//!
//! Each change is on flash before it has an effect. A power cut leaves the state before or after it.
//! If nothing can be started, [`boot`] returns a [`Refusal`] and the device stays in the second stage.
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

#[cfg(test)]
extern crate std;

mod boot;
mod bytes;
mod counter;
mod image;
mod layout;
pub mod manifest;
mod reason;
mod record;
mod report;
mod signer;
mod state;
mod update;

pub use boot::{Refusal, boot};
pub use counter::{CounterError, NoCounter, RollbackCounter};
pub use image::{Board, Genuine};
pub use layout::{Layout, LayoutError, Slot, SlotId};
pub use reason::Reason;
pub use report::{Flags, REPORT_SIZE, Report, ResetReason};
#[cfg(feature = "p256")]
pub use signer::P256;
pub use signer::{MAX_SIGNERS, SignerKey, SignerSet, Verify};
pub use state::{Chosen, Mode, Other, Reasons, Selection, State, select};
pub use update::{Update, UpdateError};
