//! Roles and their trust policies.

use super::call::{self, Call, contended, new_id, taken, tries};
use super::holder::Holder;
use super::inline::encoded;
use super::{boundaries, listing, tags};
use crate::iam::directory::Changes;
use crate::iam::document;
use crate::iam::record::{Attached, InlinePolicies, Role, Version};
use crate::management::{Node, check};
use kms_audit::event_time;
use kms_keys::catalog::Update;
use kms_query::IamError;

/// Bounds of the longest session of a role, and what it is unless the caller says; in seconds.
const MAX_SESSION: (u32, u32) = (3600, 43_200);

pub(super) async fn create(call: &mut Call<'_>) -> Result<Option<Node>, IamError> {
    let form = call.form;
    let name = check::role(form)?;
    let path = check::path(form, "Path")?;
    let trust = form.required("AssumeRolePolicyDocument")?;
    let boundary = form.optional("PermissionsBoundary");
    call.authorize(Some(&format!("arn:aws:iam::{}:role{path}{name}", call.account())))?;
    let role = Role {
        version: Version,
        account: call.account().to_owned(),
        name: name.to_owned(),
        path: path.to_owned(),
        id: new_id("AROA")?,
        description: check::text(form, "Description", 1000)?,
        created: call.now(),
        trust: document::trust(call.iam, trust).await?,
        max_session: check::number(form, "MaxSessionDuration", MAX_SESSION)?
            .unwrap_or(MAX_SESSION.0),
        policies: InlinePolicies::new(),
        attached: Attached::new(),
        boundary: boundary.map(str::to_owned),
        tags: call.tags(),
    };
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
            return Ok(Some(Node::Members(vec![("Role", describe(call, &role, true).await?)])));
        }
    }
    Err(contended())
}

pub(super) async fn find(call: &mut Call<'_>) -> Result<Option<Node>, IamError> {
    let role = Role::find(call).await?;
    let Node::Members(mut members) = describe(call, &role, true).await? else {
        return Ok(None);
    };
    let used = call.iam.uses.of(&role.id).await?.into_values().max();
    members.push((
        "RoleLastUsed",
        Node::members(match used {
            Some(used) => vec![
                ("LastUsedDate", Some(Node::from(event_time(used.at.into())))),
                ("Region", Some(Node::from(used.region))),
            ],
            None => Vec::new(),
        }),
    ));
    Ok(Some(Node::Members(vec![("Role", Node::Members(members))])))
}

pub(super) async fn list(call: &mut Call<'_>) -> Result<Option<Node>, IamError> {
    let prefix = check::path(call.form, "PathPrefix")?;
    call.authorize(Some(&call.arn("role", "")))?;
    let (page, end) = listing::page(call, true, |role: &Role| &role.name).await?;
    let mut shown = Vec::new();
    for role in page.iter().filter(|role| role.path.starts_with(prefix)) {
        shown.push(describe(call, role, false).await?);
    }
    Ok(Some(listing::finish("Roles", shown, &end)))
}

/// There are no instances, and so no profiles of them; those who delete roles ask first.
pub(super) async fn list_instance_profiles(call: &mut Call<'_>) -> Result<Option<Node>, IamError> {
    Role::find(call).await?;
    let none = std::iter::empty();
    listing::names(call.form, none, "InstanceProfiles", |name| Node::from(name)).map(Some)
}

pub(super) async fn update_trust(call: &mut Call<'_>) -> Result<Option<Node>, IamError> {
    let trust = call.form.required("PolicyDocument")?;
    Role::find(call).await?;
    let trust = document::trust(call.iam, trust).await?;
    let update = |role: &mut Role| {
        role.trust.clone_from(&trust);
        Ok(())
    };
    call.change(update).await.map(|()| None)
}

pub(super) async fn update(call: &mut Call<'_>) -> Result<Option<Node>, IamError> {
    let description = check::text(call.form, "Description", 1000)?;
    let longest = check::number(call.form, "MaxSessionDuration", MAX_SESSION)?;
    change(call, |role| {
        if description.is_some() {
            role.description.clone_from(&description);
        }
        role.max_session = longest.unwrap_or(role.max_session);
    })
    .await?;
    Ok(Some(Node::Members(Vec::new())))
}

pub(super) async fn describe_anew(call: &mut Call<'_>) -> Result<Option<Node>, IamError> {
    call.form.required("Description")?;
    let description = check::text(call.form, "Description", 1000)?;
    change(call, |role| role.description.clone_from(&description)).await?;
    let role = Role::find(call).await?;
    Ok(Some(Node::Members(vec![("Role", describe(call, &role, true).await?)])))
}

/// Changes the role that the call names.
async fn change(call: &Call<'_>, change: impl Fn(&mut Role) + Send + Sync) -> Result<(), IamError> {
    let update = |role: &mut Role| {
        change(role);
        Ok(())
    };
    call.change(update).await
}

pub(super) async fn delete(call: &mut Call<'_>) -> Result<Option<Node>, IamError> {
    for _ in tries() {
        let role = Role::find(call).await?;
        for (what, empty) in [
            ("delete policies", role.policies.is_empty()),
            ("detach all policies", role.attached.is_empty()),
        ] {
            if !empty {
                return Err(call::in_use(what));
            }
        }
        let changes = boundaries::unbind(call, Changes::new(), role.boundary.as_deref()).await?;
        if call.commit(changes.remove(&role).forget(&role.id)).await? == Update::Applied {
            return Ok(None);
        }
    }
    Err(contended())
}

/// A role; `whole`: with what listings leave out.
pub(super) async fn describe(call: &Call<'_>, role: &Role, whole: bool) -> Result<Node, IamError> {
    let names = call.iam.other_names(role.trust.bound()).await?;
    let trust = role.trust.naming(&names);
    let boundary = role.boundary.as_deref().filter(|_| whole);
    Ok(Node::members(vec![
        ("Path", Some(Node::from(role.path.as_str()))),
        ("RoleName", Some(Node::from(role.name.as_str()))),
        ("RoleId", Some(Node::from(role.id.as_str()))),
        ("Arn", Some(Node::from(role.arn()))),
        ("CreateDate", Some(Node::from(event_time(role.created.into())))),
        ("AssumeRolePolicyDocument", Some(Node::from(encoded(&trust)))),
        ("Description", role.description.as_deref().map(Node::from)),
        ("MaxSessionDuration", Some(Node::Number(role.max_session.into()))),
        ("PermissionsBoundary", boundary.map(boundaries::describe)),
        ("Tags", tags::shown(&role.tags).filter(|_| whole)),
    ]))
}
