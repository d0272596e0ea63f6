//! `UpdateUser` and `UpdateGroup`: change a name or path.
//!
//! The user stays the same principal: its unique id, by which key policies, trust policies and grants
//! refer to it, its access keys, groups and policies stay. A group keeps its members and policies.

use super::call::{Call, contended, taken, tries};
use super::holder::Holder;
use super::users;
use crate::iam::directory::Changes;
use crate::iam::record::{AccessKey, Group, Owner, Record, User};
use crate::management::{Node, check};
use kms_keys::Stored;
use kms_keys::catalog::Update;
use kms_query::IamError;

pub(super) async fn user(call: &mut Call<'_>) -> Result<Option<Node>, IamError> {
    let form = call.form;
    let name = match form.optional("NewUserName") {
        Some(_) => Some(check::name(form, "NewUserName", (1, 64))?),
        None => None,
    };
    let path = match form.optional("NewPath") {
        Some(_) => Some(check::path(form, "NewPath")?),
        None => None,
    };
    for _ in tries() {
        let old = User::find(call).await?;
        let mut new = old.value.clone();
        name.unwrap_or(&old.name).clone_into(&mut new.name);
        path.unwrap_or(&old.path).clone_into(&mut new.path);
        if new.arn() != old.arn() {
            // Whoever may change this one may not make it one that others look after.
            call.authorize(Some(&new.arn()))?;
        }
        let changes = match moved(call, &old, &new).await? {
            Some(changes) => changes,
            None => return Err(taken("User", &new.name)),
        };
        if call.commit(changes).await? == Update::Applied {
            call.element("user", users::summary(&new));
            return Ok(None);
        }
    }
    Err(contended())
}

pub(super) async fn group(call: &mut Call<'_>) -> Result<Option<Node>, IamError> {
    let form = call.form;
    let name = match form.optional("NewGroupName") {
        Some(_) => Some(check::name(form, "NewGroupName", (1, 128))?),
        None => None,
    };
    let path = match form.optional("NewPath") {
        Some(_) => Some(check::path(form, "NewPath")?),
        None => None,
    };
    for _ in tries() {
        let old = Group::find(call).await?;
        let mut new = old.value.clone();
        name.unwrap_or(&old.name).clone_into(&mut new.name);
        path.unwrap_or(&old.path).clone_into(&mut new.path);
        if new.arn() != old.arn() {
            // Whoever may change this one may not make it one that others look after.
            call.authorize(Some(&new.arn()))?;
        }
        let changes = match moved_group(call, &old, &new).await? {
            Some(changes) => changes,
            None => return Err(taken("Group", &new.name)),
        };
        if call.commit(changes).await? == Update::Applied {
            return Ok(None);
        }
    }
    Err(contended())
}

/// The changes of the group and of its members; `None` if another group has the name.
async fn moved_group(
    call: &Call<'_>,
    old: &Stored<Group>,
    new: &Group,
) -> Result<Option<Changes>, IamError> {
    let changes = Changes::new();
    let mut changes = if new.key() == old.key() {
        changes.replace(old, new)?
    } else if call.directory().group(call.account(), &new.name).await?.is_some() {
        return Ok(None);
    } else {
        changes.remove(old).insert(new)?
    };
    if new.name == old.name {
        return Ok(Some(changes));
    }
    for name in &old.members {
        if let Some(user) = call.directory().user(call.account(), name).await? {
            let mut groups = user.groups.clone();
            groups.remove(&old.name);
            groups.insert(new.name.clone());
            changes = changes.replace(&user, &User { groups, ..user.value.clone() })?;
        }
    }
    Ok(Some(changes))
}

/// The changes of everything that has the name; `None` if another user has it.
async fn moved(
    call: &Call<'_>,
    old: &Stored<User>,
    new: &User,
) -> Result<Option<Changes>, IamError> {
    let changes = Changes::new();
    if new.name == old.name {
        return Ok(Some(changes.replace(old, new)?));
    }
    let mut changes = if new.key() == old.key() {
        changes.replace(old, new)?
    } else if call.directory().user(call.account(), &new.name).await?.is_some() {
        return Ok(None);
    } else {
        changes.remove(old).insert(new)?
    };
    changes = changes.rename(&new.id, &new.name);
    for id in &old.keys {
        if let Some(key) = call.directory().access_key(id).await? {
            let owner = Owner::User { name: new.name.clone(), id: new.id.clone() };
            changes = changes.replace(&key, &AccessKey { owner, ..key.value.clone() })?;
        }
    }
    for name in &old.groups {
        if let Some(group) = call.directory().group(call.account(), name).await? {
            let mut members = group.members.clone();
            members.remove(&old.name);
            members.insert(new.name.clone());
            changes = changes.replace(&group, &Group { members, ..group.value.clone() })?;
        }
    }
    Ok(Some(changes))
}
