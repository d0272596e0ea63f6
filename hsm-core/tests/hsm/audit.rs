//! The chain of audited commands, recomputed as a verifier would.

use hsm_protocol::audit::{
    Checkpoint, Details, Entry, Head, LogPosition, Maker, Receipt, request_digest,
    signed_head_message,
};
use hsm_protocol::command::approval::RequestApproval;
use hsm_protocol::command::audit::{
    AuditEntries, AuditHead, LastCheckpoint, MakeCheckpoint, SignedCheckpoint,
};
use hsm_protocol::command::cipher::Encrypt;
use hsm_protocol::command::domain::DomainInfo;
use hsm_protocol::command::mac::VerifyMac;
use hsm_protocol::command::random::Random;
use hsm_protocol::command::session::CloseSession;
use hsm_protocol::command::statement::AttestDevice;
use hsm_protocol::domain::{self as model, Change, DeviceKind};
use hsm_protocol::key_spec::MacAlgorithm;
use hsm_protocol::request::ResponseHead;
use hsm_protocol::{Bytes, Command, ErrorCode, MaterialId, Opcode, Role};

use crate::rig::{Host, Rig, TAG, TIME_MS};

#[test]
fn receipts_extend_the_chain_and_the_signed_head_ends_it() {
    let mut rig = Rig::operational();
    let host = rig.user_host.id();
    let first = rig.call(&Random { length: 1 }).receipt();
    let mut last: Receipt = first;
    for length in [1, 0, 2, 5000] {
        let reply = rig.call(&Random { length });
        let receipt = reply.receipt();
        let entry = Entry {
            index: last.index + 1,
            opcode: Opcode::Random,
            result: reply.head.status,
            host,
            subject: MaterialId([0; 32]),
            tag: TAG,
            details: Some(Details {
                time_ms: TIME_MS,
                request: request_digest(Opcode::Random, &encoded(&Random { length }), 0),
            }),
        };
        assert_eq!((receipt.index, receipt.epoch), (entry.index, last.epoch));
        assert_eq!(receipt.head, last.head.extend(&entry), "refused commands are in the chain too");
        last = receipt;
    }

    let nonce = [0x33; 16];
    let head = rig.user.call(&mut rig.device, &AuditHead { nonce }).ok::<AuditHead>();
    let identity = rig.device.identity();
    assert_eq!((head.entries, head.head), (last.index + 1, last.head));
    let message = signed_head_message(&head.device, head.epoch, head.entries, &head.head, &nonce);
    head.signature.verify(&identity.signing, &message).unwrap();
    let other = signed_head_message(&head.device, head.epoch, head.entries, &head.head, &[0; 16]);
    assert_eq!(head.signature.verify(&identity.signing, &other), Err(ErrorCode::SIGNATURE_INVALID));
}

#[test]
fn entries_can_be_fetched_and_recomputed_from_genesis() {
    let mut rig = Rig::operational();
    let token = rig.symmetric();
    for _ in 0..20 {
        let plaintext = Bytes(b"x");
        rig.call(&Encrypt { key: token.key(), context: Bytes(&[]), plaintext });
    }
    let device = rig.device.identity().device_id();
    let status = rig.device.status();
    let reply = rig.auditor.call(&mut rig.device, &AuditEntries { from: 0 });
    let page = reply.ok::<AuditEntries>();
    assert_eq!((page.epoch, page.first), (status.epoch, 0));
    assert_eq!(page.before, Head::genesis(&device, page.epoch));
    let entries: Vec<Entry> = page
        .entries
        .chunks_exact(Entry::SIZE)
        .map(|entry| Entry::from_bytes(entry).unwrap())
        .collect();
    assert_eq!(entries.len() as u64, status.audit_entries);
    assert_eq!(entries[0].opcode, Opcode::FoundDomain);
    let head = entries.iter().fold(page.before, |head, entry| head.extend(entry));
    let nonce = [1; 16];
    let signed = rig.auditor.call(&mut rig.device, &AuditHead { nonce }).ok::<AuditHead>();
    assert_eq!(signed.head, head);

    let beyond = AuditEntries { from: status.audit_entries + 1 };
    let reply = rig.auditor.call(&mut rig.device, &beyond);
    assert_eq!(reply.error(), ErrorCode::AUDIT_RANGE);
}

