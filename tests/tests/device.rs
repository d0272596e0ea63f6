//! Every command of the device, through the driver, on every line.

use host_driver::OperatorKey;
use host_driver::audit::last_checkpoint;
use host_driver::ceremony;
use host_driver::device::Device;
use host_driver::error::CallError;
use host_driver::host_key::HostKey;
use hsm_protocol::audit::LogPosition;
use hsm_protocol::command::audit::{AuditEntries, AuditHead, MakeCheckpoint};
use hsm_protocol::command::domain::{
    ChangeDomain, DescribeDomain, DomainInfo, ExportDomain, FoundDomain, JoinDomain, ReceiveKeys,
};
use hsm_protocol::command::key::{ExportPublicKey, GenerateKey, KeyRef};
use hsm_protocol::command::random::Random;
use hsm_protocol::command::session::{CloseSession, SessionInfo};
use hsm_protocol::command::system::SelfTest;
use hsm_protocol::domain::{Change, DeviceKind, DomainState, Host, MAX_STATE};
use hsm_protocol::key_spec::{KEY_SPECS, KeySpec, KeyUsage};
use hsm_protocol::{Bytes, Command, ErrorCode, KeyId, ModuleState, Role};
use hsm_tests::ballots::{ballot, first_state};
use hsm_tests::calls::*;
use hsm_tests::on_every_line;
use hsm_tests::testbed::{TAG, Testbed};

on_every_line! {
    a_fresh_device_takes_the_first_domain_that_it_is_given,
    each_role_may_call_its_own_commands,
    hosts_come_and_go,
    no_ballot_but_the_operators_own_counts,
    a_second_device_joins,
    self_test_on_demand,
    zeroisation_leaves_a_fresh_device,
    power_cuts_keep_hosts_domain_and_tokens,
    power_cuts_keep_checkpoints,
    sessions_are_independent,
}

/// A first state of the device, encoded, with its one signature.
fn founding(device: &Device, operator: &OperatorKey, user: &HostKey) -> (DomainState, Vec<u8>) {
    let hosts = [(user.public(), Role::CryptoUser)];
    let (state, _) = first_state(operator, device.identity(), &hosts);
    let mut encoded = [0; MAX_STATE];
    let encoded = state.encode(&mut encoded).expect("it is short").to_vec();
    (state, encoded)
}

fn a_fresh_device_takes_the_first_domain_that_it_is_given(testbed: Testbed) {
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
        refusal(&device, &ChangeDomain { ballot: Bytes(&[]) }),
        refusal(&device, &ExportDomain { member: device.id() }),
        refusal(&device, &DescribeDomain),
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

    // Founded by the operators of its own first state, and nobody else.
    let operator = OperatorKey::generate();
    let (state, encoded) = founding(&device, &operator, &first);
    let found = |votes| FoundDomain { state: Bytes(&encoded), votes, certificate: None };
    let (_, of_others) = first_state(&OperatorKey::generate(), device.identity(), &[]);
    assert_eq!(refusal(&device, &found(Default::default())), ErrorCode::QUORUM_MISSING);
    device.authenticate(&first).expect("anybody may shake hands");
    assert_eq!(refusal(&device, &found(of_others)), ErrorCode::SIGNATURE_INVALID);
    device.authenticate(&first).expect("anybody may shake hands");
    let hosts = [(first.public(), Role::CryptoUser)];
    let (_, votes) = first_state(&operator, device.identity(), &hosts);
    let reply = device.call_blocking(&found(votes.clone()), TAG).expect("founded");
    assert_eq!(reply.response().expect("decodes").domain, state.domain);
    assert_eq!(device.authenticate(&first).expect("a host").role, Role::CryptoUser);
    assert_eq!(device.status().expect("answered").state, ModuleState::Operational);
    assert_eq!(refusal(&device, &found(votes)), ErrorCode::ROLE_DENIED);
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
    let member = testbed.device().id();
    for (host, role) in [(&hosts.user, Role::CryptoUser), (&hosts.auditor, Role::Auditor)] {
        let device = testbed.device();
        let session = device.authenticate(host).expect("enrolled");
        assert_eq!((session.role, session.host), (role, host.id()));
        let uses = role == Role::CryptoUser;
        for (may, outcome) in [
            (true, outcome(&device, &SessionInfo)),
            (true, outcome(&device, &DescribeDomain)),
            (true, outcome(&device, &DomainInfo)),
            (true, outcome(&device, &SelfTest)),
            (true, outcome(&device, &AuditHead { nonce: [7; 16] })),
            (true, outcome(&device, &AuditEntries { from: 0 })),
            (uses, outcome(&device, &generate)),
            (uses, outcome(&device, &Random { length: 1 })),
            // Whoever hands it over: what counts is who has signed it, or who can read it.
            (true, outcome(&device, &ChangeDomain { ballot: Bytes(&[]) })),
            (true, outcome(&device, &ExportDomain { member })),
            (true, outcome(&device, &ReceiveKeys { token: Bytes(&[]) })),
        ] {
            match (may, outcome) {
                (true, code) => assert_ne!(code, Some(ErrorCode::ROLE_DENIED), "{role:?}"),
                (false, code) => assert_eq!(code, Some(ErrorCode::ROLE_DENIED), "{role:?}"),
            }
        }
        let join = JoinDomain { token: Bytes(&[]) };
        assert_eq!(refusal_after(&device, host, &join), ErrorCode::ROLE_DENIED);
    }
}

