//! The protocol of external key stores: the path names store, key and call, bodies are JSON.

use std::time::SystemTime;

use hyper::Method;
use hyper::http::request::Parts;
use uuid::Uuid;
use zeroize::Zeroizing;

use super::body;
use super::content::Content;
use super::front::{Front, Reply, reply};
use super::in_flight::InFlight;
use super::kms::MAX_NAME;
use super::pipeline::{Protocol, signed};
use crate::app::App;
use crate::iam::record::ExternalStore;
use crate::xks;
use kms_audit::Outcome;
use kms_base::error::KmsError;
use kms_base::principal::Principal;
use kms_keys::Stored;
use kms_query::Code;
use kms_sigv4::SigningService;
use kms_xks::{Call, ErrorName, Path, XksError};

/// `eventSource` of audit records.
const SOURCE: &str = "kms-xks-proxy";
/// How records name a refusal by policies.
const ACCESS_DENIED: &str = Code::AccessDenied.name();
const JSON: &str = "application/json";

/// A request to an external key store.
pub(super) struct External<'h> {
    /// `None` if the path is not one of the API.
    path: Option<Path<'h>>,
}

impl<'h> External<'h> {
    /// The request that a head is for.
    pub(super) fn of(head: &'h Parts) -> Self {
        let path = Path::parse(head.uri.path()).filter(|_| head.uri.query().is_none());
        Self { path }
    }

    /// Verifies the signature of a request, which says whether it is for this store.
    async fn authenticate(
        &self,
        app: &App,
        (head, content): (&Parts, &[u8]),
        prefix: &str,
        request: &mut InFlight,
    ) -> Result<(Stored<ExternalStore>, Principal), XksError> {
        let signed = signed(head, content);
        let claim = app.verifier.read(&signed, SigningService::EXTERNAL_STORE, request.received)?;
        let trace = (request.request_id.into_bytes(), &mut request.facts.receipts);
        let store = app.iam.identify_store(&app.verifier, &claim, prefix, trace).await?;
        let principal = request.admitted(&store, claim.access_key_id());
        Ok((store, principal))
    }
}

impl Protocol for External<'_> {
    type Answer = Zeroizing<Vec<u8>>;
    type Error = XksError;

    fn announce(&mut self, head: &Parts, request: &mut InFlight) -> Result<(), XksError> {
        request.source = SOURCE.into();
        request.read_only = true;
        let Some(path) = self.path else {
            let name = format!("{} {}", head.method, head.uri.path());
            request.name = name.chars().take(MAX_NAME).collect();
            let text = "The path is not one of the external key store proxy API, version 1.";
            return Err(XksError::new(ErrorName::InvalidUriPath, text));
        };
        path.call.name().clone_into(&mut request.name);
        if head.method != Method::POST {
            let text = "The external key store proxy API has POST only.";
            return Err(XksError::new(ErrorName::MethodNotAllowed, text));
        }
        Ok(())
    }

    async fn decide(
        &mut self,
        front: &Front,
        head: &Parts,
        content: Result<Content, KmsError>,
        request: &mut InFlight,
    ) -> Result<Zeroizing<Vec<u8>>, XksError> {
        let (app, content) = (&*front.app, content?);
        let Some(Path { prefix, call }) = self.path else {
            return Err(XksError::unauthenticated());
        };
        request.received = SystemTime::now();
        let (store, principal) = self.authenticate(app, (head, &content), prefix, request).await?;
        let room = app.ensure_room(false);
        request.no_room = room.is_err();
        room?;
        let context = request.context(principal);
        xks::Proxied { service: &app.service, store: &store, context: &context }
            .run(call, &content, &mut request.facts)
            .await
    }

    fn operation(&self) -> Option<&'static str> {
        // Other names than those of the operations of KMS, with which they would be counted.
        self.path.map(|path| match path.call {
            Call::Health => "XksGetHealthStatus",
            Call::Metadata(_) => "XksGetKeyMetadata",
            Call::Encrypt(_) => "XksEncrypt",
            Call::Decrypt(_) => "XksDecrypt",
        })
    }

    fn refused<'e>(&self, error: &'e XksError) -> Outcome<'e> {
        Outcome::Failure(self.code(error), Some(error.message()))
    }

    fn code(&self, error: &XksError) -> &'static str {
        match error.name() {
            // As records name it, whatever the API.
            ErrorName::AccessDenied => ACCESS_DENIED,
            name => name.text(),
        }
    }

    fn respond(
        &self,
        head: &Parts,
        outcome: Result<Zeroizing<Vec<u8>>, XksError>,
        _: Uuid,
    ) -> Reply {
        match outcome {
            Ok(answer) => reply(200, JSON, body::secret(head.version, answer)),
            Err(error) => refusal(&error),
        }
    }
}

/// The response to a request that is refused.
pub(super) fn refusal(error: &XksError) -> Reply {
    reply(error.name().status(), JSON, error.to_body())
}
