//! Founding a production domain.

use std::path::{Path, PathBuf};

use host_driver::provision::{FoundError, Founding, found};
use hsm_protocol::domain::{
    DomainKeyEntry, DomainState, Host, Kind, MAX_NAME, Member, Operator, OperatorRole, Rules,
};
use hsm_protocol::{DomainId, ErrorCode, ModuleState, Role};

use super::super::operator::read_public;
use super::super::{Failure, Outcome, Output};
use super::reach::{Place, Single};
use super::{Ceremony, save_new, written};
use kms_base::durable;
use kms_ceremony::ledger::Ballots;
use kms_ceremony::{CertificateFile, KeyPurpose};
use kms_installation::consistency::Domains;
use kms_installation::devices::{FOUNDING, HostKeys, known};

#[derive(Debug, clap::Args)]
pub(super) struct Init {
    /// The domain's first device: serial:PATH, tcp:HOST:PORT, unix:PATH; or soft, qemu[:BOARD] for one
    /// that the daemon runs itself. It must be fresh.
    #[arg(value_name = "HSM")]
    hsm: String,
    #[command(flatten)]
    rule: Ruling,
    /// Name of the domain, for people [default: the Region].
    #[arg(long)]
    name: Option<String>,
    /// The device CA's certificate of the device, as `kmsctl device-ca certify` wrote it.
    #[arg(long, value_name = "FILE", requires = "device_ca")]
    certificate: Option<PathBuf>,
    /// Where to write the file that the operators sign; no such file may exist.
    #[arg(long, value_name = "FILE")]
    output: PathBuf,
}

/// Who rules a production domain, and how.
#[derive(Debug, clap::Args)]
pub(super) struct Ruling {
    /// Public key of an operator, as `kmsctl operator new` wrote it; repeatable.
    #[arg(long = "operator", required = true, value_name = "FILE")]
    operators: Vec<PathBuf>,
    /// Public key of a security officer, an operator of whom rules can demand a number of their own;
    /// repeatable.
    #[arg(long = "security-officer", value_name = "FILE")]
    officers: Vec<PathBuf>,
    /// How many operators have to sign, for everything; at least 2. `propose --quorum` changes it for
    /// single classes.
    #[arg(long, value_name = "NUMBER")]
    quorum: u8,
    /// The public key of a device CA, which vouches for devices. Without one the operators look at each
    /// device themselves.
    #[arg(long, value_name = "FILE")]
    device_ca: Option<PathBuf>,
    /// Let devices be members that are not hardware. Whoever owns their host can read the domain keys.
    #[arg(long)]
    emulated_members: bool,
}

impl Ruling {
    /// The operators.
    pub(super) fn operators(&self) -> Result<Vec<Operator>, Failure> {
        let of = |files: &[PathBuf], role| -> Result<Vec<Operator>, Failure> {
            let read = |file: &PathBuf| {
                let key = read_public(file, KeyPurpose::Operator)?.key;
                Ok(Operator { key, role })
            };
            files.iter().map(read).collect()
        };
        let mut all = of(&self.operators, OperatorRole::Operator)?;
        all.extend(of(&self.officers, OperatorRole::SecurityOfficer)?);
        Ok(all)
    }

    /// The rules.
    pub(super) fn rules(&self) -> Rules {
        Rules { emulated_members: self.emulated_members, ..Rules::uniform(self.quorum) }
    }

    /// The device CA.
    pub(super) fn device_ca(&self) -> Result<Option<hsm_protocol::identity::PublicKey>, Failure> {
        let read = |file: &PathBuf| Ok(read_public(file, KeyPurpose::DeviceCa)?.key);
        self.device_ca.as_ref().map(read).transpose()
    }

    /// What is wrong, for people.
    pub(super) fn refused(&self, code: ErrorCode) -> Failure {
        let operators = self.operators.len() + self.officers.len();
        let advice = match code {
            ErrorCode::RULES_DENIED if self.quorum < 2 => {
                "a production domain needs at least two signatures for every change; give --quorum \
                 2 or more"
                    .to_owned()
            }
            ErrorCode::RULES_DENIED if usize::from(self.quorum) > operators => {
                format!("{operators} operators cannot be {}", self.quorum)
            }
            ErrorCode::RULES_DENIED => {
                "a production domain admits only hardware; to admit devices whose keys the owner \
                 of their host can read, give --emulated-members"
                    .to_owned()
            }
            ErrorCode::CHANGE_INVALID => "an operator is named twice, for example".to_owned(),
            _ => return code.into(),
        };
        Failure(format!("a domain cannot have this state: {advice} ({code})"))
    }
}

