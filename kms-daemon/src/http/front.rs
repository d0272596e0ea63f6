//! What happens to a request between its head and its answer.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use http_body_util::Full;
use hyper::body::{Body, Bytes};
use hyper::header::{ACCEPT, CONNECTION, CONTENT_TYPE, HeaderMap, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Method, Request, Response, StatusCode, Version};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use uuid::Uuid;
use zeroize::Zeroizing;

use super::absent::Absent;
use super::body::{self, Memory, Sender};
use super::content::Content;
use super::cors::Cors;
use super::exchange::Exchange;
use super::head::authority;
use super::page;
use super::places::Place;
use super::query;
use super::seats::Standing;
use crate::api::{Answer, Operation, Service};
use crate::audit::{AuditLog, Outcome, Recorded};
use crate::development::Seed;
use crate::error::{Exception, KmsError};
use crate::iam::Iam;
use crate::memory;
use crate::metrics::{Form, Metrics};
use crate::principal::Principal;
use crate::sigv4::{self, SignedRequest, SigningService, TOKEN, Verifier};

const JSON: HeaderValue = HeaderValue::from_static("application/x-amz-json-1.1");
/// The header with the operation.
pub(super) const TARGET: &str = "x-amz-target";
/// Start of the operations of KMS in it.
pub(super) const TARGET_PREFIX: &str = "TrentService.";

/// What the source of too many refused requests is told.
const TOO_MANY: &str = "Too many requests of your address were refused; a request whose signature is \
                        right is served.";

/// Where a development daemon is reset.
const RESET: &str = "/_strongroom/reset";
/// What the request for it must have.
const RESET_HEADER: &str = "x-strongroom-reset";

/// The far end of a connection.
#[derive(Debug, Clone)]
pub struct Peer {
    /// Its address.
    pub address: IpAddr,
    /// Version and cipher suite of `tlsDetails` in the audit record, if the connection is
    /// encrypted.
    pub tls: Option<Arc<Value>>,
    /// Dropped when the last request of the connection has ended, even if its client has gone
    /// before.
    pub alive: mpsc::Sender<()>,
    /// Given back when the last request that has it has ended, likewise.
    pub place: Option<Arc<Place>>,
    /// What is known of the connection.
    pub standing: Arc<Standing>,
    /// What is served on its port.
    pub pages: Pages,
}

/// What is served on a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Pages {
    /// Everything.
    #[default]
    All,
    /// The APIs and `/healthz`: the rest has a port of its own.
    Api,
    /// `/healthz`, `/readyz` and `/metrics`.
    Reports,
}

/// Whether the daemon can serve, for `/readyz`.
pub trait Readiness: Send + Sync + 'static {
    /// True if requests can be served now, and a report for people and tools.
    fn report(&self) -> (bool, Value);

    /// Sets the gauges of devices; true if requests can be served now.
    fn observe(&self, metrics: &Metrics) -> bool;
}

/// The parts that answer requests.
pub struct Front {
    /// The API.
    pub service: Service,
    /// Checks signatures.
    pub verifier: Verifier,
    /// Knows who signs, and manages them.
    pub iam: Arc<Iam>,
    /// Takes the records.
    pub audit: Arc<AuditLog>,
    /// Counts.
    pub metrics: Metrics,
    /// Answers `/readyz`.
    pub readiness: Arc<dyn Readiness>,
    /// The Region of requests that name none.
    pub region: String,
    /// The account.
    pub account: String,
    /// What only developers want.
    pub development: Option<Development>,
    /// For request bodies.
    pub memory: Memory,
    /// Whose pages may use the API.
    pub cors: Cors,
}

/// What a daemon for development has.
#[derive(Debug, Default)]
pub struct Development {
    /// The keys it starts with.
    pub seed: Seed,
    /// Held while the daemon is reset.
    pub resetting: tokio::sync::Mutex<()>,
}

/// Body of a response. Plaintexts in it are zeroised once they have been written out.
pub(super) type Reply = Response<Full<Bytes>>;

