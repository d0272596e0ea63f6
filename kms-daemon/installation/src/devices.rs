//! The devices of the daemon: started, provisioned, and put into one pool.
//!
//! In the data directory:
//!
//! | path | content |
//! |---|---|
//! | `hosts/crypto-user.pem` | the daemon's host key, mode 0600 |
//! | `hosts/operator.pem` | the key that rules a development domain, mode 0600 |
//! | `hsm/REGION/devices.json` | the Region's domain, and the device that each line led to |
//! | `hsm/REGION/soft-N.flash`, `hsm/REGION/qemu-N` | flash of the devices that the daemon runs itself |
//! | `hsm/REGION/changes/` | the ballots by which the domain came to its state, see `ledger` |
//! | `hsm/REGION/founding.json` | a domain that is being founded: no other is made meanwhile |
//! | `hsm/REGION/mark.json` | what the audit log and the store had, see `consistency` |

use kms_ceremony::ledger::Ballots;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use std::{fmt, fs, io};

use clap::ValueEnum;
use host_driver::audit::AuditSink;
use host_driver::device::Options;
use host_driver::endpoint::Endpoint;
use host_driver::key_file::KeyFileError;
use host_driver::pool::{Member, PoolOptions, StockTargets};
use host_driver::transport::Connector;
use host_driver::{HostKey, OperatorKey, Pool};
use hsm_protocol::{DeviceId, DomainId};

use crate::consistency::Bound;
use crate::loss::Holders;
use kms_base::durable;
use serde::Deserialize;

mod error;
mod fleet;
mod members;
mod own;
pub(crate) mod place;
mod prepare;
mod registry;
mod report;
mod retired;
mod roots;
mod sink;
mod start;
#[cfg(test)]
pub(crate) mod tests;

pub use error::{DevicesError, Lost};
pub use fleet::{Fleet, FleetError, hsms_of};
pub use members::ChangeError;
pub use prepare::{HostKeys, Scope};
pub use report::in_words;
pub use report::{DeviceReport, report};
pub use retired::{RetiredFlash, Stray, erase, retired, strays};
pub use roots::{RootError, RootId, fingerprints};

use own::Own;
use prepare::Preparation;
use registry::Registry;
use start::Running;

/// The file of a Region that says that a domain is being founded.
pub const FOUNDING: &str = "founding.json";
/// How emulated devices are talked to: they get of this machine's processors what others leave them, and
/// one that is slow is not hung. A request ends before a client of AWS gives it up, after a minute.
const EMULATED: Options =
    Options { patience: Duration::from_secs(15), deadline: Duration::from_secs(45) };

/// The line a QEMU device is reached by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Link {
    /// virtio-console, the fast one.
    Console,
    /// UART on a pseudo-terminal.
    Uart,
}

/// Where devices are and how the daemon runs its own.
#[derive(Debug, Clone)]
pub struct DevicesConfig {
    /// The data directory.
    pub data: PathBuf,
    /// The Region whose domain they are of.
    pub region: String,
    /// The lines, in the form of `--hsm`.
    pub hsms: Vec<String>,
    /// Firmware image of QEMU devices.
    pub firmware: Option<PathBuf>,
    /// Line of QEMU devices; `None` for the board's own, on a socket.
    pub link: Option<Link>,
    /// Roots of attestation documents, for the devices that are provisioned; `None` leaves what
    /// is.
    pub roots: Option<Vec<RootId>>,
}

/// A way to one device.
#[derive(Clone)]
pub struct Line {
    /// Name for people and metrics, for example `qemu-0` or `serial:/dev/ttyACM0`.
    pub name: String,
    /// The device, if the daemon runs it itself.
    own: Option<Arc<Own>>,
    /// Opens the line.
    pub connector: Arc<dyn Connector>,
}

/// Devices that run or can be reached, not yet in use.
pub struct Devices {
    lines: Vec<Line>,
    keys: HostKeys,
    registry: Registry,
    running: Running,
    roots: Option<Vec<RootId>>,
    region: String,
    ballots: Ballots,
    founding: PathBuf,
    bound: Option<Bound>,
    is_promising: bool,
    /// Members of the domain, as its devices count them; 0 if none was asked.
    members: u8,
}

