//! What AWS KMS is like, as facts that every room of the daemon may use: one row for each operation, action, key
//! spec and algorithm, and nothing that happens.
//!
//! A fact is a column of its table, so that a new row cannot be written without it. The rooms that act on a fact
//! (quotas, policies, grants, the bill) read it here. Of the daemon, this imports errors only.

pub mod action;
pub mod enumeration;
pub mod key_spec;
pub mod operation;
pub mod state;

/// The files `cargo xtask codegen` writes.
mod generated {
    pub mod enums;
}

pub use self::action::Action;
pub use self::generated::enums;
pub use self::operation::Operation;
