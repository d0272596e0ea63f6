//! `ListResourceTags`: the tags of a key.

use std::ops::Bound;

use crate::api::call::KeyUse;
use crate::api::marker::page_size;
use crate::api::model::list_resource_tags::{Input, Output};
use crate::api::model::outputs::Tag;
use crate::api::{Answer, Call};
use kms_base::error::KmsError;
use kms_model::action;

pub(super) async fn run(call: &mut Call<'_>, input: Input) -> Result<Answer, KmsError> {
    let key_id = input.key_id;
    let limit = page_size(input.limit, 50);
    call.facts.parameter("keyId", key_id.as_str());
    call.facts.optional_parameter("limit", input.limit);
    call.facts.optional_parameter("marker", input.marker.as_deref());
    let key = call.authorize(KeyUse::manage(action::ListResourceTags, &key_id)).await?;

    let filter = key.id.to_string();
    let position = call.read_marker(&filter, input.marker.as_deref())?;
    let start = position.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
    let mut rest = key.tags.range::<String, _>((start, Bound::Unbounded));
    let page: Vec<_> = rest.by_ref().take(limit).collect();
    let last = page.last().map(|(name, _)| name.as_str());
    let marker = call.next_marker(&filter, rest.next().is_some(), last);
    let tags = page.iter().map(|(name, value)| Tag {
        tag_key: name.as_str().into(),
        tag_value: value.as_str().into(),
    });
    Answer::of(&Output {
        tags: Some(tags.collect()),
        truncated: Some(marker.is_some()),
        next_marker: marker.map(Into::into),
    })
}
