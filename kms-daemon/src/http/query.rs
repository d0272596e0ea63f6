//! The protocols of the APIs beside KMS. IAM, STS and EC2 are Query APIs: form-encoded requests, XML responses
//! (JSON if the client accepts that). The tagging service and CloudTrail are in JSON.

use hyper::Method;
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use hyper::http::request::Parts;
use uuid::Uuid;
use zeroize::Zeroizing;

use super::absent::Absent;
use super::body;
use super::content::Content;
use super::front::{Front, Reply, reply};
use super::in_flight::InFlight;
use super::kms::{MAX_NAME, TARGET};
use super::pipeline::{OfPrincipals, Protocol as Pipeline};
use crate::app::App;

use crate::management::{Format, Node, Operation, Protocol, Refusal, Service};
use kms_audit::Outcome;
use kms_base::error::{Exception, KmsError};
use kms_base::principal::Principal;
use kms_base::text::bounded;
use kms_query::{Code, Form, IamError};
use kms_sigv4::SigningService;

/// The `Content-Type` of a form.
const FORM: &[u8] = b"application/x-www-form-urlencoded";

/// Whether a request is for an API beside KMS, or may be: the API of a form is in its body.
pub(super) fn is_query(head: &Parts) -> bool {
    is_form(head) || target(head).is_some()
}

/// The API in JSON and the operation that a request names.
fn target(head: &Parts) -> Option<(Service, &str)> {
    let here = head.method == Method::POST && head.uri.path() == "/";
    let target = head.headers.get(TARGET).filter(|_| here)?.to_str().ok()?;
    Service::from_target(target)
}

/// Whether a request is a form that names no operation in its head.
pub(super) fn is_form(head: &Parts) -> bool {
    let form = head.headers.get(CONTENT_TYPE).is_some_and(|kind| {
        kind.as_bytes().get(..FORM.len()).is_some_and(|start| start.eq_ignore_ascii_case(FORM))
    });
    let here = head.method == Method::POST && head.uri.path() == "/";
    form && here && !head.headers.contains_key(TARGET)
}

/// The service beside KMS that a request says it is signed for. Which one it is for is known
/// once its form is read.
pub(super) fn claimed_service(head: &Parts) -> SigningService {
    if let Some((service, _)) = target(head) {
        return service.signing();
    }
    let mut services = Service::ALL.iter().map(|service| service.signing());
    let authorization = head.headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let scope = authorization.and_then(|text| text.split_once("Credential=")?.1.split(',').next());
    let name = scope.and_then(|scope| scope.split('/').nth(3));
    let claimed = services.find(|service| Some(service.name()) == name);
    claimed.unwrap_or(SigningService::IAM)
}

/// A request to an API beside KMS.
pub(super) struct Query {
    service: Service,
    operation: Option<Operation>,
    form: Form,
}

impl Default for Query {
    fn default() -> Self {
        Self { service: Service::Iam, operation: None, form: Form::default() }
    }
}

impl Pipeline for Query {
    type Answer = Option<Node>;
    type Error = IamError;

    fn announce(&mut self, head: &Parts, request: &mut InFlight) -> Result<(), IamError> {
        if let Some((service, _)) = target(head) {
            self.service = service;
        }
        request.source = self.service.source().into();
        Ok(())
    }

    async fn decide(
        &mut self,
        front: &Front,
        head: &Parts,
        content: Result<Content, KmsError>,
        request: &mut InFlight,
    ) -> Result<Option<Node>, IamError> {
        front.decide(self, head, content, request).await
    }

    fn operation(&self) -> Option<&'static str> {
        self.operation.map(Operation::name)
    }

    fn refused<'e>(&self, error: &'e IamError) -> Outcome<'e> {
        Outcome::Failure(self.code(error), Some(error.message()))
    }

    fn code(&self, error: &IamError) -> &'static str {
        match error.code() {
            // As records name it, whatever the API.
            Code::AccessDenied => Code::AccessDenied.name(),
            code => self.service.refusal(code).0,
        }
    }

    fn respond(
        &self,
        head: &Parts,
        outcome: Result<Option<Node>, IamError>,
        request_id: Uuid,
    ) -> Reply {
        let (format, request_id) = (format(head, self.service), &request_id.to_string());
        let namespace = self.service.namespace();
        let name = self.operation.map_or("Unknown", Operation::name);
        let (status, body) = match outcome {
            Ok(result) => (200, format.answer((name, namespace), result, request_id)),
            Err(error) => {
                let (code, status) = self.service.refusal(error.code());
                let refusal = Refusal { code, status, message: error.message() };
                (status, Zeroizing::new(format.refusal(namespace, refusal, request_id)))
            }
        };
        reply(status, format.content_type(), body::secret(head.version, body))
    }
}

impl OfPrincipals for Query {
    fn read(
        &mut self,
        head: &Parts,
        content: &Content,
        request: &mut InFlight,
    ) -> Result<(), IamError> {
        let named = target(head);
        if let Some((_, action)) = named {
            request.name = bounded(action, MAX_NAME).to_owned();
        }
        self.form = match named {
            Some(_) => Form::parse_json(content)?,
            None => Form::parse(content)?,
        };
        let version = self.form.optional("Version").unwrap_or_default();
        let (service, action) = match named {
            Some((service, action)) => (Some(service), action),
            None => {
                let action = self.form.optional("Action").unwrap_or_default();
                (Service::from_version(version), action)
            }
        };
        let absent = Absent::of(head).filter(|_| service.is_none());
        let claimed = claimed_service(head) == SigningService::EC2;
        let other = if claimed { Service::Ec2 } else { Service::Iam };
        self.service = service.unwrap_or(other);
        request.source = match &absent {
            Some(absent) => absent.source().into(),
            None => self.service.source().into(),
        };
        request.name = bounded(action, MAX_NAME).to_owned();
        let operation =
            Operation::find(service, action, version).map_err(|error| match absent {
                Some(absent) => IamError::new(error.code(), absent.text()),
                None => error,
            })?;
        self.operation = Some(operation);
        request.read_only = operation.is_read_only();
        Ok(())
    }

    fn signing(&self) -> SigningService {
        self.service.signing()
    }

    fn is_administration(&self, principal: &Principal) -> bool {
        self.operation.is_some_and(|operation| operation.is_administration(principal))
    }

    async fn run(
        &self,
        app: &App,
        principal: Principal,
        _: &Content,
        request: &mut InFlight,
    ) -> Result<Option<Node>, IamError> {
        let operation =
            self.operation.ok_or_else(|| KmsError::bare(Exception::UnknownOperation))?;
        let context = request.context(principal);
        let facts = &mut request.facts;
        app.management.call(operation, &context, &self.form, facts, &app.service).await
    }
}

/// The form that the client reads.
fn format(head: &Parts, service: Service) -> Format {
    match service.protocol() {
        Protocol::Query => {}
        Protocol::Ec2 => return Format::Ec2,
        Protocol::Json => return Format::Bare,
    }
    let accepted = head.headers.get(ACCEPT).and_then(|value| value.to_str().ok());
    match accepted {
        Some("application/json") => Format::Json,
        _ => Format::Xml,
    }
}
