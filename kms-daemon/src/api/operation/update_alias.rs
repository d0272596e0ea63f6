//! `UpdateAlias`: points an alias to another key of the same kind and usage.

use super::create_alias::{check_count, refuse_alias_target, writable_name};
use crate::api::Answer;
use crate::api::call::{Call, KeyUse, contended};
use crate::api::checks::invalid;
use crate::api::model::update_alias::Input;
use kms_base::error::{Exception, KmsError};
use kms_base::identifier::KeyRef;
use kms_keys::AliasRecord;
use kms_keys::catalog::Update;
use kms_model::action;

pub(super) async fn run(call: &mut Call<'_>, input: Input) -> Result<Answer, KmsError> {
    let name = input.alias_name;
    let target = input.target_key_id;
    let name = writable_name(&name, Exception::Validation)?;
    refuse_alias_target(call, &target)?;
    call.facts.parameter("aliasName", name.as_str());
    call.facts.parameter("targetKeyId", target.as_str());

    let arn = call.home().alias_arn(&name);
    let home = call.authorize_alias(action::UpdateAlias, &arn)?;
    call.facts.alias(&call.principal().account, &arn);
    let named = KeyRef::Alias((*home).clone(), name.clone());
    for _ in Call::tries() {
        let catalog = call.service.catalog();
        let old = catalog.aliases().get(&home, &name).await?.ok_or_else(|| named.not_found())?;
        let old_id = old.target.to_string();
        let from = call.authorize(KeyUse::manage(action::UpdateAlias, &old_id)).await?;
        let to = call.authorize(KeyUse::manage(action::UpdateAliasTarget, &target)).await?;
        // The usage decides between symmetric, asymmetric and HMAC keys.
        if from.usage != to.usage {
            let text = "An alias can only be pointed to a key of the same type and key usage.";
            return Err(invalid(text));
        }
        let index = catalog.aliases().of_key(&to.scope, to.id).await?;
        if !index.names.contains(&name) {
            check_count(index.names.len())?;
        }
        let new = AliasRecord { target: to.id, created: old.created, updated: call.service.now() };
        if catalog.aliases().retarget(&name, &old, &new, &to, index).await? == Update::Applied {
            call.facts.element("keyId", to.arn());
            return Ok(Answer::empty());
        }
    }
    Err(contended())
}
