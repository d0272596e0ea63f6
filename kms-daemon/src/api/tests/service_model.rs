//! Every request of the service model, generated from the model: what is read, what is refused, and
//! with which text. What the service states about itself must be in the model.

use std::sync::LazyLock;

use serde_json::{Map, Value, json};

use crate::api::model::{check, errors};
use kms_base::error::{Exception, KmsError};
use kms_keys::rotation::RotationType;
use kms_model::action::{Action, GRANTABLE};
use kms_model::state::KeyState;
use kms_model::{Operation, enums};

static MODEL: LazyLock<Value> = LazyLock::new(|| {
    serde_json::from_str(include_str!("../../../model/kms-2014-11-01.json")).unwrap()
});

/// The differences between the service and the model.
static OVERLAY: LazyLock<toml::Table> =
    LazyLock::new(|| include_str!("../../../model/overlay.toml").parse().unwrap());

/// Whether the overlay exempts a shape from checks.
fn is_unchecked(shape: &str) -> bool {
    OVERLAY["unchecked"].get(shape).is_some()
}

/// Returns the overlay's entry for a member.
fn overlaid(operation: Operation, member: &str, what: &str) -> Option<&'static toml::Value> {
    let is_it = |entry: &&toml::Value| {
        entry["operation"].as_str() == Some(operation.name())
            && entry["name"].as_str() == Some(member)
    };
    OVERLAY["member"].as_array().unwrap().iter().find(is_it)?.get(what)
}

/// Whether an operation may return an exception: those that the model lists for it, and those that
/// AWS KMS returns although the model does not list them for this operation, or for any.
pub(super) fn may_answer(operation: Operation, exception: Exception) -> bool {
    let name = operation.name();
    crate::api::operation::models(operation, exception)
        || match exception {
            // Checked before every operation.
            Exception::AccessDenied
            | Exception::Serialization
            | Exception::Throttling
            | Exception::Validation => true,
            // Returned for names under `alias/aws/`.
            Exception::NotAuthorized => {
                ["CreateAlias", "UpdateAlias", "DeleteAlias"].contains(&name)
            }
            // Our own, for operations and values that the API has and this service lacks.
            Exception::UnsupportedOperation => true,
            // As in the other listings that take a marker.
            Exception::InvalidMarker => name == "ListKeyPolicies",
            // For an id that a developer has chosen.
            Exception::AlreadyExists => name == "CreateKey",
            _ => false,
        }
}

/// Returns the structure with that name.
fn structure(shape: &str) -> &'static Map<String, Value> {
    MODEL["shapes"][shape]["members"].as_object().unwrap()
}

fn input_of(operation: Operation) -> &'static str {
    MODEL["operations"][operation.name()]["input"]["shape"].as_str().unwrap()
}

/// Returns the name of a member's shape, and the shape.
fn shape_of(member: &Value) -> (&'static str, &'static Value) {
    let (name, shape) = MODEL["shapes"]
        .as_object()
        .unwrap()
        .get_key_value(member["shape"].as_str().unwrap())
        .unwrap();
    (name, shape)
}

/// Returns a value that satisfies all constraints.
fn good(member: &Value) -> Value {
    let (name, shape) = shape_of(member);
    let length = shape["min"].as_u64().unwrap_or(1).max(1);
    match shape["type"].as_str().unwrap() {
        "structure" => {
            let members = structure(name).iter();
            members.map(|(name, member)| (name.clone(), good(member))).collect()
        }
        "list" => json!([good(&shape["member"])]),
        "map" => json!({ "a": "b" }),
        "blob" => json!("eA=="),
        // The value must also be within the narrower limits of the overlay.
        "integer" => json!(length.max(7)),
        "boolean" => json!(true),
        "timestamp" => json!(1.5),
        _ if shape["enum"].is_array() => shape["enum"][0].clone(),
        _ => match name {
            "AccountIdType" => json!("123456789012"),
            "BackingKeyIdType" => json!("a".repeat(64)),
            "GrantConstraintSourceArnType" => json!("arn:aws:s3::123456789012:bucket"),
            "RegionType" => json!("us-east-1"),
            "ServicePrincipalType" => json!("logs.amazonaws.com"),
            "XksProxyAuthenticationAccessKeyIdType" => json!("A".repeat(20)),
            "XksProxyUriEndpointType" => json!("https://xks.example"),
            "XksProxyUriPathType" => json!("/kms/xks/v1"),
            "XksProxyVpcEndpointServiceNameType" => {
                json!("com.amazonaws.vpce.us-east-1.vpce-svc-0")
            }
            _ => json!("x".repeat(usize::try_from(length).unwrap())),
        },
    }
}

/// Returns a request with every member.
fn full(operation: Operation) -> Map<String, Value> {
    let members = structure(input_of(operation)).iter();
    members.map(|(name, member)| (name.clone(), good(member))).collect()
}

fn outcome(operation: Operation, request: &Map<String, Value>) -> Result<(), KmsError> {
    check(operation, serde_json::to_string(request).unwrap().as_bytes())
}

