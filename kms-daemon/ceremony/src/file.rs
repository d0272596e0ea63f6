//! A file with a proposal and the signatures so far.
//!
//! It is a JSON document. Its state is the one that is changed, or the first one of a domain that is
//! founded. The resulting state is computed from it, never read.

use std::path::{Path, PathBuf};
use std::{fs, io};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use host_driver::ceremony::{self, Proposed};
use hsm_protocol::domain::change::Classes;
use hsm_protocol::domain::{
    Certificate, Change, Class, DeviceKind, DomainState, MAX_OPERATORS, MAX_STATE, Operator,
    Proposal, Rule, Vote, signed_message,
};
use hsm_protocol::identity::Signature;
use hsm_protocol::{ErrorCode, OperatorId};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::vote_text::VoteText;
use kms_base::{durable, hex};

const FORMAT: &str = "strongroom-ceremony-1";
/// Longest file that is read, in bytes.
const MAX_FILE: u64 = 64 * 1024;

/// Why a file of a ceremony cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CeremonyFileError {
    /// The file system's reason.
    #[error("cannot use {path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the file system said.
        source: io::Error,
    },
    /// It is malformed.
    #[error("{0} is not a ceremony as `kmsctl domain propose` and `kmsctl domain init` write it")]
    Malformed(PathBuf),
    /// What it proposes cannot be made.
    #[error("{path} proposes what cannot be made: {code}")]
    Impossible {
        /// The file.
        path: PathBuf,
        /// Why not.
        code: ErrorCode,
    },
    /// Somebody else's, or of another proposal.
    #[error("{path} has a signature that is not of an operator over this proposal: {operator}")]
    Signature {
        /// The file.
        path: PathBuf,
        /// Whose it is said to be.
        operator: OperatorId,
    },
    /// Two files of different proposals.
    #[error(
        "{0} is of another proposal than the files before it; hand over one proposal at a time"
    )]
    AnotherProposal(PathBuf),
}

/// What is to be signed.
#[derive(Debug, Clone)]
enum Subject {
    /// The first state of a domain, with the word of its device CA about its first device.
    Founding(Option<Certificate>),
    /// A change of the state.
    Change(Box<Proposed>),
}

/// A proposal with the signatures that it has so far; each verifies.
#[derive(Debug, Clone)]
pub struct Ceremony {
    /// The state that is changed, or the first one.
    state: DomainState,
    subject: Subject,
    votes: Vec<Vote>,
}

