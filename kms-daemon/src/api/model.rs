//! Requests and responses as the service model of AWS KMS has them.
//!
//! `cargo xtask codegen` writes what is in [`generated`] from `kms-daemon/model`: the types of
//! each operation, the constraints on their members, and the exceptions. Here is what that code is
//! made of.

use std::ops::RangeInclusive;

use serde::de::DeserializeOwned;

use super::checks::Checks;

mod patterns;

/// The files `cargo xtask codegen` writes.
#[allow(dead_code, unused_imports, reason = "the model has more than the handlers use")]
mod generated {
    pub(in crate::api) mod errors;
    pub(in crate::api) mod inputs;
    pub(in crate::api) mod operations;
    pub(in crate::api) mod outputs;
    mod rules;
}

pub(super) use self::generated::operations::*;
pub(super) use self::generated::{errors, inputs, outputs};

/// A request, or a structure within one, that keeps the constraints of the model.
pub(super) trait Request: Sized {
    /// The form that is read: every member may be missing. Null is missing, too, and members that
    /// the model does not have are ignored, as new clients send them.
    type Wire: DeserializeOwned;

    /// Checks all constraints. `None`, or whatever else comes after a failure, is of no use:
    /// [`Checks::finish`] refuses the request then.
    fn check(wire: Self::Wire, checks: &mut Checks) -> Option<Self>;
}

/// What a string has to be like.
pub(super) struct Text {
    /// Length in characters.
    pub(super) length: RangeInclusive<usize>,
    /// A regular expression.
    pub(super) pattern: Option<Pattern>,
    /// The values there are; none means any.
    pub(super) values: &'static [&'static str],
    /// Whether texts of errors repeat it. They do not if it is a secret.
    pub(super) echoed: bool,
}

/// A regular expression.
pub(super) struct Pattern {
    /// As the model has it.
    pub(super) text: &'static str,
    /// Whether it matches all of a text.
    pub(super) matches: fn(&str) -> bool,
}
