//! A hostile or broken line: whatever comes, the next good request is answered, and nothing
//! that was not sealed by an enrolled host is carried out.

use std::time::{Duration, Instant};

use host_driver::OperatorKey;
use host_driver::device::Device;
use hsm_protocol::audit::Entry;
use hsm_protocol::command::audit::{AuditEntries, AuditPage};
use hsm_protocol::command::decode;
use hsm_protocol::command::domain::{ChangeDomain, FoundDomain};
use hsm_protocol::command::random::{Random, RandomBytes};
use hsm_protocol::command::session::SessionInfo;
use hsm_protocol::command::system::{Info, Status};
use hsm_protocol::domain::MAX_STATE;
use hsm_protocol::frame::{FrameKind, Header, MAX_ENCODED, MAX_PAYLOAD};
use hsm_protocol::{Bytes, ErrorCode, ModuleState, Opcode, Role};
use hsm_tests::ballots::first_state;
use hsm_tests::patience::PATIENCE;
use hsm_tests::testbed::Testbed;
use hsm_tests::wire::{Session, Wire, encoded, host_key, public, request};
use hsm_tests::{on_every_line, seed};
use p256::SecretKey;

on_every_line! {
    an_idle_line_stays_idle,
    garbage_for_ten_seconds,
    replayed_records_are_refused,
    reordered_records_are_refused,
    flipped_bits_are_refused,
    oversize_frames_are_dropped,
    frames_of_every_kind,
    nothing_but_introductions_outside_the_channel,
    a_host_that_dies_in_the_middle_of_a_frame,
    a_full_window_is_answered_in_order,
    more_than_a_window_does_not_stop_the_device,
    strangers_cost_nothing_and_hosts_are_let_in,
    sessions_do_not_mix,
    a_session_ends_with_its_power,
    a_host_that_takes_no_entries_is_refused,
}

/// How long silence is watched before it counts as silence.
const SILENCE: Duration = Duration::from_millis(150);
/// Bytes that a device may be behind: fewer than a socket of the host holds.
const AHEAD: usize = 32 << 10;
/// A command whose answer is a fixed number of bytes.
const RANDOM: Random = Random { length: 16 };

/// Provisions a fresh device and returns the key of its crypto user.
fn provision(wire: &mut Wire) -> SecretKey {
    let user = host_key();
    let hosts = [(public(&user), Role::CryptoUser)];
    let (state, votes) = first_state(&OperatorKey::generate(), &wire.identity(), &hosts);
    let mut encoded = [0; MAX_STATE];
    let state = Bytes(state.encode(&mut encoded).expect("it is short"));
    let mut session = wire.session(&user).expect("fresh");
    session.call(wire, &FoundDomain { state, votes, certificate: None }).expect("fresh");
    user
}

/// A wire, a session on it, and the session's host.
fn ready(testbed: &Testbed) -> (Wire, Session, SecretKey) {
    let mut wire = testbed.wire();
    let user = provision(&mut wire);
    let session = wire.session(&user).expect("enrolled");
    (wire, session, user)
}

/// Checks that the device serves this host, in a new session.
fn assert_serves(wire: &mut Wire, host: &SecretKey) {
    let mut session = wire.session(host).expect("a new session");
    session.taken = wire.status().audit_entries; // as if it had fetched them
    assert_random(wire, &mut session);
}

fn assert_random(wire: &mut Wire, session: &mut Session) {
    let body = session.call(wire, &RANDOM).expect("served");
    let random: RandomBytes<'_> = decode(&body).expect("an answer");
    assert_eq!(random.bytes.len(), 16);
}

/// How often the device has carried out an audited command since it booted.
fn audited(wire: &mut Wire) -> u64 {
    wire.status().audit_entries
}

fn an_idle_line_stays_idle(testbed: Testbed) {
    let (mut wire, mut session, _) = ready(&testbed);
    let before = audited(&mut wire);
    for _ in 0..3 {
        assert_random(&mut wire, &mut session);
        assert_eq!(wire.receive(SILENCE), None, "an answer to nothing");
    }
    assert_eq!(audited(&mut wire), before + 3);
}

