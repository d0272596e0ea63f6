//! Managed policies that are attached to users, groups and roles.

use super::call::{Call, contended, tries};
use super::holder::Holder;
use super::{listing, managed};
use crate::iam::directory::Changes;
use crate::management::{Node, check};
use kms_base::text::bounded;
use kms_keys::catalog::Update;
use kms_query::{Code, IamError};

/// IAM's quota of managed policies that are attached to a user, a group or a role.
pub(super) const MAX_ATTACHED: usize = 10;

pub(super) async fn attach<H: Holder>(call: &mut Call<'_>) -> Result<Option<Node>, IamError> {
    let arn = call.form.required("PolicyArn")?;
    for _ in tries() {
        let old = H::find(call).await?;
        let policy = managed::by_arn(call, arn).await?;
        let mut new = old.value.clone();
        if !new.attached().insert(arn.to_owned()) {
            return Ok(None);
        }
        if new.attached().len() > MAX_ATTACHED {
            let text = format!("Cannot exceed quota for {}: {MAX_ATTACHED}", H::QUOTA);
            return Err(IamError::new(Code::LimitExceeded, text));
        }
        let mut counted = policy.value.clone();
        counted.attachments = counted.attachments.saturating_add(1);
        let changes = Changes::new().replace(&old, &new)?.replace(&policy, &counted)?;
        if call.commit(changes).await? == Update::Applied {
            return Ok(None);
        }
    }
    Err(contended())
}

pub(super) async fn detach<H: Holder>(call: &mut Call<'_>) -> Result<Option<Node>, IamError> {
    let arn = call.form.required("PolicyArn")?;
    for _ in tries() {
        let old = H::find(call).await?;
        let mut new = old.value.clone();
        if !new.attached().remove(arn) {
            let arn = bounded(arn, 256);
            let text = format!("Policy {arn} was not found.");
            return Err(IamError::new(Code::NoSuchEntity, text));
        }
        let policy = managed::by_arn(call, arn).await?;
        let mut counted = policy.value.clone();
        counted.attachments = counted.attachments.saturating_sub(1);
        let changes = Changes::new().replace(&old, &new)?.replace(&policy, &counted)?;
        if call.commit(changes).await? == Update::Applied {
            return Ok(None);
        }
    }
    Err(contended())
}

pub(super) async fn list<H: Holder>(call: &mut Call<'_>) -> Result<Option<Node>, IamError> {
    let prefix = check::path(call.form, "PathPrefix")?;
    let start = format!("arn:aws:iam::{}:policy{prefix}", call.account());
    let mut holder = H::find(call).await?.value.clone();
    let arns = holder.attached().iter().map(String::as_str).filter(|arn| arn.starts_with(&start));
    listing::names(call.form, arns, "AttachedPolicies", describe).map(Some)
}

/// A policy, where it is attached.
pub(super) fn describe(arn: &str) -> Node {
    let name = arn.rsplit('/').next().unwrap_or_default();
    Node::Members(vec![("PolicyName", Node::from(name)), ("PolicyArn", Node::from(arn))])
}
