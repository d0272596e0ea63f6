//! The last uses of access keys, and of services by identities.

use super::call::{Call, missing};
use super::{access_keys, listing};
use crate::iam::directory::Cached;
use crate::iam::record::{Attached, Group, Owner, Role, User};
use crate::iam::uses::Use;
use crate::management::Node;
use crate::management::jobs::Job;
use kms_audit::event_time;
use kms_base::clock::Timestamp;
use kms_base::text::bounded;
use kms_query::{Code, IamError};

/// The services that are here, by their names in actions.
const SERVICES: [(&str, &str); 5] = [
    ("ec2", "Amazon EC2"),
    ("iam", "AWS Identity and Access Management"),
    ("kms", "AWS Key Management Service"),
    ("sts", "AWS Security Token Service"),
    ("tag", "Amazon Resource Group Tagging API"),
];

/// A user, group, role or policy, and who it stands for.
struct Subject {
    arn: String,
    /// Unique ids and ARNs of users and roles.
    identities: Vec<(String, String)>,
}

pub(super) async fn access_key(call: &mut Call<'_>) -> Result<Option<Node>, IamError> {
    let id = call.form.required("AccessKeyId")?;
    let key = call.directory().access_key(id).await?;
    let key = key.filter(|key| key.account == call.account());
    let owner = match key.as_ref().map(|key| &key.owner) {
        Some(Owner::User { name, .. }) => call.directory().user(call.account(), name).await?,
        _ => None,
    };
    let root = format!("arn:aws:iam::{}:root", call.account());
    let arn = match (&owner, &key) {
        (Some(user), _) => user.arn(),
        (None, Some(_)) => root,
        (None, None) if access_keys::of_root(call).await?.iter().any(|(own, ..)| own == id) => root,
        (None, None) => {
            call.authorize(Some(&call.arn("user", "")))?;
            let id = bounded(id, 128);
            let text = format!("The Access Key with id {id} cannot be found.");
            return Err(IamError::new(Code::NoSuchEntity, text));
        }
    };
    call.authorize(Some(&arn))?;
    let last = last(call, id).await?;
    Ok(Some(Node::members(vec![
        ("UserName", owner.map(|user| Node::from(user.name.as_str()))),
        ("AccessKeyLastUsed", Some(describe(last.as_ref()))),
    ])))
}

/// The last use of an access key, and for which service it was.
pub(super) async fn last(call: &Call<'_>, id: &str) -> Result<Option<(String, Use)>, IamError> {
    let all = call.iam.uses.of(id).await?;
    Ok(all.into_iter().max_by(|(_, one), (_, other)| one.cmp(other)))
}

fn describe(last: Option<&(String, Use)>) -> Node {
    match last {
        Some((service, used)) => Node::Members(vec![
            ("LastUsedDate", Node::from(event_time(used.at.into()))),
            ("ServiceName", Node::from(service.as_str())),
            ("Region", Node::from(used.region.as_str())),
        ]),
        None => {
            Node::Members(vec![("ServiceName", Node::from("N/A")), ("Region", Node::from("N/A"))])
        }
    }
}

pub(super) async fn generate_services(call: &mut Call<'_>) -> Result<Option<Node>, IamError> {
    let arn = call.form.required("Arn")?;
    match call.form.optional("Granularity") {
        None | Some("SERVICE_LEVEL") => {}
        Some("ACTION_LEVEL") => {
            let text = "Which actions were used is in the audit log only: the Granularity here is \
                        SERVICE_LEVEL.";
            return Err(IamError::invalid(text));
        }
        Some(_) => return Err(IamError::invalid("Granularity is SERVICE_LEVEL.")),
    }
    call.authorize(Some(arn))?;
    let Subject { arn, .. } = subject(call, arn).await?;
    let (account, created) = (call.account().to_owned(), call.now());
    let id = call.management.jobs.add(Job { account, arn, created });
    Ok(Some(Node::Members(vec![("JobId", Node::from(id))])))
}

