//! Multi-Region keys: from one domain into another, and nowhere else.

use hsm_core::testing::MemoryPlatform;
use hsm_protocol::approval::Approval;
use hsm_protocol::command::cipher::Decrypt;
use hsm_protocol::command::domain::{CreateDomain, EnrolHost, ExportDomain, JoinDomain};
use hsm_protocol::command::key::{ExportPublicKey, NewKey};
use hsm_protocol::command::replica::{DomainKeyInfo, ExportReplica, ImportReplica, ReplicationKey};
use hsm_protocol::identity::PublicKey;
use hsm_protocol::key_spec::{KEY_SPECS, KeySpec, KeyUsage};
use hsm_protocol::token::KeyToken;
use hsm_protocol::token::replica::ReplicaToken;
use hsm_protocol::{Bytes, ErrorCode, KeyId, Role};

use crate::cipher::encrypt;
use crate::rig::{Host, KEY_ID, Reply, Rig, Token};

const MRK: KeyId = KeyId { multi_region: true, ..KEY_ID };

/// A device with a domain of its own.
fn domain(seed: u64) -> Rig {
    let mut rig = Rig::initialised(MemoryPlatform::with_seed(seed), seed);
    rig.admin.call(&mut rig.device, &CreateDomain).ok::<CreateDomain>();
    rig
}

fn info(rig: &mut Rig) -> DomainKeyInfo {
    rig.call(&ReplicationKey).ok::<ReplicationKey>()
}

/// The approval of `peer` by the provisioner of `own`.
fn approve(own: &mut Rig, peer: &mut Rig) -> Approval {
    let infos = (info(own), info(peer));
    Approval::make(own.provisioner.secret(), &infos.0, &infos.1).unwrap()
}

fn export(rig: &mut Rig, token: &Token, approval: Approval) -> Reply {
    rig.call(&ExportReplica { key: token.key(), approval })
}

fn import(rig: &mut Rig, id: KeyId, approval: Approval, token: &[u8]) -> Reply {
    rig.call(&ImportReplica { id, approval, token: Bytes(token) })
}

/// Moves a key from one domain to the other.
fn replicate(from: &mut Rig, to: &mut Rig, token: &Token) -> Token {
    let (there, back) = (approve(from, to), approve(to, from));
    let reply = export(from, token, there);
    let exported = reply.ok::<ExportReplica>().token.to_vec();
    let reply = import(to, token.id, back, &exported);
    let NewKey { material, token: bytes } = reply.ok::<ImportReplica>();
    assert_eq!(reply.receipt().subject, material);
    Token { id: token.id, bytes: bytes.to_vec() }
}

#[test]
fn keys_of_every_spec_are_the_same_in_both_domains() {
    let (mut west, mut east) = (domain(100), domain(200));
    for row in KEY_SPECS {
        let usage = row.usages[0];
        let here = west.key_with_id(MRK, row.spec, usage);
        let there = replicate(&mut west, &mut east, &here);
        let [old, new] = [&here, &there].map(|t| KeyToken::parse(&t.bytes).unwrap().attributes);
        assert_ne!(old.domain, new.domain);
        assert_eq!((old.key, old.material), (new.key, new.material));
        assert_eq!((old.spec, old.usage, old.origin), (new.spec, new.usage, new.origin));
        if row.public_size > 0 {
            let public = |rig: &mut Rig, token: &Token| {
                let reply = rig.call(&ExportPublicKey { key: token.key() });
                reply.ok::<ExportPublicKey>().spki.to_vec()
            };
            assert_eq!(public(&mut west, &here), public(&mut east, &there));
        }
        // And on, from a replica.
        let back = replicate(&mut east, &mut west, &there);
        assert_eq!(KeyToken::parse(&back.bytes).unwrap().attributes, old);
    }
}

#[test]
fn a_blob_of_one_domain_opens_in_the_other() {
    let (mut west, mut east) = (domain(100), domain(200));
    let here = west.key_with_id(MRK, KeySpec::SYMMETRIC_DEFAULT, KeyUsage::ENCRYPT_DECRYPT);
    let there = replicate(&mut west, &mut east, &here);
    let blob = encrypt(&mut west, &here, b"", b"from the west");
    let (context, blob) = (Bytes(&[]), Bytes(&blob));
    let reply = east.call(&Decrypt { key: there.key(), context, blob });
    assert_eq!(&*reply.ok::<Decrypt>().plaintext, b"from the west");
}

#[test]
fn every_device_of_a_domain_has_its_replication_key() {
    let (mut west, mut east) = (domain(100), domain(200));
    let mut second = Rig::initialised(MemoryPlatform::with_seed(400), 100);
    let joiner = second.device.identity();
    let exported = west.admin.call(&mut west.device, &ExportDomain { joiner });
    let token = exported.ok::<ExportDomain>().token;
    let join = JoinDomain { exporter: west.device.identity(), token };
    second.admin.call(&mut second.device, &join).ok::<JoinDomain>();
    assert_eq!(info(&mut west), info(&mut second));

    let here = west.key_with_id(MRK, KeySpec::HMAC_256, KeyUsage::GENERATE_VERIFY_MAC);
    let there = replicate(&mut second, &mut east, &here);
    replicate(&mut east, &mut second, &there);
}