/// The pool, and the devices that run inside or below this process.
pub struct Pooled {
    /// Takes calls.
    pub pool: Arc<Pool>,
    /// Dropped after the pool: its devices end with it.
    running: Running,
}

impl Devices {
    /// Starts the devices that the daemon runs itself, and finds the lines to the others. Blocks
    /// while emulators start.
    ///
    /// # Errors
    /// [`DevicesError`], whose text says what to do.
    pub fn start(config: &DevicesConfig) -> Result<Self, DevicesError> {
        Self::start_those(config, false)
    }

    /// The same with lines that a person has removed.
    fn start_also_removed(config: &DevicesConfig) -> Result<Self, DevicesError> {
        Self::start_those(config, true)
    }

    fn start_those(config: &DevicesConfig, all: bool) -> Result<Self, DevicesError> {
        let endpoints = config
            .hsms
            .iter()
            .map(|text| text.parse::<Endpoint>())
            .collect::<Result<Vec<_>, _>>()?;
        let hsm = directory(&config.data, &config.region)?;
        let keys = HostKeys::of_data(&config.data)?;
        let registry = Registry::load(&hsm)?;
        let endpoints = start::counted(endpoints, &hsm, &registry.lines());
        let (lines, running) =
            start::start(&endpoints, config, &hsm, |name| !all && registry.is_removed(name))?;
        Ok(Self {
            lines,
            keys,
            registry,
            running,
            roots: config.roots.clone(),
            region: config.region.clone(),
            ballots: Ballots::of(&hsm),
            founding: hsm.join(FOUNDING),
            bound: None,
            is_promising: false,
            members: 0,
        })
    }

    /// The lines alone, where `trouble` keeps every device from being used: a pool of these says so
    /// instead of taking calls.
    ///
    /// # Errors
    /// [`DevicesError`], if the lines are wrong too.
    pub fn unusable(config: &DevicesConfig, trouble: &DevicesError) -> Result<Self, DevicesError> {
        let endpoints = config
            .hsms
            .iter()
            .map(|text| text.parse::<Endpoint>())
            .collect::<Result<Vec<_>, _>>()?;
        let lines = start::unusable(&endpoints, &trouble.to_string())?;
        Ok(Self {
            lines,
            keys: HostKeys::of_data(&config.data)?,
            registry: Registry::empty(&config.data.join("hsm").join(&config.region)),
            running: Running::default(),
            roots: None,
            region: config.region.clone(),
            ballots: Ballots::of_data(&config.data, &config.region),
            founding: config.data.join("hsm").join(&config.region).join(FOUNDING),
            bound: None,
            is_promising: false,
            members: 0,
        })
    }

    /// The same, for keys that are there.
    #[must_use]
    pub fn with_keys_of(mut self, bound: Option<Bound>) -> Self {
        self.bound = bound;
        self
    }

    /// The domain that the devices' files tell of.
    #[must_use]
    pub fn known_domain(&self) -> Option<DomainId> {
        self.registry.domain()
    }

    /// The lines.
    #[must_use]
    pub fn lines(&self) -> &[Line] {
        &self.lines
    }

    /// Lets the device of a line be made, if the daemon runs it itself and it was never there.
    pub fn may_be_made(&self, line: &Line) {
        if let Some(own) = &line.own
            && self.registry.device(&line.name).is_none()
        {
            own.may_be_made();
        }
    }

    /// Records that a line leads to a device, which is of a domain; durable on return.
    ///
    /// # Errors
    /// [`DevicesError::File`].
    pub fn record(
        &mut self,
        line: &str,
        device: DeviceId,
        domain: DomainId,
    ) -> Result<(), DevicesError> {
        self.registry.record(line, device, domain)
    }

    /// The daemon's keys towards devices.
    #[must_use]
    pub fn keys(&self) -> &HostKeys {
        &self.keys
    }

    /// Brings the devices into one domain; `progress` hears of line and step. Blocks. Returns who
    /// has the domain's key then.
    ///
    /// # Errors
    /// The first [`DevicesError`], whose text says what to do. What was done stays done.
    pub fn prepare(
        &mut self,
        scope: Scope,
        progress: &mut dyn FnMut(&str, &str),
    ) -> Result<Holders, DevicesError> {
        match self.bring_in(scope, progress).into_iter().next() {
            Some(trouble) => Err(trouble),
            None => Ok(self.holders()),
        }
    }

