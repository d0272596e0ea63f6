//! Request types: a form as it is read, in which every member may be missing, and a form that was
//! checked.

use std::fmt::Write as _;

use super::{
    imports::with_imports,
    model::{Model, Shape, Structure, Text},
    names::{camel, rename, screaming, snake},
    overlay::Overlay,
    rules::range,
};
use crate::failure::{Failure, Result};

/// What a structure is called.
pub(super) struct Names<'a> {
    /// The operation, of a request.
    pub(super) operation: &'a str,
    /// What it is, for the documentation.
    pub(super) what: &'a str,
    /// The form that is read.
    pub(super) wire: &'a str,
    /// The form that was checked.
    pub(super) checked: &'a str,
    /// The module of nested structures, as the code names it.
    pub(super) nested: &'a str,
}

/// `inputs.rs`: the structures within requests.
pub(super) fn nested(model: &Model, overlay: &Overlay) -> Result<String> {
    let mut text = String::new();
    for name in model.in_requests()? {
        if let Shape::Structure(structure) = model.shape(&name)? {
            let (what, wire) = (format!("`{name}`"), format!("{name}Wire"));
            let names =
                Names { operation: "", what: &what, wire: &wire, checked: &name, nested: "" };
            text += &types(model, overlay, structure, &names)?;
        }
    }
    Ok(with_imports(&text))
}

/// The two forms of a structure and the way from one to the other.
pub(super) fn types(
    model: &Model,
    overlay: &Overlay,
    structure: &Structure,
    names: &Names<'_>,
) -> Result<String> {
    let Names { operation, what, wire, checked, nested } = names;
    let mut parts = Parts::default();
    for (name, shape) in &structure.members {
        let member = Member {
            name,
            shape,
            required: structure.required.contains(name),
            nested,
            range: overlay.range(operation, name).map(|limits| range(Some(limits))),
        };
        parts.add(model, &member)?;
    }
    let Parts { read, types, checks, values } = parts;
    let unused = if checks.is_empty() { "let _ = checks;\n" } else { "" };
    Ok(format!(
        "/// {what} as it is read.\n#[derive(Deserialize)]\n\
         #[serde(rename_all = \"PascalCase\")]\npub(in crate::api) struct {wire} {{\n{read}}}\n\n\
         /// {what} whose members fulfil the constraints of the service model.\n\
         pub(in crate::api) struct {checked} {{\n{types}}}\n\n\
         impl Request for {checked} {{\ntype Wire = {wire};\n\n\
         fn check(wire: {wire}, checks: &mut Checks) -> Option<Self> {{\n{unused}{checks}\
         Some(Self {{\n{values}}})\n}}\n}}\n\n"
    ))
}

/// A member of a structure.
struct Member<'a> {
    name: &'a str,
    shape: &'a str,
    required: bool,
    nested: &'a str,
    /// Its limits, if they are not those of the shape.
    range: Option<String>,
}

/// The code of all members.
#[derive(Default)]
struct Parts {
    read: String,
    types: String,
    checks: String,
    values: String,
}

