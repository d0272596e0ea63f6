//! Tells the programs which commit they were built from.
//!
//! A packager says so with `STRONGROOM_COMMIT`. Otherwise a build for release reads it from the
//! repository, if there is one. Builds for development do not know it, since every commit would
//! compile the daemon again.

use std::path::Path;
use std::{env, fs};

/// Digits that are shown.
const DIGITS: usize = 12;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=STRONGROOM_COMMIT");
    let version = env::var("CARGO_PKG_VERSION").expect("cargo sets it");
    let release = env::var("PROFILE").is_ok_and(|profile| profile == "release");
    let given = env::var("STRONGROOM_COMMIT").ok().filter(|commit| !commit.is_empty());
    let commit = given.or_else(|| release.then(|| commit(Path::new("../../.git"))).flatten());
    let known = commit.as_deref().map_or_else(|| "unknown".to_owned(), shortened);
    println!("cargo::rustc-env=STRONGROOM_BUILT_FROM={known}");
    let build = match (commit, release) {
        (Some(commit), _) => format!(" ({})", shortened(&commit)),
        (None, true) => String::new(),
        (None, false) => " (development build)".to_owned(),
    };
    println!("cargo::rustc-env=STRONGROOM_VERSION={version}{build}");
}

/// The first digits of a commit; what follows them, such as `-dirty`, stays.
fn shortened(commit: &str) -> String {
    let (hash, rest) = commit.split_at(commit.find('-').unwrap_or(commit.len()));
    format!("{}{rest}", hash.get(..DIGITS).unwrap_or(hash))
}

/// The commit of a repository that is checked out, without `git`.
fn commit(git: &Path) -> Option<String> {
    // In a worktree this is a file that names the directory.
    let named = fs::read_to_string(git).ok();
    let named = named.as_deref().and_then(|text| text.trim().strip_prefix("gitdir: "));
    let own = named.map_or_else(|| git.to_owned(), |path| Path::new("../..").join(path));
    let common = fs::read_to_string(own.join("commondir"));
    let common = common.map_or_else(|_| own.clone(), |path| own.join(path.trim()));
    let head = read(&own.join("HEAD"))?;
    let Some(name) = head.strip_prefix("ref: ") else { return is_hash(&head).then_some(head) };
    // Beside the file of the branch, since it may be packed with others, or be packed later.
    read(&common.join(name)).filter(|hash| is_hash(hash)).or_else(|| {
        let packed = read(&common.join("packed-refs"))?;
        let of_branch = |line: &str| line.strip_suffix(name)?.strip_suffix(' ').map(str::to_owned);
        packed.lines().find_map(of_branch).filter(|hash| is_hash(hash))
    })
}

/// Reads a file whose changes call for another build.
fn read(path: &Path) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    println!("cargo::rerun-if-changed={}", path.display());
    Some(text.trim().to_owned())
}

fn is_hash(text: &str) -> bool {
    text.len() >= 40 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}
