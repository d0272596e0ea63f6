//! Handshakes, records, sessions.

use hsm_core::algorithm::PORTABLE;
use hsm_protocol::channel::Initiator;
use hsm_protocol::command::Role;
use hsm_protocol::command::random::Random;
use hsm_protocol::command::session::{CloseSession, SessionInfo};
use hsm_protocol::command::system::Info;
use hsm_protocol::domain::Change;
use hsm_protocol::frame::{FrameKind, Header};
use hsm_protocol::{ErrorCode, Opcode};

use crate::rig::{Device, Host, Rig, link_error};

const HANDSHAKE: Header = Header { kind: FrameKind::Handshake1, session: 0, sequence: 1 };

#[test]
fn both_ends_agree_on_who_is_there() {
    let mut rig = Rig::operational();
    let device = rig.device.identity().device_id();
    for (session, role) in [(&mut rig.user, Role::CryptoUser), (&mut rig.auditor, Role::Auditor)] {
        let state = session.call(&mut rig.device, &SessionInfo).ok::<SessionInfo>();
        assert_eq!((state.device, state.role), (device, role));
    }
}

#[test]
fn records_replayed_reordered_or_changed_change_nothing() {
    type Damage = fn(&mut Header, &mut Vec<u8>);
    let cases: [(&str, Damage); 6] = [
        ("sequence ahead", |header, _| header.sequence += 1),
        ("sequence behind", |header, _| header.sequence -= 1),
        ("first byte", |_, record| record[0] ^= 1),
        ("tag", |_, record| *record.last_mut().unwrap() ^= 0x80),
        ("cut short", |_, record| record.truncate(record.len() - 1)),
        ("empty", |_, record| record.clear()),
    ];
    for (name, damage) in cases {
        let mut rig = Rig::operational();
        rig.call(&SessionInfo);
        let request = rig.user.encode(&SessionInfo);
        let (mut header, mut record) = rig.user.seal(&request);
        let good = (header, record.clone());
        damage(&mut header, &mut record);
        let answer = rig.device.exchange(header, &record);
        assert_eq!(link_error(&answer), ErrorCode::BAD_RECORD, "{name}");
        // Whoever sent it has ended nobody's session: the right one is answered.
        let mut answer = rig.device.exchange(good.0, &good.1);
        assert_eq!(answer.0.kind, FrameKind::SealedResponse, "{name}");
        rig.user.keys.opener.open(answer.0.sequence, &mut answer.1).unwrap();
        rig.call(&SessionInfo).ok::<SessionInfo>();
    }
}

#[test]
fn a_replayed_record_is_not_run_twice() {
    let mut rig = Rig::operational();
    let request = rig.user.encode(&Random { length: 16 });
    let (header, record) = rig.user.seal(&request);
    let first = rig.device.exchange(header, &record);
    assert_eq!(first.0.kind, FrameKind::SealedResponse);
    let entries = rig.device.status().audit_entries;
    assert_eq!(link_error(&rig.device.exchange(header, &record)), ErrorCode::BAD_RECORD);
    assert_eq!(rig.device.status().audit_entries, entries);
}

#[test]
fn records_do_not_fit_another_session() {
    let mut rig = Rig::operational();
    let mut second = rig.user_host.open(&mut rig.device);
    let request = second.encode(&SessionInfo);
    let (mut header, record) = second.seal(&request);
    header.session = rig.user.id;
    header.sequence = rig.user.keys.sealer.sequence();
    assert_eq!(link_error(&rig.device.exchange(header, &record)), ErrorCode::BAD_RECORD);
}

#[test]
fn closed_and_unknown_sessions_answer_nothing() {
    let mut rig = Rig::operational();
    rig.call(&CloseSession).ok::<CloseSession>();
    let gone = rig.user.try_call(&mut rig.device, &SessionInfo);
    assert_eq!(gone.err(), Some(ErrorCode::NO_SESSION));
    let header = Header { kind: FrameKind::SealedRequest, session: 4711, sequence: 0 };
    let answer = rig.device.exchange(header, &[0; 40]);
    assert_eq!(link_error(&answer), ErrorCode::NO_SESSION);
}

