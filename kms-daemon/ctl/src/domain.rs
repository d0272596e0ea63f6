//! `kmsctl domain`: ceremonies of a domain's operators.

use std::fs;
use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use host_driver::OperatorKey;
use hsm_protocol::domain::Vote;
use hsm_protocol::identity::PublicKey;
use hsm_protocol::{DomainId, ErrorCode, OperatorId};
use serde::Serialize;

use super::hsm::confirm;
use super::passphrase::{KeyPassphrase, TokenArguments};
use super::{Failure, Outcome, Output, table};
use kms_audit::{DomainAnchor, TrustAnchor};
use kms_base::hex;
use kms_ceremony::{
    Ceremony, CeremonyFileError, KeyFile, KeyPurpose, PeerText, TokenKey, describe, fingerprint,
    in_words,
};
use kms_installation::devices::HostKeys;
use kms_installation::report::RewrapReport;

mod backup;
mod drill;
mod found;
mod hand_over;
mod harden;
mod propose;
mod reach;
mod restore;

use reach::{Found, Place};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    place: Place,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Found a production domain: write the file that its operators have to sign. No kmsd may run on the data
    /// directory.
    Init(found::Init),
    /// Show what a file asks operators to sign, or, without a file, the present state of the domain.
    Show {
        /// A file written by `init` or `propose`.
        #[arg(value_name = "FILE")]
        file: Option<PathBuf>,
        /// Write the present state of the domain to a new file, as a trust anchor for kmsctl audit verify:
        /// the signatures of its devices count.
        #[arg(long, value_name = "FILE", conflicts_with = "file")]
        trust_anchor: Option<PathBuf>,
    },
    /// Propose changes of the domain, made together or not at all: write the file that its operators have to
    /// sign.
    Propose(Box<propose::Propose>),
    /// Show a file, and sign it. Needs no device and no daemon.
    Sign(Sign),
    /// Submit a signed change. Several copies of one proposal may be given, each with other signatures.
    Submit {
        /// Files of one proposal.
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
        /// The device on which a domain is founded, as for `init`.
        #[arg(long, value_name = "HSM")]
        hsm: Option<String>,
    },
    /// Make a backup of the domain itself, including its keys, with a share for each operator who holds one:
    /// files that can be carried, and that nobody can open alone.
    Backup(backup::Backup),
    /// Restore a domain in a fresh device, from a backup, with the shares of enough operators, and a change
    /// that the quorum has signed.
    #[command(subcommand)]
    Restore(restore::Restore),
    /// Check that a backup would restore the domain: in a fresh device, which stays fresh, and with keys from
    /// a backup of the installation. Does not disturb the service.
    #[command(subcommand)]
    Drill(drill::Drill),
    /// Show which device is to restore, and hand an operator's share over to it. Needs no device and no
    /// daemon.
    HandOver(hand_over::HandOver),
    /// Turn a development domain into a production domain, with operators of its own, and with a new domain
    /// key, as the old one was ruled by a file.
    Harden(harden::Harden),
}

/// How something is signed by an operator.
#[derive(Debug, clap::Args)]
pub(super) struct Sign {
    /// The file.
    #[arg(value_name = "FILE")]
    pub(super) file: PathBuf,
    /// The operator's key.
    #[arg(
        long,
        value_name = "FILE",
        required_unless_present_any = ["pkcs11", "development"],
        conflicts_with_all = ["pkcs11", "development"]
    )]
    key: Option<PathBuf>,
    /// Sign with the key in the data directory, which rules a development domain alone.
    #[arg(long, conflicts_with = "pkcs11")]
    development: bool,
    #[command(flatten)]
    passphrase: KeyPassphrase,
    #[command(flatten)]
    token: TokenArguments,
    /// Where to write the signed copy, in place of FILE.
    #[arg(long, value_name = "FILE")]
    pub(super) output: Option<PathBuf>,
    /// Sign only if this is the fingerprint, as the proposer has told you; nothing is asked then.
    #[arg(long, value_name = "FINGERPRINT")]
    expect: Option<String>,
}

