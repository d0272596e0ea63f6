//! Decisions and their reasons.
//!
//! Source of the texts: the IAM User Guide, "Troubleshoot access denied error messages".

use std::fmt::{self, Write as _};

use crate::request::{Grantee, Request, Resource};

/// The kinds of policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PolicyType {
    /// A service control policy: of the organisation, for identities.
    ServiceControl,
    /// A resource control policy: of the organisation, for resources.
    ResourceControl,
    /// The policy of the endpoint the request came through.
    Endpoint,
    /// A key policy or a trust policy.
    Resource,
    /// A policy of the caller's identity.
    Identity,
    /// The permissions boundary of the caller's identity.
    Boundary,
    /// A policy of the caller's session.
    Session,
}

impl PolicyType {
    /// The name in denial texts.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ServiceControl => "service control policy",
            Self::ResourceControl => "resource control policy",
            Self::Endpoint => "VPC endpoint policy",
            Self::Resource => "resource-based policy",
            Self::Identity => "identity-based policy",
            Self::Boundary => "permissions boundary",
            Self::Session => "session policy",
        }
    }

    /// Whether it belongs to the owner of the resource, of whom other accounts learn nothing.
    const fn is_of_resource(self) -> bool {
        matches!(self, Self::ResourceControl | Self::Endpoint | Self::Resource)
    }
}

impl fmt::Display for PolicyType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Where a statement is among the [`Policies`](crate::Policies) and the resource of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Location {
    /// The kind of policy.
    pub policy_type: PolicyType,
    /// Which guardrail; 0 for everything else.
    pub guardrail: usize,
    /// Which policy of that kind.
    pub policy: usize,
    /// Which statement of the policy.
    pub statement: usize,
}

/// Whether a request is allowed, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// It is.
    Allowed(Basis),
    /// It is not, unless by a grant to one of those grantees.
    Denied(Denial, Grantees),
}

/// Ways in which the grantee principal of a grant can name a caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Grantees {
    pub(crate) caller: bool,
    pub(crate) role: bool,
    pub(crate) account: bool,
}

impl Grantees {
    /// None of them.
    pub const NONE: Self = Self { caller: false, role: false, account: false };

    /// Whether this way is one of them.
    #[must_use]
    pub const fn contain(self, grantee: Grantee) -> bool {
        match grantee {
            Grantee::Caller => self.caller,
            Grantee::Role => self.role,
            Grantee::Account => self.account,
        }
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        !(self.caller || self.role || self.account)
    }
}

/// What allows a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Basis {
    /// A grant, whose grantee principal names the caller in that way.
    Grant(Grantee),
    /// A statement of the resource's policy, by itself.
    Resource {
        /// The statement.
        statement: usize,
    },
    /// A statement of the resource's policy, which lets the account decide, and one of an
    /// identity policy.
    Delegated {
        /// The statement of the resource's policy.
        statement: usize,
        /// The identity policy.
        policy: usize,
        /// Its statement.
        identity_statement: usize,
    },
    /// A statement of an identity policy, for a resource that has no policy.
    Identity {
        /// The policy.
        policy: usize,
        /// The statement.
        statement: usize,
    },
    /// The caller is the root user of the account, and the resource has no policy.
    Root,
}

/// Why a request is denied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Denial {
    /// A statement denies it.
    Explicit(Location),
    /// No policy of a kind that has to allow it does.
    Implicit(PolicyType),
    /// Other accounts can never do this.
    OtherAccount,
    /// To compare the policies with the request takes more than
    /// [`DECISION`](crate::DECISION) steps.
    TooCostly,
}

impl Decision {
    /// Returns the decision with a grant on the key that names the caller in that way, contains the
    /// operation, and whose constraints are satisfied.
    #[must_use]
    pub const fn with_grant(self, grantee: Grantee) -> Self {
        match self {
            Self::Denied(_, grantees) if grantees.contain(grantee) => {
                Self::Allowed(Basis::Grant(grantee))
            }
            decided => decided,
        }
    }

    /// Whether it is allowed.
    #[must_use]
    pub const fn is_allowed(&self) -> bool {
        matches!(self, Self::Allowed(_))
    }

    /// The reason for a denial.
    #[must_use]
    pub const fn denial(&self) -> Option<Denial> {
        match self {
            Self::Allowed(_) => None,
            Self::Denied(denial, _) => Some(*denial),
        }
    }
}

/// Why a request is denied that cannot be decided in time, as a clause.
pub(crate) const TOO_COSTLY: &str = "its policies have too many patterns and values to compare with so \
                              long a request: simplify the policies or shorten the request";

impl Denial {
    /// The kind of policy that decided; `None` if none did.
    #[must_use]
    pub const fn policy_type(&self) -> Option<PolicyType> {
        match self {
            Self::Explicit(location) => Some(location.policy_type),
            Self::Implicit(policy_type) => Some(*policy_type),
            Self::OtherAccount | Self::TooCostly => None,
        }
    }

    /// The text of the `AccessDeniedException`, as KMS words it.
    ///
    /// To callers of another account it is the same whether the resource denies, does not allow,
    /// or does not exist. What their own policies say they may know.
    #[must_use]
    pub fn message(&self, request: &Request<'_>) -> String {
        let action = request.action.name();
        let mut text =
            format!("User: {} is not authorized to perform: {action}", request.caller.arn());
        let foreign = request.caller.account() != request.resource.account();
        let of_resource = self.policy_type().is_none_or(PolicyType::is_of_resource);
        if let Resource::Role { arn, .. } = request.resource {
            // STS says no more, to anyone.
            text.push_str(" on resource: ");
            text.push_str(arn);
            return text;
        }
        if foreign && of_resource {
            text.push_str(
                " on this resource because the resource does not exist in this Region, no \
                 resource-based policies allow access, or a resource-based policy explicitly \
                 denies access",
            );
            return text;
        }
        if let Some(arn) = request.resource.arn() {
            text.push_str(" on resource: ");
            text.push_str(arn);
        }
        // Writing to a string does not fail.
        let _ = match self {
            Self::Explicit(Location { policy_type, .. }) => {
                let article = if *policy_type == PolicyType::Identity { "an" } else { "a" };
                write!(text, " with an explicit deny in {article} {policy_type}")
            }
            Self::Implicit(policy_type) => {
                write!(text, " because no {policy_type} allows the {action} action")
            }
            Self::OtherAccount => Ok(()),
            Self::TooCostly => write!(text, " because {TOO_COSTLY}"),
        };
        text
    }
}