impl Parts {
    fn add(&mut self, model: &Model, member: &Member<'_>) -> Result<()> {
        let Member { name, shape, required, nested, range: limits } = member;
        let (field, path) = (snake(name), camel(name));
        let code = match model.shape(shape)? {
            Shape::Text(text) if text.is_enum() => enum_code(shape, &field, &path),
            Shape::Text(text) => text_code(text, shape, &field, &path),
            Shape::Blob(length) => {
                let length = range(length.as_ref());
                let check = format!("checks.blob(\"{path}\", wire.{field}.as_deref(), {length});");
                Code::plain("Blob", check)
            }
            Shape::Integer(None) => Code::plain("i64", String::new()),
            Shape::Integer(allowed) => {
                let allowed = limits.clone().unwrap_or_else(|| range(allowed.as_ref()));
                Code::plain("i64", format!("checks.number(\"{path}\", wire.{field}, {allowed});"))
            }
            Shape::Boolean => Code::plain("bool", String::new()),
            Shape::Timestamp => Code::plain("f64", String::new()),
            Shape::Map if *shape == "EncryptionContextType" => {
                Code::plain("EncryptionContext", String::new())
            }
            Shape::Structure(_) => Code {
                wire: format!("Object<{nested}{shape}Wire>"),
                checked: format!("{nested}{shape}"),
                check: format!("let {field} = checks.nested(\"{path}\", wire.{field});"),
                is_local: true,
            },
            Shape::List { element, length } => {
                let list = (element.as_str(), range(length.as_ref()));
                list_code(model, list, nested, &field, &path)?
            }
            Shape::Map => return Err(Failure::new(format!("request shape {shape} is a new map"))),
        };
        let rename = rename(name);
        let _ = writeln!(self.read, "{rename}{field}: Option<{}>,", code.wire);
        let checked = match required {
            true => code.checked,
            false => format!("Option<{}>", code.checked),
        };
        let _ = writeln!(self.types, "/// `{name}`.\npub(in crate::api) {field}: {checked},");
        if *required {
            let _ = writeln!(self.checks, "checks.present(\"{path}\", wire.{field}.is_some());");
        }
        if !code.check.is_empty() {
            let _ = writeln!(self.checks, "{}", code.check);
        }
        let wire = if code.is_local { "" } else { "wire." };
        let there = if *required { "?" } else { "" };
        let _ = match code.is_local && !required {
            true => writeln!(self.values, "{field},"),
            false => writeln!(self.values, "{field}: {wire}{field}{there},"),
        };
        Ok(())
    }
}

/// The code of one member.
struct Code {
    /// Type as read, without its `Option`.
    wire: String,
    /// Type once it was checked.
    checked: String,
    /// The check, if there is one.
    check: String,
    /// Whether the check makes a variable of the checked type.
    is_local: bool,
}

impl Code {
    /// A member of the same type in both forms.
    fn plain(name: &str, check: String) -> Self {
        Self { wire: name.into(), checked: name.into(), check, is_local: false }
    }
}

fn text_code(text: &Text, shape: &str, field: &str, path: &str) -> Code {
    let rule = screaming(shape);
    let check = match is_free(text) {
        true => String::new(),
        false => format!("checks.text(\"{path}\", wire.{field}.as_deref(), &rules::{rule});"),
    };
    Code::plain(if text.sensitive { "Secret" } else { "String" }, check)
}

fn enum_code(shape: &str, field: &str, path: &str) -> Code {
    let rule = screaming(shape);
    Code {
        wire: "String".into(),
        checked: format!("enums::{shape}"),
        check: format!(
            "let {field} = checks.one_of(\"{path}\", wire.{field}.as_deref(), &rules::{rule});"
        ),
        is_local: true,
    }
}

fn list_code(
    model: &Model,
    (element, length): (&str, String),
    nested: &str,
    field: &str,
    path: &str,
) -> Result<Code> {
    let is_bounded = length != range(None);
    match model.shape(element)? {
        Shape::Text(text) if text.is_enum() => {
            let rule = screaming(element);
            Ok(Code {
                wire: "Vec<String>".into(),
                checked: format!("Vec<enums::{element}>"),
                check: format!(
                    "let {field} = checks.each_of(\"{path}\", wire.{field}.as_deref(), {length}, \
                     &rules::{rule});"
                ),
                is_local: true,
            })
        }
        Shape::Text(text) if !text.sensitive => {
            let rule = screaming(element);
            let check = match is_free(text) && !is_bounded {
                true => String::new(),
                false => format!(
                    "checks.texts(\"{path}\", wire.{field}.as_deref(), {length}, &rules::{rule});"
                ),
            };
            Ok(Code::plain("Vec<String>", check))
        }
        Shape::Structure(_) if !is_bounded => Ok(Code {
            wire: format!("Vec<Object<{nested}{element}Wire>>"),
            checked: format!("Vec<{nested}{element}>"),
            check: format!("let {field} = checks.each(\"{path}\", wire.{field});"),
            is_local: true,
        }),
        _ => Err(Failure::new(format!("a request has a new kind of list, of {element}"))
            .help("teach it to xtask/src/codegen/requests.rs")),
    }
}

/// Whether a string that is not an enumeration has no constraints.
fn is_free(text: &Text) -> bool {
    text.length.is_none() && text.pattern.is_none()
}
