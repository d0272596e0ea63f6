//! The one way of a request through the daemon, whatever protocol it comes by: read, authenticated, decided,
//! recorded, answered.

use std::time::{Duration, Instant, SystemTime};

use hyper::body::{Body, Bytes};
use hyper::header::{CONNECTION, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Method, Request, Version};
use uuid::Uuid;

use super::absent::Absent;
use super::body::Sender;
use super::content::Content;
use super::external::External;
use super::front::{Front, Peer, Reply};
use super::head::authority;
use super::in_flight::InFlight;
use super::kms::Kms;
use super::query::{self, Query};
use crate::admission;
use crate::app::App;
use crate::freshness;
use kms_audit::{AuditError, Outcome};
use kms_base::error::{Exception, KmsError};
use kms_base::principal::Principal;
use kms_sigv4::{SignedRequest, SigningService, TOKEN};
use kms_store::Follower as _;

/// A protocol of AWS: how requests are read and run, and how their answers are written.
pub(super) trait Protocol {
    /// What an operation answers.
    type Answer;
    /// What a client is told instead.
    type Error: From<KmsError>;

    /// Notes what the head alone says the request is.
    ///
    /// # Errors
    /// If no request with such a head is served, whatever its body.
    fn announce(&mut self, head: &Parts, request: &mut InFlight) -> Result<(), Self::Error>;

    /// Reads the request, sees who has sent it, and runs its operation.
    ///
    /// # Errors
    /// What the client is to see.
    async fn decide(
        &mut self,
        front: &Front,
        head: &Parts,
        content: Result<Content, KmsError>,
        request: &mut InFlight,
    ) -> Result<Self::Answer, Self::Error>;

    /// The operation, once it is read.
    fn operation(&self) -> Option<&'static str>;

    /// A refusal as the record has it.
    fn refused<'e>(&self, error: &'e Self::Error) -> Outcome<'e>;

    /// The code of a refusal, for metrics.
    fn code(&self, error: &Self::Error) -> &'static str;

    /// The response.
    fn respond(
        &self,
        head: &Parts,
        outcome: Result<Self::Answer, Self::Error>,
        request_id: Uuid,
    ) -> Reply;
}

/// A protocol whose requests are signed with the access keys of principals.
pub(super) trait OfPrincipals: Protocol {
    /// Reads the request, and notes what it says it is: nobody vouches for that yet.
    ///
    /// # Errors
    /// If it is not a request for an operation that is served.
    fn read(
        &mut self,
        head: &Parts,
        content: &Content,
        request: &mut InFlight,
    ) -> Result<(), Self::Error>;

    /// The service that the signature has to be for.
    fn signing(&self) -> SigningService;

    /// Whether it is served while the last room on the disk is kept for administration.
    fn is_administration(&self, principal: &Principal) -> bool;

    /// Runs the operation of an authenticated principal.
    ///
    /// # Errors
    /// What the client is to see.
    async fn run(
        &self,
        app: &App,
        principal: Principal,
        content: &Content,
        request: &mut InFlight,
    ) -> Result<Self::Answer, Self::Error>;
}

