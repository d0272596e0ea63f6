//! Every command of the device, through the driver, on every line.

use host_driver::audit::last_checkpoint;
use host_driver::device::Device;
use host_driver::error::CallError;
use host_driver::host_key::HostKey;
use hsm_protocol::audit::LogPosition;
use hsm_protocol::command::audit::{AuditEntries, AuditHead, MakeCheckpoint};
use hsm_protocol::command::domain::{
    CreateDomain, DomainInfo, EnrolHost, ExportDomain, Initialise, JoinDomain, ListHosts,
    RemoveHost,
};
use hsm_protocol::command::key::{ExportPublicKey, GenerateKey, KeyRef};
use hsm_protocol::command::random::Random;
use hsm_protocol::command::session::{CloseSession, SessionInfo};
use hsm_protocol::command::system::{SelfTest, Zeroise};
use hsm_protocol::key_spec::{KEY_SPECS, KeySpec, KeyUsage};
use hsm_protocol::{Bytes, Command, ErrorCode, KeyId, ModuleState, Role};
use hsm_tests::calls::*;
use hsm_tests::on_every_line;
use hsm_tests::testbed::{TAG, Testbed};

on_every_line! {
    a_fresh_device_accepts_only_its_first_provisioner,
    each_role_may_call_its_own_commands,
    hosts_come_and_go,
    a_second_device_joins,
    self_test_on_demand,
    zeroisation_leaves_a_fresh_device,
    power_cuts_keep_hosts_domain_and_tokens,
    power_cuts_keep_checkpoints,
    sessions_are_independent,
}

fn a_fresh_device_accepts_only_its_first_provisioner(testbed: Testbed) {
    let (first, second) = (HostKey::generate(), HostKey::generate());
    let device = testbed.device();
    let status = device.status().expect("answered");
    assert_eq!((status.state, status.error), (ModuleState::Uninitialised, None));
    assert_eq!(device.info().board, testbed.board());
    assert_eq!(device.info().specs.len(), KEY_SPECS.len());

    let session = device.authenticate(&second).expect("anybody may shake hands");
    assert_eq!(session.role, Role::Bootstrap);
    let id = KeyId::single_region([1; 16]);
    let key = KeyRef { id, token: Bytes(&[]) };
    let generate =
        GenerateKey { id, spec: KeySpec::HMAC_256, usage: KeyUsage::GENERATE_VERIFY_MAC };
    for code in [
        refusal(&device, &CreateDomain),
        refusal(&device, &DomainInfo),
        refusal(&device, &ListHosts),
        refusal(&device, &Zeroise),
        refusal(&device, &SelfTest),
        refusal(&device, &generate),
        refusal(&device, &ExportPublicKey { key }),
        refusal(&device, &Random { length: 8 }),
        refusal(&device, &AuditHead { nonce: [0; 16] }),
    ] {
        assert!([ErrorCode::STATE_DENIED, ErrorCode::ROLE_DENIED].contains(&code), "{code:?}");
        // Such a refusal may end the session, for good reason; the next call needs one.
        device.authenticate(&first).expect("anybody may shake hands");
    }

    device.call_blocking(&Initialise, TAG).expect("the first host becomes provisioner");
    assert_eq!(device.authenticate(&first).expect("enrolled").role, Role::Provisioner);
    assert_eq!(device.status().expect("answered").state, ModuleState::Initialised);
    match device.authenticate(&second) {
        Err(CallError::Handshake(ErrorCode::HANDSHAKE_FAILED)) => {}
        other => panic!("a stranger got {other:?}"),
    }
}

fn each_role_may_call_its_own_commands(testbed: Testbed) {
    let hosts = testbed.provision();
    let id = KeyId::single_region([1; 16]);
    let generate =
        GenerateKey { id, spec: KeySpec::HMAC_256, usage: KeyUsage::GENERATE_VERIFY_MAC };
    let joiner = *testbed.device().identity();
    for (host, role) in [
        (&hosts.provisioner, Role::Provisioner),
        (&hosts.user, Role::CryptoUser),
        (&hosts.auditor, Role::Auditor),
    ] {
        let device = testbed.device();
        let session = device.authenticate(host).expect("enrolled");
        assert_eq!((session.role, session.host), (role, host.id()));
        let provisions = role == Role::Provisioner;
        let uses = role == Role::CryptoUser;
        for (may, outcome) in [
            (true, outcome(&device, &SessionInfo)),
            (true, outcome(&device, &ListHosts)),
            (true, outcome(&device, &DomainInfo)),
            (true, outcome(&device, &SelfTest)),
            (true, outcome(&device, &AuditHead { nonce: [7; 16] })),
            (!provisions, outcome(&device, &AuditEntries { from: 0 })),
            (uses, outcome(&device, &generate)),
            (uses, outcome(&device, &Random { length: 1 })),
            (
                provisions,
                outcome(&device, &EnrolHost { key: hosts.user.public(), role: Role::CryptoUser }),
            ),
            (provisions, outcome(&device, &ExportDomain { joiner })),
        ] {
            match (may, outcome) {
                (true, code) => assert_ne!(code, Some(ErrorCode::ROLE_DENIED), "{role:?}"),
                (false, code) => assert_eq!(code, Some(ErrorCode::ROLE_DENIED), "{role:?}"),
            }
        }
        assert_eq!(refusal_after(&device, host, &Initialise), ErrorCode::ROLE_DENIED);
    }
}

