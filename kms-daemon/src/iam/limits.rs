//! What limits a caller: the policies of its user, groups, role and session.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use kms_policy::IdentityPolicy;

use super::Iam;
use super::record::{Attached, InlinePolicies, ManagedPolicy};
use crate::error::{Exception, KmsError};
use crate::key::Stored;
use crate::policy::CallerPolicies;
use crate::policy::explanation::PolicyNames;
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
        let (directory, account) = (&self.directory, principal.account.as_str());
        let gone = || {
            let text = format!("User: {} does not exist any more", principal.caller_arn());
            KmsError::new(Exception::AccessDenied, text)
        };
        let mut identity = Vec::new();
        let boundary = match &principal.kind {
            // No policy limits it, not even one of a session: it can have none.
            PrincipalKind::Root => return Ok(CallerPolicies::default()),
            PrincipalKind::User(user) => {
                let found = directory.user(account, &user.name).await?;
                let found = found.filter(|found| found.id == user.id).ok_or_else(gone)?;
                self.add(&mut identity, &found.policies, &found.attached).await?;
                for name in &found.groups {
                    if let Some(group) = directory.group(account, name).await? {
                        self.add(&mut identity, &group.policies, &group.attached).await?;
                    }
                }
                found.boundary.clone()
            }
            PrincipalKind::Role(role) => {
                let found = directory.role(account, &role.role).await?;
                let found = found.filter(|found| found.id == role.role_id).ok_or_else(gone)?;
                self.add(&mut identity, &found.policies, &found.attached).await?;
                found.boundary.clone()
            }
        };
        let boundary = match boundary {
            Some(arn) => Some(self.managed(&arn).await?),
            None => None,
        };
        let session = principal.session.as_ref().and_then(|session| session.policy.as_deref());
        let session = session.map(|document| self.compiled.get(document)).transpose()?;
        Ok(CallerPolicies { identity, boundary, session: session.into_iter().collect() })
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
        let mut add = |of: String, inline: &InlinePolicies, attached: &Attached| {
            names.identity.extend(inline.keys().map(|name| format!("policy {name} of {of}")));
            names.identity.extend(attached.iter().map(|arn| format!("policy {arn} of {of}")));
        };
        match &principal.kind {
            PrincipalKind::Root => {}
            PrincipalKind::User(user) => {
                let Some(user) = directory.user(account, &user.name).await? else {
                    return Ok(names);
                };
                add(format!("user {}", user.name), &user.policies, &user.attached);
                for name in &user.groups {
                    if let Some(group) = directory.group(account, name).await? {
                        add(format!("group {name}"), &group.policies, &group.attached);
                    }
                }
                names.boundary =
                    user.boundary.as_ref().map(|arn| format!("permissions boundary {arn}"));
            }
            PrincipalKind::Role(role) => {
                let Some(role) = directory.role(account, &role.role).await? else {
                    return Ok(names);
                };
                add(format!("role {}", role.name), &role.policies, &role.attached);
                names.boundary =
                    role.boundary.as_ref().map(|arn| format!("permissions boundary {arn}"));
            }
        }
        Ok(names)
    }

    /// Adds inline and attached policies, compiled.
    async fn add(
        &self,
        to: &mut Vec<IdentityPolicy>,
        inline: &InlinePolicies,
        attached: &Attached,
    ) -> Result<(), KmsError> {
        for document in inline.values() {
            to.push(self.compiled.get(document)?);
        }
        for arn in attached {
            to.push(self.managed(arn).await?);
        }
        Ok(())
    }

    /// A managed policy that something uses, compiled.
    async fn managed(&self, arn: &str) -> Result<IdentityPolicy, KmsError> {
        let policy = self.find_managed(arn).await?;
        let policy = policy.ok_or_else(|| KmsError::internal(format!("{arn} is missing")))?;
        self.compiled.get(policy.document().map_err(KmsError::internal)?)
    }

    /// The managed policy with an ARN, if there is one.
    pub(super) async fn find_managed(
        &self,
        arn: &str,
    ) -> Result<Option<Stored<ManagedPolicy>>, KmsError> {
        let account = arn.split(':').nth(4).unwrap_or_default();
        let name = arn.rsplit('/').next().unwrap_or_default();
        let policy = self.directory.policy(account, name).await?;
        Ok(policy.filter(|policy| policy.arn() == arn))
    }
}
