//! Who asks, and what limits them.

use std::sync::LazyLock;

use kms_policy::{Grantee, IdentityPolicy, Name};

use crate::context::RequestContext;
use crate::key::{Scope, Tags};
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
    /// The caller's tags: those of the user or role, and in their stead those of the session.
    pub tags: Tags,
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

    /// Whether the caller is of another account.
    #[must_use]
    pub fn is_foreign_to(&self, scope: &Scope) -> bool {
        self.principal.account != scope.account
    }

    /// The names by which a grant can mean the caller.
    #[must_use]
    pub fn names(&self) -> Vec<CallerName> {
        let principal = self.principal;
        let id = match &principal.kind {
            PrincipalKind::Root => None,
            PrincipalKind::User(user) => Some(user.id.as_str()),
            PrincipalKind::Role(role) => Some(role.role_id.as_str()),
        };
        let own = match &principal.kind {
            PrincipalKind::Role(role) => Some([&*role.role_id, ":", &*role.session].concat()),
            _ => id.map(str::to_owned),
        };
        let name = |arn, unique, grantee| CallerName { arn, unique, grantee };
        let mut names = vec![name(principal.caller_arn(), own, Grantee::Caller)];
        if matches!(principal.kind, PrincipalKind::Role(_)) {
            names.push(name(principal.arn(), id.map(str::to_owned), Grantee::Role));
        }
        if !principal.is_root() {
            let account = Principal::root(&*principal.account, "");
            names.push(name(account.arn(), None, Grantee::Account));
        }
        names
    }
}

/// A name of a caller.
#[derive(Debug, Clone)]
pub struct CallerName {
    /// The ARN.
    pub arn: String,
    /// The unique id of the user or role that has this name now, with the name of its session after it;
    /// accounts have none.
    pub unique: Option<String>,
    /// How a grantee of that name means the caller.
    pub grantee: Grantee,
}

impl CallerName {
    /// What grants are found by.
    #[must_use]
    pub fn lasting(&self) -> &str {
        self.unique.as_deref().unwrap_or(&self.arn)
    }
}
