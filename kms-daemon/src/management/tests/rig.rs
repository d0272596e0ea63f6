//! Identities on an in-memory store, a clock that stands still, and one HSM.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde_json::Value;
use uuid::Uuid;

use crate::api::Service;
use crate::api::tests::device::regions;
use crate::credentials::{Credential, Credentials};
use crate::iam::{Iam, Setup};
use crate::management::{Format, Management, Operation};
use kms_audit::AuditFacts;
use kms_base::clock::{ManualClock, Timestamp};
use kms_base::context::RequestContext;
use kms_base::error::KmsError;
use kms_base::principal::Principal;
use kms_model::Operation as KmsOperation;
use kms_query::{Form, IamError};
use kms_store::{MemoryStore, Range, Store};

pub(super) const ACCOUNT: &str = "000000000000";
pub(super) const ROOT_KEY: &str = "AKIAROOTROOTROOTROOT";

pub(super) struct Rig {
    pub(super) iam: Arc<Iam>,
    pub(super) management: Management,
    pub(super) service: Service,
    pub(super) store: Arc<dyn Store>,
    pub(super) clock: Arc<ManualClock>,
}

impl Rig {
    pub(super) async fn new() -> Self {
        Self::on(Arc::new(MemoryStore::new())).await
    }

    pub(super) async fn on(store: Arc<dyn Store>) -> Self {
        let clock = Arc::new(ManualClock::new(Timestamp::from_millis(1_800_000_000_123)));
        let mut roots = Credentials::default();
        roots.insert_root(ACCOUNT, ROOT_KEY, "root-secret-access-key".to_owned().into());
        let regions = regions(1);
        let iam = Iam::open(Setup {
            store: Arc::clone(&store),
            regions: Arc::clone(&regions),
            region: "us-east-1".to_owned(),
            clock: clock.clone(),
            account: ACCOUNT.to_owned(),
            roots,
        })
        .await
        .unwrap();
        let iam = Arc::new(iam);
        let service = Service::open(Arc::clone(&store), regions, clock.clone()).await.unwrap();
        let service = service.with_identities(Arc::clone(&iam));
        let management = Management::new(Arc::clone(&iam));
        Self { iam, management, service, store, clock }
    }

    /// The same installation, as another process sees it.
    pub(super) async fn restarted(&self) -> Self {
        Self::on(Arc::clone(&self.store)).await
    }

    /// Calls an operation, and returns the facts for its audit record as well.
    pub(super) async fn audited(
        &self,
        principal: &Principal,
        operation: &str,
        parameters: &[(&str, &str)],
    ) -> (Result<Value, IamError>, AuditFacts) {
        let operation = *Operation::ALL.iter().find(|row| row.name() == operation).unwrap();
        let encode = |text: &str| text.bytes().map(|b| format!("%{b:02x}")).collect::<String>();
        let pairs = parameters.iter().map(|(name, value)| format!("{name}={}", encode(value)));
        let form = Form::parse(pairs.collect::<Vec<_>>().join("&").as_bytes()).unwrap();
        let request = request(principal);
        let mut facts = AuditFacts::default();
        let outcome =
            self.management.call(operation, &request, &form, &mut facts, &self.service).await;
        let name = operation.name();
        let outcome = outcome.map(|result| {
            let json = Format::Json.answer((name, "urn:x"), result, "id");
            let mut answer: Value = serde_json::from_slice(&json).unwrap();
            answer[format!("{name}Response")][format!("{name}Result")].take()
        });
        (outcome, facts)
    }

    /// Calls an operation of KMS as `principal`.
    pub(super) async fn kms(
        &self,
        principal: &Principal,
        operation: &str,
        input: Value,
    ) -> Result<Value, KmsError> {
        self.kms_audited(principal, operation, input).await.0
    }

