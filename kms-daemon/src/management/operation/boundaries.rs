//! Permissions boundaries: managed policies that limit what a user or role may do.

use super::call::{Call, contended, tries};
use super::holder::Bounded;
use super::managed;
use crate::iam::directory::Changes;
use crate::management::Node;
use kms_keys::catalog::Update;
use kms_query::{Code, IamError};

pub(super) async fn put<H: Bounded>(call: &mut Call<'_>) -> Result<Option<Node>, IamError> {
    let arn = call.form.required("PermissionsBoundary")?;
    set::<H>(call, Some(arn)).await
}

pub(super) async fn delete<H: Bounded>(call: &mut Call<'_>) -> Result<Option<Node>, IamError> {
    set::<H>(call, None).await
}

async fn set<H: Bounded>(call: &Call<'_>, arn: Option<&str>) -> Result<Option<Node>, IamError> {
    for _ in tries() {
        let old = H::find(call).await?;
        let mut new = old.value.clone();
        let before = std::mem::replace(new.boundary(), arn.map(str::to_owned));
        if before.as_deref() == arn {
            return match arn {
                Some(_) => Ok(None),
                None => Err(IamError::new(
                    Code::NoSuchEntity,
                    "There is no permissions boundary to delete.",
                )),
            };
        }
        let changes = Changes::new();
        let changes = match arn {
            Some(arn) => bind(call, changes, arn, before.as_deref()).await?,
            None => unbind(call, changes, before.as_deref()).await?,
        };
        if call.commit(changes.replace(&old, &new)?).await? == Update::Applied {
            return Ok(None);
        }
    }
    Err(contended())
}

/// Counts one more that a policy bounds, and one less for the policy before it.
///
/// # Errors
/// [`Code::NoSuchEntity`], if there is no such policy in the caller's account.
pub(super) async fn bind(
    call: &Call<'_>,
    changes: Changes,
    arn: &str,
    before: Option<&str>,
) -> Result<Changes, IamError> {
    let changes = unbind(call, changes, before).await?;
    let policy = managed::by_arn(call, arn).await?;
    let mut bound = policy.value.clone();
    bound.bounds = bound.bounds.saturating_add(1);
    Ok(changes.replace(&policy, &bound)?)
}

/// Counts one less that a policy bounds.
pub(super) async fn unbind(
    call: &Call<'_>,
    changes: Changes,
    arn: Option<&str>,
) -> Result<Changes, IamError> {
    let Some(arn) = arn else { return Ok(changes) };
    let policy = managed::by_arn(call, arn).await?;
    let mut bound = policy.value.clone();
    bound.bounds = bound.bounds.saturating_sub(1);
    Ok(changes.replace(&policy, &bound)?)
}

/// A boundary in the description of a user or role.
pub(super) fn describe(arn: &str) -> Node {
    Node::Members(vec![
        ("PermissionsBoundaryType", Node::from("Policy")),
        ("PermissionsBoundaryArn", Node::from(arn)),
    ])
}
