//! `kmsctl hsm self-test`, `reset` and `zeroise`, and [hosts], for one device. A change of its domain is
//! a ceremony; it is signed here only if the key of the data directory rules alone.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use host_driver::device::{Device, Options};
use host_driver::endpoint::Endpoint;
use host_driver::transport::Connector;
use host_driver::{CallError, ceremony, maintenance};
use hsm_protocol::command::audit::SignedCheckpoint;
use hsm_protocol::command::system::ModuleStatus;
use hsm_protocol::domain::{Change, DomainState, MAX_MEMBERS};
use hsm_protocol::identity::IdentityDocument;
use hsm_protocol::{DeviceId, HostId, ModuleState};
use serde::Serialize;

use super::super::{Failure, Outcome, Output};
use super::confirm;
use kms_base::identifier::is_region;
use kms_ceremony::ledger::Ballots;
use kms_installation::data_dir::{DataDir, default_data};
use kms_installation::devices::{self, Devices, DevicesConfig, HostKeys};

mod hosts;

pub(super) use hosts::{enrol, hosts, remove};

/// How long a device of the data directory may take to boot.
const BOOT: Duration = Duration::from_secs(30);
/// An emulated device runs all self-tests in some seconds; a small board may need longer.
pub(super) const OPTIONS: Options =
    Options { patience: Duration::from_secs(6), deadline: Duration::from_secs(60) };

/// Which device is meant.
#[derive(Debug, clap::Args)]
pub(in super::super) struct Target {
    /// Line to the device: serial:PATH, tcp:HOST:PORT, unix:PATH; or soft-N, qemu-N for one in
    /// the data directory, while no kmsd runs there.
    #[arg(value_name = "HSM")]
    line: String,
    /// Continue only if it is this device.
    #[arg(long, value_name = "FINGERPRINT")]
    device: Option<String>,
    /// Data directory whose host keys the device knows [default: as for kmsd].
    #[arg(long, value_name = "DIR", env = "STRONGROOM_DATA")]
    data: Option<PathBuf>,
    /// Region of a soft-N or qemu-N device.
    #[arg(long, default_value = "us-east-1")]
    region: String,
    /// Firmware image for a qemu-N device.
    #[arg(long, value_name = "FILE", env = "STRONGROOM_FIRMWARE")]
    firmware: Option<PathBuf>,
}

/// A line that was found, and what it needs for as long as it is used.
pub(super) struct Reached {
    pub(super) connector: Arc<dyn Connector>,
    pub(super) data: PathBuf,
    /// With the directory's lock, unless the caller has it.
    running: Option<(Devices, Option<DataDir>)>,
}

impl Target {
    /// The device at a line.
    pub(in super::super) fn of(
        line: &str,
        data: Option<PathBuf>,
        region: &str,
        firmware: Option<PathBuf>,
    ) -> Self {
        let (line, region) = (line.to_owned(), region.to_owned());
        Self { line, device: None, data, region, firmware }
    }

    /// Who the device is, and the last checkpoint that it has made for the daemon of the data directory.
    pub(in super::super) fn last_checkpoint(
        &self,
    ) -> Result<(IdentityDocument, Option<SignedCheckpoint>), Failure> {
        let reached = self.reach()?;
        let (device, host) = self.open(&reached)?;
        let last = host_driver::audit::last_checkpoint(&device, Some(host))?;
        Ok((*device.identity(), last))
    }

    pub(super) fn reach(&self) -> Result<Reached, Failure> {
        self.reach_within(None)
    }

    /// The same, for callers that may hold the lock of the data directory already.
    fn reach_within(&self, held: Option<&DataDir>) -> Result<Reached, Failure> {
        let data = self.data.clone().map_or_else(default_data, Ok)?;
        match Place::parse(&self.line)? {
            Place::Line(line) => Ok(Reached { connector: line.connector(), data, running: None }),
            Place::Own { kind, number } => self.start(&data, kind, number, held),
        }
    }

