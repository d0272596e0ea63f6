//! Requests, and the policies that apply to them.

use crate::action::Action;
use crate::budget::Metered;
use crate::caller::Caller;
use crate::context::Context;
use crate::policy::{Compiled, GuardrailPolicy, IdentityPolicy, KeyPolicy, TrustPolicy};
use crate::statement::Subject;

/// What is asked.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    /// Who asks.
    pub caller: Caller<'a>,
    /// For what.
    pub action: Action,
    /// Of which resource.
    pub resource: Resource<'a>,
    /// Everything conditions and policy variables can be about.
    pub context: &'a dyn Context,
}

/// What a request is about.
#[derive(Clone, Copy)]
pub enum Resource<'a> {
    /// A key. Without a statement that names it, its account has no say in it.
    Key {
        /// Its ARN, whatever name the request used.
        arn: &'a str,
        /// Its account.
        account: &'a str,
        /// Its policy. `None` if there is no such key, which callers of other accounts cannot
        /// tell from a key that is closed to them.
        policy: Option<&'a KeyPolicy>,
    },
    /// A role that is to be assumed.
    Role {
        /// Its ARN.
        arn: &'a str,
        /// Its account.
        account: &'a str,
        /// Its trust policy.
        policy: &'a TrustPolicy,
    },
    /// Something that has no policy: an alias name, a custom key store, an identity or a policy
    /// that is to be managed (a role among them), or nothing in particular. Identity policies
    /// decide alone.
    Account {
        /// Its ARN, or `*` for actions that are about no resource. `None` for a resource that
        /// has no ARN yet; it is matched like `*`.
        arn: Option<&'a str>,
        /// The account.
        account: &'a str,
    },
}

/// The policies that apply to a caller, and what grants say.
#[derive(Clone, Copy, Default)]
pub struct Policies<'a> {
    /// Policies of the user or role, those of the user's groups among them.
    pub identity: &'a [IdentityPolicy],
    /// The permissions boundary of the user or role.
    pub boundary: Option<&'a IdentityPolicy>,
    /// The policies of the session, of which one has to allow. Empty if the session has none.
    pub session: &'a [IdentityPolicy],
    /// Each of them has to allow.
    pub guardrails: &'a [Guardrail<'a>],
    /// A grant on the key that names the caller, contains the operation and whose constraints
    /// hold.
    pub grant: Option<Grant<'a>>,
}

/// A grant that applies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grant<'a> {
    /// Its id.
    pub id: &'a str,
    /// How its grantee names the caller.
    pub grantee: Grantee,
}

/// How the grantee of a grant names a caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Grantee {
    /// It is the caller: the user, session or service, or the account if the caller is its root.
    Caller,
    /// It is the role of the caller's session. The boundary and session policies limit it, as
    /// they limit a role that a key policy names.
    Role,
    /// It is the caller's account, whose identity policies have to allow too.
    Account,
}

/// Policies that limit what others may allow. One of them has to allow.
#[derive(Debug, Clone, Copy)]
pub enum Guardrail<'a> {
    /// The service control policies of one level of the caller's organisation. They are not
    /// about services.
    ServiceControl(&'a [IdentityPolicy]),
    /// The resource control policies of one level of the resource's organisation, with the one
    /// that allows everything, which AWS attaches to every level.
    ResourceControl(&'a [GuardrailPolicy]),
    /// The policy of the endpoint the request came through.
    Endpoint(&'a GuardrailPolicy),
}

impl Guardrail<'_> {
    /// Whether it belongs to the side of the resource.
    pub(crate) const fn is_of_resource(&self) -> bool {
        !matches!(self, Self::ServiceControl(_))
    }
}

impl<'a> Resource<'a> {
    /// The ARN, if it has one.
    #[must_use]
    pub const fn arn(&self) -> Option<&'a str> {
        match self {
            Self::Key { arn, .. } | Self::Role { arn, .. } => Some(arn),
            Self::Account { arn, .. } => *arn,
        }
    }

    /// The account it belongs to.
    #[must_use]
    pub const fn account(&self) -> &'a str {
        match self {
            Self::Key { account, .. }
            | Self::Role { account, .. }
            | Self::Account { account, .. } => account,
        }
    }

    /// Its policy.
    pub(crate) fn policy(&self) -> Option<&'a Compiled> {
        match self {
            Self::Key { policy, .. } => policy.map(KeyPolicy::compiled),
            Self::Role { policy, .. } => Some(policy.compiled()),
            Self::Account { .. } => None,
        }
    }
}

impl<'a> Request<'a> {
    /// What statements are compared with.
    pub(crate) fn subject<'r>(
        &'r self,
        policies: &Policies<'_>,
        context: &'r Metered<'r>,
    ) -> Subject<'r> {
        Subject {
            caller: &self.caller,
            bounded: policies.boundary.is_some(),
            action: self.action,
            resource: self.resource.arn().unwrap_or("*"),
            context,
        }
    }
}
