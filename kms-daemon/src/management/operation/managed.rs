//! Managed policies of a customer, which are attached to identities and bound them.

use std::collections::BTreeMap;

use super::call::{Call, Traits, contended, new_id, taken, tries};
use super::{listing, tags, versions};
use crate::iam::directory::Changes;
use crate::iam::document::{self, Kind};
use crate::iam::record::{ManagedPolicy, PolicyVersion, Version};
use crate::management::Node;
use crate::management::check::{self, Usage};
use kms_audit::event_time;
use kms_base::clock::Timestamp;
use kms_base::text::bounded;
use kms_keys::Stored;
use kms_keys::catalog::Update;
use kms_query::{Code, IamError};

/// The number of the first version of a policy.
const FIRST: u32 = 1;

pub(super) async fn create(call: &mut Call<'_>) -> Result<Option<Node>, IamError> {
    let name = check::policy(call.form)?;
    let document = call.form.required("PolicyDocument")?;
    let path = check::path(call.form, "Path")?.to_owned();
    let arn = ManagedPolicy::arn_of(call.account(), &path, name);
    call.authorize(Some(&arn))?;
    let document = document::identity(Kind::Managed, document)?;
    let first = PolicyVersion { document, created: call.now() };
    let policy = ManagedPolicy {
        version: Version,
        account: call.account().to_owned(),
        name: name.to_owned(),
        path,
        id: new_id("ANPA")?,
        description: check::text(call.form, "Description", 1000)?,
        created: call.now(),
        versions: BTreeMap::from([(FIRST, first)]),
        default: FIRST,
        last: FIRST,
        attachments: 0,
        bounds: 0,
        tags: call.tags(),
    };
    if call.commit(Changes::new().insert(&policy)?).await? == Update::Conflict {
        return Err(taken("A policy called", name));
    }
    Ok(Some(Node::Members(vec![("Policy", describe(&policy, true))])))
}

pub(super) async fn find(call: &mut Call<'_>) -> Result<Option<Node>, IamError> {
    let policy = requested(call).await?;
    Ok(Some(Node::Members(vec![("Policy", describe(&policy, true))])))
}

pub(super) async fn list(call: &mut Call<'_>) -> Result<Option<Node>, IamError> {
    let prefix = check::path(call.form, "PathPrefix")?;
    // There are none of AWS.
    let own = match call.form.optional("Scope").unwrap_or("All") {
        "All" | "Local" => true,
        "AWS" => false,
        _ => return Err(IamError::invalid("Scope is one of All, AWS and Local.")),
    };
    let attached = check::flag(call.form, "OnlyAttached")?;
    let usage = check::usage(call.form)?;
    call.authorize(Some(&call.arn("policy", "")))?;
    let wanted = |policy: &ManagedPolicy| {
        let used = match usage {
            Some(Usage::Permissions) => policy.attachments > 0,
            Some(Usage::Boundary) => policy.bounds > 0,
            None => true,
        };
        let counts = policy.attachments > 0 || policy.bounds > 0;
        own && policy.path.starts_with(prefix) && used && (counts || !attached)
    };
    let show = |policy: &ManagedPolicy| wanted(policy).then(|| describe(policy, false));
    listing::records(call, true, |policy: &ManagedPolicy| &policy.name, "Policies", show)
        .await
        .map(Some)
}

pub(super) async fn delete(call: &mut Call<'_>) -> Result<Option<Node>, IamError> {
    for _ in tries() {
        let policy = requested(call).await?;
        let conflict = |text| Err(IamError::new(Code::DeleteConflict, text));
        if policy.attachments > 0 {
            return conflict("Cannot delete a policy attached to entities.");
        }
        if policy.bounds > 0 {
            return conflict("Cannot delete a policy that is the boundary of a user or role.");
        }
        if policy.versions.len() > 1 {
            return conflict(
                "This policy has more than one version. Before you delete a policy, you must \
                 delete the policy's versions. The default version is deleted with the policy.",
            );
        }
        if call.commit(Changes::new().remove(&policy)).await? == Update::Applied {
            return Ok(None);
        }
    }
    Err(contended())
}

/// The policy that the call names.
///
/// # Errors
/// As for [`by_arn`]; [`Code::AccessDenied`] if the caller may not do what it does.
pub(super) async fn requested(call: &Call<'_>) -> Result<Stored<ManagedPolicy>, IamError> {
    let arn = call.form.required("PolicyArn")?;
    let found = by_arn(call, arn).await;
    let tags = found.as_ref().ok().map(|policy| &policy.tags);
    call.authorize_on(Some(arn), Traits { tags, ..Traits::default() })?;
    found
}

/// The policy of the caller's account with this ARN.
///
/// # Errors
/// [`Code::NoSuchEntity`], [`Code::ValidationError`].
pub(super) async fn by_arn(call: &Call<'_>, arn: &str) -> Result<Stored<ManagedPolicy>, IamError> {
    let parts: Vec<&str> = arn.splitn(6, ':').collect();
    let ["arn", _, "iam", "", account, _] = parts[..] else {
        return Err(IamError::invalid("ARN is not valid."));
    };
    let found = match account == call.account() {
        true => call.iam.find_managed(arn).await?,
        false => None,
    };
    found.ok_or_else(|| {
        let arn = bounded(arn, 256);
        let text = format!("Policy {arn} does not exist or is not attachable.");
        IamError::new(Code::NoSuchEntity, text)
    })
}

/// A policy; `whole`: with what listings leave out.
pub(super) fn describe(policy: &ManagedPolicy, whole: bool) -> Node {
    let time = |time: Timestamp| Some(Node::from(event_time(time.into())));
    let updated = policy.versions.values().last().map_or(policy.created, |last| last.created);
    let description = policy.description.as_deref().filter(|_| whole);
    Node::members(vec![
        ("PolicyName", Some(Node::from(policy.name.as_str()))),
        ("PolicyId", Some(Node::from(policy.id.as_str()))),
        ("Arn", Some(Node::from(policy.arn()))),
        ("Path", Some(Node::from(policy.path.as_str()))),
        ("DefaultVersionId", Some(Node::from(versions::name(policy.default)))),
        ("AttachmentCount", Some(Node::Number(policy.attachments.into()))),
        ("PermissionsBoundaryUsageCount", Some(Node::Number(policy.bounds.into()))),
        ("IsAttachable", Some(Node::Flag(true))),
        ("Description", description.map(Node::from)),
        ("CreateDate", time(policy.created)),
        ("UpdateDate", time(updated)),
        ("Tags", tags::shown(&policy.tags).filter(|_| whole)),
    ])
}
