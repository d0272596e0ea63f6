//! The holders of policies: users, groups and roles.

use super::call::{Call, Traits, missing};
use crate::iam::directory::Cached;
use crate::iam::document::Kind;
use crate::iam::record::{Attached, Group, InlinePolicies, Role, User};
use crate::management::check;
use kms_keys::Stored;
use kms_query::IamError;

/// A user, a group or a role.
pub(super) trait Holder: Cached + Clone {
    /// Its inline policies, as documents.
    const KIND: Kind;
    /// The quota of managed policies that are attached to it, as IAM calls it.
    const QUOTA: &'static str;

    /// The one that the call names.
    ///
    /// # Errors
    /// `Code::NoSuchEntity`; `Code::AccessDenied` if the caller may not do what it does.
    fn find(call: &Call<'_>) -> impl Future<Output = Result<Stored<Self>, IamError>> + Send;

    /// The parameter that names it, and its name.
    fn named(&self) -> (&'static str, &str);

    /// Its inline policies.
    fn policies(&mut self) -> &mut InlinePolicies;

    /// The managed policies that are attached to it.
    fn attached(&mut self) -> &mut Attached;
}

/// What a boundary can belong to: a user or a role.
pub(super) trait Bounded: Holder {
    /// Its boundary.
    fn boundary(&mut self) -> &mut Option<String>;
}

impl Bounded for User {
    fn boundary(&mut self) -> &mut Option<String> {
        &mut self.boundary
    }
}

impl Bounded for Role {
    fn boundary(&mut self) -> &mut Option<String> {
        &mut self.boundary
    }
}

impl Holder for Group {
    const KIND: Kind = Kind::Group;
    const QUOTA: &'static str = "PoliciesPerGroup";

    async fn find(call: &Call<'_>) -> Result<Stored<Self>, IamError> {
        let name = check::group(call.form)?;
        let found = call.directory().group(call.account(), name).await?;
        let arn = found.as_ref().map_or_else(|| call.arn("group", name), |group| group.arn());
        call.authorize(Some(&arn))?;
        found.ok_or_else(|| missing("group", name))
    }

    fn named(&self) -> (&'static str, &str) {
        ("GroupName", &self.name)
    }

    fn policies(&mut self) -> &mut InlinePolicies {
        &mut self.policies
    }

    fn attached(&mut self) -> &mut Attached {
        &mut self.attached
    }
}

impl Holder for User {
    const KIND: Kind = Kind::User;
    const QUOTA: &'static str = "PoliciesPerUser";

    async fn find(call: &Call<'_>) -> Result<Stored<Self>, IamError> {
        named_user(call, check::user(call.form)?).await
    }

    fn named(&self) -> (&'static str, &str) {
        ("UserName", &self.name)
    }

    fn policies(&mut self) -> &mut InlinePolicies {
        &mut self.policies
    }

    fn attached(&mut self) -> &mut Attached {
        &mut self.attached
    }
}

impl Holder for Role {
    const KIND: Kind = Kind::Role;
    const QUOTA: &'static str = "PoliciesPerRole";

    async fn find(call: &Call<'_>) -> Result<Stored<Self>, IamError> {
        let name = check::role(call.form)?;
        let found = call.directory().role(call.account(), name).await?;
        let arn = found.as_ref().map_or_else(|| call.arn("role", name), |role| role.arn());
        let traits = found
            .as_ref()
            .map(|role| Traits { boundary: role.boundary.as_deref(), tags: Some(&role.tags) });
        call.authorize_on(Some(&arn), traits.unwrap_or_default())?;
        found.ok_or_else(|| missing("role", name))
    }

    fn named(&self) -> (&'static str, &str) {
        ("RoleName", &self.name)
    }

    fn policies(&mut self) -> &mut InlinePolicies {
        &mut self.policies
    }

    fn attached(&mut self) -> &mut Attached {
        &mut self.attached
    }
}

/// The user of that name, for operations in which it need not be given.
///
/// # Errors
/// As for [`Holder::find`].
pub(super) async fn named_user(call: &Call<'_>, name: &str) -> Result<Stored<User>, IamError> {
    let found = call.directory().user(call.account(), name).await?;
    let arn = found.as_ref().map_or_else(|| call.arn("user", name), |user| user.arn());
    let traits = found
        .as_ref()
        .map(|user| Traits { boundary: user.boundary.as_deref(), tags: Some(&user.tags) });
    call.authorize_on(Some(&arn), traits.unwrap_or_default())?;
    found.ok_or_else(|| missing("user", name))
}
