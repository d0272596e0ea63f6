//! `RetireGrant`: removes a grant when it has served its purpose.

use crate::api::call::contended;
use crate::api::checks::invalid;
use crate::api::grant_listing::{not_found, read_id};
use crate::api::model::retire_grant::Input;
use crate::api::{Answer, Call};
use crate::policy;
use kms_base::error::{Exception, KmsError};
use kms_base::identifier::{Forms, KeyRef};
use kms_keys::catalog::{FoundGrant, Update};
use kms_model::Action;

pub(super) async fn run(call: &mut Call<'_>, input: Input) -> Result<Answer, KmsError> {
    for _ in Call::tries() {
        let grant = match (&input.grant_token, &input.key_id, &input.grant_id) {
            (Some(token), None, None) => call.find_token(token).await?,
            (None, Some(key), Some(grant)) => find(call, key, grant).await?,
            _ => {
                return Err(invalid(
                    "Specify the grant either by GrantToken or by both KeyId and GrantId.",
                ));
            }
        };
        call.facts.additional("grantId", grant.id.to_string());
        // What belongs to another account goes into the record once the caller may know it.
        let is_home = grant.scope == *call.home();
        let key = match is_home {
            // If there is none, it was deleted just now, and its grants with it.
            true => call.service.catalog().key(&grant.scope, grant.key).await?,
            false => {
                let named = KeyRef::Key(grant.scope.clone(), grant.key);
                Some(call.service.catalog().foreign().key(&named).await?)
            }
        };
        let key = key.ok_or_else(|| KmsError::bare(Exception::InvalidGrantToken))?;
        if is_home {
            call.facts.key(&key.scope.account, &key.arn());
        }
        let lookups = call.look_up(Action::RetireGrant, &key).await?;
        policy::authorize_retirement(call.requester(), &key, &grant, &lookups)?;
        if !is_home {
            call.facts.key(&key.scope.account, &key.arn());
        }
        Call::finish_dry_run(input.dry_run)?;
        if call.service.catalog().grants().delete(&grant).await? == Update::Applied {
            return Ok(Answer::empty());
        }
    }
    Err(contended())
}

/// The grant that is named. The caller does not learn whether a key of another account has it.
async fn find(call: &Call<'_>, key: &str, grant: &str) -> Result<FoundGrant, KmsError> {
    let named = call.key_ref(key, Forms::Key)?;
    let id = read_id(grant)?;
    let KeyRef::Key(scope, key) = &named else { return Err(named.not_found()) };
    if scope != call.home() {
        return Ok(call.service.catalog().foreign().grant(scope, *key, id).await?);
    }
    if call.service.catalog().key(scope, *key).await?.is_none() {
        return Err(named.not_found());
    }
    call.service.catalog().grants().get(scope, *key, id).await?.ok_or_else(|| not_found(grant))
}
