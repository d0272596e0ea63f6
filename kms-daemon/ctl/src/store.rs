//! `kmsctl store`: moves the records of an installation between engines, and checks them.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use serde::Serialize;
use serde_json::json;

use super::backup::{PassphraseFile, Removed, prepared};
use super::interrupt::Leftovers;
use super::management::{Account, STRONGROOM};
use super::progress::{Bar, size};
use super::{Failure, Outcome, Output, table};
use kms_audit::{AuditLog, event_time};
use kms_base::passphrase::Passphrase;
use kms_installation::backup::{BackupError, partial_path};
use kms_installation::data_dir::{DataDir, DataDirError};
use kms_installation::settings::Settings;
use kms_installation::store_place::EtcdSettings;
use kms_installation::transfer::{
    self, Difference, ExportFile, Exported, Header, Imported, Moved, store_id,
};
use kms_store::{EtcdStore, RedbStore, Scan};
use tokio::runtime::Runtime;

mod scrub;

/// The store in a data directory.
const STORE: &str = "store.redb";

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    account: Account,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Write all records of a store, as they are at one revision, into one encrypted file. Daemons may use the store
    /// meanwhile. Devices, the audit log and the root's access key are not in it.
    Export {
        /// Path of the export; no file of that name may exist.
        #[arg(value_name = "FILE")]
        file: PathBuf,
        #[command(flatten)]
        passphrase: PassphraseFile,
        #[command(flatten)]
        place: Place,
    },
    /// Fill an empty store with the records of an export. If this is cut off, the same command goes on; no kmsd starts
    /// on the store before it is complete. With --store and --data, the store in the data directory that the export was
    /// made of gives its records up, and its kmsd is then started with --store.
    Import {
        /// The export.
        #[arg(value_name = "FILE")]
        file: PathBuf,
        #[command(flatten)]
        passphrase: PassphraseFile,
        #[command(flatten)]
        place: Place,
    },
    /// Have the running daemon read every record of its store, and its devices open every key token and sealed secret.
    /// Exit code 1 if something is damaged. Nothing is changed.
    Scrub(scrub::Arguments),
    /// Check whether an export, or a copy that kmsd --replica has made, is whole and unaltered. With --data or --store
    /// also how it differs from that store now: exit code 1 if it does.
    Verify {
        /// The export.
        #[arg(value_name = "FILE")]
        file: PathBuf,
        #[command(flatten)]
        passphrase: PassphraseFile,
        #[command(flatten)]
        place: Place,
    },
}

/// Where the store is, as kmsd is told.
#[derive(Debug, clap::Args)]
struct Place {
    /// An etcd cluster: etcd:URL,URL,… [default: store.redb in the data directory].
    #[arg(long, value_name = "etcd:URL,…", env = "STRONGROOM_STORE")]
    store: Option<String>,
    /// What the keys in etcd start with [default: /strongroom].
    #[arg(long, value_name = "PREFIX", env = "STRONGROOM_STORE_PREFIX")]
    store_prefix: Option<String>,
    /// Authorities that vouch for the members of the cluster, PEM; required for https.
    #[arg(long, value_name = "FILE", env = "STRONGROOM_STORE_CA")]
    store_ca: Option<PathBuf>,
    /// Certificate chain that is shown to etcd, PEM.
    #[arg(long, value_name = "FILE", env = "STRONGROOM_STORE_CERT")]
    store_cert: Option<PathBuf>,
    /// Private key of that certificate, PEM.
    #[arg(long, value_name = "FILE", env = "STRONGROOM_STORE_KEY")]
    store_key: Option<PathBuf>,
    /// User of etcd.
    #[arg(long, value_name = "NAME", env = "STRONGROOM_STORE_USER")]
    store_user: Option<String>,
    /// File with the password of that user in its first line.
    #[arg(long, value_name = "FILE", env = "STRONGROOM_STORE_PASSWORD_FILE")]
    store_password_file: Option<PathBuf>,
}