fn garbage_for_ten_seconds(testbed: Testbed) {
    let mut random = seed::random("garbage");
    let (mut wire, mut session, user) = ready(&testbed);
    let before = audited(&mut wire);
    let by = Instant::now() + Duration::from_secs(10);
    let (mut sent, mut ahead) = (0, 0);
    while Instant::now() < by {
        let mut garbage = vec![0; random.usize(1..8192)];
        random.fill(&mut garbage);
        match random.u8(..4) {
            // One run without a delimiter, longer than any frame.
            0 => garbage.iter_mut().for_each(|byte| *byte |= 1),
            // Nothing but delimiters.
            1 => garbage.fill(0),
            // Good frames that mean nothing.
            2 => {
                garbage.truncate(200);
                let header = Header {
                    kind: FrameKind::SealedRequest,
                    session: random.u16(..),
                    sequence: random.u32(..),
                };
                garbage = encoded(header, &garbage);
            }
            _ => {}
        }
        sent += garbage.len();
        ahead += garbage.len();
        wire.send_bytes(&garbage);
        // The device's answers are thrown away.
        while wire.receive(Duration::from_millis(2)).is_some() {}
        // A socket takes more than a slow device has read: it is not filled.
        if ahead > AHEAD {
            wire.synchronise();
            ahead = 0;
        }
    }
    eprintln!("{:?}: {sent} bytes of garbage", testbed.line());
    wire.synchronise();
    assert_eq!(audited(&mut wire), before, "garbage was carried out");
    assert_random(&mut wire, &mut session);
    assert_serves(&mut wire, &user);
}

fn replayed_records_are_refused(testbed: Testbed) {
    let (mut wire, mut session, user) = ready(&testbed);
    let (header, record) = session.seal(&RANDOM);
    let first = wire.exchange(header, &record);
    session.open(first).expect("served once");
    let before = audited(&mut wire);
    for _ in 0..2 {
        assert_eq!(wire.exchange(header, &record).link_error(), ErrorCode::BAD_RECORD);
    }
    assert_eq!(audited(&mut wire), before, "a replay was carried out");
    assert_random(&mut wire, &mut session); // the session has not noticed

    // A recorded session is worth nothing to a new one.
    let mut session = wire.session(&user).expect("enrolled");
    let header = Header { session: session.id, ..header };
    assert_eq!(wire.exchange(header, &record).link_error(), ErrorCode::BAD_RECORD);
    assert_random(&mut wire, &mut session);
    assert_serves(&mut wire, &user);
}

fn reordered_records_are_refused(testbed: Testbed) {
    let (mut wire, mut session, user) = ready(&testbed);
    let before = audited(&mut wire);
    let (first, second) = (session.seal(&RANDOM), session.seal(&RANDOM));
    assert_eq!(wire.exchange(second.0, &second.1).link_error(), ErrorCode::BAD_RECORD);
    assert_eq!(audited(&mut wire), before, "a record out of order was carried out");
    for (header, record) in [first, second] {
        let answer = wire.exchange(header, &record);
        session.open(answer).expect("in order");
    }
    assert_eq!(audited(&mut wire), before + 2);
    assert_serves(&mut wire, &user);
}

