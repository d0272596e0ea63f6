//! `ListResourceTags`: the tags of a key.

use std::ops::Bound;

use serde::Deserialize;
use serde_json::json;

use super::call::KeyUse;
use super::checks::Checks;
use super::tagging::Tag;
use super::{Answer, Call};
use crate::error::KmsError;
use crate::policy::Action;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Input {
    key_id: Option<String>,
    limit: Option<i64>,
    marker: Option<String>,
}

pub(super) async fn run(call: &mut Call<'_>, input: Input) -> Result<Answer, KmsError> {
    let mut checks = Checks::new();
    let key_id = checks.key_id("keyId", input.key_id);
    let limit = checks.limit(input.limit, 50, 50);
    checks.marker(input.marker.as_deref());
    checks.finish()?;
    call.parameter("keyId", key_id.as_str());
    call.optional_parameter("limit", input.limit);
    call.optional_parameter("marker", input.marker.as_deref());
    let key = call.authorize(KeyUse::manage(Action::ListResourceTags, &key_id)).await?;

    let filter = key.id.to_string();
    let position = call.read_marker(&filter, input.marker.as_deref())?;
    let start = position.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
    let mut rest = key.tags.range::<String, _>((start, Bound::Unbounded));
    let page: Vec<_> = rest.by_ref().take(limit).collect();
    let last = page.last().map(|(name, _)| name.as_str());
    let marker = call.next_marker(&filter, rest.next().is_some(), last);
    let tags: Vec<Tag> = page.iter().map(|(name, value)| Tag::new(name, value)).collect();
    let mut answer = json!({ "Tags": tags, "Truncated": marker.is_some() });
    if let Some(marker) = marker {
        answer["NextMarker"] = marker.into();
    }
    Answer::json(&answer)
}
