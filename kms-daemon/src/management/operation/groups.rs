//! Groups and their members.

use std::collections::BTreeSet;

use super::call::{self, Call, contended, missing, new_id, taken, tries};
use super::holder::Holder;
use super::{listing, users};
use crate::iam::directory::Changes;
use crate::iam::record::{Attached, Group, InlinePolicies, User, Version};
use crate::management::{Node, check};
use kms_audit::event_time;
use kms_keys::catalog::Update;
use kms_query::{Code, IamError};

/// IAM's quota of groups that a user is in.
pub(super) const MAX_GROUPS: usize = 10;

pub(super) async fn create(call: &mut Call<'_>) -> Result<Option<Node>, IamError> {
    let name = check::group(call.form)?;
    let group = Group {
        version: Version,
        account: call.account().to_owned(),
        name: name.to_owned(),
        path: check::path(call.form, "Path")?.to_owned(),
        id: new_id("AGPA")?,
        created: call.now(),
        members: BTreeSet::new(),
        policies: InlinePolicies::new(),
        attached: Attached::new(),
    };
    call.authorize(Some(&group.arn()))?;
    if call.commit(Changes::new().insert(&group)?).await? == Update::Conflict {
        return Err(taken("Group", name));
    }
    Ok(Some(Node::Members(vec![("Group", describe(&group))])))
}

pub(super) async fn find(call: &mut Call<'_>) -> Result<Option<Node>, IamError> {
    let group = Group::find(call).await?;
    let mut members = Vec::new();
    for name in &group.members {
        members.extend(call.directory().user(call.account(), name).await?);
    }
    let names = members.iter().map(|user| user.name.as_str());
    let show = |name: &str| {
        let user = members.iter().find(|user| user.name == name);
        user.map_or_else(|| Node::from(name), |user| users::describe(user, false))
    };
    let page = listing::names(call.form, names, "Users", show)?;
    let Node::Members(mut page) = page else { return Ok(Some(page)) };
    page.insert(0, ("Group", describe(&group)));
    Ok(Some(Node::Members(page)))
}

pub(super) async fn list(call: &mut Call<'_>) -> Result<Option<Node>, IamError> {
    let prefix = check::path(call.form, "PathPrefix")?;
    call.authorize(Some(&call.arn("group", "")))?;
    let show = |group: &Group| group.path.starts_with(prefix).then(|| describe(group));
    listing::records(call, true, |group: &Group| &group.name, "Groups", show).await.map(Some)
}

pub(super) async fn list_for_user(call: &mut Call<'_>) -> Result<Option<Node>, IamError> {
    let user = User::find(call).await?;
    let mut groups = Vec::new();
    for name in &user.groups {
        groups.extend(call.directory().group(call.account(), name).await?);
    }
    let names = groups.iter().map(|group| group.name.as_str());
    let show = |name: &str| {
        let group = groups.iter().find(|group| group.name == name);
        group.map_or_else(|| Node::from(name), |group| describe(group))
    };
    listing::names(call.form, names, "Groups", show).map(Some)
}

pub(super) async fn add_user(call: &mut Call<'_>) -> Result<Option<Node>, IamError> {
    let add = |group: &mut Group, user: &mut User| {
        user.groups.insert(group.name.clone());
        group.members.insert(user.name.clone());
        if user.groups.len() > MAX_GROUPS {
            let text = format!("Cannot exceed quota for GroupsPerUser: {MAX_GROUPS}");
            return Err(IamError::new(Code::LimitExceeded, text));
        }
        Ok(())
    };
    change_both(call, add).await
}

pub(super) async fn remove_user(call: &mut Call<'_>) -> Result<Option<Node>, IamError> {
    let remove = |group: &mut Group, user: &mut User| {
        user.groups.remove(&group.name);
        if group.members.remove(&user.name) {
            return Ok(());
        }
        let text = format!("The user {} is not in the group {}.", user.name, group.name);
        Err(IamError::new(Code::NoSuchEntity, text))
    };
    change_both(call, remove).await
}

pub(super) async fn delete(call: &mut Call<'_>) -> Result<Option<Node>, IamError> {
    for _ in tries() {
        let group = Group::find(call).await?;
        for (what, empty) in [
            ("remove users from group", group.members.is_empty()),
            ("delete policies", group.policies.is_empty()),
            ("detach all policies", group.attached.is_empty()),
        ] {
            if !empty {
                return Err(call::in_use(what));
            }
        }
        if call.commit(Changes::new().remove(&group)).await? == Update::Applied {
            return Ok(None);
        }
    }
    Err(contended())
}

/// Changes a group and a user together.
async fn change_both(
    call: &Call<'_>,
    change: impl Fn(&mut Group, &mut User) -> Result<(), IamError>,
) -> Result<Option<Node>, IamError> {
    for _ in tries() {
        // Who is in a group is the group's affair: policies are asked about it alone.
        let (group, name) = (Group::find(call).await?, check::user(call.form)?);
        let user = call.directory().user(call.account(), name).await?;
        let user = user.ok_or_else(|| missing("user", name))?;
        let (mut new_group, mut new_user) = (group.value.clone(), user.value.clone());
        change(&mut new_group, &mut new_user)?;
        let changes = Changes::new().replace(&group, &new_group)?.replace(&user, &new_user)?;
        if call.commit(changes).await? == Update::Applied {
            return Ok(None);
        }
    }
    Err(contended())
}

/// A group.
pub(super) fn describe(group: &Group) -> Node {
    Node::Members(vec![
        ("Path", Node::from(group.path.as_str())),
        ("GroupName", Node::from(group.name.as_str())),
        ("GroupId", Node::from(group.id.as_str())),
        ("Arn", Node::from(group.arn())),
        ("CreateDate", Node::from(event_time(group.created.into()))),
    ])
}