/// As [`refusal`], in a new session.
fn refusal_after<C: Command>(device: &Device, host: &HostKey, command: &C) -> ErrorCode {
    device.authenticate(host).expect("enrolled");
    refusal(device, command)
}

fn hosts_come_and_go(testbed: Testbed) {
    let hosts = testbed.initialise();
    let device = testbed.device_as(&hosts.provisioner);
    let rows = device.call_blocking(&ListHosts, TAG).expect("listed");
    assert_eq!(rows.response().expect("decodes").rows.len() / 17, 3);

    let again = EnrolHost { key: hosts.user.public(), role: Role::Auditor };
    device.call_blocking(&again, TAG).expect("enrolling again changes the role");
    let bootstrap = EnrolHost { key: hosts.user.public(), role: Role::Bootstrap };
    assert_eq!(refusal(&device, &bootstrap), ErrorCode::INVALID_ARGUMENT);
    let last = RemoveHost { host: hosts.provisioner.id() };
    assert_eq!(refusal(&device, &last), ErrorCode::HOST_UNKNOWN);
    let unknown = RemoveHost { host: HostKey::generate().id() };
    assert_eq!(refusal(&device, &unknown), ErrorCode::HOST_UNKNOWN);

    device.call_blocking(&RemoveHost { host: hosts.user.id() }, TAG).expect("removed");
    assert!(matches!(
        device.authenticate(&hosts.user),
        Err(CallError::Handshake(ErrorCode::HANDSHAKE_FAILED))
    ));
    device.authenticate(&hosts.provisioner).expect("still enrolled");
    for _ in 2..16 {
        let enrol = EnrolHost { key: HostKey::generate().public(), role: Role::Auditor };
        device.call_blocking(&enrol, TAG).expect("there is room");
    }
    let enrol = EnrolHost { key: HostKey::generate().public(), role: Role::Auditor };
    assert_eq!(refusal(&device, &enrol), ErrorCode::HOSTS_FULL);
}

fn a_second_device_joins(testbed: Testbed) {
    let hosts = testbed.provision();
    let other = testbed.another();
    let joiner = *other.device().identity();

    let first = testbed.device_as(&hosts.provisioner);
    let exporter = *first.identity();
    let reply = first.call_blocking(&ExportDomain { joiner }, TAG).expect("exported");
    let token = reply.response().expect("decodes").token.to_vec();
    let mut forged = joiner;
    forged.join = exporter.join;
    let code = refusal(&first, &ExportDomain { joiner: forged });
    assert_eq!(code, ErrorCode::IDENTITY_INVALID);
    drop(first);

    let provisioner = HostKey::generate();
    let second = other.device_as(&provisioner);
    second.call_blocking(&Initialise, TAG).expect("fresh");
    second.authenticate(&provisioner).expect("enrolled");
    for at in [0, 20, 60, token.len() - 1] {
        let mut damaged = token.clone();
        damaged[at] ^= 1;
        let code = refusal(&second, &JoinDomain { exporter, token: Bytes(&damaged) });
        let expected = [ErrorCode::DOMAIN_TOKEN_INVALID, ErrorCode::TOKEN_MALFORMED];
        assert!(expected.contains(&code), "byte {at}: {code:?}");
    }
    let wrong = JoinDomain { exporter: joiner, token: Bytes(&token) };
    assert_eq!(refusal(&second, &wrong), ErrorCode::DOMAIN_TOKEN_INVALID);
    second.call_blocking(&JoinDomain { exporter, token: Bytes(&token) }, TAG).expect("joined");
    let user = EnrolHost { key: hosts.user.public(), role: Role::CryptoUser };
    second.call_blocking(&user, TAG).expect("enrolled");
    drop(second);

    // What one device wraps and seals the other unwraps and opens.
    let first = testbed.device_as(&hosts.user);
    let key = symmetric(&first, 1);
    let blob = encrypt(&first, &key, &[], b"shared");
    let second = other.device_as(&hosts.user);
    assert_eq!(decrypt(&second, &key, &[], &blob), b"shared");
    let key = symmetric(&second, 2);
    let blob = encrypt(&second, &key, &[], b"back");
    assert_eq!(decrypt(&first, &key, &[], &blob), b"back");

    // A device of another domain does not.
    let stranger = testbed.another();
    let hosts = stranger.provision();
    let third = stranger.device_as(&hosts.user);
    assert_eq!(decrypt_refused(&third, &key, &[], &blob), ErrorCode::TOKEN_DOMAIN);
}

