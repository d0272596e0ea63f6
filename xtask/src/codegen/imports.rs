//! The imports of generated files: those of what they mention.

use std::{collections::BTreeMap, fmt::Write as _};

/// What generated code may mention, in the three blocks of imports.
const KNOWN: [&[(&str, &str)]; 3] = [
    &[("std::borrow", "Cow"), ("std::collections", "BTreeMap")],
    &[("serde", "Deserialize"), ("serde", "Serialize")],
    &[
        ("kms_model", "Operation"),
        ("crate::api::answer", "Base64"),
        ("crate::api::answer", "Response"),
        ("crate::api::checks", "Checks"),
        ("crate::api::input", "Blob"),
        ("crate::api::input", "EncryptionContext"),
        ("crate::api::input", "Object"),
        ("crate::api::input", "Secret"),
        ("crate::api::model", "Pattern"),
        ("crate::api::model", "Request"),
        ("crate::api::model", "Text"),
        ("crate::api::model", "patterns"),
        ("crate::api::model::generated", "inputs"),
        ("crate::api::model::generated", "outputs"),
        ("crate::api::model::generated", "rules"),
        ("kms_base::clock", "Timestamp"),
        ("kms_model", "enums"),
    ],
];

/// The code with its imports before it.
pub(super) fn with_imports(code: &str) -> String {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let lines = code.lines().filter(|line| !line.trim_start().starts_with("///"));
    let words: Vec<&str> = lines.flat_map(|line| line.split(|c| !is_word(c))).collect();
    let mut text = String::from("\n");
    for block in KNOWN {
        let mut paths = BTreeMap::<&str, Vec<&str>>::new();
        for (path, name) in block.iter().filter(|(_, name)| words.contains(name)) {
            paths.entry(path).or_default().push(name);
        }
        for (path, names) in &paths {
            let _ = match names.as_slice() {
                [name] => writeln!(text, "use {path}::{name};"),
                names => writeln!(text, "use {path}::{{{}}};", names.join(", ")),
            };
        }
        if !paths.is_empty() {
            text.push('\n');
        }
    }
    text + code
}
