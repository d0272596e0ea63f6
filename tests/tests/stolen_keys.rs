//! Keys that were stolen from a host, those of a session and the host's own: what a thief does with them on the
//! serial line of a device with the real firmware, and what ends it.

use host_driver::OperatorKey;
use hsm_protocol::channel::MESSAGE_1_SIZE;
use hsm_protocol::command::decode;
use hsm_protocol::command::domain::{
    ChangeDomain, ExportDomain, ExportedDomain, FoundDomain, JoinDomain,
};
use hsm_protocol::command::random::Random;
use hsm_protocol::command::session::CloseSession;
use hsm_protocol::domain::{Change, DeviceKind, DomainState, Host, MAX_STATE};
use hsm_protocol::frame::{FrameKind, Header};
use hsm_protocol::{Bytes, ErrorCode, Role};
use hsm_tests::ballots::{ballot, first_state};
use hsm_tests::on_every_line;
use hsm_tests::patience::until;
use hsm_tests::testbed::Testbed;
use hsm_tests::wire::{Session, Wire, host_key, identity_of, public};
use p256::SecretKey;

on_every_line! {
    serial:
    stolen_session_keys_are_of_one_session,
    a_stolen_host_key_uses_keys_until_it_is_put_out,
    a_recorded_session_stays_shut_to_who_steals_the_host_key,
}

/// An audited command that only a crypto user may call.
const RANDOM: Random = Random { length: 16 };

/// A domain of one device, and who rules and uses it.
struct Domain {
    operator: OperatorKey,
    state: DomainState,
    user: SecretKey,
    auditor: SecretKey,
}

impl Domain {
    fn found(wire: &mut Wire) -> Self {
        let (operator, user, auditor) = (OperatorKey::generate(), host_key(), host_key());
        let hosts = [(public(&user), Role::CryptoUser), (public(&auditor), Role::Auditor)];
        let (state, votes) = first_state(&operator, &wire.identity(), &hosts);
        let mut encoded = [0; MAX_STATE];
        let first = Bytes(state.encode(&mut encoded).expect("it is short"));
        let mut session = wire.session(&user).expect("fresh");
        let found = FoundDomain { state: first, votes, certificate: None };
        session.call(wire, &found).expect("fresh");
        Self { operator, state, user, auditor }
    }

