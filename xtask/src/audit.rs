//! `cargo xtask audit`: checks the dependencies against `audit.toml`, without network.
//!
//! Every package in `Cargo.lock` comes from an allowed source with a checksum. Of those built for the platforms we
//! support, none is banned, each has an allowed licence and only one version, exceptions stated with reasons.
//! An exception that no longer applies is an error too.

mod graph;
mod rules;
mod spdx;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

use toml::Table;

use self::{
    graph::{Graph, Id, TREE_OPTIONS},
    rules::Rules,
};
use crate::{
    args::Args,
    command,
    failure::{Doing, Failure, Result},
    term,
};

/// The subcommand.
pub(crate) fn main(args: Args) -> Result<()> {
    args.finish()?;
    let rules = Rules::parse(&read("audit.toml")?)?;
    let lock = parse_lock(&read("Cargo.lock")?)?;
    let graph = resolve(&rules.targets)?;

    let mut findings = check_lock(&lock, &rules);
    findings.extend(check_bans(&graph, &rules));
    findings.extend(check_licences(&graph, &rules));
    findings.extend(check_versions(&graph, &rules));
    if findings.is_empty() {
        let built = graph.reachable(&[]).count();
        term::note(format!("{} locked, {built} built, all as allowed", lock.len()));
        return Ok(());
    }
    let failure = Failure::new(format!("the audit found {}", term::count(findings.len(), "fault")));
    Err(findings
        .into_iter()
        .fold(failure, Failure::help)
        .help("remove the dependency, or allow it in audit.toml with a reason"))
}

/// A `[[package]]` of Cargo.lock.
#[derive(Debug, PartialEq, Eq)]
struct Locked {
    name: String,
    source: Option<String>,
    checksum: bool,
}

fn parse_lock(text: &str) -> Result<Vec<Locked>> {
    let broken = || Failure::new("Cargo.lock is not what cargo writes");
    let table: Table = text.parse().map_err(|e| broken().help(format!("{e}")))?;
    let packages = table.get("package").and_then(|value| value.as_array()).ok_or_else(broken)?;
    let locked = packages.iter().map(|package| {
        let text = |key: &str| package.get(key).and_then(|value| value.as_str());
        Some(Locked {
            name: text("name")?.to_owned(),
            source: text("source").map(str::to_owned),
            checksum: text("checksum").is_some(),
        })
    });
    locked.collect::<Option<_>>().ok_or_else(broken)
}

/// The graph of all `targets`, with every feature.
fn resolve(targets: &[String]) -> Result<Graph> {
    let mut graph = Graph::default();
    for target in targets {
        let tree = |offline: bool| {
            let mut cargo = command::cargo(["tree", "--locked", "--target", target]);
            cargo.args(TREE_OPTIONS);
            command::output(if offline { cargo.arg("--offline") } else { &mut cargo })
        };
        // Manifests of crates that were never built here are missing: cargo fetches them once.
        let tree = tree(true).or_else(|_| {
            term::note(format!("fetching the manifests for {target}"));
            tree(false)
        })?;
        graph.add(&tree)?;
    }
    Ok(graph)
}

fn check_lock(lock: &[Locked], rules: &Rules) -> Vec<String> {
    let mut findings = Vec::new();
    for Locked { name, source, checksum } in lock {
        match source {
            Some(source) if !rules.sources.contains(source) => {
                findings.push(format!("{name} comes from {source}"));
            }
            Some(_) if !checksum => findings.push(format!("{name} is locked without a checksum")),
            _ => {}
        }
    }
    findings
}

fn check_bans(graph: &Graph, rules: &Rules) -> Vec<String> {
    let banned = |((name, _), _): (&Id, &str)| {
        rules.bans.get(name).map(|reason| format!("{name} is banned: {reason}"))
    };
    graph.reachable(&rules.pruned()).filter_map(banned).collect()
}

fn check_licences(graph: &Graph, rules: &Rules) -> Vec<String> {
    let mut findings = Vec::new();
    let mut unused: BTreeSet<_> = rules.exceptions.keys().cloned().collect();
    for ((name, version), licence) in graph.reachable(&[]) {
        let licence = if licence.is_empty() { "no licence" } else { licence };
        let excepted = unused.remove(&format!("{name} {licence}"));
        if !excepted && !spdx::satisfied(licence, &rules.licences) {
            findings.push(format!("{name} {version} has {licence}"));
        }
    }
    findings
        .extend(unused.iter().map(|entry| format!("audit.toml allows {entry}, which is not used")));
    findings
}