/// As [`refusal`], in a new session.
fn refusal_after<C: Command>(device: &Device, host: &HostKey, command: &C) -> ErrorCode {
    device.authenticate(host).expect("enrolled");
    refusal(device, command)
}

fn hosts_come_and_go(testbed: Testbed) {
    let hosts = testbed.provision();
    let device = testbed.device_as(&hosts.auditor);
    let user = Host { key: hosts.user.public(), role: Role::Auditor };
    let state = hosts.change(&device, &[Change::AddHost(user)]);
    assert_eq!(state.role(hosts.user.id()), Some(Role::Auditor), "again changes the role");
    let refused = |change| ceremony::propose(&state, &[change]).expect_err("refused");
    let bootstrap = Host { role: Role::Bootstrap, ..user };
    assert_eq!(refused(Change::AddHost(bootstrap)), ErrorCode::CHANGE_INVALID);
    let unknown = Change::RemoveHost(HostKey::generate().id());
    assert_eq!(refused(unknown), ErrorCode::CHANGE_INVALID);

    hosts.change(&device, &[Change::RemoveHost(hosts.user.id())]);
    drop(device);
    match testbed.device().authenticate(&hosts.user) {
        Err(CallError::Handshake(ErrorCode::HANDSHAKE_FAILED)) => {}
        other => panic!("a removed host got {other:?}"),
    }
    let device = testbed.device_as(&hosts.auditor);
    let add = |_| Change::AddHost(Host { key: HostKey::generate().public(), role: Role::Auditor });
    let more: Vec<_> = (1..16).map(add).collect();
    let state = hosts.change(&device, &more);
    assert_eq!(state.hosts.len(), 16);
    assert_eq!(ceremony::propose(&state, &[add(16)]).expect_err("full"), ErrorCode::HOSTS_FULL);
}