#[test]
fn a_key_of_one_region_stays() {
    let (mut west, mut east) = (domain(100), domain(200));
    let single = west.symmetric();
    let approval = approve(&mut west, &mut east);
    assert_eq!(export(&mut west, &single, approval).error(), ErrorCode::USAGE_DENIED);
    // Nor does it help to call it another.
    let renamed = Token { id: MRK, ..single };
    assert_eq!(export(&mut west, &renamed, approval).error(), ErrorCode::KEY_MISMATCH);
}

#[test]
fn nobody_but_a_provisioner_approves() {
    let (mut west, mut east) = (domain(100), domain(200));
    let key = west.key_with_id(MRK, KeySpec::SYMMETRIC_DEFAULT, KeyUsage::ENCRYPT_DECRYPT);
    let (own, peer) = (info(&mut west), info(&mut east));
    let right = approve(&mut west, &mut east);
    let made = |host: &Host, own, peer| Approval::make(host.secret(), own, peer).unwrap();
    let stranger = Host::new(999);
    let other = PublicKey::from_point(&stranger.secret().public_key());
    let mut wrong = vec![
        made(&stranger, &own, &peer),
        made(&west.user_host, &own, &peer),
        made(&east.provisioner, &own, &peer),
        // For another domain, or by another's replication key.
        made(&west.provisioner, &peer, &peer),
        made(&west.provisioner, &DomainKeyInfo { domain: peer.domain, ..own }, &peer),
        // Of another peer than was approved.
        Approval { peer: DomainKeyInfo { public: other, ..peer }, ..right },
        Approval { peer: DomainKeyInfo { domain: own.domain, ..peer }, ..right },
        Approval { peer: DomainKeyInfo { domain_key: 2, ..peer }, ..right },
        Approval { domain_key: 2, ..right },
        Approval { provisioner: stranger.public(), ..right },
        Approval { provisioner: PublicKey { tag: 2, x: [0xff; 32] }, ..right },
    ];
    wrong.extend((0..256).map(|bit| {
        let mut approval = right;
        approval.tag[bit / 8] ^= 1 << (bit % 8);
        approval
    }));
    for approval in wrong {
        assert_eq!(export(&mut west, &key, approval).error(), ErrorCode::PEER_DENIED);
        assert_eq!(import(&mut west, MRK, approval, b"").error(), ErrorCode::PEER_DENIED);
    }
    let reply = export(&mut west, &key, right);
    reply.ok::<ExportReplica>();
}

#[test]
fn an_approval_ends_with_its_provisioner() {
    let (mut west, mut east) = (domain(100), domain(200));
    let key = west.key_with_id(MRK, KeySpec::SYMMETRIC_DEFAULT, KeyUsage::ENCRYPT_DECRYPT);
    let approval = approve(&mut west, &mut east);
    export(&mut west, &key, approval).ok::<ExportReplica>();
    let mut successor = Host::new(300);
    let enrol = EnrolHost { key: successor.public(), role: Role::Provisioner };
    west.admin.call(&mut west.device, &enrol).ok::<EnrolHost>();
    let mut session = successor.open(&mut west.device);
    let demote = EnrolHost { key: west.provisioner.public(), role: Role::Auditor };
    session.call(&mut west.device, &demote).ok::<EnrolHost>();
    assert_eq!(export(&mut west, &key, approval).error(), ErrorCode::PEER_DENIED);
}

#[test]
fn tokens_open_only_where_and_as_they_were_meant() {
    let (mut west, mut east, mut south) = (domain(100), domain(200), domain(300));
    let key = west.key_with_id(MRK, KeySpec::SYMMETRIC_DEFAULT, KeyUsage::ENCRYPT_DECRYPT);
    let there = approve(&mut west, &mut east);
    let token = export(&mut west, &key, there).ok::<ExportReplica>().token.to_vec();
    let from_west = approve(&mut east, &mut west);
    let from_south = approve(&mut east, &mut south);

    let reply = import(&mut east, MRK, from_south, &token);
    assert_eq!(reply.error(), ErrorCode::TOKEN_DOMAIN, "of a domain that is not approved");
    let west_to_south = approve(&mut south, &mut west);
    let reply = import(&mut south, MRK, west_to_south, &token);
    assert_eq!(reply.error(), ErrorCode::TOKEN_DOMAIN, "for another domain");
    let id = KeyId { bytes: [0x99; 16], ..MRK };
    assert_eq!(import(&mut east, id, from_west, &token).error(), ErrorCode::KEY_MISMATCH);

    for bit in 0..token.len() * 8 {
        let mut damaged = token.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        let error = import(&mut east, MRK, from_west, &damaged).error();
        let family =
            [ErrorCode::TOKEN_INVALID, ErrorCode::TOKEN_DOMAIN, ErrorCode::TOKEN_MALFORMED];
        assert!(family.contains(&error), "bit {bit}: {error:?}");
    }
    for length in [0, 1, ReplicaToken::HEADER_SIZE, token.len() - 1] {
        let error = import(&mut east, MRK, from_west, &token[..length]).error();
        assert!([ErrorCode::TOKEN_MALFORMED, ErrorCode::TOKEN_INVALID].contains(&error));
    }
    import(&mut east, MRK, from_west, &token).ok::<ImportReplica>();
}
