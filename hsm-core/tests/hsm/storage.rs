//! What the device stores: sealed, versioned, and refused when damaged.

use hsm_core::platform::RecordId;
use hsm_core::testing::MemoryPlatform;
use hsm_protocol::ErrorCode;
use hsm_protocol::command::ModuleState;
use hsm_protocol::command::domain::DomainInfo;
use hsm_protocol::command::{Role, session::SessionInfo};
use hsm_protocol::domain::{self as model, Change, MAX_STATE};

use crate::cipher::{decrypt, encrypt};
use crate::rig::{Device, Host, Operators, Rig, wipe};

const RECORDS: [RecordId; 3] = [RecordId::IDENTITY, RecordId::DOMAIN, RecordId::EPOCH];

#[test]
fn every_damaged_record_is_the_error_state() {
    for sealing_key in [Some([0x42; 32]), None] {
        let mut platform = MemoryPlatform::new();
        platform.sealing_key = sealing_key;
        let mut rig = Rig::founded(platform, 10, Operators::development());
        let good = rig.device.platform().clone();
        assert_eq!(Device::boot(good.clone()).state(), ModuleState::Operational);
        for id in RECORDS {
            let length = good.storage.records[&id].len();
            for index in (0..length).step_by(11).chain([length - 1]) {
                let mut bad = good.clone();
                bad.storage.records.get_mut(&id).unwrap()[index] ^= 1;
                let status = Device::boot(bad).status();
                assert_eq!(status.state, ModuleState::Error, "{id:?} byte {index}");
                assert_eq!(status.error, Some(ErrorCode::STORAGE_FAILED));
            }
            let mut bad = good.clone();
            bad.storage.records.get_mut(&id).unwrap().pop();
            assert_eq!(Device::boot(bad).state(), ModuleState::Error, "{id:?} cut short");
        }
    }
}

#[test]
fn records_cannot_take_each_others_place() {
    let mut rig = Rig::operational();
    let good = rig.device.platform().clone();
    for id in RECORDS {
        for other in RECORDS.into_iter().filter(|other| *other != id) {
            let mut bad = good.clone();
            let record = good.storage.records[&other].clone();
            bad.storage.records.insert(id, record);
            assert_eq!(Device::boot(bad).state(), ModuleState::Error, "{other:?} as {id:?}");
        }
    }
}

#[test]
fn a_missing_record_opens_no_way_in() {
    let mut rig = Rig::operational();
    let good = rig.device.platform().clone();
    for (id, state) in
        [(RecordId::IDENTITY, ModuleState::Error), (RecordId::DOMAIN, ModuleState::Uninitialised)]
    {
        let mut bad = good.clone();
        bad.storage.records.remove(&id);
        assert_eq!(Device::boot(bad).state(), state, "without {id:?}");
    }
}

#[test]
fn another_boards_sealing_key_opens_nothing() {
    let mut rig = Rig::operational();
    for key in [Some([0x43; 32]), None] {
        let mut moved = rig.device.platform().clone();
        moved.sealing_key = key;
        let status = Device::boot(moved).status();
        assert_eq!(
            (status.state, status.error),
            (ModuleState::Error, Some(ErrorCode::STORAGE_FAILED))
        );
    }
}

#[test]
fn sealed_records_show_no_secret() {
    let mut plain = MemoryPlatform::new();
    plain.sealing_key = None;
    let mut plain = Device::boot(plain);
    let mut sealed = Device::boot(MemoryPlatform::new());
    // The same noise makes the same keys, so the plain record shows what to look for.
    let secret = plain.platform().storage.records[&RecordId::IDENTITY][2..34].to_vec();
    let record = &sealed.platform().storage.records[&RecordId::IDENTITY];
    assert!(!record.windows(16).any(|window| window == &secret[..16]));
}

#[test]
fn a_board_without_a_sealing_key_works() {
    let mut platform = MemoryPlatform::new();
    platform.sealing_key = None;
    let mut rig = Rig::founded(platform, 10, Operators::development());
    let token = rig.symmetric();
    let blob = encrypt(&mut rig, &token, &[], b"x");
    rig.reboot();
    assert_eq!(decrypt(&mut rig, &token, &[], &blob).unwrap(), b"x");
}

#[test]
fn a_full_store_refuses_the_change_and_nothing_else() {
    let mut rig = Rig::operational();
    let before = rig.device.platform().storage.records[&RecordId::DOMAIN].clone();
    rig.device.platform().storage.full = true;
    let host = model::Host { key: Host::new(77).public(), role: Role::Auditor };
    let state = rig.state();
    assert_eq!(rig.change(&[Change::AddHost(host)]), Err(ErrorCode::STORAGE_FULL));
    assert_eq!(rig.device.state(), ModuleState::Operational);
    let refused = Host::new(77).try_open(&mut rig.device);
    assert_eq!(refused.err(), Some(ErrorCode::HANDSHAKE_FAILED), "not a host in RAM either");
    rig.device.platform().storage.full = false;
    assert_eq!(rig.device.platform().storage.records[&RecordId::DOMAIN], before);
    assert_eq!(rig.state(), state);
    rig.change(&[Change::AddHost(host)]).unwrap();
}

#[test]
fn a_full_store_leaves_no_domain_behind() {
    let mut device = Device::fresh();
    device.platform().storage.full = true;
    let operators = Operators::development();
    let state = operators.first_state(&device.identity(), &[]);
    let mut encoded = [0; MAX_STATE];
    let mut stranger = Host::new(10).open(&mut device);
    let reply = stranger.call(&mut device, &operators.founding(&state, &mut encoded));
    assert_eq!(reply.error(), ErrorCode::STORAGE_FULL);
    let mut stranger = Host::new(10).open(&mut device);
    let info = stranger.call(&mut device, &DomainInfo).ok::<DomainInfo>();
    assert_eq!(info.domain, None);
    assert_eq!(device.state(), ModuleState::Uninitialised);
}

#[test]
fn broken_storage_is_the_error_state() {
    let mut rig = Rig::operational();
    rig.device.platform().storage.broken = true;
    rig.call(&SessionInfo).ok::<SessionInfo>();
    rig.device.reboot();
    let status = rig.device.status();
    assert_eq!((status.state, status.error), (ModuleState::Error, Some(ErrorCode::STORAGE_FAILED)));
}

#[test]
fn an_erased_board_is_a_fresh_device() {
    let mut rig = Rig::operational();
    wipe(&mut rig.device);
    rig.device.reboot();
    assert_eq!(rig.device.state(), ModuleState::Uninitialised);
}
