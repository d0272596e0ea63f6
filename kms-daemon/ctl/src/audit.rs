//! `kmsctl audit`: the audit log, from its files alone.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use time::OffsetDateTime;

use super::{Failure, Outcome, Output};
use kms_audit::{Network, Query, holds_files, parse_time};

mod anchor;
mod export;
mod query;
mod table;
mod tail;
mod verify;

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Say up to which record a log is proven and by which device, or name the first record that was
    /// changed, removed or reordered.
    #[command(
        after_help = "Exit codes: 0 proven to its end; 1 broken; 2 cannot be verified; 3 intact, \
                      but its end is not proven yet (kmsd is running, or did not stop cleanly); 4 \
                      its chains fit together, but without a trust anchor nobody vouches for the \
                      devices that signed it."
    )]
    Verify(verify::Arguments),
    /// Write a trust anchor: the devices that sign a log, and its present end, for `verify --trust-anchor`.
    /// Do it while you trust the machine, compare the fingerprints, and keep the file elsewhere.
    Anchor(anchor::Arguments),
    /// Show who did what, with which key, from where: the records of the log, in their order. With --json,
    /// each record as CloudTrail has it, on a line of its own. The exit code is 1 if something is missing
    /// or cannot be read, which is reported on standard error.
    #[command(
        after_help = "Who decrypted what yesterday:\n  kmsctl audit query DIR/audit --since \
                            yesterday --until today --action Decrypt"
    )]
    Query(query::Arguments),
    /// Show the last records, and new ones until it is stopped.
    Tail(tail::Arguments),
    /// Write the records as files in CloudTrail's own form, AWSLogs/ACCOUNT/CloudTrail/REGION/…, for
    /// programs that read these.
    Export(export::Arguments),
}

/// Which part of which log is read, and which of its records are asked for.
#[derive(Debug, clap::Args)]
struct Selection {
    /// Audit directories of one log: `DIR/audit` of the data directory, and the directories to which its
    /// files were delivered; or files in CloudTrail's form.
    #[arg(required = true)]
    dir: Vec<PathBuf>,
    /// Only records from this time on: 2026-11-28T09:00:00Z, 2026-11-28, yesterday, today, or how long
    /// ago: 30m, 2h, 3d. Days are those of UTC.
    #[arg(long, value_name = "TIME", value_parser = time)]
    since: Option<OffsetDateTime>,
    /// Only records before this time.
    #[arg(long, value_name = "TIME", value_parser = time)]
    until: Option<OffsetDateTime>,
    #[command(flatten)]
    filter: Filter,
}

impl Selection {
    fn query(&self) -> Query {
        self.filter.query(self.since, self.until)
    }

    fn directories(&self) -> Vec<PathBuf> {
        directories(&self.dir)
    }
}

/// Which records are asked for.
#[derive(Debug, clap::Args)]
struct Filter {
    /// Only those of a user, role, session or access key: a name, unique id, ARN, or root. Can be
    /// repeated.
    #[arg(long, value_name = "WHO")]
    user: Vec<String>,
    /// Only those about a key: key id, ARN, alias, or alias ARN; an alias means the key that it stood for
    /// at the time. Can be repeated.
    #[arg(long)]
    key: Vec<String>,
    /// Only those of an action, such as Decrypt, kms:Decrypt or Generate*. Can be repeated.
    #[arg(long)]
    action: Vec<String>,
    /// Only requests that were refused because of their caller: by policies, or for their signature.
    #[arg(long)]
    denied: bool,
    /// Only those from an address, or a network such as 10.0.0.0/8. Can be repeated.
    #[arg(long, value_name = "ADDRESS")]
    source: Vec<Network>,
}

impl Filter {
    fn query(&self, since: Option<OffsetDateTime>, until: Option<OffsetDateTime>) -> Query {
        Query::new()
            .between(since, until)
            .by(&self.user)
            .about(&self.key)
            .of(&self.action)
            .only_denied(self.denied)
            .from(&self.source)
    }
}

pub(super) fn run(command: Command, output: &mut Output<'_>) -> Result<Outcome, Failure> {
    match command {
        Command::Verify(arguments) => verify::run(&arguments, output),
        Command::Anchor(arguments) => anchor::run(&arguments, output),
        Command::Query(arguments) => until_closed(query::run(&arguments, output)),
        Command::Tail(arguments) => until_closed(tail::run(&arguments, output)),
        Command::Export(arguments) => until_closed(export::run(&arguments, output)),
    }
}

/// Why a command that reads records ended early.
enum Stop {
    /// Nobody reads what it prints any more.
    Closed,
    /// Something else.
    Failed(Failure),
}

impl<E: Into<Failure>> From<E> for Stop {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

/// Writes a line for whoever reads it.
fn say(out: &mut dyn Write, line: &str) -> Result<(), Stop> {
    match writeln!(out, "{line}") {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(Stop::Closed),
        written => Ok(written?),
    }
}

/// A reader that closes the pipe early is not a failure.
fn until_closed(outcome: Result<Outcome, Stop>) -> Result<Outcome, Failure> {
    match outcome {
        Ok(outcome) => Ok(outcome),
        Err(Stop::Closed) => Ok(Outcome::Good),
        Err(Stop::Failed(failure)) => Err(failure),
    }
}

/// The audit directories that are meant: of a data directory, its own.
fn directories(given: &[PathBuf]) -> Vec<PathBuf> {
    let meant = |dir: &Path| {
        let inside = dir.join("audit");
        if !holds_files(dir) && holds_files(&inside) { inside } else { dir.to_owned() }
    };
    given.iter().map(|dir| meant(dir)).collect()
}

/// Reads a time, as of now.
fn time(text: &str) -> Result<OffsetDateTime, String> {
    parse_time(text, OffsetDateTime::now_utc())
}
