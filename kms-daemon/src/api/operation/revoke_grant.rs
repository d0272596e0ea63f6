//! `RevokeGrant`: takes a grant away.

use crate::api::call::{KeyUse, contended};
use crate::api::grant_listing::{not_found, read_id};
use crate::api::model::revoke_grant::Input;
use crate::api::{Answer, Call};
use kms_base::error::KmsError;
use kms_keys::catalog::Update;
use kms_model::action;

pub(super) async fn run(call: &mut Call<'_>, input: Input) -> Result<Answer, KmsError> {
    let key_id = input.key_id;
    let grant_id = input.grant_id;
    call.facts.parameter("keyId", key_id.as_str());
    call.facts.parameter("grantId", grant_id.as_str());
    for _ in Call::tries() {
        let key = call.authorize(KeyUse::manage(action::RevokeGrant, &key_id)).await?;
        let id = read_id(&grant_id)?;
        let grant = call.service.catalog().grants().get(&key.scope, key.id, id).await?;
        let grant = grant.ok_or_else(|| not_found(&grant_id))?;
        Call::finish_dry_run(input.dry_run)?;
        if call.service.catalog().grants().delete(&grant).await? == Update::Applied {
            return Ok(Answer::empty());
        }
    }
    Err(contended())
}
