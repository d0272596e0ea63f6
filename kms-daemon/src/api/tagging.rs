//! Tags in requests and responses.

use serde_json::{Value, json};

use super::model::inputs::Tag;
use kms_base::error::{Exception, KmsError};
use kms_base::identifier::Tags;

/// Most tags of a key.
const MAX_TAGS: usize = 50;
/// Start of tag keys that only AWS services set.
const RESERVED_PREFIX: &str = "aws:";

/// Checks tags whose shape is right.
///
/// # Errors
/// [`Exception::Tag`] for keys or values that are not allowed, for repeated keys and for more
/// than a key can have.
pub(super) fn read(tags: Vec<Tag>) -> Result<Tags, KmsError> {
    let mut read = Tags::new();
    for tag in tags {
        let Tag { tag_key: key, tag_value: value } = tag;
        check_key(&key)?;
        if !value.chars().all(is_allowed) {
            let text = format!("The value of tag {key} is not valid.");
            return Err(KmsError::new(Exception::Tag, text));
        }
        if read.insert(key, value).is_some() {
            return Err(KmsError::new(Exception::Tag, "Duplicate tag keys"));
        }
    }
    check_count(&read)?;
    Ok(read)
}

/// Checks the characters of a tag key.
///
/// # Errors
/// [`Exception::Tag`].
pub(super) fn check_key(key: &str) -> Result<(), KmsError> {
    if key.to_ascii_lowercase().starts_with(RESERVED_PREFIX) {
        return Err(KmsError::new(Exception::Tag, "Tags beginning with aws: are reserved"));
    }
    if !key.chars().all(is_allowed) {
        return Err(KmsError::new(Exception::Tag, format!("The tag key '{key}' is not valid.")));
    }
    Ok(())
}

/// Checks the number of tags a key would have.
///
/// # Errors
/// [`Exception::Tag`].
pub(super) fn check_count(tags: &Tags) -> Result<(), KmsError> {
    if tags.len() <= MAX_TAGS {
        return Ok(());
    }
    Err(KmsError::new(Exception::Tag, "Too many tags"))
}

/// Tags in the form of audit records.
pub(super) fn audit_value(tags: &Tags) -> Value {
    tags.iter().map(|(key, value)| json!({ "tagKey": key, "tagValue": value })).collect()
}

/// The characters tags are made of.
fn is_allowed(c: char) -> bool {
    c.is_alphanumeric() || " _.:/=+-@".contains(c)
}
