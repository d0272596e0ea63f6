//! `kmsctl hsm`: devices, over their own lines.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use host_driver::device::{Device, Options};
use host_driver::endpoint::{Endpoint, Line};
use hsm_protocol::identity::PublicKey;
use hsm_protocol::{ModuleState, Role};
use serde::Serialize;

use super::{Failure, Outcome, Output, say, table};
use kms_base::hex;
use kms_base::identifier::is_region;
use kms_installation::consistency::Domains;
use kms_installation::data_dir::{DataDir, default_data};
use kms_installation::devices::{
    self, Devices, DevicesConfig, HostKeys, RootId, Scope, fingerprints,
};
use kms_installation::last_backup::LastBackup;
use kms_installation::loss::{Loss, loss};
use kms_store::RedbStore;

pub(super) mod confirm;
mod erase;
mod forget;
mod maintenance;
pub(super) mod update;

pub(super) use maintenance::Target;

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Show the identity and status of devices. Nothing in the response is authenticated.
    Status {
        /// Lines to devices that are not in use: serial:PATH, tcp:HOST:PORT or unix:PATH.
        #[arg(required = true, value_name = "HSM")]
        lines: Vec<String>,
    },
    /// Set up devices for a data directory in a DEVELOPMENT domain, whose operator's key lies in the data
    /// directory: whoever reads that owns the domain. For a production domain: kmsctl domain init. A
    /// device takes the first domain that it is given; compare the printed id with what its owner sees.
    Provision {
        /// Lines to devices. The first fresh device makes a domain and the others join it; to let a
        /// device join, name one that is in service along with it.
        #[arg(required = true, value_name = "HSM")]
        lines: Vec<String>,
        /// Data directory of the daemon that will use them [default: as for kmsd].
        #[arg(long, value_name = "DIR", env = "STRONGROOM_DATA")]
        data: Option<PathBuf>,
        /// Region that they will serve: each has a domain of its own.
        #[arg(long, default_value = "us-east-1")]
        region: String,
        /// Firmware image for qemu devices.
        #[arg(long, value_name = "FILE", env = "STRONGROOM_FIRMWARE")]
        firmware: Option<PathBuf>,
        /// Let the devices seal results to environments that these roots vouch for, instead of those set
        /// before: aws-nitro, or a root certificate in PEM; repeatable.
        #[arg(long, value_name = "ROOT")]
        attestation_root: Option<Vec<String>>,
    },
    /// Print the host keys of a data directory, for `enrol` on another machine.
    Key {
        /// Data directory [default: as for kmsd].
        #[arg(long, value_name = "DIR", env = "STRONGROOM_DATA")]
        data: Option<PathBuf>,
    },
    /// Let another host use the devices of a development domain: its daemon then finds them provisioned.
    /// In any other domain its operators decide: kmsctl domain propose --add-host.
    Enrol {
        #[command(flatten)]
        target: Target,
        /// Public key of the other host, as `kmsctl hsm key` prints it there.
        #[arg(long, value_name = "HEX")]
        key: String,
        /// The role of the host.
        #[arg(long, value_enum, default_value_t = HostRole::CryptoUser)]
        role: HostRole,
    },
    /// Forget a lost device, so that another one may take its line and join the domain. The device and
    /// its flash are not touched.
    Forget(forget::Arguments),
    /// List the hosts of a device's domain, with their roles.
    Hosts(Target),
    /// Remove a host from a development domain: its sessions end, and it is no longer admitted.
    Remove {
        #[command(flatten)]
        target: Target,
        /// Fingerprint of the host, as `kmsctl hsm hosts` lists it, or an unambiguous prefix.
        #[arg(value_name = "FINGERPRINT")]
        host: String,
        /// Do not ask for confirmation.
        #[arg(long)]
        yes: bool,
    },
    /// Run every self-test of a device now. If one fails the device halts.
    SelfTest(Target),
    /// Restart a device that is in the error state or zeroised, and wait until it is back.
    Reset(Target),
    /// Replace the firmware of a device by a signed image: the device verifies it, tries it, and returns to the
    /// former one if the new one cannot be reached. Keys stay. The operators of a production domain permit it
    /// first: kmsctl domain propose --permit-firmware.
    Update(update::Arguments),
    /// Erase every secret of a device of a development domain; in any other domain its operators decide:
    /// kmsctl domain propose --zeroise. Keys then open only on other members of its domain; if there are
    /// none, they are permanently lost.
    Zeroise {
        #[command(flatten)]
        target: Target,
        /// Do not ask for confirmation; for scripts, which should name the --device.
        #[arg(long)]
        yes: bool,
    },
    /// Erase the flash of a soft-N or qemu-N device, and with it the copy of the domain key in it. No
    /// kmsd may run on the data directory, and another device of the domain has to respond.
    Erase {
        #[command(flatten)]
        target: Target,
        /// Do not ask for confirmation.
        #[arg(long)]
        yes: bool,
    },
}