#[test]
fn a_full_ring_is_answered_in_whole_and_old_entries_are_gone() {
    let mut rig = Rig::operational();
    for _ in 0..200 {
        rig.call(&Random { length: 1 });
    }
    let count = rig.device.status().audit_entries;
    let reply = rig.user.call(&mut rig.device, &AuditEntries { from: 0 });
    let page = reply.ok::<AuditEntries>();
    let returned = (page.entries.len() / Entry::SIZE) as u64;
    assert_eq!(page.first + returned, count);
    assert!(page.first > 0);
    assert!(returned >= 64);
}

/// A request's encoded body.
fn encoded<C: Command>(command: &C) -> Vec<u8> {
    let mut out = vec![0; 1024];
    command.encode(&mut out).unwrap().to_vec()
}

/// The last entry of the chain.
fn last_entry(rig: &mut Rig) -> Entry {
    let from = rig.device.status().audit_entries - 1;
    let reply = rig.auditor.call(&mut rig.device, &AuditEntries { from });
    Entry::from_bytes(&reply.ok::<AuditEntries>().entries).unwrap()
}

#[test]
fn entries_tell_what_was_asked_for_and_not_the_callers_data() {
    let mut rig = Rig::operational();
    let token = rig.symmetric();
    let digest = |rig: &mut Rig, context: &[u8], plaintext: &[u8]| {
        let (key, plaintext) = (token.key(), Bytes(plaintext));
        let command = Encrypt { key, context: Bytes(context), plaintext };
        rig.call(&command).ok::<Encrypt>();
        let entry = last_entry(rig);
        let Details { time_ms, request } = entry.details.unwrap();
        assert_eq!((entry.opcode, time_ms), (Opcode::Encrypt, TIME_MS));
        let body = encoded(&command);
        let told = &body[..body.len() - plaintext.len()];
        assert!(command.hidden() == plaintext.len() && body.ends_with(&plaintext));
        assert_eq!(request, request_digest(Opcode::Encrypt, told, 0));
        request
    };
    let first = digest(&mut rig, b"context", b"4711");
    assert_eq!(first, digest(&mut rig, b"context", b"0815"), "nobody finds a PIN by trying");
    assert_ne!(first, digest(&mut rig, b"another", b"4711"));
    // Of a length whose own length takes two bytes.
    digest(&mut rig, b"context", &[7; 200]);
    // The digest that operators sign covers all of a request.
    let command = RequestApproval { key: token.key(), opcode: Opcode::Encrypt, request: [9; 32] };
    let body = encoded(&command);
    assert!(command.hidden() == 32 && body.ends_with(&[9; 32]));
    // Where what is behind the message is left out with it.
    let command = VerifyMac {
        key: token.key(),
        algorithm: MacAlgorithm::HMAC_SHA_256,
        message: Bytes(&[1; 200]),
        mac: Bytes(&[2; 32]),
    };
    let body = encoded(&command);
    assert_eq!(command.hidden(), 200 + 1 + 32);
    assert_eq!(body[body.len() - command.hidden()..][..200], [1; 200]);
}

