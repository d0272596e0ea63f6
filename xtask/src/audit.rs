//! `cargo xtask audit`: cargo-deny with `deny.toml`, which says what is allowed among the dependencies, and why.
//!
//! Known faults (advisories) are looked up where the network has their database; elsewhere it is said that they were not.

use std::path::PathBuf;

use crate::{
    args::Args,
    command::{self, program},
    failure::Result,
    term,
};

/// What is checked besides the advisories, without network once cargo has every manifest.
const CHECKS: [&str; 3] = ["bans", "licenses", "sources"];

/// The subcommand.
pub(crate) fn main(args: Args) -> Result<()> {
    args.finish()?;
    let deny = prepare()?;
    let advisories = command::output(&mut program(&deny, ["fetch", "db"]));
    if advisories.is_err() {
        term::failure(
            "the database of advisories cannot be fetched: NO known faults are looked for",
        );
    }
    let checks = advisories.is_ok().then_some("advisories");
    let mut check = program(&deny, ["--locked", "check"]);
    // A warning is an exception that no longer applies.
    check.args(["--deny", "warnings", "--hide-inclusion-graph"]).args(CHECKS).args(checks);
    command::run(&mut check).map_err(|failure| {
        failure.help("remove the dependency, or allow it in deny.toml with a reason")
    })
}

/// The version that is built where there is none. Unoptimised it takes a minute and a half of two cores.
const VERSION: &str = "0.20.2";

/// The program: the one on PATH, else one that is built from its source under target/.
fn prepare() -> Result<PathBuf> {
    const NAME: &str = "cargo-deny";
    if command::on_path(NAME) {
        return Ok(NAME.into());
    }
    let root = command::target_dir().join("tools").join(format!("{NAME}-{VERSION}"));
    let installed = root.join("bin").join(NAME);
    if !installed.is_file() {
        let exact = format!("{NAME}@={VERSION}");
        let mut install = command::cargo(["install", "--locked", "--debug", "--quiet", &exact]);
        install.arg("--root").arg(&root);
        term::step(&format!("build {exact}"), || command::run(&mut install)).map_err(|failure| {
            failure.help("cargo needs the network once; or install it: cargo install --locked cargo-deny")
        })?;
    }
    Ok(installed)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use toml::Table;

    use crate::command;

    #[test]
    fn every_exception_has_a_reason() {
        let text = fs::read_to_string(command::root().join("deny.toml")).unwrap();
        let rules: Table = text.parse().unwrap();
        for list in ["deny", "skip", "skip-tree"] {
            let exceptions = rules["bans"][list].as_array().unwrap();
            assert!(!exceptions.is_empty(), "{list}");
            for exception in exceptions {
                let reason = exception.get("reason").and_then(|reason| reason.as_str());
                assert!(reason.is_some_and(|reason| reason.len() > 9), "{exception}");
            }
        }
    }
}