impl Place {
    fn etcd(&self) -> Result<Option<EtcdSettings>, Failure> {
        Ok(EtcdSettings::of(&Settings {
            store: self.store.clone(),
            store_prefix: self.store_prefix.clone(),
            store_ca: self.store_ca.clone(),
            store_cert: self.store_cert.clone(),
            store_key: self.store_key.clone(),
            store_user: self.store_user.clone(),
            store_password_file: self.store_password_file.clone(),
            ..Settings::default()
        })?)
    }
}

pub(super) fn run(arguments: &Arguments, output: &mut Output<'_>) -> Result<Outcome, Failure> {
    let account = &arguments.account;
    match &arguments.command {
        Command::Export { file, passphrase, place } => {
            let exported = export(file, &passphrase.read()?, place, account)?;
            output.print(&Report::of(exported), Report::print)?;
        }
        Command::Import { file, passphrase, place } => {
            let report = import(file, &passphrase.read()?, place, account)?;
            output.print(&report, ImportReport::print)?;
        }
        Command::Scrub(arguments) => return scrub::run(arguments, account, output),
        Command::Verify { file, passphrase, place } => {
            let report = verify(file, &passphrase.read()?, place, account)?;
            output.print(&report, Report::print)?;
            if report.difference.is_some_and(|difference| !difference.is_none()) {
                return Ok(Outcome::Bad);
            }
        }
    }
    Ok(Outcome::Good)
}

fn runtime() -> Result<Runtime, Failure> {
    Ok(tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?)
}

fn export(
    file: &Path,
    passphrase: &Passphrase,
    place: &Place,
    account: &Account,
) -> Result<Exported, Failure> {
    let runtime = runtime()?;
    let leftovers = Leftovers::watch()?;
    let write = |scan: Scan, header: Header| -> Result<Exported, Failure> {
        let mut bar = Bar::new("written");
        let mut made = Some(leftovers.making());
        let mut progress = |done, all| {
            // Only now it is known to be this one's.
            if let Some(mut made) = made.take() {
                made.push(partial_path(file));
            }
            match all {
                0 => bar.show_unbounded(done),
                all => bar.show(done, all),
            }
        };
        let exporting = transfer::export(file, scan, header, passphrase, &mut progress);
        Ok(runtime.block_on(exporting)?)
    };
    let (exported, stopped) = read_store(place, account, (&runtime, &leftovers), write)?;
    if let Some((data, _lock)) = stopped {
        runtime.block_on(record(&data, &exported))?;
    }
    Ok(exported)
}

/// The data directory of a daemon that does not run, and the lock on it.
type Stopped = Option<(PathBuf, DataDir)>;

/// Reads a store at one revision, whether its daemon runs or not.
fn read_store<T>(
    place: &Place,
    account: &Account,
    (runtime, leftovers): (&Runtime, &Leftovers),
    read: impl FnOnce(Scan, Header) -> Result<T, Failure>,
) -> Result<(T, Stopped), Failure> {
    let created = event_time(SystemTime::now());
    if let Some(settings) = place.etcd()? {
        let options = settings.options()?;
        let scan = runtime.block_on(async {
            let store = Arc::new(EtcdStore::open(options).await?);
            Ok::<_, Failure>(Scan::of_etcd(store).await?)
        })?;
        let header = Header::new(created, settings.place(), None, scan.revision());
        return Ok((read(scan, header)?, None));
    }
    let data = account.data_dir()?;
    let data = fs::canonicalize(&data)
        .map_err(|error| Failure(format!("cannot use {}: {error}", data.display())))?;
    let path = data.join(STORE);
    if !path.exists() {
        return Err(BackupError::NoStore(data).into());
    }
    let of_file = |store: &RedbStore| -> Result<T, Failure> {
        let scan = Scan::of_redb(store)?;
        let from = path.display().to_string();
        let header = Header::new(created, from, store_id(store)?, scan.revision());
        read(scan, header)
    };
    match DataDir::open(&data) {
        Ok(lock) => Ok((of_file(&RedbStore::open(&path)?)?, Some((data, lock)))),
        // Its daemon takes a snapshot, as for a backup.
        Err(DataDirError::InUse(_)) => {
            let mut made = leftovers.making();
            let answer = account.call(STRONGROOM, "PrepareBackup", &[])?;
            let prepared = prepared(&answer, &data)?;
            made.push(prepared.directory.clone());
            drop(made);
            let _gone = Removed(&prepared.directory);
            Ok((of_file(&RedbStore::open(&prepared.directory.join(STORE))?)?, None))
        }
        Err(error) => Err(error.into()),
    }
}

