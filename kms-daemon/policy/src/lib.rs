//! The policy engine of `kmsd`: the IAM policy language, and how key policies, identity policies,
//! boundaries, session policies, guardrails and grants together decide about a request to KMS. It
//! also decides about requests to IAM and STS, where trust policies take the place of key policies.
//!
//! The engine is pure: it has no clock, no I/O and no state. A policy is compiled once
//! ([`KeyPolicy::parse`] and its like) and evaluated many times. Policies with unknown elements are
//! refused when they are read; nothing is skipped when they are evaluated. If an evaluation cannot
//! be decided (text where a number is compared, several values where one is compared), the decision
//! goes against the caller.
//!
//! A decision takes at most [`DECISION`] steps, whatever the policies and the request contain. A
//! policy that could take more than its share is detected before it is put
//! ([`KeyPolicy::check_cost`] and its like).
//!
//! Sources: the IAM User Guide ("Policy evaluation logic", "IAM JSON policy elements", "Condition
//! operators", "Policy variables", "Principal", "`NotPrincipal`") and the KMS Developer Guide
//! ("Key policies", "Condition keys", "Grants").
//!
//! # Use
//!
//! The user of this crate looks up the key, the caller's policies and a grant, and provides a
//! [`Context`], which is asked only for the condition keys that are needed:
//!
//! ```
//! use std::collections::BTreeMap;
//!
//! use kms_policy::{
//!     Action, Basis, Caller, ConditionKey, Context, Decision, IdentityPolicy, KeyPolicy, Name,
//!     Policies, Request, Resource, Value, authorize, pair,
//! };
//!
//! struct Call<'a> {
//!     caller: Caller<'a>,
//!     encryption_context: BTreeMap<String, String>,
//! }
//!
//! impl Context for Call<'_> {
//!     fn value(&self, key: &ConditionKey) -> Option<Value<'_>> {
//!         match key.name() {
//!             Name::SecureTransport => Some(Value::Bool(true)),
//!             Name::EncryptionContextKeys => Some(Value::List(&self.encryption_context)),
//!             Name::EncryptionContext => {
//!                 let pairs = self.encryption_context.iter();
//!                 pair(key, pairs.map(|(name, value)| (name.as_str(), value.as_str())))
//!             }
//!             name => self.caller.value(name),
//!         }
//!     }
//! }
//!
//! // Once, when the policy is put:
//! let key_policy = KeyPolicy::parse(r#"{
//!     "Version": "2012-10-17",
//!     "Statement": [{
//!         "Sid": "Enable IAM policies",
//!         "Effect": "Allow",
//!         "Principal": { "AWS": "111122223333" },
//!         "Action": "kms:*",
//!         "Resource": "*"
//!     }]
//! }"#)?;
//! let identity = [IdentityPolicy::parse(r#"{
//!     "Version": "2012-10-17",
//!     "Statement": {
//!         "Effect": "Allow",
//!         "Action": ["kms:Encrypt", "kms:Decrypt"],
//!         "Resource": "arn:aws:kms:*:111122223333:key/*",
//!         "Condition": { "StringEquals": { "kms:EncryptionContext:team": "${aws:username}" } }
//!     }
//! }"#)?];
//!
//! // For each request:
//! let caller = Caller::user("arn:aws:iam::111122223333:user/ana").expect("the ARN of a user");
//! let encryption_context = BTreeMap::from([("Team".to_owned(), "ana".to_owned())]);
//! let call = Call { caller, encryption_context };
//! let arn = "arn:aws:kms:eu-west-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab";
//! let mut request = Request {
//!     caller,
//!     action: Action::Decrypt,
//!     resource: Resource::Key { arn, account: "111122223333", policy: Some(&key_policy) },
//!     context: &call,
//! };
//! let policies = Policies { identity: &identity, ..Policies::default() };
//! let basis = Basis::Delegated { statement: 0, policy: 0, identity_statement: 0 };
//! assert_eq!(authorize(&request, &policies), Decision::Allowed(basis));
//!
//! request.action = Action::ScheduleKeyDeletion;
//! let denial = authorize(&request, &policies).denial().expect("nothing allows it");
//! assert!(denial.message(&request).ends_with(
//!     "because no identity-based policy allows the kms:ScheduleKeyDeletion action"
//! ));
//! # Ok::<(), kms_policy::PolicyError>(())
//! ```
//!
//! An operation that needs several permissions is several requests: `ReEncrypt` is
//! [`Action::ReEncryptFrom`] of one key and [`Action::ReEncryptTo`] of another, and `CreateAlias`
//! is [`Action::CreateAlias`] of the alias ([`Resource::Account`]) and of its key. The user of this
//! crate looks up grants, checks them, and [adds one that applies](Decision::with_grant). A grant is
//! needed only if the policies deny the request and [some grant](Grantees) would lift that.

#![forbid(unsafe_code)]
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

mod action;
mod arn;
mod authorize;
mod budget;
mod caller;
mod condition;
mod context;
mod date;
mod decision;
mod document;
mod error;
mod explain;
mod glob;
mod json;
mod key;
mod lockout;
mod operand;
mod operator;
mod pattern;
mod policy;
mod principal;
mod request;
mod statement;
mod texts;

pub use self::action::Action;
pub use self::authorize::authorize;
pub use self::budget::DECISION;
pub use self::caller::{Caller, CallerKind};
pub use self::context::{Context, List, PairIndex, Value, pair};
pub use self::decision::{Basis, Decision, Denial, Grantees, Location, PolicyType};
pub use self::error::{Fault, PolicyError, StatementName};
pub use self::explain::{Explanation, Mismatch, StatementReport, explain};
pub use self::key::{ConditionKey, KeyType, Name};
pub use self::lockout::can_put_again;
pub use self::policy::{GuardrailPolicy, IdentityPolicy, KeyPolicy, Resolution, TrustPolicy};
pub use self::principal::NamedPrincipal;
pub use self::request::{Grantee, Guardrail, Policies, Request, Resource};
pub use self::statement::Effect;
