//! `ReplicateKey`: makes a replica of a multi-Region key in another Region. It is durable in both
//! before the answer.

use super::create_key::audit_form;
use super::put_key_policy::accept;
use serde_json::Map;

use crate::api::call::{KeyUse, contended};
use crate::api::checks::invalid;
use crate::api::metadata::key_metadata;
use crate::api::model::outputs::Tag;
use crate::api::model::replicate_key::{Input, Output};
use crate::api::{Answer, Call, tagging};
use crate::policy::{Attachment, Authorized, Lookups, NewKey, RequestAttributes, Subject};
use crate::quota::Pool;
use kms_base::error::{Exception, KmsError};
use kms_base::identifier::Scope;
use kms_keys::KeyRecord;
use kms_keys::catalog::{Update, elsewhere};
use kms_keys::document::KeyPolicy;
use kms_keys::multi_region::Tokens;
use kms_model::state::KeyState;
use kms_model::{Operation, action};

pub(super) async fn run(call: &mut Call<'_>, input: Input) -> Result<Answer, KmsError> {
    let (key_id, region) = (input.key_id, input.replica_region);
    let tags = tagging::read(input.tags.unwrap_or_default())?;
    let description = input.description.unwrap_or_default();
    let asked_bypass = input.bypass_policy_lockout_safety_check;
    let bypass = asked_bypass.unwrap_or(false);
    call.facts.parameter("keyId", key_id.as_str());
    call.facts.parameter("replicaRegion", region.as_str());
    call.facts.parameter("bypassPolicyLockoutSafetyCheck", bypass);
    call.facts.parameter("description", description.as_str());
    call.facts.optional_parameter("policy", input.policy.as_deref());
    if !tags.is_empty() {
        call.facts.parameter("tags", tagging::audit_value(&tags));
    }
    let there = Scope::new(&*call.home().account, &*region);
    // As AWS counts it: the replica is two keys' worth of work.
    call.count_elsewhere(&there, Pool::Operation(Operation::CreateKey), 2)?;
    let attributes =
        RequestAttributes::Replica { region: &region, tags: &tags, bypass: asked_bypass };
    let key_use = KeyUse::manage(action::ReplicateKey, &key_id).telling(attributes);
    for attempt in Call::tries() {
        let key = call.authorize(key_use).await?;
        let new_key = NewKey::replica_of(&key, &tags);
        call.authorize_new_key(&there, new_key, asked_bypass)?;
        if key.is_replica() {
            let text = format!("{} is not a multi-region primary key.", key.arn());
            return Err(KmsError::new(Exception::UnsupportedOperation, text));
        }
        check_destination(call, &key, &there)?;
        let policy = match &input.policy {
            Some(text) => {
                let bound = call.service.bound(text).await?;
                let place = Attachment {
                    scope: &there,
                    arn: &there.key_arn(key.id),
                    subject: Subject::New(new_key),
                    lookups: Lookups::NONE,
                };
                accept(text, &bound, bypass, call.requester(), place)?
            }
            None => KeyPolicy::default_for(&there),
        };
        call.service.regions().open_if_served(&region).await?;
        let changed = key.with_replica(&region);
        let wanted = KeyRecord {
            scope: there.clone(),
            state: KeyState::Enabled,
            description: description.clone(),
            created: call.service.now(),
            policy,
            tags: tags.clone(),
            deletion: None,
            materials: Vec::new(),
            pending: None,
            ..changed.clone()
        };
        let shared = changed.shared().ok_or_else(|| KmsError::internal("no Regions"))?;
        let here = call.service.regions().has(&region);
        let replica = if here {
            if attempt == 0 {
                call.count_key(&there).await?;
            }
            let tokens = call.transfer(&key, &region).await?;
            wanted.sharing(&shared, &tokens)
        } else {
            let made = call.replicate_elsewhere(&key, &wanted, shared.clone(), bypass);
            let state = made.await?;
            KeyRecord { state, ..wanted.sharing(&shared, &Tokens::new()) }
        };
        let new = Some(&replica).filter(|_| here);
        if insert(call, &key, &changed, &replica, new).await? == Update::Applied {
            return answer(call, &replica, here);
        }
        if call.service.catalog().key(&there, key.id).await?.is_some() {
            return Err(exists());
        }
    }
    Err(contended())
}

/// Whether the Region can have a replica of the key.
fn check_destination(call: &Call<'_>, key: &KeyRecord, there: &Scope) -> Result<(), KmsError> {
    let Scope { region, .. } = there;
    if *region == key.scope.region {
        let text = format!("{region} cannot have a replica because it contains the primary.");
        return Err(invalid(text));
    }
    if key.related().contains(there) {
        return Err(exists());
    }
    if there.partition() != key.scope.partition() {
        return Err(invalid(
            "The replica key Region must be in the same AWS partition as the primary key Region.",
        ));
    }
    if !call.service.regions().has(region) && !call.service.regions().peers().has(region) {
        return Err(invalid(format!(
            "Region {region} is not a valid Region or multi-Region keys are not supported in \
             Region {region}."
        )));
    }
    Ok(())
}

/// Tells the primary and the other replicas of the replica, and adds it if it is of this daemon.
async fn insert(
    call: &Call<'_>,
    key: &Authorized<action::ReplicateKey>,
    changed: &KeyRecord,
    replica: &KeyRecord,
    new: Option<&KeyRecord>,
) -> Result<Update, KmsError> {
    let mut changes = vec![(key.stored(), changed.clone())];
    let related = call.service.catalog().related(key).await?;
    let away = elsewhere(key, &related);
    for other in related {
        let next = KeyRecord { multi_region: replica.multi_region.clone(), ..other.value.clone() };
        changes.push((other, next));
    }
    let update = call.service.catalog().change_related(&changes, new, &away).await?;
    call.wake_outbox();
    Ok(update)
}

fn answer(call: &mut Call<'_>, replica: &KeyRecord, here: bool) -> Result<Answer, KmsError> {
    let metadata = key_metadata(replica);
    call.facts.key(&replica.scope.account, &replica.arn());
    if here {
        call.event("CreateKey", replica, Map::new());
    }
    call.facts.element("replicaKeyMetadata", audit_form(&metadata)?);
    call.facts.element("replicaPolicy", replica.policy.text());
    let tag = |(key, value): (&'_ String, &'_ String)| Tag {
        tag_key: key.clone().into(),
        tag_value: value.clone().into(),
    };
    let tagged = !replica.tags.is_empty();
    Answer::of(&Output {
        replica_key_metadata: Some(metadata),
        replica_policy: Some(replica.policy.text().into()),
        replica_tags: tagged.then(|| replica.tags.iter().map(tag).collect()),
    })
}

fn exists() -> KmsError {
    let text = "You can create only one replica of each primary key in each AWS Region.";
    KmsError::new(Exception::AlreadyExists, text)
}
