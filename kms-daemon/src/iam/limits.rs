//! What limits a caller: the policies of its user, groups, role and session.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use kms_policy::{IdentityPolicy, NamedPrincipal};

use super::Iam;
use super::record::InlinePolicies;
use crate::error::{Exception, KmsError};
use crate::policy::explanation::PolicyNames;
use crate::policy::identities::Documents;
use crate::policy::{Bound, CallerPolicies};
use crate::principal::{Principal, PrincipalKind};

/// Compiled policies that are held at a time.
const MAX_COMPILED: usize = 4096;

/// Compiled policies, by their documents: what is equal means the same.
#[derive(Default)]
pub(super) struct Compiled(Mutex<HashMap<String, IdentityPolicy>>);

impl Compiled {
    fn get(&self, document: &str) -> Result<IdentityPolicy, KmsError> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(policy) = known.get(document) {
            return Ok(policy.clone());
        }
        // It was read when it was put: now it fails for another release's only.
        let policy = IdentityPolicy::parse(document).map_err(KmsError::internal)?;
        if known.len() >= MAX_COMPILED
            && let Some(victim) = known.keys().next().cloned()
        {
            known.remove(&victim);
        }
        known.insert(document.to_owned(), policy.clone());
        Ok(policy)
    }
}

impl Iam {
    /// The policies that limit a caller, compiled.
    ///
    /// # Errors
    /// [`Exception::AccessDenied`] if the user or role is gone; `Exception::KmsInternal` if its
    /// policies cannot be told.
    pub async fn policies(&self, principal: &Principal) -> Result<CallerPolicies, KmsError> {
        if principal.is_root() {
            return Ok(CallerPolicies::default());
        }
        let Documents { identity, boundary } = self.documents(principal).await?;
        let session = principal.session.as_ref().and_then(|session| session.policy.as_deref());
        let compile = |document: &str| self.compiled.get(document);
        Ok(CallerPolicies {
            identity: identity.iter().map(|text| compile(text)).collect::<Result<_, _>>()?,
            boundary: boundary.as_deref().map(compile).transpose()?,
            session: session.map(compile).transpose()?.into_iter().collect(),
        })
    }

    /// What the policies of a caller are called, in the order of [`Iam::policies`].
    ///
    /// # Errors
    /// `Exception::KmsInternal` if the store does not answer.
    pub(super) async fn policy_names(
        &self,
        principal: &Principal,
    ) -> Result<PolicyNames, KmsError> {
        let (directory, account) = (&self.directory, principal.account.as_str());
        let mut names = PolicyNames::default();
        let mut add = |of: String, policies: &InlinePolicies| {
            names.identity.extend(policies.keys().map(|name| format!("policy {name} of {of}")));
        };
        match &principal.kind {
            PrincipalKind::Root => {}
            PrincipalKind::User(user) => {
                let Some(user) = directory.user(account, &user.name).await? else {
                    return Ok(names);
                };
                add(format!("user {}", user.name), &user.policies);
                for name in &user.groups {
                    if let Some(group) = directory.group(account, name).await? {
                        add(format!("group {name}"), &group.policies);
                    }
                }
                names.boundary =
                    user.boundary.as_ref().map(|arn| format!("permissions boundary {arn}"));
            }
            PrincipalKind::Role(role) => {
                let Some(role) = directory.role(account, &role.role).await? else {
                    return Ok(names);
                };
                add(format!("role {}", role.name), &role.policies);
                names.boundary =
                    role.boundary.as_ref().map(|arn| format!("permissions boundary {arn}"));
            }
        }
        Ok(names)
    }

    /// The documents that limit a user or a role, whatever session it is.
    ///
    /// # Errors
    /// As for [`Iam::policies`].
    pub(super) async fn documents(&self, principal: &Principal) -> Result<Documents, KmsError> {
        let (directory, account) = (&self.directory, principal.account.as_str());
        let gone = || {
            let text = format!("User: {} does not exist any more", principal.caller_arn());
            KmsError::new(Exception::AccessDenied, text)
        };
        let texts = |policies: &InlinePolicies| policies.values().cloned().collect::<Vec<_>>();
        let (identity, boundary) = match &principal.kind {
            PrincipalKind::Root => (Vec::new(), None),
            PrincipalKind::User(user) => {
                let found = directory.user(account, &user.name).await?;
                let found = found.filter(|found| found.id == user.id).ok_or_else(gone)?;
                let mut identity = texts(&found.policies);
                for name in &found.groups {
                    if let Some(group) = directory.group(account, name).await? {
                        identity.extend(texts(&group.policies));
                    }
                }
                (identity, found.boundary.clone())
            }
            PrincipalKind::Role(role) => {
                let found = directory.role(account, &role.role).await?;
                let found = found.filter(|found| found.id == role.role_id).ok_or_else(gone)?;
                (texts(&found.policies), found.boundary.clone())
            }
        };
        let boundary = match boundary {
            Some(arn) => {
                let name = arn.rsplit('/').next().unwrap_or_default();
                let policy = directory.policy(account, name).await?;
                let policy = policy.filter(|policy| policy.arn() == arn);
                let missing = || KmsError::internal(format!("the boundary {arn} is missing"));
                Some(policy.ok_or_else(missing)?.document.clone())
            }
            None => None,
        };
        Ok(Documents { identity, boundary })
    }

    /// The unique ids of the users and roles that a key policy names. Those that do not exist are
    /// left out, and so is everything in a document that is no policy.
    ///
    /// # Errors
    /// `Exception::KmsInternal` if the store does not answer.
    pub async fn bound(&self, policy: &str) -> Result<Bound, KmsError> {
        let mut bound = Bound::new();
        let Ok(policy) = kms_policy::KeyPolicy::parse(policy) else { return Ok(bound) };
        for principal in policy.principals() {
            let id = match principal {
                NamedPrincipal::User(arn) => {
                    let (account, name) = place(arn);
                    let user = self.directory.user(account, name).await?;
                    user.filter(|user| user.arn() == **arn).map(|user| user.id.clone())
                }
                NamedPrincipal::Role(arn) => {
                    let (account, name) = place(arn);
                    let role = self.directory.role(account, name).await?;
                    role.filter(|role| role.arn() == **arn).map(|role| role.id.clone())
                }
                _ => None,
            };
            if let Some(id) = id {
                bound.insert(principal.to_string(), id);
            }
        }
        Ok(bound)
    }
}

/// Account and name in the ARN of a user or role.
fn place(arn: &str) -> (&str, &str) {
    (arn.split(':').nth(4).unwrap_or_default(), arn.rsplit('/').next().unwrap_or_default())
}
