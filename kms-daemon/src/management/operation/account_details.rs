//! `GetAccountAuthorizationDetails`: all users, groups, roles and policies of an account, with
//! everything that policies depend on.

use super::call::Call;
use super::inline::encoded;
use super::listing::{self, Kind, Place};
use super::{groups, managed, roles, users, versions};
use crate::iam::record::{Attached, InlinePolicies, ManagedPolicy};
use crate::management::{Node, check};
use kms_query::IamError;

/// The kinds, in the order they are told in.
const KINDS: &[Kind] = &[Kind::User, Kind::Group, Kind::Role, Kind::Policy];

pub(super) async fn run(call: &mut Call<'_>) -> Result<Option<Node>, IamError> {
    let filter = call.form.list("Filter")?;
    check::many("Filter", filter.len(), 5)?;
    let mut wanted = Vec::new();
    for name in &filter {
        wanted.push(match *name {
            "User" => Some(Kind::User),
            "Group" => Some(Kind::Group),
            "Role" => Some(Kind::Role),
            "LocalManagedPolicy" => Some(Kind::Policy),
            // There are none of AWS.
            "AWSManagedPolicy" => None,
            _ => {
                let text = "Filter is a list of User, Role, Group, LocalManagedPolicy and \
                            AWSManagedPolicy.";
                return Err(IamError::invalid(text));
            }
        });
    }
    call.authorize(None)?;
    let shown = |kind: &&Kind| filter.is_empty() || wanted.contains(&Some(**kind));
    let kinds: Vec<Kind> = KINDS.iter().filter(shown).copied().collect();
    let [mut of_users, mut of_groups, mut of_roles, mut of_policies] = [const { Vec::new() }; 4];
    let mut found_roles = Vec::new();
    let end = listing::walk(call, &kinds, |found| {
        match found {
            Place::User(user) => {
                let groups = user.groups.iter().map(|name| Node::from(name.as_str())).collect();
                of_users.push(with(
                    users::describe(user, true),
                    vec![
                        ("UserPolicyList", inline(&user.policies)),
                        ("GroupList", Some(Node::List(groups))),
                        ("AttachedManagedPolicies", attached(&user.attached)),
                    ],
                ));
            }
            Place::Group(group) => of_groups.push(with(
                groups::describe(group),
                vec![
                    ("GroupPolicyList", inline(&group.policies)),
                    ("AttachedManagedPolicies", attached(&group.attached)),
                ],
            )),
            Place::Role(role) => found_roles.push(role.clone()),
            Place::Policy(policy) => of_policies.push(of_policy(policy)),
        }
        true
    })
    .await?;
    for role in &found_roles {
        of_roles.push(with(
            roles::describe(call, role, true).await?,
            vec![
                ("InstanceProfileList", Some(Node::List(Vec::new()))),
                ("RolePolicyList", inline(&role.policies)),
                ("AttachedManagedPolicies", attached(&role.attached)),
            ],
        ));
    }
    let mut members = vec![
        ("UserDetailList", Node::List(of_users)),
        ("GroupDetailList", Node::List(of_groups)),
        ("RoleDetailList", Node::List(of_roles)),
        ("Policies", Node::List(of_policies)),
    ];
    members.extend(end);
    Ok(Some(Node::Members(members)))
}

/// A description with more members.
fn with(described: Node, more: Vec<(&'static str, Option<Node>)>) -> Node {
    let Node::Members(mut members) = described else { return described };
    members.extend(more.into_iter().filter_map(|(name, node)| Some((name, node?))));
    Node::Members(members)
}

fn inline(policies: &InlinePolicies) -> Option<Node> {
    let policy = |(name, policy): (&String, &kms_keys::document::IdentityPolicy)| {
        Node::Members(vec![
            ("PolicyName", Node::from(name.as_str())),
            ("PolicyDocument", Node::from(encoded(policy.text()))),
        ])
    };
    Some(Node::List(policies.iter().map(policy).collect()))
}

fn attached(policies: &Attached) -> Option<Node> {
    Some(Node::List(policies.iter().map(|arn| super::attached::describe(arn)).collect()))
}

fn of_policy(policy: &ManagedPolicy) -> Node {
    let all = policy.versions.iter();
    let all = all.map(|(number, version)| versions::describe(policy, *number, version, true));
    with(
        managed::describe(policy, true),
        vec![("PolicyVersionList", Some(Node::List(all.collect())))],
    )
}