/// The attacks of somebody who has the device at hand, and a host's key, but not the operator's.
fn no_ballot_but_the_operators_own_counts(testbed: Testbed) {
    let hosts = testbed.provision();
    let device = testbed.device_as(&hosts.user);
    let state = device.domain_state().expect("a host may ask");
    let own = OperatorKey::generate();
    let attacker = testbed.another();
    let (identity, kind) = (*attacker.device().identity(), DeviceKind::Hardware);
    let add = Change::AddMember { identity, kind, certificate: None };
    let submit = |ballot: &[u8]| refusal(&device, &ChangeDomain { ballot: Bytes(ballot) });

    // A self-made member, approved by nobody, and by somebody of its own.
    assert_eq!(submit(&ballot(&own, &state, &[add]).0), ErrorCode::SIGNATURE_INVALID);
    let proposed = ceremony::propose(&state, &[add]).expect("it can be made");
    assert_eq!(submit(&proposed.ballot(&[]).expect("short")), ErrorCode::QUORUM_MISSING);
    let member = attacker.device().id();
    assert_eq!(refusal(&device, &ExportDomain { member }), ErrorCode::CHANGE_INVALID);

    // An operator's signature, for the same change of another domain, and of another version.
    let others = attacker.provision();
    let elsewhere = attacker.device_as(&others.user);
    let other = elsewhere.domain_state().expect("a host may ask");
    drop(elsewhere);
    let add = Change::AddHost(Host { key: HostKey::generate().public(), role: Role::Auditor });
    assert_eq!(submit(&ballot(&hosts.operator, &other, &[add]).0), ErrorCode::STATE_STALE);
    let good = ballot(&hosts.operator, &state, &[add]).0;
    let vote = hosts.operator.sign(&proposed.message).expect("signed");
    let swapped = ceremony::propose(&state, &[add]).expect("it can be made").ballot(&[vote]);
    assert_eq!(submit(&swapped.expect("short")), ErrorCode::SIGNATURE_INVALID);
    device.call_blocking(&ChangeDomain { ballot: Bytes(&good) }, TAG).expect("the operator's own");
    assert_eq!(submit(&good), ErrorCode::STATE_STALE, "replayed");
    let stale = ballot(&hosts.operator, &state, &[Change::RemoveHost(hosts.auditor.id())]).0;
    assert_eq!(submit(&stale), ErrorCode::STATE_STALE, "two ceremonies at once");

    // Two signatures of one operator are one.
    let now = device.domain_state().expect("a host may ask");
    let proposed = ceremony::propose(&now, &[add]);
    let proposed = proposed.expect("it can be made");
    let vote = hosts.operator.sign(&proposed.message).expect("signed");
    let twice = proposed.ballot(&[vote, vote]).expect("short");
    assert_eq!(submit(&twice), ErrorCode::SIGNATURE_INVALID);
    assert_eq!(device.domain_state().expect("unchanged"), now);
}

fn a_second_device_joins(testbed: Testbed) {
    let hosts = testbed.provision();
    let other = testbed.another();
    let joiner = *other.device().identity();

    let first = testbed.device_as(&hosts.user);
    let add =
        |identity| Change::AddMember { identity, kind: DeviceKind::Emulated, certificate: None };
    let mut forged = joiner;
    forged.join = first.identity().join;
    let state = first.domain_state().expect("a host may ask");
    let refused = ceremony::propose(&state, &[add(forged)]).expect_err("not signed by the joiner");
    assert_eq!(refused, ErrorCode::IDENTITY_INVALID);
    hosts.change(&first, &[add(joiner)]);
    let token = first.export_domain(joiner.device_id()).expect("exported");
    let own = first.export_domain(first.id()).expect("a member may have it");
    drop(first);

    let second = other.device_as(&HostKey::generate());
    for at in [0, 20, 60, token.len() - 1] {
        let mut damaged = token.clone();
        damaged[at] ^= 1;
        let code = refusal(&second, &JoinDomain { token: Bytes(&damaged) });
        let expected = [ErrorCode::DOMAIN_TOKEN_INVALID, ErrorCode::TOKEN_MALFORMED];
        assert!(expected.contains(&code), "byte {at}: {code:?}");
    }
    let wrong = JoinDomain { token: Bytes(&own) };
    assert_eq!(refusal(&second, &wrong), ErrorCode::DOMAIN_TOKEN_INVALID);
    second.call_blocking(&JoinDomain { token: Bytes(&token) }, TAG).expect("joined");
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
    let hosts = testbed.provision();
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
    hosts.change(&device, &[Change::Zeroise(before)]);
    assert_eq!(device.status().expect("answered").state, ModuleState::Zeroised);
    assert!(device.authenticate(&hosts.user).is_err());
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
