//! `rules.rs`: what strings of requests have to be like.

use std::fmt::Write as _;

use super::{
    imports::with_imports,
    model::{Model, Range, Shape},
    names::{literal, screaming},
    patterns,
};
use crate::failure::Result;

/// The rules of all strings that requests have.
pub(super) fn file(model: &Model) -> Result<String> {
    let mut rules = String::new();
    for name in model.in_requests()? {
        let Shape::Text(text) = model.shape(&name)? else { continue };
        let pattern = match &text.pattern {
            None => "None".to_owned(),
            Some(pattern) => format!(
                "Some(Pattern {{ text: {}, matches: {} }})",
                literal(pattern),
                patterns::matcher(pattern)?
            ),
        };
        let values = match text.values.is_empty() {
            true => "&[]".to_owned(),
            false => format!("enums::{name}::NAMES"),
        };
        let _ = write!(
            rules,
            "\n/// `{name}`.\npub(in crate::api) static {}: Text = Text {{ length: {}, \
             pattern: {pattern}, values: {values}, echoed: {} }};\n",
            screaming(&name),
            range(text.length.as_ref()),
            text.echoed,
        );
    }
    Ok(with_imports(&rules))
}

/// A range of lengths as an expression.
pub(super) fn range(range: Option<&Range>) -> String {
    range
        .map_or("0..=usize::MAX".to_owned(), |range| format!("{}..={}", range.start(), range.end()))
}
