//! The chain of audited commands, recomputed as a verifier would.

use hsm_protocol::audit::{Entry, Head, Receipt, signed_head_message};
use hsm_protocol::command::audit::{AuditEntries, AuditHead};
use hsm_protocol::command::cipher::Encrypt;
use hsm_protocol::command::domain::DomainInfo;
use hsm_protocol::command::random::Random;
use hsm_protocol::{Bytes, ErrorCode, MaterialId, Opcode};

use crate::rig::{Rig, TAG};

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
        .map(|entry| Entry::from_bytes(entry.try_into().unwrap()).unwrap())
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
