//! The acceptance that the daemon has asked for, and whether it was given.
//!
//! `DIR/acceptance.json` has what `kmsd` refused, under a code that stands for exactly that:
//! `kmsctl accept CODE` marks it, and `kmsd` records it in the audit log and removes it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::{fs, io};

use serde::{Deserialize, Serialize};

use kms_base::durable;

const NAME: &str = "acceptance.json";

/// Why that cannot be said.
#[derive(Debug, thiserror::Error)]
pub enum AcceptanceError {
    /// The file cannot be read or written.
    #[error("cannot access {path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the file system said.
        source: io::Error,
    },
    /// It is no such file.
    #[error("{0} is damaged; remove it, and start kmsd again")]
    Damaged(PathBuf),
    /// Nobody has asked for this.
    #[error(
        "kmsd has not asked for the acceptance {code} in {data}; it prints the code when it \
         refuses to start"
    )]
    Unknown {
        /// The code.
        code: String,
        /// The data directory.
        data: PathBuf,
    },
}

/// What there is to accept in a data directory.
#[derive(Debug, Clone)]
pub struct Acceptance {
    data: PathBuf,
}

/// What there is to accept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum About {
    /// What is in the data directory.
    Data,
    /// A device.
    Device,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Question {
    about: About,
    /// What is wrong, as people are told.
    reason: String,
    accepted: bool,
}

type Questions = BTreeMap<String, Question>;

impl Acceptance {
    /// That of a data directory.
    #[must_use]
    pub fn of_data(data: &Path) -> Self {
        Self { data: data.to_owned() }
    }

    /// The command by which a person accepts.
    #[must_use]
    pub fn command(&self, code: &str) -> String {
        format!("kmsctl accept {code} --data {}", self.data.display())
    }

    /// Whether a person has accepted this.
    ///
    /// # Errors
    /// [`AcceptanceError`].
    pub fn is_given(&self, code: &str) -> Result<bool, AcceptanceError> {
        Ok(self.read()?.get(code).is_some_and(|question| question.accepted))
    }

    /// Asks for it, unless that was done.
    ///
    /// # Errors
    /// [`AcceptanceError`].
    pub fn ask(&self, code: &str, about: About, reason: &str) -> Result<(), AcceptanceError> {
        let mut questions = self.read()?;
        if questions.contains_key(code) {
            return Ok(());
        }
        let question = Question { about, reason: reason.to_owned(), accepted: false };
        questions.insert(code.to_owned(), question);
        self.write(&questions)
    }

    /// Accepts, and returns what was wrong.
    ///
    /// # Errors
    /// [`AcceptanceError::Unknown`] if nothing was refused under this code.
    pub fn give(&self, code: &str) -> Result<String, AcceptanceError> {
        let mut questions = self.read()?;
        let unknown =
            || AcceptanceError::Unknown { code: code.to_owned(), data: self.data.clone() };
        let question = questions.get_mut(code).ok_or_else(unknown)?;
        question.accepted = true;
        let reason = question.reason.clone();
        self.write(&questions)?;
        Ok(reason)
    }

    /// Removes what was recorded.
    ///
    /// # Errors
    /// [`AcceptanceError`].
    pub fn settle(&self, code: &str) -> Result<(), AcceptanceError> {
        let mut questions = self.read()?;
        if questions.remove(code).is_none() {
            return Ok(());
        }
        self.write(&questions)
    }

    /// Removes what was asked of the data directory: it fits together now, and what was accepted before
    /// is not to be taken for an answer to what may come.
    ///
    /// # Errors
    /// [`AcceptanceError`].
    pub fn forget_data(&self) -> Result<(), AcceptanceError> {
        let mut questions = self.read()?;
        let before = questions.len();
        questions.retain(|_, question| question.about != About::Data);
        if questions.len() == before { Ok(()) } else { self.write(&questions) }
    }

    fn path(&self) -> PathBuf {
        self.data.join(NAME)
    }

    fn read(&self) -> Result<Questions, AcceptanceError> {
        let path = self.path();
        match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|_| AcceptanceError::Damaged(path)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Questions::new()),
            Err(source) => Err(AcceptanceError::File { path, source }),
        }
    }

    fn write(&self, questions: &Questions) -> Result<(), AcceptanceError> {
        let path = self.path();
        let done = match questions.is_empty() {
            true => fs::remove_file(&path),
            false => {
                let text = serde_json::to_string_pretty(questions).unwrap_or_default() + "\n";
                durable::write(&path, text.as_bytes(), 0o600)
            }
        };
        done.map_err(|source| AcceptanceError::File { path, source })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_asked_is_accepted_and_once() {
        let dir = tempfile::tempdir().unwrap();
        let acceptance = Acceptance::of_data(dir.path());
        let error = acceptance.give("0123abcd").unwrap_err().to_string();
        assert!(error.contains("not asked for the acceptance 0123abcd"), "{error}");
        acceptance.ask("0123abcd", About::Data, "the store is older").unwrap();
        acceptance.ask("0123abcd", About::Data, "told twice").unwrap();
        assert!(!acceptance.is_given("0123abcd").unwrap());
        assert_eq!(acceptance.give("0123abcd").unwrap(), "the store is older");
        assert!(acceptance.is_given("0123abcd").unwrap());
        acceptance.settle("0123abcd").unwrap();
        assert!(!acceptance.is_given("0123abcd").unwrap());
        assert!(!dir.path().join(NAME).exists());
        acceptance.ask("1", About::Data, "the log").unwrap();
        acceptance.ask("2", About::Device, "a device").unwrap();
        acceptance.give("1").unwrap();
        acceptance.give("2").unwrap();
        acceptance.forget_data().unwrap();
        assert!(!acceptance.is_given("1").unwrap() && acceptance.is_given("2").unwrap());
        fs::write(dir.path().join(NAME), "{").unwrap();
        assert!(matches!(acceptance.is_given("x"), Err(AcceptanceError::Damaged(_))));
    }
}