impl Front {
    /// One API request.
    pub(super) async fn api<B>(&self, request: Request<B>, peer: Peer) -> Reply
    where
        B: Body<Data = Bytes>,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let begin = Instant::now();
        let (head, body) = request.into_parts();
        let content = self.memory.read(body, self.pass(&head, &peer)).await;
        let writable = self.app.audit.ensure_writable().await;
        let arrived = (&head, content, writable, begin);
        if query::is_query(&head) {
            return self.serve(Query::default(), arrived, peer).await;
        }
        match Absent::of(&head) {
            Some(absent) => self.serve(absent, arrived, peer).await,
            None => self.serve(Kms::of(&head), arrived, peer).await,
        }
    }

    /// One request to an external key store.
    pub(super) async fn external<B>(&self, request: Request<B>, peer: Peer) -> Reply
    where
        B: Body<Data = Bytes>,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let begin = Instant::now();
        let (head, body) = request.into_parts();
        let pass = self.pass_external(&head, &peer);
        let content = self.memory_of_stores.read(body, pass).await;
        let writable = self.app.audit.ensure_writable().await;
        self.serve(External::of(&head), (&head, content, writable, begin), peer).await
    }

    async fn serve<P: Protocol>(
        &self,
        mut protocol: P,
        (head, content, writable, begin): (
            &Parts,
            Result<Content, KmsError>,
            Result<(), AuditError>,
            Instant,
        ),
        peer: Peer,
    ) -> Reply {
        // Of HTTP/2, only the stream is at an end then.
        let unread = content.is_err() && head.version < Version::HTTP_2;
        let mut request = InFlight::new(head, peer, &self.app.region);
        let announced = protocol.announce(head, &mut request);
        let fresh = freshness::ensure(&**self.app.service.catalog().store()).await;
        let outcome = match (writable, announced) {
            (Err(error), _) => Err(error.refuse().into()),
            (_, Err(error)) => Err(error),
            _ if let Err(error) = fresh => Err(error.into()),
            _ => protocol.decide(self, head, content, &mut request).await,
        };
        let ended =
            outcome.as_ref().map_or_else(|error| protocol.refused(error), |_| Outcome::Success);
        let recorded = self.app.record(&request.record(&self.app.account, ended)).await;
        let outcome = match recorded {
            Ok(()) => outcome,
            Err(error) => Err(error.into()),
        };
        let code = outcome.as_ref().err().map(|error| protocol.code(error));
        self.ended(&request, protocol.operation(), code, begin.elapsed());
        let mut reply = protocol.respond(head, outcome, request.request_id);
        if unread {
            // What is left of the body would be taken for the next request.
            reply.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        if let Ok(value) = HeaderValue::from_str(&request.request_id.to_string()) {
            reply.headers_mut().insert("x-amzn-requestid", value);
        }
        reply
    }

    /// Runs the operation of a principal.
    pub(super) async fn decide<P: OfPrincipals>(
        &self,
        protocol: &mut P,
        head: &Parts,
        content: Result<Content, KmsError>,
        request: &mut InFlight,
    ) -> Result<P::Answer, P::Error> {
        let content = content?;
        protocol.read(head, &content, request)?;
        let principal = self.authenticate(head, &content, protocol.signing(), request).await?;
        let room = self.app.ensure_room(protocol.is_administration(&principal));
        request.no_room = room.is_err();
        room?;
        // Administration is what ends an overload.
        let is_shared =
            protocol.signing() == SigningService::KMS && !protocol.is_administration(&principal);
        let admission = &self.app.admission;
        if let Some(key) = &request.claimed_key {
            admission.learn(key, &principal.account, principal.is_root());
        }
        let _admitted = is_shared.then(|| admission.enter(&principal.account)).transpose()?;
        protocol.run(&self.app, principal, &content, request).await
    }

    /// Verifies the signature of a request to `service`, which says who has sent it and for which Region.
    async fn authenticate(
        &self,
        head: &Parts,
        content: &[u8],
        service: SigningService,
        request: &mut InFlight,
    ) -> Result<Principal, KmsError> {
        let App { iam, verifier, .. } = &*self.app;
        let signed = signed(head, content);
        request.received = SystemTime::now();
        let claim = verifier.read(&signed, service, request.received)?;
        let trace = (request.request_id.into_bytes(), &mut request.facts.receipts);
        let credential = iam.identify(verifier, &claim, trace).await?;
        iam.note_use(credential.principal(), service.in_actions(), claim.region());
        request.identified(credential.principal().clone());
        admission::is_of(&credential.principal().account);
        claim.region().clone_into(&mut request.region);
        Ok(credential.principal().clone())
    }

    /// Whether a request may have a body of more than a few bytes: all is checked that can be
    /// without its body.
    async fn pass(&self, head: &Parts, peer: &Peer) -> Result<Sender, KmsError> {
        let service = if query::is_query(head) {
            query::claimed_service(head)
        } else {
            let known = Kms::of(head).is_served() && head.method == Method::POST;
            known
                .then_some(SigningService::KMS)
                .ok_or_else(|| KmsError::bare(Exception::UnknownOperation))?
        };
        let signed = signed(head, &[]);
        let key = self.app.verifier.screen(&signed, service, SystemTime::now())?;
        let token = head.headers.get(TOKEN).map(HeaderValue::as_bytes);
        if !self.app.iam.knows(key, token).await? {
            return Err(kms_sigv4::unknown_client());
        }
        Ok(if peer.standing.is_proven() { Sender::Proven } else { Sender::Named })
    }

    /// The same for a request to an external key store.
    async fn pass_external(&self, head: &Parts, peer: &Peer) -> Result<Sender, KmsError> {
        let service = SigningService::EXTERNAL_STORE;
        let signed = signed(head, &[]);
        let id = self.app.verifier.screen(&signed, service, SystemTime::now())?;
        if !self.app.iam.knows_external(id).await? {
            return Err(kms_sigv4::unknown_client());
        }
        Ok(if peer.standing.is_proven() { Sender::Proven } else { Sender::Named })
    }

    /// Counts a request that has ended, and says so if it was refused.
    fn ended(
        &self,
        request: &InFlight,
        operation: Option<&'static str>,
        code: Option<&'static str>,
        took: Duration,
    ) {
        let metrics = &self.app.metrics;
        metrics.request(operation, code.unwrap_or("OK"), took);
        // A dry run that would have succeeded was not refused.
        if let Some(code) = code.filter(|code| *code != Exception::DryRunOperation.code()) {
            request.refusal(code, |refusal| metrics.refused(refusal));
        }
    }
}

/// What the signature of a request covers.
pub(super) fn signed<'a>(head: &'a Parts, body: &'a [u8]) -> SignedRequest<'a> {
    SignedRequest {
        method: head.method.as_str(),
        path: head.uri.path(),
        query: head.uri.query(),
        authority: authority(head),
        headers: &head.headers,
        body,
    }
}