pub(super) fn run(arguments: Arguments, output: &mut Output<'_>) -> Result<Outcome, Failure> {
    let Arguments { command, place } = arguments;
    match command {
        Command::Init(init) => found::init(&init, &place, output),
        Command::Show { file: Some(file), .. } => show(&file, &Ceremony::load(&file)?, output),
        Command::Show { file: None, trust_anchor } => {
            show_domain(&place, trust_anchor.as_deref(), output)
        }
        Command::Propose(proposal) => propose::run(&proposal, &place, output),
        Command::Sign(sign) => self::sign(&sign, &place, output),
        Command::Submit { files, hsm } => submit(&files, hsm.as_deref(), &place, output),
        Command::Backup(backup) => backup::run(&backup, &place, output),
        Command::Restore(restore) => restore::run(&restore, &place, output),
        Command::Drill(drill) => drill::run(&drill, &place, output),
        Command::HandOver(it) => hand_over::run(&it, output),
        Command::Harden(harden) => harden::run(&harden, &place, output),
    }
}

/// A ceremony as JSON.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown {
    file: PathBuf,
    domain: String,
    version: u32,
    fingerprint: String,
    signed: Vec<String>,
    complete: bool,
    text: String,
}

impl Shown {
    fn of(file: &Path, ceremony: &Ceremony) -> Result<Self, Failure> {
        let standing = ceremony.standing();
        Ok(Self {
            file: file.to_owned(),
            domain: ceremony.next().domain.to_string(),
            version: ceremony.next().version,
            fingerprint: fingerprint(&ceremony.digest()?),
            signed: standing.signed.iter().map(|operator| operator.id().to_string()).collect(),
            complete: standing.is_complete,
            text: in_words(ceremony),
        })
    }
}

fn show(file: &Path, ceremony: &Ceremony, output: &mut Output<'_>) -> Result<Outcome, Failure> {
    let shown = Shown::of(file, ceremony)?;
    output.print(&shown, |out, shown| {
        table::folded(out, &shown.text)?;
        writeln!(out, "\nFingerprint, for the others who sign: {}", shown.fingerprint)
    })?;
    Ok(Outcome::Good)
}

/// Says that a file was written, and what is next.
fn written(file: &Path, ceremony: &Ceremony, output: &mut Output<'_>) -> Result<Outcome, Failure> {
    let shown = Shown::of(file, ceremony)?;
    output.print(&shown, |out, shown| {
        table::folded(out, &shown.text)?;
        writeln!(out, "\nFingerprint, for the others who sign: {}", shown.fingerprint)?;
        let file = shown.file.display();
        match shown.complete {
            true => writeln!(out, "{file} can be submitted: kmsctl domain submit {file}"),
            false => writeln!(out, "{file} has to be signed: kmsctl domain sign {file} --key KEY"),
        }
    })?;
    Ok(Outcome::Good)
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct DomainShown {
    domain: String,
    name: String,
    kind: hsm_protocol::domain::Kind,
    version: u32,
    state: String,
    operators: Vec<String>,
    devices: Vec<String>,
    hosts: Vec<String>,
    domain_keys: Vec<u32>,
    peer: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    rewrap: Option<RewrapReport>,
    text: String,
}

fn show_domain(
    place: &Place,
    anchor: Option<&Path>,
    output: &mut Output<'_>,
) -> Result<Outcome, Failure> {
    let Found { state, info, rewrap, .. } = place.reach()?.found()?;
    if let Some(path) = anchor {
        let written = kms_audit::event_time(SystemTime::now());
        let anchor = DomainAnchor::of(&state, place.region()?, written)?;
        TrustAnchor::Domain(anchor).write_new(path)?;
    }
    let shown = DomainShown {
        domain: state.domain.to_string(),
        name: state.name.to_string(),
        kind: state.kind,
        version: state.version,
        state: hex::encode(&state.hash()?),
        operators: state.operators.iter().map(|it| it.id().to_string()).collect(),
        devices: state.members.iter().map(|it| it.device_id().to_string()).collect(),
        hosts: state.hosts.iter().map(|it| it.key.host_id().to_string()).collect(),
        domain_keys: state.keys.iter().map(|key| key.id).collect(),
        peer: PeerText(info).to_string(),
        rewrap,
        text: describe(&state),
    };
    output.print(&shown, |out, shown| {
        table::folded(out, &shown.text)?;
        for line in shown.rewrap.iter().flat_map(RewrapReport::in_words) {
            writeln!(out, "  {line}")?;
        }
        writeln!(out, "  Hash of this state:\n    {}", shown.state)?;
        writeln!(out, "  For the operators of other domains (--add-peer):\n    {}", shown.peer)
    })?;
    Ok(Outcome::Good)
}

/// A key that is to sign.
enum Signer<'a> {
    File(&'a Path, KeyFile),
    Token(TokenKey),
    Development(OperatorKey),
}

impl Signer<'_> {
    fn public(&self) -> PublicKey {
        match self {
            Self::File(_, key) => key.public(),
            Self::Token(key) => key.public(),
            Self::Development(key) => key.public(),
        }
    }
}

