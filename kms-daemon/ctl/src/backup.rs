//! `kmsctl backup` and `kmsctl backup verify`.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::interrupt::Leftovers;
use super::management::{Account, STRONGROOM};
use super::progress::{Bar, size};
use super::{Failure, Outcome, Output, status, table};
use kms_audit::{AuditLog, LineHash, Position};
use kms_base::hex;
use kms_base::passphrase::Passphrase;
use kms_installation::backup::{
    self, Created, Creation, Devices, Done, Manifest, Prepared, RegionOf, Snapshots, Verified,
};
use kms_installation::data_dir::{DataDir, DataDirError};
use kms_installation::last_backup::LastBackup;
use kms_store::{RedbStore, Revision};

/// Longest file with a passphrase, in bytes.
const MAX_PASSPHRASE: u64 = 64 << 10;

#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    /// Path of the backup; no file of that name may exist. Another disk is best.
    #[arg(value_name = "FILE", required = true)]
    file: Option<PathBuf>,
    #[command(flatten)]
    passphrase: PassphraseFile,
    /// Include the flash of soft and qemu devices of the data directory. It holds the domain key: the
    /// backup then restores every key by itself, and whoever has the passphrase has every key.
    #[arg(long, conflicts_with = "without_devices")]
    with_devices: bool,
    /// Leave the flash out. The backup then restores nothing once these devices are lost.
    #[arg(long)]
    without_devices: bool,
    #[command(flatten)]
    account: Account,
}

#[derive(Debug, clap::Args)]
pub(super) struct PassphraseFile {
    /// File whose first line is the passphrase of the backup, 12 bytes or more. Without the
    /// passphrase nobody can restore: keep it apart from the backup.
    #[arg(
        long = "passphrase-file",
        value_name = "FILE",
        env = "STRONGROOM_PASSPHRASE_FILE",
        required = true
    )]
    path: Option<PathBuf>,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Check a backup, without a daemon: with its passphrase, whether it is whole and unaltered;
    /// without, only whether it is damaged. With --data DIR also whether the installation knows a
    /// newer one.
    Verify {
        /// The backup.
        #[arg(value_name = "FILE")]
        backup: PathBuf,
        /// File whose first line is its passphrase.
        #[arg(long, value_name = "FILE", env = "STRONGROOM_PASSPHRASE_FILE")]
        passphrase_file: Option<PathBuf>,
    },
}

pub(super) fn run(arguments: &Arguments, output: &mut Output<'_>) -> Result<Outcome, Failure> {
    match &arguments.command {
        Some(Command::Verify { backup, passphrase_file }) => {
            verify(backup, passphrase_file.as_deref(), &arguments.account, output)
        }
        None => create(arguments, output),
    }
}

impl PassphraseFile {
    pub(super) fn read(&self) -> Result<Passphrase, Failure> {
        let missing = || Failure("give the passphrase's file: --passphrase-file FILE".to_owned());
        read_passphrase(self.path.as_deref().ok_or_else(missing)?)
    }
}

fn read_passphrase(path: &Path) -> Result<Passphrase, Failure> {
    use std::io::Read;

    let failed = |error: io::Error| {
        Failure(format!("cannot read the passphrase from {}: {error}", path.display()))
    };
    let mut content = Zeroizing::new(Vec::with_capacity(1024));
    let file = fs::File::open(path).map_err(failed)?;
    file.take(MAX_PASSPHRASE).read_to_end(&mut content).map_err(failed)?;
    Ok(Passphrase::of_file(&content)?)
}

fn create(arguments: &Arguments, output: &mut Output<'_>) -> Result<Outcome, Failure> {
    let passphrase = arguments.passphrase.read()?;
    let file = arguments.file.as_deref().ok_or_else(|| Failure("name the file".to_owned()))?;
    let data = arguments.account.data_dir()?;
    let data = fs::canonicalize(&data)
        .map_err(|error| Failure(format!("cannot use {}: {error}", data.display())))?;
    if !data.join("store.redb").exists() {
        return Err(backup::BackupError::NoStore(data).into());
    }
    backup::check_target(file, &data)?;
    let devices = match (arguments.with_devices, arguments.without_devices) {
        (true, _) => Devices::With,
        (_, true) => Devices::Without,
        _ => Devices::Undecided,
    };
    let making = Making { file, data: &data, devices, passphrase: &passphrase };
    let (created, running) = match DataDir::open(&data) {
        Ok(lock) => (making.by_itself(&lock)?, false),
        Err(DataDirError::InUse(_)) => (making.of_running(&arguments.account)?, true),
        Err(error) => return Err(error.into()),
    };
    let report = Report::of_created(&created, running);
    output.print(&report, print)?;
    Ok(Outcome::Good)
}

