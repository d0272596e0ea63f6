//! The context of one call, which every operation needs while it runs.

use serde_json::Value;

use super::holder::Holder;
use super::{Boundary, Operation};
use crate::api::Service as KeyService;
use crate::credentials::random_id;
use crate::iam::Iam;
use crate::iam::directory::{Changes, Directory};
use crate::iam::vault::Trace;
use crate::management::{Management, check};
use crate::policy::identities::{self, Details};
use crate::policy::{CallerPolicies, Requester};
use kms_audit::AuditFacts;
use kms_base::clock::Timestamp;
use kms_base::context::RequestContext;
use kms_base::error::KmsError;
use kms_base::identifier::Tags;
use kms_base::principal::Principal;
use kms_keys::catalog::Update;
use kms_query::{Code, IamError};
use kms_query::{Form, member, name_of};

/// Tries of a change that others interfere with.
const MAX_TRIES: usize = 64;
/// Longest parameter in an audit record, in bytes.
const MAX_RECORDED: usize = 16 * 1024;

/// A call under way.
pub(super) struct Call<'a> {
    pub(super) iam: &'a Iam,
    pub(super) management: &'a Management,
    pub(super) form: &'a Form,
    /// The keys, for explanations.
    pub(super) keys: &'a KeyService,
    operation: Operation,
    request: &'a RequestContext,
    policies: &'a CallerPolicies,
    facts: &'a mut AuditFacts,
    /// The tags in the request, if it has any.
    tags: Option<Tags>,
    /// The keys of the tags that it takes away.
    tag_keys: Option<Vec<String>>,
}

/// What conditions can ask about the user, role or policy that a call is about.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Traits<'t> {
    /// The ARN of its permissions boundary.
    pub(super) boundary: Option<&'t str>,
    /// Its tags.
    pub(super) tags: Option<&'t Tags>,
}

impl<'a> Call<'a> {
    pub(super) fn new(
        (management, keys): (&'a Management, &'a KeyService),
        operation: Operation,
        (request, policies): (&'a RequestContext, &'a CallerPolicies),
        form: &'a Form,
        facts: &'a mut AuditFacts,
    ) -> Self {
        Self {
            iam: &management.iam,
            management,
            form,
            keys,
            operation,
            request,
            policies,
            facts,
            tags: None,
            tag_keys: None,
        }
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
        for name in names.iter().map(|name| name_of(name)) {
            if let Some(value) = self.form.value(name, MAX_RECORDED) {
                self.facts.parameter(&member(name), value);
            }
        }
    }

    /// Reads the tags that the call gives or takes away.
    ///
    /// # Errors
    /// As for [`check::tags`].
    pub(super) fn read_tags(&mut self, names: &[&str]) -> Result<(), IamError> {
        if names.contains(&"Tags[]") {
            let tags = check::tags(self.form, self.operation.has_cased_tags())?;
            self.tags = (!tags.is_empty()).then_some(tags);
        }
        if names.contains(&"TagKeys[]") {
            self.tag_keys = Some(check::tag_keys(self.form, "TagKeys")?);
        }
        Ok(())
    }

    /// The tags that the call gives.
    pub(super) fn tags(&self) -> Tags {
        self.tags.clone().unwrap_or_default()
    }

    /// The keys of the tags that the call takes away.
    pub(super) fn tag_keys(&self) -> &[String] {
        self.tag_keys.as_deref().unwrap_or_default()
    }

    /// What conditions ask about tags of the request.
    pub(super) fn tagging(&self) -> Details<'_> {
        let (request_tags, tag_keys) = (self.tags.as_ref(), self.tag_keys.as_ref());
        Details { request_tags, tag_keys, ..Details::default() }
    }

    /// Records a parameter in another form than that of its text.
    pub(super) fn parameter(&mut self, name: &str, value: impl Into<Value>) {
        self.facts.parameter(name, value);
    }

    /// Records part of the answer.
    pub(super) fn element(&mut self, name: &str, value: impl Into<Value>) {
        self.facts.element(name, value);
    }

    /// The caller, as policies see it.
    pub(super) const fn requester(&self) -> Requester<'a> {
        let request = self.request;
        Requester { principal: &request.principal, policies: self.policies, request: Some(request) }
    }

    /// Checks that the caller may do this to `resource`, or at all if it is about none.
    pub(super) fn authorize(&self, resource: Option<&str>) -> Result<(), IamError> {
        self.authorize_on(resource, Traits::default())
    }

    /// Checks that the caller may do this to a user, role or policy.
    pub(super) fn authorize_on(
        &self,
        resource: Option<&str>,
        traits: Traits<'_>,
    ) -> Result<(), IamError> {
        let action = self.operation.action().map_err(KmsError::internal)?;
        let details = Details {
            boundary: match self.operation.boundary() {
                Boundary::None => None,
                Boundary::OfRequest => self.form.optional("PermissionsBoundary"),
                Boundary::OfTarget => traits.boundary,
            },
            policy: self.form.optional("PolicyArn").filter(|_| self.operation.attaches()),
            resource_tags: traits.tags,
            ..self.tagging()
        };
        identities::authorize_management(self.requester(), action, resource, details)?;
        if let Some(tagging) = self.operation.tagging().filter(|_| self.tags.is_some()) {
            identities::authorize_management(self.requester(), tagging, resource, details)?;
        }
        Ok(())
    }

    /// The name of the user that the call is about: the caller's own, if the call names none.
    pub(super) fn user_name(&self) -> Result<&'a str, IamError> {
        match (self.form.optional("UserName"), self.principal().username()) {
            (None, Some(own)) => Ok(own),
            (None, None) => {
                let text = "Must specify userName when calling with non-User credentials";
                Err(IamError::invalid(text))
            }
            (Some(_), _) => check::user(self.form),
        }
    }

    /// Checks that the caller manages accounts.
    pub(super) fn authorize_accounts(&self) -> Result<(), IamError> {
        let action = self.action_name();
        Ok(identities::authorize_accounts(self.principal(), &action, &self.iam.account)?)
    }

    /// Checks that the caller is told what policies decide.
    pub(super) fn authorize_explanation(&self) -> Result<(), IamError> {
        Ok(identities::authorize_explanation(self.principal(), &self.action_name())?)
    }

    /// Checks that the caller manages external key stores.
    pub(super) fn authorize_stores(&self) -> Result<(), IamError> {
        Ok(identities::authorize_stores(self.principal(), &self.action_name())?)
    }

    /// What the call is, as refusals name it.
    pub(super) fn action_name(&self) -> String {
        format!("{}:{}", self.operation.service().signing().name(), self.operation.name())
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

/// Something belongs to what is to be deleted.
pub(super) fn in_use(what: &str) -> IamError {
    let text = format!("Cannot delete entity, must {what} first.");
    IamError::new(Code::DeleteConflict, text)
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