/// What an operator signs.
pub(super) trait Paper {
    /// What it is, as a person is asked for its fingerprint.
    const NAME: &'static str;

    /// Whether the operator is one of those who sign it.
    fn is_for(&self, operator: OperatorId) -> bool;
    /// Whose operators sign it.
    fn domain(&self) -> DomainId;
    /// What people compare.
    fn fingerprint(&self) -> Result<[u8; 16], ErrorCode>;
    /// What they are shown.
    fn in_words(&self) -> String;
    /// What is signed.
    fn message(&self) -> Result<Vec<u8>, ErrorCode>;
    /// Adds a signature.
    fn add(&mut self, vote: Vote) -> Result<(), ErrorCode>;
}

impl Paper for Ceremony {
    const NAME: &'static str = "proposal";

    fn is_for(&self, operator: OperatorId) -> bool {
        self.operator(operator).is_some()
    }

    fn domain(&self) -> DomainId {
        self.next().domain
    }

    fn fingerprint(&self) -> Result<[u8; 16], ErrorCode> {
        self.digest()
    }

    fn in_words(&self) -> String {
        in_words(self)
    }

    fn message(&self) -> Result<Vec<u8>, ErrorCode> {
        self.message()
    }

    fn add(&mut self, vote: Vote) -> Result<(), ErrorCode> {
        self.add(vote)
    }
}

fn sign(sign: &Sign, place: &Place, output: &mut Output<'_>) -> Result<Outcome, Failure> {
    let mut ceremony = Ceremony::load(&sign.file)?;
    add_signature(sign, || place.data(), &mut ceremony)?;
    match &sign.output {
        Some(to) => ceremony.save_new(to)?,
        None => ceremony.save(&sign.file)?,
    }
    written(sign.output.as_deref().unwrap_or(&sign.file), &ceremony, output)
}

