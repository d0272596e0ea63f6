//! `ListRetirableGrants`: the grants in the Region that a principal may retire.

use super::create_grant::one_party;
use crate::api::callers::read_principal;
use crate::api::checks::invalid;
use crate::api::grant_listing::page;
use crate::api::marker::page_size;
use crate::api::model::list_retirable_grants::Input;
use crate::api::{Answer, Call};
use kms_base::error::{Exception, KmsError};
use kms_base::identifier::Scope;
use kms_keys::grant::Party;
use kms_model::action;

pub(super) async fn run(call: &mut Call<'_>, input: Input) -> Result<Answer, KmsError> {
    let limit = page_size(input.limit, 50);
    call.facts.optional_parameter("retiringPrincipal", input.retiring_principal.as_deref());
    let service = input.retiring_service_principal.as_deref();
    call.facts.optional_parameter("retiringServicePrincipal", service);
    call.facts.optional_parameter("limit", input.limit);
    call.facts.optional_parameter("marker", input.marker.as_deref());
    let partition = call.home().partition();
    let retiring = one_party(input.retiring_principal, input.retiring_service_principal, |text| {
        read(text, partition)
    })?
    .ok_or_else(|| invalid("RetiringPrincipal or RetiringServicePrincipal is required."))?;

    // The grants of a principal are its account's affair, whoever owns the keys. A service
    // belongs to no account: of its grants each account sees those on its own keys.
    let home = call.home().clone();
    let asked = Scope::new(retiring.account().unwrap_or(&home.account), &home.region);
    call.authorize_in(action::ListRetirableGrants, &asked)?;
    // An earlier principal of that name is not meant.
    let retiring = call.service.bind(retiring).await?;
    let owner = match retiring {
        Party::Principal { .. } => None,
        Party::Service(_) => Some(home.account.as_str()),
    };
    let lasting = retiring.lasting();
    let filter = &*lasting;
    let position = call.read_marker(filter, input.marker.as_deref())?;
    let listing = call
        .service
        .catalog()
        .grants()
        .list_retirable(&home.region, filter, owner, position.as_deref(), limit)
        .await?;
    let last = listing.items.last().map(|(position, _)| position.as_str());
    let marker = call.next_marker(filter, listing.more, last);
    let all = listing.items.iter().filter_map(|(_, grant)| grant.as_ref());
    let is = |party: &Party| party.is(&retiring);
    let meant = all.filter(|grant| grant.record.retiring.as_ref().is_some_and(is));
    page(call, meant.collect(), marker).await
}

fn read(text: &str, partition: &str) -> Result<Party, KmsError> {
    if text.starts_with("arn:") || Party::principal(text, partition).is_some() {
        return read_principal(None, text, partition);
    }
    let text = format!("Retiring principal {text} could not be found");
    Err(KmsError::new(Exception::NotFound, text))
}
