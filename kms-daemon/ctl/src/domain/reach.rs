//! The devices of a domain, as ceremonies reach them: through the daemon that uses them, or, if none runs,
//! directly.

use std::num::NonZeroU8;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use host_driver::device::{Device, Options};
use host_driver::endpoint::Endpoint;
use host_driver::recovery::RecoverySet;
use host_driver::{CallError, ceremony};
use hsm_protocol::command::replica::{DomainKeyInfo, ReplicationKey};
use hsm_protocol::domain::DomainState;
use hsm_protocol::{AuditTag, DeviceId, ErrorCode};

use super::super::management::{Account, STRONGROOM};
use super::super::{Failure, say};
use kms_base::hex;
use kms_base::identifier::is_region;
use kms_ceremony::PeerText;
use kms_ceremony::ledger::Ballots;
use kms_ceremony::removal::removed_keys;
use kms_installation::data_dir::{DataDir, DataDirError};
use kms_installation::devices::{self, Devices, DevicesConfig, HostKeys};
use kms_installation::loss::is_own;
use kms_installation::report::RewrapReport;
use kms_keys::tokens::{Tally, tally_blocking};
use kms_store::RedbStore;

/// How long a device of the data directory may take to boot.
const BOOT: Duration = Duration::from_secs(30);

/// Which domain is meant.
#[derive(Debug, clap::Args)]
pub(in super::super) struct Place {
    #[command(flatten)]
    account: Account,
    /// Region whose domain it is.
    #[arg(long, global = true, default_value = "us-east-1")]
    region: String,
    /// Firmware image for qemu devices.
    #[arg(long, global = true, value_name = "FILE", env = "STRONGROOM_FIRMWARE")]
    firmware: Option<PathBuf>,
}

/// Who takes a ballot.
#[expect(clippy::large_enum_variant, reason = "there is one of them in a run of kmsctl")]
pub(super) enum Reached<'p> {
    /// The devices themselves.
    Devices(Opened),
    /// The daemon that uses them.
    Daemon(&'p Account, &'p str),
}

/// A domain as it is.
pub(super) struct Found {
    pub(super) state: DomainState,
    /// What others know it by.
    pub(super) info: DomainKeyInfo,
    /// Its devices that answer now.
    pub(super) present: Vec<DeviceId>,
    /// How far the tokens in the daemon's store are under its newest key; `None` if that was not counted.
    pub(super) rewrap: Option<RewrapReport>,
}

/// Devices that are used by nobody else meanwhile.
pub(super) struct Opened {
    devices: Vec<Device>,
    ballots: Ballots,
    data: PathBuf,
    region: String,
    _running: Devices,
    _lock: DataDir,
}

impl Place {
    /// The data directory.
    pub(super) fn data(&self) -> Result<PathBuf, Failure> {
        self.account.data_dir()
    }

    /// The Region.
    pub(super) fn region(&self) -> Result<&str, Failure> {
        match is_region(&self.region) {
            true => Ok(&self.region),
            false => {
                Err(Failure(format!("{:?} is not a Region name such as us-east-1", self.region)))
            }
        }
    }

    /// How these devices are started.
    pub(super) fn config(&self, hsms: Vec<String>) -> Result<DevicesConfig, Failure> {
        Ok(DevicesConfig {
            data: self.data()?,
            region: self.region()?.to_owned(),
            hsms,
            firmware: self.firmware.clone(),
            link: None,
            roots: None,
        })
    }

    /// Reaches the domain: a kmsd that runs on the data directory, or its devices.
    pub(super) fn reach(&self) -> Result<Reached<'_>, Failure> {
        let (data, region) = (self.data()?, self.region()?);
        let lock = match DataDir::open(&data) {
            Ok(lock) => lock,
            Err(DataDirError::InUse(_)) => return Ok(Reached::Daemon(&self.account, region)),
            Err(error) => return Err(error.into()),
        };
        let known = devices::devices_of(&data, region)?;
        let names: Vec<&str> = known.iter().map(|(line, _)| line.as_str()).collect();
        if names.is_empty() {
            return Err(Failure(format!(
                "no device of {region} is known in {}; name the daemon's data directory with --data \
                 DIR, or found a domain: kmsctl domain init",
                data.display()
            )));
        }
        let running = Devices::start(&self.config(hsms_of(&names))?)?;
        let keys = HostKeys::of_data(&data)?;
        let mut opened = Vec::new();
        let mut reasons = Vec::new();
        for line in running.lines().iter().filter(|line| names.contains(&line.name.as_str())) {
            match open(line, &keys) {
                Ok(device) if known.iter().any(|(_, id)| *id == device.id().to_string()) => {
                    opened.push(device);
                }
                Ok(device) => reasons.push(format!(
                    "{} leads to another device than it did: {}",
                    line.name,
                    device.id()
                )),
                Err(error) => reasons.push(format!("{}: {error}", line.name)),
            }
        }
        if opened.is_empty() {
            return Err(Failure(format!("no device answers: {}", reasons.join("; "))));
        }
        for reason in reasons {
            say(format_args!("{reason}; it follows when it is in service again"));
        }
        let ballots = Ballots::of_data(&data, region);
        let region = region.to_owned();
        let (_running, _lock) = (running, lock);
        Ok(Reached::Devices(Opened { devices: opened, ballots, data, region, _running, _lock }))
    }
}

