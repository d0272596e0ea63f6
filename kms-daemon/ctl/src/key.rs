//! `kmsctl key`: the protection of a key, and uses that operators approve.

use std::io;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use host_driver::approval::Pending;
use hsm_protocol::domain::{DomainState, Rule, Vote};
use hsm_protocol::{DomainId, ErrorCode, OperatorId};
use serde::Serialize;
use serde_json::Value;
use zeroize::Zeroizing;

use super::domain::{Paper, Sign, add_signature};
use super::management::{Account, STRONGROOM};
use super::{Failure, Outcome, Output};
use kms_base::hex;
use kms_ceremony::{ApprovalFile, ApprovalFileError, fingerprint, rule_in_words};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    account: Account,
    /// Region of the key.
    #[arg(long, global = true, default_value = "us-east-1")]
    region: String,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Show how a key is protected, as the daemon knows it; for a statement by a device: kmsctl attest
    /// key.
    Show {
        /// Key id, key ARN, alias or alias ARN.
        #[arg(value_name = "KEY")]
        key: String,
    },
    /// Bind an approval rule: from now on the devices use the key only with a quorum's signatures over
    /// each request, its deletion included. The rule cannot be removed, only made stricter.
    RequireApproval {
        /// Key id, key ARN, alias or alias ARN.
        #[arg(value_name = "KEY")]
        key: String,
        /// How many operators have to sign.
        #[arg(long, value_name = "N")]
        quorum: u8,
        /// Who may sign: any operator, or security officers only.
        #[arg(long, value_enum, default_value = "operator")]
        role: Role,
        /// How many of the signers have to be security officers, if not all or none.
        #[arg(long, value_name = "N", conflicts_with = "role")]
        officers: Option<u8>,
    },
    /// List the requests that wait for approval; with a fingerprint, from the refusal of the request,
    /// write that request to a file for those who sign it.
    Request {
        /// Fingerprint of the request.
        #[arg(value_name = "FINGERPRINT")]
        id: Option<String>,
        /// Where to write it; there must be no such file [default: FINGERPRINT.request].
        #[arg(long, value_name = "FILE", requires = "id")]
        output: Option<PathBuf>,
    },
    /// Show a request, and sign it as an operator. Needs no device and no daemon.
    Approve(Box<Sign>),
    /// Submit a signed request; then send the same request again. Several copies of one request may be
    /// given, each with other signatures.
    Submit {
        /// Files of one request.
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
    },
}

/// Who counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Role {
    Operator,
    Officer,
}

pub(super) fn run(arguments: &Arguments, output: &mut Output<'_>) -> Result<Outcome, Failure> {
    match &arguments.command {
        Command::Show { key } => arguments.show(key, output),
        Command::RequireApproval { key, quorum, role, officers } => {
            let of_role = if *role == Role::Officer { *quorum } else { 0 };
            let rule = Rule { total: *quorum, officers: officers.unwrap_or(of_role) };
            arguments.require(key, rule, output)
        }
        Command::Request { id: None, .. } => arguments.list(output),
        Command::Request { id: Some(id), output: file } => {
            arguments.fetch(id, file.as_deref(), output)
        }
        Command::Approve(sign) => approve(sign, &arguments.account, output),
        Command::Submit { files } => arguments.submit(files, output),
    }
}

impl Arguments {
    fn call(&self, operation: &str, parameters: &[(&str, Option<&str>)]) -> Result<Value, Failure> {
        let key = parameters.iter().find(|(name, _)| *name == "KeyId").and_then(|(_, key)| *key);
        let named = key.and_then(|key| key.strip_prefix("arn:")?.split(':').nth(2));
        let region = [("RegionName", Some(named.unwrap_or(&self.region)))];
        self.account.call(STRONGROOM, operation, &[&region, parameters].concat())
    }

