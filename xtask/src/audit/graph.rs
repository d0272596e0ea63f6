//! The resolved dependency graph, read from `cargo metadata`.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// Identifier of a package in cargo's metadata.
type Id = String;

/// One package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Package {
    pub(super) name: String,
    pub(super) version: String,
    /// SPDX expression; none if the manifest has none.
    pub(super) licence: Option<String>,
    /// None for the crates of this workspace.
    pub(super) source: Option<String>,
}

/// Packages and what they depend on.
#[derive(Debug, Default)]
pub(super) struct Graph {
    packages: BTreeMap<Id, Package>,
    edges: BTreeMap<Id, BTreeSet<Id>>,
    members: BTreeSet<Id>,
}

impl Graph {
    /// Adds what `cargo metadata` said for one platform.
    pub(super) fn add(&mut self, metadata: &Value) {
        for package in list(&metadata["packages"]) {
            let read = Package {
                name: text(&package["name"]),
                version: text(&package["version"]),
                licence: package["license"].as_str().map(str::to_owned),
                source: package["source"].as_str().map(str::to_owned),
            };
            self.packages.insert(text(&package["id"]), read);
        }
        for node in list(&metadata["resolve"]["nodes"]) {
            let edges = self.edges.entry(text(&node["id"])).or_default();
            edges.extend(list(&node["dependencies"]).map(text));
        }
        self.members.extend(list(&metadata["workspace_members"]).map(text));
    }

    /// Everything the workspace depends on, itself included, not looking beneath the crates in `pruned`.
    pub(super) fn reachable(&self, pruned: &[&str]) -> impl Iterator<Item = &Package> {
        let mut seen = BTreeSet::new();
        let mut open: Vec<_> = self.members.iter().collect();
        while let Some(id) = open.pop() {
            let skip = self.packages.get(id).is_some_and(|p| pruned.contains(&&*p.name));
            if !skip && seen.insert(id) {
                open.extend(self.edges.get(id).into_iter().flatten());
            }
        }
        seen.into_iter().filter_map(|id| self.packages.get(id))
    }
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn pruned_crates_hide_only_what_they_alone_bring() {
        let package = |id: &str| json!({"id": id, "name": id, "version": "1.0.0"});
        let node = |id: &str, deps: &[&str]| json!({"id": id, "dependencies": deps});
        let mut graph = Graph::default();
        graph.add(&json!({
            "packages": (["ours", "old", "shared", "ancient"].map(package)),
            "resolve": {"nodes": [
                node("ours", &["old", "shared"]),
                node("old", &["ancient", "shared"]),
                node("shared", &[]),
                node("ancient", &[]),
            ]},
            "workspace_members": ["ours"],
        }));
        let names = |pruned: &[&str]| -> Vec<_> {
            graph.reachable(pruned).map(|package| package.name.clone()).collect()
        };
        assert_eq!(names(&[]), ["ancient", "old", "ours", "shared"]);
        assert_eq!(names(&["old"]), ["ours", "shared"]);
    }
}
