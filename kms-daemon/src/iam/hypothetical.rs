//! Hypothetical callers, for explanations.

use super::Iam;
use crate::policy::CallerPolicies;
use crate::policy::explanation::PolicyNames;
use kms_base::principal::{Principal, PrincipalKind, RoleSession, User};
use kms_query::{Code, IamError};

/// The session of a role that is named without one.
const SESSION: &str = "session";

/// A caller that nobody is, and what limits it.
pub(crate) struct Hypothetical {
    pub(crate) principal: Principal,
    pub(crate) policies: CallerPolicies,
    pub(crate) names: PolicyNames,
}

impl Iam {
    /// The user, role, session of a role, or root of an account, that an ARN names.
    ///
    /// # Errors
    /// [`Code::NoSuchEntity`], and those of [`Iam::policies`].
    pub(crate) async fn hypothetical(&self, arn: &str) -> Result<Hypothetical, IamError> {
        let missing = || {
            let text = format!("There is no user, role or account root {arn} here.");
            IamError::new(Code::NoSuchEntity, text)
        };
        let principal = self.find(arn).await?.ok_or_else(missing)?;
        let (policies, names) =
            (self.policies(&principal).await?, self.policy_names(&principal).await?);
        Ok(Hypothetical { principal, policies, names })
    }

    async fn find(&self, arn: &str) -> Result<Option<Principal>, IamError> {
        let fields: Vec<&str> = arn.splitn(6, ':').collect();
        let ["arn", _, service, "", account, resource] = fields[..] else { return Ok(None) };
        let directory = &self.directory;
        if directory.account(account).await?.is_none() {
            return Ok(None);
        }
        let root = Principal::root(account, "");
        let (kind, path) = resource.split_once('/').unwrap_or((resource, ""));
        let last = path.rsplit('/').next().unwrap_or_default();
        let kind = match (service, kind) {
            ("iam", "root") if path.is_empty() => PrincipalKind::Root,
            ("iam", "user") => {
                let Some(user) = directory.user(account, last).await? else { return Ok(None) };
                let (id, path, name) = (user.id.clone(), user.path.clone(), user.name.clone());
                PrincipalKind::User(User { id, path, name })
            }
            ("iam", "role") | ("sts", "assumed-role") => {
                let (role, session) = match (service, path.split_once('/')) {
                    ("sts", Some((role, session))) => (role, session),
                    _ => (last, SESSION),
                };
                let Some(role) = directory.role(account, role).await? else { return Ok(None) };
                PrincipalKind::Role(RoleSession {
                    role_id: role.id.clone(),
                    path: role.path.clone(),
                    role: role.name.clone(),
                    session: session.to_owned(),
                })
            }
            _ => return Ok(None),
        };
        let found = Principal { kind, ..root };
        // A wrong path is another name; a partition is that of the key's Region.
        let same = |own: String| own.splitn(3, ':').nth(2) == arn.splitn(3, ':').nth(2);
        Ok((same(found.arn()) || same(found.caller_arn())).then_some(found))
    }
}
