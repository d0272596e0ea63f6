//! What the operations and actions of the service are like: one row for each, and nothing that
//! happens.
//!
//! A fact about an operation or an action is a column of its table, so that a new row cannot be
//! written without it. The rooms that act on a fact (quotas, policies, grants, the bill) read it
//! here. Of the daemon, this imports errors only.

pub mod action;
pub mod operation;
pub mod state;

pub use self::action::Action;
pub use self::operation::Operation;