/// A backup that is to be made.
struct Making<'a> {
    file: &'a Path,
    data: &'a Path,
    devices: Devices,
    passphrase: &'a Passphrase,
}

impl Making<'_> {
    /// Of an installation whose daemon does not run.
    fn by_itself(&self, _lock: &DataDir) -> Result<Created, Failure> {
        eprintln!("no kmsd runs on {}: its files are read as they are", self.data.display());
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let (store, audit, snapshots) = runtime.block_on(async {
            let store = Arc::new(RedbStore::open(&self.data.join("store.redb"))?);
            let about = json!({ "program": "kmsctl backup" });
            let (audit, _) = AuditLog::open(&self.data.join("audit"), about).await?;
            let audit = Arc::new(audit);
            let snapshots = Snapshots::new(self.data, Arc::clone(&store), Arc::clone(&audit));
            Ok::<_, Failure>((store, audit, snapshots))
        })?;
        let leftovers = Leftovers::watch()?;
        let mut made = leftovers.making();
        let prepared = runtime.block_on(snapshots.prepare())?;
        made.push(prepared.directory.clone());
        drop(made);
        let _gone = Removed(&prepared.directory);
        let proof = prepared.proof()?;
        let created = self.write(&prepared, &leftovers)?;
        let last = runtime.block_on(async {
            let last = snapshots.complete(&prepared.id, &proof, done(&created)).await?;
            let details = serde_json::to_value(&last)?;
            audit.installation_event("CreateBackup", &details).await.map_err(Failure)?;
            Ok::<LastBackup, Failure>(last)
        });
        drop((snapshots, store, audit));
        last.map_err(|error| unnoted(&created, &error))?;
        Ok(created)
    }

    /// Of an installation whose daemon runs: it takes the snapshot, and remembers the backup.
    fn of_running(&self, account: &Account) -> Result<Created, Failure> {
        let leftovers = Leftovers::watch()?;
        let mut made = leftovers.making();
        let answer = account.call(STRONGROOM, "PrepareBackup", &[])?;
        let prepared = prepared(&answer, self.data)?;
        made.push(prepared.directory.clone());
        drop(made);
        eprintln!(
            "snapshot of {}: store at revision {}, audit log to record {}",
            prepared.created, prepared.store_revision, prepared.audit.sequence
        );
        let _gone = Removed(&prepared.directory);
        let proof = prepared.proof()?;
        let created = self.write(&prepared, &leftovers)?;
        let Done { path, bytes, sha256, domains } = done(&created);
        let (bytes, domains) = (bytes.to_string(), domains.join(","));
        let parameters = [
            ("BackupId", Some(prepared.id.as_str())),
            ("Proof", Some(proof.as_str())),
            ("Path", Some(path.as_str())),
            ("Bytes", Some(bytes.as_str())),
            ("Sha256", Some(sha256.as_str())),
            ("Domains", Some(domains.as_str()).filter(|domains| !domains.is_empty())),
        ];
        let noted = account.call(STRONGROOM, "CompleteBackup", &parameters);
        noted.map_err(|error| unnoted(&created, &error))?;
        Ok(created)
    }

    fn write(&self, prepared: &Prepared, leftovers: &Leftovers) -> Result<Created, Failure> {
        let creation = Creation {
            data: self.data,
            snapshot: prepared,
            devices: self.devices,
            passphrase: self.passphrase,
        };
        let mut bar = Bar::new("written and read back");
        let mut made = Some(leftovers.making());
        let mut progress = |done, all| {
            // Only now it is known to be this one's.
            if let Some(mut made) = made.take() {
                made.push(backup::partial_path(self.file));
            }
            bar.show(done, all);
        };
        Ok(backup::create(self.file, &creation, &mut progress)?)
    }
}

