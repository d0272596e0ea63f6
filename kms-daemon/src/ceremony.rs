//! Ceremonies: what operators of a domain sign, in files that are carried from one to the next.
//!
//! Nothing here decides; a device does, by the same code that shows a person what a proposal leads to
//! ([`hsm_protocol::domain`]). What a file says is not believed: its state is only the one that the
//! proposal is for if the device agrees.

mod approval;
mod certificate;
mod file;
mod key_file;
mod recovery;
mod text;
mod token;
mod vote_text;
mod words;

pub use approval::{ApprovalFile, ApprovalFileError};
pub use certificate::{CertificateFile, CertificateFileError};
pub use file::{Ceremony, CeremonyFileError, Standing};
pub use key_file::{KeyFile, KeyFileError, KeyPurpose};
pub use recovery::{
    HandoverFile, HandoverRequest, HolderText, RecoveryFile, RecoveryFileError, ShareFile,
};
pub use text::{PeerText, PublicText, TextError};
pub use token::{TokenError, TokenKey, TokenPlace};
pub use words::{describe, fingerprint, in_words, rule_in_words};
