//! The service model, read into types. What is not understood is an error, never left out.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::RangeInclusive,
};

use serde_json::Value;

use crate::failure::{Failure, Result};

/// A service model.
pub(super) struct Model {
    /// Operations by name.
    pub(super) operations: BTreeMap<String, Operation>,
    /// Shapes by name.
    pub(super) shapes: BTreeMap<String, Shape>,
}

/// An operation, with the names of its shapes.
pub(super) struct Operation {
    /// The request.
    pub(super) input: String,
    /// The response, unless it is empty.
    pub(super) output: Option<String>,
    /// Exceptions, sorted.
    pub(super) errors: BTreeSet<String>,
}

/// A shape.
#[derive(Debug, Clone)]
pub(super) enum Shape {
    /// A structure.
    Structure(Structure),
    /// A list.
    List { element: String, length: Option<Range> },
    /// A map from strings to strings.
    Map,
    /// A string.
    Text(Text),
    /// Bytes, by their length.
    Blob(Option<Range>),
    /// A number.
    Integer(Option<Range>),
    /// True or false.
    Boolean,
    /// A point in time.
    Timestamp,
}

/// A structure: a request, a response, a part of one, or an exception.
#[derive(Debug, Clone)]
pub(super) struct Structure {
    /// Names of the members' shapes by the members' names.
    pub(super) members: BTreeMap<String, String>,
    /// Members that have to be there.
    pub(super) required: BTreeSet<String>,
    /// HTTP status, of an exception.
    pub(super) status: Option<u64>,
}

/// A string.
#[derive(Debug, Clone)]
pub(super) struct Text {
    /// Characters.
    pub(super) length: Option<Range>,
    /// A regular expression for all of it.
    pub(super) pattern: Option<String>,
    /// The only values there are, if there are any.
    pub(super) values: Vec<String>,
    /// Whether it is a secret.
    pub(super) sensitive: bool,
    /// Whether it may be repeated in error texts.
    pub(super) echoed: bool,
}

impl Text {
    /// Whether it is an enumeration.
    pub(super) const fn is_enum(&self) -> bool {
        !self.values.is_empty()
    }
}

/// Smallest and largest value, or length.
pub(super) type Range = RangeInclusive<i64>;

impl Model {
    /// Reads a stripped model.
    pub(super) fn read(model: &Value) -> Result<Self> {
        let operations = model["operations"].as_object().into_iter().flatten();
        let shapes = model["shapes"].as_object().into_iter().flatten();
        let model = Self {
            operations: operations
                .map(|(name, value)| Ok((name.clone(), operation(name, value)?)))
                .collect::<Result<_>>()?,
            shapes: shapes
                .map(|(name, value)| Ok((name.clone(), shape(name, value)?)))
                .collect::<Result<_>>()?,
        };
        if model.operations.is_empty() {
            return Err(Failure::new("the model has no operations"));
        }
        Ok(model)
    }

    /// The shape of that name.
    pub(super) fn shape(&self, name: &str) -> Result<&Shape> {
        self.shapes.get(name).ok_or_else(|| Failure::new(format!("the model lacks shape {name}")))
    }

    /// The structure of that name.
    pub(super) fn structure(&self, name: &str) -> Result<&Structure> {
        match self.shape(name)? {
            Shape::Structure(structure) => Ok(structure),
            _ => Err(Failure::new(format!("shape {name} is not a structure"))),
        }
    }

    /// All shapes that these structures lead to, without the structures themselves.
    pub(super) fn below<'n>(
        &self,
        roots: impl Iterator<Item = &'n String>,
    ) -> Result<BTreeSet<String>> {
        let mut found = BTreeSet::new();
        let mut open: Vec<String> = Vec::new();
        for root in roots {
            open.extend(self.structure(root)?.members.values().cloned());
        }
        while let Some(name) = open.pop() {
            match self.shape(&name)? {
                Shape::Structure(structure) if !found.contains(&name) => {
                    open.extend(structure.members.values().cloned());
                }
                Shape::List { element, .. } => open.push(element.clone()),
                _ => {}
            }
            found.insert(name);
        }
        Ok(found)
    }

    /// All shapes that requests consist of.
    pub(super) fn in_requests(&self) -> Result<BTreeSet<String>> {
        self.below(self.operations.values().map(|operation| &operation.input))
    }

    /// All shapes that responses consist of.
    pub(super) fn in_responses(&self) -> Result<BTreeSet<String>> {
        self.below(self.operations.values().filter_map(|operation| operation.output.as_ref()))
    }
}

