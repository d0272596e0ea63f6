//! `DeleteAlias`: takes a name away from its key.

use super::create_alias::writable_name;
use crate::api::Answer;
use crate::api::call::{Call, KeyUse, contended};
use crate::api::model::delete_alias::Input;
use kms_base::error::{Exception, KmsError};
use kms_base::identifier::KeyRef;
use kms_keys::catalog::Update;
use kms_model::action;

pub(super) async fn run(call: &mut Call<'_>, input: Input) -> Result<Answer, KmsError> {
    let name = input.alias_name;
    let name = writable_name(&name, Exception::Validation)?;
    call.facts.parameter("aliasName", name.as_str());

    let arn = call.home().alias_arn(&name);
    let home = call.authorize_alias(action::DeleteAlias, &arn)?;
    call.facts.alias(&call.principal().account, &arn);
    let named = KeyRef::Alias((*home).clone(), name.clone());
    for _ in Call::tries() {
        let catalog = call.service.catalog();
        let old = catalog.aliases().get(&home, &name).await?.ok_or_else(|| named.not_found())?;
        let target = old.target.to_string();
        call.authorize(KeyUse::manage(action::DeleteAlias, &target)).await?;
        if catalog.aliases().delete(&home, &name, &old).await? == Update::Applied {
            return Ok(Answer::empty());
        }
    }
    Err(contended())
}