/// Values of `--hsm` for lines that are known by these names.
fn hsms_of(names: &[&str]) -> Vec<String> {
    let count = |kind: &str| {
        let numbers = names.iter().filter_map(|name| name.strip_prefix(kind)?.parse::<u16>().ok());
        numbers.max().map(|last| last + 1)
    };
    let own = [("soft", count("soft-")), ("qemu", count("qemu-"))];
    let own = own.into_iter().filter_map(|(kind, count)| Some(format!("{kind}:{}", count?)));
    let lines = names.iter().filter(|name| name.contains(':'));
    own.chain(lines.map(|name| (*name).to_owned())).collect()
}

fn open(line: &devices::Line, keys: &HostKeys) -> Result<Device, CallError> {
    let device = introduced(line)?;
    device.authenticate(&keys.user)?;
    Ok(device)
}

/// A device that has said who it is. One that runs here may be booting.
fn introduced(line: &devices::Line) -> Result<Device, CallError> {
    let patience = if is_own(&line.name) { BOOT } else { Duration::ZERO };
    let by = Instant::now() + patience;
    loop {
        match Device::open(&*line.connector, None, Options::default()) {
            Err(CallError::LinkDown { .. }) if Instant::now() < by => {
                std::thread::sleep(Duration::from_millis(100));
            }
            opened => return opened,
        }
    }
}

impl Reached<'_> {
    /// The domain as it is.
    pub(super) fn found(&self) -> Result<Found, Failure> {
        match self {
            Self::Devices(opened @ Opened { devices, ballots, .. }) => {
                let all: Vec<&Device> = devices.iter().collect();
                let first = all.first().ok_or_else(|| Failure("there is no device".to_owned()))?;
                ceremony::follow(first, ballots, &all[1..])?;
                let info = first.call_blocking(&ReplicationKey, AuditTag::default())?.response()?;
                let present = devices.iter().map(Device::id).collect();
                let state = first.domain_state()?;
                let rewrap = Some(opened.count(&state)?);
                Ok(Found { state, info, present, rewrap })
            }
            Self::Daemon(account, region) => {
                let asked = [("RegionName", Some(*region))];
                let answer = account.call(STRONGROOM, "DescribeDomain", &asked)?;
                let malformed = || Failure("the daemon's response cannot be read".to_owned());
                let state = answer["State"].as_str().ok_or_else(malformed)?;
                let state = STANDARD.decode(state).map_err(|_| malformed())?;
                let peer = answer["Peer"].as_str().ok_or_else(malformed)?;
                let present = answer["InService"].as_str().unwrap_or_default().split(',');
                let present = present.filter_map(|id| hex::decode(id).map(DeviceId)).collect();
                let info = peer.parse::<PeerText>()?.0;
                let rewrap = answer["Rewrap"].as_str().unwrap_or_default();
                let rewrap = serde_json::from_str(rewrap).ok();
                Ok(Found { state: DomainState::decode(&state)?, info, present, rewrap })
            }
        }
    }

    /// Has a backup made; the state that is in it, with the backup and its shares.
    pub(super) fn make_recovery(&self) -> Result<(DomainState, RecoverySet), Failure> {
        let (state, set) = match self {
            Self::Devices(Opened { devices, ballots, .. }) => {
                let all: Vec<&Device> = devices.iter().collect();
                let first = all.first().ok_or_else(|| Failure("there is no device".to_owned()))?;
                ceremony::follow(first, ballots, &all[1..])?;
                let made = first.make_recovery().map_err(|error| {
                    match error {
                    CallError::Refused { code: ErrorCode::RECOVERY_ABSENT, .. } => Failure(
                        "nobody holds recovery shares of this domain yet; its operators decide who \
                         does: kmsctl operator new-share, then kmsctl domain propose --recovery \
                         NUMBER --holder FILE"
                            .to_owned(),
                    ),
                    error => error.into(),
                }
                })?;
                (first.domain_state()?, made)
            }
            Self::Daemon(account, region) => {
                let asked = [("RegionName", Some(*region))];
                let answer = account.call(STRONGROOM, "MakeRecovery", &asked)?;
                let malformed = || Failure("the daemon's response cannot be read".to_owned());
                let part = |name: &str| {
                    let text = answer[name].as_str().ok_or_else(malformed)?;
                    STANDARD.decode(text).map_err(|_| malformed())
                };
                let state = DomainState::decode(&part("State")?)?;
                let set = RecoverySet::read(&part("Backup")?, &part("Shares")?);
                (state, set.ok_or_else(malformed)?)
            }
        };
        set.check(&state)?;
        Ok((state, set))
    }

    /// Hands a ballot over; the version that the domain has then.
    pub(super) fn submit(&self, ballot: &[u8]) -> Result<u32, Failure> {
        match self {
            Self::Devices(opened @ Opened { devices, ballots, .. }) => {
                let devices: Vec<&Device> = devices.iter().collect();
                let removed = removed_keys(ballot);
                if let (Some(first), false) = (devices.first(), removed.is_empty()) {
                    ceremony::follow(first, ballots, devices.get(1..).unwrap_or_default())?;
                    refuse_removal(&opened.count(&first.domain_state()?)?, &removed)?;
                }
                Ok(ceremony::submit(&devices, ballot, ballots)?.version)
            }
            Self::Daemon(account, region) => {
                let text = STANDARD.encode(ballot);
                let asked = [("RegionName", Some(*region)), ("Ballot", Some(text.as_str()))];
                let answer = account.call(STRONGROOM, "ChangeDomain", &asked)?;
                let version = answer["Version"].as_str().and_then(|text| text.parse().ok());
                version.ok_or_else(|| Failure("the daemon's response cannot be read".to_owned()))
            }
        }
    }
}