fn operation(name: &str, value: &Value) -> Result<Operation> {
    let reference = |value: &Value| value["shape"].as_str().map(str::to_owned);
    let input = reference(&value["input"])
        .ok_or_else(|| Failure::new(format!("operation {name} has no input")))?;
    let errors = value["errors"].as_array().into_iter().flatten().filter_map(reference).collect();
    Ok(Operation { input, output: reference(&value["output"]), errors })
}

fn shape(name: &str, value: &Value) -> Result<Shape> {
    let kind = value["type"].as_str().unwrap_or_default();
    let (known, shape): (&[&str], _) = match kind {
        "structure" => {
            let known = &["error", "exception", "fault", "members", "required"];
            (known, Shape::Structure(structure(value)))
        }
        "list" => {
            let element = value["member"]["shape"].as_str().unwrap_or_default().to_owned();
            (&["max", "member", "min"], Shape::List { element, length: range(name, value)? })
        }
        "map" => (&["key", "value"], Shape::Map),
        "string" => {
            (&["enum", "max", "min", "pattern", "sensitive"], Shape::Text(text(name, value)?))
        }
        // Blobs are never repeated in texts, sensitive or not.
        "blob" => (&["max", "min", "sensitive"], Shape::Blob(range(name, value)?)),
        "integer" => (&["max", "min"], Shape::Integer(range(name, value)?)),
        "boolean" => (&[], Shape::Boolean),
        "timestamp" => (&[], Shape::Timestamp),
        _ => {
            return Err(Failure::new(format!("shape {name} has the unknown type `{kind}`"))
                .help("teach it to xtask/src/codegen/model.rs"));
        }
    };
    let keys = value.as_object().into_iter().flatten().map(|(key, _)| key.as_str());
    match keys.filter(|key| *key != "type").find(|key| !known.contains(key)) {
        None => Ok(shape),
        Some(key) => Err(Failure::new(format!("shape {name} ({kind}) has an unknown `{key}`"))),
    }
}

fn structure(value: &Value) -> Structure {
    let members = value["members"].as_object().into_iter().flatten();
    let shape = |value: &Value| value["shape"].as_str().unwrap_or_default().to_owned();
    let is_exception = value["exception"].as_bool() == Some(true);
    let status = value["error"]["httpStatusCode"].as_u64();
    let status = status.unwrap_or(if value["fault"].as_bool() == Some(true) { 500 } else { 400 });
    Structure {
        members: members.map(|(name, value)| (name.clone(), shape(value))).collect(),
        required: strings(&value["required"]).into_iter().collect(),
        status: is_exception.then_some(status),
    }
}

fn text(name: &str, value: &Value) -> Result<Text> {
    let sensitive = value["sensitive"].as_bool() == Some(true);
    Ok(Text {
        length: range(name, value)?,
        pattern: value["pattern"].as_str().map(str::to_owned),
        values: strings(&value["enum"]),
        sensitive,
        echoed: !sensitive,
    })
}

fn range(name: &str, value: &Value) -> Result<Option<Range>> {
    match (&value["min"], &value["max"]) {
        (Value::Null, Value::Null) => Ok(None),
        (min, max) => match (min.as_i64(), max.as_i64()) {
            (Some(min), Some(max)) if min <= max => Ok(Some(min..=max)),
            _ => Err(Failure::new(format!("shape {name} has one bound, or none that are numbers"))),
        },
    }
}

fn strings(value: &Value) -> Vec<String> {
    let items = value.as_array().into_iter().flatten();
    items.filter_map(Value::as_str).map(str::to_owned).collect()
}
