//! `ListKeys`: the keys of the caller's account in the Region.

use serde::Deserialize;
use serde_json::{Value, json};

use super::checks::Checks;
use super::{Answer, Call};
use crate::error::{Exception, KmsError};
use crate::key::KeyId;
use crate::policy::AccountAction;

/// Values of `ResourceOwners`.
const OWNERS: [&str; 2] = ["SELF", "OTHER_ACCOUNTS_VIA_RAM"];

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Input {
    limit: Option<i64>,
    marker: Option<String>,
    resource_owners: Option<Vec<String>>,
}

pub(super) async fn run(call: &mut Call<'_>, input: Input) -> Result<Answer, KmsError> {
    let mut checks = Checks::new();
    let limit = checks.limit(input.limit, 100, 1000);
    checks.marker(input.marker.as_deref());
    if let Some(owners) = &input.resource_owners {
        checks.list_length("resourceOwners", owners.len(), 1..=OWNERS.len());
        owners.iter().for_each(|owner| checks.one_of("resourceOwners", owner, &OWNERS));
    }
    checks.finish()?;
    call.optional_parameter("limit", input.limit);
    call.optional_parameter("marker", input.marker.as_deref());
    let home = call.authorize_account(AccountAction::ListKeys)?;

    let mut owners = input.resource_owners.unwrap_or_else(|| vec!["SELF".to_owned()]);
    owners.sort_unstable();
    let filter = owners.join(",");
    let position = call.read_marker(&filter, input.marker.as_deref())?;
    if !owners.iter().any(|owner| owner == "SELF") {
        // No other account can share a key.
        return Answer::json(&json!({ "Keys": [], "Truncated": false }));
    }
    let after = position.as_deref().map(read_position).transpose()?;
    let listing = call.catalog().list_keys(&home, after, limit).await?;
    let last = listing.items.last().map(KeyId::to_string);
    let marker = call.next_marker(&filter, listing.more, last.as_deref());
    let entry = |id: &KeyId| json!({ "KeyId": id, "KeyArn": home.key_arn(*id) });
    let keys: Vec<Value> = listing.items.iter().map(entry).collect();
    let mut answer = json!({ "Keys": keys, "Truncated": marker.is_some() });
    if let Some(marker) = marker {
        answer["NextMarker"] = marker.into();
    }
    Answer::json(&answer)
}

fn read_position(position: &str) -> Result<KeyId, KmsError> {
    KeyId::parse(position).ok_or_else(|| KmsError::bare(Exception::InvalidMarker))
}
