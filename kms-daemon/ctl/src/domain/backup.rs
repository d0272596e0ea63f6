//! Backups of a domain: a file, and a share for each operator who holds one.

use std::path::PathBuf;
use std::time::SystemTime;

use hsm_protocol::domain::MAX_DOMAIN_KEYS;
use serde::Serialize;

use super::super::{Failure, Outcome, Output, say};
use super::reach::Place;
use kms_audit::event_time;
use kms_base::{durable, hex};
use kms_ceremony::{RecoveryFile, ShareFile, fingerprint};

/// The file of the backup, in its directory.
const BACKUP: &str = "domain.backup";

#[derive(Debug, clap::Args)]
pub(super) struct Backup {
    /// Directory to create: domain.backup, and FINGERPRINT.share for each operator who holds one.
    #[arg(value_name = "DIR")]
    directory: PathBuf,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Made {
    domain: String,
    version: u32,
    state: String,
    threshold: u8,
    backup: PathBuf,
    shares: Vec<MadeShare>,
}

#[derive(Serialize)]
struct MadeShare {
    operator: String,
    file: PathBuf,
}

pub(super) fn run(
    backup: &Backup,
    place: &Place,
    output: &mut Output<'_>,
) -> Result<Outcome, Failure> {
    let directory = &backup.directory;
    if directory.exists() {
        return Err(Failure(format!("{} exists and is not replaced", directory.display())));
    }
    let (state, set) = place.reach()?.make_recovery()?;
    if state.keys.len() == MAX_DOMAIN_KEYS {
        say(format_args!(
            "the domain has as many domain keys as it can have, and restoring it would need one \
             more; first remove the former ones that no token is under: kmsctl domain propose \
             --remove-key"
        ));
    }
    durable::create_private_dir(directory)?;
    let of = RecoveryFile::new(state.clone(), set.backup, event_time(SystemTime::now()));
    let mut shares = Vec::new();
    for share in set.shares {
        let operator = fingerprint(share.header.operator.as_bytes());
        let file = directory.join(format!("{}.share", share.header.operator));
        ShareFile { of: of.clone(), share }.save_new(&file)?;
        // What was written is what will be read.
        ShareFile::load(&file)?;
        shares.push(MadeShare { operator, file });
    }
    // Last: a backup is useless without all of its shares.
    let path = directory.join(BACKUP);
    of.save_new(&path)?;
    RecoveryFile::load(&path)?;
    let made = Made {
        domain: state.domain.to_string(),
        version: state.version,
        state: hex::encode(&state.hash()?),
        threshold: state.recovery.as_ref().map_or(0, |recovery| recovery.threshold),
        backup: path,
        shares,
    };
    output.print(&made, |out, made| {
        writeln!(out, "domain {} at version {}", made.domain, made.version)?;
        writeln!(out, "  Hash of its state: {}", made.state)?;
        writeln!(out, "  {} (useless without shares)", made.backup.display())?;
        for share in &made.shares {
            writeln!(out, "  {} for {}", share.file.display(), share.operator)?;
        }
        let needed = made.threshold;
        writeln!(
            out,
            "Any {needed} of these operators together restore every key. Give each their share,"
        )?;
        writeln!(
            out,
            "and the hash of the state; keep copies of domain.backup apart from the shares."
        )?;
        writeln!(
            out,
            "Without a backup of the store (kmsctl backup) the domain keys are of no use."
        )
    })?;
    Ok(Outcome::Good)
}