    /// Starts a device of the data directory, which must be there: none is made here.
    fn start(
        &self,
        data: &Path,
        kind: &'static str,
        number: u8,
        held: Option<&DataDir>,
    ) -> Result<Reached, Failure> {
        let (name, region) = (format!("{kind}-{number}"), &self.region);
        if !is_region(region) {
            return Err(Failure(format!("{region:?} is not a Region name like us-east-1")));
        }
        let ending = if kind == "soft" { ".flash" } else { "" };
        let flash = data.join("hsm").join(region).join(format!("{name}{ending}"));
        if !flash.exists() {
            return Err(Failure(format!(
                "there is no {name} for {region} in {}; name its data directory with --data",
                data.display()
            )));
        }
        // A running daemon has the devices.
        let lock = match held {
            Some(_) => None,
            None => Some(DataDir::open(data)?),
        };
        // They are numbered from zero, so those before it start too.
        let hsms = vec![format!("{kind}:{}", u16::from(number) + 1)];
        let started = Devices::start(&self.devices(data, hsms))?;
        let found = started.lines().iter().find(|line| line.name == name);
        let connector = found.map(|line| Arc::clone(&line.connector));
        let connector = connector.ok_or_else(|| Failure(format!("{name} did not start")))?;
        let by = Instant::now() + BOOT;
        while let Err(error) = maintenance::status(&*connector, Options::default()) {
            if Instant::now() > by {
                return Err(error.into());
            }
            thread::sleep(Duration::from_millis(100));
        }
        Ok(Reached { connector, data: data.to_owned(), running: Some((started, lock)) })
    }

    fn devices(&self, data: &Path, hsms: Vec<String>) -> DevicesConfig {
        DevicesConfig {
            data: data.to_owned(),
            region: self.region.clone(),
            hsms,
            firmware: self.firmware.clone(),
            link: None,
            roots: None,
        }
    }

    /// Of the lines that are known for the Region, those but `except` that lead to a member of its
    /// domain, which says so now. The caller holds the lock of the data directory.
    pub(super) fn members(&self, lock: &DataDir, except: &str) -> Result<Vec<String>, Failure> {
        let known = devices::devices_of(lock.path(), &self.region)?;
        let others: Vec<String> =
            known.into_iter().map(|(line, _)| line).filter(|line| line != except).collect();
        let (mut soft, mut qemu, mut hsms) = (0_u16, 0_u16, Vec::new());
        for line in &others {
            match Place::parse(line)? {
                Place::Line(_) => hsms.push(line.clone()),
                Place::Own { kind: "soft", number } => soft = soft.max(u16::from(number) + 1),
                Place::Own { .. } if self.firmware.is_none() => eprintln!(
                    "{line} is not asked whether it has the domain's key: without --firmware FILE it \
                     does not start"
                ),
                Place::Own { number, .. } => qemu = qemu.max(u16::from(number) + 1),
            }
        }
        let own = [("soft", soft), ("qemu", qemu)].into_iter().filter(|(_, count)| *count > 0);
        hsms.extend(own.map(|(kind, count)| format!("{kind}:{count}")));
        let started = Devices::start(&self.devices(lock.path(), hsms))?;
        Ok(started.members(&others))
    }

    /// Name, Region and data directory of a device that the daemon runs.
    pub(super) fn own(&self) -> Result<(String, String, PathBuf), Failure> {
        let data = self.data.clone().map_or_else(default_data, Ok)?;
        match Place::parse(&self.line)? {
            Place::Own { kind, number } => {
                Ok((format!("{kind}-{number}"), self.region.clone(), data))
            }
            Place::Line(line) => Err(Failure(format!(
                "{line} has no flash in the data directory; its secrets are erased by: kmsctl hsm \
                 zeroise {line}"
            ))),
        }
    }

    /// Has the device erase its secrets. It must be the one that is known, if one is.
    /// The caller holds the lock of the data directory.
    pub(super) fn zeroise_quietly(
        &self,
        lock: &DataDir,
        known: Option<&str>,
    ) -> Result<(), Failure> {
        let reached = self.reach_within(Some(lock))?;
        let (device, _) = self.open(&reached)?;
        match known {
            Some(known) if known != device.id().to_string() => {
                Err(Failure(format!("it is device {}, not {known}", device.id())))
            }
            _ => self.change(&reached, &device, Change::Zeroise(device.id())).map(drop),
        }
    }

    fn status(&self, reached: &Reached) -> Result<ModuleStatus, Failure> {
        let status = maintenance::status(&*reached.connector, Options::default());
        status.map_err(|error| self.unreachable(error))
    }

    /// Another program on the line is the usual reason for silence.
    fn unreachable(&self, error: CallError) -> Failure {
        let Failure(mut text) = error.into();
        let _ = write!(
            text,
            "; if a kmsd or another program uses {}, stop it first: most lines serve one program \
             at a time",
            self.line
        );
        Failure(text)
    }

    fn check(&self, found: DeviceId) -> Result<(), Failure> {
        match &self.device {
            Some(wanted) if !wanted.eq_ignore_ascii_case(&found.to_string()) => {
                Err(Failure(format!(
                    "{} leads to device {found}, not to {wanted}; nothing was changed",
                    self.line
                )))
            }
            _ => Ok(()),
        }
    }