fn self_test_on_demand(testbed: Testbed) {
    let hosts = testbed.initialise();
    let device = testbed.device_as(&hosts.auditor);
    let reply = device.call_blocking(&SelfTest, TAG).expect("passed");
    let report = reply.response().expect("decodes");
    assert!(report.tests >= 5, "{report:?}");
    assert_ne!(device.status().expect("answered").state, ModuleState::Error);
}

fn zeroisation_leaves_a_fresh_device(testbed: Testbed) {
    let hosts = testbed.provision();
    let device = testbed.device_as(&hosts.user);
    let before = device.id();
    let key = symmetric(&device, 1);
    let blob = encrypt(&device, &key, &[], b"lost");
    drop(device);
    let device = testbed.device_as(&hosts.provisioner);
    device.call_blocking(&Zeroise, TAG).expect("zeroised");
    assert_eq!(device.status().expect("answered").state, ModuleState::Zeroised);
    assert!(device.authenticate(&hosts.provisioner).is_err());
    device.reset().expect("a zeroised device may be reset");
    drop(device);
    testbed.await_state(ModuleState::Uninitialised);

    let device = testbed.device();
    assert_eq!(device.status().expect("answered").state, ModuleState::Uninitialised);
    assert_ne!(device.id(), before, "the identity was a secret too");
    drop(device);
    let hosts = testbed.provision();
    let device = testbed.device_as(&hosts.user);
    assert_eq!(decrypt_refused(&device, &key, &[], &blob), ErrorCode::TOKEN_DOMAIN);
}

fn power_cuts_keep_hosts_domain_and_tokens(testbed: Testbed) {
    let hosts = testbed.provision();
    let device = testbed.device_as(&hosts.user);
    let before = device.status().expect("answered");
    let key = symmetric(&device, 1);
    let blob = encrypt(&device, &key, &[], b"kept");
    drop(device);
    let testbed = testbed.power_cycle();
    let device = testbed.device_as(&hosts.user);
    let after = device.status().expect("answered");
    assert_eq!(after.device, before.device);
    assert_eq!(after.state, ModuleState::Operational);
    assert_eq!(after.epoch, before.epoch + 1);
    assert_eq!(decrypt(&device, &key, &[], &blob), b"kept");
}

/// A device says after a power cut what it has vouched for last, and goes on from there.
fn power_cuts_keep_checkpoints(testbed: Testbed) {
    let hosts = testbed.provision();
    let last = |device: &Device| last_checkpoint(device, None).expect("its signature is right");
    let make = |device: &Device, sequence| {
        device.call_blocking(&Random { length: 1 }, TAG).expect("audited");
        let log = LogPosition { sequence, hash: [7; 32] };
        let reply = device.call_blocking(&MakeCheckpoint { log, closing: false }, TAG);
        let made = reply.expect("made").response().expect("decodes");
        made.verify(&device.identity().signing).expect("signed");
        made.checkpoint
    };
    let device = testbed.device_as(&hosts.user);
    assert_eq!(last(&device), None);
    let first = make(&device, 10);
    drop(device);
    let testbed = testbed.power_cycle();
    let device = testbed.device_as(&hosts.user);
    assert_eq!(last(&device).expect("kept").checkpoint, first);
    let second = make(&device, 20);
    assert_eq!((first.number, second.number), (1, 2));
    assert_eq!((second.previous, second.epoch), (first.hash(), first.epoch + 1));
    drop(device);
    // Any host may ask what another one's log must have.
    let device = testbed.device_as(&hosts.auditor);
    assert_eq!(last(&device), None);
    let seen = last_checkpoint(&device, Some(hosts.user.id())).expect("answered");
    assert_eq!(seen.expect("made").checkpoint, second);
}

fn sessions_are_independent(testbed: Testbed) {
    let hosts = testbed.provision();
    let device = testbed.device_as(&hosts.user);
    let reply = device.call_blocking(&SessionInfo, TAG).expect("answered");
    let session = reply.response().expect("decodes");
    assert_eq!((session.device, session.state), (device.id(), ModuleState::Operational));
    device.call_blocking(&CloseSession, TAG).expect("closed");
    assert!(device.call_blocking(&SessionInfo, TAG).is_err(), "the session is over");
    assert_eq!(device.authenticate(&hosts.auditor).expect("enrolled").role, Role::Auditor);
    assert_eq!(refusal(&device, &Random { length: 1 }), ErrorCode::ROLE_DENIED);
    assert_eq!(device.authenticate(&hosts.user).expect("enrolled").role, Role::CryptoUser);
    device.call_blocking(&Random { length: 1 }, TAG).expect("a crypto user may");
}
