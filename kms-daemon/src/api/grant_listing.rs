//! What the operations on grants have in common: ids and list entries.

use serde_json::{Map, Value, json};

use super::Answer;
use crate::error::{Exception, KmsError};
use crate::key::catalog::FoundGrant;
use crate::key::grant::{self, Constraints, Party};
use crate::key::{GrantId, Scope};

/// Lengths of a grant id in the service model, in characters.
pub(super) const GRANT_ID: std::ops::RangeInclusive<usize> = 1..=128;

/// Reads a grant id.
pub(super) fn read_id(text: &str) -> Result<GrantId, KmsError> {
    let refusal =
        || KmsError::new(Exception::InvalidGrantId, format!("The grant ID {text} is not valid."));
    GrantId::parse(text).ok_or_else(refusal)
}

/// The answer when there is no such grant.
pub(super) fn not_found(id: &str) -> KmsError {
    KmsError::new(Exception::NotFound, format!("Grant ID {id} not found"))
}

/// Constraints in JSON, with the names of equality, subset and source ARN.
pub(super) fn constraints_json(constraints: &Constraints, names: [&str; 3]) -> Option<Value> {
    let Constraints { equals, subset, source_arn } = constraints;
    let values = [json!(equals), json!(subset), json!(source_arn)];
    let members = names.into_iter().map(str::to_owned).zip(values);
    let members: Map<_, _> = members.filter(|(_, value)| !value.is_null()).collect();
    (!members.is_empty()).then_some(Value::Object(members))
}

/// A page of a listing.
pub(super) fn page<'g>(
    grants: impl Iterator<Item = &'g FoundGrant>,
    marker: Option<String>,
) -> Result<Answer, KmsError> {
    let grants: Vec<Value> = grants.map(entry).collect();
    let mut answer = json!({ "Grants": grants, "Truncated": marker.is_some() });
    if let Some(marker) = marker {
        answer["NextMarker"] = marker.into();
    }
    Answer::json(&answer)
}

fn entry(FoundGrant { scope, key, id, record }: &FoundGrant) -> Value {
    let operations = record.terms.operations.iter();
    let operations: Vec<_> = operations.map(|action| grant::operation_name(*action)).collect();
    let mut entry = json!({
        "KeyId": scope.key_arn(*key),
        "GrantId": id.to_string(),
        "Name": record.name.as_deref().unwrap_or_default(),
        "CreationDate": record.created.epoch_seconds(),
        "IssuingAccount": root_arn(scope, &record.issuer),
        "Operations": operations,
    });
    match &record.grantee {
        Party::Principal(arn) => entry["GranteePrincipal"] = json!(arn),
        Party::Service(name) => entry["GranteeServicePrincipal"] = json!(name),
    }
    match &record.retiring {
        Some(Party::Principal(arn)) => entry["RetiringPrincipal"] = json!(arn),
        Some(Party::Service(name)) => entry["RetiringServicePrincipal"] = json!(name),
        None => {}
    }
    let names = ["EncryptionContextEquals", "EncryptionContextSubset", "SourceArn"];
    if let Some(constraints) = constraints_json(&record.terms.constraints, names) {
        entry["Constraints"] = constraints;
    }
    entry
}

fn root_arn(scope: &Scope, account: &str) -> String {
    format!("arn:{}:iam::{account}:root", scope.partition())
}
