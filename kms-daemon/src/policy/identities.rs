//! Who may manage identities, and who may become a role.

use kms_keys::document::{PARTITION, TrustPolicy};
use kms_policy::{Action, ConditionKey, Context, Name, Resource, Value, pair};

use super::conditions::Conditions;
use super::engine::{self, Names};
use super::{Request, Requester, Subject};
use kms_base::error::{Exception, KmsError};
use kms_base::identifier::{Scope, Tags};
use kms_base::principal::{Principal, PrincipalKind};

/// What a request to IAM or STS has of its own that conditions can be about.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Details<'a> {
    /// The permissions boundary that is to be set, or that limits whom the request is about.
    pub(crate) boundary: Option<&'a str>,
    /// The managed policy that is to be attached or detached.
    pub(crate) policy: Option<&'a str>,
    /// What only those know who were told it.
    pub(crate) external_id: Option<&'a str>,
    /// The name of the session that is to be made.
    pub(crate) session_name: Option<&'a str>,
    /// Who is to be behind the session.
    pub(crate) source_identity: Option<&'a str>,
    /// The tags of the user, role or policy that the request is about.
    pub(crate) resource_tags: Option<&'a Tags>,
    /// The tags that it gives, to whom or what it is about or to the session that is to be made.
    pub(crate) request_tags: Option<&'a Tags>,
    /// The keys of the tags that it takes away.
    pub(crate) tag_keys: Option<&'a Vec<String>>,
    /// The keys of the tags that stay with the sessions that come of the one that is to be made.
    pub(crate) transitive: Option<&'a Vec<String>>,
}

/// The role that is to be assumed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Target<'t> {
    /// Its account.
    pub(crate) account: &'t str,
    /// Its ARN.
    pub(crate) arn: &'t str,
    /// Its trust policy.
    pub(crate) trust: &'t TrustPolicy,
}

/// Decides whether the caller may carry out an action on `resource` of its own account: an
/// identity or a policy, or nothing in particular.
///
/// # Errors
/// [`Exception::AccessDenied`]; for every session that `GetSessionToken` made, as nobody has shown
/// a second factor for one, unless the action is one of CloudTrail.
pub(crate) fn authorize_management(
    requester: Requester<'_>,
    action: Action,
    resource: Option<&str>,
    details: Details<'_>,
) -> Result<(), KmsError> {
    let principal = requester.principal;
    let is_of_identities = !action.name().starts_with("cloudtrail:");
    let plain = principal.session.is_some() && !matches!(principal.kind, PrincipalKind::Role(_));
    if plain && is_of_identities {
        let text = format!(
            "User: {} is not authorized to perform: {action} with a session token",
            principal.caller_arn()
        );
        return Err(KmsError::new(Exception::AccessDenied, text));
    }
    let resource = Resource::Account { arn: resource, account: &principal.account };
    decide(requester, action, resource, details)
}

/// Decides whether the caller may assume a role, and do what `action` is besides.
///
/// # Errors
/// [`Exception::AccessDenied`].
pub(crate) fn authorize_assumption(
    requester: Requester<'_>,
    action: Action,
    role: Target<'_>,
    details: Details<'_>,
) -> Result<(), KmsError> {
    let Target { account, arn, trust } = role;
    let resource = Resource::Role { arn, account, policy: trust.compiled() };
    decide(requester, action, resource, details)
}

/// Decides whether the caller is told what policies decide about others, and why: a root is, with
/// its long-term key.
///
/// # Errors
/// [`Exception::AccessDenied`].
pub(crate) fn authorize_explanation(principal: &Principal, action: &str) -> Result<(), KmsError> {
    if principal.is_root() && principal.session.is_none() {
        return Ok(());
    }
    let text = format!(
        "User: {} is not authorized to perform: {action}. Only the root of an account is told, with \
         its long-term access key.",
        principal.caller_arn()
    );
    Err(KmsError::new(Exception::AccessDenied, text))
}

/// Decides whether the caller may manage the external key stores of its account: a root may, with its
/// long-term key.
///
/// # Errors
/// [`Exception::AccessDenied`].
pub(crate) fn authorize_stores(principal: &Principal, action: &str) -> Result<(), KmsError> {
    if principal.is_root() && principal.session.is_none() {
        return Ok(());
    }
    let text = format!(
        "User: {} is not authorized to perform: {action}. Only the root of an account manages its \
         external key stores, with its long-term access key.",
        principal.caller_arn()
    );
    Err(KmsError::new(Exception::AccessDenied, text))
}

/// Decides whether the caller may manage the accounts of the installation: the root of the `first`
/// one may, with its long-term key.
///
/// # Errors
/// [`Exception::AccessDenied`].
pub(crate) fn authorize_accounts(
    principal: &Principal,
    action: &str,
    first: &str,
) -> Result<(), KmsError> {
    if principal.is_root() && principal.session.is_none() && principal.account == first {
        return Ok(());
    }
    let text = format!(
        "User: {} is not authorized to perform: {action}. Only the root of the first account \
         manages accounts, with its long-term access key.",
        principal.caller_arn()
    );
    Err(KmsError::new(Exception::AccessDenied, text))
}

fn decide(
    requester: Requester<'_>,
    action: Action,
    resource: Resource<'_>,
    details: Details<'_>,
) -> Result<(), KmsError> {
    let names = Names::of(requester.principal, PARTITION);
    let caller = names.asking(action)?;
    let region = requester.request.map(|request| request.region.as_str()).unwrap_or_default();
    let scope = Scope::new(resource.account(), region);
    let asked = Request::new(requester, action, &scope, Subject::Account);
    let common = Conditions::new(&asked, caller);
    let conditions = IdentityConditions { common, details };
    let request = kms_policy::Request { caller, action, resource, context: &conditions };
    Ok(engine::evaluate(requester, &request)?)
}

/// The values of condition keys, given when a policy asks for them.
struct IdentityConditions<'a> {
    common: Conditions<'a>,
    details: Details<'a>,
}

impl<'a> Context for IdentityConditions<'a> {
    fn value(&self, key: &ConditionKey) -> Option<Value<'_>> {
        let Details { boundary, policy, external_id, session_name, source_identity, .. } =
            self.details;
        let Details { resource_tags, request_tags, tag_keys, transitive, .. } = self.details;
        let tag = |tags: Option<&'a Tags>| -> Option<Value<'a>> {
            pair(key, tags?.iter().map(|(key, value)| (key.as_str(), value.as_str())))
        };
        match key.name() {
            Name::PermissionsBoundary => boundary.map(Value::from),
            Name::PolicyArn => policy.map(Value::from),
            Name::ExternalId => external_id.map(Value::from),
            Name::RoleSessionName => session_name.map(Value::from),
            Name::SessionSourceIdentity => source_identity.map(Value::from),
            Name::IamResourceTag | Name::ResourceTag => tag(resource_tags),
            Name::RequestTag => tag(request_tags),
            Name::TagKeys => match (request_tags, tag_keys) {
                (Some(tags), _) => Some(Value::List(tags)),
                (None, Some(keys)) => Some(Value::List(keys)),
                (None, None) => None,
            },
            Name::TransitiveTagKeys => transitive.map(|keys| Value::List(keys)),
            Name::Other if is_own(key.parameter()) => Some(Value::Unknown),
            _ => self.common.value(key),
        }
    }
}

/// Whether a key is one of IAM or STS.
fn is_own(key: &str) -> bool {
    key.starts_with("iam:") || key.starts_with("sts:")
}

#[cfg(test)]
mod tests;
