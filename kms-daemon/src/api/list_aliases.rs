//! `ListAliases`: the aliases of the caller's account in the Region, or of one key.

use serde::Deserialize;
use serde_json::{Value, json};

use super::checks::Checks;
use super::{Answer, Call};
use crate::error::{Exception, KmsError};
use crate::key::catalog::Listing;
use crate::key::{AliasName, AliasRecord, Forms, KeyId, KeyRef, Scope};
use crate::policy::{self, AccountAction};

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Input {
    key_id: Option<String>,
    limit: Option<i64>,
    marker: Option<String>,
}

pub(super) async fn run(call: &mut Call<'_>, input: Input) -> Result<Answer, KmsError> {
    let mut checks = Checks::new();
    checks.optional_key_id("keyId", input.key_id.as_deref());
    let limit = checks.limit(input.limit, 50, 100);
    checks.marker(input.marker.as_deref());
    checks.finish()?;
    call.optional_parameter("keyId", input.key_id.as_deref());
    call.optional_parameter("limit", input.limit);
    call.optional_parameter("marker", input.marker.as_deref());
    let home = call.authorize_account(AccountAction::ListAliases)?;

    let key = match &input.key_id {
        None => None,
        Some(key_id) => Some(find(call, key_id).await?),
    };
    let filter = key.map_or_else(String::new, |id| id.to_string());
    let position = call.read_marker(&filter, input.marker.as_deref())?;
    let after = position.as_deref().map(read_position).transpose()?;
    let listing = match key {
        None => call.catalog().list_aliases(&home, after.as_ref(), limit).await?,
        Some(id) => aliases_of(call, &home, id, after.as_ref(), limit).await?,
    };
    let last = listing.items.last().map(|(name, _)| name.as_str());
    let marker = call.next_marker(&filter, listing.more, last);
    let aliases: Vec<Value> = listing.items.iter().map(|alias| entry(&home, alias)).collect();
    let mut answer = json!({ "Aliases": aliases, "Truncated": marker.is_some() });
    if let Some(marker) = marker {
        answer["NextMarker"] = marker.into();
    }
    Answer::json(&answer)
}

/// The key that the listing is limited to. Listing needs no permission on the key.
async fn find(call: &mut Call<'_>, key_id: &str) -> Result<KeyId, KmsError> {
    let named = call.key_ref(key_id, Forms::Key)?;
    let KeyRef::Key(scope, id) = &named else { return Err(named.not_found()) };
    if scope != call.home() {
        return Err(policy::deny_foreign(call.principal(), AccountAction::ListAliases.name()));
    }
    let key = call.catalog().key(scope, *id).await?.ok_or_else(|| named.not_found())?;
    call.key_resource(&key);
    Ok(*id)
}

async fn aliases_of(
    call: &Call<'_>,
    home: &Scope,
    id: KeyId,
    after: Option<&AliasName>,
    limit: usize,
) -> Result<Listing<(AliasName, AliasRecord)>, KmsError> {
    let catalog = call.catalog();
    let mut listing = Listing { items: Vec::new(), more: false };
    for name in catalog.aliases_of(home, id).await?.names {
        if after.is_some_and(|after| name <= *after) {
            continue;
        }
        if listing.items.len() == limit {
            listing.more = true;
            break;
        }
        // An alias that has just been moved or deleted is left out.
        if let Some(record) = catalog.alias(home, &name).await?
            && record.target == id
        {
            listing.items.push((name, record.value.clone()));
        }
    }
    Ok(listing)
}

fn entry(home: &Scope, (name, record): &(AliasName, AliasRecord)) -> Value {
    json!({
        "AliasName": name,
        "AliasArn": home.alias_arn(name),
        "TargetKeyId": record.target,
        "CreationDate": record.created.epoch_seconds(),
        "LastUpdatedDate": record.updated.epoch_seconds(),
    })
}

fn read_position(position: &str) -> Result<AliasName, KmsError> {
    AliasName::parse(position).ok_or_else(|| KmsError::bare(Exception::InvalidMarker))
}