/// The backup is good; only nobody else knows.
fn unnoted(created: &Created, error: &Failure) -> Failure {
    Failure(format!(
        "the backup {} is whole, but the installation could not record it and may continue to \
         report that it has no backup: {error}",
        created.path.display()
    ))
}

fn done(created: &Created) -> Done {
    Done {
        path: created.path.display().to_string(),
        bytes: created.bytes,
        sha256: created.sha256.clone(),
        domains: created.manifest.domains_held(),
    }
}

/// What a daemon has prepared; it must be the one of this data directory.
pub(super) fn prepared(answer: &Value, data: &Path) -> Result<Prepared, Failure> {
    let text = |name: &str| answer[name].as_str().unwrap_or_default();
    let malformed = || {
        Failure(
            "the daemon's response is not understood; use kmsctl and kmsd of the same release"
                .to_owned(),
        )
    };
    let id = text("BackupId");
    hex::decode::<16>(id).ok_or_else(malformed)?;
    let directory = data.join("backup").join(id);
    if !directory.is_dir() {
        return Err(Failure(format!(
            "the daemon that responded does not run on {}; name the right daemon with --url, or \
             its directory with --data",
            data.display()
        )));
    }
    let number = |name: &str| text(name).parse::<u64>().map_err(|_| malformed());
    Ok(Prepared {
        id: id.to_owned(),
        directory,
        created: text("CreateDate").to_owned(),
        store_revision: Revision(number("StoreRevision")?),
        audit: Position {
            sequence: number("AuditSequence")?,
            hash: LineHash::from_hex(text("AuditHash")).ok_or_else(malformed)?,
        },
    })
}

/// Removes a snapshot that is not needed any more, or cannot be used.
pub(super) struct Removed<'p>(pub(super) &'p Path);

impl Drop for Removed<'_> {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(self.0);
        if let Some(parent) = self.0.parent() {
            // Only if there is nothing else in it.
            let _ = fs::remove_dir(parent);
        }
    }
}

fn verify(
    path: &Path,
    passphrase: Option<&Path>,
    account: &Account,
    output: &mut Output<'_>,
) -> Result<Outcome, Failure> {
    // Before anything that takes long.
    let last = account.named_data_dir()?.map(|data| last_known(&data, account)).transpose()?;
    let mut bar = Bar::new("read");
    let mut show = |done, all| bar.show(done, all);
    let verified = match passphrase {
        Some(file) => backup::verify(path, &read_passphrase(file)?, &mut show),
        None => backup::checksum(path, &mut show),
    }?;
    drop(bar);
    let mut report = Report::of_verified(path, verified);
    report.installation = last.map(|(data, last)| Known::of(data, last, &report));
    output.print(&report, print)?;
    Ok(Outcome::Good)
}

/// The last backup that an installation knows of, whether its daemon runs or not; and its directory.
fn last_known(data: &Path, account: &Account) -> Result<(PathBuf, Option<LastBackup>), Failure> {
    let failed = |error: io::Error| Failure(format!("cannot use {}: {error}", data.display()));
    let data = fs::canonicalize(data).map_err(failed)?;
    let path = data.join("store.redb");
    if !path.exists() {
        return Err(backup::BackupError::NoStore(data).into());
    }
    let last = match DataDir::open(&data) {
        Ok(_lock) => {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async { LastBackup::read(&RedbStore::open(&path)?).await })?
        }
        Err(DataDirError::InUse(_)) => {
            let daemon = account.daemon()?;
            let (_, mut report) = status::ask(&daemon)?;
            status::ensure_is_of(&data, &daemon, &report)?;
            status::complete(&data, &mut report);
            serde_json::from_value(report["lastBackup"].take())?
        }
        Err(error) => return Err(error.into()),
    };
    Ok((data, last))
}

/// What a backup is.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    path: PathBuf,
    bytes: u64,
    sha256: String,
    /// Whether its passphrase has shown that nobody altered it.
    authentic: bool,
    /// Whether the daemon ran while it was made; unknown of an old one.
    #[serde(skip_serializing_if = "Option::is_none")]
    running: Option<bool>,
    /// Flashes, and files that may be copies of one, that are not in it; unknown of an old one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    left_out: Vec<String>,
    #[serde(flatten)]
    content: Option<Content>,
    /// What an installation knows that was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    installation: Option<Known>,
}

