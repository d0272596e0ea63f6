//! `RevokeGrant`: takes a grant away.

use serde::Deserialize;

use super::call::{KeyUse, contended};
use super::checks::Checks;
use super::grant_listing::{GRANT_ID, not_found, read_id};
use super::{Answer, Call};
use crate::error::KmsError;
use crate::key::catalog::Update;
use crate::policy::Action;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Input {
    key_id: Option<String>,
    grant_id: Option<String>,
    dry_run: Option<bool>,
}

pub(super) async fn run(call: &mut Call<'_>, input: Input) -> Result<Answer, KmsError> {
    let mut checks = Checks::new();
    let key_id = checks.key_id("keyId", input.key_id);
    if let Some(id) = &input.grant_id {
        checks.length("grantId", id, GRANT_ID);
    }
    let grant_id = checks.required("grantId", input.grant_id);
    checks.finish()?;
    call.parameter("keyId", key_id.as_str());
    call.parameter("grantId", grant_id.as_str());
    for _ in Call::tries() {
        let key = call.authorize(KeyUse::manage(Action::RevokeGrant, &key_id)).await?;
        let id = read_id(&grant_id)?;
        let grant = call.catalog().grant(&key.scope, key.id, id).await?;
        let grant = grant.ok_or_else(|| not_found(&grant_id))?;
        Call::finish_dry_run(input.dry_run)?;
        if call.catalog().delete_grant(&grant).await? == Update::Applied {
            return Ok(Answer::empty());
        }
    }
    Err(contended())
}
