//! The firmware signers that this build trusts: `signers/development.signers`, or the file that
//! `STRONGROOM_FIRMWARE_SIGNERS` names.

use hsm_boot::{SignerKey, SignerSet};

include!(concat!(env!("OUT_DIR"), "/signers.rs"));

/// The set; `None` only if a key is there twice.
pub(crate) fn set() -> Option<SignerSet<'static>> {
    SignerSet::new(KEYS, THRESHOLD)
}
