//! First contact, hosts and their roles.

use hsm_core::testing::MemoryPlatform;
use hsm_protocol::command::domain::{
    EnrolHost, EnrolledHost, Initialise, ListHosts, MAX_HOSTS, RemoveHost,
};
use hsm_protocol::command::session::SessionInfo;
use hsm_protocol::command::{ModuleState, Role};
use hsm_protocol::identity::PublicKey;
use hsm_protocol::{ErrorCode, HostId};

use crate::rig::{Device, Host, Rig, initialise, rows};

fn hosts(rig: &mut Rig) -> Vec<EnrolledHost> {
    let reply = rig.admin.call(&mut rig.device, &ListHosts);
    rows(reply.ok::<ListHosts>().rows.0)
}

#[test]
fn the_first_host_becomes_provisioner_and_strangers_lose_their_sessions() {
    let mut device = Device::fresh();
    let (mut first, mut second) = (Host::new(1), Host::new(2));
    let mut stranger = second.open(&mut device);
    let role = stranger.call(&mut device, &SessionInfo).ok::<SessionInfo>().role;
    assert_eq!(role, Role::Bootstrap);
    initialise(&mut device, &mut first);
    assert_eq!(device.state(), ModuleState::Initialised);

    let late = stranger.try_call(&mut device, &Initialise);
    assert_eq!(late.err(), Some(ErrorCode::NO_SESSION));
    assert_eq!(second.try_open(&mut device).err(), Some(ErrorCode::HANDSHAKE_FAILED));
    let mut session = first.open(&mut device);
    assert_eq!(session.call(&mut device, &Initialise).error(), ErrorCode::ROLE_DENIED);
    let role = session.call(&mut device, &SessionInfo).ok::<SessionInfo>().role;
    assert_eq!(role, Role::Provisioner);
}

#[test]
fn identity_and_hosts_outlive_a_reboot() {
    let mut rig = Rig::operational();
    let (identity, before) = (rig.device.identity(), hosts(&mut rig));
    let epoch = rig.device.status().epoch;
    rig.reboot();
    assert_eq!(rig.device.identity(), identity);
    assert_eq!(hosts(&mut rig), before);
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

#[test]
fn enrolling_again_changes_the_role_and_ends_the_sessions() {
    let mut rig = Rig::operational();
    let key = rig.user_host.public();
    let same = EnrolHost { key, role: Role::CryptoUser };
    rig.admin.call(&mut rig.device, &same).ok::<EnrolHost>();
    rig.call(&SessionInfo).ok::<SessionInfo>();
    let other = EnrolHost { key, role: Role::Auditor };
    rig.admin.call(&mut rig.device, &other).ok::<EnrolHost>();
    let ended = rig.user.try_call(&mut rig.device, &SessionInfo);
    assert_eq!(ended.err(), Some(ErrorCode::NO_SESSION));
    rig.user = rig.user_host.open(&mut rig.device);
    let role = rig.call(&SessionInfo).ok::<SessionInfo>().role;
    assert_eq!(role, Role::Auditor);
    assert_eq!(hosts(&mut rig).len(), 3);
}

#[test]
fn the_last_provisioner_stays() {
    let mut rig = Rig::operational();
    let (host, key) = (rig.provisioner.id(), rig.provisioner.public());
    let refused = rig.admin.call(&mut rig.device, &RemoveHost { host });
    assert_eq!(refused.error(), ErrorCode::HOST_UNKNOWN);
    let demoted = EnrolHost { key, role: Role::Auditor };
    assert_eq!(rig.admin.call(&mut rig.device, &demoted).error(), ErrorCode::HOST_UNKNOWN);
    let unknown = RemoveHost { host: HostId([0; 16]) };
    assert_eq!(rig.admin.call(&mut rig.device, &unknown).error(), ErrorCode::HOST_UNKNOWN);
    rig.admin.call(&mut rig.device, &SessionInfo).ok::<SessionInfo>();
}

#[test]
fn bad_keys_roles_and_a_full_table_are_refused() {
    let mut rig = Rig::operational();
    let off_curve = PublicKey { tag: 2, x: [0xff; 32] };
    let request = EnrolHost { key: off_curve, role: Role::Auditor };
    assert_eq!(rig.admin.call(&mut rig.device, &request).error(), ErrorCode::IDENTITY_INVALID);
    let key = Host::new(50).public();
    let request = EnrolHost { key, role: Role::Bootstrap };
    assert_eq!(rig.admin.call(&mut rig.device, &request).error(), ErrorCode::INVALID_ARGUMENT);
    for seed in 0..MAX_HOSTS as u64 {
        let request = EnrolHost { key: Host::new(500 + seed).public(), role: Role::Auditor };
        let reply = rig.admin.call(&mut rig.device, &request);
        match seed < 13 {
            true => drop(reply.ok::<EnrolHost>()),
            false => assert_eq!(reply.error(), ErrorCode::HOSTS_FULL),
        }
    }
    assert_eq!(hosts(&mut rig).len(), MAX_HOSTS);
}
