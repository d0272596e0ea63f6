//! A service on an in-memory store, a clock that stands still, and one HSM.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::task::Poll;
use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use uuid::Uuid;

use super::service_model::may_answer;
use crate::api::Service;
use crate::regions::Regions;
use kms_audit::AuditFacts;
use kms_base::clock::{ManualClock, Timestamp};
use kms_base::context::RequestContext;
use kms_base::error::KmsError;
use kms_base::identifier::{KeyId, Scope};
use kms_base::principal::Principal;
use kms_keys::KeyRecord;
use kms_model::Operation;
use kms_model::state::KeyState;
use kms_store::{MemoryStore, Store};

use super::device::regions;

pub(super) const ACCOUNT: &str = "000000000000";
pub(super) const REGION: &str = "us-east-1";

pub(super) struct Rig {
    pub(super) service: Arc<Service>,
    pub(super) clock: Arc<ManualClock>,
    /// Where requests go.
    pub(super) region: &'static str,
}

impl Rig {
    pub(super) async fn new() -> Self {
        Self::on(Arc::new(MemoryStore::new())).await
    }

    /// A service of so many Regions; requests go to the first.
    pub(super) async fn with_regions(count: usize) -> Self {
        Self::with(Arc::new(MemoryStore::new()), count).await
    }

    pub(super) async fn on(store: Arc<dyn Store>) -> Self {
        Self::with(store, 1).await
    }

    /// The same service in another Region.
    pub(super) fn in_region(&self, region: &'static str) -> Self {
        Self { service: Arc::clone(&self.service), clock: Arc::clone(&self.clock), region }
    }

    async fn with(store: Arc<dyn Store>, count: usize) -> Self {
        Self::over(store, regions(count)).await
    }

    /// A service of other Regions than those of all tests.
    pub(super) async fn over(store: Arc<dyn Store>, regions: Arc<Regions>) -> Self {
        let clock = Arc::new(ManualClock::new(Timestamp::from_millis(1_800_000_000_000)));
        let service = Service::open(store, regions, clock.clone()).await.unwrap();
        Self { service: Arc::new(service), clock, region: REGION }
    }

    pub(super) fn scope(&self) -> Scope {
        Scope::new(ACCOUNT, self.region)
    }

    /// Calls an operation as the account root.
    pub(super) async fn call(&self, operation: &str, input: Value) -> Result<Value, KmsError> {
        self.audited(operation, input).await.0
    }

    /// Calls an operation, and returns the facts for its audit record as well.
    pub(super) async fn audited(
        &self,
        operation: &str,
        input: Value,
    ) -> (Result<Value, KmsError>, AuditFacts) {
        self.raw(operation, input.to_string().as_bytes()).await
    }

    /// Calls an operation with any body.
    pub(super) async fn raw(
        &self,
        operation: &str,
        body: &[u8],
    ) -> (Result<Value, KmsError>, AuditFacts) {
        let operation = Operation::from_name(operation).unwrap();
        let request = self.request(Principal::root(ACCOUNT, "AKIAEXAMPLE"));
        let mut facts = AuditFacts::default();
        let outcome = self.service.call(operation, &request, body, &mut facts).await;
        if let Err(refusal) = &outcome {
            let exception = refusal.exception();
            assert!(may_answer(operation, exception), "{operation:?} answers {exception:?}");
        }
        let outcome = outcome.map(|answer| match answer.as_bytes() {
            b"" => Value::Null,
            body => serde_json::from_slice(body).unwrap(),
        });
        (outcome, facts)
    }

    /// What is known of a request by `principal`.
    pub(super) fn request(&self, principal: Principal) -> RequestContext {
        RequestContext {
            request_id: Uuid::new_v4(),
            event_id: Uuid::new_v4(),
            principal,
            region: self.region.to_owned(),
            source_ip: IpAddr::V4(Ipv4Addr::LOCALHOST),
            is_encrypted: false,
            user_agent: None,
            invocation: None,
            referer: None,
            received: SystemTime::now(),
        }
    }

    /// Calls an operation that must succeed.
    pub(super) async fn ok(&self, operation: &str, input: Value) -> Value {
        self.call(operation, input).await.unwrap_or_else(|error| panic!("{operation}: {error}"))
    }

    /// Calls an operation that must be refused, and returns the exception's name.
    pub(super) async fn refused(&self, operation: &str, input: Value) -> &'static str {
        match self.call(operation, input).await {
            Ok(answer) => panic!("{operation}: {answer}"),
            Err(error) => error.code(),
        }
    }

    /// Calls an operation that must be refused, and returns exception and text.
    pub(super) async fn refusal(&self, operation: &str, input: Value) -> String {
        match self.call(operation, input).await {
            Ok(answer) => panic!("{operation}: {answer}"),
            Err(error) => error.to_string(),
        }
    }

    /// Makes a key and returns its id.
    pub(super) async fn create(&self, spec: &str) -> String {
        let usage = match spec.split('_').next() {
            Some("ECC") => "SIGN_VERIFY",
            Some("HMAC") => "GENERATE_VERIFY_MAC",
            Some("ML") => "ENCAPSULATE_DECAPSULATE",
            _ => "ENCRYPT_DECRYPT",
        };
        self.create_for(spec, usage).await
    }

    /// Makes a key for a usage and returns its id.
    pub(super) async fn create_for(&self, spec: &str, usage: &str) -> String {
        let answer = self.ok("CreateKey", json!({ "KeySpec": spec, "KeyUsage": usage })).await;
        answer["KeyMetadata"]["KeyId"].as_str().unwrap().to_owned()
    }

    /// The stored record of a key.
    pub(super) async fn record(&self, id: &str) -> Option<KeyRecord> {
        let id = KeyId::parse(id).unwrap();
        let stored = self.service.catalog().key(&self.scope(), id).await.unwrap()?;
        Some(stored.value.clone())
    }

    /// Puts a key into a state, whatever way leads there.
    pub(super) async fn force_state(&self, id: &str, state: KeyState) {
        let catalog = self.service.catalog();
        let old = catalog.key(&self.scope(), KeyId::parse(id).unwrap()).await.unwrap().unwrap();
        let deletion =
            (state == KeyState::PendingDeletion).then(|| Timestamp::from_millis(1_900_000_000_000));
        let new = KeyRecord { state, deletion, ..old.value.clone() };
        assert_eq!(
            catalog.replace_key(&old, &new).await.unwrap(),
            kms_keys::catalog::Update::Applied
        );
    }
}

/// Base64 of `bytes`, as blobs are in JSON.
pub(super) fn b64(bytes: impl AsRef<[u8]>) -> String {
    STANDARD.encode(bytes)
}

/// The bytes of a blob member.
pub(super) fn bytes(value: &Value) -> Vec<u8> {
    STANDARD.decode(value.as_str().unwrap()).unwrap()
}

/// The ARN of a key of the rig's account.
pub(super) fn arn(id: &str) -> String {
    format!("arn:aws:kms:{REGION}:{ACCOUNT}:key/{id}")
}

/// Runs futures at the same time, in this task.
pub(super) async fn join<F: Future>(futures: impl Iterator<Item = F>) -> Vec<F::Output> {
    let mut futures: Vec<_> = futures.map(|future| (Box::pin(future), None)).collect();
    std::future::poll_fn(|context| {
        for (future, output) in &mut futures {
            if output.is_none()
                && let Poll::Ready(value) = future.as_mut().poll(context)
            {
                *output = Some(value);
            }
        }
        let done = futures.iter().all(|(_, output)| output.is_some());
        if done { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    futures.into_iter().filter_map(|(_, output)| output).collect()
}
