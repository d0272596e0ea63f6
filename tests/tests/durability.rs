//! Power cuts: QEMU killed with SIGKILL at random moments while a device boots, is provisioned
//! and writes. It always comes back as it was after one of its changes in their order, and
//! never before the last one it acknowledged.

use std::path::Path;
use std::thread;
use std::time::Duration;

use host_driver::OperatorKey;
use hsm_protocol::command::decode;
use hsm_protocol::command::domain::{ChangeDomain, DescribeDomain, DescribedDomain, FoundDomain};
use hsm_protocol::domain::{Change, DeviceKind, DomainState, Host as HostRow, MAX_STATE};
use hsm_protocol::frame::Header;
use hsm_protocol::identity::IdentityDocument;
use hsm_protocol::{Bytes, DeviceId, HostId, ModuleState, Role};
use hsm_tests::ballots::{ballot, first_state};
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
        let mut emulator = Emulator::boot(directory.path(), Attachment::CONSOLE);
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
    operator: OperatorKey,
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
    domain: Option<DomainState>,
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

/// Changes that were sent at once, and the states after each.
struct Batch {
    session: Session,
    states: Vec<Committed>,
}

impl Host {
    fn new(random: fastrand::Rng) -> Self {
        let possible = vec![Committed { device: Device::New, domain: None }];
        let (key, operator) = (host_key(), OperatorKey::generate());
        Self { key, operator, random, possible, epoch: 0, acknowledged: 0, lost: 0 }
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
        let device = Device::Known(wire.identity().device_id());
        if state == ModuleState::Uninitialised {
            return Committed { device, domain: None };
        }
        let mut session = wire.session(&self.key).expect("the host is the domain's");
        let body = session.call(wire, &DescribeDomain).expect("a host may ask");
        let described: DescribedDomain<'_> = decode(&body).expect("an answer");
        let state = DomainState::decode(&described.state).expect("a state");
        Committed { device, domain: Some(state) }
    }

    /// Sends a batch of changes and waits for none of them.
    fn send_changes(&mut self, wire: &mut Wire) -> Batch {
        let identity = wire.identity();
        let mut session = wire.session(&self.key).expect("the host's");
        let mut states = vec![self.possible[0].clone()];
        for _ in 0..BATCH {
            let Some(state) = &states.last().expect("one at least").domain else {
                let hosts = [(public(&self.key), Role::CryptoUser)];
                let (state, votes) = first_state(&self.operator, &identity, &hosts);
                let mut encoded = [0; MAX_STATE];
                let bytes = Bytes(state.encode(&mut encoded).expect("it is short"));
                let found = FoundDomain { state: bytes, votes, certificate: None };
                send(wire, session.seal(&found));
                let device = Device::Known(identity.device_id());
                states.push(Committed { device, domain: Some(state) });
                break; // it ends the session
            };
            let state = state.clone();
            let change = self.choose(&state, &identity);
            let (ballot, next) = ballot(&self.operator, &state, &[change]);
            send(wire, session.seal(&ChangeDomain { ballot: Bytes(&ballot) }));
            let device = identity.device_id();
            if matches!(change, Change::Zeroise(_)) {
                states.push(Committed { device: Device::Not(device), domain: None });
                break;
            }
            states.push(Committed { device: Device::Known(device), domain: Some(next) });
        }
        Batch { session, states }
    }

    /// A change that the device in this state carries out.
    fn choose(&mut self, state: &DomainState, own: &IdentityDocument) -> Change<'static> {
        let host = public(&self.key).host_id();
        let others = state.hosts.iter().map(|row| row.key.host_id());
        let others: Vec<HostId> = others.filter(|id| *id != host).collect();
        match self.random.u8(..) {
            0..4 => Change::Zeroise(own.device_id()),
            4..50 if state.members.len() < 8 => Change::AddMember {
                identity: identity_of(&host_key()),
                kind: DeviceKind::Emulated,
                certificate: None,
            },
            50..60 if state.keys.len() < 4 => Change::RotateKey { maker: own.device_id() },
            60..130 if !others.is_empty() => {
                Change::RemoveHost(others[self.random.usize(..others.len())])
            }
            _ if others.len() == 15 => Change::RemoveHost(others[0]),
            roll => {
                let role = if roll % 2 == 0 { Role::CryptoUser } else { Role::Auditor };
                Change::AddHost(HostRow { key: public(&host_key()), role })
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
        let emulator = Emulator::boot(directory, Attachment::CONSOLE);
        self.verify(&mut Wire::new(emulator.connect()), CUTS);
        let Self { acknowledged, lost, .. } = self;
        eprintln!("{acknowledged} changes acknowledged, {lost} not, over {CUTS} power cuts");
        assert!(acknowledged > 100 && lost > 100, "the cuts missed the writing");
    }
}

impl Committed {
    fn state(&self) -> ModuleState {
        match self.domain {
            None => ModuleState::Uninitialised,
            Some(_) => ModuleState::Operational,
        }
    }

    /// Whether a device in this state can look like `found`, whose identity is known.
    fn admits(&self, found: &Self) -> bool {
        let device = match (self.device, found.device) {
            (Device::Known(device), Device::Known(found)) => device == found,
            (Device::Not(device), Device::Known(found)) => device != found,
            (Device::New, _) => true,
            (_, _) => false,
        };
        device && self.domain == found.domain
    }
}

fn send(wire: &mut Wire, (header, record): (Header, Vec<u8>)) {
    wire.send(header, &record);
}