    /// Of the lines of these names, those that lead to the device that was there before, if it says now
    /// that it is a member of the known domain. Blocks while devices of the daemon boot.
    #[must_use]
    pub fn members(&self, names: &[String]) -> Vec<String> {
        let Some(domain) = self.registry.domain() else { return Vec::new() };
        let wanted = self.lines.iter().filter(|line| names.contains(&line.name));
        let answers = |line: &&Line| prepare::is_member(line, &self.registry, &self.keys, domain);
        wanted.filter(answers).map(|line| line.name.clone()).collect()
    }

    /// Who has the domain's key, as was found when the devices were brought in.
    #[must_use]
    pub fn holders(&self) -> Holders {
        Holders { devices: self.registry.lines(), members: self.members }
    }

    /// The same as [`Self::prepare`], as far as it can be done; returns what is wrong with the others.
    /// Blocks.
    pub fn bring_in(
        &mut self,
        scope: Scope,
        progress: &mut dyn FnMut(&str, &str),
    ) -> Vec<DevicesError> {
        let preparation = Preparation {
            lines: &self.lines,
            registry: &mut self.registry,
            keys: &self.keys,
            scope,
            roots: self.roots.as_deref(),
            bound: self.bound.as_ref(),
            region: &self.region,
            ballots: &self.ballots,
            founding: &self.founding,
            members: 0,
        };
        let done = preparation.run(progress);
        self.is_promising = done.is_promising;
        self.members = done.members;
        done.troubles.into_iter().map(|(_, trouble)| trouble).collect()
    }

    /// Whether a device should get into service, as far as is known.
    #[must_use]
    pub fn is_promising(&self) -> bool {
        self.is_promising
    }

    /// The one device, to be put into a pool that there is.
    fn into_member(mut self) -> Option<Member> {
        let line = self.lines.pop()?;
        let expected = self.registry.device(&line.name);
        Some(Member { name: line.name, connector: line.connector, expected, held: None })
    }

    /// Puts the devices into a pool. `sink` takes audit entries that no call returns; `stock` is
    /// what key pairs to keep ready.
    ///
    /// # Errors
    /// [`DevicesError::Pool`].
    pub fn pool(
        self,
        sink: Arc<dyn AuditSink>,
        stock: StockTargets,
    ) -> Result<Pooled, DevicesError> {
        let member = |line: Line| {
            let expected = self.registry.device(&line.name);
            let held = self.registry.held(&line.name);
            Member { name: line.name, connector: line.connector, expected, held }
        };
        let bound = self.bound.map(|bound| bound.domain);
        let domain = bound.or(self.registry.domain());
        let emulated = self.lines.iter().flat_map(|line| &line.own).any(|own| own.is_emulated());
        let device = if emulated { EMULATED } else { Options::default() };
        let options = PoolOptions { device, domain, stock, ..PoolOptions::default() };
        let members = self.lines.into_iter().map(member).collect();
        let pool =
            Pool::start(members, self.keys.user, sink, options).map_err(DevicesError::Pool)?;
        Ok(Pooled { pool: Arc::new(pool), running: self.running })
    }
}

/// The directory of a Region's devices. It is made when there is something to put in it: what is
/// restored there finds no other in its place.
fn directory(data: &Path, region: &str) -> Result<PathBuf, DevicesError> {
    let all = data.join("hsm");
    let failed = |source| DevicesError::File { path: all.clone(), source };
    // The layout of the time of one Region: what was there becomes the Region's.
    let former = data.join("hsm-of-one-region");
    if all.join("devices.json").try_exists().map_err(failed)? {
        fs::rename(&all, &former).map_err(failed)?;
    }
    let own = all.join(region);
    if former.try_exists().map_err(failed)? {
        durable::create_private_dir(&all).map_err(failed)?;
        fs::rename(&former, &own).map_err(failed)?;
    }
    Ok(own)
}