fn check_versions(graph: &Graph, rules: &Rules) -> Vec<String> {
    let names: BTreeSet<_> = graph.reachable(&[]).map(|((name, _), _)| &**name).collect();
    let mut findings: Vec<_> = rules
        .trees
        .keys()
        .filter(|name| !names.contains(name.as_str()))
        .map(|name| format!("audit.toml lets {name} bring old versions, but it is not used"))
        .collect();

    let mut versions = BTreeMap::<_, BTreeSet<_>>::new();
    for ((name, version), _) in graph.reachable(&rules.pruned()) {
        versions.entry(&**name).or_default().insert(&**version);
    }
    for (name, versions) in &versions {
        if versions.len() > 1 && !rules.duplicates.contains_key(*name) {
            let versions: Vec<_> = versions.iter().copied().collect();
            findings.push(format!("{name} is built in versions {}", versions.join(", ")));
        }
    }
    for name in rules.duplicates.keys() {
        if versions.get(&**name).is_none_or(|versions| versions.len() < 2) {
            findings.push(format!("audit.toml allows versions of {name}, but there is only one"));
        }
    }
    findings
}

fn read(file: &str) -> Result<String> {
    fs::read_to_string(command::root().join(file)).doing(format_args!("read {file}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules() -> Rules {
        Rules::parse(
            r#"
            targets = ["t"]
            sources = ["registry+r"]
            licences = ["MIT"]
            bans = { evil = "it is" }
            exceptions = { "c MPL-2.0" = "unchanged" }
            trees = { old = "a test needs it" }
            duplicates = { twice = "on its way out" }
            "#,
        )
        .unwrap()
    }

    /// `ours` depends on every given package: `name vVERSION|LICENCE`.
    fn graph(packages: &[&str]) -> Graph {
        let mut tree = "0|ours v0.1.0 (/ours)|MIT|\n".to_owned();
        tree.extend(packages.iter().map(|package| format!("1|{package}|\n")));
        let mut graph = Graph::default();
        graph.add(&tree).unwrap();
        graph
    }

    #[test]
    fn lock_entries_have_an_allowed_source_and_a_checksum() {
        let lock = parse_lock(
            r#"
            [[package]]
            name = "ours"
            [[package]]
            name = "good"
            source = "registry+r"
            checksum = "00"
            [[package]]
            name = "fork"
            source = "git+https://example.org"
            [[package]]
            name = "unchecked"
            source = "registry+r"
            "#,
        );
        assert_eq!(
            check_lock(&lock.unwrap(), &rules()),
            ["fork comes from git+https://example.org", "unchecked is locked without a checksum",]
        );
        assert!(parse_lock("package = 1").is_err());
    }

    #[test]
    fn banned_crates_are_named_with_the_reason() {
        let graph = graph(&["evil v1.0.0|MIT", "good v1.0.0|MIT"]);
        assert_eq!(check_bans(&graph, &rules()), ["evil is banned: it is"]);
    }

    #[test]
    fn licences_are_allowed_ones_or_stated_exceptions() {
        let excepted = graph(&["a v1.0.0|MIT OR GPL-3.0", "c v1.0.0|MPL-2.0"]);
        assert!(check_licences(&excepted, &rules()).is_empty());
        assert_eq!(
            check_licences(
                &graph(&["b v1.0.0|MPL-2.0", "c v1.0.0|GPL-3.0", "d v1.0.0|"]),
                &rules()
            ),
            [
                "b 1.0.0 has MPL-2.0",
                "c 1.0.0 has GPL-3.0",
                "d 1.0.0 has no licence",
                "audit.toml allows c MPL-2.0, which is not used",
            ]
        );
    }

    #[test]
    fn second_versions_need_a_reason_and_reasons_a_second_version() {
        let base = ["old v1.0.0|MIT", "twice v1.0.0|MIT", "twice v2.0.0|MIT"];
        assert!(check_versions(&graph(&base), &rules()).is_empty());
        let more = [&base[..], &["x v1.0.0|MIT", "x v2.0.0|MIT"]].concat();
        assert_eq!(
            check_versions(&graph(&more), &rules()),
            ["x is built in versions 1.0.0, 2.0.0"]
        );
        assert_eq!(
            check_versions(&graph(&base[1..2]), &rules()),
            [
                "audit.toml lets old bring old versions, but it is not used",
                "audit.toml allows versions of twice, but there is only one",
            ]
        );
    }
}
