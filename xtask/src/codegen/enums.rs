//! `enums.rs`: the enumerations of the model, as types that the whole daemon uses.

use std::fmt::Write as _;

use super::model::{Model, Shape};
use crate::failure::{Failure, Result};

/// All enumerations, those of responses too. Their values keep the names that they have in the API.
pub(super) fn file(model: &Model) -> Result<String> {
    let mut text = String::from("\nuse crate::enumeration::enumeration;\n");
    for (name, shape) in &model.shapes {
        let Shape::Text(values) = shape else { continue };
        if !values.is_enum() {
            continue;
        }
        let _ = write!(text, "\nenumeration! {{\n    /// `{name}`.\n    {name} {{\n");
        for value in &values.values {
            if !is_identifier(value) {
                let what = format!("the value `{value}` of the enumeration {name} names nothing");
                return Err(Failure::new(what).help("teach it to xtask/src/codegen/enums.rs"));
            }
            let _ = writeln!(text, "        {value},");
        }
        text.push_str("    }\n}\n");
    }
    Ok(text)
}

/// Whether a value can be a name in Rust as it is.
fn is_identifier(value: &str) -> bool {
    value.starts_with(|c: char| c.is_ascii_alphabetic())
        && value.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}
