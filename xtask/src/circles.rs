//! `cargo xtask circles`: which modules of a crate import one another in a circle.
//!
//! A module is what a crate's root declares, with everything below it. An import is a path that begins with
//! `crate::`, in a `use` or elsewhere. Tests may import what they test with, so they are not counted.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use crate::{
    args::Args,
    command,
    failure::{Doing, Failure, Result},
    term,
};

/// The crates with several subjects, whose modules are layered. Cargo sees to the layers of crates.
const CRATES: [&str; 4] =
    ["kms-daemon/src", "kms-daemon/base/src", "kms-daemon/installation/src", "kms-daemon/ctl/src"];

/// Of each module, the modules that it imports, each with one file that does.
type Imports = BTreeMap<String, BTreeMap<String, PathBuf>>;

/// The subcommand.
pub(crate) fn main(args: Args) -> Result<()> {
    args.finish()?;
    let mut failure = None;
    for path in CRATES {
        let imports = read(&command::root().join(path))?;
        let circles = circles(&imports);
        term::note(format!(
            "{path}: {}, {}",
            term::count(imports.len(), "module"),
            term::count(circles.len(), "circle")
        ));
        for circle in circles {
            let failed = failure.take();
            let failed = failed.unwrap_or_else(|| Failure::new("modules import one another"));
            failure = Some(explain(failed, path, &imports, &circle));
        }
    }
    match failure {
        None => Ok(()),
        Some(failure) => {
            Err(failure.help("move what both need to a module below them: docs/architecture.md"))
        }
    }
}

/// Names each import within a circle.
fn explain(
    mut failure: Failure,
    path: &str,
    imports: &Imports,
    circle: &BTreeSet<String>,
) -> Failure {
    for module in circle {
        let within = imports[module].iter().filter(|(imported, _)| circle.contains(*imported));
        for (imported, file) in within {
            let line = format!("{path}: {module} imports {imported} in {}", file.display());
            failure = failure.help(line);
        }
    }
    failure
}

/// The imports of the crate whose root is in `source`.
fn read(source: &Path) -> Result<Imports> {
    let entries = fs::read_dir(source).doing(format_args!("read {}", source.display()))?;
    let mut imports = Imports::new();
    for entry in entries.flatten() {
        if let Some(name) = entry.file_name().to_str()
            && let Some(module) = name.strip_suffix(".rs")
            && !["lib", "main"].contains(&module)
        {
            imports.insert(module.to_owned(), BTreeMap::new());
        }
    }
    let modules: BTreeSet<String> = imports.keys().cloned().collect();
    for (module, imported) in &mut imports {
        let mut files = vec![source.join(format!("{module}.rs"))];
        below(&source.join(module), &mut files)?;
        for file in files {
            let text = fs::read_to_string(&file).doing(format_args!("read {}", file.display()))?;
            let file = file.strip_prefix(source).unwrap_or(&file).to_owned();
            for name in paths(&product(&text)) {
                if name != *module && modules.contains(&name) {
                    imported.entry(name).or_insert_with(|| file.clone());
                }
            }
        }
    }
    Ok(imports)
}

/// The Rust files below a directory, except those of tests.
fn below(dir: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    if !dir.is_dir() {
        return Ok(());
    }
    for entry in fs::read_dir(dir).doing(format_args!("read {}", dir.display()))?.flatten() {
        let path = entry.path();
        let name = entry.file_name();
        if path.is_dir() && name != "tests" {
            below(&path, files)?;
        } else if path.extension().is_some_and(|end| end == "rs") && name != "tests.rs" {
            files.push(path);
        }
    }
    Ok(())
}

/// The code without comments, and without what is compiled for tests only: an item under `#[cfg(test)]`, and all
/// that follows a module of tests, which comes last in a file.
fn product(text: &str) -> String {
    const TEST: &str = "#[cfg(test)]";
    let mut code = String::with_capacity(text.len());
    let mut lines = text.lines().map(|line| line.split("//").next().unwrap_or_default());
    while let Some(line) = lines.next() {
        if line.trim() != TEST {
            code.push_str(line);
            code.push('\n');
            continue;
        }
        let mut item = lines.next().unwrap_or_default().to_owned();
        if item.trim_start().starts_with("mod ") && item.ends_with('{') {
            break;
        }
        let mut open = depth(&item);
        while !(open <= 0 && item.trim_end().ends_with([';', '}', ','])) {
            let Some(next) = lines.next() else { break };
            open += depth(next);
            item = next.to_owned();
        }
    }
    code
}

