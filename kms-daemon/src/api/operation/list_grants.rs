//! `ListGrants`: the grants of a key.

use super::create_grant::one_party;
use crate::api::call::KeyUse;
use crate::api::callers::read_principal;
use crate::api::grant_listing::{not_found, page, read_id};
use crate::api::marker::page_size;
use crate::api::model::list_grants::Input;
use crate::api::{Answer, Call};
use kms_base::error::{Exception, KmsError};
use kms_keys::GrantId;
use kms_keys::grant::Party;
use kms_model::action;

pub(super) async fn run(call: &mut Call<'_>, input: Input) -> Result<Answer, KmsError> {
    let key_id = input.key_id;
    let limit = page_size(input.limit, 50);
    let wanted = input.grant_id.as_deref().map(read_id).transpose()?;
    call.facts.parameter("keyId", key_id.as_str());
    call.facts.optional_parameter("grantId", input.grant_id.as_deref());
    call.facts.optional_parameter("granteePrincipal", input.grantee_principal.as_deref());
    call.facts
        .optional_parameter("granteeServicePrincipal", input.grantee_service_principal.as_deref());
    call.facts.optional_parameter("limit", input.limit);
    call.facts.optional_parameter("marker", input.marker.as_deref());
    let partition = call.home().partition();
    let grantee = one_party(input.grantee_principal, input.grantee_service_principal, |text| {
        read_principal(None, text, partition)
    })?;
    let key = call.authorize(KeyUse::manage(action::ListGrants, &key_id)).await?;
    // An earlier principal of that name is not meant.
    let grantee = match grantee {
        Some(grantee) => Some(call.service.bind(grantee).await?),
        None => None,
    };

    let catalog = call.service.catalog();
    if let Some(id) = wanted {
        let found = catalog.grants().get(&key.scope, key.id, id).await?;
        let found = found.ok_or_else(|| not_found(&id.to_string()))?;
        let fits = grantee.as_ref().is_none_or(|grantee| grantee.is(&found.record.grantee));
        return page(call, fits.then_some(&found).into_iter().collect(), None).await;
    }
    let lasting = grantee.as_ref().map(Party::lasting);
    let filter = format!("{} {}", key.arn(), lasting.as_deref().unwrap_or_default());
    let position = call.read_marker(&filter, input.marker.as_deref())?;
    let after = position.as_deref().map(read_position).transpose()?;
    match &grantee {
        None => {
            let listing = catalog.grants().list(&key.scope, key.id, after, limit).await?;
            let last = listing.items.last().map(|grant| grant.id.to_string());
            let marker = call.next_marker(&filter, listing.more, last.as_deref());
            page(call, listing.items.iter().collect(), marker).await
        }
        Some(grantee) => {
            let (scope, name) = (&key.scope, grantee.lasting());
            let listing = catalog.grants().list_to(scope, key.id, &name, after, limit).await?;
            let last = listing.items.last().map(|(id, _)| id.to_string());
            let marker = call.next_marker(&filter, listing.more, last.as_deref());
            let all = listing.items.iter().filter_map(|(_, grant)| grant.as_ref());
            page(call, all.filter(|grant| grant.record.grantee.is(grantee)).collect(), marker).await
        }
    }
}

fn read_position(position: &str) -> Result<GrantId, KmsError> {
    GrantId::parse(position).ok_or_else(|| KmsError::bare(Exception::InvalidMarker))
}
