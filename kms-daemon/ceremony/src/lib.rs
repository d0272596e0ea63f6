//! Ceremonies: files that operators of a domain sign and carry from one to the next.
//!
//! Nothing is decided here. A device decides, with the same code that shows a person what a proposal
//! leads to ([`hsm_protocol::domain`]). The contents of a file are not trusted: its state is the one
//! to which the proposal applies only if the device agrees.

mod approval;
mod certificate;
mod file;
mod key_file;
pub mod ledger;
mod recovery;
pub mod removal;
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