    /// As [`Rig::kms`], and returns the facts for its audit record as well.
    pub(super) async fn kms_audited(
        &self,
        principal: &Principal,
        operation: &str,
        input: Value,
    ) -> (Result<Value, KmsError>, AuditFacts) {
        let operation = KmsOperation::from_name(operation).unwrap();
        let (request, body) = (request(principal), input.to_string());
        let mut facts = AuditFacts::default();
        let answer = self.service.call(operation, &request, body.as_bytes(), &mut facts).await;
        let answer = answer.map(|it| serde_json::from_slice(it.as_bytes()).unwrap_or_default());
        (answer, facts)
    }

    /// Calls an operation as `principal`.
    pub(super) async fn call(
        &self,
        principal: &Principal,
        operation: &str,
        parameters: &[(&str, &str)],
    ) -> Result<Value, IamError> {
        self.audited(principal, operation, parameters).await.0
    }

    /// Calls an operation as the account root; it must succeed.
    pub(super) async fn ok(&self, operation: &str, parameters: &[(&str, &str)]) -> Value {
        let outcome = self.call(&root(), operation, parameters).await;
        outcome.unwrap_or_else(|error| panic!("{operation}: {error}"))
    }

    /// Calls an operation as the account root; it must be refused. Returns code and text.
    pub(super) async fn refused(&self, operation: &str, parameters: &[(&str, &str)]) -> String {
        match self.call(&root(), operation, parameters).await {
            Ok(answer) => panic!("{operation}: {answer}"),
            Err(error) => error.to_string(),
        }
    }

    /// Makes a user with an access key; id and secret of it.
    pub(super) async fn user(&self, name: &str) -> (String, String) {
        self.ok("CreateUser", &[("UserName", name)]).await;
        let made = self.ok("CreateAccessKey", &[("UserName", name)]).await;
        let text = |member: &str| made["AccessKey"][member].as_str().unwrap().to_owned();
        (text("AccessKeyId"), text("SecretAccessKey"))
    }

    /// What is known of an access key.
    pub(super) async fn lookup(
        &self,
        id: &str,
        token: Option<&str>,
    ) -> Result<Option<Credential>, KmsError> {
        let mut receipts = Vec::new();
        let trace = ([0; 16], &mut receipts);
        self.iam.credential_of(id, token.map(str::as_bytes), trace).await
    }

    /// The owner of an access key that can be used.
    pub(super) async fn principal(&self, id: &str) -> Principal {
        self.lookup(id, None).await.unwrap().expect("a known key").principal().clone()
    }

    /// Waits until an access key counts no more.
    pub(super) async fn gone(&self, id: &str, token: Option<&str>) {
        for _ in 0..60_000 {
            if self.lookup(id, token).await.unwrap().is_none() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{id} still counts");
    }

    /// Everything in the store.
    pub(super) async fn stored(&self) -> Vec<u8> {
        let mut all = Vec::new();
        for prefix in ["iam/", "system-keys/", "service/"] {
            let range = Range { prefix: prefix.into(), after: None, limit: 1000 };
            for entry in self.store.range(range).await.unwrap().value.entries {
                all.extend_from_slice(&entry.key);
                all.extend_from_slice(&entry.value);
            }
        }
        all
    }
}

fn request(principal: &Principal) -> RequestContext {
    RequestContext {
        request_id: Uuid::new_v4(),
        event_id: Uuid::new_v4(),
        principal: principal.clone(),
        region: "us-east-1".to_owned(),
        source_ip: IpAddr::V4(Ipv4Addr::LOCALHOST),
        is_encrypted: false,
        user_agent: None,
        invocation: None,
        referer: None,
        received: SystemTime::now(),
    }
}

pub(super) fn root() -> Principal {
    Principal::root(ACCOUNT, ROOT_KEY)
}

/// The credentials in an answer: id, secret, token.
pub(super) fn credentials(answer: &Value) -> [String; 3] {
    ["AccessKeyId", "SecretAccessKey", "SessionToken"]
        .map(|member| answer["Credentials"][member].as_str().unwrap().to_owned())
}

/// Whether `bytes` has `text` in it.
pub(super) fn contains(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}
