//! `kmsctl`: administers daemon, devices and audit log.
//!
//! Every command prints a table that fits a terminal, or one JSON document with `--json`. The exit
//! code is 0 if all is well, 1 if a check found a problem, 2 if the command could not do its work;
//! `audit verify` and `attest verify` have further codes.

use std::ffi::OsString;
use std::fmt;
use std::io::{self, Write};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod accept;
mod account;
mod advice;
mod attest;
mod audit;
mod aws;
mod backup;
mod cluster;
mod daemon;
mod device;
mod domain;
mod generate;
mod hsm;
mod iam;
mod interrupt;
mod key;
mod key_store;
mod link;
mod losses;
mod management;
mod operator;
mod passphrase;
mod pipe;
mod policy;
mod progress;
/// A device behind a TCP port.
#[cfg(test)]
#[path = "../../installation/src/devices/tests/remote.rs"]
mod remote;
mod restore;
mod status;
mod store;
mod table;
mod usage;
mod xks;

/// Administers a Strongroom installation.
#[derive(Debug, Parser)]
#[command(name = "kmsctl", version = kms_installation::VERSION, about, max_term_width = 100)]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
    /// Print one JSON document instead of text.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// A running daemon and its devices.
    Status(status::Arguments),
    /// The devices of a running daemon: listed, drained, resumed, added, removed.
    Device(device::Arguments),
    /// Devices, over their own lines.
    #[command(subcommand)]
    Hsm(hsm::Command),
    /// Domains: their devices, keys and operators, and changes of these.
    Domain(Box<domain::Arguments>),
    /// Keys: their protection, and uses that operators approve.
    Key(Box<key::Arguments>),
    /// Statements of devices about keys and about themselves.
    #[command(subcommand)]
    Attest(attest::Command),
    /// Keys of a domain's operators.
    #[command(subcommand)]
    Operator(operator::Command),
    /// Keys of device CAs, which vouch for devices.
    #[command(subcommand)]
    DeviceCa(operator::CaCommand),
    /// Accounts of an installation.
    #[command(subcommand)]
    Account(account::Command),
    /// Users, groups, roles, access keys and policies of an account.
    #[command(subcommand)]
    Iam(iam::Command),
    /// What policies and grants decide, and why.
    #[command(subcommand)]
    Policy(policy::Command),
    /// The audit log.
    #[command(subcommand)]
    Audit(audit::Command),
    /// Continue with parts that kmsd refused because they do not belong together: an older store,
    /// audit log or device. What is lost stays lost; the audit log records the decision.
    Accept(accept::Arguments),
    /// Make a backup of an installation, running or not: one encrypted file.
    Backup(Box<backup::Arguments>),
    /// Restore a backup into an empty data directory.
    Restore(restore::Arguments),
    /// The store: move its records between engines, and check them.
    Store(Box<store::Arguments>),
    /// The link to daemons of other Regions.
    #[command(subcommand)]
    Link(link::Command),
    /// Requests and keys of a month, and what they would have cost at AWS KMS.
    Usage(usage::Arguments),
    /// External key stores: keys that another KMS, such as AWS KMS, uses over the external key store proxy API.
    Xks(xks::Arguments),
    /// Custom key stores: list, connect and disconnect them.
    KeyStore(key_store::Arguments),
    /// Clusters of PKCS#11 tokens, which custom key stores of type AWS_CLOUDHSM are on.
    Cluster(cluster::Arguments),
    /// Shell completions and manual pages of kmsctl and kmsd.
    #[command(subcommand)]
    Generate(generate::Command),
}

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// All is well.
    Good,
    /// What was checked is not as it should be; the output says how.
    Bad,
    /// The end of an audit log is not proven, though the log is intact as far as it goes.
    Unproven,
    /// Nobody vouches for the devices that signed an audit log, or made a statement.
    Unvouched,
}

/// Why a command failed; the text says what to do.
#[derive(Debug)]
struct Failure(String);

impl<E: std::error::Error> From<E> for Failure {
    fn from(error: E) -> Self {
        let mut text = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            // Many errors repeat their source in their own text.
            if !text.contains(&cause.to_string()) {
                text = format!("{text}: {cause}");
            }
            source = cause.source();
        }
        Self(text)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Where a command writes its output, and in which form.
struct Output<'o> {
    out: &'o mut dyn Write,
    json: bool,
}

impl Output<'_> {
    /// Prints a value as JSON, or the text that `text` writes.
    fn print<T: serde::Serialize>(
        &mut self,
        value: &T,
        text: impl FnOnce(&mut dyn Write, &T) -> io::Result<()>,
    ) -> Result<(), Failure> {
        let mut whole = Vec::new();
        if self.json {
            serde_json::to_writer_pretty(&mut whole, value)?;
            writeln!(whole)?;
        } else {
            text(&mut whole, value)?;
        }
        // Whoever has read enough of it has the command's exit code all the same.
        match self.out.write_all(&whole).and_then(|()| self.out.flush()) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            written => Ok(written?),
        }
    }
}

/// Runs `kmsctl` with these arguments, the first being its own name.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let CommandLine { command, json } = match CommandLine::try_parse_from(arguments) {
        Ok(line) => line,
        Err(error) => {
            // Help goes to standard output with code 0, a mistake to standard error with code 2.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    let mut out = pipe::Watched::new(io::stdout().lock());
    let mut output = Output { out: &mut out, json };
    let outcome = match command {
        Command::Status(arguments) => status::run(&arguments, &mut output),
        Command::Device(arguments) => device::run(&arguments, &mut output),
        Command::Hsm(command) => hsm::run(command, &mut output),
        Command::Domain(arguments) => domain::run(*arguments, &mut output),
        Command::Key(arguments) => key::run(&arguments, &mut output),
        Command::Attest(command) => attest::run(&command, &mut output),
        Command::Operator(command) => operator::run(&command, &mut output),
        Command::DeviceCa(command) => operator::run_ca(&command, &mut output),
        Command::Account(command) => account::run(&command, &mut output),
        Command::Iam(command) => iam::run(&command, &mut output),
        Command::Policy(command) => policy::run(&command, &mut output),
        Command::Audit(command) => audit::run(command, &mut output),
        Command::Accept(arguments) => accept::run(&arguments, &mut output),
        Command::Backup(arguments) => backup::run(&arguments, &mut output),
        Command::Restore(arguments) => restore::run(&arguments, &mut output),
        Command::Store(arguments) => store::run(&arguments, &mut output),
        Command::Link(command) => link::run(command, &mut output),
        Command::Usage(arguments) => usage::run(&arguments, &mut output),
        Command::Xks(arguments) => xks::run(&arguments, &mut output),
        Command::KeyStore(arguments) => key_store::run(&arguments, &mut output),
        Command::Cluster(arguments) => cluster::run(&arguments, &mut output),
        Command::Generate(command) => generate::run(&command, &mut output),
    };
    match outcome {
        Ok(Outcome::Good) => ExitCode::SUCCESS,
        Ok(Outcome::Bad) => ExitCode::from(1),
        Ok(Outcome::Unproven) => ExitCode::from(3),
        Ok(Outcome::Unvouched) => ExitCode::from(4),
        // `kmsctl … | head -1` is not a mistake.
        Err(_) if out.is_closed() => ExitCode::SUCCESS,
        Err(failure) => {
            say(format_args!("kmsctl: {failure}"));
            ExitCode::from(2)
        }
    }
}

/// Writes a line to standard error, ignoring failures.
fn say(line: fmt::Arguments<'_>) {
    let _ = writeln!(io::stderr(), "{line}");
}