/// How far a ceremony is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// Who has signed.
    pub signed: Vec<Operator>,
    /// Operators who have not signed.
    pub unsigned: Vec<Operator>,
    /// What is needed, by the class of what is changed.
    pub needed: Vec<(Class, Rule)>,
    /// Whether that is there.
    pub is_complete: bool,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Content {
    format: String,
    /// Base64 of the encoded state.
    state: String,
    /// Base64 of the encoded proposal; none where a domain is founded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    proposal: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    certificate: Option<CertificateText>,
    #[serde(default)]
    signatures: Vec<VoteText>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct CertificateText {
    kind: DeviceKind,
    signature: String,
}

impl Ceremony {
    /// The founding of a domain with this first state.
    ///
    /// # Errors
    /// Those of [`DomainState::check`].
    pub fn founding(
        state: DomainState,
        certificate: Option<Certificate>,
    ) -> Result<Self, ErrorCode> {
        state.check()?;
        Ok(Self { state, subject: Subject::Founding(certificate), votes: Vec::new() })
    }

    /// A change of a state.
    ///
    /// # Errors
    /// Those of [`DomainState::apply`].
    pub fn change(state: DomainState, changes: &[Change<'_>]) -> Result<Self, ErrorCode> {
        let proposed = ceremony::propose(&state, changes)?;
        Ok(Self { state, subject: Subject::Change(Box::new(proposed)), votes: Vec::new() })
    }

    /// The state that is changed; `None` if the domain is founded.
    #[must_use]
    pub fn before(&self) -> Option<&DomainState> {
        match self.subject {
            Subject::Founding(_) => None,
            Subject::Change(_) => Some(&self.state),
        }
    }

    /// What it leads to.
    #[must_use]
    pub fn next(&self) -> &DomainState {
        match &self.subject {
            Subject::Founding(_) => &self.state,
            Subject::Change(proposed) => &proposed.outcome.next,
        }
    }

    /// The word of the device CA about the first device of a domain that is founded.
    #[must_use]
    pub fn certificate(&self) -> Option<Certificate> {
        match self.subject {
            Subject::Founding(certificate) => certificate,
            Subject::Change(_) => None,
        }
    }

    /// The encoded proposal; empty if the domain is founded.
    #[must_use]
    pub fn proposal(&self) -> &[u8] {
        match &self.subject {
            Subject::Founding(_) => &[],
            Subject::Change(proposed) => &proposed.proposal,
        }
    }

    /// What operators sign.
    ///
    /// # Errors
    /// [`ErrorCode::TOO_LARGE`] only.
    pub fn message(&self) -> Result<Vec<u8>, ErrorCode> {
        Ok(signed_message(self.proposal(), &self.next().hash()?).to_vec())
    }

    /// SHA-256 of what is signed, its first 16 bytes: operators compare it.
    ///
    /// # Errors
    /// [`ErrorCode::TOO_LARGE`] only.
    pub fn digest(&self) -> Result<[u8; 16], ErrorCode> {
        let digest = Sha256::digest(self.message()?);
        digest.first_chunk().copied().ok_or(ErrorCode::INTERNAL)
    }

    /// The signatures.
    #[must_use]
    pub fn votes(&self) -> &[Vote] {
        &self.votes
    }

    /// The ballot to hand over to devices.
    ///
    /// # Errors
    /// [`ErrorCode::CHANGE_INVALID`] if the domain is founded: there is none then.
    pub fn ballot(&self) -> Result<Vec<u8>, ErrorCode> {
        match &self.subject {
            Subject::Founding(_) => Err(ErrorCode::CHANGE_INVALID),
            Subject::Change(proposed) => proposed.ballot(&self.votes),
        }
    }

    /// Who decides: the operators before the change, or the founders.
    fn electorate(&self) -> &DomainState {
        &self.state
    }

    /// The operator who signs by this key.
    #[must_use]
    pub fn operator(&self, id: OperatorId) -> Option<&Operator> {
        self.electorate().operator(id)
    }

    /// Adds a signature, unless the operator has signed already.
    ///
    /// # Errors
    /// [`ErrorCode::SIGNATURE_INVALID`] if it is of nobody, or does not verify.
    pub fn add(&mut self, vote: Vote) -> Result<(), ErrorCode> {
        let operator = self.operator(vote.operator).ok_or(ErrorCode::SIGNATURE_INVALID)?;
        vote.signature.verify(&operator.key, &self.message()?)?;
        if self.votes.iter().all(|known| known.operator != vote.operator) {
            self.votes.push(vote);
        }
        Ok(())
    }

    /// How far it is.
    #[must_use]
    pub fn standing(&self) -> Standing {
        let has_signed =
            |operator: &&Operator| self.votes.iter().any(|vote| vote.operator == operator.id());
        let electorate = self.electorate();
        let (signed, unsigned): (Vec<_>, Vec<_>) =
            electorate.operators.iter().partition(has_signed);
        let classes: Vec<Class> = match &self.subject {
            Subject::Founding(_) => Class::ALL.to_vec(),
            Subject::Change(proposed) => needed(proposed.outcome.classes),
        };
        let needed: Vec<_> =
            classes.into_iter().map(|class| (class, electorate.rules.of(class))).collect();
        let is_complete = needed.iter().all(|(_, rule)| rule.is_met_by(signed.iter().copied()));
        let owned = |operators: Vec<&Operator>| operators.into_iter().copied().collect();
        Standing { signed: owned(signed), unsigned: owned(unsigned), needed, is_complete }
    }

    /// Takes the signatures of another copy of the same proposal.
    ///
    /// # Errors
    /// [`CeremonyFileError::AnotherProposal`].
    pub fn merge(&mut self, other: &Self, path: &Path) -> Result<(), CeremonyFileError> {
        let is_same = self.proposal() == other.proposal() && self.state == other.state;
        let another = |_| CeremonyFileError::AnotherProposal(path.to_owned());
        if !is_same {
            return Err(CeremonyFileError::AnotherProposal(path.to_owned()));
        }
        other.votes.iter().try_for_each(|vote| self.add(*vote)).map_err(another)
    }

    /// Reads a file. Every signature in it is checked.
    ///
    /// # Errors
    /// [`CeremonyFileError`].
    pub fn load(path: &Path) -> Result<Self, CeremonyFileError> {
        let failed = |source| CeremonyFileError::Io { path: path.to_owned(), source };
        let malformed = || CeremonyFileError::Malformed(path.to_owned());
        let impossible = |code| CeremonyFileError::Impossible { path: path.to_owned(), code };
        if fs::metadata(path).map_err(failed)?.len() > MAX_FILE {
            return Err(malformed());
        }
        let content = fs::read(path).map_err(failed)?;
        let content: Content = serde_json::from_slice(&content).map_err(|_| malformed())?;
        if content.format != FORMAT || content.signatures.len() > MAX_OPERATORS {
            return Err(malformed());
        }
        let state = STANDARD.decode(&content.state).map_err(|_| malformed())?;
        let state = DomainState::decode(&state).map_err(impossible)?;
        let mut read = match &content.proposal {
            Some(proposal) if content.certificate.is_none() => {
                let proposal = STANDARD.decode(proposal).map_err(|_| malformed())?;
                let proposed = ceremony::read(&state, proposal).map_err(impossible)?;
                Self { state, subject: Subject::Change(Box::new(proposed)), votes: Vec::new() }
            }
            Some(_) => return Err(malformed()),
            None => {
                let certificate = content.certificate.as_ref().map(|text| {
                    let signature = Signature::from_bytes(&hex::decode(&text.signature)?);
                    Some(Certificate { kind: text.kind, signature })
                });
                let certificate = match certificate {
                    None => None,
                    Some(read) => Some(read.ok_or_else(malformed)?),
                };
                Self::founding(state, certificate).map_err(impossible)?
            }
        };
        for text in &content.signatures {
            let vote = text.read().ok_or_else(malformed)?;
            let (path, operator) = (path.to_owned(), vote.operator);
            read.add(vote).map_err(|_| CeremonyFileError::Signature { path, operator })?;
        }
        Ok(read)
    }

    /// Writes it, whole or not at all, in place of what was there; durable when it returns.
    ///
    /// # Errors
    /// [`CeremonyFileError::Io`].
    pub fn save(&self, path: &Path) -> Result<(), CeremonyFileError> {
        self.write(path, |path, text| durable::write(path, text, 0o600))
    }

    /// Writes it where nothing is; durable when it returns.
    ///
    /// # Errors
    /// [`CeremonyFileError::Io`], of kind [`io::ErrorKind::AlreadyExists`] if something is there.
    pub fn save_new(&self, path: &Path) -> Result<(), CeremonyFileError> {
        self.write(path, durable::write_new)
    }

    fn write(
        &self,
        path: &Path,
        write: impl FnOnce(&Path, &[u8]) -> io::Result<()>,
    ) -> Result<(), CeremonyFileError> {
        let impossible = |code| CeremonyFileError::Impossible { path: path.to_owned(), code };
        let failed = |source| CeremonyFileError::Io { path: path.to_owned(), source };
        let mut buffer = [0; MAX_STATE];
        let state = self.state.encode(&mut buffer).map_err(impossible)?;
        let certificate = self.certificate().map(|certificate| CertificateText {
            kind: certificate.kind,
            signature: hex::encode(&certificate.signature.to_bytes()),
        });
        let content = Content {
            format: FORMAT.to_owned(),
            state: STANDARD.encode(state),
            proposal: self.before().map(|_| STANDARD.encode(self.proposal())),
            certificate,
            signatures: self.votes.iter().map(VoteText::of).collect(),
        };
        let mut text =
            serde_json::to_string_pretty(&content).map_err(|error| failed(error.into()))?;
        text.push('\n');
        write(path, text.as_bytes()).map_err(failed)
    }

    /// The changes in it; none if the domain is founded.
    ///
    /// # Errors
    /// [`ErrorCode::CHANGE_INVALID`] only, which a ceremony that was read does not give.
    pub fn changes(&self) -> Result<Vec<Change<'_>>, ErrorCode> {
        match &self.subject {
            Subject::Founding(_) => Ok(Vec::new()),
            Subject::Change(proposed) => Proposal::decode(&proposed.proposal)?.changes().collect(),
        }
    }
}

fn needed(classes: Classes) -> Vec<Class> {
    Class::ALL.into_iter().filter(|class| classes.contains(*class)).collect()
}

#[cfg(test)]
mod tests;