/// Reads an export, and compares it with a store if one is named.
fn verify(
    file: &Path,
    passphrase: &Passphrase,
    place: &Place,
    account: &Account,
) -> Result<Report, Failure> {
    let mut bar = Bar::new("read");
    let found = ExportFile::open(file, passphrase, &mut |done, all| bar.show(done, all))?;
    drop(bar);
    let mut report = Report::of_file(file, &found);
    if place.store.is_some() || account.named_data_dir()?.is_some() {
        let (runtime, leftovers) = (runtime()?, Leftovers::watch()?);
        let compare = |scan: Scan, _: Header| -> Result<Difference, Failure> {
            Ok(runtime.block_on(transfer::difference(&found, scan))?)
        };
        let (difference, _) = read_store(place, account, (&runtime, &leftovers), compare)?;
        report.difference = Some(difference);
    }
    Ok(report)
}

/// Has the audit log of a stopped daemon say that there is an export.
async fn record(data: &Path, exported: &Exported) -> Result<(), Failure> {
    let about = json!({ "program": "kmsctl store export" });
    let (audit, _) = AuditLog::open(&data.join("audit"), about).await?;
    let details = json!({
        "path": exported.path, "bytes": exported.bytes, "sha256": exported.sha256,
        "records": exported.records, "revision": exported.header.revision,
    });
    audit.installation_event("ExportStore", &details).await.map_err(Failure)
}

fn import(
    file: &Path,
    passphrase: &Passphrase,
    place: &Place,
    account: &Account,
) -> Result<ImportReport, Failure> {
    let runtime = runtime()?;
    let etcd = place.etcd()?;
    let mut bar = Bar::new("checked");
    let found = ExportFile::open(file, passphrase, &mut |done, all| bar.show(done, all))?;
    drop(bar);
    let mut bar = Steps::new();
    let mut progress = |done, all| bar.show(done, all);
    match etcd {
        None => {
            let data = account.data_dir()?;
            let importing = transfer::into_data(&data, &found, &mut progress);
            let (imported, moved) = runtime.block_on(importing)?;
            let start = vec!["--data".to_owned(), data.display().to_string()];
            Ok(ImportReport::of(&found, &data.display().to_string(), imported, moved, start))
        }
        Some(settings) => {
            let (options, name) = (settings.options()?, settings.place());
            let data = account.named_data_dir()?;
            let (imported, moved) = runtime.block_on(async {
                let store = EtcdStore::open(options).await?;
                let importing =
                    transfer::into_shared(&store, &name, data.as_deref(), &found, &mut progress);
                Ok::<_, Failure>(importing.await?)
            })?;
            let data = data.map_or_else(|| "DIR".to_owned(), |data| data.display().to_string());
            let start = ["--data", &data, "--store", place.store.as_deref().unwrap_or_default()];
            let start = start.map(str::to_owned).to_vec();
            Ok(ImportReport::of(&found, &name, imported, moved, start))
        }
    }
}

/// Progress in records, on standard error.
struct Steps {
    tenths: u64,
}

impl Steps {
    const fn new() -> Self {
        Self { tenths: 0 }
    }

