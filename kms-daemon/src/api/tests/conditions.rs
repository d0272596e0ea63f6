//! Condition keys, as the operations of the API fill them in.

use kms_policy::IdentityPolicy;
use serde_json::{Value, json};

use super::Rig;
use super::rig::ACCOUNT;
use crate::api::{Call, dispatch};
use crate::policy::CallerPolicies;
use kms_audit::AuditFacts;
use kms_base::context::RequestContext;
use kms_base::principal::{Principal, PrincipalKind, User};
use kms_model::Operation;

mod callers;
mod cryptography;
mod grants;
mod management;
mod requests;
mod table;

const USER: &str = "ana";

/// A user of the rig's account.
fn user() -> Principal {
    let (id, path, name) = ("AIDAEXAMPLE".to_owned(), "/".to_owned(), USER.to_owned());
    let kind = PrincipalKind::User(User { id, path, name });
    Principal { kind, ..Principal::root(ACCOUNT, "AKIAEXAMPLE") }
}

/// A policy of such statements.
fn identity(statements: &Value) -> CallerPolicies {
    let text = json!({ "Version": "2012-10-17", "Statement": statements }).to_string();
    let identity = vec![IdentityPolicy::parse(&text).unwrap_or_else(|error| panic!("{error}"))];
    CallerPolicies { identity, ..CallerPolicies::default() }
}

impl Rig {
    /// Calls an operation as somebody whom these policies limit: the exception's name and text if
    /// it is refused.
    async fn limited(
        &self,
        policies: &CallerPolicies,
        request: &RequestContext,
        operation: &str,
        input: &Value,
    ) -> Result<(), String> {
        let operation = Operation::from_name(operation).unwrap();
        let (mut facts, body) = (AuditFacts::default(), input.to_string());
        let mut call =
            Call::new(&self.service, operation, (request, policies), &mut facts).unwrap();
        let outcome = dispatch(operation, &mut call, body.as_bytes()).await;
        outcome.map(drop).map_err(|error| error.to_string())
    }
}

/// A condition operator, a key, a value under which it holds, and one under which it does not.
type Condition = (&'static str, &'static str, Value, Value);

/// Whether `action` is allowed where a policy allows it under this condition only, and everything
/// else.
async fn allows(
    rig: &Rig,
    request: &RequestContext,
    (action, operation, input): (&str, &str, &Value),
    (operator, key, value): (&str, &str, &Value),
) -> bool {
    let action = format!("kms:{action}");
    let policies = identity(&json!([
        { "Effect": "Allow", "NotAction": action, "Resource": "*" },
        { "Effect": "Allow", "Action": action, "Resource": "*",
          "Condition": { operator: { key: value } } },
    ]));
    let refusal = rig.limited(&policies, request, operation, input).await.err().unwrap_or_default();
    assert!(!refusal.starts_with("Validation"), "{operation}: {refusal}");
    !refusal.starts_with("AccessDenied")
}

async fn decide(rig: &Rig, action: &str, operation: &str, input: Value, condition: Condition) {
    let (operator, key, right, wrong) = condition;
    let request = rig.request(user());
    for (value, holds) in [(right, true), (wrong, false)] {
        let asked = (action, operation, &input);
        let allowed = allows(rig, &request, asked, (operator, key, &value)).await;
        assert_eq!(allowed, holds, "{action} {operator} {key} {value}: {input}");
    }
}

async fn check(rig: &Rig, operation: &str, input: &Value, conditions: Vec<Condition>) {
    for condition in conditions {
        decide(rig, operation, operation, input.clone(), condition).await;
    }
}

fn is(key: &'static str, right: &str, wrong: &str) -> Condition {
    ("StringEquals", key, json!(right), json!(wrong))
}

fn flag(key: &'static str, value: bool) -> Condition {
    ("Bool", key, json!(value), json!(!value))
}

fn number(key: &'static str, value: i64) -> Condition {
    ("NumericEquals", key, json!(value), json!(value + 1))
}

fn absent(key: &'static str) -> Condition {
    ("Null", key, json!(true), json!(false))
}

fn any(key: &'static str, right: &str, wrong: &str) -> Condition {
    ("ForAnyValue:StringEquals", key, json!([right]), json!([wrong]))
}
