//! `cargo xtask lengths`: which Rust files have grown so long that they may have two subjects.
//!
//! From 400 lines on that is a question, which is printed; to cut a type over several files only to
//! stay below would be worse. From 600 on it is a failure. Generated data says so in its first line
//! (`@generated`) and is not counted.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::{
    args::Args,
    command,
    failure::{Doing, Failure, Result},
    term,
};

/// Above it, somebody should look.
const QUESTION: usize = 400;
/// Above it, a file has two subjects.
const LIMIT: usize = 600;

/// The subcommand.
pub(crate) fn main(args: Args) -> Result<()> {
    args.finish()?;
    let mut files = Vec::new();
    rust_files(command::root(), &mut files)?;
    let mut long = Vec::new();
    for file in &files {
        let text = fs::read_to_string(file).doing(format_args!("read {}", file.display()))?;
        if let Some(lines) = excess(&text) {
            long.push((lines, file.strip_prefix(command::root()).unwrap_or(file)));
        }
    }
    long.sort_unstable_by(|a, b| b.cmp(a));
    for (lines, file) in &long {
        term::note(format!("{lines} lines, one subject? {}", file.display()));
    }
    long.retain(|(lines, _)| *lines > LIMIT);
    if long.is_empty() {
        term::note(format!("{}, none over {LIMIT} lines", term::count(files.len(), "Rust file")));
        return Ok(());
    }
    let failure =
        Failure::new(format!("{} over {LIMIT} lines", term::count(long.len(), "Rust file")));
    Err(long
        .iter()
        .fold(failure, |f, (lines, file)| f.help(format!("{lines} {}", file.display())))
        .help("split each by subject"))
}

/// The number of lines, if somebody should look.
fn excess(text: &str) -> Option<usize> {
    let generated = text.lines().next().is_some_and(|line| line.contains("@generated"));
    let lines = text.lines().count();
    (lines > QUESTION && !generated).then_some(lines)
}

fn rust_files(dir: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    let doing = || format!("list {}", dir.display());
    for entry in fs::read_dir(dir).doing(doing())? {
        let entry = entry.doing(doing())?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let kind = entry.file_type().doing(doing())?;
        if kind.is_dir() && name != "target" && !name.starts_with('.') {
            rust_files(&entry.path(), files)?;
        } else if kind.is_file() && name.ends_with(".rs") {
            files.push(entry.path());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_written_files_have_a_limit() {
        assert_eq!(excess(&"x\n".repeat(QUESTION)), None);
        assert_eq!(excess(&"x\n".repeat(QUESTION + 1)), Some(QUESTION + 1));
        assert_eq!(excess(&format!("//! @generated\n{}", "x\n".repeat(LIMIT))), None);
    }
}