    fn show(&self, key: &str, output: &mut Output<'_>) -> Result<Outcome, Failure> {
        let shown = self.call("DescribeKeyProtection", &[("KeyId", Some(key))])?;
        output.print(&shown, |out, shown| {
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            writeln!(out, "{}", text(&shown["KeyArn"]))?;
            writeln!(
                out,
                "  {}, for {}, origin {}",
                text(&shown["KeySpec"]),
                text(&shown["KeyUsage"]),
                text(&shown["Origin"])
            )?;
            for material in shown["Materials"].as_array().into_iter().flatten() {
                writeln!(out, "  material      {}", text(&material["MaterialId"]))?;
                writeln!(
                    out,
                    "    domain      {}, key {}",
                    text(&material["DomainId"]),
                    material["DomainKey"]
                )?;
                let clean = material["NeverOutside"] == Value::Bool(true);
                let history: Vec<_> =
                    material["History"].as_array().into_iter().flatten().map(text).collect();
                let outside = match (clean, history.as_slice()) {
                    (true, _) => "never".to_owned(),
                    (false, []) => "in other Regions".to_owned(),
                    (false, facts) => format!("MAY BE: {}", facts.join(", ")),
                };
                writeln!(out, "    outside     {outside}")?;
                let approval = match rule(material) {
                    Some(rule) => format!("{} approve each use", rule_in_words(rule)),
                    None => "its uses need no approval".to_owned(),
                };
                writeln!(out, "    approval    {approval}")?;
            }
            writeln!(
                out,
                "This is what the daemon says. For a statement by the device: kmsctl attest key"
            )
        })?;
        Ok(Outcome::Good)
    }

    fn require(&self, key: &str, rule: Rule, output: &mut Output<'_>) -> Result<Outcome, Failure> {
        let (total, officers) = (rule.total.to_string(), rule.officers.to_string());
        let asked = [
            ("KeyId", Some(key)),
            ("Approvals", Some(total.as_str())),
            ("Officers", Some(officers.as_str())),
        ];
        let done = self.call("RequireApproval", &asked)?;
        output.print(&done, |out, done| {
            let key = done["KeyArn"].as_str().unwrap_or_default();
            writeln!(out, "Each use of {key} has to be approved by {}.", rule_in_words(rule))?;
            writeln!(
                out,
                "With a device, whoever has kept the key's former token, in a backup for example, \
                 needs no approval; statements about the key say so (rule-bound-later)."
            )
        })?;
        Ok(Outcome::Good)
    }

    fn list(&self, output: &mut Output<'_>) -> Result<Outcome, Failure> {
        let all = self.call("ListApprovals", &[])?["Approvals"].take();
        output.print(&all, |out, all| {
            let all = all.as_array().map(Vec::as_slice).unwrap_or_default();
            if all.is_empty() {
                writeln!(out, "No request waits for approval.")?;
            }
            for one in all {
                let text = |member: &str| one[member].as_str().unwrap_or_default();
                let id = hex::decode::<16>(text("ApprovalId")).unwrap_or_default();
                let state = match one["Approved"] == Value::Bool(true) {
                    true => "approved: send it again",
                    false => "waits",
                };
                writeln!(out, "{}  {state}", fingerprint(&id))?;
                writeln!(
                    out,
                    "  {} with key {}, by {}",
                    text("Command"),
                    text("KeyId"),
                    text("Caller")
                )?;
            }
            Ok(())
        })?;
        Ok(Outcome::Good)
    }

    fn fetch(
        &self,
        id: &str,
        file: Option<&Path>,
        output: &mut Output<'_>,
    ) -> Result<Outcome, Failure> {
        let answer = self.call("DescribeApproval", &[("ApprovalId", Some(id))])?;
        let malformed = || Failure("the daemon's response cannot be read".to_owned());
        let bytes = |member: &str| {
            let text = answer[member].as_str().ok_or_else(malformed)?;
            STANDARD.decode(text).map(Zeroizing::new).map_err(|_| malformed())
        };
        let pending = Pending::from_bytes(&bytes("Request")?)?;
        let state = DomainState::decode(&bytes("State")?)?;
        let paper = ApprovalFile::new(pending, state)?;
        let wanted: String = id.chars().filter(|c| *c != '-').collect();
        let found = hex::encode(&paper.pending().fingerprint());
        if !wanted.eq_ignore_ascii_case(&found) {
            return Err(Failure(format!("the daemon has responded with the request {found}")));
        }
        let file = file.map_or_else(|| PathBuf::from(format!("{found}.request")), Path::to_owned);
        match paper.save_new(&file) {
            Err(ApprovalFileError::Io { source, .. })
                if source.kind() == io::ErrorKind::AlreadyExists =>
            {
                return Err(Failure(format!("{} exists and is not replaced", file.display())));
            }
            saved => saved?,
        }
        written(&file, &paper, output)
    }

