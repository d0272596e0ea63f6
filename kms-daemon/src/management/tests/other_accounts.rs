//! Keys that identities of another account use.

use std::sync::Arc;

use serde_json::{Value, json};

use super::rig::{ACCOUNT, Rig, credentials, root};
use crate::counting::Counting;
use crate::policy::decisions;
use kms_audit::AuditFacts;
use kms_base::error::KmsError;
use kms_base::principal::Principal;

mod access;
mod ciphertexts;
mod grants;
mod secrecy;

/// The account of the callers.
const OTHER: &str = "111122223333";
/// A key that does not exist.
const MISSING: &str = "1234abcd-12ab-34cd-56ef-1234567890ab";

/// An installation of two accounts: the first has keys, the other the user `eve` and the role
/// `ops`, which `eve` may assume.
struct World {
    rig: Rig,
    store: Arc<Counting>,
    other: Principal,
    eve: Principal,
}

impl World {
    async fn new() -> Self {
        let store = Arc::new(Counting::default());
        let rig = Rig::on(store.clone()).await;
        let made = rig.ok("CreateAccount", &[("AccountId", OTHER)]).await;
        let other = rig.principal(made["AccessKey"]["AccessKeyId"].as_str().unwrap()).await;
        let iam = async |operation: &str, parameters: &[(&str, &str)]| {
            rig.call(&other, operation, parameters).await.unwrap()
        };
        iam("CreateUser", &[("UserName", "eve")]).await;
        let made = iam("CreateAccessKey", &[("UserName", "eve")]).await;
        let eve = rig.principal(made["AccessKey"]["AccessKeyId"].as_str().unwrap()).await;
        let trust = document(json!({ "Effect": "Allow", "Principal": { "AWS": eve.arn() },
                                     "Action": "sts:AssumeRole" }));
        iam("CreateRole", &[("RoleName", "ops"), ("AssumeRolePolicyDocument", &trust)]).await;
        Self { rig, store, other, eve }
    }

    /// A session of the role.
    async fn session(&self) -> Principal {
        let arn = format!("arn:aws:iam::{OTHER}:role/ops");
        let parameters = [("RoleArn", arn.as_str()), ("RoleSessionName", "work")];
        let session = self.rig.call(&self.eve, "AssumeRole", &parameters).await.unwrap();
        let [id, _, token] = credentials(&session);
        self.rig.lookup(&id, Some(&token)).await.unwrap().unwrap().principal().clone()
    }

    /// Gives user and role an identity policy, or takes it away.
    async fn let_them(&self, statements: Option<Value>) {
        for (kind, holder) in [("User", ("UserName", "eve")), ("Role", ("RoleName", "ops"))] {
            let parameters = [holder, ("PolicyName", "p")];
            let call = async |operation: String, more: &[(&str, &str)]| {
                let parameters = [&parameters, more].concat();
                self.rig.call(&self.other, &operation, &parameters).await
            };
            match &statements {
                Some(statements) => {
                    let text = document(statements.clone());
                    let text = [("PolicyDocument", text.as_str())];
                    call(format!("Put{kind}Policy"), &text).await.unwrap();
                }
                None => drop(call(format!("Delete{kind}Policy"), &[]).await.unwrap()),
            }
        }
    }

    /// Calls an operation as the owner of the keys.
    async fn own(&self, operation: &str, input: Value) -> Value {
        let outcome = self.rig.kms(&root(), operation, input).await;
        outcome.unwrap_or_else(|error| panic!("{operation}: {error}"))
    }

    /// A key with these statements beside the one for its account; its ARN.
    async fn key(&self, statements: &[Value]) -> String {
        self.key_of(json!({ "Policy": with_owner(statements) })).await
    }

    async fn key_of(&self, input: Value) -> String {
        let made = self.own("CreateKey", input).await;
        made["KeyMetadata"]["Arn"].as_str().unwrap().to_owned()
    }

    async fn put(&self, arn: &str, statements: &[Value]) {
        self.own("PutKeyPolicy", json!({ "KeyId": arn, "Policy": with_owner(statements) })).await;
    }

    async fn encrypt(&self, caller: &Principal, key: &str) -> Result<Value, KmsError> {
        self.rig.kms(caller, "Encrypt", json!({ "KeyId": key, "Plaintext": "AAAA" })).await
    }

    /// What a refused call shows: its answer, what is recorded, and how much work it was.
    async fn observe(&self, caller: &Principal, operation: &str, input: &Value) -> Observed {
        let before = (self.store.calls(), decisions::so_far());
        let (outcome, facts) = self.rig.kms_audited(caller, operation, input.clone()).await;
        let work = (self.store.calls() - before.0, decisions::so_far() - before.1);
        let refusal = outcome.map(|answer| answer.to_string()).unwrap_err().to_string();
        Observed { refusal, work, facts }
    }
}

#[derive(Debug)]
struct Observed {
    refusal: String,
    /// Calls of the store, and questions to policies.
    work: (usize, usize),
    facts: AuditFacts,
}

fn document(statements: Value) -> String {
    json!({ "Version": "2012-10-17", "Statement": statements }).to_string()
}

fn with_owner(statements: &[Value]) -> String {
    let owner = statement("Allow", ACCOUNT, "kms:*");
    document(json!([&[owner], statements].concat()))
}

fn statement(effect: &str, principal: &str, action: &str) -> Value {
    json!({ "Effect": effect, "Principal": { "AWS": principal }, "Action": action,
            "Resource": "*" })
}

/// A statement of an identity policy.
fn identity(effect: &str, action: &str) -> Value {
    json!({ "Effect": effect, "Action": action, "Resource": "*" })
}

/// What a caller of another account is told.
fn denied(caller: &Principal, action: &str) -> String {
    format!(
        "AccessDeniedException: User: {} is not authorized to perform: {action} on this resource \
         because the resource does not exist in this Region, no resource-based policies allow \
         access, or a resource-based policy explicitly denies access",
        caller.caller_arn()
    )
}

fn arn_of(id: &str) -> String {
    format!("arn:aws:kms:us-east-1:{ACCOUNT}:key/{id}")
}
