//! Users.

use std::collections::BTreeSet;

use super::call::{self, Call, contended, new_id, taken, tries};
use super::holder::{self, Holder};
use super::{boundaries, listing, tags};
use crate::iam::directory::Changes;
use crate::iam::record::{Attached, InlinePolicies, User, Version};
use crate::management::{Node, check};
use kms_audit::event_time;
use kms_keys::catalog::Update;
use kms_query::IamError;

pub(super) async fn create(call: &mut Call<'_>) -> Result<Option<Node>, IamError> {
    let (name, path) = (check::user(call.form)?, check::path(call.form, "Path")?);
    let mut user = User {
        version: Version,
        account: call.account().to_owned(),
        name: name.to_owned(),
        path: path.to_owned(),
        id: new_id("AIDA")?,
        created: call.now(),
        keys: Vec::new(),
        groups: BTreeSet::new(),
        policies: InlinePolicies::new(),
        attached: Attached::new(),
        boundary: None,
        tags: call.tags(),
    };
    call.authorize(Some(&user.arn()))?;
    for _ in tries() {
        if call.directory().user(call.account(), name).await?.is_some() {
            return Err(taken("User", name));
        }
        let changes = Changes::new();
        let changes = match call.form.optional("PermissionsBoundary") {
            Some(arn) => boundaries::bind(call, changes, arn, None).await?,
            None => changes,
        };
        user.boundary = call.form.optional("PermissionsBoundary").map(str::to_owned);
        if call.commit(changes.insert(&user)?).await? == Update::Applied {
            let shown = describe(&user, true);
            call.element("user", summary(&user));
            return Ok(Some(Node::Members(vec![("User", shown)])));
        }
    }
    Err(contended())
}

pub(super) async fn find(call: &mut Call<'_>) -> Result<Option<Node>, IamError> {
    let user = if !call.principal().is_root() || call.form.optional("UserName").is_some() {
        describe(&*holder::named_user(call, call.user_name()?).await?, true)
    } else {
        let arn = call.principal().arn();
        call.authorize(Some(&arn))?;
        own(call, &arn).await?
    };
    Ok(Some(Node::Members(vec![("User", user)])))
}

/// The account root as a user.
async fn own(call: &Call<'_>, arn: &str) -> Result<Node, IamError> {
    let account = call.directory().account(call.account()).await?;
    let created = account.map(|account| account.created).unwrap_or_default();
    Ok(Node::Members(vec![
        ("UserId", Node::from(call.account())),
        ("Arn", Node::from(arn)),
        ("CreateDate", Node::from(event_time(created.into()))),
    ]))
}

pub(super) async fn list(call: &mut Call<'_>) -> Result<Option<Node>, IamError> {
    let prefix = check::path(call.form, "PathPrefix")?;
    call.authorize(Some(&call.arn("user", "")))?;
    let show = |user: &User| user.path.starts_with(prefix).then(|| describe(user, false));
    listing::records(call, true, |user: &User| &user.name, "Users", show).await.map(Some)
}

pub(super) async fn delete(call: &mut Call<'_>) -> Result<Option<Node>, IamError> {
    for _ in tries() {
        let user = User::find(call).await?;
        for (what, empty) in [
            ("delete access keys", user.keys.is_empty()),
            ("delete policies", user.policies.is_empty()),
            ("detach all policies", user.attached.is_empty()),
            ("remove users from group", user.groups.is_empty()),
        ] {
            if !empty {
                return Err(call::in_use(what));
            }
        }
        let changes = boundaries::unbind(call, Changes::new(), user.boundary.as_deref()).await?;
        if call.commit(changes.remove(&user).forget(&user.id)).await? == Update::Applied {
            return Ok(None);
        }
    }
    Err(contended())
}

/// A user; `whole`: with what listings leave out.
pub(super) fn describe(user: &User, whole: bool) -> Node {
    let boundary = user.boundary.as_deref().filter(|_| whole);
    Node::members(vec![
        ("Path", Some(Node::from(user.path.as_str()))),
        ("UserName", Some(Node::from(user.name.as_str()))),
        ("UserId", Some(Node::from(user.id.as_str()))),
        ("Arn", Some(Node::from(user.arn()))),
        ("CreateDate", Some(Node::from(event_time(user.created.into())))),
        ("PermissionsBoundary", boundary.map(boundaries::describe)),
        ("Tags", tags::shown(&user.tags).filter(|_| whole)),
    ])
}

/// A user, for audit records.
pub(super) fn summary(user: &User) -> serde_json::Value {
    serde_json::json!({
        "path": user.path, "userName": user.name, "userId": user.id, "arn": user.arn(),
        "createDate": event_time(user.created.into()),
    })
}
