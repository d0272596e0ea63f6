//! What a decision may take. Its work is counted in steps of about a nanosecond, before it is done.
//!
//! Who writes a policy and who makes a request choose texts freely, and comparing takes time with
//! both. So a decision has [`DECISION`] steps; when they are spent, it is a denial. And of each
//! policy it is known before any request what it can take at most ([`Share`]), as the values of
//! every condition key have a greatest size: a policy that can take more than its share is not to be
//! put.

use std::cell::Cell;

use crate::context::{Context, Value};
use crate::glob::Price;
use crate::key::{ConditionKey, KeyType, Name};
use crate::pattern::Unresolved;

/// Most steps of a decision, over all policies.
pub const DECISION: u64 = 2_000_000;

/// Most steps that one policy can take of a decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Share(pub(crate) u64);

impl Share {
    /// A key policy, of which a request has one.
    pub(crate) const RESOURCE: Self = Self(1_000_000);
    /// Any other, of which a request has several.
    pub(crate) const ONE_OF_SEVERAL: Self = Self(250_000);
}

/// The context of a request, and the steps that are left.
pub(crate) struct Metered<'a> {
    context: &'a dyn Context,
    left: Cell<u64>,
}

impl<'a> Metered<'a> {
    pub(crate) const fn new(context: &'a dyn Context) -> Self {
        Self { context, left: Cell::new(DECISION) }
    }

    /// Takes steps that are about to be done.
    ///
    /// # Errors
    /// There are not so many any more: nothing can be told from here on.
    pub(crate) fn spend(&self, steps: u64) -> Result<(), Unresolved> {
        let left = self.left.get().checked_sub(steps);
        self.left.set(left.unwrap_or(0));
        left.map(|_| ()).filter(|()| self.left.get() > 0).ok_or(Unresolved::Unknown)
    }

    /// Whether all steps are spent.
    pub(crate) fn is_spent(&self) -> bool {
        self.left.get() == 0
    }

    /// The value of a key. One that is greater than its [`Reach`] is unknown.
    pub(crate) fn value(&self, key: &ConditionKey) -> Option<Value<'_>> {
        if self.spend(lookup(key.name())).is_err() {
            return Some(Value::Unknown);
        }
        match self.context.value(key) {
            Some(Value::Text(text)) if text.len() > Reach::of(key.name()).bytes => {
                Some(Value::Unknown)
            }
            value => value,
        }
    }
}

/// The steps it takes to find the value of a key.
pub(crate) const fn lookup(name: Name) -> u64 {
    match name {
        Name::EncryptionContext
        | Name::RequestTag
        | Name::ResourceTag
        | Name::IamResourceTag
        | Name::PrincipalTag => 160,
        _ => 40,
    }
}

/// How great the values of a key are at most. What is greater is unknown to policies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reach {
    /// Bytes of all values together.
    pub(crate) bytes: usize,
    /// How many values.
    pub(crate) values: usize,
}

impl Reach {
    /// That of a key. An encryption context has at most 8192 bytes in its canonical form, in which a
    /// pair takes six and more.
    pub(crate) const fn of(name: Name) -> Self {
        let (bytes, values) = match name {
            Name::EncryptionContext => (8192, 1),
            Name::EncryptionContextKeys => (8192, 1365),
            Name::TagKeys | Name::TransitiveTagKeys => (50 * 512, 50),
            Name::ResourceAliases => (50 * 256, 50),
            Name::GrantOperations => (2048, 32),
            Name::UserName | Name::RoleSessionName | Name::SourceIdentity => (256, 1),
            _ => (2048, 32),
        };
        Self { bytes, values }
    }

    /// Resources have ARNs of at most so many bytes.
    pub(crate) const RESOURCE: usize = 1024;

    /// Most steps to compare the values of `key` with something of that price.
    pub(crate) fn steps(key: Name, each: Price) -> u64 {
        let Self { bytes, values } = Self::of(key);
        let single = key.value_type().is_some_and(|value_type| value_type != KeyType::List);
        let count = match key {
            Name::GrantConstraintType => 2,
            _ if single => 1,
            _ => values as u64,
        };
        each.on(bytes).saturating_add(each.on(0).saturating_mul(count))
    }
}