    /// The device with a session of the data directory's host.
    pub(super) fn open(&self, reached: &Reached) -> Result<(Device, HostId), Failure> {
        let state = self.status(reached)?.state;
        let line = &self.line;
        match state {
            ModuleState::Operational => {}
            ModuleState::Uninitialised => {
                return Err(Failure(format!(
                    "{line} is not set up: it knows no host and holds no key; first run: kmsctl \
                     hsm provision {line}"
                )));
            }
            ModuleState::Error | ModuleState::Zeroised => {
                return Err(Failure(format!(
                    "{line} is halted ({state:?}) and its secrets are erased from RAM; first run: \
                     kmsctl hsm reset {line}"
                )));
            }
        }
        let device = Device::open(&*reached.connector, None, OPTIONS)
            .map_err(|error| self.unreachable(error))?;
        self.check(device.id())?;
        if !reached.data.join("hosts/crypto-user.pem").exists() {
            return Err(Failure(format!(
                "{} has no host keys; name the data directory that the device was provisioned \
                 with: --data DIR",
                reached.data.display()
            )));
        }
        let keys = HostKeys::of_data(&reached.data)?;
        match device.authenticate(&keys.user) {
            Ok(_) => Ok((device, keys.user.id())),
            Err(CallError::Handshake(_)) => Err(Failure(format!(
                "device {} does not know the host of {} ({}); name the data directory that it was \
                 provisioned with: --data DIR",
                device.id(),
                reached.data.display(),
                keys.user.id(),
            ))),
            Err(error) => Err(error.into()),
        }
    }

    /// Changes the device's domain, where the key of the data directory rules it. Other members follow
    /// when they come into service.
    pub(super) fn change(
        &self,
        reached: &Reached,
        device: &Device,
        change: Change<'_>,
    ) -> Result<DomainState, Failure> {
        let keys = HostKeys::of_data(&reached.data)?;
        let domain = device.domain()?.map(|domain| domain.domain.to_string());
        // A line does not say which Region its device serves.
        let mut known = devices::known(&reached.data)?.into_iter();
        let region = known.find(|(_, of, _)| of.is_some() && *of == domain).map(|(name, ..)| name);
        let region = region.unwrap_or_else(|| self.region.clone());
        let ballots = Ballots::of_data(&reached.data, &region);
        Ok(ceremony::change(&[device], &[change], &keys.operator, &ballots)?)
    }
}

