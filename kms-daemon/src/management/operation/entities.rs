//! `ListEntitiesForPolicy`: the identities to which a managed policy is attached, and those that it
//! bounds.

use super::call::Call;
use super::listing::{self, Kind, Place};
use super::managed;
use crate::iam::record::Attached;
use crate::management::Node;
use crate::management::check::{self, Usage};
use kms_query::IamError;

pub(super) async fn list(call: &mut Call<'_>) -> Result<Option<Node>, IamError> {
    let arn = call.form.required("PolicyArn")?;
    let prefix = check::path(call.form, "PathPrefix")?;
    let usage = check::usage(call.form)?;
    let kinds: &[Kind] = match call.form.optional("EntityFilter") {
        None => &[Kind::Group, Kind::User, Kind::Role],
        Some("Group") => &[Kind::Group],
        Some("User") => &[Kind::User],
        Some("Role") => &[Kind::Role],
        Some("LocalManagedPolicy" | "AWSManagedPolicy") => &[],
        Some(_) => {
            let text = "EntityFilter is one of User, Role, Group, LocalManagedPolicy and \
                        AWSManagedPolicy.";
            return Err(IamError::invalid(text));
        }
    };
    managed::requested(call).await?;
    let uses = |path: &str, attached: &Attached, boundary: Option<&str>| {
        let permits = usage != Some(Usage::Boundary) && attached.contains(arn);
        let bounds = usage != Some(Usage::Permissions) && boundary == Some(arn);
        path.starts_with(prefix) && (permits || bounds)
    };
    let (mut groups, mut users, mut roles) = (Vec::new(), Vec::new(), Vec::new());
    let end = listing::walk(call, kinds, |found| {
        let (list, names, name, id) = match found {
            Place::Group(group) if uses(&group.path, &group.attached, None) => {
                (&mut groups, ["GroupName", "GroupId"], &group.name, &group.id)
            }
            Place::User(user) if uses(&user.path, &user.attached, user.boundary.as_deref()) => {
                (&mut users, ["UserName", "UserId"], &user.name, &user.id)
            }
            Place::Role(role) if uses(&role.path, &role.attached, role.boundary.as_deref()) => {
                (&mut roles, ["RoleName", "RoleId"], &role.name, &role.id)
            }
            _ => return false,
        };
        let [of_name, of_id] = names;
        list.push(Node::Members(vec![
            (of_name, Node::from(name.as_str())),
            (of_id, Node::from(id.as_str())),
        ]));
        true
    })
    .await?;
    let mut members = vec![
        ("PolicyGroups", Node::List(groups)),
        ("PolicyUsers", Node::List(users)),
        ("PolicyRoles", Node::List(roles)),
    ];
    members.extend(end);
    Ok(Some(Node::Members(members)))
}