/// Calls `test` with each member of each request.
fn each_member(test: impl Fn(Operation, &str, &Value)) {
    for operation in Operation::ALL {
        for (name, member) in structure(input_of(*operation)) {
            test(*operation, name, member);
        }
    }
}

fn text(refusal: &KmsError) -> &str {
    assert_eq!(refusal.exception(), Exception::Validation);
    refusal.message().unwrap()
}

/// Returns `KeyId` as `keyId`.
fn path(name: &str) -> String {
    name[..1].to_ascii_lowercase() + &name[1..]
}

#[test]
fn every_operation_of_the_model_is_known_and_reads_its_request() {
    let names: Vec<_> = Operation::ALL.iter().map(|operation| operation.name()).collect();
    let modelled: Vec<_> = MODEL["operations"].as_object().unwrap().keys().collect();
    assert_eq!(names, modelled);
    for operation in Operation::ALL {
        let mut request = full(*operation);
        assert_eq!(outcome(*operation, &request), Ok(()), "{operation:?}");
        request.insert("FromTheFuture".into(), json!({ "a": [1, { "b": null }] }));
        assert_eq!(outcome(*operation, &request), Ok(()), "{operation:?}");
    }
}

#[test]
fn null_is_absent_for_every_member() {
    each_member(|operation, name, _| {
        let mut request = full(operation);
        request.remove(name);
        let absent = outcome(operation, &request);
        request.insert(name.to_owned(), Value::Null);
        assert_eq!(outcome(operation, &request), absent, "{operation:?} {name}");
    });
}

#[test]
fn wrong_json_types_are_refused_for_every_member() {
    each_member(|operation, name, member| {
        let (_, shape) = shape_of(member);
        let wrong = match shape["type"].as_str().unwrap() {
            "integer" => vec![json!("7"), json!(7.5), json!([]), json!(u64::MAX)],
            "boolean" => vec![json!("true"), json!(1)],
            "timestamp" => vec![json!("2026-01-01T00:00:00Z")],
            "list" => vec![json!("x"), json!({}), json!([1]), json!([null])],
            "map" => vec![json!([]), json!({ "a": 1 }), json!({ "a": null })],
            "structure" => vec![json!([]), json!("x"), json!(1)],
            "blob" => vec![json!(1), json!("?"), json!(["eA=="])],
            _ => vec![json!(1), json!(true), json!(["x"]), json!({})],
        };
        for value in wrong {
            let mut request = full(operation);
            request.insert(name.to_owned(), value.clone());
            let refusal = outcome(operation, &request).unwrap_err();
            let place = format!("{operation:?} {name} {value}");
            assert_eq!(refusal.exception(), Exception::Serialization, "{place}");
        }
    });
}

#[test]
fn all_members_that_are_missing_are_named() {
    for operation in Operation::ALL {
        let shape = &MODEL["shapes"][input_of(*operation)];
        let mut required: Vec<_> = shape["required"].as_array().into_iter().flatten().collect();
        let also: Vec<_> = structure(input_of(*operation))
            .keys()
            .filter(|name| overlaid(*operation, name, "required").is_some())
            .map(|name| json!(name))
            .collect();
        required.extend(&also);
        let outcome = outcome(*operation, &Map::new());
        let Err(refusal) = outcome else {
            assert!(required.is_empty(), "{operation:?}");
            continue;
        };
        let plural = if required.len() == 1 { "" } else { "s" };
        let start = format!("{} validation error{plural} detected: Value null", required.len());
        assert!(text(&refusal).starts_with(&start), "{refusal}");
        for name in required {
            let failure = format!(
                "Value null at '{}' failed to satisfy constraint: Member must not be null",
                path(name.as_str().unwrap())
            );
            assert!(text(&refusal).contains(&failure), "{refusal}");
        }
    }
}

