//! Power is cut before each change of what a device stores, in each ceremony. It was made or was not, the same
//! messages make it after that, and nothing is lost. That a change is whole, whatever step of the flash a cut
//! falls into, is for the record log's own tests.

use hsm_core::platform::RecordId;
use hsm_core::testing::MemoryPlatform;
use hsm_protocol::command::ModuleState;
use hsm_protocol::command::domain::{
    ChangeDomain, ExportDomain, FoundDomain, JoinDomain, ReceiveKeys,
};
use hsm_protocol::command::recovery::RestoreDomain;
use hsm_protocol::domain::{self as model, Change, DeviceKind, MAX_STATE, Rules};
use hsm_protocol::{Bytes, Command, ErrorCode, Role};

use crate::cipher::{decrypt, encrypt};
use crate::domain::summary;
use crate::recovery::{adding, handovers, holders, make};
use crate::rig::{Device, Host, Operators, Rig};

/// Changes that no ceremony comes to.
const MANY: u32 = 20;

/// The board, with power again, and another course of chance.
fn powered(board: &MemoryPlatform) -> MemoryPlatform {
    let mut board = board.clone();
    (board.storage.broken, board.storage.until_cut) = (false, None);
    board.entropy = MemoryPlatform::with_seed(4711 + u64::from(board.storage.writes)).entropy;
    board
}

/// Runs a ceremony with power cut before the first, second, … change of what the device stores, until it ends
/// before that. `then` looks at each that was cut, and at the one that was not; how many were.
fn every_cut(
    device: &mut Device,
    mut ceremony: impl FnMut(&mut Device),
    mut then: impl FnMut(Device, bool),
) -> u32 {
    let board = device.platform().clone();
    for cut in 0..MANY {
        let mut victim = Device::boot(board.clone());
        victim.platform().storage.until_cut = Some(cut);
        ceremony(&mut victim);
        let is_cut = victim.platform().storage.broken;
        then(Device::boot(powered(victim.platform())), is_cut);
        if !is_cut {
            return cut;
        }
    }
    panic!("the ceremony does not end");
}

/// Sends a command as a host; whether there is an answer, and which, is of no matter.
fn send<C: Command>(host: u64, device: &mut Device, command: &C) {
    let mut session = Host::new(host).open(device);
    let request = session.encode(command);
    let _ = session.exchange(device, &request);
}

/// The device serves: what it wraps and encrypts it opens after it was switched off.
fn assert_serves(rig: &mut Rig) {
    let token = rig.symmetric();
    let blob = encrypt(rig, &token, &[], b"x");
    rig.reboot();
    assert_eq!(decrypt(rig, &token, &[], &blob).unwrap(), b"x");
}

#[test]
fn a_founding_is_made_or_not() {
    let operators = Operators::production(2, 3);
    let mut device = Device::fresh();
    let hosts = [(101, Role::CryptoUser), (102, Role::Auditor)]
        .map(|(seed, role)| model::Host { key: Host::new(seed).public(), role });
    let state = operators.first_state(&device.identity(), &hosts);
    let mut encoded = [0; MAX_STATE];
    let request: FoundDomain<'_> = operators.founding(&state, &mut encoded);
    let found = |device: &mut Device| send(998, device, &request);
    let cuts = every_cut(&mut device, found, |mut device, is_cut| {
        if device.state() == ModuleState::Uninitialised {
            assert!(is_cut, "it was made, and is not there");
            found(&mut device);
        }
        let mut rig = Rig::enter(device, 100, operators.clone());
        assert_eq!(rig.state(), state);
        assert_serves(&mut rig);
    });
    assert!(cuts > 0, "nothing is stored");
}

#[test]
fn a_joining_is_made_or_not() {
    let mut first = Rig::founded(MemoryPlatform::new(), 100, Operators::production(2, 3));
    let token = first.symmetric();
    let blob = encrypt(&mut first, &token, &[], b"shared");
    let mut joiner = Device::boot(MemoryPlatform::with_seed(2));
    let export = first.admit(&joiner.identity());
    let join = |device: &mut Device| send(999, device, &JoinDomain { token: Bytes(&export) });
    let cuts = every_cut(&mut joiner, join, |mut device, is_cut| {
        if device.state() == ModuleState::Uninitialised {
            assert!(is_cut, "it joined, and is nobody");
            join(&mut device);
        }
        let mut second = Rig::enter(device, 100, first.operators.clone());
        assert_eq!(second.state(), first.state());
        assert_eq!(decrypt(&mut second, &token, &[], &blob).unwrap(), b"shared");
        assert_serves(&mut second);
    });
    assert!(cuts > 0, "nothing is stored");
}

