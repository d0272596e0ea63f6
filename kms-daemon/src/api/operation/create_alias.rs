//! `CreateAlias`: gives a key a name.

use crate::api::Answer;
use crate::api::call::{Call, KeyUse, contended};
use crate::api::checks::invalid;
use crate::api::model::create_alias::Input;
use kms_base::error::{Exception, KmsError};
use kms_base::identifier::alias::PREFIX;
use kms_base::identifier::{AliasName, Forms, KeyRef};
use kms_keys::AliasRecord;
use kms_keys::alias::MAX_PER_KEY;
use kms_keys::catalog::Update;
use kms_model::action;

/// The answer to a name that does not begin as names of aliases do.
const NO_PREFIX: &str = "Alias must start with the prefix \"alias/\". Please see \
                         https://docs.aws.amazon.com/kms/latest/developerguide/kms-alias.html";

pub(super) async fn run(call: &mut Call<'_>, input: Input) -> Result<Answer, KmsError> {
    let name = input.alias_name;
    let target = input.target_key_id;
    let name = writable_name(&name, Exception::InvalidAliasName)?;
    // The pattern of the model lets colons pass. Names of earlier versions may have them.
    if name.as_str().contains(':') {
        return Err(invalid(format!("{name} contains invalid characters for an alias")));
    }
    refuse_alias_target(call, &target)?;
    call.facts.parameter("aliasName", name.as_str());
    call.facts.parameter("targetKeyId", target.as_str());

    let arn = call.home().alias_arn(&name);
    let home = call.authorize_alias(action::CreateAlias, &arn)?;
    for _ in Call::tries() {
        let key = call.authorize(KeyUse::manage(action::CreateAlias, &target)).await;
        // The key comes first, where there is one.
        call.facts.alias(&call.principal().account, &arn);
        let key = key?;
        let catalog = call.service.catalog();
        if catalog.aliases().get(&home, &name).await?.is_some() {
            let text = format!("An alias with the name {arn} already exists");
            return Err(KmsError::new(Exception::AlreadyExists, text));
        }
        let index = catalog.aliases().of_key(&key.scope, key.id).await?;
        check_count(index.names.len())?;
        let now = call.service.now();
        let record = AliasRecord { target: key.id, created: now, updated: now };
        if catalog.aliases().create(&name, &record, &key, index).await? == Update::Applied {
            return Ok(Answer::empty());
        }
    }
    Err(contended())
}

/// Reads a name that a caller may create, change or delete. `malformed` is the answer to a name
/// that is only a prefix.
pub(super) fn writable_name(text: &str, malformed: Exception) -> Result<AliasName, KmsError> {
    if !text.starts_with(PREFIX) {
        return Err(invalid(NO_PREFIX));
    }
    let name = AliasName::parse(text)
        .ok_or_else(|| KmsError::new(malformed, "The alias name is empty."))?;
    if name.is_reserved() {
        let text = format!(
            "Aliases that begin with {} are reserved.",
            kms_base::identifier::alias::RESERVED_PREFIX
        );
        return Err(KmsError::new(Exception::NotAuthorized, text));
    }
    Ok(name)
}

/// Refuses a target that is itself an alias.
pub(super) fn refuse_alias_target(call: &Call<'_>, target: &str) -> Result<(), KmsError> {
    match call.key_ref(target, Forms::KeyOrAlias) {
        Ok(KeyRef::Alias(..)) => Err(invalid("Aliases must refer to keys. Not aliases")),
        _ => Ok(()),
    }
}

/// Checks that a key with `count` aliases can have one more.
pub(super) fn check_count(count: usize) -> Result<(), KmsError> {
    if count < MAX_PER_KEY {
        return Ok(());
    }
    let text = format!("A key has at most {MAX_PER_KEY} aliases.");
    Err(KmsError::new(Exception::LimitExceeded, text))
}
