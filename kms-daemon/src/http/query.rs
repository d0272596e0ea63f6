//! The APIs beside KMS. IAM, STS and EC2 are Query APIs: forms in, XML out, or JSON for who asks
//! for it. The tagging service and CloudTrail are in JSON.

use std::time::Instant;

use http_body_util::Full;
use hyper::header::{ACCEPT, AUTHORIZATION, CONNECTION, CONTENT_TYPE, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Method, Response, StatusCode, Version};
use uuid::Uuid;
use zeroize::Zeroizing;

use super::absent::Absent;
use super::body;
use super::content::Content;
use super::exchange::Exchange;
use super::front::{Front, Peer, Reply, TARGET, identify};
use crate::audit::{AuditError, Outcome};
use crate::error::{Exception, KmsError};
use crate::iam::{Code, Form, Format, IamError, Node, Operation, Protocol, Refusal, Service};
use crate::sigv4::SigningService;

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

impl Front {
    /// One request: read, decided, recorded, answered.
    pub(super) async fn query(
        &self,
        head: &Parts,
        content: Result<Content, KmsError>,
        writable: Result<(), AuditError>,
        peer: Peer,
    ) -> Reply {
        let begin = Instant::now();
        // Of HTTP/2, only the stream is at an end then.
        let unread = content.is_err() && head.version < Version::HTTP_2;
        let mut exchange = Exchange::new(head, peer, &self.region);
        let mut request = Request { service: Service::Iam, operation: None };
        exchange.source = request.service.source().into();
        let outcome = match writable {
            Ok(()) => self.decide_query(head, content, &mut request, &mut exchange).await,
            Err(error) => Err(KmsError::internal(error).into()),
        };
        let name = |error: &IamError| match error.code() {
            // As records name it, whatever the API.
            Code::AccessDenied => Code::AccessDenied.name(),
            code => request.service.refusal(code).0,
        };
        let ended = match &outcome {
            Ok(_) => Outcome::Success,
            Err(error) => Outcome::Failure(name(error), Some(error.message())),
        };
        let recorded = self.record(&exchange, ended).await;
        let outcome = match recorded {
            Ok(()) => outcome,
            Err(error) => Err(error.into()),
        };
        let code = outcome.as_ref().err().map(name);
        self.ended(&exchange, request.operation.map(Operation::name), code, begin.elapsed());
        let mut reply = reply(head, &request, outcome, exchange.request_id);
        if unread {
            // What is left of the body would be taken for the next request.
            reply.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        identify(&mut reply, exchange.request_id);
        reply
    }

    async fn decide_query(
        &self,
        head: &Parts,
        content: Result<Content, KmsError>,
        request: &mut Request,
        exchange: &mut Exchange,
    ) -> Result<Option<Node>, IamError> {
        let content = content?;
        let named = target(head);
        if let Some((service, action)) = named {
            request.service = service;
            exchange.source = service.source().into();
            exchange.name = action.chars().take(128).collect();
        }
        let form = match named {
            Some(_) => Form::parse_json(&content)?,
            None => Form::parse(&content)?,
        };
        let version = form.optional("Version").unwrap_or_default();
        let (service, action) = match named {
            Some((service, action)) => (Some(service), action),
            None => {
                let action = form.optional("Action").unwrap_or_default();
                (Service::from_version(version), action)
            }
        };
        let absent = Absent::of(head).filter(|_| service.is_none());
        let claimed = claimed_service(head) == SigningService::EC2;
        let other = if claimed { Service::Ec2 } else { Service::Iam };
        request.service = service.unwrap_or(other);
        exchange.source = match &absent {
            Some(absent) => absent.source().into(),
            None => request.service.source().into(),
        };
        exchange.name = action.chars().take(128).collect();
        let operation =
            Operation::find(service, action, version).map_err(|error| match absent {
                Some(absent) => IamError::new(error.code(), absent.text()),
                None => error,
            })?;
        request.operation = Some(operation);
        exchange.read_only = operation.is_read_only();
        self.authenticate(head, &content, request.service.signing(), exchange).await?;
        let principal = exchange.principal.clone();
        let principal =
            principal.ok_or_else(|| KmsError::bare(Exception::MissingAuthenticationToken))?;
        self.ensure_room(operation.is_administration(&principal), exchange)?;
        let context = exchange.context(principal);
        self.iam.call(operation, &context, &form, &mut exchange.facts, &self.service).await
    }
}

/// What is known of a request before it is authenticated.
struct Request {
    service: Service,
    operation: Option<Operation>,
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

fn reply(
    head: &Parts,
    request: &Request,
    outcome: Result<Option<Node>, IamError>,
    request_id: Uuid,
) -> Reply {
    let (format, request_id) = (format(head, request.service), &request_id.to_string());
    let namespace = request.service.namespace();
    let name = request.operation.map_or("Unknown", Operation::name);
    let (status, body) = match outcome {
        Ok(result) => (200, format.answer((name, namespace), result, request_id)),
        Err(error) => {
            let (code, status) = request.service.refusal(error.code());
            let refusal = Refusal { code, status, message: error.message() };
            (status, Zeroizing::new(format.refusal(namespace, refusal, request_id)))
        }
    };
    let mut reply = Response::new(Full::new(body::secret(head.version, body)));
    *reply.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let kind = HeaderValue::from_static(format.content_type());
    reply.headers_mut().insert(CONTENT_TYPE, kind);
    reply
}