pub(super) fn init(
    init: &Init,
    place: &Place,
    output: &mut Output<'_>,
) -> Result<Outcome, Failure> {
    let (data, region) = (place.data()?, place.region()?);
    let Single { device, devices, lock: _lock, .. } = place.single(&init.hsm)?;
    ensure_none(&data, region)?;
    let state = device.status()?.state;
    if state != ModuleState::Uninitialised {
        return Err(Failure(format!(
            "device {} is {state:?}, not fresh; erase it first: kmsctl hsm zeroise and kmsctl hsm reset",
            device.id()
        )));
    }
    let identity = device.identity();
    let certificate = CertificateFile::of_device(init.certificate.as_deref(), identity)?;
    let own_word = host_driver::provision::kind_of(&device.info().board);
    let kind = certificate.map_or(own_word, |certificate| certificate.kind);
    let member = Member { signing: identity.signing, join: identity.join, kind };
    let name = init.name.as_deref().unwrap_or(region);
    let too_long = |_| Failure(format!("{name:?} is longer than {MAX_NAME} bytes"));
    let too_many = |_| Failure("a domain has at most 8 operators".to_owned());
    let host = Host { key: devices.keys().user.public(), role: Role::CryptoUser };
    let mut state = DomainState {
        domain: DomainId([0; 16]),
        name: name.try_into().map_err(too_long)?,
        kind: Kind::Production,
        version: 1,
        previous: [0; 32],
        operators: init.rule.operators()?.as_slice().try_into().map_err(too_many)?,
        rules: init.rule.rules(),
        device_ca: init.rule.device_ca()?,
        members: [member].into_iter().collect(),
        keys: [DomainKeyEntry { id: 1, maker: device.id() }].into_iter().collect(),
        hosts: [host].into_iter().collect(),
        peers: Default::default(),
        roots: Default::default(),
        recovery: None,
    };
    match (&state.device_ca, &certificate) {
        (Some(ca), Some(found)) => found.verify(ca, identity)?,
        (Some(_), None) => {
            return Err(Failure(
                "with a device CA the first device needs a certificate, too: --certificate FILE"
                    .to_owned(),
            ));
        }
        (None, _) => {}
    }
    state.domain = state.founding_id()?;
    let ceremony =
        Ceremony::founding(state, certificate).map_err(|code| init.rule.refused(code))?;
    save_new(&ceremony, &init.output)?;
    // From here on no development domain is made on the device.
    let marker = marker(&data, region);
    if let Some(dir) = marker.parent() {
        durable::create_private_dir(dir)?;
    }
    ceremony.save(&marker)?;
    written(&init.output, &ceremony, output)
}

/// The file that says that a domain is being founded.
pub(super) fn marker(data: &Path, region: &str) -> PathBuf {
    data.join("hsm").join(region).join(FOUNDING)
}

/// Whether the Region has no domain and no keys yet.
fn ensure_none(data: &Path, region: &str) -> Result<(), Failure> {
    let of_region = known(data)?.into_iter().find(|(name, ..)| name == region);
    let domain = of_region.and_then(|(_, domain, _)| domain);
    let bound = match Domains::of_data(data)? {
        Some(domains) => domains.bound(region, None)?.map(|bound| bound.domain.to_string()),
        None => None,
    };
    match domain.or(bound) {
        None => Ok(()),
        Some(domain) => Err(Failure(format!(
            "{region} has the domain {domain} already. Make a production domain of it: kmsctl domain \
             harden; or use another data directory"
        ))),
    }
}

/// Founds the domain on its device; the version that it has then.
pub(super) fn submit(
    ceremony: &Ceremony,
    hsm: Option<&str>,
    place: &Place,
) -> Result<u32, Failure> {
    let Some(hsm) = hsm else {
        return Err(Failure("name the device that the domain is founded on: --hsm HSM".to_owned()));
    };
    let (data, region) = (place.data()?, place.region()?);
    let Single { device, name, mut devices, lock: _lock } = place.single(hsm)?;
    let state = ceremony.next();
    let first = state.members.first().map(Member::device_id);
    if first != Some(device.id()) {
        return Err(Failure(format!(
            "{hsm} leads to device {}, which this domain is not founded on",
            device.id()
        )));
    }
    let host = HostKeys::of_data(&data)?.user;
    if state.role(host.id()).is_none() {
        return Err(Failure(format!(
            "the domain is founded for another data directory: it does not have the host {} of {}",
            host.id(),
            data.display()
        )));
    }
    let founding = Founding { state, votes: ceremony.votes(), certificate: ceremony.certificate() };
    let summary = match found(&device, &host, &founding) {
        Err(FoundError::AnotherDomain(found)) => {
            return Err(Failure(format!(
                "device {} is of domain {found} already; nothing was changed",
                device.id()
            )));
        }
        founded => founded?,
    };
    if let Some(certificate) = ceremony.certificate() {
        let file = CertificateFile { identity: *device.identity(), certificate };
        Ballots::of_data(&data, region).keep_certificate(&file)?;
    }
    devices.record(&name, device.id(), summary.domain)?;
    match std::fs::remove_file(marker(&data, region)) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(summary.version),
    }
}