impl Front {
    /// Answers a request.
    pub(super) async fn answer<B>(self: Arc<Self>, request: Request<B>, peer: Peer) -> Reply
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        if page::is_asked_for(&request) {
            return page::page(peer.pages);
        }
        if peer.pages != Pages::Reports
            && let Some(answer) = self.cors.preflight(&request)
        {
            return answer;
        }
        match (request.method(), request.uri().path()) {
            (&Method::GET, "/healthz") => plain(StatusCode::OK, "text/plain", "ok\n".into()),
            (&Method::GET, "/readyz" | "/metrics") if peer.pages == Pages::Api => {
                let text = "this is served where --admin-listen says\n";
                plain(StatusCode::NOT_FOUND, "text/plain", text.into())
            }
            (&Method::GET, "/readyz") => self.ready(),
            (&Method::GET, "/metrics") => self.metrics_page(request.headers()),
            _ if peer.pages == Pages::Reports => {
                let text = "only /healthz, /readyz and /metrics are served here\n";
                plain(StatusCode::NOT_FOUND, "text/plain", text.into())
            }
            (&Method::POST, RESET) if self.development.is_some() => {
                let task = tokio::spawn(async move { self.reset(request.headers()).await });
                task.await.unwrap_or_else(|error| {
                    plain(StatusCode::INTERNAL_SERVER_ERROR, "text/plain", format!("{error}\n"))
                })
            }
            _ => {
                let reader = self.cors.reader(&request);
                // In a task of its own: a client that goes away does not cut a request in half.
                let api = async move { self.api(request, peer).await };
                let task = tokio::spawn(memory::leaving_no_stack(api));
                let mut reply = task.await.unwrap_or_else(|error| {
                    refusal(&KmsError::internal(error), Uuid::new_v4(), false)
                });
                reader.show(&mut reply);
                reply
            }
        }
    }

    /// Destroys all keys and makes those of the seed again.
    async fn reset(&self, headers: &HeaderMap) -> Reply {
        let text = |status, text: String| plain(status, "text/plain", format!("{text}\n"));
        // A web page cannot make a browser send it.
        if !headers.contains_key(RESET_HEADER) {
            let reason = format!("send the header {RESET_HEADER}: yes");
            return text(StatusCode::FORBIDDEN, reason);
        }
        let Some(development) = &self.development else {
            return text(StatusCode::NOT_FOUND, String::new());
        };
        let _alone = development.resetting.lock().await;
        let outcome = async {
            self.audit.resetting(&self.account, &self.region).await?;
            let removed = self.service.catalog().remove_all().await.map_err(|e| e.to_string())?;
            let made = development.seed.apply(self).await.map_err(|error| error.to_string())?;
            tracing::warn!(removed, made, "reset: all keys are gone, those of the seed are new");
            Ok::<_, String>(json!({ "keysRemoved": removed, "keysMade": made }))
        };
        match outcome.await {
            Ok(report) => plain(StatusCode::OK, "application/json", format!("{report}\n")),
            Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, error),
        }
    }

    /// A call by the service itself, as the account root. It is recorded like any other.
    ///
    /// # Errors
    /// As a client would see it.
    pub async fn call(&self, operation: Operation, input: &Value) -> Result<Value, KmsError> {
        let principal = Principal::root(&*self.account, "kmsd");
        let mut exchange = Exchange::internal(principal, &self.region);
        operation.name().clone_into(&mut exchange.name);
        exchange.read_only = operation.is_read_only();
        let body = Zeroizing::new(input.to_string().into_bytes());
        let outcome = self.run(operation, &body, &mut exchange).await;
        let answer = self.finish(&exchange, outcome).await?;
        match answer.as_bytes() {
            b"" => Ok(Value::Null),
            bytes => serde_json::from_slice(bytes).map_err(KmsError::internal),
        }
    }

    fn ready(&self) -> Reply {
        let (ready, report) = self.readiness.report();
        let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        plain(status, "application/json", format!("{report:#}\n"))
    }

    fn metrics_page(&self, headers: &HeaderMap) -> Reply {
        if let Some(counted) = self.service.catalog().counted() {
            self.metrics.keys(&counted);
        }
        self.metrics.peers(&self.service.regions().peers().reports());
        let form = Form::accepted(headers.get(ACCEPT).and_then(|value| value.to_str().ok()));
        let text = self.metrics.render(form, &*self.readiness, &self.audit);
        plain(StatusCode::OK, form.content_type(), text)
    }

    /// Counts a request that has ended, and says so if it was refused.
    pub(super) fn ended(
        &self,
        exchange: &Exchange,
        operation: Option<&'static str>,
        code: Option<&'static str>,
        took: Duration,
    ) {
        self.metrics.request(operation, code.unwrap_or("OK"), took);
        // A dry run that would have succeeded was not refused.
        if let Some(code) = code.filter(|code| *code != Exception::DryRunOperation.code()) {
            exchange.refusal(code, |refusal| self.metrics.refused(refusal));
        }
    }

    /// One API request: read, decided, recorded, answered.
    async fn api<B>(&self, request: Request<B>, peer: Peer) -> Reply
    where
        B: Body<Data = Bytes>,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let begin = Instant::now();
        let (head, body) = request.into_parts();
        let content = self.memory.read(body, self.pass(&head, &peer)).await;
        // Of HTTP/2, only the stream is at an end then.
        let unread = content.is_err() && head.version < Version::HTTP_2;
        let writable = self.audit.ensure_writable().await;
        if query::is_query(&head) {
            return self.query(&head, content, writable, peer).await;
        }
        if let Some(absent) = Absent::of(&head) {
            return self.absent((&head, absent), content.is_err(), writable, peer).await;
        }
        let (name, operation) = named(&head);
        let mut exchange = Exchange::new(&head, peer, &self.region);
        exchange.name = name;
        exchange.read_only = operation.is_some_and(Operation::is_read_only);
        let outcome = match writable {
            Ok(()) => self.decide(&head, operation, content, &mut exchange).await,
            Err(error) => Err(KmsError::internal(error)),
        };
        let outcome = self.finish(&exchange, outcome).await;
        let code = outcome.as_ref().err().map(KmsError::code);
        self.ended(&exchange, operation.map(Operation::name), code, begin.elapsed());
        match outcome {
            Ok(answer) => success(head.version, answer, exchange.request_id),
            Err(error) => refusal(&error, exchange.request_id, unread),
        }
    }

    async fn decide(
        &self,
        head: &Parts,
        operation: Option<Operation>,
        content: Result<Content, KmsError>,
        exchange: &mut Exchange,
    ) -> Result<Answer, KmsError> {
        let content = content?;
        let operation = operation.filter(|_| head.method == Method::POST);
        let operation = operation.ok_or_else(|| KmsError::bare(Exception::UnknownOperation))?;
        self.authenticate(head, &content, SigningService::KMS, exchange).await?;
        self.service.regions().open(&exchange.region).await?;
        self.run(operation, &content, exchange).await
    }

    /// Whether a request may have a body of more than a few bytes: all is checked that can be
    /// without its body.
    async fn pass(&self, head: &Parts, peer: &Peer) -> Result<Sender, KmsError> {
        let service = if query::is_query(head) {
            query::claimed_service(head)
        } else {
            let known = named(head).1.filter(|_| head.method == Method::POST);
            known.ok_or_else(|| KmsError::bare(Exception::UnknownOperation))?;
            SigningService::KMS
        };
        let signed = signed(head, &[]);
        let key = self.verifier.screen(&signed, service, SystemTime::now())?;
        let token = head.headers.get(TOKEN).map(HeaderValue::as_bytes);
        if !self.iam.knows(key, token).await? {
            return Err(sigv4::unknown_client());
        }
        Ok(if peer.standing.is_proven() { Sender::Proven } else { Sender::Named })
    }

    /// Finds out who sent a request to `service`, and for which Region.
    pub(super) async fn authenticate(
        &self,
        head: &Parts,
        content: &[u8],
        service: SigningService,
        exchange: &mut Exchange,
    ) -> Result<(), KmsError> {
        let signed = signed(head, content);
        exchange.received = SystemTime::now();
        let claim = self.verifier.read(&signed, service, exchange.received)?;
        let trace = (exchange.request_id.into_bytes(), &mut exchange.facts.receipts);
        let credential = self.iam.identify(&self.verifier, &claim, trace).await?;
        self.iam.note_use(credential.principal(), service.in_actions(), claim.region());
        exchange.identified(credential.principal().clone());
        claim.region().clone_into(&mut exchange.region);
        Ok(())
    }

    /// Runs an operation of an authenticated caller.
    async fn run(
        &self,
        operation: Operation,
        content: &[u8],
        exchange: &mut Exchange,
    ) -> Result<Answer, KmsError> {
        let principal = exchange.principal.clone();
        let principal =
            principal.ok_or_else(|| KmsError::bare(Exception::MissingAuthenticationToken))?;
        let is_administration = operation.is_administration(principal.is_root());
        self.ensure_room(is_administration, exchange)?;
        let context = exchange.context(principal);
        self.service.call(operation, &context, content, &mut exchange.facts).await
    }

    /// Makes the request's record durable; if that fails, so does the request.
    async fn finish(
        &self,
        exchange: &Exchange,
        outcome: Result<Answer, KmsError>,
    ) -> Result<Answer, KmsError> {
        for event in &exchange.facts.events {
            self.audit.key_event(event).await.map_err(KmsError::internal)?;
        }
        let ended = outcome.as_ref().map_or_else(Outcome::refused, |_| Outcome::Success);
        self.record(exchange, ended).await?;
        outcome
    }

    /// Refuses what is no administration when the room on the disk is for that alone.
    pub(super) fn ensure_room(
        &self,
        is_administration: bool,
        exchange: &mut Exchange,
    ) -> Result<(), KmsError> {
        let room = self.audit.ensure_room();
        exchange.no_room = room.is_err() && !is_administration;
        match room {
            Err(error) if !is_administration => {
                Err(KmsError::new(Exception::KmsInternal, error.to_string()))
            }
            _ => Ok(()),
        }
    }

    /// Makes the request's record durable. Who sends more refused requests than that is told
    /// no more than so.
    pub(super) async fn record(
        &self,
        exchange: &Exchange,
        outcome: Outcome<'_>,
    ) -> Result<(), KmsError> {
        match self.audit.append_request(&exchange.record(&self.account, outcome)).await {
            Ok(Recorded::Throttled) => Err(KmsError::new(Exception::Throttling, TOO_MANY)),
            Ok(_) => Ok(()),
            Err(error) => Err(KmsError::internal(error)),
        }
    }
}

