//! Roles and their trust policies.

use super::boundaries;
use super::call::{Call, Holder, contended, new_id, taken, tries};
use super::inline::encoded;
use super::listing;
use super::trusted;
use crate::audit::event_time;
use crate::iam::directory::Changes;
use crate::iam::document::{self, Kind};
use crate::iam::error::{Code, IamError};
use crate::iam::record::{InlinePolicies, Role, Version};
use crate::iam::{Node, check};
use crate::key::catalog::Update;

/// Bounds of the longest session of a role, and what it is unless the caller says; in seconds.
const MAX_SESSION: (u32, u32) = (3600, 43_200);

pub(super) async fn create(call: &mut Call<'_>) -> Result<Option<Node>, IamError> {
    let form = call.form;
    let name = check::role(form)?;
    let trust = form.required("AssumeRolePolicyDocument")?;
    let boundary = form.optional("PermissionsBoundary");
    let mut role = Role {
        version: Version,
        account: call.account().to_owned(),
        name: name.to_owned(),
        path: check::path(form, "Path")?.to_owned(),
        id: new_id("AROA")?,
        description: check::text(form, "Description", 1000)?,
        created: call.now(),
        trust: trust.to_owned(),
        trusted: std::collections::BTreeMap::new(),
        max_session: check::number(form, "MaxSessionDuration", MAX_SESSION)?
            .unwrap_or(MAX_SESSION.0),
        policies: InlinePolicies::new(),
        boundary: boundary.map(str::to_owned),
    };
    call.authorize(&role.arn())?;
    document::check(Kind::Trust, trust)?;
    role.trusted = trusted::resolve(call.directory(), trust).await?;
    for _ in tries() {
        if call.directory().role(call.account(), name).await?.is_some() {
            return Err(taken("Role", name));
        }
        let changes = match boundary {
            Some(arn) => boundaries::bind(call, Changes::new(), arn, None).await?,
            None => Changes::new(),
        };
        if call.commit(changes.insert(&role)?).await? == Update::Applied {
            call.element("role", serde_json::json!({ "roleId": role.id, "arn": role.arn() }));
            return Ok(Some(Node::Members(vec![("Role", describe(&role))])));
        }
    }
    Err(contended())
}

pub(super) async fn find(call: &mut Call<'_>) -> Result<Option<Node>, IamError> {
    let role = Role::find(call).await?;
    Ok(Some(Node::Members(vec![("Role", describe(&role))])))
}

pub(super) async fn list(call: &mut Call<'_>) -> Result<Option<Node>, IamError> {
    let prefix = check::path(call.form, "PathPrefix")?;
    call.authorize(&call.arn("role", ""))?;
    let show = |role: &Role| role.path.starts_with(prefix).then(|| describe(role));
    listing::records(call, true, |role: &Role| &role.name, "Roles", show).await.map(Some)
}

pub(super) async fn update_trust(call: &mut Call<'_>) -> Result<Option<Node>, IamError> {
    let trust = call.form.required("PolicyDocument")?;
    Role::find(call).await?;
    document::check(Kind::Trust, trust)?;
    let trusted = trusted::resolve(call.directory(), trust).await?;
    let update = |role: &mut Role| {
        trust.clone_into(&mut role.trust);
        role.trusted.clone_from(&trusted);
        Ok(())
    };
    call.change(update).await.map(|()| None)
}

pub(super) async fn delete(call: &mut Call<'_>) -> Result<Option<Node>, IamError> {
    for _ in tries() {
        let role = Role::find(call).await?;
        if !role.policies.is_empty() {
            let text = "Cannot delete entity, must delete policies first.";
            return Err(IamError::new(Code::DeleteConflict, text));
        }
        let changes = boundaries::unbind(call, Changes::new(), role.boundary.as_deref()).await?;
        if call.commit(changes.remove(&role)).await? == Update::Applied {
            return Ok(None);
        }
    }
    Err(contended())
}

fn describe(role: &Role) -> Node {
    Node::members(vec![
        ("Path", Some(Node::from(role.path.as_str()))),
        ("RoleName", Some(Node::from(role.name.as_str()))),
        ("RoleId", Some(Node::from(role.id.as_str()))),
        ("Arn", Some(Node::from(role.arn()))),
        ("CreateDate", Some(Node::from(event_time(role.created.into())))),
        ("AssumeRolePolicyDocument", Some(Node::from(encoded(&role.trust)))),
        ("Description", role.description.as_deref().map(Node::from)),
        ("MaxSessionDuration", Some(Node::Number(role.max_session.into()))),
        ("PermissionsBoundary", role.boundary.as_deref().map(boundaries::describe)),
    ])
}