fn flipped_bits_are_refused(testbed: Testbed) {
    let mut random = seed::random("flipped_bits");
    let (mut wire, _, user) = ready(&testbed);
    // On the line: the CRC finds it, and the frame is dropped in silence.
    let mut session = wire.session(&user).expect("enrolled");
    let before = audited(&mut wire);
    let (header, record) = session.seal(&RANDOM);
    let frame = encoded(header, &record);
    for _ in 0..8 {
        let mut damaged = frame.clone();
        let at = random.usize(..damaged.len() - 1);
        damaged[at] ^= 1 << random.u8(..8);
        wire.send_bytes(&damaged);
        assert_eq!(wire.receive(SILENCE), None, "byte {at} was flipped");
    }
    assert_eq!(audited(&mut wire), before);
    // The session has not noticed: the undamaged frame still counts.
    let answer = wire.exchange(header, &record);
    session.open(answer).expect("served");

    // By somebody who computes the CRC anew: the channel finds it.
    let (header, good) = session.seal(&RANDOM);
    let before = audited(&mut wire);
    for _ in 0..24 {
        let mut record = good.clone();
        let at = random.usize(..record.len());
        record[at] ^= 1 << random.u8(..8);
        assert_eq!(wire.exchange(header, &record).link_error(), ErrorCode::BAD_RECORD);
        assert_eq!(audited(&mut wire), before, "byte {at} is not authenticated");
    }
    // Nobody has ended the session by it.
    let answer = wire.exchange(header, &good);
    session.open(answer).expect("served");
    assert_serves(&mut wire, &user);
}

fn oversize_frames_are_dropped(testbed: Testbed) {
    let (mut wire, mut session, _) = ready(&testbed);
    for length in [MAX_ENCODED, MAX_ENCODED + 1, 3 * MAX_ENCODED] {
        let mut long = vec![0x55; length];
        long.push(0);
        wire.send_bytes(&long);
        assert_eq!(wire.receive(SILENCE), None, "{length} bytes without a delimiter");
    }
    // The longest frame there is: understood, and refused for what it says.
    let longest = vec![0x55; MAX_PAYLOAD - 16];
    let (header, record) = session.seal_bytes(&longest);
    let answer = wire.exchange(header, &record);
    let (head, _) = session.open(answer).expect("a good record");
    assert_eq!(head.status, Some(ErrorCode::UNKNOWN_COMMAND));
    assert_random(&mut wire, &mut session);
}

fn frames_of_every_kind(testbed: Testbed) {
    let (mut wire, _, user) = ready(&testbed);
    for kind in [
        FrameKind::PlainResponse,
        FrameKind::Handshake2,
        FrameKind::SealedResponse,
        FrameKind::LinkError,
    ] {
        let header = Header { kind, session: 5, sequence: 77 };
        let answer = wire.exchange(header, b"from a device?");
        assert_eq!(answer.link_error(), ErrorCode::BAD_FRAME_KIND);
        assert_eq!((answer.header.session, answer.header.sequence), (5, 77));
    }
    let header = Header { kind: FrameKind::PlainRequest, session: 0, sequence: 3 };
    for short in [&[][..], &[1], &[1, 0, 0]] {
        assert_eq!(wire.exchange(header, short).link_error(), ErrorCode::MALFORMED);
    }
    let header = Header { kind: FrameKind::Handshake1, session: 0, sequence: 3 };
    for length in [0, 1, 161, 162, 177, 178, 179, MAX_PAYLOAD] {
        let answer = wire.exchange(header, &vec![4; length]);
        assert_eq!(answer.link_error(), ErrorCode::HANDSHAKE_FAILED);
    }
    // Sealed, authentic and nonsense: the session lives on.
    let mut session = wire.session(&user).expect("enrolled");
    for nonsense in [&[][..], &[1], &[1, 0, 0], &[0xff, 0xff, 1, 0], &[1, 7, 1, 0]] {
        let (header, record) = session.seal_bytes(nonsense);
        let answer = wire.exchange(header, &record);
        match answer.header.kind {
            FrameKind::LinkError => {
                assert_eq!(answer.link_error(), ErrorCode::MALFORMED);
            }
            _ => {
                let (head, _) = session.open(answer).expect("a good record");
                let expected = [Some(ErrorCode::UNKNOWN_COMMAND), Some(ErrorCode::MALFORMED)];
                assert!(expected.contains(&head.status), "{head:?}");
            }
        }
    }
    // Bytes left over behind a request.
    let mut bytes = request(&SessionInfo, None, 9);
    bytes.push(0);
    let (header, record) = session.seal_bytes(&bytes);
    let answer = wire.exchange(header, &record);
    let (head, _) = session.open(answer).expect("a good record");
    assert_eq!((head.id, head.status), (9, Some(ErrorCode::MALFORMED)));
    assert_random(&mut wire, &mut session);
}

