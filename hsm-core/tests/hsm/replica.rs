//! Multi-Region keys: from one domain into another, and nowhere else.

use hsm_core::testing::MemoryPlatform;
use hsm_protocol::command::cipher::Decrypt;
use hsm_protocol::command::key::{ExportPublicKey, NewKey};
use hsm_protocol::command::replica::{DomainKeyInfo, ExportReplica, ImportReplica, ReplicationKey};
use hsm_protocol::domain::Change;
use hsm_protocol::key_spec::{KEY_SPECS, KeySpec, KeyUsage};
use hsm_protocol::token::replica::ReplicaToken;
use hsm_protocol::token::{History, KeyAttributes, KeyToken};
use hsm_protocol::{Bytes, DomainId, ErrorCode, KeyId};

use crate::cipher::encrypt;
use crate::rig::{Host, KEY_ID, Operators, Reply, Rig, Token};

const MRK: KeyId = KeyId { multi_region: true, ..KEY_ID };

/// A device with a domain of its own.
fn domain(seed: u64) -> Rig {
    Rig::founded(MemoryPlatform::with_seed(seed), seed, Operators::development())
}

fn info(rig: &mut Rig) -> DomainKeyInfo {
    rig.call(&ReplicationKey).ok::<ReplicationKey>()
}

/// `own` approves `peer`.
fn approve(own: &mut Rig, peer: &mut Rig) -> DomainKeyInfo {
    let peer = info(peer);
    if !own.state().approves(&peer) {
        own.change(&[Change::AddPeer(peer)]).unwrap();
    }
    peer
}

fn export(rig: &mut Rig, token: &Token, peer: DomainKeyInfo) -> Reply {
    rig.call(&ExportReplica { key: token.key(), peer })
}

fn import(rig: &mut Rig, id: KeyId, peer: DomainKeyInfo, token: &[u8]) -> Reply {
    rig.call(&ImportReplica { id, peer, token: Bytes(token) })
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
        let history = History::OTHER_DOMAIN; // and so no more than that is known
        let returned = KeyToken::parse(&back.bytes).unwrap().attributes;
        assert_eq!(returned, KeyAttributes { history, ..old });
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
    approve(&mut west, &mut east);
    let mut second = west.second(MemoryPlatform::with_seed(400), 100);
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

/// A host that makes up another domain gets no key by it.
#[test]
fn nobody_but_the_operators_approves() {
    let (mut west, mut east) = (domain(100), domain(200));
    let key = west.key_with_id(MRK, KeySpec::SYMMETRIC_DEFAULT, KeyUsage::ENCRYPT_DECRYPT);
    let (own, peer) = (info(&mut west), info(&mut east));
    let other = Host::new(999).public();
    let refused = |west: &mut Rig, peer: DomainKeyInfo| {
        assert_eq!(export(west, &key, peer).error(), ErrorCode::PEER_DENIED, "{peer:?}");
        assert_eq!(import(west, MRK, peer, b"").error(), ErrorCode::PEER_DENIED, "{peer:?}");
    };
    refused(&mut west, peer);
    approve(&mut west, &mut east);
    for wrong in [
        own,
        DomainKeyInfo { public: other, ..peer },
        DomainKeyInfo { domain: own.domain, ..peer },
        DomainKeyInfo { domain: DomainId([9; 16]), ..peer },
        DomainKeyInfo { domain_key: 2, ..peer },
    ] {
        refused(&mut west, wrong);
    }
    export(&mut west, &key, peer).ok::<ExportReplica>();
    // The own domain is not a peer, nor is an invalid key.
    for bad in [
        own,
        DomainKeyInfo {
            public: hsm_protocol::identity::PublicKey { tag: 2, x: [0xff; 32] },
            ..peer
        },
    ] {
        let refusal = west.change(&[Change::AddPeer(bad)]).unwrap_err();
        assert!([ErrorCode::CHANGE_INVALID, ErrorCode::IDENTITY_INVALID].contains(&refusal));
    }
}

#[test]
fn an_approval_is_withdrawn_and_ends_with_the_key_of_the_peer() {
    let (mut west, mut east) = (domain(100), domain(200));
    let key = west.key_with_id(MRK, KeySpec::SYMMETRIC_DEFAULT, KeyUsage::ENCRYPT_DECRYPT);
    let peer = approve(&mut west, &mut east);
    export(&mut west, &key, peer).ok::<ExportReplica>();
    let maker = east.device.identity().device_id();
    east.change(&[Change::RotateKey { maker }]).unwrap();
    let anew = approve(&mut west, &mut east);
    assert_ne!(anew.public, peer.public);
    assert_eq!(export(&mut west, &key, peer).error(), ErrorCode::PEER_DENIED);
    export(&mut west, &key, anew).ok::<ExportReplica>();
    west.change(&[Change::RemovePeer(peer.domain)]).unwrap();
    assert_eq!(export(&mut west, &key, anew).error(), ErrorCode::PEER_DENIED);
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
