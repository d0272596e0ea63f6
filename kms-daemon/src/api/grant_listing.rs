//! What the operations on grants have in common: ids and list entries.

use std::borrow::Cow;

use serde_json::{Map, Value, json};

use super::model::list_grants::Output;
use super::model::outputs::{GrantConstraints, GrantListEntry};
use super::{Answer, Call};
use kms_base::error::{Exception, KmsError};
use kms_base::identifier::Scope;
use kms_keys::GrantId;
use kms_keys::catalog::FoundGrant;
use kms_keys::grant::{Constraints, Party};

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
pub(super) async fn page(
    call: &Call<'_>,
    grants: Vec<&FoundGrant>,
    marker: Option<String>,
) -> Result<Answer, KmsError> {
    let mut entries = Vec::new();
    for grant in grants {
        entries.push(entry(call, grant).await?);
    }
    Answer::of(&Output {
        grants: Some(entries),
        truncated: Some(marker.is_some()),
        next_marker: marker.map(Into::into),
    })
}

async fn entry<'g>(
    call: &Call<'_>,
    FoundGrant { scope, key, id, record }: &'g FoundGrant,
) -> Result<GrantListEntry<'g>, KmsError> {
    let operations = record.terms.operations.iter();
    let operations = operations.map(|action| action.short_name().into());
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
    let grantee = Some(&record.grantee);
    (entry.grantee_principal, entry.grantee_service_principal) = shown(call, grantee).await?;
    let retiring = record.retiring.as_ref();
    (entry.retiring_principal, entry.retiring_service_principal) = shown(call, retiring).await?;
    Ok(entry)
}

type Name<'g> = Option<Cow<'g, str>>;

/// A principal, or a service, as lists have them.
async fn shown<'g>(
    call: &Call<'_>,
    party: Option<&'g Party>,
) -> Result<(Name<'g>, Name<'g>), KmsError> {
    Ok(match party {
        Some(party @ Party::Principal { .. }) => {
            (Some(call.service.shown(party).await?.into()), None)
        }
        Some(Party::Service(name)) => (None, Some(name.into())),
        None => (None, None),
    })
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