/// What the signature of a request covers.
fn signed<'a>(head: &'a Parts, body: &'a [u8]) -> SignedRequest<'a> {
    SignedRequest {
        method: head.method.as_str(),
        path: head.uri.path(),
        query: head.uri.query(),
        authority: authority(head),
        headers: &head.headers,
        body,
    }
}

/// The operation of KMS that a request is for, and its name as given.
fn named(head: &Parts) -> (String, Option<Operation>) {
    let target = head.headers.get(TARGET).and_then(|value| value.to_str().ok());
    let target = target.unwrap_or_default();
    let name = target.strip_prefix(TARGET_PREFIX);
    let operation = name.and_then(Operation::from_name).filter(|_| head.uri.path() == "/");
    (name.unwrap_or(target).chars().take(128).collect(), operation)
}

fn success(version: Version, answer: Answer, request_id: Uuid) -> Reply {
    let mut reply = Response::new(Full::new(body::secret(version, answer.into_bytes())));
    reply.headers_mut().insert(CONTENT_TYPE, JSON);
    identify(&mut reply, request_id);
    reply
}

fn refusal(error: &KmsError, request_id: Uuid, unread: bool) -> Reply {
    let mut reply = Response::new(Full::new(Bytes::from(error.to_body())));
    *reply.status_mut() =
        StatusCode::from_u16(error.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    reply.headers_mut().insert(CONTENT_TYPE, JSON);
    if unread {
        // What is left of the body would be taken for the next request.
        reply.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    identify(&mut reply, request_id);
    reply
}

pub(super) fn identify(reply: &mut Reply, request_id: Uuid) {
    if let Ok(value) = HeaderValue::from_str(&request_id.to_string()) {
        reply.headers_mut().insert("x-amzn-requestid", value);
    }
}

pub(super) fn plain(status: StatusCode, kind: &'static str, text: String) -> Reply {
    let mut reply = Response::new(Full::new(Bytes::from(text)));
    *reply.status_mut() = status;
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    reply
}
