//! What differs between two builds of a release.

use std::{fs, path::Path};

use object::{Object as _, ObjectSection as _};

use super::sums::Sums;
use crate::{
    failure::{Failure, Result},
    term,
};

/// What was found.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    /// Files that are the same in both.
    same: usize,
    /// Files that differ, each with where.
    different: Vec<String>,
    /// Files that are built here and are not there.
    missing: Vec<String>,
    /// Files that are there and are not built here.
    more: Vec<String>,
}

impl Found {
    /// Compares what is built here, in `ours`, with what is there, in `theirs`.
    pub(super) fn between(here: &Sums, ours: &Path, there: &Sums, theirs: &Path) -> Self {
        let mut found = Self::default();
        for (name, sum) in &here.0 {
            match there.0.get(name) {
                Some(other) if other == sum => found.same += 1,
                Some(_) => {
                    let place = place(&ours.join(name), &theirs.join(name));
                    found.different.push(format!("{name} differs {place}"));
                }
                None => found.missing.push(name.clone()),
            }
        }
        found.more = there.0.keys().filter(|name| !here.0.contains_key(*name)).cloned().collect();
        found
    }

    /// Says what was found; fails unless everything is the same. Files that are there and are not built here, such as
    /// packages, are noted, and fail where both were made `alike`.
    pub(super) fn report(self, there: &str, alike: bool) -> Result<()> {
        let mut lines = self.different;
        lines.extend(self.missing.iter().map(|name| format!("{name} is not in {there}")));
        if alike {
            lines.extend(self.more.iter().map(|name| format!("{name} is only in {there}")));
        } else {
            for name in &self.more {
                term::note(format!("{name} of {there} was not built here, and not compared"));
            }
        }
        if lines.is_empty() && self.same > 0 {
            term::note(format!(
                "{} the same as in {there}, byte for byte",
                term::count(self.same, "file")
            ));
            return Ok(());
        }
        if lines.is_empty() {
            return Err(Failure::new(format!("nothing could be compared with {there}")));
        }
        let failure =
            Failure::new(format!("{} not as in {there}", term::count(lines.len(), "file")));
        Err(lines.into_iter().fold(failure, Failure::help).help(
            "the bill of materials (.cdx.json) names commit and compiler: are they the same?",
        ))
    }
}

/// The first difference between two files: its offset, and the section that has it if they are ELF files.
fn place(one: &Path, other: &Path) -> String {
    let (Ok(one), Ok(other)) = (fs::read(one), fs::read(other)) else { return "".into() };
    let first = one.iter().zip(&other).position(|(one, other)| one != other);
    let Some(at) = first else {
        return format!("in length: {} and {} bytes", one.len(), other.len());
    };
    let section = object::File::parse(&*one).ok().and_then(|file| {
        let holds = |range: (u64, u64)| (range.0..range.0 + range.1).contains(&(at as u64));
        let found = file.sections().find(|section| section.file_range().is_some_and(holds))?;
        Some(format!(", in {}", found.name().ok()?))
    });
    format!("from byte {at:#x} on{}", section.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use std::{env, path::PathBuf};

    use super::*;
    use crate::release::Artifact;

    /// Writes a release of these files.
    fn release(name: &str, files: &[(&str, Vec<u8>)]) -> (PathBuf, Sums) {
        let dir = env::temp_dir().join(format!("xtask-compare-{}-{name}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let file = |(name, bytes): &(&str, Vec<u8>)| Artifact {
            name: (*name).into(),
            bytes: bytes.clone(),
        };
        let files: Vec<_> = files.iter().map(file).collect();
        files.iter().for_each(|file| fs::write(dir.join(&file.name), &file.bytes).unwrap());
        let sums = Sums::of(&files).unwrap();
        (dir, sums)
    }

    #[test]
    fn what_differs_is_named_with_its_place() {
        let program = fs::read(env::current_exe().unwrap()).unwrap();
        let text = object::File::parse(&*program)
            .unwrap()
            .section_by_name(".text")
            .unwrap()
            .file_range()
            .unwrap();
        let mut other = program.clone();
        other[usize::try_from(text.0).unwrap() + 5] ^= 1;
        let (ours, here) = release(
            "ours",
            &[("a.elf", program), ("b.bin", vec![1, 2]), ("c", vec![]), ("d", vec![])],
        );
        let (theirs, there) = release(
            "theirs",
            &[("a.elf", other), ("b.bin", vec![1]), ("c", vec![]), ("x.deb", vec![])],
        );
        let found = Found::between(&here, &ours, &there, &theirs);
        assert_eq!(
            found.different,
            [
                format!("a.elf differs from byte {:#x} on, in .text", text.0 + 5),
                "b.bin differs in length: 2 and 1 bytes".into()
            ]
        );
        assert_eq!(
            (found.same, &found.missing, &found.more),
            (1, &vec!["d".into()], &vec!["x.deb".into()])
        );
        let why = found.report("the release", false).unwrap_err().to_string();
        assert!(why.starts_with("3 files not as in the release\n  a.elf differs"), "{why}");
        for dir in [ours, theirs] {
            fs::remove_dir_all(dir).unwrap();
        }
    }

    #[test]
    fn only_the_same_files_are_the_same_release() {
        let found = |same, more: &[&str]| Found {
            same,
            more: more.iter().map(|name| (*name).to_owned()).collect(),
            ..Found::default()
        };
        assert_eq!(found(2, &[]).report("there", true), Ok(()));
        assert_eq!(found(2, &["x.deb"]).report("there", false), Ok(()));
        assert!(found(2, &["x.deb"]).report("there", true).is_err());
        assert!(found(0, &["x.deb"]).report("there", false).is_err(), "nothing was compared");
    }
}