#[test]
fn the_session_unused_for_longest_gives_way() {
    let mut rig = Rig::operational();
    let mut oldest = rig.user_host.open(&mut rig.device);
    let mut more = rig.user_host.open(&mut rig.device);
    assert_eq!(rig.device.status().sessions, 4);
    rig.call(&SessionInfo);
    rig.auditor.call(&mut rig.device, &SessionInfo);
    more.call(&mut rig.device, &SessionInfo);
    let mut fifth = rig.user_host.open(&mut rig.device);
    assert_eq!(rig.device.status().sessions, 4);
    let gone = oldest.try_call(&mut rig.device, &SessionInfo);
    assert_eq!(gone.err(), Some(ErrorCode::NO_SESSION));
    for session in [&mut rig.user, &mut rig.auditor, &mut more, &mut fifth] {
        session.call(&mut rig.device, &SessionInfo).ok::<SessionInfo>();
    }
}

#[test]
fn strangers_and_removed_hosts_are_refused() {
    let mut rig = Rig::operational();
    let stranger = Host::new(999).try_open(&mut rig.device);
    assert_eq!(stranger.err(), Some(ErrorCode::HANDSHAKE_FAILED));
    let host = rig.user_host.id();
    rig.change(&[Change::RemoveHost(host)]).unwrap();
    let gone = rig.user.try_call(&mut rig.device, &SessionInfo);
    assert_eq!(gone.err(), Some(ErrorCode::NO_SESSION));
    let refused = rig.user_host.try_open(&mut rig.device);
    assert_eq!(refused.err(), Some(ErrorCode::HANDSHAKE_FAILED));
}

#[test]
fn a_handshake_with_another_devices_key_is_refused() {
    let mut device = Device::fresh();
    let wrong = Host::new(5).public();
    let key = p256::SecretKey::from_slice(&[7; 32]).unwrap();
    let mut rng = hsm_core::testing::TestRng(8);
    let (_, message) = Initiator::start(&key, &wrong, &mut rng).unwrap();
    let answer = device.exchange(HANDSHAKE, &[&message[..], &[0; 16]].concat());
    assert_eq!(link_error(&answer), ErrorCode::HANDSHAKE_FAILED);
}

/// Strangers cost hashes only, so they can be refused as fast as they come, and an enrolled host gets
/// in between.
#[test]
fn strangers_do_not_keep_enrolled_hosts_out() {
    let mut rig = Rig::operational();
    let link = rig.device.identity().link;
    let mut stranger = Host::new(999);
    for round in 0..200 {
        let (_, mut payload) = stranger.handshake(&mut rig.device, &link);
        payload.truncate(if round % 2 == 0 { 178 } else { 162 });
        let answer = rig.device.exchange(HANDSHAKE, &payload);
        assert_eq!(link_error(&answer), ErrorCode::HANDSHAKE_FAILED);
    }
    rig.user_host.open(&mut rig.device);
    rig.call(&SessionInfo).ok::<SessionInfo>();
}

/// What was taken once is refused, within the challenge's time and after it.
#[test]
fn a_first_message_is_taken_once() {
    let mut rig = Rig::operational();
    let link = rig.device.identity().link;
    let (_, payload) = rig.user_host.handshake(&mut rig.device, &link);
    let refused = |rig: &mut Rig| {
        let answer = rig.device.exchange(HANDSHAKE, &payload);
        assert_eq!(link_error(&answer), ErrorCode::HANDSHAKE_FAILED);
    };
    let answer = rig.device.exchange(HANDSHAKE, &payload);
    assert_eq!(answer.0.kind, FrameKind::Handshake2);
    refused(&mut rig);
    // Each further handshake of the host is another one; after many there is another challenge.
    let challenge = rig.device.challenge();
    for _ in 0..40 {
        rig.user_host.open(&mut rig.device);
        refused(&mut rig);
    }
    assert_ne!(rig.device.challenge(), challenge);
    for seconds in [1, 9, 10, 11, 60] {
        rig.device.platform().now_us += seconds * 1_000_000;
        refused(&mut rig);
        rig.device.challenge();
        refused(&mut rig);
    }
    rig.reboot();
    refused(&mut rig);
}

