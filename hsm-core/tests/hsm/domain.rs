//! Domains: founded, joined, and changed by a quorum.

use hsm_core::testing::MemoryPlatform;
use hsm_protocol::command::ModuleState;
use hsm_protocol::command::domain::{
    ChangeDomain, DomainInfo, DomainSummary, ExportDomain, FoundDomain, JoinDomain, ReceiveKeys,
};
use hsm_protocol::domain::{
    self as model, Change, DeviceKind, DomainState, Kind, MAX_MEMBERS, MAX_STATE, Rules,
};
use hsm_protocol::{Bytes, DeviceId, DomainId, ErrorCode, Role};

use crate::cipher::{decrypt, encrypt};
use crate::rig::{Device, Host, Operators, Reply, Rig};

fn platform(seed: u64) -> MemoryPlatform {
    MemoryPlatform::with_seed(seed)
}

/// Two of three rule it.
fn production() -> Rig {
    Rig::founded(MemoryPlatform::new(), 100, Operators::production(2, 3))
}

pub(crate) fn summary(rig: &mut Rig) -> DomainSummary {
    rig.call(&DomainInfo).ok::<DomainInfo>().domain.unwrap()
}

fn outcome<C: hsm_protocol::Command>(reply: &Reply) -> Result<(), ErrorCode> {
    match reply.head.status {
        None => {
            reply.ok::<C>();
            Ok(())
        }
        Some(_) => Err(reply.error()),
    }
}

fn export(rig: &mut Rig, member: DeviceId) -> Result<Vec<u8>, ErrorCode> {
    let reply = rig.call(&ExportDomain { member });
    outcome::<ExportDomain>(&reply)?;
    Ok(reply.ok::<ExportDomain>().token.to_vec())
}

fn join(device: &mut Device, token: &[u8]) -> Result<(), ErrorCode> {
    let mut stranger = Host::new(998).open(device);
    outcome::<JoinDomain>(&stranger.call(device, &JoinDomain { token: Bytes(token) }))
}

fn receive(rig: &mut Rig, token: &[u8]) -> Result<(), ErrorCode> {
    outcome::<ReceiveKeys>(&rig.call(&ReceiveKeys { token: Bytes(token) }))
}

fn added(device: &mut Device) -> Change<'static> {
    let (identity, kind) = (device.identity(), DeviceKind::Emulated);
    Change::AddMember { identity, kind, certificate: None }
}

fn host(seed: u64, role: Role) -> Change<'static> {
    Change::AddHost(model::Host { key: Host::new(seed).public(), role })
}

#[test]
fn a_joined_device_serves_the_same_keys_and_still_does_after_a_reboot() {
    let mut first = production();
    let token = first.symmetric();
    let blob = encrypt(&mut first, &token, b"ctx", b"shared");
    let mut second = first.second(platform(2), 100);
    assert_eq!(summary(&mut second), summary(&mut first));
    let DomainSummary { version, active_key, members, has_keys, kind, .. } = summary(&mut second);
    assert_eq!((version, active_key, members, has_keys), (2, 1, 2, true));
    assert_eq!(kind, Kind::Production);
    assert_eq!(second.device.state(), ModuleState::Operational);
    assert_eq!(decrypt(&mut second, &token, b"ctx", &blob).unwrap(), b"shared");

    let back = second.symmetric();
    let blob = encrypt(&mut second, &back, &[], b"back");
    first.reboot();
    second.reboot();
    assert_eq!(decrypt(&mut first, &back, &[], &blob).unwrap(), b"back");
    assert_eq!(summary(&mut first), summary(&mut second));
}

/// Whoever has every key of a host, and the line, gets no domain key by it.
#[test]
fn a_host_alone_brings_nobody_in() {
    let mut rig = production();
    let before = summary(&mut rig);
    // A made-up device, which is not a member.
    let mut stranger = Device::boot(platform(66));
    let id = stranger.identity().device_id();
    assert_eq!(export(&mut rig, id), Err(ErrorCode::CHANGE_INVALID));
    // Made one by too few, by nobody, and by people of another domain.
    let state = rig.state();
    let change = [added(&mut stranger)];
    let by = |operators: &Operators, signers: &[usize]| operators.ballot(&state, &change, signers);
    let ours = rig.operators.clone();
    for (signers, refusal) in [
        (&[][..], ErrorCode::QUORUM_MISSING),
        (&[1], ErrorCode::QUORUM_MISSING),
        (&[1, 1], ErrorCode::SIGNATURE_INVALID),
    ] {
        assert_eq!(rig.submit(&by(&ours, signers)), Err(refusal), "{signers:?}");
    }
    let theirs = by(&Operators::development(), &[0]);
    assert_eq!(rig.submit(&theirs), Err(ErrorCode::SIGNATURE_INVALID));
    let mut cut = by(&ours, &[0, 1]);
    cut.pop();
    assert_eq!(rig.submit(&cut), Err(ErrorCode::MALFORMED));
    assert_eq!(summary(&mut rig), before);
    assert_eq!(export(&mut rig, id), Err(ErrorCode::CHANGE_INVALID));
    // An auditor may hand a ballot over as well: it is the signatures that count.
    let ballot = by(&ours, &[0, 2]);
    let request = ChangeDomain { ballot: Bytes(&ballot) };
    let reply = rig.auditor.call(&mut rig.device, &request);
    assert_eq!(reply.ok::<ChangeDomain>().version, 2);
    let token = export(&mut rig, id).unwrap();
    join(&mut stranger, &token).unwrap();
}

