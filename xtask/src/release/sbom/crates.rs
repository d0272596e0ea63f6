//! The crates that products are built from, as `cargo tree` and `Cargo.lock` tell.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    process::Command,
};

use toml::{Table, Value};

use crate::{
    command,
    failure::{Doing, Failure, Result},
};

/// Kinds of dependencies that are asked for: everything that takes part in a build, then what ends up in the product.
pub(super) const EDGES: [Edges; 2] = [Edges::All, Edges::Linked];

/// A kind of dependencies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Edges {
    All,
    Linked,
}

/// Name and version.
pub(super) type Key = (String, String);

/// Where a crate is from.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// This workspace.
    Own,
    /// The registry; the checksum is that of the file it hands out.
    Registry { sha256: String },
}

/// A crate.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Crate {
    pub(super) name: String,
    pub(super) version: String,
    pub(super) source: Source,
    /// An SPDX expression.
    pub(super) licence: Option<String>,
    /// The products that it takes part in.
    pub(super) products: BTreeSet<String>,
    /// Whether code of it is in a product.
    pub(super) is_linked: bool,
}

impl Crate {
    pub(super) fn key(&self) -> Key {
        (self.name.clone(), self.version.clone())
    }
}

/// All crates.
#[derive(Debug, Default)]
pub(super) struct Crates {
    known: BTreeMap<Key, Crate>,
    /// The crates that a crate depends on.
    pub(super) edges: BTreeMap<Key, BTreeSet<Key>>,
    /// The crate of each product.
    pub(super) roots: BTreeMap<String, Key>,
}

impl Crates {
    pub(super) fn all(&self) -> impl Iterator<Item = &Crate> {
        self.known.values()
    }

    pub(super) fn get(&self, key: &Key) -> Option<&Crate> {
        self.known.get(key)
    }

    /// Adds what `cargo`, a `cargo tree` for a product, says.
    pub(super) fn read(&mut self, product: &str, edges: Edges, cargo: &mut Command) -> Result<()> {
        let kinds = match edges {
            Edges::All => "normal,build",
            Edges::Linked => "normal,no-proc-macro",
        };
        let format = ["--prefix", "depth", "--format", "\t{p}\t{l}", "--edges", kinds];
        let text = command::output(cargo.args(["--locked", "--charset", "ascii"]).args(format))?;
        self.add(product, edges, &text, &checksums()?)
    }

    /// Adds a tree: lines of depth, crate and licence. A crate whose own crates were listed before has a mark.
    fn add(
        &mut self,
        product: &str,
        edges: Edges,
        tree: &str,
        checksums: &BTreeMap<Key, String>,
    ) -> Result<()> {
        let mut above: Vec<Key> = Vec::new();
        // Where there are several platforms, the tree of each begins anew.
        for line in tree.lines().filter(|line| !line.is_empty()) {
            let broken = || Failure::new(format!("cargo tree is not understood: {line:?}"));
            let mut fields = line.split('\t');
            let (Some(depth), Some(package), Some(licence)) =
                (fields.next(), fields.next(), fields.next())
            else {
                return Err(broken());
            };
            let depth: usize = depth.parse().map_err(|_| broken())?;
            let mut words = package.split(' ');
            let (Some(name), Some(version)) = (words.next(), words.next()) else {
                return Err(broken());
            };
            let version = version.strip_prefix('v').ok_or_else(broken)?;
            let key = (name.to_owned(), version.to_owned());
            let path = words.find(|word| word.starts_with("(/"));
            let source = match (checksums.get(&key), path) {
                (Some(sha256), None) => Source::Registry { sha256: sha256.clone() },
                (None, Some(_)) => Source::Own,
                _ => {
                    return Err(Failure::new(format!(
                        "{name} {version} is neither ours nor has it a checksum in Cargo.lock"
                    )));
                }
            };
            above.truncate(depth);
            if let Some(parent) = above.last() {
                self.edges.entry(parent.clone()).or_default().insert(key.clone());
            } else {
                self.roots.insert(product.to_owned(), key.clone());
            }
            above.push(key.clone());
            let one = self.known.entry(key).or_insert_with(|| Crate {
                name: name.to_owned(),
                version: version.to_owned(),
                source,
                licence: expression(licence),
                products: BTreeSet::new(),
                is_linked: false,
            });
            one.products.insert(product.to_owned());
            one.is_linked |= edges == Edges::Linked;
        }
        Ok(())
    }