fn nothing_but_introductions_outside_the_channel(testbed: Testbed) {
    let (mut wire, mut session, _) = ready(&testbed);
    wire.plain(&Info).expect("answered");
    wire.plain(&Status).expect("answered");
    for refused in [
        wire.plain(&ChangeDomain { ballot: Bytes(&[]) }),
        wire.plain(&RANDOM),
        wire.plain(&SessionInfo),
        wire.plain(&AuditEntries { from: 0 }),
    ] {
        assert_eq!(refused, Err(ErrorCode::CHANNEL_REQUIRED));
    }
    assert_eq!(wire.status().state, ModuleState::Operational);
    assert_random(&mut wire, &mut session);
}

fn a_host_that_dies_in_the_middle_of_a_frame(testbed: Testbed) {
    let mut random = seed::random("dying_host");
    let (wire, session, user) = ready(&testbed);
    drop((wire, session));
    for _ in 0..8 {
        let mut wire = testbed.wire();
        let mut session = wire.session(&user).expect("enrolled");
        let (header, record) = session.seal(&RANDOM);
        let frame = encoded(header, &record);
        wire.send_bytes(&frame[..random.usize(1..frame.len())]);
    }
    // A whole driver starts on whatever the last host left behind.
    let device: Device = testbed.device();
    assert_eq!(device.status().expect("answered").state, ModuleState::Operational);
    drop(device);
    let mut wire = testbed.wire();
    assert_serves(&mut wire, &user);
}

fn a_full_window_is_answered_in_order(testbed: Testbed) {
    let (mut wire, mut session, _) = ready(&testbed);
    let window = wire.window();
    assert!(window > 1, "several requests may be outstanding");
    for _ in 0..4 {
        for _ in 0..window {
            let (header, record) = session.seal(&RANDOM);
            wire.send(header, &record);
        }
        let mut last = None;
        for _ in 0..window {
            let answer = wire.receive(PATIENCE).expect("every request is answered");
            let (head, _) = session.open(answer).expect("in order, or it would not open");
            assert_eq!(head.status, None);
            assert!(last.is_none_or(|last| head.id == last + 1), "answers are out of order");
            last = Some(head.id);
        }
    }
}

/// A host that ignores its credit loses frames, and at worst its session: never the device.
fn more_than_a_window_does_not_stop_the_device(testbed: Testbed) {
    let (mut wire, mut session, user) = ready(&testbed);
    let flood: Vec<u8> = (0..2000)
        .flat_map(|_| {
            let (header, record) = session.seal(&RANDOM);
            encoded(header, &record)
        })
        .collect();
    wire.send_bytes(&flood);
    wire.synchronise();
    assert_serves(&mut wire, &user);
}

/// Handshakes of strangers, of all the forms that a stranger can give them, take next to none of the
/// device's time, and an enrolled host is let in between. On emulated boards a microsecond of the
/// device's own time is a thousand instructions only where the emulator counts them, so the time is
/// compared with that of a handshake that is taken. What else the machine does only adds to either: of
/// many rounds the shortest counts.
fn strangers_cost_nothing_and_hosts_are_let_in(testbed: Testbed) {
    const ROUNDS: u64 = 10;
    /// In a round.
    const STRANGERS: u64 = 12;

    let (mut wire, _, user) = ready(&testbed);
    let device = wire.identity().link;
    let stranger = host_key();
    let header = Header { kind: FrameKind::Handshake1, session: 0, sequence: 3 };
    let busy = |wire: &mut Wire| wire.status().busy_us;

    let (_, payload) = wire.first_message(&stranger, &device).expect("a point");
    let (_, captured) = wire.first_message(&user, &device).expect("a point");
    assert_eq!(wire.exchange(header, &captured).header.kind, FrameKind::Handshake2);
    let (mut honest, mut each) = (u64::MAX, u64::MAX);
    for _ in 0..ROUNDS {
        // An enrolled host is let in between.
        let begin = busy(&mut wire);
        assert_serves(&mut wire, &user);
        honest = honest.min(busy(&mut wire) - begin);
        let begin = busy(&mut wire);
        for number in 0..STRANGERS {
            let mut forged = match number % 4 {
                // A stranger's own, with and without an answer to the challenge.
                0 => payload.clone(),
                1 => payload[..162].to_vec(),
                // An enrolled host's, said again, and with an answer that somebody made up.
                2 => captured.clone(),
                _ => [&captured[..162], &[5; 16]].concat(),
            };
            forged[0] = 4;
            let answer = wire.exchange(header, &forged);
            assert_eq!(answer.link_error(), ErrorCode::HANDSHAKE_FAILED);
        }
        each = each.min((busy(&mut wire) - begin) / STRANGERS);
    }
    eprintln!("{:?}: {honest} us for a session, {each} us for a stranger", testbed.line());
    assert!(each * 4 < honest, "{each} us for a stranger, {honest} us for a host");
    assert_serves(&mut wire, &user);
}