#[test]
fn a_ballot_is_good_once_and_outlives_no_reboot_of_its_version() {
    let mut rig = production();
    let state = rig.state();
    let ours = rig.operators.clone();
    let one = ours.ballot(&state, &[host(501, Role::Auditor)], &[0, 1]);
    let other = ours.ballot(&state, &[host(502, Role::Auditor)], &[0, 1]);
    rig.submit(&one).unwrap();
    rig.reboot();
    assert_eq!(rig.submit(&one), Err(ErrorCode::STATE_STALE), "once more");
    assert_eq!(rig.submit(&other), Err(ErrorCode::STATE_STALE), "two ceremonies at once");
    assert_eq!(rig.state().previous, state.hash().unwrap());
    Host::new(501).open(&mut rig.device);
    assert!(Host::new(502).try_open(&mut rig.device).is_err());
}

#[test]
fn hosts_come_and_go_with_their_sessions() {
    let mut rig = production();
    let mut late = Host::new(501);
    assert_eq!(late.try_open(&mut rig.device).err(), Some(ErrorCode::HANDSHAKE_FAILED));
    rig.change(&[host(501, Role::CryptoUser)]).unwrap();
    let mut session = late.open(&mut rig.device);
    session.call(&mut rig.device, &DomainInfo).ok::<DomainInfo>();
    // Another role ends what was opened with the former one.
    rig.change(&[host(501, Role::Auditor)]).unwrap();
    let ended = session.try_call(&mut rig.device, &DomainInfo);
    assert_eq!(ended.err(), Some(ErrorCode::NO_SESSION));
    let mut session = late.open(&mut rig.device);
    rig.change(&[Change::RemoveHost(late.id())]).unwrap();
    assert!(session.try_call(&mut rig.device, &DomainInfo).is_err());
    assert_eq!(late.try_open(&mut rig.device).err(), Some(ErrorCode::HANDSHAKE_FAILED));
    rig.call(&DomainInfo).ok::<DomainInfo>();
    let unknown = Change::RemoveHost(late.id());
    assert_eq!(rig.change(&[unknown]), Err(ErrorCode::CHANGE_INVALID));
}

#[test]
fn a_rotated_key_is_made_once_and_received_by_the_others() {
    let mut first = production();
    let mut second = first.second(platform(2), 100);
    let old = first.symmetric();
    let blob = encrypt(&mut first, &old, &[], b"before");
    let maker = first.device.identity().device_id();
    let ballot = {
        let state = first.state();
        first.operators.ballot(&state, &[Change::RotateKey { maker }], &[0, 1])
    };
    assert_eq!(first.submit(&ballot).unwrap().active_key, 2);
    let waiting = second.submit(&ballot).unwrap();
    assert!(!waiting.has_keys);
    let new = first.symmetric();
    // It serves what it can, makes nothing, and says why.
    assert_eq!(decrypt(&mut second, &old, &[], &blob).unwrap(), b"before");
    let sealed = encrypt(&mut first, &new, &[], b"after");
    assert_eq!(decrypt(&mut second, &new, &[], &sealed), Err(ErrorCode::KEYS_MISSING));
    assert_eq!(second.device.state(), ModuleState::Operational);
    assert_eq!(export(&mut second, maker), Err(ErrorCode::KEYS_MISSING));

    let own = second.device.identity().device_id();
    let token = export(&mut first, own).unwrap();
    receive(&mut second, &token).unwrap();
    second.reboot();
    assert!(summary(&mut second).has_keys);
    assert_eq!(decrypt(&mut second, &new, &[], &sealed).unwrap(), b"after");
    // A key that the domain gives up is gone from both.
    let state = first.state();
    let ballot = first.operators.ballot(&state, &[Change::RemoveKey(1)], &[1, 2]);
    for rig in [&mut first, &mut second] {
        rig.submit(&ballot).unwrap();
        assert_eq!(decrypt(rig, &old, &[], &blob), Err(ErrorCode::TOKEN_INVALID));
        rig.reboot();
        assert_eq!(decrypt(rig, &old, &[], &blob), Err(ErrorCode::TOKEN_INVALID));
    }
}

#[test]
fn a_removed_member_gets_nothing_more_and_gives_nothing() {
    let mut first = production();
    let mut second = first.second(platform(2), 100);
    let (ours, gone) = (first.device.identity().device_id(), second.device.identity().device_id());
    let stale = export(&mut second, ours).unwrap();
    let state = first.state();
    let changes = [Change::RemoveMember(gone), Change::RotateKey { maker: ours }];
    let ballot = first.operators.ballot(&state, &changes, &[0, 1]);
    first.submit(&ballot).unwrap();
    assert_eq!(export(&mut first, gone), Err(ErrorCode::CHANGE_INVALID));
    assert_eq!(receive(&mut first, &stale), Err(ErrorCode::DOMAIN_TOKEN_INVALID));
    // Told of it, it forgets everything; what it would say otherwise is nobody's word any more.
    second.submit(&ballot).unwrap();
    assert_eq!(second.device.state(), ModuleState::Zeroised);
}

