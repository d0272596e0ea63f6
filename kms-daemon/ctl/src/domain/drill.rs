//! `kmsctl domain drill`: checks that a backup would restore a domain.
//!
//! A fresh device opens the backup with the operators' shares, and then key tokens with the keys in the backup, one
//! after another; it keeps nothing. The tokens come from a backup of the installation, or from the store of an
//! installation that does not run: the serving daemon is not involved.

use std::path::{Path, PathBuf};

use host_driver::CallError;
use hsm_protocol::Bytes;
use hsm_protocol::command::key::KeyRef;
use hsm_protocol::token::KeyToken;
use serde::Serialize;

use super::super::passphrase::passphrase_of;
use super::super::{Failure, Outcome, Output, say};
use super::hand_over::in_words;
use super::reach::{Place, Single};
use super::restore::{REQUEST, ensure_fresh, handovers, refusal};
use kms_base::durable;
use kms_ceremony::{CertificateFile, HandoverRequest, RecoveryFile, fingerprint};
use kms_installation::backup;
use kms_keys::tokens::{Sample, sample_blocking};
use kms_store::RedbStore;

/// Below the directory of a drill: where the device is that is made for it.
const DEVICE: &str = "device";
/// Below it: where the backup of the installation is restored, for as long as its keys are opened.
const RESTORED: &str = "restored";
/// The device that is made for it.
const OWN: &str = "soft:1";

#[derive(Debug, clap::Subcommand)]
pub(super) enum Drill {
    /// Write DIR/request, for which the operators hand over their shares. Without a device, one is made in DIR, within
    /// this program: whoever owns this machine could read what is handed over to it.
    Begin(Begin),
    /// Have the device open the backup and a sample of keys, and report the result. A device that was made in DIR is
    /// then erased.
    Finish(Finish),
}

#[derive(Debug, clap::Args)]
pub(super) struct Begin {
    /// A fresh device: serial:PATH, tcp:HOST:PORT, unix:PATH [default: one within this program].
    #[arg(value_name = "HSM")]
    hsm: Option<String>,
    /// The backup of the domain.
    #[arg(long, value_name = "FILE")]
    backup: PathBuf,
    /// The device CA's certificate of the device, as `kmsctl device-ca certify` wrote it.
    #[arg(long, value_name = "FILE")]
    certificate: Option<PathBuf>,
    /// Directory to create.
    #[arg(long, value_name = "DIR")]
    output: PathBuf,
}

#[derive(Debug, clap::Args)]
pub(super) struct Finish {
    /// The directory of `begin`.
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    /// The device of `begin`, if one was named there.
    #[arg(long, value_name = "HSM")]
    hsm: Option<String>,
    /// An operator's handover; as many as the backup needs.
    #[arg(long, required = true, value_name = "FILE")]
    handover: Vec<PathBuf>,
    /// Backup of the installation (`kmsctl backup`) whose keys are opened.
    #[arg(long, value_name = "FILE", required_unless_present = "store", conflicts_with = "store")]
    from: Option<PathBuf>,
    /// File whose first line is the passphrase of that backup. Without it, kmsctl asks on the terminal.
    #[arg(long, value_name = "FILE", requires = "from")]
    passphrase_file: Option<PathBuf>,
    /// Store of an installation that does not run: DIR/store.redb.
    #[arg(long, value_name = "FILE")]
    store: Option<PathBuf>,
    /// How many key tokens are opened, drawn at random from all of the Region.
    #[arg(long, value_name = "NUMBER", default_value = "20", value_parser = clap::value_parser!(u16).range(1..))]
    sample: u16,
}

