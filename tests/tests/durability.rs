//! Power cuts: QEMU killed with SIGKILL at random moments while a device boots, is provisioned
//! and writes. It always comes back as it was after one of its changes in their order, and
//! never before the last one it acknowledged.

use std::collections::BTreeMap;
use std::path::Path;
use std::thread;
use std::time::Duration;

use hsm_protocol::command::decode;
use hsm_protocol::command::domain::{
    CreateDomain, DomainInfo, DomainStatus, EnrolHost, EnrolledHost, ExportDomain, HostList,
    Initialise, ListHosts, RemoveHost,
};
use hsm_protocol::command::system::Zeroise;
use hsm_protocol::frame::Header;
use hsm_protocol::identity::{self, IdentityDocument};
use hsm_protocol::{DeviceId, DomainId, HostId, ModuleState, Role};
use hsm_tests::emulator::{Attachment, Emulator};
use hsm_tests::patience::PATIENCE;
use hsm_tests::seed;
use hsm_tests::wire::{Session, Wire, host_key, identity_of, public};
use p256::SecretKey;

/// Power cuts of the test.
const CUTS: u32 = 200;
/// Changes that are on their way at once: a device's window.
const BATCH: usize = 32;
/// A boot takes about so long.
const BOOT: Duration = Duration::from_millis(200);
/// A change takes about so long, on a fast machine.
const WRITING: Duration = Duration::from_millis(5);

#[test]
fn two_hundred_power_cuts() {
    let mut random = seed::random("two_hundred_power_cuts");
    let directory = tempfile::tempdir().expect("a temporary directory");
    let mut host = Host::new(random.fork());
    for cut in 0..CUTS {
        let mut emulator = Emulator::boot(directory.path(), Attachment::Console);
        if random.u8(..3) == 0 {
            thread::sleep(BOOT.mul_f64(random.f64()));
            emulator.kill();
        } else {
            let mut wire = Wire::new(emulator.connect());
            host.verify(&mut wire, cut);
            let batch = host.send_changes(&mut wire);
            // After any of the changes, by what the device says, and somewhere in the next one.
            let done = random.usize(..batch.states.len());
            let receive = |_| wire.receive(PATIENCE).expect("changes are acknowledged");
            let mut answers: Vec<_> = (0..done).map(receive).collect();
            thread::sleep(WRITING.mul_f64(random.f64()));
            emulator.kill();
            answers.extend(wire.rest());
            host.learn(batch, answers);
        }
    }
    host.finish(directory.path());
}

/// The host at the other end, which knows what it was told.
struct Host {
    key: SecretKey,
    random: fastrand::Rng,
    /// What the device may be: after the last acknowledged change, or after a later one.
    possible: Vec<Committed>,
    epoch: u64,
    acknowledged: usize,
    lost: usize,
}

/// What survives a power cut.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Committed {
    device: Device,
    hosts: BTreeMap<HostId, u8>,
    domain: Option<Domain>,
}

/// Which device it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Device {
    Known(DeviceId),
    /// It has never been seen.
    New,
    /// It has been zeroised, identity included.
    Not(DeviceId),
}

#[derive(Clone, PartialEq, Eq, Debug)]
struct Domain {
    /// `None` until it is seen.
    id: Option<DomainId>,
    version: u32,
    members: u8,
}

/// A change of what survives.
#[derive(Clone, Debug)]
enum Change {
    Initialise,
    Enrol(identity::PublicKey, Role),
    Remove(HostId),
    CreateDomain,
    AddMember(Box<IdentityDocument>),
    Zeroise,
}

/// Changes that were sent at once, and the states after each.
struct Batch {
    session: Session,
    states: Vec<Committed>,
}

impl Host {
    fn new(random: fastrand::Rng) -> Self {
        let possible = vec![Committed::fresh(Device::New)];
        Self { key: host_key(), random, possible, epoch: 0, acknowledged: 0, lost: 0 }
    }

    /// Checks what the device holds.
    fn verify(&mut self, wire: &mut Wire, cut: u32) {
        wire.synchronise();
        let status = wire.status();
        assert_eq!(status.error, None, "cut {cut}: the device is in the error state");
        let found = self.read(wire, status.state);
        let admitted = self.possible.iter().any(|state| state.admits(&found));
        assert!(admitted, "cut {cut}: the device is {found:#?}, possible are {:#?}", self.possible);
        assert_eq!(found.state(), status.state, "cut {cut}");
        if self.possible.iter().all(|state| matches!(state.device, Device::Known(_))) {
            let (last, now) = (self.epoch, status.epoch);
            assert!(now > last, "cut {cut}: boot {now} came after boot {last}");
        }
        self.epoch = status.epoch;
        self.possible = vec![found];
    }

    fn read(&self, wire: &mut Wire, state: ModuleState) -> Committed {
        let mut found = Committed::fresh(Device::Known(wire.identity().device_id()));
        if state == ModuleState::Uninitialised {
            return found;
        }
        let mut session = wire.session(&self.key).expect("the provisioner is enrolled");
        let body = session.call(wire, &ListHosts).expect("listed");
        let list: HostList<'_> = decode(&body).expect("a list");
        for row in list.rows.chunks(HostId::SIZE + 1) {
            let EnrolledHost { host, role } = decode(row).expect("a row");
            found.hosts.insert(host, role as u8);
        }
        let body = session.call(wire, &DomainInfo).expect("answered");
        let status: DomainStatus = decode(&body).expect("a status");
        found.domain = status.domain.map(|domain| Domain {
            id: Some(domain.domain),
            version: domain.version,
            members: domain.members,
        });
        found
    }

