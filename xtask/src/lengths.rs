//! `cargo xtask lengths`: no Rust file is longer than 400 lines; one that is has two subjects.
//! Generated data says so in its first line (`@generated`) and is not counted.

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

const LIMIT: usize = 400;

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
    if long.is_empty() {
        term::note(format!("{}, none over {LIMIT} lines", term::count(files.len(), "Rust file")));
        return Ok(());
    }
    long.sort_unstable_by(|a, b| b.cmp(a));
    let failure =
        Failure::new(format!("{} over {LIMIT} lines", term::count(long.len(), "Rust file")));
    Err(long
        .iter()
        .fold(failure, |f, (lines, file)| f.help(format!("{lines} {}", file.display())))
        .help("split each by subject"))
}

/// The number of lines, if it is too many.
fn excess(text: &str) -> Option<usize> {
    let generated = text.lines().next().is_some_and(|line| line.contains("@generated"));
    let lines = text.lines().count();
    (lines > LIMIT && !generated).then_some(lines)
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
        assert_eq!(excess(&"x\n".repeat(LIMIT)), None);
        assert_eq!(excess(&"x\n".repeat(LIMIT + 1)), Some(LIMIT + 1));
        assert_eq!(excess(&format!("//! @generated\n{}", "x\n".repeat(LIMIT))), None);
    }
}