    fn submit(&self, files: &[PathBuf], output: &mut Output<'_>) -> Result<Outcome, Failure> {
        let (first, others) =
            files.split_first().ok_or_else(|| Failure("name the file".to_owned()))?;
        let mut paper = ApprovalFile::load(first)?;
        for file in others {
            paper.merge(&ApprovalFile::load(file)?, file)?;
        }
        let vote = |vote: &Vote| {
            let signature = hex::encode(&vote.signature.to_bytes());
            format!("{}:{signature}", vote.operator)
        };
        let votes: Vec<_> = paper.votes().iter().map(vote).collect();
        if votes.is_empty() {
            return Err(Failure(
                "nobody has signed it: kmsctl key approve FILE --key KEY".to_owned(),
            ));
        }
        let id = hex::encode(&paper.pending().fingerprint());
        let votes = votes.join(",");
        let asked = [("ApprovalId", Some(id.as_str())), ("Votes", Some(votes.as_str()))];
        let done = self.call("SubmitApproval", &asked)?["Approval"].take();
        output.print(&done, |out, done| {
            let caller = done["Caller"].as_str().unwrap_or_default();
            writeln!(out, "It is approved. {caller} sends the same request again, unchanged, once.")
        })?;
        Ok(Outcome::Good)
    }
}

/// The rule in a description.
fn rule(value: &Value) -> Option<Rule> {
    let number = |member: &str| u8::try_from(value[member].as_u64()?).ok();
    Some(Rule { total: number("Approvals")?, officers: number("Officers")? })
}

impl Paper for ApprovalFile {
    const NAME: &'static str = "request";

    fn is_for(&self, operator: OperatorId) -> bool {
        self.operator(operator).is_some()
    }

    fn domain(&self) -> DomainId {
        self.pending().asked().domain
    }

    fn fingerprint(&self) -> Result<[u8; 16], ErrorCode> {
        Ok(self.pending().fingerprint())
    }

    fn in_words(&self) -> String {
        self.in_words()
    }

    fn message(&self) -> Result<Vec<u8>, ErrorCode> {
        Ok(self.pending().asked().message().to_vec())
    }

    fn add(&mut self, vote: Vote) -> Result<(), ErrorCode> {
        self.add(vote)
    }
}

fn approve(sign: &Sign, account: &Account, output: &mut Output<'_>) -> Result<Outcome, Failure> {
    let mut paper = ApprovalFile::load(&sign.file)?;
    add_signature(sign, || account.data_dir(), &mut paper)?;
    match &sign.output {
        Some(to) => paper.save_new(to)?,
        None => paper.save(&sign.file)?,
    }
    written(sign.output.as_deref().unwrap_or(&sign.file), &paper, output)
}

#[derive(Serialize)]
struct Written {
    file: PathBuf,
    fingerprint: String,
    signed: Vec<String>,
    complete: bool,
    text: String,
}

/// Says that a file was written, and what is next.
fn written(file: &Path, paper: &ApprovalFile, output: &mut Output<'_>) -> Result<Outcome, Failure> {
    let written = Written {
        file: file.to_owned(),
        fingerprint: fingerprint(&paper.pending().fingerprint()),
        signed: paper.votes().iter().map(|vote| vote.operator.to_string()).collect(),
        complete: paper.is_complete(),
        text: paper.in_words(),
    };
    output.print(&written, |out, written| {
        write!(out, "{}", written.text)?;
        writeln!(out, "\nFingerprint, for the others who sign: {}", written.fingerprint)?;
        let file = written.file.display();
        match written.complete {
            true => writeln!(out, "{file} can be submitted: kmsctl key submit {file}"),
            false => writeln!(out, "{file} has to be signed: kmsctl key approve {file} --key KEY"),
        }
    })?;
    Ok(Outcome::Good)
}
