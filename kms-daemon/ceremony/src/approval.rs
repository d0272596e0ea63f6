//! A file with a use of a key that operators approve, and the signatures so far.
//!
//! It contains the whole request, so that each operator sees what it is; a request to `Encrypt` contains
//! a plaintext. The state of the domain tells people who the operators are; the device uses its own.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{fs, io};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use host_driver::approval::{Pending, PendingError};
use hsm_protocol::domain::{DomainState, MAX_OPERATORS, MAX_STATE, Operator, Vote};
use hsm_protocol::{ErrorCode, OperatorId};
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, Zeroizing};

use super::vote_text::VoteText;
use super::words::{operator_in_words, rule_in_words};
use kms_base::durable;

const FORMAT: &str = "strongroom-approval-1";
/// Longest file that is read, in bytes.
const MAX_FILE: u64 = 64 * 1024;

/// Why a file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ApprovalFileError {
    /// The file system's reason.
    #[error("cannot use {path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the file system said.
        source: io::Error,
    },
    /// It is malformed.
    #[error("{0} is not a request for approval as `kmsctl key request` writes it")]
    Malformed(PathBuf),
    /// What is shown is not what would be signed.
    #[error("{path}: {reason}")]
    Request {
        /// The file.
        path: PathBuf,
        /// Why not.
        reason: PendingError,
    },
    /// Somebody else's, or of another request.
    #[error("{path} has a signature that is not of an operator over this request: {operator}")]
    Signature {
        /// The file.
        path: PathBuf,
        /// Whose it is said to be.
        operator: OperatorId,
    },
    /// Two files of different requests.
    #[error("{0} is of another request than the files before it; hand over one at a time")]
    AnotherRequest(PathBuf),
}

/// A request with the signatures that it has so far; each verifies.
#[derive(Debug, Clone)]
pub struct ApprovalFile {
    pending: Pending,
    state: DomainState,
    votes: Vec<Vote>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Content {
    format: String,
    /// Base64 of [`Pending::to_bytes`].
    request: String,
    /// Base64 of the encoded state of the domain.
    state: String,
    #[serde(default)]
    signatures: Vec<VoteText>,
}

// It may have a plaintext in it.
impl Drop for Content {
    fn drop(&mut self) {
        self.request.zeroize();
    }
}

impl ApprovalFile {
    /// A request that nobody has signed yet.
    ///
    /// # Errors
    /// [`ErrorCode::INVALID_ARGUMENT`] if the state is that of another domain.
    pub fn new(pending: Pending, state: DomainState) -> Result<Self, ErrorCode> {
        match pending.asked().domain == state.domain {
            true => Ok(Self { pending, state, votes: Vec::new() }),
            false => Err(ErrorCode::INVALID_ARGUMENT),
        }
    }

    /// What is to be approved.
    #[must_use]
    pub const fn pending(&self) -> &Pending {
        &self.pending
    }

    /// The signatures.
    #[must_use]
    pub fn votes(&self) -> &[Vote] {
        &self.votes
    }

    /// The operator who signs by this key.
    #[must_use]
    pub fn operator(&self, id: OperatorId) -> Option<&Operator> {
        self.state.operator(id)
    }

    /// Adds a signature, unless the operator has signed already.
    ///
    /// # Errors
    /// [`ErrorCode::SIGNATURE_INVALID`] if it is of nobody, or does not verify.
    pub fn add(&mut self, vote: Vote) -> Result<(), ErrorCode> {
        let operator = self.operator(vote.operator).ok_or(ErrorCode::SIGNATURE_INVALID)?;
        vote.signature.verify(&operator.key, &self.pending.asked().message())?;
        if self.votes.iter().all(|known| known.operator != vote.operator) {
            self.votes.push(vote);
        }
        Ok(())
    }

    /// Whether enough operators have signed, as far as the file knows.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.pending.asked().rule.is_met_by(self.who(true))
    }

    /// Everything that an operator has to see before signing, except for its fingerprint: that comes from
    /// whoever sent the request, by another way.
    #[must_use]
    pub fn in_words(&self) -> String {
        let mut text = "A KEY IS USED, once, by this request:\n\n".to_owned();
        for line in self.pending.describe() {
            let _ = writeln!(text, "  {line}");
        }
        let _ = writeln!(text, "\nIt needs: {}", rule_in_words(self.pending.asked().rule));
        let list = |has_signed| {
            let names: Vec<_> = self.who(has_signed).map(operator_in_words).collect();
            if names.is_empty() { "nobody".to_owned() } else { names.join(", ") }
        };
        let _ = writeln!(text, "Signed by: {}", list(true));
        let _ = writeln!(text, "Not signed by: {}", list(false));
        let state = if self.is_complete() { "It can be submitted." } else { "More have to sign." };
        let _ = writeln!(text, "{state}");
        text
    }