pub(super) fn run(
    drill: &Drill,
    place: &Place,
    output: &mut Output<'_>,
) -> Result<Outcome, Failure> {
    match drill {
        Drill::Begin(it) => begin(it, place, output),
        Drill::Finish(it) => finish(it, place, output),
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Begun {
    domain: String,
    device: String,
    request: PathBuf,
    request_fingerprint: String,
    shares_needed: u8,
    text: String,
}

fn begin(it: &Begin, place: &Place, output: &mut Output<'_>) -> Result<Outcome, Failure> {
    let of = RecoveryFile::load(&it.backup)?;
    if it.output.exists() {
        return Err(Failure(format!("{} exists and is not replaced", it.output.display())));
    }
    durable::create_private_dir(&it.output)?;
    // The device ends with `devices`.
    let Single { device, devices: _devices, lock: _lock, .. } =
        open(place, &it.output, it.hsm.as_deref())?;
    ensure_fresh(&device)?;
    let identity = *device.identity();
    let certificate = CertificateFile::of_device(it.certificate.as_deref(), &identity)?;
    if of.state.device_ca.is_some() && certificate.is_none() {
        say(format_args!(
            "the domain has a device CA, and operators hand over only to a device that it has \
             certified; name the certificate with --certificate FILE"
        ));
    }
    let request = HandoverRequest { of, identity, certificate, is_drill: true };
    let file = it.output.join(REQUEST);
    request.save_new(&file)?;
    let begun = Begun {
        domain: request.of.state.domain.to_string(),
        device: device.id().to_string(),
        request: file,
        request_fingerprint: fingerprint(&request.digest()),
        shares_needed: request.of.state.recovery.as_ref().map_or(0, |recovery| recovery.threshold),
        text: in_words(&request),
    };
    output.print(&begun, |out, begun| {
        let Begun { text, shares_needed, request, request_fingerprint, .. } = begun;
        write!(out, "{text}")?;
        writeln!(out, "\n{shares_needed} operators hand their shares over, on their own machines:")?;
        let request = request.display();
        writeln!(out, "  kmsctl domain hand-over {request} --share FILE --share-key FILE --key KEY --output FILE")?;
        writeln!(out, "  Fingerprint: {request_fingerprint}")
    })?;
    Ok(Outcome::Good)
}

/// The device of a drill. One within this program has its files in the drill's directory.
fn open(place: &Place, directory: &Path, hsm: Option<&str>) -> Result<Single, Failure> {
    let own = directory.join(DEVICE);
    durable::create_private_dir(&own)?;
    place.single_in(&own, hsm.unwrap_or(OWN))
}

/// What a drill has shown.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown {
    domain: String,
    version: u32,
    backup_created: String,
    device: String,
    region: String,
    /// Key tokens of the Region that there are.
    tokens: u64,
    /// Key tokens that were tried.
    sample: usize,
    /// Key tokens that were opened.
    opened: usize,
    failed: Vec<NotOpened>,
}

#[derive(Serialize)]
struct NotOpened {
    key: String,
    reason: String,
}

fn finish(it: &Finish, place: &Place, output: &mut Output<'_>) -> Result<Outcome, Failure> {
    let request = HandoverRequest::load(&it.directory.join(REQUEST))?;
    let region = place.region()?;
    let handed = handovers(&it.handover)?;
    let (path, _restored) = match (&it.store, &it.from) {
        (Some(store), _) => (store.clone(), None),
        (None, Some(from)) => {
            let to = it.directory.join(RESTORED);
            let restored = Restored::of(from, it.passphrase_file.as_deref(), to)?;
            (restored.0.join("store.redb"), Some(restored))
        }
        (None, None) => return Err(Failure("name the keys: --from FILE".to_owned())),
    };
    if !path.exists() {
        return Err(Failure(format!("there is no store {}", path.display())));
    }
    let domain = request.of.state.domain;
    let sample = sample_blocking(&RedbStore::open(&path)?, region, domain, it.sample.into())?;
    let Sample { total, tokens } = sample;
    if tokens.is_empty() {
        return Err(Failure(format!(
            "{} has no key token of domain {domain} in {region}",
            path.display()
        )));
    }
    let Single { device, devices, lock, .. } = open(place, &it.directory, it.hsm.as_deref())?;
    if device.id() != request.identity.device_id() {
        return Err(Failure(format!(
            "this is device {}, not the one that shares were handed over to",
            device.id()
        )));
    }
    ensure_fresh(&device)?;
    // A fresh device lets anybody in.
    device.authenticate(&devices.keys().user)?;
    let mut failed = Vec::new();
    let hash = request.of.state.hash()?;
    for (name, token) in &tokens {
        let attributes = KeyToken::parse(token)?.attributes;
        let key = KeyRef { id: attributes.key, token: Bytes(token) };
        match device.drill_recovery(&request.of.backup, &handed, key) {
            Ok(found) if found.state == hash && found.material == attributes.material => {}
            Ok(_) => return Err(Failure("the device has opened another key".to_owned())),
            Err(CallError::Refused { code, .. }) if is_of_token(code) => {
                let reason = format!("{code}: it is under domain key {}", attributes.domain_key);
                failed.push(NotOpened { key: name.clone(), reason });
            }
            Err(error) => return Err(refusal(error, handed.len())),
        }
    }
    ensure_fresh(&device)?;
    let shown = Shown {
        domain: domain.to_string(),
        version: request.of.state.version,
        backup_created: request.of.created.clone(),
        device: device.id().to_string(),
        region: region.to_owned(),
        tokens: total,
        sample: tokens.len(),
        opened: tokens.len() - failed.len(),
        failed,
    };
    drop((device, devices, lock));
    // It was made for this, and what was handed over to it opens nowhere else.
    std::fs::remove_dir_all(it.directory.join(DEVICE))?;
    output.print(&shown, |out, shown| {
        let Shown { domain, version, device, region, tokens, sample, opened, .. } = shown;
        let backup = &shown.backup_created;
        writeln!(out, "The backup of domain {domain}, version {version}, made {backup}, opens in device {device}.")?;
        writeln!(out, "{opened} of {sample} key tokens were opened, drawn from {tokens} of {region}.")?;
        for NotOpened { key, reason } in &shown.failed {
            writeln!(out, "  NOT OPENED: {key}: {reason}")?;
        }
        match shown.failed.is_empty() {
            true => writeln!(out, "A restore from this backup would bring these keys back. The device is fresh again."),
            false => writeln!(
                out,
                "A RESTORE FROM THIS BACKUP WOULD NOT BRING ALL KEYS BACK. Domain keys were \
                 rotated since it was made; make a new backup: kmsctl domain backup."
            ),
        }
    })?;
    Ok(if shown.failed.is_empty() { Outcome::Good } else { Outcome::Bad })
}

/// Whether a device refuses a token, not the backup.
fn is_of_token(code: hsm_protocol::ErrorCode) -> bool {
    use hsm_protocol::ErrorCode;
    [
        ErrorCode::TOKEN_INVALID,
        ErrorCode::TOKEN_MALFORMED,
        ErrorCode::TOKEN_DOMAIN,
        ErrorCode::KEY_MISMATCH,
    ]
    .contains(&code)
}

/// A backup of an installation, restored for as long as this is kept.
struct Restored(PathBuf);

impl Restored {
    fn of(from: &Path, passphrase: Option<&Path>, directory: PathBuf) -> Result<Self, Failure> {
        let passphrase = passphrase_of(passphrase, from, "--passphrase-file")?;
        // What a drill that was killed has left.
        let restored = Self(directory);
        restored.remove()?;
        backup::restore(from, &passphrase, &restored.0, &mut |_, _| {})?;
        Ok(restored)
    }

    fn remove(&self) -> std::io::Result<()> {
        match std::fs::remove_dir_all(&self.0) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

impl Drop for Restored {
    fn drop(&mut self) {
        if let Err(error) = self.remove() {
            say(format_args!("cannot remove {}: {error}; remove it", self.0.display()));
        }
    }
}
