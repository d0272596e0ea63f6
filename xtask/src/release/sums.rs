//! `SHA256SUMS`: the checksums of a release, in the form of `sha256sum`.

use std::{collections::BTreeMap, fmt, fs, path::Path};

use sha2::{Digest as _, Sha256};

use super::Artifact;
use crate::failure::{Doing, Failure, Result};

/// Name of the file.
pub(super) const NAME: &str = "SHA256SUMS";

/// Checksums in lower-case hexadecimal, by name.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Sums(pub(super) BTreeMap<String, String>);

/// The SHA-256 of some bytes.
pub(super) fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Sums {
    /// Of the files of a release, each of which has a name of its own.
    pub(super) fn of(files: &[Artifact]) -> Result<Self> {
        let mut sums = BTreeMap::new();
        for file in files {
            let is_plain = !file.name.starts_with(NAME)
                && !file.name.is_empty()
                && !file.name.contains(char::is_whitespace);
            if !is_plain || sums.insert(file.name.clone(), sha256(&file.bytes)).is_some() {
                return Err(Failure::new(format!(
                    "a release cannot have a file {:?} more",
                    file.name
                )));
            }
        }
        Ok(Self(sums))
    }

    /// Reads those of a directory, and refuses a directory in which a file does not fit its checksum.
    pub(super) fn read(dir: &Path) -> Result<Self> {
        let path = dir.join(NAME);
        let text = fs::read_to_string(&path).doing(format_args!("read {}", path.display()))?;
        let mut sums = BTreeMap::new();
        for line in text.lines() {
            let (sum, name) = line.split_once("  ").ok_or_else(|| {
                Failure::new(format!(
                    "{} has a line that is not a checksum: {line}",
                    path.display()
                ))
            })?;
            if name.contains('/') {
                return Err(Failure::new(format!(
                    "{} names a file elsewhere: {name}",
                    path.display()
                )));
            }
            let file = dir.join(name);
            let bytes = fs::read(&file).doing(format_args!("read {}", file.display()))?;
            if sha256(&bytes) != sum {
                return Err(Failure::new(format!(
                    "{} does not have the checksum in {NAME}",
                    file.display()
                )));
            }
            sums.insert(name.to_owned(), sum.to_owned());
        }
        Ok(Self(sums))
    }

    pub(super) fn write(&self, dir: &Path) -> Result<()> {
        let path = dir.join(NAME);
        fs::write(&path, self.to_string()).doing(format_args!("write {}", path.display()))
    }
}

impl fmt::Display for Sums {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|(name, sum)| writeln!(f, "{sum}  {name}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command;

    fn files(texts: &[(&str, &str)]) -> Vec<Artifact> {
        let file = |(name, text): &(&str, &str)| Artifact {
            name: (*name).to_owned(),
            bytes: text.as_bytes().to_vec(),
        };
        texts.iter().map(file).collect()
    }

    #[test]
    fn checksums_are_those_of_sha256sum() {
        let dir = std::env::temp_dir().join(format!("xtask-sums-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let files = files(&[("b.bin", "two"), ("a.elf", "one")]);
        files.iter().for_each(|file| fs::write(dir.join(&file.name), &file.bytes).unwrap());
        let sums = Sums::of(&files).unwrap();
        sums.write(&dir).unwrap();
        let check = |dir: &Path| {
            let mut program = command::program("sha256sum", ["--check", "--strict", NAME]);
            command::output(program.current_dir(dir))
        };
        assert_eq!(check(&dir).unwrap(), "a.elf: OK\nb.bin: OK\n");
        assert_eq!(Sums::read(&dir).unwrap(), sums);
        fs::write(dir.join("a.elf"), "0ne").unwrap();
        assert!(check(&dir).is_err());
        let why = Sums::read(&dir).unwrap_err().to_string();
        assert!(why.contains("a.elf does not have the checksum"), "{why}");
        fs::write(dir.join(NAME), "00  ../secret\n").unwrap();
        assert!(Sums::read(&dir).unwrap_err().to_string().contains("elsewhere"));
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn names_are_unique_and_plain() {
        assert!(Sums::of(&files(&[("a", "1"), ("a", "2")])).is_err());
        assert!(Sums::of(&files(&[("a b", "1")])).is_err());
        assert!(Sums::of(&files(&[("SHA256SUMS", "1")])).is_err());
    }
}
