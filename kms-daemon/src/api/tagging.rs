//! Tags in requests and responses.

use serde_json::{Value, json};

use super::model::inputs::Tag;
use crate::error::{Exception, KmsError};
use crate::key::Tags;

/// Most tags of a key.
const MAX_TAGS: usize = 50;
/// Longest tag key, in characters.
const MAX_KEY: usize = 128;
/// Longest tag value, in characters.
const MAX_VALUE: usize = 256;
/// Start of tag keys that only AWS services set.
const RESERVED_PREFIX: &str = "aws:";

/// Checks tags whose shape is right.
///
/// # Errors
/// [`Exception::Tag`] for keys or values that are not allowed and for repeated keys.
pub(super) fn read(tags: Vec<Tag>) -> Result<Tags, KmsError> {
    let mut read = Tags::new();
    for tag in tags {
        let Tag { tag_key: key, tag_value: value } = tag;
        check_key(&key)?;
        if value.chars().count() > MAX_VALUE || !value.chars().all(is_allowed) {
            return Err(KmsError::new(
                Exception::Tag,
                format!("The value of tag {key} is not valid."),
            ));
        }
        if let Some(earlier) = read.insert(key.clone(), value) {
            drop(earlier);
            return Err(KmsError::new(Exception::Tag, format!("Duplicate tag key {key}.")));
        }
    }
    Ok(read)
}

/// Checks a tag key.
///
/// # Errors
/// [`Exception::Tag`].
pub(super) fn check_key(key: &str) -> Result<(), KmsError> {
    let length = key.chars().count();
    let valid = (1..=MAX_KEY).contains(&length)
        && key.chars().all(is_allowed)
        && !key.to_ascii_lowercase().starts_with(RESERVED_PREFIX);
    if valid {
        return Ok(());
    }
    let shown: String = key.chars().take(MAX_KEY).collect();
    Err(KmsError::new(Exception::Tag, format!("The tag key '{shown}' is not valid.")))
}

/// Checks the number of tags a key would have.
///
/// # Errors
/// [`Exception::LimitExceeded`].
pub(super) fn check_count(tags: &Tags) -> Result<(), KmsError> {
    if tags.len() <= MAX_TAGS {
        return Ok(());
    }
    Err(KmsError::new(Exception::LimitExceeded, format!("A key has at most {MAX_TAGS} tags.")))
}

/// Tags in the form of audit records.
pub(super) fn audit_value(tags: &Tags) -> Value {
    tags.iter().map(|(key, value)| json!({ "tagKey": key, "tagValue": value })).collect()
}

/// The characters tags are made of.
fn is_allowed(c: char) -> bool {
    c.is_alphanumeric() || " _.:/=+-@".contains(c)
}
