//! The facts of a botocore service model, without its prose.
//!
//! Every key is known here, to be kept or to be left out. One that is not fails: it may be a
//! constraint.

use serde_json::{Map, Value};

use crate::failure::{Failure, Result};

/// Keys to keep and keys to leave out.
struct Keys(&'static [&'static str], &'static [&'static str]);

const TOP: Keys = Keys(&["metadata", "operations", "shapes"], &["documentation", "version"]);
const METADATA: Keys = Keys(
    &["apiVersion", "jsonVersion", "protocol", "serviceId", "targetPrefix", "uid"],
    &[
        "auth",
        "endpointPrefix",
        "protocols",
        "serviceAbbreviation",
        "serviceFullName",
        "signatureVersion",
    ],
);
/// The request line is the same for all operations of the JSON protocol.
const OPERATION: Keys = Keys(
    &["errors", "input", "name", "output"],
    &["deprecated", "deprecatedMessage", "documentation", "documentationUrl", "http"],
);
const SHAPE: Keys = Keys(
    &[
        "enum",
        "error",
        "exception",
        "fault",
        "key",
        "max",
        "member",
        "members",
        "min",
        "pattern",
        "required",
        "sensitive",
        "type",
        "value",
    ],
    &["deprecated", "deprecatedMessage", "documentation"],
);
const REFERENCE: Keys = Keys(&["shape"], &["deprecated", "deprecatedMessage", "documentation"]);

/// The facts of a model. Those of a stripped one are itself.
pub(super) fn strip(model: &Value) -> Result<Value> {
    let mut top = object(model, "the model", &TOP)?;
    edit(&mut top, "metadata", |value| Ok(object(value, "metadata", &METADATA)?.into()))?;
    edit(&mut top, "operations", |value| each(value, "operation", operation))?;
    edit(&mut top, "shapes", |value| each(value, "shape", shape))?;
    Ok(top.into())
}

/// The text of the file: sorted, one fact a line.
pub(super) fn text(model: &Value) -> String {
    format!("{model:#}\n")
}

fn operation(value: &Value, place: &str) -> Result<Value> {
    let mut operation = object(value, place, &OPERATION)?;
    edit(&mut operation, "input", |value| reference(value, place))?;
    edit(&mut operation, "output", |value| reference(value, place))?;
    edit(&mut operation, "errors", |value| {
        let errors = value.as_array().into_iter().flatten();
        errors.map(|error| reference(error, place)).collect::<Result<Vec<_>>>().map(Value::from)
    })?;
    Ok(operation.into())
}

fn shape(value: &Value, place: &str) -> Result<Value> {
    let mut shape = object(value, place, &SHAPE)?;
    for name in ["key", "member", "value"] {
        edit(&mut shape, name, |value| reference(value, place))?;
    }
    edit(&mut shape, "members", |value| each(value, place, reference))?;
    Ok(shape.into())
}

fn reference(value: &Value, place: &str) -> Result<Value> {
    Ok(object(value, place, &REFERENCE)?.into())
}

fn each(value: &Value, kind: &str, change: fn(&Value, &str) -> Result<Value>) -> Result<Value> {
    let entries = value.as_object().ok_or_else(|| Failure::new(format!("{kind}: no object")))?;
    let changed = entries
        .iter()
        .map(|(name, value)| Ok((name.clone(), change(value, &format!("{kind} {name}"))?)));
    changed.collect::<Result<Map<_, _>>>().map(Value::from)
}

fn edit(
    object: &mut Map<String, Value>,
    name: &str,
    change: impl FnOnce(&Value) -> Result<Value>,
) -> Result<()> {
    if let Some(value) = object.get_mut(name) {
        *value = change(value)?;
    }
    Ok(())
}

fn object(value: &Value, place: &str, keys: &Keys) -> Result<Map<String, Value>> {
    let object =
        value.as_object().ok_or_else(|| Failure::new(format!("{place} is not an object")))?;
    let unknown = object.keys().find(|key| {
        let key = key.as_str();
        !keys.0.contains(&key) && !keys.1.contains(&key)
    });
    if let Some(key) = unknown {
        return Err(Failure::new(format!("{place} has the unknown key `{key}`"))
            .help("decide in xtask/src/codegen/strip.rs whether it is a fact or prose"));
    }
    let kept = object.iter().filter(|(key, _)| keys.0.contains(&key.as_str()));
    Ok(kept.map(|(key, value)| (key.clone(), value.clone())).collect())
}
