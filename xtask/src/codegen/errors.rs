//! `errors.rs`: the exceptions that operations model.

use std::fmt::Write as _;

use super::{
    imports::with_imports,
    model::{Model, Shape},
};

/// The lists of exceptions.
pub(super) fn file(model: &Model) -> String {
    let mut text = String::from(
        "/// The exceptions that an operation models.\n\
         pub(in crate::api) const fn modelled(operation: Operation) -> &'static [&'static str] {\n\
         match operation {\n",
    );
    for (name, operation) in &model.operations {
        let _ = writeln!(text, "Operation::{name} => &{:?},", Vec::from_iter(&operation.errors));
    }
    text.push_str(
        "}\n}\n\n/// Every exception of the model, with its HTTP status.\n#[cfg(test)]\n\
         pub(in crate::api) const STATUSES: &[(&str, u16)] = &[\n",
    );
    for (name, shape) in &model.shapes {
        if let Shape::Structure(structure) = shape
            && let Some(status) = structure.status
        {
            let _ = writeln!(text, "({name:?}, {status}),");
        }
    }
    text.push_str("];\n");
    with_imports(&text)
}