/// Where a device is.
#[derive(Debug, PartialEq, Eq)]
enum Place {
    Line(host_driver::endpoint::Line),
    Own { kind: &'static str, number: u8 },
}

impl Place {
    fn parse(text: &str) -> Result<Self, Failure> {
        let own = ["soft", "qemu"].into_iter().find_map(|kind| {
            let number = text.strip_prefix(kind)?.strip_prefix('-')?;
            // One form for each, as the daemon writes it.
            let number = number.parse::<u8>().ok().filter(|n| n.to_string() == number)?;
            (usize::from(number) < MAX_MEMBERS).then_some(Self::Own { kind, number })
        });
        match (own, text.parse::<Endpoint>()) {
            (Some(own), _) => Ok(own),
            (None, Ok(Endpoint::Line(line))) => Ok(Self::Line(line)),
            _ => Err(Failure(format!(
                "{text:?} is not one device; write serial:PATH, tcp:HOST:PORT, unix:PATH, or \
                 soft-0, qemu-0 and so on for one in the data directory"
            ))),
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SelfTested {
    device: String,
    passed: bool,
    tests: Option<u16>,
    duration_us: Option<u32>,
    key_specs: Vec<String>,
    state: ModuleState,
    error: Option<String>,
}

pub(super) fn self_test(target: &Target, output: &mut Output<'_>) -> Result<Outcome, Failure> {
    let reached = target.reach()?;
    let (device, _) = target.open(&reached)?;
    let report = match device.self_test() {
        Ok(report) => Some(report),
        // A failed test is a result; any other failure is not.
        Err(error) => match device.status() {
            Ok(status) if status.state == ModuleState::Error => None,
            _ => return Err(error.into()),
        },
    };
    let status = device.status()?;
    let tested = SelfTested {
        device: device.id().to_string(),
        passed: report.is_some(),
        tests: report.map(|report| report.tests),
        duration_us: report.map(|report| report.duration_us),
        key_specs: device.info().specs.iter().map(|spec| format!("{spec:?}")).collect(),
        state: status.state,
        error: status.error.map(|error| error.to_string()),
    };
    output.print(&tested, |out, tested| match (tested.tests, tested.duration_us) {
        (Some(tests), Some(us)) => {
            writeln!(out, "device {}", tested.device)?;
            let (seconds, milliseconds) = (us / 1_000_000, us / 1000 % 1000);
            writeln!(out, "{tests} self-tests passed in {seconds}.{milliseconds:03} s:")?;
            writeln!(out, "  the power-up tests, with image integrity and noise source")?;
            writeln!(out, "  known answers of each key spec: {}", tested.key_specs.join(", "))
        }
        _ => {
            let reason = tested.error.as_deref().unwrap_or("no reason given");
            writeln!(out, "device {}: a self-test failed: {reason}", tested.device)?;
            writeln!(out, "It is halted; restart it with: kmsctl hsm reset {}", target.line)
        }
    })?;
    Ok(if tested.passed { Outcome::Good } else { Outcome::Bad })
}

#[derive(Serialize)]
struct Reset {
    /// Unknown for a device of the data directory, which starts anew with the command.
    before: Option<StateOf>,
    after: StateOf,
}

#[derive(Serialize)]
struct StateOf {
    device: String,
    state: ModuleState,
    error: Option<String>,
}

impl From<&ModuleStatus> for StateOf {
    fn from(status: &ModuleStatus) -> Self {
        Self {
            device: status.device.to_string(),
            state: status.state,
            error: status.error.map(|error| error.to_string()),
        }
    }
}

pub(super) fn reset(target: &Target, output: &mut Output<'_>) -> Result<Outcome, Failure> {
    let reached = target.reach()?;
    let found = target.status(&reached)?;
    target.check(found.device)?;
    let halted = matches!(found.state, ModuleState::Error | ModuleState::Zeroised);
    let (before, after) = if reached.running.is_some() && !halted {
        (None, found)
    } else {
        let restart = maintenance::restart(&*reached.connector, Options::default())?;
        (Some(restart.before), restart.after)
    };
    let reset = Reset { before: before.as_ref().map(Into::into), after: (&after).into() };
    let line = &target.line;
    output.print(&reset, |out, Reset { before, after }| {
        match before {
            Some(before) => writeln!(out, "{line} was {:?}, is {:?}", before.state, after.state)?,
            None => writeln!(out, "{line} starts anew with this command, is {:?}", after.state)?,
        }
        writeln!(out, "  device    {}", after.device)?;
        if let Some(error) = &after.error {
            writeln!(out, "  error     {error}")?;
        }
        match after.state {
            ModuleState::Uninitialised => {
                writeln!(out, "It is a new device, with a new identity. Set it up with:")?;
                writeln!(out, "  kmsctl hsm provision {line}")
            }
            ModuleState::Error => writeln!(out, "The error came back: do not use the device."),
            _ => Ok(()),
        }
    })?;
    Ok(if after.state == ModuleState::Error { Outcome::Bad } else { Outcome::Good })
}

#[derive(Serialize)]
struct Zeroised {
    device: String,
    domain: String,
    members: usize,
    state: ModuleState,
}

pub(super) fn zeroise(
    target: &Target,
    yes: bool,
    output: &mut Output<'_>,
) -> Result<Outcome, Failure> {
    let reached = target.reach()?;
    let (device, _) = target.open(&reached)?;
    let id = device.id().to_string();
    let state_of = device.domain_state()?;
    let members = state_of.members.len();
    let warning = format!(
        "Device {id}: every secret will be erased.\nDomain {}: {}",
        state_of.domain,
        match members {
            0 | 1 =>
                "it is the only member. Unless a backup has its flash, every key of the domain is \
                 permanently lost."
                    .to_owned(),
            more => format!(
                "{more} members, this one included. Keys open only on another member that still works; \
                 without one, every key is lost forever."
            ),
        }
    );
    confirm::on_terminal(&id, &warning, "device", yes)?;
    if let Err(failure) = target.change(&reached, &device, Change::Zeroise(device.id())) {
        // It may be gone before its answer is.
        match target.status(&reached) {
            Ok(status) if status.state == ModuleState::Zeroised => {}
            _ => return Err(failure),
        }
    }
    let zeroised = device.id();
    drop(device);
    let state = target.status(&reached)?.state;
    // What comes back is another device, and must not be taken for a swapped one.
    devices::forget(&reached.data, zeroised)?;
    let done = Zeroised { device: id, domain: state_of.domain.to_string(), members, state };
    output.print(&done, |out, done| {
        writeln!(out, "device {} is {:?}", done.device, done.state)?;
        writeln!(out, "To make it a new device: kmsctl hsm reset {}", target.line)
    })?;
    Ok(if state == ModuleState::Zeroised { Outcome::Good } else { Outcome::Bad })
}

#[cfg(test)]
mod tests;
