//! Versions of managed policies, of which the default one is in force.

use super::call::{Call, contended, tries};
use super::inline::encoded;
use super::{listing, managed};
use crate::iam::directory::Changes;
use crate::iam::document::{self, Kind};
use crate::iam::record::{ManagedPolicy, PolicyVersion};
use crate::management::{Node, check};
use kms_audit::event_time;
use kms_keys::catalog::Update;
use kms_query::{Code, IamError};

/// IAM's quota of versions of a policy.
pub(super) const MAX_VERSIONS: usize = 5;

pub(super) async fn create(call: &mut Call<'_>) -> Result<Option<Node>, IamError> {
    let document = call.form.required("PolicyDocument")?;
    let counts = check::flag(call.form, "SetAsDefault")?;
    let created = call.now();
    let policy = change(call, |policy| {
        let document = document::identity(Kind::Managed, document)?;
        if policy.versions.len() >= MAX_VERSIONS {
            let text = format!(
                "A managed policy can have up to {MAX_VERSIONS} versions. Before you create a new \
                 version, you must delete an existing version."
            );
            return Err(IamError::new(Code::LimitExceeded, text));
        }
        policy.last = policy.last.saturating_add(1);
        policy.versions.insert(policy.last, PolicyVersion { document, created });
        if counts {
            policy.default = policy.last;
        }
        Ok(())
    })
    .await?;
    let made = policy.versions.get(&policy.last).map(|v| describe(&policy, policy.last, v, false));
    Ok(made.map(|made| Node::Members(vec![("PolicyVersion", made)])))
}

pub(super) async fn find(call: &mut Call<'_>) -> Result<Option<Node>, IamError> {
    let policy = managed::requested(call).await?;
    let (number, version) = requested(call, &policy)?;
    let shown = describe(&policy, number, version, true);
    Ok(Some(Node::Members(vec![("PolicyVersion", shown)])))
}

pub(super) async fn list(call: &mut Call<'_>) -> Result<Option<Node>, IamError> {
    let policy = managed::requested(call).await?;
    let versions = policy.versions.iter();
    let mut all: Vec<_> = versions.map(|(number, own)| (name(*number), *number, own)).collect();
    all.sort_by(|one, other| one.0.cmp(&other.0));
    let show = |wanted: &str| {
        let found = all.iter().find(|(name, ..)| name == wanted);
        found.map_or_else(
            || Node::from(wanted),
            |(_, number, own)| describe(&policy, *number, own, false),
        )
    };
    let names = all.iter().map(|(name, ..)| name.as_str());
    listing::names(call.form, names, "Versions", show).map(Some)
}

pub(super) async fn set_default(call: &mut Call<'_>) -> Result<Option<Node>, IamError> {
    let set = |policy: &mut ManagedPolicy| {
        policy.default = requested(call, policy)?.0;
        Ok(())
    };
    change(call, set).await.map(|_| None)
}

pub(super) async fn delete(call: &mut Call<'_>) -> Result<Option<Node>, IamError> {
    let delete = |policy: &mut ManagedPolicy| {
        let number = requested(call, policy)?.0;
        if number == policy.default {
            let text = "Cannot delete the default version of a policy.";
            return Err(IamError::new(Code::DeleteConflict, text));
        }
        policy.versions.remove(&number);
        Ok(())
    };
    change(call, delete).await.map(|_| None)
}

/// Changes the policy that the call names, however many others do so; as it is then.
async fn change(
    call: &Call<'_>,
    change: impl Fn(&mut ManagedPolicy) -> Result<(), IamError>,
) -> Result<ManagedPolicy, IamError> {
    for _ in tries() {
        let old = managed::requested(call).await?;
        let mut new = old.value.clone();
        change(&mut new)?;
        if call.commit(Changes::new().replace(&old, &new)?).await? == Update::Applied {
            return Ok(new);
        }
    }
    Err(contended())
}

/// The version that the call names.
fn requested<'p>(
    call: &Call<'_>,
    policy: &'p ManagedPolicy,
) -> Result<(u32, &'p PolicyVersion), IamError> {
    let wanted = call.form.required("VersionId")?;
    let found = policy.versions.iter().find(|(number, _)| name(**number) == wanted);
    found.map(|(number, version)| (*number, version)).ok_or_else(|| {
        let text = format!("Policy {} does not have that version.", policy.arn());
        IamError::new(Code::NoSuchEntity, text)
    })
}

/// A version as requests and answers name it.
pub(super) fn name(number: u32) -> String {
    format!("v{number}")
}

/// A version; `whole`: with its document.
pub(super) fn describe(
    policy: &ManagedPolicy,
    number: u32,
    version: &PolicyVersion,
    whole: bool,
) -> Node {
    let document = whole.then(|| Node::from(encoded(version.document.text())));
    Node::members(vec![
        ("Document", document),
        ("VersionId", Some(Node::from(name(number)))),
        ("IsDefaultVersion", Some(Node::Flag(number == policy.default))),
        ("CreateDate", Some(Node::from(event_time(version.created.into())))),
    ])
}