fn depth(line: &str) -> i32 {
    line.chars().map(|c| i32::from("{([".contains(c)) - i32::from("})]".contains(c))).sum()
}

/// The modules that paths in this code begin with, after `crate::`.
fn paths(code: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (at, start) in code.match_indices("crate::") {
        // `$crate::` and names that end so are something else.
        if code[..at].ends_with(|c: char| c == '$' || c == '_' || c.is_alphanumeric()) {
            continue;
        }
        let rest = &code[at + start.len()..];
        match rest.strip_prefix('{') {
            Some(group) => found.extend(members(group)),
            None => found.extend(identifier(rest)),
        }
    }
    found
}

/// The first names of the members of a group, up to its end.
fn members(group: &str) -> Vec<String> {
    let (mut open, mut at_start, mut names) = (1, true, Vec::new());
    for (at, c) in group.char_indices() {
        match c {
            '{' => open += 1,
            '}' => open -= 1,
            ',' if open == 1 => at_start = true,
            c if at_start && !c.is_whitespace() => {
                at_start = false;
                names.extend(identifier(&group[at..]));
            }
            _ => {}
        }
        if open == 0 {
            break;
        }
    }
    names
}

fn identifier(text: &str) -> Option<String> {
    let end = text.find(|c: char| c != '_' && !c.is_alphanumeric()).unwrap_or(text.len());
    (end > 0).then(|| text[..end].to_owned())
}

/// Sets of modules that each reach every other one of their set: the strongly connected components with more than
/// one module.
fn circles(imports: &Imports) -> Vec<BTreeSet<String>> {
    let reach: BTreeMap<&String, BTreeSet<&String>> =
        imports.keys().map(|module| (module, reached(imports, module))).collect();
    let mut circles = Vec::new();
    let mut known = BTreeSet::new();
    for (module, reached) in &reach {
        if !reached.contains(module) || known.contains(*module) {
            continue;
        }
        let circle: BTreeSet<String> = reached
            .iter()
            .filter(|other| reach[*other].contains(module))
            .map(|other| (*other).clone())
            .collect();
        known.extend(circle.iter().cloned());
        circles.push(circle);
    }
    circles
}

/// All modules that a module imports, directly or through others.
fn reached<'i>(imports: &'i Imports, module: &str) -> BTreeSet<&'i String> {
    let (mut reached, mut open) = (BTreeSet::new(), vec![module]);
    while let Some(next) = open.pop() {
        for imported in imports.get(next).into_iter().flat_map(BTreeMap::keys) {
            if reached.insert(imported) {
                open.push(imported);
            }
        }
    }
    reached
}

#[cfg(test)]
mod tests {
    use super::*;

    fn imports(pairs: &[(&str, &[&str])]) -> Imports {
        let imported = |names: &[&str]| {
            names.iter().map(|name| ((*name).to_owned(), PathBuf::from("x.rs"))).collect()
        };
        pairs.iter().map(|(name, names)| ((*name).to_owned(), imported(names))).collect()
    }

    #[test]
    fn circles_are_found() {
        let layered = imports(&[("a", &["b", "c"]), ("b", &["c"]), ("c", &[])]);
        assert!(circles(&layered).is_empty());
        let two = imports(&[
            ("a", &["b"]),
            ("b", &["c"]),
            ("c", &["a"]),
            ("d", &["a", "e"]),
            ("e", &["d"]),
        ]);
        let found: Vec<Vec<String>> =
            circles(&two).into_iter().map(|circle| circle.into_iter().collect()).collect();
        assert_eq!(found, [vec!["a", "b", "c"], vec!["d", "e"]]);
    }

    #[test]
    fn imports_are_read_from_code_alone() {
        let code = product(
            "use crate::{a::{self, B}, b::C, d};\n// crate::comment\nuse crate::e::F;\n\
             #[cfg(test)]\nuse crate::only_tests::X;\n#[cfg(test)]\nfn helper() {\n    crate::helper::x();\n}\n\
             fn f() { crate::g::h(); $crate::macros::x() }\n#[cfg(test)]\nmod tests {\n    use crate::t;\n}\n",
        );
        let found: Vec<String> = paths(&code).into_iter().collect();
        assert_eq!(found, ["a", "b", "d", "e", "g"]);
    }
}