#[test]
fn commands_are_refused_while_no_host_has_the_entries() {
    let mut rig = Rig::operational();
    let key = rig.symmetric();
    let encrypt = Encrypt { key: key.key(), context: Bytes(&[]), plaintext: Bytes(b"x") };
    let mut done = 0;
    let before = rig.device.status().audit_entries;
    // A host that takes nothing, and hides what it does.
    let reply = loop {
        rig.user.taken = 0;
        let reply = rig.call(&encrypt);
        if reply.head.status.is_some() {
            break reply;
        }
        done += 1;
    };
    assert_eq!(reply.error(), ErrorCode::AUDIT_FULL);
    let entries = rig.device.status().audit_entries;
    assert_eq!(entries, before + done, "what is refused is not done, and not recorded");
    // Entries that there are not, of another boot for example, count for nothing.
    for taken in [entries + 1, u64::MAX] {
        rig.user.taken = taken;
        assert_eq!(rig.call(&encrypt).error(), ErrorCode::AUDIT_FULL, "{taken}");
    }
    // Another host cannot do it either, and what needs no entry goes on.
    let statement = AttestDevice { nonce: Bytes(b"n") };
    rig.auditor.taken = 0;
    let refused = rig.auditor.call(&mut rig.device, &statement).error();
    assert_eq!(refused, ErrorCode::AUDIT_FULL);
    rig.auditor.call(&mut rig.device, &DomainInfo).ok::<DomainInfo>();
    // Whoever keeps the log fetches all of them: not one has gone.
    let from = entries.saturating_sub(128);
    let reply = rig.auditor.call(&mut rig.device, &AuditEntries { from });
    let page = reply.ok::<AuditEntries>();
    let last =
        page.entries.chunks_exact(Entry::SIZE).map(|entry| Entry::from_bytes(entry).unwrap());
    let last: Vec<Entry> = last.collect();
    assert_eq!((page.first, last.len() as u64), (from, entries - from));
    assert!(last.iter().rev().take(3).all(|entry| entry.opcode == Opcode::Encrypt));
    // One is enough for one more.
    rig.user.taken = entries - 127;
    rig.call(&encrypt).ok::<Encrypt>();
    rig.user.taken = 0;
    assert_eq!(rig.call(&encrypt).error(), ErrorCode::AUDIT_FULL);
    rig.user.taken = entries + 1;
    rig.call(&encrypt).ok::<Encrypt>();
}

#[test]
fn a_request_that_cannot_be_read_is_not_recorded() {
    let mut rig = Rig::operational();
    let before = rig.device.status().audit_entries;
    let mut request = rig.user.encode(&Random { length: 1 });
    request.push(0);
    let response = rig.user.exchange(&mut rig.device, &request).unwrap();
    let (head, body) = ResponseHead::split(&response).unwrap();
    assert_eq!((head.status, head.receipt, body), (Some(ErrorCode::MALFORMED), None, &[][..]));
    assert_eq!(rig.device.status().audit_entries, before);
}

#[test]
fn each_boot_has_a_chain_of_its_own() {
    let mut rig = Rig::operational();
    let before = rig.call(&Random { length: 1 }).receipt();
    rig.reboot();
    let after = rig.call(&Random { length: 1 }).receipt();
    assert_eq!(after.epoch, before.epoch + 1);
    assert_eq!(after.index, 0);
}

#[test]
fn refusals_of_the_gate_are_audited() {
    let mut rig = Rig::operational();
    let before = rig.device.status().audit_entries;
    let random = Random { length: 1 };
    assert_eq!(rig.auditor.call(&mut rig.device, &random).error(), ErrorCode::ROLE_DENIED);
    assert_eq!(rig.device.status().audit_entries, before + 1);
    rig.auditor.call(&mut rig.device, &DomainInfo).ok::<DomainInfo>();
    assert_eq!(rig.device.status().audit_entries, before + 1, "not an audited command");
}

fn last(rig: &mut Rig) -> Option<SignedCheckpoint> {
    let command = LastCheckpoint { host: None };
    rig.user.call(&mut rig.device, &command).ok::<LastCheckpoint>().last
}

fn checkpoint(rig: &mut Rig, sequence: u64) -> SignedCheckpoint {
    let log = LogPosition { sequence, hash: [0x10; 32] };
    let command = MakeCheckpoint { log, closing: false };
    rig.user.call(&mut rig.device, &command).ok::<MakeCheckpoint>()
}