/// Roles that can be given to a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum HostRole {
    /// Uses keys.
    CryptoUser,
    /// Reads status and audit entries.
    Auditor,
}

pub(super) fn run(command: Command, output: &mut Output<'_>) -> Result<Outcome, Failure> {
    match command {
        Command::Status { lines } => status(&lines, output),
        Command::Provision { lines, data, region, firmware, attestation_root } => {
            let roots = attestation_root.as_deref().map(fingerprints).transpose()?;
            provision(lines, data, region, firmware, roots, output)
        }
        Command::Key { data } => print_keys(data, output),
        Command::Enrol { target, key, role } => {
            maintenance::enrol(&target, host_key(&key)?, role.into(), output)
        }
        Command::Forget(arguments) => forget::run(&arguments, output),
        Command::Hosts(target) => maintenance::hosts(&target, output),
        Command::Remove { target, host, yes } => maintenance::remove(&target, &host, yes, output),
        Command::SelfTest(target) => maintenance::self_test(&target, output),
        Command::Reset(target) => maintenance::reset(&target, output),
        Command::Update(arguments) => update::run(&arguments, output),
        Command::Zeroise { target, yes } => maintenance::zeroise(&target, yes, output),
        Command::Erase { target, yes } => erase::run(&target, yes, output),
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct DeviceStatus {
    line: String,
    device: String,
    board: String,
    firmware: String,
    key_specs: Vec<String>,
    state: ModuleState,
    error: Option<String>,
    boots: u64,
    /// Why it was reset before this boot; absent if its firmware does not say.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_reset: Option<String>,
    /// Failures in a row before this boot.
    failures: u32,
    audit_entries: u64,
    uptime_seconds: u64,
    sessions: u8,
    stack_peak_bytes: u32,
    storage_used_bytes: u32,
    storage_bytes: u32,
}

fn status(lines: &[String], output: &mut Output<'_>) -> Result<Outcome, Failure> {
    let devices = lines.iter().map(|line| ask(line)).collect::<Result<Vec<_>, _>>()?;
    output.print(&devices, |out, devices| devices.iter().try_for_each(|d| print_status(out, d)))?;
    let good = devices.iter().all(|device| device.state == ModuleState::Operational);
    Ok(if good { Outcome::Good } else { Outcome::Bad })
}

fn ask(text: &str) -> Result<DeviceStatus, Failure> {
    let device = Device::open(&*line(text)?.connector(), None, Options::default())?;
    let (info, status, reset) = (device.info(), device.status()?, device.last_reset()?);
    Ok(DeviceStatus {
        line: text.to_owned(),
        device: device.id().to_string(),
        board: info.board.clone(),
        firmware: info.firmware.clone(),
        key_specs: info.specs.iter().map(|spec| format!("{spec:?}")).collect(),
        state: status.state,
        error: status.error.map(|error| error.to_string()),
        boots: status.epoch,
        last_reset: reset.map(|report| report.reason.to_string()),
        failures: reset.map_or(0, |report| report.failures),
        audit_entries: status.audit_entries,
        uptime_seconds: status.uptime_us / 1_000_000,
        sessions: status.sessions,
        stack_peak_bytes: status.stack_peak,
        storage_used_bytes: status.storage_used,
        storage_bytes: status.storage_size,
    })
}

fn line(text: &str) -> Result<Line, Failure> {
    match text.parse()? {
        Endpoint::Line(line) => Ok(line),
        _ => Err(Failure(format!(
            "{text} devices run inside a daemon; `kmsctl status` shows those of a running one"
        ))),
    }
}

fn print_status(out: &mut dyn Write, device: &DeviceStatus) -> io::Result<()> {
    writeln!(out, "{}  {:?}", device.line, device.state)?;
    if let Some(error) = &device.error {
        writeln!(out, "  error     {error}")?;
    }
    writeln!(out, "  device    {}", device.device)?;
    writeln!(out, "  board     {}, firmware {}", device.board, device.firmware)?;
    writeln!(out, "  keys      {}", device.key_specs.join(", "))?;
    let (hours, rest) = (device.uptime_seconds / 3600, device.uptime_seconds % 3600);
    writeln!(out, "  up        {hours} h {} min, boot {}", rest / 60, device.boots)?;
    if let Some(reason) = &device.last_reset {
        writeln!(out, "  reset     {reason}")?;
    }
    if device.failures > 0 {
        writeln!(out, "  failures  {} in a row", device.failures)?;
    }
    writeln!(out, "  audit     {} entries since boot", device.audit_entries)?;
    let (used, size) = (device.storage_used_bytes, device.storage_bytes);
    writeln!(out, "  storage   {used} of {size} bytes")?;
    writeln!(out, "  stack     {} bytes at most", device.stack_peak_bytes)
}

#[derive(Serialize)]
struct Provisioned {
    data: PathBuf,
    devices: Vec<String>,
    /// What would be lost with a device now, if something would.
    loss: Option<Loss>,
}

fn provision(
    lines: Vec<String>,
    data: Option<PathBuf>,
    region: String,
    firmware: Option<PathBuf>,
    roots: Option<Vec<RootId>>,
    output: &mut Output<'_>,
) -> Result<Outcome, Failure> {
    if !is_region(&region) {
        return Err(Failure(format!("{region:?} is not a Region name like us-east-1")));
    }
    let data = data.map_or_else(default_data, Ok)?;
    // A running daemon has the devices, and would miss what changes.
    let _lock = DataDir::open(&data)?;
    let (hsms, link) = (lines.clone(), None);
    let of = region.clone();
    let config = DevicesConfig { data: data.clone(), region, hsms, firmware, link, roots };
    let devices = Devices::start(&config)?;
    let bound = Domains::of_data(&data)?;
    let bound = bound.map(|keys| keys.bound(&config.region, devices.known_domain()));
    let mut devices = devices.with_keys_of(bound.transpose()?.flatten());
    // Steps go to standard error: they are progress, not the result.
    let progress = &mut |line: &str, step: &str| say(format_args!("{line}: {step}"));
    let holders = devices.prepare(Scope::All, progress)?;
    drop(devices);
    let loss = loss(&of, &holders, None, is_backed_up(&data, &of)?);
    output.print(&Provisioned { data, devices: lines, loss }, |out, done| {
        for line in &done.devices {
            writeln!(out, "{line} is in service for {}", done.data.display())?;
        }
        done.loss.iter().try_for_each(|loss| table::wrapped(out, &loss.text))
    })?;
    Ok(Outcome::Good)
}

/// Whether the last backup of a data directory, which nobody else uses, brings back the keys of a
/// Region by itself.
fn is_backed_up(data: &Path, region: &str) -> Result<bool, Failure> {
    let store = data.join("store.redb");
    let mut known = devices::known(data)?.into_iter();
    let domain = known.find(|(name, ..)| name == region).and_then(|(_, domain, _)| domain);
    let Some(domain) = domain.filter(|_| store.exists()) else { return Ok(false) };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let last = runtime.block_on(async { LastBackup::read(&RedbStore::open(&store)?).await })?;
    Ok(last.is_some_and(|last| last.domains.contains(&domain)))
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Keys {
    crypto_user: String,
}

fn print_keys(data: Option<PathBuf>, output: &mut Output<'_>) -> Result<Outcome, Failure> {
    let keys = HostKeys::of_data(&data.map_or_else(default_data, Ok)?)?;
    let keys = Keys { crypto_user: hex::encode(&keys.user.public().to_bytes()) };
    output.print(&keys, |out, keys| writeln!(out, "crypto user  {}", keys.crypto_user))?;
    Ok(Outcome::Good)
}

impl From<HostRole> for Role {
    fn from(role: HostRole) -> Self {
        match role {
            HostRole::CryptoUser => Self::CryptoUser,
            HostRole::Auditor => Self::Auditor,
        }
    }
}

/// A host's public key as `kmsctl hsm key` prints it.
pub(super) fn host_key(text: &str) -> Result<PublicKey, Failure> {
    let malformed = || Failure(format!("{text:?} is not a host key as `kmsctl hsm key` prints it"));
    let bytes = hex::decode::<{ PublicKey::SIZE }>(text).ok_or_else(malformed)?;
    let (tag, x) = bytes.split_first().ok_or_else(malformed)?;
    let key = PublicKey { tag: *tag, x: x.try_into().map_err(|_| malformed())? };
    key.to_point().map_err(|_| malformed())?;
    Ok(key)
}

#[cfg(test)]
mod tests {
    use host_driver::pool::StockTargets;
    use std::sync::Arc;
    use std::time::{Duration, Instant};

    use serde_json::Value;

    use super::*;
    use crate::remote::remote;

    fn json(command: Command) -> Result<(Outcome, Value), Failure> {
        let mut text = Vec::new();
        let outcome = run(command, &mut Output { out: &mut text, json: true })?;
        Ok((outcome, serde_json::from_slice(&text).unwrap()))
    }

    fn provision_it(line: &str, data: &Path) -> Result<(Outcome, Value), Failure> {
        let (lines, data) = (vec![line.to_owned()], Some(data.to_owned()));
        let region = "us-east-1".to_owned();
        json(Command::Provision { lines, data, region, firmware: None, attestation_root: None })
    }

    fn enrol_it(line: &str, data: &Path, key: &str) -> Result<(Outcome, Value), Failure> {
        let target = Target::of(line, Some(data.to_owned()), "us-east-1", None);
        json(Command::Enrol { target, key: key.to_owned(), role: HostRole::CryptoUser })
    }

    #[test]
    fn from_fresh_to_shared() {
        let (ours, theirs) = (private_dir(), private_dir());
        let line = remote();
        let (outcome, status) = json(Command::Status { lines: vec![line.clone()] }).unwrap();
        assert_eq!((outcome, &status[0]["state"]), (Outcome::Bad, &"Uninitialised".into()));
        let (_, keys) = json(Command::Key { data: Some(theirs.path().to_owned()) }).unwrap();
        let key = keys["cryptoUser"].as_str().unwrap();
        let refusal = enrol_it(&line, ours.path(), key).unwrap_err();
        assert!(refusal.0.contains(&format!("kmsctl hsm provision {line}")), "{refusal}");

        provision_it(&line, ours.path()).unwrap();
        let (outcome, status) = json(Command::Status { lines: vec![line.clone()] }).unwrap();
        assert_eq!((outcome, &status[0]["state"]), (Outcome::Good, &"Operational".into()));
        let refusal = enrol_it(&line, ours.path(), &key[2..]).unwrap_err();
        assert!(refusal.0.contains("kmsctl hsm key"), "{refusal}");
        let refusal = enrol_it(&line, theirs.path(), key).unwrap_err();
        assert!(refusal.0.contains("does not know the host"), "{refusal}");
        enrol_it(&line, ours.path(), key).unwrap();

        // The other machine's daemon uses it as it is.
        let config = DevicesConfig {
            data: theirs.path().to_owned(),
            region: "us-east-1".to_owned(),
            hsms: vec![line],
            firmware: None,
            link: None,
            roots: None,
        };
        let mut devices = Devices::start(&config).unwrap();
        devices.prepare(Scope::Own, &mut |_, step| panic!("{step}")).unwrap();
        let pooled = devices.pool(Arc::new(host_driver::audit::NoLog), StockTargets::NONE).unwrap();
        let by = Instant::now() + Duration::from_secs(600);
        host_driver::block_on(pooled.pool.ready(by)).unwrap();
        pooled.shut_down();
    }

    #[test]
    fn a_data_directory_in_use_is_left_alone() {
        let data = private_dir();
        let _daemon = DataDir::open(data.path()).unwrap();
        let refusal = provision_it("soft", data.path()).unwrap_err();
        assert!(refusal.0.contains("another kmsd or kmsctl"), "{refusal}");
    }

    /// A data directory, which only its user may read.
    fn private_dir() -> tempfile::TempDir {
        let private = std::os::unix::fs::PermissionsExt::from_mode(0o700);
        tempfile::Builder::new().permissions(private).tempdir().unwrap()
    }
}
