//! `UpdatePrimaryRegion`: makes a replica of a multi-Region key the primary, and the primary a
//! replica.

use crate::api::call::regions::refuse_moving;
use crate::api::call::{KeyUse, contended};
use crate::api::checks::invalid;
use crate::api::model::update_primary_region::Input;
use crate::api::{Answer, Call};
use crate::link::Place;
use crate::policy::{Authorized, RequestAttributes};
use crate::quota::Pool;
use kms_base::error::{Exception, KmsError};
use kms_base::identifier::Scope;
use kms_keys::catalog::{Update, What, elsewhere};
use kms_keys::{KeyRecord, Stored};
use kms_model::Operation;
use kms_model::action::{self, KeyAction as _};

pub(super) async fn run(call: &mut Call<'_>, input: Input) -> Result<Answer, KmsError> {
    let Input { key_id, primary_region: region } = input;
    call.facts.parameter("keyId", key_id.as_str());
    call.facts.parameter("primaryRegion", region.as_str());
    let there = Scope::new(&*call.home().account, &*region);
    call.count_elsewhere(&there, Pool::Operation(Operation::UpdatePrimaryRegion), 1)?;
    for _ in Call::tries() {
        let attributes = RequestAttributes::PrimaryRegion(&region);
        let key_use = KeyUse::manage(action::UpdatePrimaryRegion, &key_id).telling(attributes);
        let key = call.authorize(key_use).await?;
        if key.is_replica() {
            let text = format!("{} is not a multi-Region primary key.", key.arn());
            return Err(KmsError::new(Exception::KmsInvalidState, text));
        }
        refuse_moving(&key)?;
        // It is there already.
        if region == key.scope.region {
            return Ok(Answer::empty());
        }
        let related = call.service.catalog().related(&key).await?;
        let update = match related.iter().position(|other| other.scope == there) {
            Some(place) => here(call, key_use, &key, related, place).await?,
            None if key.related().contains(&there) => {
                check_elsewhere(call, &key, &there).await?;
                let moving = key.moving_to(&region);
                let catalog = call.service.catalog();
                catalog.replace_and_tell(&key.stored(), &moving, &region, What::Moves).await?
            }
            None => {
                let id = key.id;
                let text = format!("{id} does not have a replica key in the specified Region.");
                return Err(invalid(text));
            }
        };
        if update == Update::Applied {
            call.wake_outbox();
            return Ok(Answer::empty());
        }
    }
    Err(contended())
}

/// Moves the primary to the related key at `place`, in this store.
async fn here(
    call: &mut Call<'_>,
    key_use: KeyUse<'_, action::UpdatePrimaryRegion>,
    key: &Authorized<action::UpdatePrimaryRegion>,
    mut related: Vec<Stored<KeyRecord>>,
    place: usize,
) -> Result<Update, KmsError> {
    let away = elsewhere(key, &related);
    let successor = related.remove(place);
    call.authorize_stored(key_use, successor.clone()).await?;
    let region = successor.scope.region.clone();
    let all = std::iter::once(successor).chain(related).chain([key.stored()]);
    let changes: Vec<_> = all
        .map(|old| {
            let new = old.with_primary(&region);
            (old, new)
        })
        .collect();
    Ok(call.service.catalog().change_related(&changes, None, &away).await?)
}

/// Whether the replica of another daemon can become the primary now.
async fn check_elsewhere(call: &Call<'_>, key: &KeyRecord, there: &Scope) -> Result<(), KmsError> {
    let place = Place { scope: there.clone(), key: key.id };
    let known = call.service.regions().peers().describe(place).await?;
    action::UpdatePrimaryRegion::RULE.states.check(known.state, || there.key_arn(key.id))
}