pub(super) async fn services(call: &mut Call<'_>) -> Result<Option<Node>, IamError> {
    let id = call.form.required("JobId")?;
    call.authorize(None)?;
    let job = call
        .management
        .jobs
        .find(id, call.account())
        .ok_or_else(|| missing("job", bounded(id, 256)))?;
    let Subject { identities, .. } = subject(call, &job.arn).await?;
    let mut uses = Vec::new();
    for (id, arn) in &identities {
        uses.push((arn, call.iam.uses.of(id).await?));
    }
    let show = |namespace: &str| {
        let used = uses.iter().filter_map(|(arn, all)| Some((*arn, all.get(namespace)?)));
        let last = used.clone().max_by_key(|(_, used)| used.at);
        let name = SERVICES.iter().find(|(own, _)| *own == namespace).map_or("", |(_, name)| name);
        Node::members(vec![
            ("ServiceName", Some(Node::from(name))),
            ("ServiceNamespace", Some(Node::from(namespace))),
            ("LastAuthenticated", last.map(|(_, used)| time(used.at))),
            ("LastAuthenticatedEntity", last.map(|(arn, _)| Node::from(arn.as_str()))),
            ("LastAuthenticatedRegion", last.map(|(_, used)| Node::from(used.region.as_str()))),
            ("TotalAuthenticatedEntities", Some(Node::Number(used.count() as u64))),
        ])
    };
    let namespaces = SERVICES.iter().map(|(namespace, _)| *namespace);
    let page = listing::names(call.form, namespaces, "ServicesLastAccessed", show)?;
    let mut members = vec![
        ("JobStatus", Node::from("COMPLETED")),
        ("JobType", Node::from("SERVICE_LEVEL")),
        ("JobCreationDate", time(job.created)),
        ("JobCompletionDate", time(job.created)),
    ];
    if let Node::Members(page) = page {
        members.extend(page);
    }
    Ok(Some(Node::Members(members)))
}

/// The user, group, role or policy of the caller's account with an ARN.
async fn subject(call: &Call<'_>, arn: &str) -> Result<Subject, IamError> {
    let (directory, account) = (call.directory(), call.account());
    let resource = arn.strip_prefix(&format!("arn:aws:iam::{account}:")).unwrap_or_default();
    let (kind, name) =
        (resource.split('/').next(), resource.rsplit('/').next().unwrap_or_default());
    let mut identities = Vec::new();
    let found = match kind {
        Some("user") => match directory.user(account, name).await? {
            Some(user) => {
                identities.push((user.id.clone(), user.arn()));
                Some(user.arn())
            }
            None => None,
        },
        Some("role") => match directory.role(account, name).await? {
            Some(role) => {
                identities.push((role.id.clone(), role.arn()));
                Some(role.arn())
            }
            None => None,
        },
        Some("group") => match directory.group(account, name).await? {
            Some(group) => {
                members(call, &group, &mut identities).await?;
                Some(group.arn())
            }
            None => None,
        },
        Some("policy") => match call.iam.find_managed(arn).await? {
            Some(policy) => {
                attached(call, arn, &mut identities).await?;
                Some(policy.arn())
            }
            None => None,
        },
        _ => None,
    };
    let arn = found.filter(|own| own == arn).ok_or_else(|| {
        let text = format!("ARN {} does not exist.", bounded(arn, 256));
        IamError::new(Code::NoSuchEntity, text)
    })?;
    identities.sort();
    identities.dedup();
    Ok(Subject { arn, identities })
}

/// The users in a group.
async fn members(
    call: &Call<'_>,
    group: &Group,
    identities: &mut Vec<(String, String)>,
) -> Result<(), IamError> {
    for name in &group.members {
        if let Some(user) = call.directory().user(call.account(), name).await? {
            identities.push((user.id.clone(), user.arn()));
        }
    }
    Ok(())
}

/// Whom a policy is attached to, members of groups among them.
async fn attached(
    call: &Call<'_>,
    arn: &str,
    identities: &mut Vec<(String, String)>,
) -> Result<(), IamError> {
    let has = |attached: &Attached| attached.contains(arn);
    let users = holders::<User>(call, |user| has(&user.attached)).await?;
    identities.extend(users.iter().map(|user| (user.id.clone(), user.arn())));
    let roles = holders::<Role>(call, |role| has(&role.attached)).await?;
    identities.extend(roles.iter().map(|role| (role.id.clone(), role.arn())));
    for group in holders::<Group>(call, |group| has(&group.attached)).await? {
        members(call, &group, identities).await?;
    }
    Ok(())
}

async fn holders<R: Cached>(
    call: &Call<'_>,
    has: impl Fn(&R) -> bool + Send + Sync,
) -> Result<Vec<R>, IamError> {
    let mut found = Vec::new();
    let take = |record: R| {
        if has(&record) {
            found.push(record);
        }
    };
    call.directory().visit_all(call.account(), take).await?;
    Ok(found)
}

fn time(time: Timestamp) -> Node {
    Node::from(event_time(time.into()))
}
