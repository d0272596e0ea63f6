//! The policies that limit a caller: those of its user, groups, role and session.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};

use super::Iam;
use super::record::{Attached, Group, InlinePolicies, ManagedPolicy};
use crate::policy::CallerPolicies;
use crate::policy::explanation::PolicyNames;
use kms_base::error::{Exception, KmsError};
use kms_base::identifier::Tags;
use kms_base::principal::{Principal, PrincipalKind, SessionPolicy};
use kms_keys::Stored;
use kms_keys::document::IdentityPolicy;

/// Compiled policies of sessions that are held at a time.
const MAX_SESSIONS: usize = 4096;

/// Compiled policies of sessions, by their documents: they are in tokens, not in records.
#[derive(Default)]
pub(crate) struct SessionPolicies(Mutex<HashMap<String, kms_policy::IdentityPolicy>>);

impl SessionPolicies {
    fn get(&self, document: &str) -> Result<kms_policy::IdentityPolicy, KmsError> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(policy) = known.get(document) {
            return Ok(policy.clone());
        }
        // It was read when the session was made: now it fails for another release's only.
        let policy = kms_policy::IdentityPolicy::parse(document).map_err(KmsError::internal)?;
        if known.len() >= MAX_SESSIONS
            && let Some(victim) = known.keys().next().cloned()
        {
            known.remove(&victim);
        }
        known.insert(document.to_owned(), policy.clone());
        Ok(policy)
    }
}

/// Where an identity policy of a caller comes from, in words.
enum Source<'a> {
    Inline { name: &'a str, kind: &'static str, holder: &'a str },
    Attached { arn: &'a str, kind: &'static str, holder: &'a str },
}

impl fmt::Display for Source<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inline { name, kind, holder } => write!(f, "policy {name} of {kind} {holder}"),
            Self::Attached { arn, kind, holder } => {
                write!(f, "policy {arn}, attached to {kind} {holder}")
            }
        }
    }
}

/// What a caller has beside its identity policies.
#[derive(Default)]
struct Visited {
    /// The ARN of the permissions boundary.
    boundary: Option<String>,
    /// The tags of the user or role.
    tags: Tags,
}

/// A policy of a caller, for people and programs.
pub(crate) struct Document {
    /// What it is called: the name of an inline policy, the ARN of a managed one.
    pub(crate) id: String,
    /// Of what it is: the kind of its holder, or a managed policy.
    pub(crate) kind: &'static str,
    /// The document.
    pub(crate) policy: IdentityPolicy,
}

impl Document {
    fn of(source: &Source<'_>, policy: &IdentityPolicy) -> Self {
        let (id, kind) = match source {
            Source::Inline { name, kind, .. } => (*name, *kind),
            Source::Attached { arn, .. } => (*arn, "user-managed"),
        };
        Self { id: id.to_owned(), kind, policy: policy.clone() }
    }
}

/// What takes the identity policies of a caller, one after the other.
type Take<'t> = dyn FnMut(Source<'_>, &IdentityPolicy) + Send + 't;

