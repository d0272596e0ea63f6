//! What the service does beside its model. An entry that has no effect is an error: either it is
//! misspelt, or a newer model has caught up with it.

use std::collections::BTreeMap;

use toml::{Table, Value};

use super::model::{Model, Range, Shape};
use crate::failure::{Failure, Result};

/// Limits of members that are narrower than those of their shapes.
#[derive(Default)]
pub(super) struct Overlay {
    ranges: BTreeMap<(String, String), Range>,
}

impl Overlay {
    /// Reads an overlay, and changes the model where shapes or required members are concerned.
    pub(super) fn read(text: &str, model: &mut Model) -> Result<Self> {
        let table: Table = text
            .parse()
            .map_err(|error| Failure::new(format!("the overlay is not TOML: {error}")))?;
        let mut overlay = Self::default();
        for (key, value) in &table {
            match key.as_str() {
                "unchecked" => for_each(key, value, |name| uncheck(model, name))?,
                "unechoed" => for_each(key, value, |name| silence(model, name))?,
                "member" => {
                    for member in value.as_array().into_iter().flatten() {
                        overlay.member(model, member)?;
                    }
                }
                _ => return Err(Failure::new(format!("the overlay has an unknown `{key}`"))),
            }
        }
        Ok(overlay)
    }

    /// The limits of a member, if they are not those of its shape.
    pub(super) fn range(&self, operation: &str, member: &str) -> Option<&Range> {
        self.ranges.get(&(operation.to_owned(), member.to_owned()))
    }

    fn member(&mut self, model: &mut Model, entry: &Value) -> Result<()> {
        let text = |name: &str| entry.get(name).and_then(Value::as_str).unwrap_or_default();
        let (operation, member) = (text("operation"), text("name"));
        let place = format!("the overlay's entry for {operation}.{member}");
        if text("reason").is_empty() {
            return Err(Failure::new(format!("{place} gives no reason")));
        }
        let refusal = |what: &str| Err(Failure::new(format!("{place} {what}")));
        let Some(input) = model.operations.get(operation).map(|found| found.input.clone()) else {
            return refusal("names no operation of the model");
        };
        let Some(shape) = model.structure(&input)?.members.get(member).cloned() else {
            return refusal("names no member of the model");
        };
        let (min, max) = (entry.get("min"), entry.get("max"));
        let mut has_effect = false;
        if min.or(max).is_some() {
            let Shape::Integer(Some(wide)) = model.shape(&shape)? else {
                return refusal("sets limits for something that is not a number with limits");
            };
            let bound = |given: Option<&Value>, wide: i64| {
                given.and_then(Value::as_integer).unwrap_or(wide)
            };
            let range = bound(min, *wide.start())..=bound(max, *wide.end());
            has_effect =
                range != *wide && wide.contains(range.start()) && wide.contains(range.end());
            self.ranges.insert((operation.to_owned(), member.to_owned()), range);
        }
        if entry.get("required").and_then(Value::as_bool) == Some(true)
            && let Some(Shape::Structure(input)) = model.shapes.get_mut(&input)
        {
            has_effect |= input.required.insert(member.to_owned());
        }
        if has_effect { Ok(()) } else { refusal("narrows nothing") }
    }
}

fn for_each(key: &str, value: &Value, mut change: impl FnMut(&str) -> bool) -> Result<()> {
    for (name, reason) in value.as_table().into_iter().flatten() {
        if reason.as_str().is_none_or(str::is_empty) {
            return Err(Failure::new(format!("the overlay's `{key}.{name}` gives no reason")));
        }
        if !change(name) {
            let what = format!("the overlay's `{key}.{name}` has no effect on the model");
            return Err(Failure::new(what).help("does the model still have that shape?"));
        }
    }
    Ok(())
}

/// Takes all constraints from a string.
fn uncheck(model: &mut Model, name: &str) -> bool {
    let Some(Shape::Text(text)) = model.shapes.get_mut(name) else { return false };
    let had_some = text.length.take().is_some() | text.pattern.take().is_some();
    had_some | !std::mem::take(&mut text.values).is_empty()
}

/// Keeps a string out of error texts.
fn silence(model: &mut Model, name: &str) -> bool {
    match model.shapes.get_mut(name) {
        Some(Shape::Text(text)) => std::mem::replace(&mut text.echoed, false),
        _ => false,
    }
}
