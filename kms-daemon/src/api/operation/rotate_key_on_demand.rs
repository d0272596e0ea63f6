//! `RotateKeyOnDemand`: gives a key new material at once, a limited number of times.

use serde_json::json;

use crate::api::call::regions::refuse_replica;
use crate::api::call::{KeyUse, contended};
use crate::api::model::rotate_key_on_demand::{Input, Output};
use crate::api::{Answer, Call};
use kms_base::error::{Exception, KmsError};
use kms_keys::catalog::Update;
use kms_keys::rotation::{MAX_ON_DEMAND, RotationType};
use kms_model::action::{self, Action};

/// Minutes before a scheduled rotation in which there is none by hand.
const CONFLICT: u32 = 20;

pub(super) async fn run(call: &mut Call<'_>, input: Input) -> Result<Answer, KmsError> {
    let key_id = input.key_id;
    call.facts.parameter("keyId", key_id.as_str());
    for _ in Call::tries() {
        let key = call.authorize(KeyUse::manage(action::RotateKeyOnDemand, &key_id)).await?;
        refuse_replica(&key, Action::RotateKeyOnDemand)?;
        if key.on_demand_rotations() >= MAX_ON_DEMAND {
            let arn = key.arn();
            let text = format!(
                "The on-demand rotations limit has been reached for the given keyId. No more \
                 on-demand rotations can be performed for this key: {arn}"
            );
            return Err(KmsError::new(Exception::LimitExceeded, text));
        }
        let now = call.service.now();
        if key.rotation.is_some_and(|schedule| schedule.next <= now.plus_minutes(CONFLICT)) {
            let text = format!("{} is about to rotate by its schedule.", key.arn());
            return Err(KmsError::new(Exception::Conflict, text));
        }
        let pending = key.pending.as_ref().filter(|pending| !pending.has_expired(now));
        let pending = pending.filter(|_| key.is_external());
        if pending.is_some() && !call.is_imported_everywhere(&key).await? {
            let text = "Cannot perform key material rotation: Key material has not been imported \
                        for replicas of the Multi-Region key.";
            return Err(KmsError::new(Exception::KmsInvalidState, text));
        }
        let material = match (pending, key.is_external()) {
            (Some(pending), _) => pending.clone(),
            (None, true) => {
                let arn = key.arn();
                let text =
                    format!("No available key material pending rotation for the key: {arn}.");
                return Err(KmsError::new(Exception::KmsInvalidState, text));
            }
            (None, false) => call.devices().rotate(&key).await?,
        };
        let (from, to) = (key.current_material().map(|now| now.id), material.id);
        let rotated = key.rotated(material, now, RotationType::OnDemand);
        if call.replace_shared(&key, &rotated).await? == Update::Applied {
            call.facts.element("keyId", key.arn());
            let details = [
                ("rotationType", json!("ON_DEMAND")),
                ("keyOrigin", json!(key.origin_name())),
                ("previousKeyMaterialId", json!(from.map(|id| id.to_string()))),
                ("currentKeyMaterialId", json!(to.to_string())),
            ];
            let details = details.map(|(name, value)| (name.to_owned(), value));
            call.event("RotateKey", &key, details.into_iter().collect());
            return Answer::of(&Output { key_id: Some(key.arn().into()) });
        }
    }
    Err(contended())
}
