//! Files of vectors: a JSON array of sets, each with an array of objects of hexadecimal strings.

use std::fs;
use std::path::Path;

use serde_json::Value;

/// Vectors of one algorithm from one source.
pub(super) struct Set {
    pub(super) name: String,
    pub(super) source: String,
    /// Vectors of the source that fit.
    pub(super) total: usize,
    fields: Value,
}

impl Set {
    /// The operation, where a family has several.
    pub(super) fn kind(&self) -> &str {
        text(&self.fields, "kind")
    }

    /// The key spec.
    pub(super) fn spec(&self) -> &str {
        text(&self.fields, "spec")
    }

    pub(super) fn vectors(&self) -> Vec<Vector<'_>> {
        let tests = self.fields["tests"].as_array().expect("an array of vectors");
        tests.iter().map(|fields| Vector { set: &self.name, fields }).collect()
    }
}

/// One vector.
pub(super) struct Vector<'a> {
    set: &'a str,
    fields: &'a Value,
}

impl Vector<'_> {
    /// What a failure is reported as.
    pub(super) fn name(&self) -> String {
        format!("{}, {}", self.set, text(self.fields, "id"))
    }

    pub(super) fn text(&self, field: &str) -> &str {
        text(self.fields, field)
    }

    pub(super) fn bytes(&self, field: &str) -> Vec<u8> {
        self.optional(field).unwrap_or_else(|| panic!("{}: no {field}", self.name()))
    }

    /// The bytes of a field that is not there, or null, in some vectors.
    pub(super) fn optional(&self, field: &str) -> Option<Vec<u8>> {
        self.fields[field].as_str().map(unhex)
    }

    pub(super) fn array<const N: usize>(&self, field: &str) -> [u8; N] {
        let bytes = self.bytes(field);
        bytes.try_into().unwrap_or_else(|_| panic!("{}: length of {field}", self.name()))
    }

    /// Whether the operation must succeed.
    pub(super) fn is_valid(&self) -> bool {
        self.fields["valid"].as_bool().expect("true or false")
    }
}

/// Reads the sets of a family.
pub(super) fn load(family: &str) -> Vec<Set> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors");
    let path = folder.join(family).with_extension("json");
    let file = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path:?}: {error}"));
    let sets: Vec<Value> = serde_json::from_str(&file).expect("a list of sets");
    let set = |fields: Value| Set {
        name: text(&fields, "name").into(),
        source: text(&fields, "source").into(),
        total: fields["total"].as_u64().and_then(|total| total.try_into().ok()).expect("a number"),
        fields,
    };
    sets.into_iter().map(set).collect()
}

fn text<'a>(fields: &'a Value, field: &str) -> &'a str {
    fields[field].as_str().unwrap_or_else(|| panic!("no {field}"))
}

fn unhex(text: &str) -> Vec<u8> {
    assert!(text.len().is_multiple_of(2), "half a byte");
    let digits = (0..text.len()).step_by(2).map(|at| &text[at..at + 2]);
    digits.map(|byte| u8::from_str_radix(byte, 16).expect("hexadecimal")).collect()
}
