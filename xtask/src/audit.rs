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

use serde_json::Value;
use toml::Table;

use self::{
    graph::{Graph, Package},
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
        let metadata = |offline: bool| {
            let mut cargo = command::cargo(["metadata", "--format-version", "1", "--locked"]);
            cargo.args(["--all-features", "--filter-platform", target]);
            command::output(if offline { cargo.arg("--offline") } else { &mut cargo })
        };
        // Manifests of crates that were never built here are missing: cargo fetches them once.
        let text = metadata(true).or_else(|_| {
            term::note(format!("fetching the manifests for {target}"));
            metadata(false)
        })?;
        let value: Value = serde_json::from_str(&text)
            .map_err(|e| Failure::new(format!("cargo metadata is not JSON: {e}")))?;
        graph.add(&value);
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
    let banned = |package: &Package| {
        let reason = rules.bans.get(&package.name)?;
        Some(format!("{} is banned: {reason}", package.name))
    };
    graph.reachable(&rules.pruned()).filter_map(banned).collect()
}

fn check_licences(graph: &Graph, rules: &Rules) -> Vec<String> {
    let faulty = |package: &&Package| {
        let licence = package.licence.as_deref().unwrap_or_default();
        package.source.is_some() && !spdx::satisfied(licence, &rules.licences)
    };
    let finding = |package: &Package| {
        let licence = package.licence.as_deref().unwrap_or("no licence");
        format!("{} {} has {licence}", package.name, package.version)
    };
    graph.reachable(&[]).filter(faulty).map(finding).collect()
}

fn check_versions(graph: &Graph, rules: &Rules) -> Vec<String> {
    let names: BTreeSet<_> = graph.reachable(&[]).map(|package| &*package.name).collect();
    let mut findings: Vec<_> = rules
        .trees
        .keys()
        .filter(|name| !names.contains(name.as_str()))
        .map(|name| format!("audit.toml lets {name} bring old versions, but it is not used"))
        .collect();

    let mut versions = BTreeMap::<_, BTreeSet<_>>::new();
    for package in graph.reachable(&rules.pruned()) {
        versions.entry(&*package.name).or_default().insert(&*package.version);
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
    use serde_json::json;

    use super::*;

    fn rules() -> Rules {
        Rules::parse(
            r#"
            targets = ["t"]
            sources = ["registry+r"]
            licences = ["MIT"]
            bans = { evil = "it is" }
            trees = { old = "a test needs it" }
            duplicates = { twice = "on its way out" }
            "#,
        )
        .unwrap()
    }

    /// `ours` depends on every given package.
    fn graph(packages: &[(&str, &str, &str)]) -> Graph {
        let id = |(name, version, _): &(&str, &str, &str)| format!("{name} {version}");
        let ids: Vec<_> = packages.iter().map(id).collect();
        let mut all: Vec<_> = packages
            .iter()
            .map(|p| json!({"id": id(p), "name": p.0, "version": p.1, "license": p.2, "source": "s"}))
            .collect();
        all.push(json!({"id": "ours", "name": "ours", "version": "0.1.0"}));
        let mut graph = Graph::default();
        graph.add(&json!({
            "packages": all,
            "resolve": {"nodes": [{"id": "ours", "dependencies": ids}]},
            "workspace_members": ["ours"],
        }));
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
        let graph = graph(&[("evil", "1.0.0", "MIT"), ("good", "1.0.0", "MIT")]);
        assert_eq!(check_bans(&graph, &rules()), ["evil is banned: it is"]);
    }

    #[test]
    fn licences_are_allowed_ones() {
        let graph = graph(&[("a", "1.0.0", "MIT OR GPL-3.0"), ("b", "1.0.0", "GPL-3.0")]);
        assert_eq!(check_licences(&graph, &rules()), ["b 1.0.0 has GPL-3.0"]);
    }

    #[test]
    fn second_versions_need_a_reason_and_reasons_a_second_version() {
        let base = [("old", "1.0.0", "MIT"), ("twice", "1.0.0", "MIT"), ("twice", "2.0.0", "MIT")];
        assert!(check_versions(&graph(&base), &rules()).is_empty());
        let more = [&base[..], &[("x", "1.0.0", "MIT"), ("x", "2.0.0", "MIT")]].concat();
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
