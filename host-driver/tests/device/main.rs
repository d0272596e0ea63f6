//! The driver against the firmware, in one process: the same core, records, link and channel as
//! on a board.

#![allow(clippy::unwrap_used, clippy::cast_possible_truncation)]

mod faults;
mod key_pairs;
mod provisioning;
mod rig;
mod slow;
mod speed;
mod trust;