impl Iam {
    /// The policies that limit a caller, compiled.
    ///
    /// # Errors
    /// [`Exception::AccessDenied`] if the user or role is gone; `Exception::KmsInternal` if its
    /// policies cannot be determined.
    pub async fn policies(&self, principal: &Principal) -> Result<CallerPolicies, KmsError> {
        if principal.is_root() {
            // No policy limits it, not even one of a session: it can have none.
            return Ok(CallerPolicies::default());
        }
        let mut identity = Vec::new();
        let mut take = |_: Source<'_>, policy: &IdentityPolicy| {
            identity.push(policy.compiled().clone());
        };
        let Visited { boundary, mut tags } = self.visit(principal, &mut take).await?;
        let boundary = match boundary {
            Some(arn) => Some(self.managed(&arn).await?.document()?.compiled().clone()),
            None => None,
        };
        let mut session = Vec::new();
        if let Some(own) = &principal.session {
            if let Some(document) = &own.policy {
                session.push(self.sessions.get(document)?);
            }
            for policy in &own.managed {
                session.push(self.session_policy(principal, policy).await?);
            }
            for (key, value) in &own.tags {
                tags.retain(|known, _| !same_tag(known, key, false));
                tags.insert(key.clone(), value.clone());
            }
        }
        Ok(CallerPolicies { identity, boundary, session, tags })
    }

    /// A managed policy that limits a session. One that is gone allows nothing any more, also if there
    /// is another of its name.
    async fn session_policy(
        &self,
        principal: &Principal,
        SessionPolicy { arn, id }: &SessionPolicy,
    ) -> Result<kms_policy::IdentityPolicy, KmsError> {
        match self.find_managed(arn).await?.filter(|policy| policy.id == *id) {
            Some(policy) => Ok(policy.document()?.compiled().clone()),
            None => {
                let caller = principal.caller_arn();
                let text = format!("The session policy {arn} of {caller} does not exist any more");
                Err(KmsError::new(Exception::AccessDenied, text))
            }
        }
    }

    /// What those policies are called, in the same order.
    ///
    /// # Errors
    /// As for [`Iam::policies`].
    pub(crate) async fn policy_names(
        &self,
        principal: &Principal,
    ) -> Result<PolicyNames, KmsError> {
        let mut identity = Vec::new();
        let mut take = |source: Source<'_>, _: &IdentityPolicy| identity.push(source.to_string());
        let boundary = self.visit(principal, &mut take).await?.boundary;
        let boundary = boundary.map(|arn| format!("permissions boundary {arn}"));
        Ok(PolicyNames { identity, boundary })
    }

    /// The identity policies of a caller.
    ///
    /// # Errors
    /// As for [`Iam::policies`].
    pub(crate) async fn documents(&self, principal: &Principal) -> Result<Vec<Document>, KmsError> {
        let mut all = Vec::new();
        let mut take = |source: Source<'_>, policy: &IdentityPolicy| {
            all.push(Document::of(&source, policy));
        };
        self.visit(principal, &mut take).await?;
        Ok(all)
    }

    /// The permissions boundary of a caller.
    ///
    /// # Errors
    /// As for [`Iam::policies`].
    pub(crate) async fn boundary_document(
        &self,
        principal: &Principal,
    ) -> Result<Option<Document>, KmsError> {
        let arn =
            self.visit(principal, &mut |_: Source<'_>, _: &IdentityPolicy| {}).await?.boundary;
        let Some(arn) = arn else { return Ok(None) };
        let policy = self.managed(&arn).await?.document()?.clone();
        Ok(Some(Document { id: arn, kind: "user-managed", policy }))
    }

    /// The policies of a group.
    ///
    /// # Errors
    /// `Exception::KmsInternal` if they cannot be determined.
    pub(crate) async fn documents_of_group(
        &self,
        group: &Group,
    ) -> Result<Vec<Document>, KmsError> {
        let mut all = Vec::new();
        let mut take = |source: Source<'_>, policy: &IdentityPolicy| {
            all.push(Document::of(&source, policy));
        };
        let holder = ("group", group.name.as_str());
        self.visit_holder(holder, &group.policies, &group.attached, &mut take).await?;
        Ok(all)
    }

    /// Shows every identity policy of a caller; what else there is.
    async fn visit(&self, principal: &Principal, take: &mut Take<'_>) -> Result<Visited, KmsError> {
        let (directory, account) = (&self.directory, principal.account.as_str());
        let gone = || {
            let text = format!("User: {} does not exist any more", principal.caller_arn());
            KmsError::new(Exception::AccessDenied, text)
        };
        match &principal.kind {
            PrincipalKind::Root => Ok(Visited::default()),
            PrincipalKind::User(user) => {
                let found = directory.user(account, &user.name).await?;
                let found = found.filter(|found| found.id == user.id).ok_or_else(gone)?;
                let holder = ("user", found.name.as_str());
                self.visit_holder(holder, &found.policies, &found.attached, take).await?;
                for name in &found.groups {
                    if let Some(group) = directory.group(account, name).await? {
                        let holder = ("group", name.as_str());
                        self.visit_holder(holder, &group.policies, &group.attached, take).await?;
                    }
                }
                Ok(Visited { boundary: found.boundary.clone(), tags: found.tags.clone() })
            }
            PrincipalKind::Role(role) => {
                let found = directory.role(account, &role.role).await?;
                let found = found.filter(|found| found.id == role.role_id).ok_or_else(gone)?;
                let holder = ("role", found.name.as_str());
                self.visit_holder(holder, &found.policies, &found.attached, take).await?;
                Ok(Visited { boundary: found.boundary.clone(), tags: found.tags.clone() })
            }
        }
    }

    async fn visit_holder(
        &self,
        (kind, holder): (&'static str, &str),
        inline: &InlinePolicies,
        attached: &Attached,
        take: &mut Take<'_>,
    ) -> Result<(), KmsError> {
        for (name, policy) in inline {
            take(Source::Inline { name, kind, holder }, policy);
        }
        for arn in attached {
            take(Source::Attached { arn, kind, holder }, self.managed(arn).await?.document()?);
        }
        Ok(())
    }

    /// A managed policy that something uses.
    async fn managed(&self, arn: &str) -> Result<Stored<ManagedPolicy>, KmsError> {
        let policy = self.find_managed(arn).await?;
        policy.ok_or_else(|| KmsError::internal(format!("{arn} is missing")))
    }

    /// The managed policy with an ARN, if there is one.
    pub(crate) async fn find_managed(
        &self,
        arn: &str,
    ) -> Result<Option<Stored<ManagedPolicy>>, KmsError> {
        let account = arn.split(':').nth(4).unwrap_or_default();
        let name = arn.rsplit('/').next().unwrap_or_default();
        let policy = self.directory.policy(account, name).await?;
        Ok(policy.filter(|policy| policy.arn() == arn))
    }
}

/// Whether two keys of tags are one.
pub(crate) fn same_tag(one: &str, other: &str, cased: bool) -> bool {
    match cased {
        true => one == other,
        false => one == other || one.to_lowercase() == other.to_lowercase(),
    }
}
