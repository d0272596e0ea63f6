//! The protocol of KMS: awsJson1.1.

use hyper::Method;
use hyper::http::request::Parts;
use uuid::Uuid;

use super::body;
use super::content::Content;
use super::front::{Front, Reply, reply};
use super::in_flight::InFlight;
use super::pipeline::{OfPrincipals, Protocol};
use crate::api::Answer;
use crate::app::App;
use kms_audit::Outcome;
use kms_base::error::{Exception, KmsError};
use kms_base::principal::Principal;
use kms_base::text::bounded;
use kms_model::Operation;
use kms_sigv4::SigningService;

const JSON: &str = "application/x-amz-json-1.1";
/// The header with the operation.
pub(super) const TARGET: &str = "x-amz-target";
/// Start of the operations of KMS in it.
pub(super) const TARGET_PREFIX: &str = "TrentService.";
/// Longest operation that is recorded, in bytes.
pub(super) const MAX_NAME: usize = 128;

/// A request to KMS.
pub(super) struct Kms {
    /// The operation as it is named, bounded.
    name: String,
    operation: Option<Operation>,
}

impl Kms {
    /// The request that a head is for.
    pub(super) fn of(head: &Parts) -> Self {
        let target = head.headers.get(TARGET).and_then(|value| value.to_str().ok());
        let target = target.unwrap_or_default();
        let name = target.strip_prefix(TARGET_PREFIX);
        let operation = name.and_then(Operation::from_name).filter(|_| head.uri.path() == "/");
        Self { name: bounded(name.unwrap_or(target), MAX_NAME).to_owned(), operation }
    }

    /// Whether there is such an operation.
    pub(super) const fn is_served(&self) -> bool {
        self.operation.is_some()
    }

    fn known(&self) -> Result<Operation, KmsError> {
        self.operation.ok_or_else(|| KmsError::bare(Exception::UnknownOperation))
    }
}

impl Protocol for Kms {
    type Answer = Answer;
    type Error = KmsError;

    fn announce(&mut self, _: &Parts, request: &mut InFlight) -> Result<(), KmsError> {
        request.name.clone_from(&self.name);
        request.read_only = self.operation.is_some_and(Operation::is_read_only);
        Ok(())
    }

    async fn decide(
        &mut self,
        front: &Front,
        head: &Parts,
        content: Result<Content, KmsError>,
        request: &mut InFlight,
    ) -> Result<Answer, KmsError> {
        if let Some(operation) = self.operation {
            let is_administration = |is_root| operation.is_administration(is_root);
            front.app.admission.screen(request.claimed_key.as_deref(), is_administration)?;
        }
        front.decide(self, head, content, request).await
    }

    fn operation(&self) -> Option<&'static str> {
        self.operation.map(Operation::name)
    }

    fn refused<'e>(&self, error: &'e KmsError) -> Outcome<'e> {
        Outcome::refused(error)
    }

    fn code(&self, error: &KmsError) -> &'static str {
        error.code()
    }

    fn respond(&self, head: &Parts, outcome: Result<Answer, KmsError>, _: Uuid) -> Reply {
        match outcome {
            Ok(answer) => reply(200, JSON, body::secret(head.version, answer.into_bytes())),
            Err(error) => refusal(&error),
        }
    }
}

impl OfPrincipals for Kms {
    fn read(&mut self, head: &Parts, _: &Content, _: &mut InFlight) -> Result<(), KmsError> {
        match head.method {
            Method::POST => self.known().map(drop),
            _ => Err(KmsError::bare(Exception::UnknownOperation)),
        }
    }

    fn signing(&self) -> SigningService {
        SigningService::KMS
    }

    fn is_administration(&self, principal: &Principal) -> bool {
        self.operation.is_some_and(|operation| operation.is_administration(principal.is_root()))
    }

    async fn run(
        &self,
        app: &App,
        principal: Principal,
        content: &Content,
        request: &mut InFlight,
    ) -> Result<Answer, KmsError> {
        app.service.regions().open(&request.region).await?;
        let context = request.context(principal);
        app.service.call(self.known()?, &context, content, &mut request.facts).await
    }
}

/// The response to a request that is refused.
pub(super) fn refusal(error: &KmsError) -> Reply {
    reply(error.status(), JSON, error.to_body())
}
