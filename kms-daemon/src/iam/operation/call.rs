//! One call: what every operation needs while it runs.

use serde_json::Value;

use super::Operation;
use crate::api::Service as KeyService;
use crate::audit::AuditFacts;
use crate::clock::Timestamp;
use crate::context::RequestContext;
use crate::credentials::random_id;
use crate::error::KmsError;
use crate::iam::directory::{Cached, Changes, Directory};
use crate::iam::document::Kind;
use crate::iam::error::{Code, IamError};
use crate::iam::form::{Form, member};
use crate::iam::record::{Group, InlinePolicies, Role, User};
use crate::iam::vault::Trace;
use crate::iam::{Iam, check};
use crate::key::Stored;
use crate::key::catalog::Update;
use crate::policy::identities;
use crate::principal::Principal;

/// Tries of a change that others interfere with.
const MAX_TRIES: usize = 64;
/// Longest parameter in an audit record, in bytes.
const MAX_RECORDED: usize = 16 * 1024;

/// A call under way.
pub(super) struct Call<'a> {
    pub(super) iam: &'a Iam,
    pub(super) form: &'a Form,
    /// The keys, for explanations.
    pub(super) keys: &'a KeyService,
    operation: Operation,
    request: &'a RequestContext,
    facts: &'a mut AuditFacts,
}

impl<'a> Call<'a> {
    pub(super) const fn new(
        (iam, keys): (&'a Iam, &'a KeyService),
        operation: Operation,
        request: &'a RequestContext,
        form: &'a Form,
        facts: &'a mut AuditFacts,
    ) -> Self {
        Self { iam, form, keys, operation, request, facts }
    }

    /// The caller.
    pub(super) const fn principal(&self) -> &'a Principal {
        &self.request.principal
    }

    /// The caller's account.
    pub(super) fn account(&self) -> &'a str {
        &self.request.principal.account
    }

    /// The Region of the endpoint.
    pub(super) fn region(&self) -> &'a str {
        &self.request.region
    }

    /// The identities.
    pub(super) fn directory(&self) -> &'a Directory {
        &self.iam.directory
    }

    /// The time now.
    pub(super) fn now(&self) -> Timestamp {
        self.iam.now()
    }

    /// What devices work for.
    pub(super) const fn trace(&mut self) -> Trace<'_> {
        (*self.request.request_id.as_bytes(), &mut self.facts.receipts)
    }

    /// Records those parameters that the operation has. None of them is a secret.
    pub(super) fn record_parameters(&mut self, names: &[&str]) {
        for name in names {
            if let Some(value) = self.form.optional(name) {
                let value = &value[..value.floor_char_boundary(MAX_RECORDED)];
                self.facts.parameter(&member(name), value);
            }
        }
    }

    /// Records part of the answer.
    pub(super) fn element(&mut self, name: &str, value: impl Into<Value>) {
        self.facts.element(name, value);
    }

    /// Checks that the caller may do this to `resource`.
    pub(super) fn authorize(&self, resource: &str) -> Result<(), IamError> {
        let action =
            format!("{}:{}", self.operation.service().signing().name(), self.operation.name());
        Ok(identities::authorize_management(self.principal(), &action, resource)?)
    }

    /// The ARN of something of the caller's account, for [`Call::authorize`].
    pub(super) fn arn(&self, kind: &str, name: &str) -> String {
        format!("arn:aws:iam::{}:{kind}/{name}", self.account())
    }

    /// Makes changes durable.
    pub(super) async fn commit(&self, changes: Changes) -> Result<Update, IamError> {
        Ok(self.directory().commit(changes).await?)
    }

    /// Changes a user or role, however many others do so.
    pub(super) async fn change<H: Holder>(
        &self,
        change: impl Fn(&mut H) -> Result<(), IamError> + Send + Sync,
    ) -> Result<(), IamError> {
        for _ in tries() {
            let old = H::find(self).await?;
            let mut new = old.value.clone();
            change(&mut new)?;
            if self.commit(Changes::new().replace(&old, &new)?).await? == Update::Applied {
                return Ok(());
            }
        }
        Err(contended())
    }
}

/// What policies belong to: a user, a group or a role, named by a parameter.
pub(super) trait Holder: Cached + Clone {
    /// Its inline policies, as documents.
    const KIND: Kind;

    /// The one that the call names.
    ///
    /// # Errors
    /// [`Code::NoSuchEntity`]; [`Code::AccessDenied`] if the caller may not do what it does.
    fn find(call: &Call<'_>) -> impl Future<Output = Result<Stored<Self>, IamError>> + Send;

    /// The parameter that names it, and its name.
    fn named(&self) -> (&'static str, &str);

    /// Its inline policies.
    fn policies(&mut self) -> &mut InlinePolicies;
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

    async fn find(call: &Call<'_>) -> Result<Stored<Self>, IamError> {
        let name = check::group(call.form)?;
        let found = call.directory().group(call.account(), name).await?;
        let arn = found.as_ref().map_or_else(|| call.arn("group", name), |group| group.arn());
        call.authorize(&arn)?;
        found.ok_or_else(|| missing("group", name))
    }

    fn named(&self) -> (&'static str, &str) {
        ("GroupName", &self.name)
    }

    fn policies(&mut self) -> &mut InlinePolicies {
        &mut self.policies
    }
}

impl Holder for User {
    const KIND: Kind = Kind::User;

    async fn find(call: &Call<'_>) -> Result<Stored<Self>, IamError> {
        let name = check::user(call.form)?;
        let found = call.directory().user(call.account(), name).await?;
        let arn = found.as_ref().map_or_else(|| call.arn("user", name), |user| user.arn());
        call.authorize(&arn)?;
        found.ok_or_else(|| missing("user", name))
    }

    fn named(&self) -> (&'static str, &str) {
        ("UserName", &self.name)
    }

    fn policies(&mut self) -> &mut InlinePolicies {
        &mut self.policies
    }
}

impl Holder for Role {
    const KIND: Kind = Kind::Role;

    async fn find(call: &Call<'_>) -> Result<Stored<Self>, IamError> {
        let name = check::role(call.form)?;
        let found = call.directory().role(call.account(), name).await?;
        let arn = found.as_ref().map_or_else(|| call.arn("role", name), |role| role.arn());
        call.authorize(&arn)?;
        found.ok_or_else(|| missing("role", name))
    }

    fn named(&self) -> (&'static str, &str) {
        ("RoleName", &self.name)
    }

    fn policies(&mut self) -> &mut InlinePolicies {
        &mut self.policies
    }
}

/// A new unique id or access key id.
pub(super) fn new_id(prefix: &str) -> Result<String, IamError> {
    random_id(prefix).map_err(|error| KmsError::internal(error).into())
}

/// Starts a change over until nobody interferes.
pub(super) const fn tries() -> std::ops::Range<usize> {
    0..MAX_TRIES
}

/// The answer when a change keeps meeting others.
pub(super) fn contended() -> IamError {
    IamError::new(
        Code::ConcurrentModification,
        "The request was rejected because multiple requests to change this object were submitted \
         simultaneously. Wait a few minutes and submit your request again.",
    )
}

/// There is nothing of that name.
pub(super) fn missing(kind: &str, name: &str) -> IamError {
    let text = format!("The {kind} with name {name} cannot be found.");
    IamError::new(Code::NoSuchEntity, text)
}

/// There is something of that name.
pub(super) fn taken(kind: &str, name: &str) -> IamError {
    let text = format!("{kind} with name {name} already exists.");
    IamError::new(Code::EntityAlreadyExists, text)
}
