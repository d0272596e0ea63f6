//! The application: everything that requests are served with, whatever protocol they come by. The HTTP front
//! end and the link to other daemons are its clients, and so is the service itself ([`App::call`]).

use std::net::IpAddr;
use std::sync::Arc;
use std::time::SystemTime;

use serde_json::Value;
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::admission::Admission;
use crate::api::{Answer, Service};
use crate::iam::Iam;
use crate::management::Management;
use crate::metrics::Metrics;
use kms_audit::{AuditError, AuditFacts, AuditLog, Caller, Outcome, Recorded, RequestRecord};
use kms_base::context::RequestContext;
use kms_base::error::{Exception, KmsError};
use kms_base::principal::Principal;
use kms_model::Operation;
use kms_sigv4::Verifier;

/// `eventSource` of requests to KMS.
pub(crate) const KMS: &str = "kms.amazonaws.com";

/// What the source of too many refused requests is told.
const TOO_MANY: &str = "Too many requests of your address were refused; a request whose signature is \
                        right is served.";

/// The parts that serve requests.
pub struct App {
    /// The KMS API.
    pub service: Service,
    /// The services beside it.
    pub management: Management,
    /// Knows who signs.
    pub iam: Arc<Iam>,
    /// Checks signatures.
    pub verifier: Verifier,
    /// Takes the records.
    pub audit: Arc<AuditLog>,
    /// Who gets in when more comes than can be served.
    pub admission: Admission,
    /// Counts.
    pub metrics: Metrics,
    /// The Region of requests that name none.
    pub region: String,
    /// The first account, which has the records of callers who are not known.
    pub account: String,
}

impl App {
    /// A call by the service itself, as the account root. It is recorded like any other.
    ///
    /// # Errors
    /// As a client would see it.
    pub async fn call(&self, operation: Operation, input: &Value) -> Result<Value, KmsError> {
        let context = RequestContext {
            request_id: Uuid::new_v4(),
            event_id: Uuid::new_v4(),
            principal: Principal::root(&*self.account, "kmsd"),
            region: self.region.clone(),
            source_ip: IpAddr::from([127, 0, 0, 1]),
            is_encrypted: false,
            user_agent: Some("kmsd --seed".to_owned()),
            invocation: None,
            referer: None,
            received: SystemTime::now(),
        };
        let mut facts = AuditFacts::default();
        let body = Zeroizing::new(input.to_string().into_bytes());
        let room = self.ensure_room(operation.is_administration(context.principal.is_root()));
        let no_room = room.is_err();
        let answer = match room {
            Ok(()) => self.service.call(operation, &context, &body, &mut facts).await,
            Err(error) => Err(error),
        };
        let record = RequestRecord {
            request_id: context.request_id,
            event_id: context.event_id,
            source: KMS,
            operation: operation.name(),
            read_only: operation.is_read_only(),
            caller: Caller::Verified(&context.principal),
            region: &context.region,
            account: &context.principal.account,
            source_ip: context.source_ip,
            user_agent: context.user_agent.as_deref(),
            tls: None,
            host: None,
            completed: SystemTime::now(),
            outcome: answer.as_ref().map_or_else(Outcome::refused, |_| Outcome::Success),
            no_room,
            facts: &facts,
        };
        self.record(&record).await?;
        parse(answer?)
    }

    /// Refuses what is not administration while the last room on the disk is kept for that.
    ///
    /// # Errors
    /// [`Exception::KmsInternal`].
    pub(crate) fn ensure_room(&self, is_administration: bool) -> Result<(), KmsError> {
        match self.audit.ensure_room() {
            Err(error) if !is_administration => {
                Err(KmsError::new(Exception::KmsInternal, error.to_string()))
            }
            _ => Ok(()),
        }
    }

    /// Makes durable what the service did by itself in the course of a request, and then the request's record.
    /// A request whose record is not durable has failed.
    ///
    /// # Errors
    /// [`Exception::Throttling`] for the source of more refused requests than are recorded, which learns
    /// nothing else of its request; [`Exception::KmsInternal`] if the log cannot be written.
    pub(crate) async fn record(&self, record: &RequestRecord<'_>) -> Result<(), KmsError> {
        for event in &record.facts.events {
            self.audit.key_event(event).await.map_err(AuditError::refuse)?;
        }
        match self.audit.append_request(record).await {
            Ok(Recorded::Throttled) => Err(KmsError::new(Exception::Throttling, TOO_MANY)),
            Ok(_) => Ok(()),
            Err(error) => Err(error.refuse()),
        }
    }
}

/// What an operation has answered; null if it answers nothing.
fn parse(answer: Answer) -> Result<Value, KmsError> {
    match answer.as_bytes() {
        b"" => Ok(Value::Null),
        bytes => serde_json::from_slice(bytes).map_err(KmsError::internal),
    }
}
