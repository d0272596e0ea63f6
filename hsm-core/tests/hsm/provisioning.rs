//! First contact.

use hsm_core::testing::MemoryPlatform;
use hsm_protocol::command::domain::ExportDomain;
use hsm_protocol::command::session::SessionInfo;
use hsm_protocol::command::{ModuleState, Role};
use hsm_protocol::{DeviceId, ErrorCode};

use crate::rig::{Device, Host, Operators, Rig};

#[test]
fn a_fresh_device_knows_nobody_and_after_that_only_the_hosts_of_its_domain() {
    let mut device = Device::fresh();
    let mut stranger = Host::new(2).open(&mut device);
    let role = stranger.call(&mut device, &SessionInfo).ok::<SessionInfo>().role;
    assert_eq!(role, Role::Bootstrap);
    let request = ExportDomain { member: DeviceId([0; 16]) };
    assert_eq!(stranger.call(&mut device, &request).error(), ErrorCode::ROLE_DENIED);
    let platform = device.platform().clone();
    let mut rig = Rig::founded(platform, 100, Operators::development());
    let refused = Host::new(2).try_open(&mut rig.device);
    assert_eq!(refused.err(), Some(ErrorCode::HANDSHAKE_FAILED));
    let role = rig.call(&SessionInfo).ok::<SessionInfo>().role;
    assert_eq!(role, Role::CryptoUser);
}

#[test]
fn identity_and_domain_outlive_a_reboot() {
    let mut rig = Rig::operational();
    let (identity, before) = (rig.device.identity(), rig.state());
    let epoch = rig.device.status().epoch;
    rig.reboot();
    assert_eq!(rig.device.identity(), identity);
    assert_eq!(rig.state(), before);
    assert_eq!(rig.device.status().epoch, epoch + 1);
    assert_eq!(rig.device.state(), ModuleState::Operational);
}

#[test]
fn two_devices_have_different_identities() {
    let mut one = Device::boot(MemoryPlatform::with_seed(1));
    let mut two = Device::boot(MemoryPlatform::with_seed(2));
    let (one, two) = (one.identity(), two.identity());
    assert_ne!(one.signing, two.signing);
    assert_ne!(one.link, two.link);
    assert_ne!(one.join, two.join);
    assert!(one.signing != one.link && one.link != one.join && one.join != one.signing);
}
