//! `ListAliases`: the aliases of the caller's account in the Region, or of one key.

use std::collections::BTreeMap;

use crate::api::marker::page_size;
use crate::api::model::list_aliases::{Input, Output};
use crate::api::model::outputs::AliasListEntry;
use crate::api::{Answer, Call, managed_key};
use crate::policy;
use kms_base::error::{Exception, KmsError};
use kms_base::identifier::{AliasName, Forms, KeyId, KeyRef, Scope};
use kms_keys::AliasRecord;
use kms_keys::catalog::Listing;
use kms_model::action::{self, Action};

/// An alias; without a record it is one of an AWS managed key that is not there yet.
type Listed = (AliasName, Option<AliasRecord>);

pub(super) async fn run(call: &mut Call<'_>, input: Input) -> Result<Answer, KmsError> {
    let limit = page_size(input.limit, 50);
    call.facts.optional_parameter("keyId", input.key_id.as_deref());
    call.facts.optional_parameter("limit", input.limit);
    call.facts.optional_parameter("marker", input.marker.as_deref());
    let home = call.authorize_account(action::ListAliases)?;

    let key = match &input.key_id {
        None => None,
        Some(key_id) => Some(find(call, key_id).await?),
    };
    let filter = key.map_or_else(String::new, |id| id.to_string());
    let position = call.read_marker(&filter, input.marker.as_deref())?;
    let after = position.as_deref().map(read_position).transpose()?;
    let listing = match key {
        None => all_aliases(call, &home, after.as_ref(), limit).await?,
        Some(id) => aliases_of(call, &home, id, after.as_ref(), limit).await?,
    };
    let last = listing.items.last().map(|(name, _)| name.as_str());
    let marker = call.next_marker(&filter, listing.more, last);
    let aliases = listing.items.iter().map(|alias| entry(&home, alias)).collect();
    Answer::of(&Output {
        aliases: Some(aliases),
        truncated: Some(marker.is_some()),
        next_marker: marker.map(Into::into),
    })
}

/// The key that the listing is limited to. Listing needs no permission on the key.
async fn find(call: &mut Call<'_>, key_id: &str) -> Result<KeyId, KmsError> {
    let named = call.key_ref(key_id, Forms::Key)?;
    let KeyRef::Key(scope, id) = &named else { return Err(named.not_found()) };
    if scope != call.home() {
        return Err(policy::deny_foreign(call.principal(), Action::ListAliases.name()));
    }
    let key = call.service.catalog().key(scope, *id).await?.ok_or_else(|| named.not_found())?;
    call.facts.key(&key.scope.account, &key.arn());
    Ok(*id)
}

/// Aliases of the account, those of AWS managed keys that are not there yet among them.
async fn all_aliases(
    call: &Call<'_>,
    home: &Scope,
    after: Option<&AliasName>,
    limit: usize,
) -> Result<Listing<Listed>, KmsError> {
    let stored = call.service.catalog().aliases().list(home, after, limit).await?;
    let mut listed: BTreeMap<AliasName, Option<AliasRecord>> =
        stored.items.into_iter().map(|(name, record)| (name, Some(record))).collect();
    // Only as far as the page of the store goes: what comes after it is not known yet.
    let end = listed.keys().next_back().filter(|_| stored.more).cloned();
    for name in managed_key::aliases() {
        let follows = after.is_none_or(|after| name > *after);
        if follows && end.as_ref().is_none_or(|end| name <= *end) {
            listed.entry(name).or_default();
        }
    }
    let more = stored.more || listed.len() > limit;
    Ok(Listing { items: listed.into_iter().take(limit).collect(), more })
}

async fn aliases_of(
    call: &Call<'_>,
    home: &Scope,
    id: KeyId,
    after: Option<&AliasName>,
    limit: usize,
) -> Result<Listing<Listed>, KmsError> {
    let catalog = call.service.catalog();
    let mut listing = Listing { items: Vec::new(), more: false };
    for name in catalog.aliases().of_key(home, id).await?.names {
        if after.is_some_and(|after| name <= *after) {
            continue;
        }
        if listing.items.len() == limit {
            listing.more = true;
            break;
        }
        // An alias that has just been moved or deleted is left out.
        if let Some(record) = catalog.aliases().get(home, &name).await?
            && record.target == id
        {
            listing.items.push((name, Some(record.value.clone())));
        }
    }
    Ok(listing)
}

fn entry<'a>(home: &Scope, (name, record): &'a Listed) -> AliasListEntry<'a> {
    let record = record.as_ref();
    AliasListEntry {
        alias_name: Some(name.as_str().into()),
        alias_arn: Some(home.alias_arn(name).into()),
        target_key_id: record.map(|record| record.target.to_string().into()),
        creation_date: record.map(|record| record.created),
        last_updated_date: record.map(|record| record.updated),
    }
}

fn read_position(position: &str) -> Result<AliasName, KmsError> {
    AliasName::parse(position).ok_or_else(|| KmsError::bare(Exception::InvalidMarker))
}