#[test]
fn every_changed_byte_of_a_domain_token_is_the_same_error() {
    let mut first = production();
    let mut device = Device::boot(platform(2));
    let token = first.admit(&device.identity());
    for index in (0..token.len()).step_by(11).chain(token.len() - 64..token.len()) {
        let mut bad = token.clone();
        bad[index] ^= 2;
        let result = join(&mut device, &bad);
        assert_eq!(result, Err(ErrorCode::DOMAIN_TOKEN_INVALID), "byte {index}");
    }
    for length in [0, 1, 100, token.len() - 1] {
        let result = join(&mut device, &token[..length]);
        assert_eq!(result, Err(ErrorCode::DOMAIN_TOKEN_INVALID), "{length} bytes");
    }
    assert_eq!(device.state(), ModuleState::Uninitialised);
    // For another device, and once more for the same.
    let mut third = Device::boot(platform(3));
    assert_eq!(join(&mut third, &token), Err(ErrorCode::DOMAIN_TOKEN_INVALID));
    join(&mut device, &token).unwrap();
    let mut session = Host::new(101).open(&mut device);
    let again = session.call(&mut device, &JoinDomain { token: Bytes(&token) });
    assert_eq!(again.error(), ErrorCode::ROLE_DENIED);
}

#[test]
fn a_founding_is_of_this_device_and_signed() {
    let operators = Operators::production(2, 3);
    let mut device = Device::fresh();
    let identity = device.identity();
    let mut other = Device::boot(platform(9));
    let good = operators.first_state(&identity, &[]);
    let found = |device: &mut Device, state: &DomainState, signers: &[usize]| {
        let mut encoded = [0; MAX_STATE];
        let message = model::signed_message(&[], &state.hash().unwrap());
        let votes = operators.votes(&message, signers);
        let state = Bytes(state.encode(&mut encoded).unwrap());
        let request = FoundDomain { state, votes, certificate: None };
        let mut stranger = Host::new(1).open(device);
        outcome::<FoundDomain>(&stranger.call(device, &request))
    };
    assert_eq!(found(&mut device, &good, &[0]), Err(ErrorCode::QUORUM_MISSING));
    let theirs = operators.first_state(&other.identity(), &[]);
    assert_eq!(found(&mut device, &theirs, &[0, 1]), Err(ErrorCode::CHANGE_INVALID));
    let named = DomainState { domain: DomainId([7; 16]), ..good.clone() };
    assert_eq!(found(&mut device, &named, &[0, 1]), Err(ErrorCode::CHANGE_INVALID));
    let mut weak = DomainState { rules: Rules::uniform(1), ..good.clone() };
    weak.domain = weak.founding_id().unwrap();
    assert_eq!(found(&mut device, &weak, &[0, 1]), Err(ErrorCode::DOMAIN_STATE_INVALID));
    assert_eq!(device.state(), ModuleState::Uninitialised);
    found(&mut device, &good, &[0, 2]).unwrap();
    assert_eq!(device.state(), ModuleState::Operational);
    assert!(Host::new(1).try_open(&mut device).is_err(), "who founded it is nobody there");
    assert_eq!(other.state(), ModuleState::Uninitialised);
}

#[test]
fn the_member_table_has_an_end() {
    let mut rig = production();
    for seed in 1..MAX_MEMBERS as u64 {
        let mut joiner = Device::boot(platform(1000 + seed));
        rig.change(&[added(&mut joiner)]).unwrap();
    }
    let mut last = Device::boot(platform(9999));
    assert_eq!(rig.change(&[added(&mut last)]), Err(ErrorCode::MEMBERS_FULL));
    rig.reboot();
    assert_eq!(usize::from(summary(&mut rig).members), MAX_MEMBERS);
    assert_eq!(rig.device.state(), ModuleState::Operational);
}

#[test]
fn operators_erase_a_device() {
    let mut rig = production();
    let own = rig.device.identity().device_id();
    let token = rig.symmetric();
    let blob = encrypt(&mut rig, &token, &[], b"x");
    assert_eq!(decrypt(&mut rig, &token, &[], &blob).unwrap(), b"x");
    let state = rig.state();
    let ballot = rig.operators.ballot(&state, &[Change::Zeroise(own)], &[1]);
    assert_eq!(rig.submit(&ballot), Err(ErrorCode::QUORUM_MISSING));
    rig.change(&[Change::Zeroise(own)]).unwrap();
    assert_eq!(rig.device.state(), ModuleState::Zeroised);
    rig.device.reboot();
    assert_eq!(rig.device.state(), ModuleState::Uninitialised);
    assert_ne!(rig.device.identity().device_id(), own, "another identity");
}
