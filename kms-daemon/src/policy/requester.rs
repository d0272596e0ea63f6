//! The caller of a request, and the policies that limit the caller.

use std::sync::LazyLock;

use kms_policy::{Grantee, IdentityPolicy, Name};

use kms_base::context::RequestContext;
use kms_base::identifier::{Scope, Tags};
use kms_base::principal::{Principal, PrincipalKind};

/// The policies of a caller, compiled.
#[derive(Debug, Clone, Default)]
pub struct CallerPolicies {
    /// The policies of the user or role, and of the user's groups.
    pub identity: Vec<IdentityPolicy>,
    /// The permissions boundary of the user or role, if there is one.
    pub boundary: Option<IdentityPolicy>,
    /// The session policies.
    pub session: Vec<IdentityPolicy>,
    /// The caller's tags: those of the user or role, overridden by those of the session.
    pub tags: Tags,
}

impl CallerPolicies {
    /// Whether one of the policies has a condition on the key `name`.
    #[must_use]
    pub fn ask_for(&self, name: Name) -> bool {
        let all = self.identity.iter().chain(&self.boundary).chain(&self.session);
        all.into_iter().any(|policy| policy.asks_for(name))
    }
}

/// The caller, as policies see it.
#[derive(Debug, Clone, Copy)]
pub struct Requester<'a> {
    /// The principal that sent the request.
    pub principal: &'a Principal,
    /// The policies that limit the principal.
    pub policies: &'a CallerPolicies,
    /// How the request arrived; `None` for requests of other daemons.
    pub request: Option<&'a RequestContext>,
}

impl<'a> Requester<'a> {
    /// Returns the root of an account, whose requests are not limited by identity policies.
    #[must_use]
    pub fn root(principal: &'a Principal) -> Self {
        static NONE: LazyLock<CallerPolicies> = LazyLock::new(CallerPolicies::default);
        debug_assert!(principal.is_root());
        Self { principal, policies: &NONE, request: None }
    }

    /// Whether the caller and `scope` belong to different accounts.
    #[must_use]
    pub fn is_foreign_to(&self, scope: &Scope) -> bool {
        self.principal.account != scope.account
    }

    /// Returns the names by which a grant can name the caller.
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
    /// The ARN of the session or user, the role, or the account.
    pub arn: String,
    /// The unique id of the user or role that has this name now, followed by the session name for a
    /// session; `None` for accounts.
    pub unique: Option<String>,
    /// How a grantee with this name relates to the caller.
    pub grantee: Grantee,
}

impl CallerName {
    /// Returns the text by which grants are found: the unique id, or else the ARN.
    #[must_use]
    pub fn lasting(&self) -> &str {
        self.unique.as_deref().unwrap_or(&self.arn)
    }
}
