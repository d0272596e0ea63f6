//! Response types: every member that the model does not require may be left out.

use std::fmt::Write as _;

use super::{
    imports::with_imports,
    model::{Model, Shape, Structure},
    names::{rename, snake},
};
use crate::failure::{Failure, Result};

/// `outputs.rs`: the structures within responses.
pub(super) fn nested(model: &Model) -> Result<String> {
    let mut text = String::new();
    for name in model.in_responses()? {
        if let Shape::Structure(structure) = model.shape(&name)? {
            text += &fields(model, structure, &format!("`{name}`"), &name, "")?;
            if !blobs(model, structure)?.is_empty() {
                // The room for a response is that of its own blobs.
                return Err(Failure::new(format!("the response shape {name} has blobs")));
            }
        }
    }
    Ok(with_imports(&text))
}

/// The type of a whole response.
pub(super) fn output(model: &Model, structure: &Structure, operation: &str) -> Result<String> {
    let what = format!("The response of `{operation}`");
    let mut text = fields(model, structure, &what, "Output", "outputs::")?;
    let lifetime = if borrows(model, structure)? { "<'_>" } else { "" };
    let blobs = blobs(model, structure)?;
    let _ = match blobs.is_empty() {
        true => writeln!(text, "impl Response for Output{lifetime} {{}}"),
        false => writeln!(
            text,
            "impl Response for Output{lifetime} {{\nfn blobs(&self) -> usize {{\n\
             [{}].into_iter().flatten().map(Base64::size).sum()\n}}\n}}",
            blobs.iter().map(|name| format!("self.{}", snake(name))).collect::<Vec<_>>().join(", ")
        ),
    };
    Ok(text)
}

fn fields(
    model: &Model,
    structure: &Structure,
    what: &str,
    name: &str,
    nested: &str,
) -> Result<String> {
    let lifetime = if borrows(model, structure)? { "<'a>" } else { "" };
    let mut text = format!(
        "/// {what}.\n#[derive(Default, Serialize)]\n#[serde(rename_all = \"PascalCase\")]\n\
         pub(in crate::api) struct {name}{lifetime} {{\n"
    );
    for (member, shape) in &structure.members {
        let kind = type_of(model, shape, nested)?;
        let _ = write!(text, "/// `{member}`.\n{}", rename(member));
        if structure.required.contains(member) {
            if kind == "Timestamp" {
                return Err(Failure::new(format!("the response member {member} is a new kind")));
            }
            let _ = writeln!(text, "pub(in crate::api) {}: {kind},", snake(member));
            continue;
        }
        let with = match kind.as_str() {
            "Timestamp" => "serialize_with = \"crate::api::answer::epoch_seconds\", ",
            _ => "",
        };
        let _ = writeln!(
            text,
            "#[serde({with}skip_serializing_if = \"Option::is_none\")]\n\
             pub(in crate::api) {}: Option<{kind}>,",
            snake(member)
        );
    }
    Ok(text + "}\n\n")
}

fn type_of(model: &Model, shape: &str, nested: &str) -> Result<String> {
    Ok(match model.shape(shape)? {
        Shape::Text(_) => "Cow<'a, str>".to_owned(),
        Shape::Blob(_) => "Base64<'a>".to_owned(),
        Shape::Integer(_) => "i64".to_owned(),
        Shape::Boolean => "bool".to_owned(),
        Shape::Timestamp => "Timestamp".to_owned(),
        Shape::Map => "&'a BTreeMap<String, String>".to_owned(),
        Shape::List { element, .. } => format!("Vec<{}>", type_of(model, element, nested)?),
        Shape::Structure(structure) => {
            let lifetime = if borrows(model, structure)? { "<'a>" } else { "" };
            format!("{nested}{shape}{lifetime}")
        }
    })
}

/// Whether a type has a lifetime.
fn borrows(model: &Model, structure: &Structure) -> Result<bool> {
    for shape in structure.members.values() {
        if type_of(model, shape, "")?.contains("'a") {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Members that are blobs.
fn blobs(model: &Model, structure: &Structure) -> Result<Vec<String>> {
    let mut blobs = Vec::new();
    for (member, shape) in &structure.members {
        if matches!(model.shape(shape)?, Shape::Blob(_)) {
            blobs.push(member.clone());
        }
    }
    Ok(blobs)
}