    /// Fails if a product has no crates: then the bill would be wrong.
    pub(super) fn check(&self) -> Result<()> {
        match self.known.is_empty()
            || self.roots.values().any(|root| !self.edges.contains_key(root))
        {
            true => Err(Failure::new("cargo tree told of no crates")),
            false => Ok(()),
        }
    }
}

/// The SPDX expression of a licence as crates give it; a slash is an old form of `OR`.
fn expression(licence: &str) -> Option<String> {
    let licence = licence.trim_end_matches("(*)").trim();
    let parts: Vec<_> = licence.split('/').map(str::trim).collect();
    (!licence.is_empty()).then(|| parts.join(" OR "))
}

/// Checksums of crates from the registry.
fn checksums() -> Result<BTreeMap<Key, String>> {
    let text = fs::read_to_string(command::root().join("Cargo.lock")).doing("read Cargo.lock")?;
    let lock: Table = text
        .parse()
        .map_err(|error| Failure::new("Cargo.lock is not understood").help(format!("{error}")))?;
    let packages = lock.get("package").and_then(Value::as_array).into_iter().flatten();
    let text = |package: &Value, key: &str| Some(package.get(key)?.as_str()?.to_owned());
    let checksum = |package: &Value| {
        Some(((text(package, "name")?, text(package, "version")?), text(package, "checksum")?))
    };
    Ok(packages.filter_map(checksum).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> Key {
        (name.to_owned(), "1.0.0".to_owned())
    }

    fn sums() -> BTreeMap<Key, String> {
        ["a", "b", "macro"].map(|name| (key(name), name.repeat(64))).into()
    }

    #[test]
    fn a_tree_is_read_with_its_edges() {
        let mut crates = Crates::default();
        let all = "0\town v1.0.0 (/home/u/own)\tApache-2.0\n\
                   1\ta v1.0.0\tApache-2.0/MIT\n\
                   2\tb v1.0.0\tMIT\n\
                   1\tmacro v1.0.0 (proc-macro)\t\n\
                   2\ta v1.0.0\tApache-2.0/MIT (*)\n";
        crates.add("firmware", Edges::All, all, &sums()).unwrap();
        let linked = "0\town v1.0.0 (/home/u/own)\tApache-2.0\n1\ta v1.0.0\tApache-2.0/MIT\n2\tb v1.0.0\tMIT\n";
        crates.add("firmware", Edges::Linked, linked, &sums()).unwrap();
        crates.add("program", Edges::All, "0\tb v1.0.0\tMIT\n", &sums()).unwrap();
        let a = crates.get(&key("a")).unwrap();
        assert_eq!(a.licence.as_deref(), Some("Apache-2.0 OR MIT"));
        assert_eq!(a.source, Source::Registry { sha256: "a".repeat(64) });
        assert!(a.is_linked);
        let found = crates.get(&key("macro")).unwrap();
        assert_eq!((found.is_linked, &found.licence), (false, &None));
        assert_eq!(crates.get(&key("own")).unwrap().source, Source::Own);
        assert_eq!(crates.edges[&key("own")], [key("a"), key("macro")].into());
        assert_eq!(crates.edges[&key("macro")], [key("a")].into());
        assert_eq!(crates.roots["firmware"], key("own"));
        assert_eq!(crates.get(&key("b")).unwrap().products.len(), 2);
        assert!(crates.check().is_err(), "the program has no crates");
    }

    #[test]
    fn a_crate_of_unknown_origin_is_refused() {
        let mut crates = Crates::default();
        let git = "0\tx v1.0.0 (https://example.org/x#0123)\tMIT\n";
        let why = crates.add("p", Edges::All, git, &sums()).unwrap_err().to_string();
        assert!(why.starts_with("x 1.0.0 is neither ours"), "{why}");
        assert!(crates.add("p", Edges::All, "x\n", &sums()).is_err());
    }
}
