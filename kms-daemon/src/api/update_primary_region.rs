//! `UpdatePrimaryRegion`: makes a replica of a multi-Region key the primary, and the primary a
//! replica.

use super::call::regions::refuse_replica;
use super::call::{KeyUse, contended};
use super::model::update_primary_region::Input;
use super::{Answer, Call, Operation};
use crate::error::{Exception, KmsError};
use crate::key::Scope;
use crate::key::catalog::Update;
use crate::policy::Action;
use crate::quota::Pool;

pub(super) async fn run(call: &mut Call<'_>, input: Input) -> Result<Answer, KmsError> {
    let Input { key_id, primary_region: region } = input;
    call.parameter("keyId", key_id.as_str());
    call.parameter("primaryRegion", region.as_str());
    let there = Scope::new(&*call.home().account, &*region);
    call.count_elsewhere(&there, Pool::Operation(Operation::UpdatePrimaryRegion), 1)?;
    for _ in Call::tries() {
        let key_use = KeyUse::manage(Action::UpdatePrimaryRegion, &key_id);
        let key = call.authorize(key_use).await?;
        refuse_replica(&key)?;
        if region == key.scope.region {
            let text = format!("{region} is the primary Region of {} already.", key.arn());
            return Err(KmsError::new(Exception::UnsupportedOperation, text));
        }
        let related = call.catalog().related(&key).await?;
        let successor = related.iter().find(|other| other.scope == there).ok_or_else(|| {
            let text = format!("Key '{}' does not exist", there.key_arn(key.id));
            KmsError::new(Exception::NotFound, text)
        })?;
        call.authorize_stored(key_use, successor.clone()).await?;
        let all = related.iter().cloned().chain([key.stored()]);
        let changes: Vec<_> = all
            .map(|old| {
                let new = old.with_primary(&region);
                (old, new)
            })
            .collect();
        if call.catalog().change_keys(&changes, None).await? == Update::Applied {
            return Ok(Answer::empty());
        }
    }
    Err(contended())
}