    /// Sends a batch of changes and waits for none of them.
    fn send_changes(&mut self, wire: &mut Wire) -> Batch {
        let mut session = wire.session(&self.key).expect("the provisioner's");
        let mut states = vec![self.possible[0].clone()];
        for _ in 0..BATCH {
            let state = states.last().expect("one at least");
            let change = self.choose(state);
            states.push(state.after(&change, &self.key));
            let (header, record) = change.seal(&mut session);
            wire.send(header, &record);
            // These end the session.
            if matches!(change, Change::Initialise | Change::Zeroise) {
                break;
            }
        }
        Batch { session, states }
    }

    /// A change that the device in this state carries out.
    fn choose(&mut self, state: &Committed) -> Change {
        let own = public(&self.key).host_id();
        let others: Vec<HostId> = state.hosts.keys().copied().filter(|id| *id != own).collect();
        let full = others.len() == 15;
        let members = state.domain.as_ref().map_or(8, |domain| domain.members);
        match self.random.u8(..) {
            _ if state.hosts.is_empty() => Change::Initialise,
            0..4 => Change::Zeroise,
            4..50 if state.domain.is_none() => Change::CreateDomain,
            4..50 if members < 8 => Change::AddMember(Box::new(identity_of(&host_key()))),
            50..130 if !others.is_empty() => {
                Change::Remove(others[self.random.usize(..others.len())])
            }
            _ if full => Change::Remove(others[0]),
            roll => {
                let role = if roll % 2 == 0 { Role::CryptoUser } else { Role::Auditor };
                Change::Enrol(public(&host_key()), role)
            }
        }
    }

    /// Takes in the answers that came before the cut.
    fn learn(&mut self, mut batch: Batch, answers: Vec<hsm_tests::wire::Received>) {
        let mut acknowledged = 0;
        for answer in answers {
            let (head, _) = batch.session.open(answer).expect("answers come in order");
            assert_eq!(head.status, None, "change {acknowledged} was refused");
            acknowledged += 1;
        }
        self.acknowledged += acknowledged;
        self.lost += batch.states.len() - 1 - acknowledged;
        self.possible = batch.states.split_off(acknowledged);
    }

    fn finish(mut self, directory: &Path) {
        let emulator = Emulator::boot(directory, Attachment::Console);
        self.verify(&mut Wire::new(emulator.connect()), CUTS);
        let Self { acknowledged, lost, .. } = self;
        eprintln!("{acknowledged} changes acknowledged, {lost} not, over {CUTS} power cuts");
        assert!(acknowledged > 100 && lost > 100, "the cuts missed the writing");
    }
}

impl Committed {
    const fn fresh(device: Device) -> Self {
        Self { device, hosts: BTreeMap::new(), domain: None }
    }

    fn state(&self) -> ModuleState {
        match (self.hosts.is_empty(), &self.domain) {
            (true, _) => ModuleState::Uninitialised,
            (_, None) => ModuleState::Initialised,
            _ => ModuleState::Operational,
        }
    }

    /// Whether a device in this state can look like `found`, whose identities are known.
    fn admits(&self, found: &Self) -> bool {
        let device = match (self.device, found.device) {
            (Device::Known(device), Device::Known(found)) => device == found,
            (Device::Not(device), Device::Known(found)) => device != found,
            (Device::New, _) => true,
            (_, _) => false,
        };
        let domain = match (&self.domain, &found.domain) {
            (Some(Domain { id: None, version, members }), Some(found)) => {
                (version, members) == (&found.version, &found.members)
            }
            (domain, found) => domain == found,
        };
        device && domain && self.hosts == found.hosts
    }

    /// The state after a change.
    fn after(&self, change: &Change, provisioner: &SecretKey) -> Self {
        let mut next = self.clone();
        match change {
            Change::Initialise => {
                next.hosts.insert(public(provisioner).host_id(), Role::Provisioner as u8);
            }
            Change::Enrol(key, role) => {
                next.hosts.insert(key.host_id(), *role as u8);
            }
            Change::Remove(host) => {
                next.hosts.remove(host);
            }
            Change::CreateDomain => {
                next.domain = Some(Domain { id: None, version: 1, members: 1 });
            }
            Change::AddMember(_) => {
                if let Some(domain) = &mut next.domain {
                    domain.version += 1;
                    domain.members += 1;
                }
            }
            Change::Zeroise => {
                let Device::Known(device) = self.device else { panic!("a device with hosts") };
                next = Self::fresh(Device::Not(device));
            }
        }
        next
    }
}

impl Change {
    fn seal(&self, session: &mut Session) -> (Header, Vec<u8>) {
        match self {
            Self::Initialise => session.seal(&Initialise),
            Self::Enrol(key, role) => session.seal(&EnrolHost { key: *key, role: *role }),
            Self::Remove(host) => session.seal(&RemoveHost { host: *host }),
            Self::CreateDomain => session.seal(&CreateDomain),
            Self::AddMember(joiner) => session.seal(&ExportDomain { joiner: **joiner }),
            Self::Zeroise => session.seal(&Zeroise),
        }
    }
}