    fn show(&mut self, done: u64, all: u64) {
        let tenths = done.saturating_mul(10).checked_div(all).unwrap_or(10);
        if tenths > self.tenths {
            self.tenths = tenths;
            eprintln!("written and compared: {done} of {all} records");
        }
    }
}

/// What an export is.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    path: PathBuf,
    bytes: u64,
    sha256: String,
    records: u64,
    revision: u64,
    from: String,
    created: String,
    version: String,
    /// How it differs from a store that was named.
    #[serde(skip_serializing_if = "Option::is_none")]
    difference: Option<Difference>,
}

impl Report {
    fn of(exported: Exported) -> Self {
        let Exported { path, bytes, sha256, header, records } = exported;
        Self::with(path, (bytes, sha256), &header, records)
    }

    fn of_file(path: &Path, file: &ExportFile<'_>) -> Self {
        let sum = (file.length(), file.sha256().to_owned());
        Self::with(path.to_owned(), sum, file.header(), file.count())
    }

    fn with(path: PathBuf, (bytes, sha256): (u64, String), header: &Header, records: u64) -> Self {
        Self {
            path,
            bytes,
            sha256,
            records,
            revision: header.revision,
            from: header.from.clone(),
            created: header.created.clone(),
            version: header.version.clone(),
            difference: None,
        }
    }

    fn print(out: &mut dyn Write, report: &Self) -> io::Result<()> {
        let Self { path, bytes, sha256, records, revision, from, created, version, .. } = report;
        writeln!(out, "{}: whole and authentic, {}", path.display(), size(*bytes))?;
        writeln!(out, "  sha256    {sha256}")?;
        writeln!(out, "  made of   {from}")?;
        writeln!(out, "  at        {created}, version {version}")?;
        writeln!(out, "  store     revision {revision}, {records} records")?;
        let Some(difference) = &report.difference else { return Ok(()) };
        let Difference { revision, same, changed, missing, gone, named } = difference;
        writeln!(out, "compared with the store at revision {revision}:")?;
        writeln!(out, "  the same           {same}")?;
        writeln!(out, "  changed            {changed}")?;
        writeln!(out, "  not in the export  {missing}")?;
        writeln!(out, "  not in the store   {gone}")?;
        named.iter().try_for_each(|line| writeln!(out, "  {line}"))
    }
}

/// What an import has done.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ImportReport {
    store: String,
    sha256: String,
    records: u64,
    /// Records that an earlier run had written.
    before: u64,
    /// Whether an earlier run had done everything.
    was_complete: bool,
    /// What became of the data directory.
    data: &'static str,
    /// What to start kmsd with.
    start: Vec<String>,
}

impl ImportReport {
    fn of(
        file: &ExportFile<'_>,
        store: &str,
        imported: Imported,
        moved: Moved,
        start: Vec<String>,
    ) -> Self {
        let data = match moved {
            Moved::Nothing => "not named",
            Moved::Took => "has the records",
            Moved::GaveUp => "gave its records up",
            Moved::Before => "as it was",
        };
        let Imported { records, before, was_complete } = imported;
        let (store, sha256) = (store.to_owned(), file.sha256().to_owned());
        Self { store, sha256, records, before, was_complete, data, start }
    }

    fn print(out: &mut dyn Write, report: &Self) -> io::Result<()> {
        let Self { store, records, before, was_complete, data, start, .. } = report;
        writeln!(out, "{store}: {records} records, compared with the export")?;
        if *was_complete {
            writeln!(out, "  an earlier run has written all of them")?;
        } else if *before > 0 {
            writeln!(out, "  an earlier run has written {before} of them")?;
        }
        writeln!(out, "  data directory: {data}")?;
        table::wrapped(
            out,
            "Never start a kmsd on the former store any more. Start, with the devices as before:",
        )?;
        writeln!(out, "  kmsd {}", start.join(" "))
    }
}
