//! The dependency graph as it is built, read from `cargo tree` (`cargo metadata` also shows what no feature enables).

use std::collections::{BTreeMap, BTreeSet};

use crate::failure::{Failure, Result};

/// Options that make `cargo tree` print what [`Graph::add`] reads: depth, package and licence of each edge.
pub(super) const TREE_OPTIONS: [&str; 8] = [
    "--workspace",
    "--all-features",
    "-e",
    "normal,build,dev",
    "--prefix",
    "depth",
    "-f",
    "|{p}|{l}|",
];

/// Name and version.
pub(super) type Id = (String, String);

/// Packages and what they depend on.
#[derive(Debug, Default)]
pub(super) struct Graph {
    /// SPDX expression of each package; empty if its manifest has none.
    licences: BTreeMap<Id, String>,
    edges: BTreeMap<Id, BTreeSet<Id>>,
    /// The crates of this workspace.
    members: BTreeSet<Id>,
}

impl Graph {
    /// Adds what `cargo tree` printed for one platform.
    pub(super) fn add(&mut self, tree: &str) -> Result<()> {
        let mut path: Vec<Id> = Vec::new();
        for line in tree.lines().filter(|line| !line.is_empty()) {
            let (depth, id, licence) = parse(line)
                .filter(|(depth, ..)| *depth <= path.len())
                .ok_or_else(|| Failure::new(format!("cannot read cargo tree's line `{line}`")))?;
            path.truncate(depth);
            match path.last() {
                Some(dependent) => {
                    self.edges.entry(dependent.clone()).or_default().insert(id.clone());
                }
                None => {
                    self.members.insert(id.clone());
                }
            }
            self.licences.insert(id.clone(), licence.to_owned());
            path.push(id);
        }
        Ok(())
    }

    /// Everything the workspace depends on, itself included, with licences; crates in `pruned` and what only they
    /// bring are left out.
    pub(super) fn reachable(&self, pruned: &[&str]) -> impl Iterator<Item = (&Id, &str)> {
        let mut seen = BTreeSet::new();
        let mut open: Vec<_> = self.members.iter().collect();
        while let Some(id) = open.pop() {
            if !pruned.contains(&&*id.0) && seen.insert(id) {
                open.extend(self.edges.get(id).into_iter().flatten());
            }
        }
        seen.into_iter().filter_map(|id| Some((id, &**self.licences.get(id)?)))
    }
}

/// `2|syn v2.0.1 (proc-macro)|MIT| (*)`
fn parse(line: &str) -> Option<(usize, Id, &str)> {
    let mut fields = line.split('|');
    let depth = fields.next()?.parse().ok()?;
    let mut package = fields.next()?.split(' ');
    let name = package.next()?.to_owned();
    let version = package.next()?.strip_prefix('v')?.to_owned();
    Some((depth, (name, version), fields.next()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TREE: &str = "\
0|ours v1.0.0 (/src/ours)|Apache-2.0|
1|old v1.0.0|MIT|
2|ancient v1.0.0|MIT|
2|shared v1.0.0 (proc-macro)|MIT|
1|shared v1.0.0 (proc-macro)|MIT| (*)

0|xtask v1.0.0 (/src/xtask)|Apache-2.0|
";

    #[test]
    fn pruned_crates_hide_only_what_they_alone_bring() {
        let mut graph = Graph::default();
        graph.add(TREE).unwrap();
        let names = |pruned: &[&str]| -> Vec<_> {
            graph.reachable(pruned).map(|(id, _)| id.0.clone()).collect()
        };
        assert_eq!(names(&[]), ["ancient", "old", "ours", "shared", "xtask"]);
        assert_eq!(names(&["old"]), ["ours", "shared", "xtask"]);
    }

    #[test]
    fn lines_that_are_not_understood_are_errors() {
        for line in ["error: x", "0|ours|MIT|", "1|orphan v1.0.0|MIT|"] {
            assert!(Graph::default().add(line).is_err(), "{line}");
        }
    }
}