/// Shows a paper to an operator, and has it signed by them if it is the one that they expect.
pub(super) fn add_signature<P: Paper>(
    sign: &Sign,
    data: impl FnOnce() -> Result<PathBuf, Failure>,
    paper: &mut P,
) -> Result<(), Failure> {
    let Sign { key, development, passphrase, token, expect, .. } = sign;
    let signer = match (key, token.place()) {
        (Some(path), _) => Signer::File(path, KeyFile::load(path, KeyPurpose::Operator)?),
        (None, Some(place)) => Signer::Token(place.open(&token.pin(&place)?)?),
        (None, None) if *development => Signer::Development(HostKeys::of_data(&data()?)?.operator),
        (None, None) => return Err(Failure("name the key: --key FILE".to_owned())),
    };
    let id = signer.public().operator_id();
    if !paper.is_for(id) {
        return Err(Failure(format!(
            "this is the key of {}, who is not an operator of {}",
            fingerprint(id.as_bytes()),
            paper.domain()
        )));
    }
    let digest = paper.fingerprint()?;
    match expect {
        Some(expected) => expect_digest(expected, &digest)?,
        None if io::stdin().is_terminal() => {
            let (digest, words) = (hex::encode(&digest), paper.in_words());
            confirm::on_terminal(&digest, &words, P::NAME, false)?;
        }
        None => {
            let text = "there is no terminal to show this on; give the fingerprint that the \
                        proposer has told you: --expect FINGERPRINT";
            return Err(Failure(text.to_owned()));
        }
    }
    let message = paper.message()?;
    let vote = match signer {
        Signer::File(path, key) => key.open(&passphrase.read(path)?, path)?.sign(&message)?,
        Signer::Token(key) => key.sign(&message)?,
        Signer::Development(key) => key.sign(&message)?,
    };
    paper.add(vote)?;
    Ok(())
}

/// Whether a fingerprint is the one that was told, in groups or not.
fn expect_digest(expected: &str, digest: &[u8; 16]) -> Result<(), Failure> {
    let wanted: String = expected.chars().filter(|c| *c != '-').collect();
    match wanted.eq_ignore_ascii_case(&hex::encode(digest)) {
        true => Ok(()),
        false => Err(Failure(format!(
            "the fingerprint of this file is {}, not {expected}: it is not the file that was \
             proposed; nothing was signed",
            fingerprint(digest)
        ))),
    }
}

#[derive(Serialize)]
struct Submitted {
    domain: String,
    version: u32,
}

fn submit(
    files: &[PathBuf],
    hsm: Option<&str>,
    place: &Place,
    output: &mut Output<'_>,
) -> Result<Outcome, Failure> {
    let ceremony = merged(files)?;
    let standing = ceremony.standing();
    if !standing.is_complete {
        let missing: Vec<_> = standing
            .unsigned
            .iter()
            .map(|operator| fingerprint(operator.id().as_bytes()))
            .collect();
        return Err(Failure(format!(
            "too few operators have signed it; missing: {}. Have them sign: kmsctl domain sign \
             FILE --key KEY",
            missing.join(", ")
        )));
    }
    let version = match ceremony.before() {
        None => found::submit(&ceremony, hsm, place)?,
        Some(_) => place.reach()?.submit(&ceremony.ballot()?)?,
    };
    let domain = ceremony.next().domain.to_string();
    output.print(&Submitted { domain, version }, |out, done| {
        writeln!(out, "domain {} is at version {} now", done.domain, done.version)
    })?;
    Ok(Outcome::Good)
}

/// One ceremony with the signatures of all copies.
fn merged(files: &[PathBuf]) -> Result<Ceremony, Failure> {
    let (first, others) = files.split_first().ok_or_else(|| Failure("name the file".to_owned()))?;
    let mut ceremony = Ceremony::load(first)?;
    for file in others {
        ceremony.merge(&Ceremony::load(file)?, file)?;
    }
    Ok(ceremony)
}

/// Writes a ceremony where nothing is, with advice if something is.
fn save_new(ceremony: &Ceremony, file: &Path) -> Result<(), Failure> {
    match ceremony.save_new(file) {
        Err(CeremonyFileError::Io { source, .. })
            if source.kind() == io::ErrorKind::AlreadyExists =>
        {
            Err(Failure(format!("{} exists and is not replaced", file.display())))
        }
        saved => Ok(saved?),
    }
}

/// Whether an argument names a file that is there.
fn is_file(text: &str) -> bool {
    fs::metadata(text).is_ok_and(|about| about.is_file())
}
