//! `ListKeys`: the keys of the caller's account in the Region.

use crate::api::marker::page_size;
use crate::api::model::list_keys::{Input, Output};
use crate::api::model::outputs::KeyListEntry;
use crate::api::{Answer, Call};
use kms_base::error::{Exception, KmsError};
use kms_base::identifier::KeyId;
use kms_model::action;
use kms_model::enums::ResourceOwnerType;

pub(super) async fn run(call: &mut Call<'_>, input: Input) -> Result<Answer, KmsError> {
    let limit = page_size(input.limit, 100);
    call.facts.optional_parameter("limit", input.limit);
    call.facts.optional_parameter("marker", input.marker.as_deref());
    let home = call.authorize_account(action::ListKeys)?;

    let owners = input.resource_owners.unwrap_or_else(|| vec![ResourceOwnerType::SELF]);
    let mut names: Vec<_> = owners.iter().map(|owner| owner.name()).collect();
    names.sort_unstable();
    let filter = names.join(",");
    let position = call.read_marker(&filter, input.marker.as_deref())?;
    if !owners.contains(&ResourceOwnerType::SELF) {
        // Policies and grants let others use a key, but put it into no list of theirs.
        return Answer::of(&Output {
            keys: Some(Vec::new()),
            truncated: Some(false),
            ..Output::default()
        });
    }
    let after = position.as_deref().map(read_position).transpose()?;
    let listing = call.service.catalog().list_keys(&home, after, limit).await?;
    let last = listing.items.last().map(KeyId::to_string);
    let marker = call.next_marker(&filter, listing.more, last.as_deref());
    let entry = |id: &KeyId| KeyListEntry {
        key_id: Some(id.to_string().into()),
        key_arn: Some(home.key_arn(*id).into()),
    };
    let keys = listing.items.iter().map(entry).collect();
    Answer::of(&Output {
        keys: Some(keys),
        truncated: Some(marker.is_some()),
        next_marker: marker.map(Into::into),
    })
}

fn read_position(position: &str) -> Result<KeyId, KmsError> {
    KeyId::parse(position).ok_or_else(|| KmsError::bare(Exception::InvalidMarker))
}