impl Opened {
    /// Counts the tokens in the store, which nobody changes meanwhile.
    fn count(&self, state: &DomainState) -> Result<RewrapReport, Failure> {
        let path = self.data.join("store.redb");
        let tally = match path.exists() {
            true => tally_blocking(&RedbStore::open(&path)?, &self.region)?,
            false => Tally::default(),
        };
        Ok(RewrapReport::counted(&self.region, state, &tally))
    }
}

/// Refuses to remove a domain key that a token is under. Not even who wants that gets it by this way: a key
/// that is lost anyway is deleted first.
pub(super) fn refuse_removal(counted: &RewrapReport, removed: &[u32]) -> Result<(), Failure> {
    for key in removed {
        let count = counted.tokens.get(key).copied().unwrap_or_default();
        if count > 0 {
            return Err(Failure(format!(
                "{count} key tokens of {} are still under domain key {key}, and would be lost forever. kmsd \
                 rewraps them while it runs; `kmsctl domain show` says how far that is. Nothing was changed",
                counted.region
            )));
        }
    }
    Ok(())
}

/// The only device of a value of `--hsm`, made now if the data directory does not have it yet.
pub(super) struct Single {
    pub(super) device: Device,
    pub(super) name: String,
    pub(super) devices: Devices,
    pub(super) lock: DataDir,
}

impl Place {
    /// Opens a device that is not in service.
    pub(super) fn single(&self, hsm: &str) -> Result<Single, Failure> {
        self.single_in(&self.data()?, hsm)
    }

    /// The same; what the data directory would be is `data`.
    pub(super) fn single_in(&self, data: &Path, hsm: &str) -> Result<Single, Failure> {
        let lock = DataDir::open(data)?;
        let (wanted, hsms) = single_of(hsm);
        let config = DevicesConfig { data: data.to_owned(), ..self.config(hsms)? };
        let devices = Devices::start(&config)?;
        let line = devices.lines().iter().find(|line| line.name == wanted);
        let Some(line) = line.cloned() else {
            return Err(Failure(format!(
                "{hsm:?} is not one device; write serial:PATH, tcp:HOST:PORT, unix:PATH, soft-0 or qemu-0"
            )));
        };
        devices.may_be_made(&line);
        let device = introduced(&line)?;
        Ok(Single { device, name: wanted, devices, lock })
    }
}

/// The name that the one device of a value of `--hsm` has, and the values that start it.
fn single_of(hsm: &str) -> (String, Vec<String>) {
    let kind = match hsm.parse() {
        Ok(Endpoint::Soft(None | Some(NonZeroU8::MIN))) => {
            return ("soft-0".to_owned(), vec!["soft:1".to_owned()]);
        }
        Ok(Endpoint::Qemu { count: NonZeroU8::MIN, .. }) => "qemu",
        _ => return (hsm.to_owned(), hsms_of(&[hsm])),
    };
    (format!("{kind}-0"), vec![hsm.to_owned()])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_device_is_started_by_its_kind() {
        let of = |hsm: &str| {
            let (name, hsms) = single_of(hsm);
            (name, hsms.join(" "))
        };
        let pair = |name: &str, hsm: &str| (name.to_owned(), hsm.to_owned());
        assert_eq!(of("soft"), pair("soft-0", "soft:1"));
        assert_eq!(of("soft:1"), pair("soft-0", "soft:1"));
        assert_eq!(of("qemu:mps2_an505"), pair("qemu-0", "qemu:mps2_an505"));
        assert_eq!(of("qemu-1"), pair("qemu-1", "qemu:2"));
        assert_eq!(of("tcp:h:1"), pair("tcp:h:1", "tcp:h:1"));
    }

    #[test]
    fn lines_are_started_by_their_names() {
        let of = |names: &[&str]| hsms_of(names);
        assert_eq!(of(&["soft-0"]), ["soft:1"]);
        assert_eq!(of(&["soft-2", "qemu-0", "tcp:h:1"]), ["soft:3", "qemu:1", "tcp:h:1"]);
        assert!(of(&[]).is_empty());
    }
}
