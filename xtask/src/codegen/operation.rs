//! One file for each operation: its request and its response.

use std::fmt::Write as _;

use super::{
    imports::with_imports,
    model::Model,
    names::snake,
    overlay::Overlay,
    requests::{self, Names},
    responses,
};
use crate::failure::{Failure, Result};

/// The file of an operation.
pub(super) fn file(model: &Model, overlay: &Overlay, name: &str) -> Result<String> {
    let operation = model
        .operations
        .get(name)
        .ok_or_else(|| Failure::new(format!("the model lacks operation {name}")))?;
    let what = format!("The request of `{name}`");
    let names =
        Names { operation: name, what: &what, wire: "Wire", checked: "Input", nested: "inputs::" };
    let mut text = requests::types(model, overlay, model.structure(&operation.input)?, &names)?;
    if let Some(output) = &operation.output {
        let sharing =
            model.operations.iter().find(|(_, other)| other.output.as_ref() == Some(output));
        match sharing.map(|(first, _)| first).filter(|first| *first != name) {
            // Two operations with one response have one type.
            Some(first) => {
                let module = snake(first);
                let _ = writeln!(text, "pub(in crate::api) use super::{module}::Output;");
            }
            None => text += &responses::output(model, model.structure(output)?, name)?,
        }
    }
    Ok(with_imports(&text))
}

/// `operations.rs`: the list of those files.
pub(super) fn index(model: &Model) -> String {
    let mut text = String::new();
    for name in model.operations.keys() {
        let _ = writeln!(text, "pub(in crate::api) mod {};", snake(name));
    }
    text.push_str(
        "\n/// Reads and checks a request, and does nothing else.\n#[cfg(test)]\n\
         pub(in crate::api) fn check(\noperation: kms_model::Operation,\n body: &[u8],\n) \
         -> Result<(), kms_base::error::KmsError> {\nuse crate::api::read;\nuse kms_model::Operation;\n\nmatch operation {\n",
    );
    for name in model.operations.keys() {
        let module = snake(name);
        let _ = writeln!(text, "Operation::{name} => read::<{module}::Input>(body).map(drop),");
    }
    text.push_str("}\n}\n");
    format!("\n{text}")
}