#[test]
fn checkpoints_are_numbered_chained_signed_and_outlive_a_power_cut() {
    let mut rig = Rig::operational();
    assert_eq!(last(&mut rig), None);
    let signing = rig.device.identity().signing;
    let mut before: Option<SignedCheckpoint> = None;
    for number in 1..=6 {
        let receipt = rig.call(&Random { length: 1 }).receipt();
        let made = checkpoint(&mut rig, number * 10);
        made.verify(&signing).unwrap();
        let said = made.checkpoint;
        assert_eq!((said.number, said.log.sequence), (number, number * 10));
        assert_eq!((said.epoch, said.entries), (receipt.epoch, receipt.index + 1));
        assert_eq!(said.head, receipt.head);
        let previous = before.map_or([0; 32], |before| before.checkpoint.hash());
        assert_eq!(said.previous, previous, "checkpoint {number} continues the one before");
        // Signed again, with another secret number.
        let kept = |rig: &mut Rig| {
            let kept = last(rig).unwrap();
            kept.verify(&signing).unwrap();
            kept.checkpoint
        };
        assert_eq!(kept(&mut rig), said);
        if number % 2 == 0 {
            rig.reboot();
            assert_eq!(kept(&mut rig), said, "kept through the loss of power");
        }
        before = Some(made);
    }
    let made = before.unwrap().checkpoint;
    assert_eq!(made.maker, Some(Maker { kind: DeviceKind::Emulated, measurement: None }));
    for at in 0..Checkpoint::SIZE {
        let mut bytes = made.to_bytes();
        bytes[at] ^= 1;
        let Some(checkpoint) = Checkpoint::from_bytes(&bytes) else { continue };
        let forged = SignedCheckpoint { checkpoint, ..before.unwrap() };
        assert!(forged.verify(&signing).is_err(), "byte {at} is not covered");
    }
}

#[test]
fn each_host_keeps_a_log_of_its_own_and_may_see_what_was_made_for_others() {
    let mut rig = Rig::operational();
    let made = checkpoint(&mut rig, 10).checkpoint;
    let host = rig.user_host.id();
    assert_eq!(made.host, host);
    let log = LogPosition { sequence: 3, hash: [0x11; 32] };
    let command = MakeCheckpoint { log, closing: true };
    let other = rig.auditor.call(&mut rig.device, &command).ok::<MakeCheckpoint>().checkpoint;
    assert_eq!((other.number, other.previous, other.closing), (1, [0; 32], true));
    assert_eq!(last(&mut rig).unwrap().checkpoint, made);
    for session in [&mut rig.user, &mut rig.auditor] {
        let command = LastCheckpoint { host: Some(host) };
        let seen = session.call(&mut rig.device, &command).ok::<LastCheckpoint>().last.unwrap();
        assert_eq!(seen.checkpoint, made);
    }
}

#[test]
fn hosts_that_come_later_take_the_place_of_the_one_that_was_silent_longest() {
    let mut rig = Rig::operational();
    checkpoint(&mut rig, 1);
    let log = LogPosition { sequence: 3, hash: [0x11; 32] };
    let mut others = Vec::new();
    for seed in 0..11 {
        let mut host = Host::new(200 + seed);
        others.push(host.id());
        let key = host.public();
        rig.change(&[Change::AddHost(model::Host { key, role: Role::Auditor })]).unwrap();
        let mut session = host.open(&mut rig.device);
        let command = MakeCheckpoint { log, closing: false };
        let made = session.call(&mut rig.device, &command).ok::<MakeCheckpoint>().checkpoint;
        assert_eq!(made.number, 1);
        session.call(&mut rig.device, &CloseSession).ok::<CloseSession>();
        let kept = last(&mut rig).map(|last| last.checkpoint.number);
        match seed {
            // Who goes on vouching is not the one.
            ..9 => {
                let made = checkpoint(&mut rig, 10 + seed).checkpoint.number;
                assert_eq!((kept, made), (Some(seed + 1), seed + 2));
            }
            _ => assert_eq!(kept, Some(10)),
        }
    }
    let kept = others.into_iter().map(|host| {
        let command = LastCheckpoint { host: Some(host) };
        rig.user.call(&mut rig.device, &command).ok::<LastCheckpoint>().last.is_some()
    });
    let kept: Vec<bool> = kept.collect();
    assert_eq!(kept, [false, true, true, true, true, true, true, true, true, true, true]);
}