    /// The operators change it; an auditor carries the ballot.
    fn change(&mut self, wire: &mut Wire, changes: &[Change<'_>]) {
        let (ballot, next) = ballot(&self.operator, &self.state, changes);
        let mut session = wire.session(&self.auditor).expect("an auditor");
        session.call(wire, &ChangeDomain { ballot: Bytes(&ballot) }).expect("agreed");
        self.state = next;
    }

    /// What a thief with a session cannot do: bring a device of the own in, or rule.
    fn assert_not_ruled(&self, wire: &mut Wire, session: &mut Session) {
        let own = host_key();
        let identity = identity_of(&own);
        let member = identity.device_id();
        let export = session.call(wire, &ExportDomain { member });
        assert_eq!(export, Err(ErrorCode::CHANGE_INVALID));
        let add = Change::AddMember { identity, kind: DeviceKind::Emulated, certificate: None };
        // Signed by somebody who has a key, but not an operator's; the host's own is not one either.
        let as_operator =
            |key: &SecretKey| OperatorKey::from_bytes(&key.to_bytes().into()).expect("it is a key");
        for signer in [&own, &self.user] {
            let ballot = ballot(&as_operator(signer), &self.state, &[add]).0;
            let refused = session.call(wire, &ChangeDomain { ballot: Bytes(&ballot) });
            assert_eq!(refused, Err(ErrorCode::SIGNATURE_INVALID));
        }
        let again = session.call(wire, &ExportDomain { member });
        assert_eq!(again, Err(ErrorCode::CHANGE_INVALID));
    }
}

/// How often the device has carried out an audited command since it booted.
fn audited(wire: &mut Wire) -> u64 {
    wire.status().audit_entries
}

fn stolen_session_keys_are_of_one_session(testbed: Testbed) {
    let mut wire = testbed.wire();
    let mut domain = Domain::found(&mut wire);
    let mut stolen = wire.session(&domain.user).expect("a host");
    stolen.call(&mut wire, &RANDOM).expect("whoever has them speaks for the host, in this session");
    domain.assert_not_ruled(&mut wire, &mut stolen);

    // At another member, which the same host has a session with, under each number there is.
    let other = testbed.another();
    let mut there = other.wire();
    let (identity, kind) = (there.identity(), DeviceKind::Emulated);
    domain.change(&mut wire, &[Change::AddMember { identity, kind, certificate: None }]);
    let member = identity.device_id();
    let mut carrier = wire.session(&domain.auditor).expect("an auditor");
    let token = carrier.call(&mut wire, &ExportDomain { member }).expect("a member");
    let ExportedDomain { token } = decode(&token).expect("a token");
    let mut fresh = there.session(&host_key()).expect("fresh");
    fresh.call(&mut there, &JoinDomain { token }).expect("a member");
    let mut own = there.session(&domain.user).expect("a host");
    let before = audited(&mut there);
    let (header, record) = stolen.seal(&RANDOM);
    for session in 0..8 {
        let answer = there.exchange(Header { session, ..header }, &record);
        let refused = [ErrorCode::NO_SESSION, ErrorCode::BAD_RECORD];
        assert!(refused.contains(&answer.link_error()), "session {session}");
    }
    assert_eq!(audited(&mut there), before, "another device took it");
    own.call(&mut there, &RANDOM).expect("the host's own session is as it was");
    let answer = wire.exchange(header, &record);
    stolen.open(answer).expect("where it is of, it is good");

    // They end with the session: the host closes it, or operators put the host out, or change what it may do.
    stolen.call(&mut wire, &CloseSession).expect("closed");
    assert_eq!(stolen.call(&mut wire, &RANDOM), Err(ErrorCode::NO_SESSION));
    let key = public(&domain.user);
    for change in [
        Change::AddHost(Host { key, role: Role::Auditor }),
        Change::AddHost(Host { key, role: Role::CryptoUser }),
        Change::RemoveHost(key.host_id()),
        Change::AddHost(Host { key, role: Role::CryptoUser }),
    ] {
        let mut stolen = wire.session(&domain.user);
        domain.change(&mut wire, &[change]);
        if let Ok(stolen) = &mut stolen {
            let refused = stolen.call(&mut wire, &RANDOM);
            assert_eq!(refused, Err(ErrorCode::NO_SESSION), "{change:?}");
        }
    }
    let mut session = wire.session(&domain.user).expect("a host again");
    session.call(&mut wire, &RANDOM).expect("served");
}

fn a_stolen_host_key_uses_keys_until_it_is_put_out(testbed: Testbed) {
    let mut wire = testbed.wire();
    let mut domain = Domain::found(&mut wire);
    let mut thief = wire.session(&domain.user).expect("whoever has the key is the host");
    thief.call(&mut wire, &RANDOM).expect("and uses keys");
    domain.assert_not_ruled(&mut wire, &mut thief);
    // An auditor's key does not even do that.
    let mut auditor = wire.session(&domain.auditor).expect("an auditor");
    assert_eq!(auditor.call(&mut wire, &RANDOM), Err(ErrorCode::ROLE_DENIED));
    domain.assert_not_ruled(&mut wire, &mut auditor);

    // The host has a new key, and the stolen one is put out, for good.
    let next = host_key();
    let came = Host { key: public(&domain.user), role: Role::CryptoUser };
    let replaced = [
        Change::AddHost(Host { key: public(&next), role: Role::CryptoUser }),
        Change::RemoveHost(came.key.host_id()),
    ];
    let old = ballot(&domain.operator, &domain.state, &[Change::AddHost(came)]).0;
    domain.change(&mut wire, &replaced);
    assert_eq!(thief.call(&mut wire, &RANDOM), Err(ErrorCode::NO_SESSION));
    drop(wire);
    let testbed = testbed.power_cycle();
    let mut wire = testbed.wire();
    let refused = wire.session(&domain.user).expect_err("it is out");
    assert_eq!(refused, ErrorCode::HANDSHAKE_FAILED);
    // Nor does it come back by what operators have signed before.
    let mut host = wire.session(&next).expect("the new key");
    let submitted = host.call(&mut wire, &ChangeDomain { ballot: Bytes(&old) });
    assert_eq!(submitted, Err(ErrorCode::STATE_STALE));
    host.call(&mut wire, &RANDOM).expect("served");
    assert!(wire.session(&domain.user).is_err());
}

/// The host's key opens no session that was recorded: each has keys of its own, which the device makes anew
/// even if it is told the same first message again.
fn a_recorded_session_stays_shut_to_who_steals_the_host_key(testbed: Testbed) {
    let mut wire = testbed.wire();
    let domain = Domain::found(&mut wire);
    let device = wire.identity().link;
    let (initiator, first) = wire.first_message(&domain.user, &device).expect("a point");
    let header = Header { kind: FrameKind::Handshake1, session: 0, sequence: 3 };
    let told = wire.exchange(header, &first).payload;
    let (keys, welcome) = initiator.finish(&told).expect("a host");
    let mut session = Session::new(welcome.session, keys);
    let (recorded, record) = session.seal(&RANDOM);
    let answer = wire.exchange(recorded, &record);
    session.open(answer).expect("served");
    session.call(&mut wire, &CloseSession).expect("closed");

    // The thief has all that was on the line, and the key. The same challenge is not answered twice with one
    // message; once the device has asked another one, it lets the thief in.
    let message = first.first_chunk::<MESSAGE_1_SIZE>().expect("a message");
    let again = wire.admitted(&domain.user, &device, message).expect("by the stolen key");
    assert_eq!(wire.exchange(header, &again).link_error(), ErrorCode::HANDSHAKE_FAILED);
    until("the device asks another challenge", || {
        let _ = wire.session(&domain.user).expect("a host");
        wire.admitted(&domain.user, &device, message).expect("by the stolen key") != again
    });
    let before = audited(&mut wire);
    let again = wire.admitted(&domain.user, &device, message).expect("by the stolen key");
    let second = wire.exchange(header, &again);
    assert_eq!(second.header.kind, FrameKind::Handshake2);
    assert_ne!(second.payload[..65], told[..65], "its part of the keys is another one");
    for session in 0..=u16::from(u8::MAX) {
        let answer = wire.exchange(Header { session, ..recorded }, &record);
        let refused = [ErrorCode::NO_SESSION, ErrorCode::BAD_RECORD];
        assert!(refused.contains(&answer.link_error()), "session {session}");
    }
    assert_eq!(audited(&mut wire), before, "a recorded request was carried out");
    let mut session = wire.session(&domain.user).expect("a host");
    session.call(&mut wire, &RANDOM).expect("served");
}