    fn who(&self, has_signed: bool) -> impl Iterator<Item = &Operator> {
        let signed = |id: OperatorId| self.votes.iter().any(|vote| vote.operator == id);
        self.state.operators.iter().filter(move |operator| signed(operator.id()) == has_signed)
    }

    /// Takes the signatures of another copy of the same request.
    ///
    /// # Errors
    /// [`ApprovalFileError::AnotherRequest`].
    pub fn merge(&mut self, other: &Self, path: &Path) -> Result<(), ApprovalFileError> {
        let another = || ApprovalFileError::AnotherRequest(path.to_owned());
        if self.pending != other.pending || self.state != other.state {
            return Err(another());
        }
        other.votes.iter().try_for_each(|vote| self.add(*vote)).map_err(|_| another())
    }

    /// Reads a file. Every signature in it is checked.
    ///
    /// # Errors
    /// [`ApprovalFileError`].
    pub fn load(path: &Path) -> Result<Self, ApprovalFileError> {
        let failed = |source| ApprovalFileError::Io { path: path.to_owned(), source };
        if fs::metadata(path).map_err(failed)?.len() > MAX_FILE {
            return Err(ApprovalFileError::Malformed(path.to_owned()));
        }
        let content = Zeroizing::new(fs::read(path).map_err(failed)?);
        Self::parse(&content, path)
    }

    /// Reads the content of a file; `path` is for the error.
    ///
    /// # Errors
    /// [`ApprovalFileError`].
    pub fn parse(content: &[u8], path: &Path) -> Result<Self, ApprovalFileError> {
        let malformed = || ApprovalFileError::Malformed(path.to_owned());
        let content: Content = serde_json::from_slice(content).map_err(|_| malformed())?;
        if content.format != FORMAT || content.signatures.len() > MAX_OPERATORS {
            return Err(malformed());
        }
        let request = STANDARD.decode(content.request.as_bytes()).map_err(|_| malformed())?;
        let pending = Pending::from_bytes(&Zeroizing::new(request))
            .map_err(|reason| ApprovalFileError::Request { path: path.to_owned(), reason })?;
        let state = STANDARD.decode(&content.state).map_err(|_| malformed())?;
        let state = DomainState::decode(&state).map_err(|_| malformed())?;
        let mut read = Self::new(pending, state).map_err(|_| malformed())?;
        for text in &content.signatures {
            let vote = text.read().ok_or_else(malformed)?;
            let (path, operator) = (path.to_owned(), vote.operator);
            read.add(vote).map_err(|_| ApprovalFileError::Signature { path, operator })?;
        }
        Ok(read)
    }

    /// Writes it, whole or not at all, in place of what was there; durable when it returns.
    ///
    /// # Errors
    /// [`ApprovalFileError::Io`].
    pub fn save(&self, path: &Path) -> Result<(), ApprovalFileError> {
        self.write(path, |path, text| durable::write(path, text, 0o600))
    }

    /// Writes it where nothing is; durable when it returns.
    ///
    /// # Errors
    /// [`ApprovalFileError::Io`], of kind [`io::ErrorKind::AlreadyExists`] if something is there.
    pub fn save_new(&self, path: &Path) -> Result<(), ApprovalFileError> {
        self.write(path, durable::write_new)
    }

    fn write(
        &self,
        path: &Path,
        write: impl FnOnce(&Path, &[u8]) -> io::Result<()>,
    ) -> Result<(), ApprovalFileError> {
        let failed = |source| ApprovalFileError::Io { path: path.to_owned(), source };
        let impossible = |code: ErrorCode| failed(io::Error::other(code));
        let mut buffer = [0; MAX_STATE];
        let state = self.state.encode(&mut buffer).map_err(impossible)?;
        let request = self.pending.to_bytes().map_err(impossible)?;
        let content = Content {
            format: FORMAT.to_owned(),
            request: STANDARD.encode(&*request),
            state: STANDARD.encode(state),
            signatures: self.votes.iter().map(VoteText::of).collect(),
        };
        let mut text = Zeroizing::new(
            serde_json::to_string_pretty(&content).map_err(|error| failed(error.into()))?,
        );
        text.push('\n');
        write(path, text.as_bytes()).map_err(failed)
    }
}
