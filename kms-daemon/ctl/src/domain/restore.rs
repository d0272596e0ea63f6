//! `kmsctl domain restore`: restores a domain in a fresh device.
//!
//! `begin` writes the request for handovers and the change that operators sign; `finish` gives all of it to the
//! device. The host carries the files, and never has enough to open the backup: the shares are put together inside
//! the device.

use std::path::{Path, PathBuf};

use host_driver::CallError;
use host_driver::ceremony::Ledger;
use host_driver::device::Device;
use hsm_protocol::domain::{Change, DomainState, Host, MAX_DOMAIN_KEYS};
use hsm_protocol::token::recovery::Handover;
use hsm_protocol::{ErrorCode, ModuleState, Role};
use serde::Serialize;

use super::super::{Failure, Outcome, Output};
use super::found::marker;
use super::hand_over::in_words as request_in_words;
use super::reach::{Place, Single};
use super::{Ceremony, in_words, merged, save_new};
use kms_base::{durable, hex};
use kms_ceremony::ledger::Ballots;
use kms_ceremony::{CertificateFile, HandoverFile, HandoverRequest, RecoveryFile, fingerprint};
use kms_installation::devices::{self, HostKeys, devices_of};

/// What operators hand shares over to, in the directory of `begin`.
pub(super) const REQUEST: &str = "request";
/// What operators sign.
const CHANGE: &str = "change";

#[derive(Debug, clap::Subcommand)]
pub(super) enum Restore {
    /// Write the files for the operators: DIR/request, for which they hand over shares, and DIR/change, which the
    /// quorum signs. No kmsd may run on the data directory.
    Begin(Begin),
    /// Give the device what the operators have handed over and signed.
    Finish(Finish),
}

#[derive(Debug, clap::Args)]
pub(super) struct Begin {
    /// The fresh device: serial:PATH, tcp:HOST:PORT, unix:PATH; or soft-N, qemu-N for one that the daemon
    /// runs itself.
    #[arg(value_name = "HSM")]
    hsm: String,
    /// The backup of the domain.
    #[arg(long, value_name = "FILE")]
    backup: PathBuf,
    /// The device CA's certificate of the device, as `kmsctl device-ca certify` wrote it.
    #[arg(long, value_name = "FILE")]
    certificate: Option<PathBuf>,
    /// A former domain key to remove, as the domain has as many as it can have; tokens under it are lost.
    #[arg(long, value_name = "NUMBER")]
    remove_key: Option<u32>,
    /// Directory to create.
    #[arg(long, value_name = "DIR")]
    output: PathBuf,
}

#[derive(Debug, clap::Args)]
pub(super) struct Finish {
    /// The device of `begin`.
    #[arg(value_name = "HSM")]
    hsm: String,
    /// The backup of the domain.
    #[arg(long, value_name = "FILE")]
    backup: PathBuf,
    /// DIR/change with the signatures; several copies may be given, each with other signatures.
    #[arg(long, required = true, value_name = "FILE")]
    change: Vec<PathBuf>,
    /// An operator's handover; as many as the backup needs.
    #[arg(long, required = true, value_name = "FILE")]
    handover: Vec<PathBuf>,
}

