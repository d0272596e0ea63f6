//! What the operations on grants have in common: ids and list entries.

use serde_json::{Map, Value, json};

use super::Answer;
use super::model::list_grants::Output;
use super::model::outputs::{GrantConstraints, GrantListEntry};
use crate::error::{Exception, KmsError};
use crate::key::catalog::FoundGrant;
use crate::key::grant::{self, Constraints, Party};
use crate::key::{GrantId, Scope};

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

/// Constraints as audit records have them.
pub(super) fn audit_value(constraints: &Constraints) -> Option<Value> {
    let Constraints { equals, subset, source_arn } = constraints;
    let names = ["encryptionContextEquals", "encryptionContextSubset", "sourceArn"];
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
    Answer::of(&Output {
        grants: Some(grants.map(entry).collect()),
        truncated: Some(marker.is_some()),
        next_marker: marker.map(Into::into),
    })
}

fn entry(FoundGrant { scope, key, id, record }: &FoundGrant) -> GrantListEntry<'_> {
    let operations = record.terms.operations.iter();
    let operations = operations.map(|action| grant::operation_name(*action).into());
    let mut entry = GrantListEntry {
        key_id: Some(scope.key_arn(*key).into()),
        grant_id: Some(id.to_string().into()),
        name: Some(record.name.as_deref().unwrap_or_default().into()),
        creation_date: Some(record.created),
        issuing_account: Some(root_arn(scope, &record.issuer).into()),
        operations: Some(operations.collect()),
        constraints: constraints(&record.terms.constraints),
        ..GrantListEntry::default()
    };
    match &record.grantee {
        Party::Principal { arn, .. } => entry.grantee_principal = Some(arn.into()),
        Party::Service(name) => entry.grantee_service_principal = Some(name.into()),
    }
    match &record.retiring {
        Some(Party::Principal { arn, .. }) => entry.retiring_principal = Some(arn.into()),
        Some(Party::Service(name)) => entry.retiring_service_principal = Some(name.into()),
        None => {}
    }
    entry
}

fn constraints(constraints: &Constraints) -> Option<GrantConstraints<'_>> {
    let Constraints { equals, subset, source_arn } = constraints;
    let is_free = equals.is_none() && subset.is_none() && source_arn.is_none();
    (!is_free).then(|| GrantConstraints {
        encryption_context_equals: equals.as_ref(),
        encryption_context_subset: subset.as_ref(),
        source_arn: source_arn.as_deref().map(Into::into),
    })
}

fn root_arn(scope: &Scope, account: &str) -> String {
    format!("arn:{}:iam::{account}:root", scope.partition())
}