/// Forgets which lines led to a device that exists no more, in every Region of a data directory.
/// The domains stay known, so that a lost one is noticed.
///
/// # Errors
/// [`DevicesError`] if a registry cannot be read or written.
pub fn forget(data: &Path, device: DeviceId) -> Result<(), DevicesError> {
    let all = data.join("hsm");
    let failed = |source| DevicesError::File { path: all.clone(), source };
    if !all.try_exists().map_err(failed)? {
        return Ok(());
    }
    for entry in fs::read_dir(&all).map_err(failed)? {
        let region = entry.map_err(failed)?.path();
        if region.join("devices.json").try_exists().map_err(failed)? {
            Registry::load(&region)?.forget(device)?;
        }
    }
    Ok(())
}

/// The lines of a Region, each with the fingerprint of the device that it led to.
///
/// # Errors
/// [`DevicesError`] if the registry cannot be read.
pub fn devices_of(data: &Path, region: &str) -> Result<Vec<(String, String)>, DevicesError> {
    let registry = Registry::load(&data.join("hsm").join(region))?;
    let of = |line: String| Some((registry.device(&line)?.to_string(), line));
    Ok(registry.lines().into_iter().filter_map(of).map(|(id, line)| (line, id)).collect())
}

/// A Region, its domain, and the names of its lines.
pub type KnownRegion = (String, Option<String>, Vec<String>);

/// The Regions of a data directory, with the domain and the lines of each as they were last known.
///
/// # Errors
/// [`DevicesError`] if a registry cannot be read.
pub fn known(data: &Path) -> Result<Vec<KnownRegion>, DevicesError> {
    let all = data.join("hsm");
    let failed = |source| DevicesError::File { path: all.clone(), source };
    let mut regions = Vec::new();
    let entries = match fs::read_dir(&all) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(regions),
        entries => entries.map_err(failed)?,
    };
    for entry in entries {
        let entry = entry.map_err(failed)?;
        let path = entry.path();
        if let Ok(name) = entry.file_name().into_string()
            && path.is_dir()
        {
            let registry = Registry::load(&path)?;
            let domain = registry.domain().map(|domain| domain.to_string());
            regions.push((name, domain, registry.lines()));
        }
    }
    regions.sort();
    Ok(regions)
}

/// A device of a data directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownDevice {
    /// Its id, in hexadecimal.
    pub device: String,
    /// The Region that it serves.
    pub region: String,
    /// The domain of that, if it is known.
    pub domain: Option<String>,
}

/// The devices of a data directory, as they were last known.
///
/// # Errors
/// [`DevicesError`] if a registry cannot be read.
pub fn known_devices(data: &Path) -> Result<Vec<KnownDevice>, DevicesError> {
    let mut found = Vec::new();
    for (region, domain, _) in known(data)? {
        let registry = Registry::load(&data.join("hsm").join(&region))?;
        found.extend(registry.devices().map(|(_, device)| KnownDevice {
            device: device.to_string(),
            region: region.clone(),
            domain: domain.clone(),
        }));
    }
    Ok(found)
}

impl Pooled {
    /// Closes the pool, then ends the devices that run here. Blocks.
    pub fn shut_down(self) {
        match Arc::try_unwrap(self.pool) {
            Ok(pool) => pool.shut_down(),
            // A request that outlived the drain still has it; it ends with the process.
            Err(pool) => drop(pool),
        }
        drop(self.running);
    }
}

impl HostKeys {
    /// The keys of a data directory, made now if there are none.
    ///
    /// # Errors
    /// If they cannot be read or written.
    pub fn of_data(data: &Path) -> Result<Self, DevicesError> {
        let dir = data.join("hosts");
        durable::create_private_dir(&dir)
            .map_err(|source| DevicesError::File { path: dir.clone(), source })?;
        Ok(Self::load_or_generate(&dir)?)
    }

    /// The keys in `dir`, made now if there are none.
    fn load_or_generate(dir: &Path) -> Result<Self, KeyFileError> {
        // Who was the provisioner of a device is the operator of its domain now.
        let former = dir.join("provisioner.pem");
        let operator = if former.exists() { former } else { dir.join("operator.pem") };
        Ok(Self {
            operator: OperatorKey::load_or_generate(&operator)?,
            user: HostKey::load_or_generate(&dir.join("crypto-user.pem"))?,
        })
    }
}

impl Line {
    fn failed(&self, reason: impl fmt::Display) -> DevicesError {
        DevicesError::Device { endpoint: self.name.clone(), reason: reason.to_string() }
    }
}

impl fmt::Debug for Pooled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}, of which {:?} run here", self.pool, self.running)
    }
}