/// How a backup compares with the last one that an installation knows of.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Known {
    data: PathBuf,
    is_last: bool,
    last_backup: Option<LastBackup>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Content {
    created: String,
    version: String,
    store_revision: u64,
    audit_sequence: u64,
    files: usize,
    regions: Vec<RegionOf>,
}

impl Content {
    pub(super) fn of(manifest: &Manifest) -> Self {
        Self {
            created: manifest.created.clone(),
            version: manifest.version.clone(),
            store_revision: manifest.store_revision,
            audit_sequence: manifest.audit.sequence,
            files: manifest.files.len(),
            regions: manifest.regions.clone(),
        }
    }

    pub(super) fn print(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "  made of   {}, version {}", self.created, self.version)?;
        let (revision, sequence) = (self.store_revision, self.audit_sequence);
        writeln!(out, "  store     revision {revision}; audit log to record {sequence}")?;
        for RegionOf { region, lines, flashes, .. } in &self.regions {
            let others = lines.iter().filter(|line| !flashes.contains(line));
            let others: Vec<_> = others.map(String::as_str).collect();
            if !flashes.is_empty() {
                let names = flashes.join(", ");
                writeln!(
                    out,
                    "  {region}: with the flash of {names}: whoever has the passphrase has every key"
                )?;
            } else if !others.is_empty() {
                let names = others.join(", ");
                let text = format!(
                    "{region}: without {names}: its keys open only with one of these, or another \
                     member of the domain"
                );
                table::wrapped(out, &text)?;
            }
        }
        Ok(())
    }
}

impl Report {
    fn of_created(created: &Created, running: bool) -> Self {
        Self {
            path: created.path.clone(),
            bytes: created.bytes,
            sha256: created.sha256.clone(),
            authentic: true,
            running: Some(running),
            left_out: created.left_out.clone(),
            content: Some(Content::of(&created.manifest)),
            installation: None,
        }
    }

    fn of_verified(path: &Path, Verified { bytes, sha256, manifest }: Verified) -> Self {
        let content = manifest.as_ref().map(Content::of);
        let path = path.to_owned();
        let (authentic, running, left_out) = (content.is_some(), None, Vec::new());
        Self { path, bytes, sha256, authentic, running, left_out, content, installation: None }
    }
}

impl Known {
    fn of(data: PathBuf, last_backup: Option<LastBackup>, report: &Report) -> Self {
        let is_last = last_backup.as_ref().is_some_and(|last| last.sha256 == report.sha256);
        Self { data, is_last, last_backup }
    }

    fn print(&self, out: &mut dyn Write, content: Option<&Content>) -> io::Result<()> {
        let data = self.data.display();
        let text = match &self.last_backup {
            Some(_) if self.is_last => format!("It is the last one that {data} knows."),
            Some(last) => {
                let LastBackup { created, path, .. } = last;
                // Of two in one second the log tells which was first.
                let which = match content {
                    Some(content) if content.audit_sequence < last.audit_sequence => {
                        "NOT THE LAST: a newer one"
                    }
                    Some(_) => "NOT THE LAST THAT IT KNOWS: an older one",
                    None => "NOT THE LAST: another one",
                };
                format!("{which} of {data} was made of {created}, as {path}.")
            }
            None => format!("{data} knows of no backup. It may have come out of this one."),
        };
        table::wrapped(out, &text)
    }
}

fn print(out: &mut dyn Write, report: &Report) -> io::Result<()> {
    let state = if report.authentic { "whole and authentic" } else { "undamaged" };
    writeln!(out, "{}: {state}, {}", report.path.display(), size(report.bytes))?;
    writeln!(out, "  sha256    {}", report.sha256)?;
    for path in &report.left_out {
        writeln!(out, "  left out  {path}")?;
    }
    match &report.content {
        Some(content) => content.print(out)?,
        None => writeln!(out, "  to see whether it was altered: --passphrase-file FILE")?,
    }
    match &report.installation {
        Some(known) => known.print(out, report.content.as_ref()),
        None => Ok(()),
    }
}
