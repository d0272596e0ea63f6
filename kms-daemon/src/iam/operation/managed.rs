//! Managed policies of a customer. They have one version, and are there to be boundaries.

use super::call::{Call, contended, new_id, taken, tries};
use super::inline::encoded;
use super::listing;
use crate::audit::event_time;
use crate::iam::directory::Changes;
use crate::iam::document::{self, Kind};
use crate::iam::error::{Code, IamError};
use crate::iam::record::{ManagedPolicy, Version};
use crate::iam::{Node, check};
use crate::key::Stored;
use crate::key::catalog::Update;

/// The only version of a policy.
const ONLY_VERSION: &str = "v1";

pub(super) async fn create(call: &mut Call<'_>) -> Result<Option<Node>, IamError> {
    let name = check::policy(call.form)?;
    let policy = ManagedPolicy {
        version: Version,
        account: call.account().to_owned(),
        name: name.to_owned(),
        path: check::path(call.form, "Path")?.to_owned(),
        id: new_id("ANPA")?,
        description: check::text(call.form, "Description", 1000)?,
        created: call.now(),
        document: call.form.required("PolicyDocument")?.to_owned(),
        bounds: 0,
    };
    call.authorize(&policy.arn())?;
    document::check(Kind::Managed, &policy.document)?;
    if call.commit(Changes::new().insert(&policy)?).await? == Update::Conflict {
        return Err(taken("A policy called", name));
    }
    Ok(Some(Node::Members(vec![("Policy", describe(&policy, true))])))
}

pub(super) async fn find(call: &mut Call<'_>) -> Result<Option<Node>, IamError> {
    let policy = requested(call).await?;
    Ok(Some(Node::Members(vec![("Policy", describe(&policy, true))])))
}

pub(super) async fn find_version(call: &mut Call<'_>) -> Result<Option<Node>, IamError> {
    let version = call.form.required("VersionId")?;
    let policy = requested(call).await?;
    if version != ONLY_VERSION {
        let text = format!("Policy {} does not have that version.", policy.arn());
        return Err(IamError::new(Code::NoSuchEntity, text));
    }
    let version = Node::Members(vec![
        ("Document", Node::from(encoded(&policy.document))),
        ("VersionId", Node::from(ONLY_VERSION)),
        ("IsDefaultVersion", Node::Flag(true)),
        ("CreateDate", Node::from(event_time(policy.created.into()))),
    ]);
    Ok(Some(Node::Members(vec![("PolicyVersion", version)])))
}

pub(super) async fn list(call: &mut Call<'_>) -> Result<Option<Node>, IamError> {
    let prefix = check::path(call.form, "PathPrefix")?;
    // There are none of AWS.
    let own = match call.form.optional("Scope").unwrap_or("All") {
        "All" | "Local" => true,
        "AWS" => false,
        _ => return Err(IamError::invalid("Scope is one of All, AWS and Local.")),
    };
    call.authorize(&call.arn("policy", ""))?;
    let show = |policy: &ManagedPolicy| {
        (own && policy.path.starts_with(prefix)).then(|| describe(policy, false))
    };
    listing::records(call, true, |policy: &ManagedPolicy| &policy.name, "Policies", show)
        .await
        .map(Some)
}

pub(super) async fn delete(call: &mut Call<'_>) -> Result<Option<Node>, IamError> {
    for _ in tries() {
        let policy = requested(call).await?;
        if policy.bounds > 0 {
            let text = "Cannot delete a policy that is the boundary of a user or role.";
            return Err(IamError::new(Code::DeleteConflict, text));
        }
        if call.commit(Changes::new().remove(&policy)).await? == Update::Applied {
            return Ok(None);
        }
    }
    Err(contended())
}

async fn requested(call: &Call<'_>) -> Result<Stored<ManagedPolicy>, IamError> {
    let arn = call.form.required("PolicyArn")?;
    call.authorize(arn)?;
    by_arn(call, arn).await
}

/// The policy of the caller's account with this ARN.
///
/// # Errors
/// [`Code::NoSuchEntity`], [`Code::ValidationError`].
pub(super) async fn by_arn(call: &Call<'_>, arn: &str) -> Result<Stored<ManagedPolicy>, IamError> {
    let parts: Vec<&str> = arn.splitn(6, ':').collect();
    let ["arn", _, "iam", "", account, resource] = parts[..] else {
        return Err(IamError::invalid("ARN is not valid."));
    };
    let name = resource.strip_prefix("policy/").and_then(|path| path.rsplit('/').next());
    let name = name.filter(|_| account == call.account());
    let found = match name {
        Some(name) => call.directory().policy(account, name).await?,
        None => None,
    };
    found.filter(|policy| policy.arn() == arn).ok_or_else(|| {
        let arn: String = arn.chars().take(256).collect();
        let text = format!("Policy {arn} does not exist or is not attachable.");
        IamError::new(Code::NoSuchEntity, text)
    })
}

fn describe(policy: &ManagedPolicy, whole: bool) -> Node {
    let created = || Node::from(event_time(policy.created.into()));
    let description = policy.description.as_deref().filter(|_| whole);
    Node::members(vec![
        ("PolicyName", Some(Node::from(policy.name.as_str()))),
        ("PolicyId", Some(Node::from(policy.id.as_str()))),
        ("Arn", Some(Node::from(policy.arn()))),
        ("Path", Some(Node::from(policy.path.as_str()))),
        ("DefaultVersionId", Some(Node::from(ONLY_VERSION))),
        ("AttachmentCount", Some(Node::Number(0))),
        ("PermissionsBoundaryUsageCount", Some(Node::Number(policy.bounds.into()))),
        ("IsAttachable", Some(Node::Flag(true))),
        ("Description", description.map(Node::from)),
        ("CreateDate", Some(created())),
        ("UpdateDate", Some(created())),
    ])
}