/// Each kind of change that a domain knows, one after another.
#[test]
fn every_change_is_made_or_not() {
    let mut rig = Rig::founded(MemoryPlatform::new(), 100, Operators::production(2, 3));
    let own = rig.device.identity().device_id();
    let mut other = Device::boot(MemoryPlatform::with_seed(2));
    let (identity, kind) = (other.identity(), DeviceKind::Emulated);
    let host = model::Host { key: Host::new(501).public(), role: Role::Auditor };
    let domain = rig.state().domain;
    let shares = holders(&rig.operators, &domain, &[0, 1, 2]);
    let rotate = Change::RotateKey { maker: own };
    let strict = Rules { emulated_members: true, ..Rules::uniform(3) };
    for changes in [
        &[Change::AddHost(host)][..],
        &[Change::AddMember { identity, kind, certificate: None }],
        &[rotate],
        &[Change::RemoveMember(identity.device_id()), rotate],
        &[Change::RemoveHost(Host::new(501).id())],
        &[Change::RemoveKey(1), Change::RemoveKey(2)],
        &[Change::SetRecovery { threshold: 3, holders: Bytes(&shares) }],
        &[Change::SetRules(strict)],
    ] {
        let (before, operators) = (rig.state(), rig.operators.clone());
        let token = rig.symmetric();
        let blob = encrypt(&mut rig, &token, &[], b"before");
        let ballot = operators.ballot(&before, changes, &[0, 1, 2]);
        let after = {
            let copy = Device::boot(rig.device.platform().clone());
            let mut copy = Rig::enter(copy, 100, operators.clone());
            copy.submit(&ballot).unwrap();
            copy.state()
        };
        let submit =
            |device: &mut Device| send(101, device, &ChangeDomain { ballot: Bytes(&ballot) });
        let mut made = 0;
        let cuts = every_cut(&mut rig.device, submit, |device, is_cut| {
            let mut rig = Rig::enter(device, 100, operators.clone());
            let now = rig.state();
            if now == after {
                made += 1;
                assert_eq!(rig.submit(&ballot), Err(ErrorCode::STATE_STALE), "{changes:?}");
            } else {
                assert!(is_cut && now == before, "{changes:?}: neither before nor after");
                rig.submit(&ballot).unwrap();
            }
            assert_eq!(rig.state(), after);
            assert_eq!(decrypt(&mut rig, &token, &[], &blob).unwrap(), b"before", "{changes:?}");
            assert_serves(&mut rig);
        });
        assert!(cuts > 0 && made > 0, "{changes:?}: {cuts} cuts, made {made} times");
        rig.reboot();
        rig.submit(&ballot).unwrap();
    }
}

#[test]
fn keys_are_received_or_not() {
    let mut first = Rig::founded(MemoryPlatform::new(), 100, Operators::production(2, 3));
    let mut second = first.second(MemoryPlatform::with_seed(2), 100);
    let (maker, own) = (first.device.identity().device_id(), second.device.identity().device_id());
    let state = first.state();
    let ballot = first.operators.ballot(&state, &[Change::RotateKey { maker }], &[0, 1]);
    first.submit(&ballot).unwrap();
    second.submit(&ballot).unwrap();
    let token = first.symmetric();
    let blob = encrypt(&mut first, &token, &[], b"new");
    let export = first.call(&ExportDomain { member: own }).ok::<ExportDomain>().token.to_vec();
    let receive = |device: &mut Device| send(101, device, &ReceiveKeys { token: Bytes(&export) });
    assert!(!summary(&mut second).has_keys);
    let cuts = every_cut(&mut second.device, receive, |mut device, is_cut| {
        let copy = Device::boot(device.platform().clone());
        let mut rig = Rig::enter(copy, 100, first.operators.clone());
        if !summary(&mut rig).has_keys {
            assert!(is_cut, "they were received, and are not there");
            receive(&mut device);
            device.reboot();
            rig = Rig::enter(device, 100, first.operators.clone());
        }
        assert_eq!(decrypt(&mut rig, &token, &[], &blob).unwrap(), b"new");
        assert_serves(&mut rig);
    });
    assert!(cuts > 0, "nothing is stored");
}

/// By both ways: operators erase it, and operators put it out.
#[test]
fn a_device_is_erased_or_not() {
    let mut first = Rig::founded(MemoryPlatform::new(), 100, Operators::production(2, 3));
    let mut second = first.second(MemoryPlatform::with_seed(2), 100);
    let (ours, gone) = (first.device.identity().device_id(), second.device.identity().device_id());
    let state = first.state();
    for changes in [
        &[Change::Zeroise(gone)][..],
        &[Change::RemoveMember(gone), Change::RotateKey { maker: ours }],
    ] {
        let ballot = first.operators.ballot(&state, changes, &[0, 1]);
        let submit =
            |device: &mut Device| send(101, device, &ChangeDomain { ballot: Bytes(&ballot) });
        let cuts = every_cut(&mut second.device, submit, |mut device, is_cut| {
            if device.state() == ModuleState::Operational {
                assert!(is_cut, "{changes:?}: it was erased, and serves");
                submit(&mut device);
                assert_eq!(device.state(), ModuleState::Zeroised);
                device.reboot();
            }
            assert_eq!(device.state(), ModuleState::Uninitialised);
            assert_ne!(device.identity().device_id(), gone, "another identity");
            assert!(!device.platform().storage.records.contains_key(&RecordId::DOMAIN));
        });
        assert!(cuts > 0, "nothing is erased");
    }
}

#[test]
fn a_restore_is_made_or_not() {
    let mut lost = crate::recovery::rig();
    let token = lost.symmetric();
    let blob = encrypt(&mut lost, &token, &[], b"kept");
    let (set, state) = (make(&mut lost), lost.state());
    let mut fresh = Device::boot(MemoryPlatform::with_seed(50));
    let identity = fresh.identity();
    let shares = handovers(&lost, &set, &[0, 2], &identity);
    let ballot = adding(&lost, &state, &identity, &[0, 1]);
    let (backup, shares, ballot) = (Bytes(&set.backup), Bytes(&shares), Bytes(&ballot));
    let restore =
        |device: &mut Device| send(996, device, &RestoreDomain { backup, shares, ballot });
    let cuts = every_cut(&mut fresh, restore, |mut device, is_cut| {
        if device.state() == ModuleState::Uninitialised {
            assert!(is_cut, "it was restored, and is not there");
            restore(&mut device);
        }
        let mut back = Rig::enter(device, 100, lost.operators.clone());
        assert_eq!(back.state().previous, state.hash().unwrap());
        assert_eq!(decrypt(&mut back, &token, &[], &blob).unwrap(), b"kept");
        assert_serves(&mut back);
    });
    assert!(cuts > 0, "nothing is stored");
}