/// A host has ten seconds to answer, whatever others ask meanwhile, and twenty at most.
#[test]
fn a_challenge_holds_for_its_time() {
    for (seconds, is_taken) in
        [(0, true), (9, true), (19, true), (20, false), (21, false), (100, false)]
    {
        for others_ask in [false, true] {
            let mut rig = Rig::operational();
            let link = rig.device.identity().link;
            // Drawn anew now, not while the rig was set up.
            rig.device.platform().now_us += 60_000_000;
            let (_, payload) = rig.user_host.handshake(&mut rig.device, &link);
            for _ in 0..10 {
                rig.device.platform().now_us += seconds * 100_000;
                if others_ask {
                    rig.device.challenge();
                }
            }
            let answer = rig.device.exchange(HANDSHAKE, &payload);
            let was_taken = answer.0.kind == FrameKind::Handshake2;
            assert_eq!(was_taken, is_taken, "{seconds} s, {others_ask}");
        }
    }
}

#[test]
fn frames_that_a_host_does_not_send_are_refused() {
    let mut device = Device::fresh();
    for kind in [
        FrameKind::PlainResponse,
        FrameKind::Handshake2,
        FrameKind::SealedResponse,
        FrameKind::LinkError,
    ] {
        let header = Header { kind, session: 3, sequence: 4 };
        let answer = device.exchange(header, b"payload");
        assert_eq!(link_error(&answer), ErrorCode::BAD_FRAME_KIND);
        assert_eq!((answer.0.session, answer.0.sequence), (3, 4), "echoed");
    }
}

#[test]
fn malformed_and_unknown_requests_keep_the_session() {
    let mut rig = Rig::operational();
    let short = rig.user.exchange(&mut rig.device, &[1]);
    assert_eq!(short, Err(ErrorCode::MALFORMED));
    let mut unknown = rig.user.encode(&SessionInfo);
    unknown[..2].copy_from_slice(&0x7777u16.to_le_bytes());
    let response = rig.user.exchange(&mut rig.device, &unknown).unwrap();
    let status = u16::from_le_bytes([response[2], response[3]]);
    assert_eq!(ErrorCode::from_u16(status), Some(ErrorCode::UNKNOWN_COMMAND));
    let mut long = rig.user.encode(&SessionInfo);
    long.push(0);
    let response = rig.user.exchange(&mut rig.device, &long).unwrap();
    let status = u16::from_le_bytes([response[2], response[3]]);
    assert_eq!(ErrorCode::from_u16(status), Some(ErrorCode::MALFORMED));
    rig.call(&SessionInfo).ok::<SessionInfo>();
}

#[test]
fn only_public_commands_are_answered_in_clear() {
    let mut rig = Rig::operational();
    for opcode in Opcode::ALL {
        let request = [&opcode.0.to_le_bytes()[..], &[1, 0]].concat();
        let header = Header { kind: FrameKind::PlainRequest, session: 0, sequence: 0 };
        let (answer, payload) = rig.device.exchange(header, &request);
        assert_eq!(answer.kind, FrameKind::PlainResponse);
        let status = ErrorCode::from_u16(u16::from_le_bytes([payload[2], payload[3]]));
        let expected = match *opcode {
            Opcode::Info | Opcode::Status | Opcode::Admission | Opcode::LastReset => None,
            Opcode::Reset => Some(ErrorCode::STATE_DENIED),
            _ => Some(ErrorCode::CHANNEL_REQUIRED),
        };
        assert_eq!(status, expected, "{opcode:?}");
    }
}

#[test]
fn public_commands_are_answered_inside_the_channel_too() {
    let mut rig = Rig::operational();
    let reply = rig.user.call(&mut rig.device, &Info);
    let info = reply.ok::<Info>();
    assert_eq!(info.board, "memory");
    let specs: Vec<u8> = PORTABLE.iter().map(|entry| entry.spec().0).collect();
    assert_eq!(info.specs.0, specs);
}