pub(super) fn run(
    restore: &Restore,
    place: &Place,
    output: &mut Output<'_>,
) -> Result<Outcome, Failure> {
    match restore {
        Restore::Begin(it) => begin(it, place, output),
        Restore::Finish(it) => finish(it, place, output),
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Begun {
    domain: String,
    device: String,
    request: PathBuf,
    request_fingerprint: String,
    change: PathBuf,
    change_fingerprint: String,
    shares_needed: u8,
    text: String,
}

fn begin(it: &Begin, place: &Place, output: &mut Output<'_>) -> Result<Outcome, Failure> {
    let of = RecoveryFile::load(&it.backup)?;
    let data = place.data()?;
    refuse_later(&of.state, &data, place.region()?, None)?;
    if it.output.exists() {
        return Err(Failure(format!("{} exists and is not replaced", it.output.display())));
    }
    refuse_known(&data, place.region()?, &it.hsm)?;
    let Single { device, devices, lock: _lock, .. } = place.single(&it.hsm)?;
    ensure_fresh(&device)?;
    let identity = *device.identity();
    let certificate = CertificateFile::of_device(it.certificate.as_deref(), &identity)?;
    if of.state.device_ca.is_some() != certificate.is_some() {
        return Err(Failure(
            match certificate {
                None => "the domain has a device CA, which has to vouch for the device: kmsctl device-ca certify, \
                         and --certificate FILE",
                Some(_) => "the domain has no device CA that could have certified the device; leave out \
                            --certificate",
            }
            .to_owned(),
        ));
    }
    let own_word = host_driver::provision::kind_of(&device.info().board);
    let kind = certificate.map_or(own_word, |certificate| certificate.kind);
    let host = devices.keys().user.public();
    let changes = changes(it, &of.state, host, |changes| {
        changes.push(Change::AddMember { identity, kind, certificate });
        changes.push(Change::RotateKey { maker: device.id() });
    })?;
    let ceremony = Ceremony::change(of.state.clone(), &changes).map_err(|code| {
        let advice = match code {
            ErrorCode::RULES_DENIED => {
                ": the domain admits only hardware, and this device is not; use another device"
            }
            _ => "",
        };
        Failure(format!("the device cannot become the domain: {code}{advice}"))
    })?;
    let request = HandoverRequest { of, identity, certificate, is_drill: false };
    durable::create_private_dir(&it.output)?;
    let (request_file, change_file) = (it.output.join(REQUEST), it.output.join(CHANGE));
    request.save_new(&request_file)?;
    save_new(&ceremony, &change_file)?;
    // From here on no development domain is made on the device.
    let marker = marker(&data, place.region()?);
    if let Some(dir) = marker.parent() {
        durable::create_private_dir(dir)?;
    }
    ceremony.save(&marker)?;
    let threshold = request.of.state.recovery.as_ref().map_or(0, |recovery| recovery.threshold);
    let begun = Begun {
        domain: request.of.state.domain.to_string(),
        device: device.id().to_string(),
        request: request_file,
        request_fingerprint: fingerprint(&request.digest()),
        change: change_file,
        change_fingerprint: fingerprint(&ceremony.digest()?),
        shares_needed: threshold,
        text: format!("{}\n{}", request_in_words(&request), in_words(&ceremony)),
    };
    output.print(&begun, |out, begun| {
        write!(out, "{}", begun.text)?;
        writeln!(out, "\n{} operators hand their shares over, on their own machines:", begun.shares_needed)?;
        let (request, change) = (begun.request.display(), begun.change.display());
        writeln!(out, "  kmsctl domain hand-over {request} --share FILE --share-key FILE --key KEY --output FILE")?;
        writeln!(out, "  Fingerprint: {}", begun.request_fingerprint)?;
        writeln!(out, "and the quorum signs the change:")?;
        writeln!(out, "  kmsctl domain sign {change} --key KEY")?;
        writeln!(out, "  Fingerprint: {}", begun.change_fingerprint)
    })?;
    Ok(Outcome::Good)
}

/// The lost devices go out, the new one comes in, this data directory may use it, and a new domain key is made.
fn changes(
    it: &Begin,
    state: &DomainState,
    host: hsm_protocol::identity::PublicKey,
    add: impl FnOnce(&mut Vec<Change<'static>>),
) -> Result<Vec<Change<'static>>, Failure> {
    let lost = state.members.iter().map(|member| Change::RemoveMember(member.device_id()));
    let mut changes: Vec<Change<'static>> = lost.collect();
    if state.role(host.host_id()) != Some(Role::CryptoUser) {
        changes.push(Change::AddHost(Host { key: host, role: Role::CryptoUser }));
    }
    match it.remove_key {
        Some(id) => changes.push(Change::RemoveKey(id)),
        None if state.keys.len() == MAX_DOMAIN_KEYS => {
            return Err(Failure(format!(
                "the domain in the backup has {MAX_DOMAIN_KEYS} keys, as many as it can have, and \
                 needs a new one; say which former key is removed, with the loss of its tokens: \
                 --remove-key {}",
                state.keys.first().map_or(0, |key| key.id)
            )));
        }
        None => {}
    }
    add(&mut changes);
    Ok(changes)
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Restored {
    domain: String,
    version: u32,
    device: String,
    line: String,
}

fn finish(it: &Finish, place: &Place, output: &mut Output<'_>) -> Result<Outcome, Failure> {
    let of = RecoveryFile::load(&it.backup)?;
    let (data, region) = (place.data()?, place.region()?);
    let ceremony = merged(&it.change)?;
    if ceremony.before() != Some(&of.state) {
        return Err(Failure(format!(
            "the signed file is not a change of the domain as it is in {}; sign the file that \
             `restore begin` wrote",
            it.backup.display()
        )));
    }
    if !ceremony.standing().is_complete {
        return Err(Failure(
            "too few operators have signed the change; `kmsctl domain show FILE` says who is missing"
                .to_owned(),
        ));
    }
    let ballot = ceremony.ballot()?;
    refuse_later(&of.state, &data, region, Some(&ballot))?;
    let handovers = handovers(&it.handover)?;
    let Single { device, name, mut devices, lock: _lock } = place.single(&it.hsm)?;
    let next = ceremony.next();
    if next.member(device.id()).is_none() {
        return Err(Failure(format!(
            "{} leads to device {}, which the operators have not signed for",
            it.hsm,
            device.id()
        )));
    }
    let host = HostKeys::of_data(&data)?.user;
    device.authenticate(&host)?;
    let ballots = Ballots::of_data(&data, region);
    let done = device.domain()?.is_some_and(|found| found.domain == next.domain);
    if !done {
        // As with every change: kept before the device has it, so that others can follow.
        ballots.keep(next.domain, next.version, &ballot)?;
        if let Err(error) = device.restore_domain(&of.backup, &handovers, &ballot) {
            if matches!(error, CallError::Refused { .. }) {
                ballots.forget(next.domain, next.version)?;
            }
            return Err(refusal(error, handovers.len()));
        }
        device.authenticate(&host)?;
    }
    let summary = device.domain()?;
    let summary = summary.filter(|found| found.domain == next.domain).ok_or_else(|| {
        Failure("the device does not report the restored domain; try again".to_owned())
    })?;
    devices.record(&name, device.id(), summary.domain)?;
    // The lines of the lost devices lead nowhere.
    for (_, id) in devices_of(&data, region)? {
        let id = hex::decode(&id).map(hsm_protocol::DeviceId);
        if let Some(id) = id.filter(|id| next.member(*id).is_none()) {
            devices::forget(&data, id)?;
        }
    }
    match std::fs::remove_file(marker(&data, region)) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    let restored = Restored {
        domain: summary.domain.to_string(),
        version: summary.version,
        device: device.id().to_string(),
        line: name,
    };
    output.print(&restored, |out, done| {
        writeln!(
            out,
            "domain {} is back, at version {}, on device {}",
            done.domain, done.version, done.device
        )?;
        writeln!(
            out,
            "Start kmsd with --hsm {}. The lost devices no longer belong to it: destroy them if \
             they turn up.",
            it.hsm
        )?;
        writeln!(
            out,
            "Every token is rewrapped under the new domain key; make a new backup after that."
        )
    })?;
    Ok(Outcome::Good)
}

/// What was handed over.
pub(super) fn handovers(files: &[PathBuf]) -> Result<Vec<[u8; Handover::SIZE]>, Failure> {
    files.iter().map(|file| Ok(HandoverFile::load(file)?.0)).collect()
}

/// Why a device has not opened a backup, and what to do.
pub(super) fn refusal(error: CallError, handed: usize) -> Failure {
    let CallError::Refused { code, .. } = &error else { return error.into() };
    let text = match *code {
        ErrorCode::SHARES_MISSING => {
            format!("{handed} shares are not enough; have more operators hand theirs over")
        }
        ErrorCode::RECOVERY_INVALID => "the backup and the shares do not open together: one of \
                                        them was changed, or belongs to another backup, domain, \
                                        operator or device. Use other copies, and check that all \
                                        were handed over for this device and this backup"
            .to_owned(),
        _ => return error.into(),
    };
    Failure(format!("{text} ({code}). The device is as fresh as it was"))
}

pub(super) fn ensure_fresh(device: &Device) -> Result<(), Failure> {
    match device.status()?.state {
        ModuleState::Uninitialised => Ok(()),
        state => Err(Failure(format!(
            "device {} is {state:?}, not fresh; use another, or erase it first: kmsctl hsm zeroise and kmsctl hsm \
             reset",
            device.id()
        ))),
    }
}

/// Refuses to make a second history of a domain of which this data directory knows a later state.
fn refuse_later(
    state: &DomainState,
    data: &Path,
    region: &str,
    own: Option<&[u8]>,
) -> Result<(), Failure> {
    let later = Ballots::of_data(data, region).ballot(state.domain, state.version + 1)?;
    match later {
        Some(ballot) if own != Some(ballot.as_slice()) => Err(Failure(format!(
            "the domain has changed since this backup was made at version {}: {} has its next \
             change. Restoring the earlier state would make a second history, without the later \
             changes. Use a later backup, or, if there is none, move hsm/{region}/changes out of \
             the data directory",
            state.version,
            data.display()
        ))),
        _ => Ok(()),
    }
}

/// A line that led to a device that is lost is that device's until somebody says that it is lost.
fn refuse_known(data: &Path, region: &str, hsm: &str) -> Result<(), Failure> {
    let known = devices_of(data, region)?;
    match known.iter().find(|(line, _)| line == hsm || *line == format!("{hsm}-0")) {
        Some((line, id)) => Err(Failure(format!(
            "{line} led to device {id}; if that is lost: kmsctl hsm forget {line} --region {region} --data {}",
            data.display()
        ))),
        None => Ok(()),
    }
}