fn sessions_do_not_mix(testbed: Testbed) {
    let (mut wire, mut first, user) = ready(&testbed);
    let mut second = wire.session(&user).expect("a second session");
    assert_ne!(first.id, second.id);
    for _ in 0..8 {
        assert_random(&mut wire, &mut first);
        assert_random(&mut wire, &mut second);
    }
    // A record of one session under the number of the other opens neither.
    let (header, record) = first.seal(&RANDOM);
    let crossed = Header { session: second.id, ..header };
    assert_eq!(wire.exchange(crossed, &record).link_error(), ErrorCode::BAD_RECORD);
    let answer = wire.exchange(header, &record);
    first.open(answer).expect("the first session is untouched");
    assert_random(&mut wire, &mut second);
    let unknown = Header { session: 0, ..header };
    assert_eq!(wire.exchange(unknown, &record).link_error(), ErrorCode::NO_SESSION);
}

fn a_session_ends_with_its_power(testbed: Testbed) {
    let (wire, mut session, user) = ready(&testbed);
    drop(wire);
    let testbed = testbed.power_cycle();
    let mut wire = testbed.wire();
    assert_eq!(session.call(&mut wire, &RANDOM), Err(ErrorCode::NO_SESSION));
    assert_serves(&mut wire, &user);
}

/// A thief of a host's key who wants nobody to see what they do: the device stops before an entry is lost.
fn a_host_that_takes_no_entries_is_refused(testbed: Testbed) {
    let (mut wire, mut thief, user) = ready(&testbed);
    let mut done = 0;
    let refused = loop {
        thief.taken = 0;
        match thief.call(&mut wire, &RANDOM) {
            Ok(_) => done += 1,
            Err(code) => break code,
        }
        assert!(done < 1000, "it never stops");
    };
    assert_eq!(refused, ErrorCode::AUDIT_FULL);
    let entries = wire.status().audit_entries;
    thief.taken = entries + 1; // of which there is none
    assert_eq!(thief.call(&mut wire, &RANDOM), Err(ErrorCode::AUDIT_FULL));
    // Whoever keeps the log has lost none of them, and goes on.
    let mut host = wire.session(&user).expect("enrolled");
    assert_eq!(host.call(&mut wire, &RANDOM), Err(ErrorCode::AUDIT_FULL));
    assert_eq!(wire.status().audit_entries, entries, "what is refused is not done");
    let body = host.call(&mut wire, &AuditEntries { from: entries - done }).expect("answered");
    let page: AuditPage<'_> = decode(&body).expect("a page");
    let read = page.entries.chunks_exact(Entry::SIZE).map(Entry::from_bytes);
    let read: Vec<Entry> = read.map(|entry| entry.expect("an entry")).collect();
    assert_eq!((page.first, read.len() as u64), (entries - done, done));
    assert!(read.iter().all(|entry| entry.opcode == Opcode::Random && entry.details.is_some()));
    host.taken = entries;
    assert_random(&mut wire, &mut host);
}
