//! Requests, and the policies that apply to them.

use crate::action::Action;
use crate::budget::Metered;
use crate::caller::Caller;
use crate::context::Context;
use crate::policy::{Compiled, GuardrailPolicy, IdentityPolicy, KeyPolicy, TrustPolicy};
use crate::statement::Subject;

/// A request.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    /// The principal that sent the request.
    pub caller: Caller<'a>,
    /// The action for which permission is needed.
    pub action: Action,
    /// The resource of the action.
    pub resource: Resource<'a>,
    /// The values of condition keys and policy variables.
    pub context: &'a dyn Context,
}

/// What a request is about.
#[derive(Clone, Copy)]
pub enum Resource<'a> {
    /// A key. Its account decides only if a statement of the key policy names the account.
    Key {
        /// The key's ARN, whatever name the request used.
        arn: &'a str,
        /// The key's account.
        account: &'a str,
        /// The key policy. `None` if there is no such key; callers of other accounts cannot
        /// distinguish that from a key that they may not use.
        policy: Option<&'a KeyPolicy>,
    },
    /// A role that is to be assumed.
    Role {
        /// The role's ARN.
        arn: &'a str,
        /// The role's account.
        account: &'a str,
        /// The role's trust policy.
        policy: &'a TrustPolicy,
    },
    /// A resource without a policy: an alias name, a custom key store, an identity or policy to be
    /// managed (including roles), or no particular resource. Identity policies alone decide.
    Account {
        /// The resource's ARN, or `*` for actions without a resource. `None` for a resource that
        /// has no ARN yet, which is matched like `*`.
        arn: Option<&'a str>,
        /// The resource's account.
        account: &'a str,
    },
}

/// The policies that apply to a caller.
#[derive(Clone, Copy, Default)]
pub struct Policies<'a> {
    /// Policies of the user or role, including those of the user's groups.
    pub identity: &'a [IdentityPolicy],
    /// The permissions boundary of the user or role.
    pub boundary: Option<&'a IdentityPolicy>,
    /// The session policies, one of which must allow. Empty if the session has none.
    pub session: &'a [IdentityPolicy],
    /// The guardrails, each of which must allow.
    pub guardrails: &'a [Guardrail<'a>],
}

/// How the grantee principal of a grant names a caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Grantee {
    /// As the caller itself: the user, session or service, or the account if the caller is its root
    /// user.
    Caller,
    /// As the role of the caller's session. Boundary and session policies limit such a grant, as
    /// they limit a role that a key policy names.
    Role,
    /// As the caller's account, whose identity policies must allow too.
    Account,
}

/// Policies that limit what other policies may allow. At least one of them must allow.
#[derive(Debug, Clone, Copy)]
pub enum Guardrail<'a> {
    /// The service control policies of one level of the caller's organisation. They do not apply to
    /// services.
    ServiceControl(&'a [IdentityPolicy]),
    /// The resource control policies of one level of the resource's organisation, including the one
    /// that allows everything, which AWS attaches to every level.
    ResourceControl(&'a [GuardrailPolicy]),
    /// The policy of the endpoint through which the request came.
    Endpoint(&'a GuardrailPolicy),
}

impl Guardrail<'_> {
    /// Whether the guardrail belongs to the side of the resource.
    pub(crate) const fn is_of_resource(&self) -> bool {
        !matches!(self, Self::ServiceControl(_))
    }
}

impl<'a> Resource<'a> {
    /// The resource's ARN, if it has one.
    #[must_use]
    pub const fn arn(&self) -> Option<&'a str> {
        match self {
            Self::Key { arn, .. } | Self::Role { arn, .. } => Some(arn),
            Self::Account { arn, .. } => *arn,
        }
    }

    /// The account that the resource belongs to.
    #[must_use]
    pub const fn account(&self) -> &'a str {
        match self {
            Self::Key { account, .. }
            | Self::Role { account, .. }
            | Self::Account { account, .. } => account,
        }
    }

    /// The resource's policy.
    pub(crate) fn policy(&self) -> Option<&'a Compiled> {
        match self {
            Self::Key { policy, .. } => policy.map(KeyPolicy::compiled),
            Self::Role { policy, .. } => Some(policy.compiled()),
            Self::Account { .. } => None,
        }
    }
}

impl<'a> Request<'a> {
    /// Returns what statements are compared with.
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
