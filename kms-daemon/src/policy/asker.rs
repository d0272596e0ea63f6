//! Who asks, and what limits them.

use std::sync::LazyLock;

use kms_policy::{Grantee, IdentityPolicy, Name};

use crate::context::RequestContext;
use crate::principal::{Principal, PrincipalKind};

/// The policies of a caller, compiled.
#[derive(Debug, Clone, Default)]
pub struct CallerPolicies {
    /// Of the user or role, and of the user's groups.
    pub identity: Vec<IdentityPolicy>,
    /// The permissions boundary.
    pub boundary: Option<IdentityPolicy>,
    /// Of the session.
    pub session: Vec<IdentityPolicy>,
}

impl CallerPolicies {
    /// Whether one of them has a condition on the key `name`.
    #[must_use]
    pub fn ask_for(&self, name: Name) -> bool {
        let all = self.identity.iter().chain(&self.boundary).chain(&self.session);
        all.into_iter().any(|policy| policy.asks_for(name))
    }
}

/// Who asks, as policies see it.
#[derive(Debug, Clone, Copy)]
pub struct Asker<'a> {
    /// Who.
    pub principal: &'a Principal,
    /// What limits them.
    pub policies: &'a CallerPolicies,
    /// How they came here; `None` for other daemons.
    pub request: Option<&'a RequestContext>,
}

impl<'a> Asker<'a> {
    /// The root of an account, whose requests no policy of its own limits.
    #[must_use]
    pub fn root(principal: &'a Principal) -> Self {
        static NONE: LazyLock<CallerPolicies> = LazyLock::new(CallerPolicies::default);
        debug_assert!(principal.is_root());
        Self { principal, policies: &NONE, request: None }
    }

    /// The ARNs by which a grant can name the caller.
    #[must_use]
    pub fn names(&self) -> Vec<(String, Grantee)> {
        let principal = self.principal;
        let mut names = vec![(principal.caller_arn(), Grantee::Caller)];
        if matches!(principal.kind, PrincipalKind::Role(_)) {
            names.push((principal.arn(), Grantee::Role));
        }
        if !principal.is_root() {
            let account = Principal::root(&*principal.account, "");
            names.push((account.arn(), Grantee::Account));
        }
        names
    }
}
