//! What `audit.toml` says.

use std::collections::BTreeMap;

use toml::{Table, Value};

use crate::failure::{Failure, Result};

/// Crate name to reason.
type Reasons = BTreeMap<String, String>;

/// The rules dependencies are checked against.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Rules {
    /// Platforms whose dependencies are audited.
    pub(super) targets: Vec<String>,
    /// Where packages may come from, in the form of Cargo.lock.
    pub(super) sources: Vec<String>,
    /// SPDX identifiers.
    pub(super) licences: Vec<String>,
    /// `crate licence` pairs that are allowed although the licence is not.
    pub(super) exceptions: Reasons,
    /// Crates that may not be built.
    pub(super) bans: Reasons,
    /// Crates whose own dependencies may be banned ones or second versions of ours.
    pub(super) trees: Reasons,
    /// Crates that may be there in more than one version.
    pub(super) duplicates: Reasons,
}

impl Rules {
    /// Reads the file. Every key must be there and no other.
    pub(super) fn parse(text: &str) -> Result<Self> {
        let mut table: Table = text.parse().map_err(|e| broken(format!("{e}")))?;
        let rules = Self {
            targets: list(&mut table, "targets")?,
            sources: list(&mut table, "sources")?,
            licences: list(&mut table, "licences")?,
            exceptions: reasons(&mut table, "exceptions")?,
            bans: reasons(&mut table, "bans")?,
            trees: reasons(&mut table, "trees")?,
            duplicates: reasons(&mut table, "duplicates")?,
        };
        match table.keys().next() {
            None => Ok(rules),
            Some(key) => Err(broken(format!("unknown key `{key}`"))),
        }
    }

    /// Names of [`Rules::trees`].
    pub(super) fn pruned(&self) -> Vec<&str> {
        self.trees.keys().map(String::as_str).collect()
    }
}

fn list(table: &mut Table, key: &str) -> Result<Vec<String>> {
    match table.remove(key) {
        Some(Value::Array(values)) => values.into_iter().map(|value| string(key, value)).collect(),
        _ => Err(broken(format!("`{key}` must be a list of strings"))),
    }
}

fn reasons(table: &mut Table, key: &str) -> Result<Reasons> {
    let Some(Value::Table(values)) = table.remove(key) else {
        return Err(broken(format!("`{key}` must be a table of crates and reasons")));
    };
    values.into_iter().map(|(name, value)| Ok((name, string(key, value)?))).collect()
}

/// A reason may not be empty.
fn string(key: &str, value: Value) -> Result<String> {
    match value {
        Value::String(text) if !text.trim().is_empty() => Ok(text),
        _ => Err(broken(format!("`{key}` has a value that is not a text"))),
    }
}

fn broken(why: String) -> Failure {
    Failure::new("audit.toml is not understood").help(why)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str =
        "targets = []\nsources = []\nlicences = ['MIT']\nexceptions = {}\nbans = {}\ntrees = {}\n";

    #[test]
    fn every_key_is_there_and_no_other() {
        assert!(Rules::parse(&format!("{GOOD}duplicates = {{ a = 'b' }}")).is_ok());
        assert!(Rules::parse(GOOD).is_err());
        assert!(Rules::parse(&format!("{GOOD}duplicates = {{}}\nallow = []")).is_err());
    }

    #[test]
    fn exceptions_need_a_reason() {
        assert!(Rules::parse(&format!("{GOOD}duplicates = {{ a = ' ' }}")).is_err());
        assert!(Rules::parse(&format!("{GOOD}duplicates = ['a']")).is_err());
    }
}