#[test]
fn every_constraint_is_checked() {
    each_member(|operation, name, member| {
        let (shape_name, shape) = shape_of(member);
        if is_unchecked(shape_name) {
            return;
        }
        let limit = |what| {
            let narrower = overlaid(operation, name, what).and_then(toml::Value::as_integer);
            narrower.and_then(|limit| u64::try_from(limit).ok()).or(shape[what].as_u64())
        };
        let (min, max) = (limit("min"), limit("max"));
        let text_of = |length: u64| "x".repeat(usize::try_from(length).unwrap());
        let mut cases = Vec::new();
        match (shape["type"].as_str().unwrap(), max) {
            ("integer", Some(max)) => {
                cases.push((json!(max + 1), "value less than or equal to"));
                cases.push((json!(min.unwrap() - 1), "value greater than or equal to"));
            }
            ("blob", Some(max)) => {
                let long = super::rig::b64(vec![0; usize::try_from(max).unwrap() + 1]);
                cases.push((json!(long), "length less than or equal to"));
                cases.push((json!(""), "length greater than or equal to 1"));
            }
            ("string", Some(max)) => {
                cases.push((json!(text_of(max + 1)), "length less than or equal to"));
                if min > Some(0) {
                    cases.push((json!(""), "length greater than or equal to"));
                }
            }
            ("list", Some(max)) => {
                let long = vec![good(&shape["member"]); usize::try_from(max).unwrap() + 1];
                cases.push((json!(long), "length less than or equal to"));
            }
            _ => {}
        }
        if shape["enum"].is_array() {
            cases.push((json!("none of these"), "enum value set: ["));
        }
        if shape["pattern"].is_string() {
            let odd = json!("\u{100}".repeat(usize::try_from(min.unwrap_or(1).max(1)).unwrap()));
            cases.push((odd, "regular expression pattern: "));
        }
        let (element_name, element) = match shape["member"].is_object() {
            true => shape_of(&shape["member"]),
            false => ("", &Value::Null),
        };
        if element["enum"].is_array() && !is_unchecked(element_name) {
            cases.push((json!(["none of these"]), "constraint: [Member must satisfy enum value"));
        }
        for (value, rule) in cases {
            let mut request = full(operation);
            request.insert(name.to_owned(), value.clone());
            let refusal = outcome(operation, &request).unwrap_err();
            let text = text(&refusal);
            assert!(text.contains(&format!(" at '{}' failed", path(name))), "{text}");
            assert!(text.contains(rule), "{operation:?} {name}: {text}");
        }
    });
}

#[test]
fn nested_members_have_paths_and_secrets_are_not_repeated() {
    let refusal = |operation, name: &str, value: Value| {
        let mut request = full(operation);
        request.insert(name.to_owned(), value);
        text(&outcome(operation, &request).unwrap_err()).to_owned()
    };
    assert_eq!(
        refusal(
            Operation::TagResource,
            "Tags",
            json!([{ "TagKey": "a", "TagValue": "b" }, { "TagKey": null }])
        ),
        "2 validation errors detected: Value null at 'tags.2.member.tagKey' failed to satisfy \
         constraint: Member must not be null; Value null at 'tags.2.member.tagValue' failed to \
         satisfy constraint: Member must not be null"
    );
    assert_eq!(
        refusal(Operation::Decrypt, "Recipient", json!({ "KeyEncryptionAlgorithm": "X" })),
        "1 validation error detected: Value 'X' at 'recipient.keyEncryptionAlgorithm' failed to \
         satisfy constraint: Member must satisfy enum value set: [RSAES_OAEP_SHA_256]"
    );
    let constraints = refusal(Operation::CreateGrant, "Constraints", json!({ "SourceArn": "x" }));
    assert!(constraints.starts_with("2 validation errors"), "{constraints}");
    assert!(constraints.contains("'x' at 'constraints.sourceArn' failed"), "{constraints}");
    let credential = json!({ "AccessKeyId": "hunter2", "RawSecretAccessKey": "hunter2" });
    let name = "XksProxyAuthenticationCredential";
    let credential = refusal(Operation::CreateCustomKeyStore, name, credential);
    assert!(credential.contains("Value at 'xksProxyAuthenticationCredential.rawSecretAccessKey'"));
    let password = refusal(Operation::CreateCustomKeyStore, "KeyStorePassword", json!("hunter"));
    let tokens = refusal(Operation::Encrypt, "GrantTokens", json!(["hunter", ""]));
    assert!(tokens.contains("Value at 'grantTokens'"), "{tokens}");
    for text in [credential, password, tokens] {
        assert!(!text.contains("hunter"), "{text}");
    }
}

#[test]
fn exceptions_have_the_statuses_of_the_model() {
    let own = [Exception::Throttling, Exception::UnknownOperation, Exception::Validation];
    for exception in Exception::ALL {
        let found = errors::STATUSES.iter().find(|(code, _)| *code == exception.code());
        let lower =
            KmsError::new(*exception, "x").to_body().windows(9).any(|w| w == b"\"message\"");
        assert_eq!(found.is_some() || own.contains(exception), lower, "{exception:?}");
        assert!(found.is_none_or(|(_, status)| *status == exception.status()), "{exception:?}");
    }
}

/// A newer model may have values that the service does not know yet. This test lists them.
#[test]
fn the_service_knows_the_values_of_the_model() {
    let operations = GRANTABLE.map(Action::short_name);
    assert_eq!(enums::GrantOperation::NAMES, operations);
    let mut tracked: Vec<_> =
        Operation::ALL.iter().filter(|row| row.is_tracked()).map(|row| row.name()).collect();
    let mut modelled = enums::KeyLastUsageTrackingOperation::NAMES.to_vec();
    tracked.sort_unstable();
    modelled.sort_unstable();
    assert_eq!(tracked, modelled);
    for rotation in [RotationType::Automatic, RotationType::OnDemand] {
        assert!(enums::RotationType::NAMES.contains(&rotation.name()));
        assert_eq!(json!(rotation), json!(rotation.name()));
    }
    for state in
        [KeyState::Enabled, KeyState::Disabled, KeyState::PendingDeletion, KeyState::PendingImport]
    {
        assert!(enums::KeyState::NAMES.contains(&state.name()));
    }
}
