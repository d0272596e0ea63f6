//! Backups that a number of operators bring back together, and what an attacker does with them.

use hsm_core::aead;
use hsm_core::kbkdf::{self, Purpose};
use hsm_core::secret::Secret;
use hsm_core::shamir::Sharing;
use hsm_core::testing::{MemoryPlatform, TestRng};
use hsm_protocol::command::ModuleState;
use hsm_protocol::command::domain::DomainSummary;
use hsm_protocol::command::recovery::{DrillRecovery, Drilled, MakeRecovery, RestoreDomain};
use hsm_protocol::curve::{KeyPair, Portable};
use hsm_protocol::domain::{Change, DeviceKind, DomainState, Holder, MAX_STATE};
use hsm_protocol::identity::{IdentityDocument, PublicKey, Signature};
use hsm_protocol::token::recovery::{
    Backup, BackupHeader, Handover, HandoverHeader, SHARE_SECRET, Share, ShareHeader,
    backup_digest, backup_message,
};
use hsm_protocol::token::{History, KeyToken};
use hsm_protocol::{Bytes, DomainId, ErrorCode};
use p256::SecretKey;
use p256::ecdsa::SigningKey;
use p256::ecdsa::signature::hazmat::PrehashSigner;
use p256::elliptic_curve::Generate;
use sha2::{Digest, Sha256};

use crate::cipher::{decrypt, encrypt};
use crate::rig::{Device, Host, Operators, Reply, Rig, Token};

/// The key that an operator's share is wrapped to.
fn share_key(operator: usize) -> SecretKey {
    SecretKey::generate_from_rng(&mut TestRng(7000 + operator as u64))
}

fn public(key: &SecretKey) -> PublicKey {
    PublicKey::from_point(&key.public_key())
}

/// These operators hold shares, encoded as a change has them.
pub(crate) fn holders(operators: &Operators, domain: &DomainId, who: &[usize]) -> Vec<u8> {
    who.iter()
        .flat_map(|number| {
            let key = public(&share_key(*number));
            let operator = operators.operator(*number).id();
            Holder { operator, key }
                .to_bytes(&operators.sign(*number, &Holder::message(domain, &key)))
        })
        .collect()
}

/// Two of three rule it, and any two of their shares bring it back.
pub(crate) fn rig() -> Rig {
    shared(MemoryPlatform::new(), 100)
}

fn shared(platform: MemoryPlatform, seed: u64) -> Rig {
    let mut rig = Rig::founded(platform, seed, Operators::production(2, 3));
    share(&mut rig, 2, &[0, 1, 2]).unwrap();
    rig
}

pub(crate) fn share(
    rig: &mut Rig,
    threshold: u8,
    who: &[usize],
) -> Result<DomainSummary, ErrorCode> {
    let domain = rig.state().domain;
    let holders = holders(&rig.operators, &domain, who);
    rig.change(&[Change::SetRecovery { threshold, holders: Bytes(&holders) }])
}

/// A backup and its shares, as a host keeps them.
#[derive(Clone)]
pub(crate) struct Set {
    pub(crate) backup: Vec<u8>,
    shares: Vec<Share>,
}

pub(crate) fn make(rig: &mut Rig) -> Set {
    let reply = rig.call(&MakeRecovery);
    let made = reply.ok::<MakeRecovery>();
    let (rows, []) = made.shares.as_chunks::<{ Share::SIZE }>() else { panic!("whole shares") };
    let shares = rows.iter().map(|row| Share::parse(row).unwrap()).collect();
    Set { backup: made.backup.to_vec(), shares }
}

/// What an operator does: opens the share and wraps it to the device.
fn hand_over(rig: &Rig, share: &Share, number: usize, device: &IdentityDocument) -> Vec<u8> {
    let opened = share.open(&share_key(number)).unwrap();
    wrap(rig, &header(share, device), number, device, &opened)
}

fn header(share: &Share, device: &IdentityDocument) -> HandoverHeader {
    let its = share.header;
    HandoverHeader {
        domain: its.domain,
        set: its.set,
        number: its.number,
        operator: its.operator,
        backup: its.backup,
        device: device.device_id(),
    }
}

fn wrap(
    rig: &Rig,
    header: &HandoverHeader,
    signer: usize,
    device: &IdentityDocument,
    share: &[u8; SHARE_SECRET],
) -> Vec<u8> {
    let ephemeral = SecretKey::generate_from_rng(&mut TestRng(u64::from(header.number) + 8000));
    let sign = |message: &[u8]| Ok(rig.operators.sign(signer, message));
    Handover::seal(header, &device.join, &ephemeral, share, sign).unwrap().to_vec()
}

pub(crate) fn handovers(rig: &Rig, set: &Set, who: &[usize], device: &IdentityDocument) -> Vec<u8> {
    who.iter().flat_map(|number| hand_over(rig, &set.shares[*number], *number, device)).collect()
}

fn outcome(reply: &Reply) -> Result<(), ErrorCode> {
    reply.head.status.map_or(Ok(()), Err)
}

fn drill(
    device: &mut Device,
    set: &Set,
    shares: &[u8],
    token: &Token,
) -> Result<Drilled, ErrorCode> {
    let (backup, shares) = (Bytes(&set.backup), Bytes(shares));
    let mut stranger = Host::new(997).open(device);
    let reply = stranger.call(device, &DrillRecovery { backup, shares, key: token.key() });
    outcome(&reply)?;
    Ok(reply.ok::<DrillRecovery>())
}

fn restore(device: &mut Device, set: &Set, shares: &[u8], ballot: &[u8]) -> Result<(), ErrorCode> {
    let (backup, shares, ballot) = (Bytes(&set.backup), Bytes(shares), Bytes(ballot));
    let mut stranger = Host::new(996).open(device);
    outcome(&stranger.call(device, &RestoreDomain { backup, shares, ballot }))
}

/// The change that makes a device a member of the domain as it was.
pub(crate) fn adding(
    rig: &Rig,
    state: &DomainState,
    device: &IdentityDocument,
    signers: &[usize],
) -> Vec<u8> {
    let (identity, kind) = (*device, DeviceKind::Emulated);
    let lost = state.members[0].device_id();
    let changes = [
        Change::AddMember { identity, kind, certificate: None },
        Change::RemoveMember(lost),
        Change::RotateKey { maker: device.device_id() },
    ];
    rig.operators.ballot(state, &changes, signers)
}

fn fresh(seed: u64) -> Device {
    Device::boot(MemoryPlatform::with_seed(seed))
}

#[test]
fn what_was_lost_with_every_device_comes_back() {
    let mut rig = rig();
    let token = rig.symmetric();
    let blob = encrypt(&mut rig, &token, b"ctx", b"kept");
    let (set, state) = (make(&mut rig), rig.state());
    let operators = rig.operators.clone();
    for who in [[0, 1], [1, 2], [2, 0]] {
        let mut device = fresh(50 + who[0] as u64);
        let identity = device.identity();
        let shares = handovers(&rig, &set, &who, &identity);
        // First of all it is seen that it would work, which changes nothing.
        let drilled = drill(&mut device, &set, &shares, &token).unwrap();
        assert_eq!((drilled.domain, drilled.version), (state.domain, state.version));
        assert_eq!(drilled.state, state.hash().unwrap());
        let material = KeyToken::parse(&token.bytes).unwrap().attributes.material;
        assert_eq!(drilled.material, material);
        assert_eq!(device.state(), ModuleState::Uninitialised);

        let ballot = adding(&rig, &state, &identity, &[0, 2]);
        restore(&mut device, &set, &shares, &ballot).unwrap();
        device.reboot();
        let mut back = Rig::enter(device, 100, operators.clone());
        assert_eq!(decrypt(&mut back, &token, b"ctx", &blob).unwrap(), b"kept");
        let next = back.state();
        assert_eq!((next.version, next.previous), (state.version + 1, state.hash().unwrap()));
        assert_eq!((next.active_key(), next.members.len()), (2, 1));
        // It is a domain like any other: it serves, it is changed, and makes its next backup.
        let new = back.symmetric();
        encrypt(&mut back, &new, &[], b"x");
        make(&mut back);
    }
}

/// The host has the backup, all wrapped shares, the tokens, and every host key.
#[test]
fn a_host_reads_nothing_and_brings_nothing_back() {
    let mut rig = rig();
    let token = rig.symmetric();
    let (set, state) = (make(&mut rig), rig.state());
    let mut device = fresh(60);
    let identity = device.identity();
    let ballot = adding(&rig, &state, &identity, &[0, 1]);
    // No shares, and shares as they are kept.
    assert_eq!(restore(&mut device, &set, &[], &ballot), Err(ErrorCode::SHARES_MISSING));
    let kept: Vec<u8> = set.shares.iter().flat_map(|share| *share.as_bytes()).collect();
    assert_eq!(restore(&mut device, &set, &kept, &ballot), Err(ErrorCode::RECOVERY_INVALID));
    // Handovers of made-up shares, signed with a key that the host has.
    let strangers = Operators::development();
    let made_up: Vec<u8> = set.shares[..2]
        .iter()
        .flat_map(|share| {
            let ephemeral = SecretKey::generate_from_rng(&mut TestRng(1));
            let sign = |message: &[u8]| Ok(strangers.sign(0, message));
            let header = header(share, &identity);
            Handover::seal(&header, &identity.join, &ephemeral, &[7; 32], sign).unwrap()
        })
        .collect();
    assert_eq!(restore(&mut device, &set, &made_up, &ballot), Err(ErrorCode::RECOVERY_INVALID));
    assert_eq!(drill(&mut device, &set, &made_up, &token), Err(ErrorCode::RECOVERY_INVALID));
    assert_eq!(device.state(), ModuleState::Uninitialised);
}

#[test]
fn one_share_less_is_not_enough() {
    let mut rig = rig();
    let token = rig.symmetric();
    let (set, state) = (make(&mut rig), rig.state());
    let mut device = fresh(61);
    let identity = device.identity();
    let ballot = adding(&rig, &state, &identity, &[0, 1]);
    let missing = Err(ErrorCode::SHARES_MISSING);
    let one = handovers(&rig, &set, &[1], &identity);
    assert_eq!(restore(&mut device, &set, &one, &ballot), missing);
    assert_eq!(drill(&mut device, &set, &one, &token).map(drop), missing);
    // The same one twice is one, and under another number it is another one's.
    let invalid = Err(ErrorCode::RECOVERY_INVALID);
    let twice = [&one[..], &one].concat();
    assert_eq!(restore(&mut device, &set, &twice, &ballot), invalid);
    let share = &set.shares[1];
    let opened = share.open(&share_key(1)).unwrap();
    let renumbered = HandoverHeader { number: 3, ..header(share, &identity) };
    let posed = wrap(&rig, &renumbered, 1, &identity, &opened);
    assert_eq!(restore(&mut device, &set, &[one.clone(), posed].concat(), &ballot), invalid);
    // A backup that says it takes fewer.
    let mut lowered = set.clone();
    lowered.backup[BackupHeader::SIZE - 2] = 1;
    assert_eq!(restore(&mut device, &lowered, &one, &ballot), invalid);
    let digest = backup_digest(&lowered.backup);
    let rehashed = HandoverHeader { backup: digest, ..header(share, &identity) };
    let alone = wrap(&rig, &rehashed, 1, &identity, &opened);
    assert_eq!(restore(&mut device, &lowered, &alone, &ballot), invalid);
    assert_eq!(device.state(), ModuleState::Uninitialised);
}

#[test]
fn shares_of_two_backups_do_not_mix() {
    let mut rig = rig();
    let token = rig.symmetric();
    let first = make(&mut rig);
    let again = make(&mut rig);
    assert_ne!(first.shares[0].header.set, again.shares[0].header.set);
    let maker = rig.device.identity().device_id();
    rig.change(&[Change::RotateKey { maker }]).unwrap();
    let later = make(&mut rig);
    let mut other = shared(MemoryPlatform::with_seed(9), 300);
    let foreign = make(&mut other);
    let mut device = fresh(62);
    let identity = device.identity();
    let invalid = Err(ErrorCode::RECOVERY_INVALID);
    for mixed in [&again, &later, &foreign] {
        let ours = hand_over(&rig, &first.shares[0], 0, &identity);
        let theirs = hand_over(&rig, &mixed.shares[1], 1, &identity);
        let shares = [ours, theirs].concat();
        assert_eq!(drill(&mut device, &first, &shares, &token).map(drop), invalid);
        // Relabelled, and signed for by an operator who was talked into it.
        let ours = hand_over(&rig, &first.shares[0], 0, &identity);
        let opened = mixed.shares[1].open(&share_key(1)).unwrap();
        let relabelled = wrap(&rig, &header(&first.shares[1], &identity), 1, &identity, &opened);
        let shares = [ours, relabelled].concat();
        assert_eq!(drill(&mut device, &first, &shares, &token).map(drop), invalid);
        // Enough shares, and the backup of another time or domain.
        let shares = handovers(&rig, mixed, &[0, 1], &identity);
        assert_eq!(drill(&mut device, &first, &shares, &token).map(drop), invalid);
    }
    // Each with its own is fine; a token under a later key is not in an earlier backup.
    let new = rig.symmetric();
    let shares = handovers(&rig, &first, &[0, 1], &identity);
    drill(&mut device, &first, &shares, &token).unwrap();
    let refused = drill(&mut device, &first, &shares, &new);
    assert_eq!(refused.map(drop), Err(ErrorCode::TOKEN_INVALID));
    let shares = handovers(&rig, &later, &[0, 1], &identity);
    drill(&mut device, &later, &shares, &new).unwrap();
}

#[test]
fn a_handover_is_for_one_device() {
    let mut rig = rig();
    let token = rig.symmetric();
    let (set, state) = (make(&mut rig), rig.state());
    let (mut one, mut two) = (fresh(63), fresh(64));
    let (first, second) = (one.identity(), two.identity());
    let shares = handovers(&rig, &set, &[0, 1], &first);
    let invalid = Err(ErrorCode::RECOVERY_INVALID);
    assert_eq!(drill(&mut two, &set, &shares, &token).map(drop), invalid);
    let ballot = adding(&rig, &state, &second, &[0, 1]);
    assert_eq!(restore(&mut two, &set, &shares, &ballot), invalid);
    // With the name of the second device on it.
    let mut renamed = shares.clone();
    for handover in renamed.as_chunks_mut::<{ Handover::SIZE }>().0 {
        let at = Handover::SIZE - 64 - 48 - 33 - 16;
        handover[at..at + 16].copy_from_slice(second.device_id().as_bytes());
    }
    assert_eq!(drill(&mut two, &set, &renamed, &token).map(drop), invalid);
    // A device that was erased is another one, for which nothing was handed over.
    drill(&mut one, &set, &shares, &token).unwrap();
    crate::rig::wipe(&mut one);
    one.reboot();
    assert_ne!(one.identity().device_id(), first.device_id());
    assert_eq!(drill(&mut one, &set, &shares, &token).map(drop), invalid);
}

/// Enough holders of shares are not yet enough operators: the domain comes back as the rules have it.
#[test]
fn a_restored_device_is_one_that_the_quorum_has_signed_for() {
    let mut rig = rig();
    let (set, state) = (make(&mut rig), rig.state());
    let mut device = fresh(65);
    let identity = device.identity();
    let shares = handovers(&rig, &set, &[0, 1], &identity);
    let good = adding(&rig, &state, &identity, &[1, 2]);
    for (ballot, refusal) in [
        (adding(&rig, &state, &identity, &[]), ErrorCode::QUORUM_MISSING),
        (adding(&rig, &state, &identity, &[2]), ErrorCode::QUORUM_MISSING),
        (Operators::development().ballot(&state, &[], &[0]), ErrorCode::CHANGE_INVALID),
    ] {
        assert_eq!(restore(&mut device, &set, &shares, &ballot), Err(refusal));
    }
    // A good change, which is not about this device, or of another state.
    let elsewhere = adding(&rig, &state, &fresh(66).identity(), &[0, 1]);
    let refused = restore(&mut device, &set, &shares, &elsewhere);
    assert_eq!(refused, Err(ErrorCode::CHANGE_INVALID));
    let host = hsm_protocol::domain::Host {
        key: Host::new(500).public(),
        role: hsm_protocol::Role::Auditor,
    };
    rig.change(&[Change::AddHost(host)]).unwrap();
    let later = rig.state();
    let stale = adding(&rig, &later, &identity, &[0, 1]);
    assert_eq!(restore(&mut device, &set, &shares, &stale), Err(ErrorCode::STATE_STALE));
    assert_eq!(device.state(), ModuleState::Uninitialised);
    restore(&mut device, &set, &shares, &good).unwrap();
    // Once: it is no longer a fresh device.
    let mut session = Host::new(101).open(&mut device);
    let again =
        RestoreDomain { backup: Bytes(&set.backup), shares: Bytes(&shares), ballot: Bytes(&good) };
    assert_eq!(session.call(&mut device, &again).error(), ErrorCode::ROLE_DENIED);
}

/// Whoever makes up a backup with the true state chooses the keys in it. Operators who open shares of it
/// and sign the change would bring back a domain whose keys somebody knows.
#[test]
fn a_backup_is_made_by_a_member() {
    let mut rig = rig();
    let (set, state) = (make(&mut rig), rig.state());
    // A second domain of the same operators, ruled on another device, with its own state.
    let mut forger = shared(MemoryPlatform::with_seed(9), 100);
    let theirs = make(&mut forger);
    let mut device = fresh(67);
    let identity = device.identity();
    let shares = handovers(&forger, &theirs, &[0, 1], &identity);
    let ballot = adding(&rig, &state, &identity, &[0, 1]);
    // The operators have signed a change of *their* domain's state, so that nothing else comes of it.
    assert_eq!(restore(&mut device, &theirs, &shares, &ballot), Err(ErrorCode::STATE_STALE));
    // Each changed byte of the backup, header and signature included.
    let shares = handovers(&rig, &set, &[0, 1], &identity);
    for index in (0..set.backup.len()).step_by(7).chain(set.backup.len() - 64..set.backup.len()) {
        let mut bad = set.clone();
        bad.backup[index] ^= 1;
        let rewrapped: Vec<u8> = (0..2)
            .flat_map(|number: usize| {
                let share = &set.shares[number];
                let opened = share.open(&share_key(number)).unwrap();
                // Operators who do not compare sign for whatever digest they are shown.
                let backup = backup_digest(&bad.backup);
                let header = HandoverHeader { backup, ..header(share, &identity) };
                wrap(&rig, &header, number, &identity, &opened)
            })
            .collect();
        for shares in [&shares, &rewrapped] {
            let refused = restore(&mut device, &bad, shares, &ballot);
            assert_eq!(refused, Err(ErrorCode::RECOVERY_INVALID), "byte {index}");
        }
    }
    assert_eq!(device.state(), ModuleState::Uninitialised);
    let parsed = Backup::parse(&set.backup).unwrap();
    assert_eq!(parsed.verify(&Portable, &rig.device.identity().signing), Ok(()));
    assert!(parsed.verify(&Portable, &identity.signing).is_err());
}

/// A backup of the true state with keys that the forger has chosen, and true shares of its secret for the true
/// holders. The forger names `maker` and signs with `key`.
fn forge(state: &DomainState, maker: &PublicKey, key: &SecretKey) -> Set {
    let sign = |message: &[u8]| {
        let digest = Sha256::digest(message);
        let signature: p256::ecdsa::Signature =
            SigningKey::from(key).sign_prehash(&digest).unwrap();
        Ok(Signature::from_bytes(&signature.to_bytes().into()))
    };
    let recovery = state.recovery.as_ref().unwrap();
    let header = BackupHeader {
        domain: state.domain,
        version: state.version,
        state: state.hash().unwrap(),
        set: [0x66; 16],
        maker: maker.device_id(),
        threshold: recovery.threshold,
        shares: u8::try_from(recovery.holders.len()).unwrap(),
    };
    let mut encoded = [0; MAX_STATE];
    let encoded = state.encode(&mut encoded).unwrap();
    let body = [&[2, 1][..], &1u32.to_le_bytes(), &[0], &[0x5a; 32], encoded].concat();
    let mut backup = vec![0; Backup::OVERHEAD + body.len()];
    let (secret, mut sealing) = (Secret::copy_from(&[9; 32]), Secret::zeroed());
    let (aad, rest) = header.write(&mut backup).unwrap();
    kbkdf::derive(secret.expose(), Purpose::RecoveryBackup, &[aad], &mut sealing).unwrap();
    rest[..body.len()].copy_from_slice(&body);
    let tag = aead::seal(&sealing, &aead::ZERO_IV, aad, &mut rest[..body.len()]).unwrap();
    rest[body.len()..][..16].copy_from_slice(&tag);
    let signed = backup.len() - Signature::SIZE;
    let signature = sign(&backup_message(&backup[..signed])).unwrap();
    backup[signed..].copy_from_slice(&signature.to_bytes());
    let sharing = Sharing::of(&secret, recovery.threshold, &mut TestRng(5)).unwrap();
    let shares = (1..).zip(&recovery.holders).map(|(number, holder)| {
        let mut share = Secret::zeroed();
        sharing.share(number, &mut share).unwrap();
        let header = ShareHeader {
            domain: state.domain,
            version: state.version,
            set: header.set,
            maker: header.maker,
            threshold: header.threshold,
            number,
            operator: holder.operator,
            backup: backup_digest(&backup),
        };
        let ephemeral = KeyPair::generate(&Portable, &mut TestRng(u64::from(number))).unwrap();
        let share = share.expose();
        Share::parse(
            &Share::seal(&Portable, &header, &holder.key, &ephemeral, share, sign).unwrap(),
        )
    });
    let shares = shares.collect::<Result<_, _>>().unwrap();
    Set { backup, shares }
}

/// Whoever knows the keys of a domain that people take for theirs knows all that will be under them.
#[test]
fn a_backup_with_chosen_keys_brings_nothing_back() {
    let mut rig = rig();
    let state = rig.state();
    let forger = SecretKey::generate_from_rng(&mut TestRng(66));
    let member = rig.device.identity().signing;
    let mut device = fresh(70);
    let identity = device.identity();
    // In the forger's own name, and in that of the true member.
    for maker in [public(&forger), member] {
        let forged = forge(&state, &maker, &forger);
        // An operator's tool sees that the share is not of a member, before it opens it.
        assert_eq!(forged.shares[0].verify(&member), Err(ErrorCode::RECOVERY_INVALID));
        // Operators who do not look, and sign all the same.
        let shares = handovers(&rig, &forged, &[0, 1], &identity);
        let ballot = adding(&rig, &state, &identity, &[0, 1]);
        let refused = restore(&mut device, &forged, &shares, &ballot);
        assert_eq!(refused, Err(ErrorCode::RECOVERY_INVALID));
    }
    assert_eq!(device.state(), ModuleState::Uninitialised);
}

#[test]
fn every_changed_byte_of_a_handover_is_the_same_error() {
    let mut rig = rig();
    let token = rig.symmetric();
    let set = make(&mut rig);
    let mut device = fresh(68);
    let shares = handovers(&rig, &set, &[0, 2], &device.identity());
    for index in 0..Handover::SIZE {
        let mut bad = shares.clone();
        bad[index] ^= 2;
        let refused = drill(&mut device, &set, &bad, &token).map(drop);
        assert_eq!(refused, Err(ErrorCode::RECOVERY_INVALID), "byte {index}");
    }
    for length in [1, Handover::SIZE - 1, Handover::SIZE + 1, shares.len() - 1] {
        let refused = drill(&mut device, &set, &shares[..length], &token).map(drop);
        assert_eq!(refused, Err(ErrorCode::RECOVERY_INVALID), "{length} bytes");
    }
    let nine: Vec<u8> = shares.iter().copied().cycle().take(9 * Handover::SIZE).collect();
    let refused = drill(&mut device, &set, &nine, &token).map(drop);
    assert_eq!(refused, Err(ErrorCode::RECOVERY_INVALID));
    // More than enough are fine.
    let three = handovers(&rig, &set, &[2, 0, 1], &device.identity());
    drill(&mut device, &set, &three, &token).unwrap();
}

/// An operator's share is for the operator, whatever the host and the other operators have.
#[test]
fn a_share_opens_for_its_holder_only() {
    let mut rig = rig();
    let set = make(&mut rig);
    let maker = rig.device.identity().signing;
    for (number, share) in set.shares.iter().enumerate() {
        assert_eq!(share.verify(&maker), Ok(()));
        assert_eq!(share.header.operator, rig.operators.operator(number).id());
        assert_eq!(share.header.backup, backup_digest(&set.backup));
        for other in 0..3 {
            assert_eq!(share.open(&share_key(other)).is_ok(), other == number);
        }
        for index in 0..Share::SIZE {
            let mut bad = *share.as_bytes();
            bad[index] ^= 2;
            let opened = Share::parse(&bad).and_then(|share| {
                share.verify(&maker)?;
                share.open(&share_key(number)).map(drop)
            });
            assert_eq!(opened, Err(ErrorCode::RECOVERY_INVALID), "byte {index}");
        }
    }
}

#[test]
fn shares_are_for_who_is_named_in_the_state() {
    let mut rig = Rig::founded(MemoryPlatform::new(), 100, Operators::production(2, 3));
    assert_eq!(rig.call(&MakeRecovery).error(), ErrorCode::RECOVERY_ABSENT);
    let before = rig.symmetric();
    share(&mut rig, 2, &[0, 2]).unwrap();
    assert_eq!(make(&mut rig).shares.len(), 2);
    // Keys that shares can bring back say so.
    let history = |rig: &mut Rig, token: &Token| {
        use hsm_protocol::attestation::Signed;
        use hsm_protocol::command::statement::AttestKey;
        let nonce = Bytes(&[1; 16]);
        let reply = rig.call(&AttestKey { key: token.key(), nonce });
        let statement = reply.ok::<AttestKey>().statement.to_vec();
        let signed = Signed::parse(&statement).unwrap();
        signed.verify(&rig.device.identity().signing).unwrap().key.unwrap().history
    };
    assert!(history(&mut rig, &before).contains(History::RECOVERABLE));
    let maker = rig.device.identity().device_id();
    let none = Change::SetRecovery { threshold: 0, holders: Bytes(&[]) };
    assert_eq!(rig.change(&[none]), Err(ErrorCode::CHANGE_INVALID));
    rig.change(&[none, Change::RotateKey { maker }]).unwrap();
    assert!(history(&mut rig, &before).contains(History::RECOVERABLE));
    let after = rig.symmetric();
    assert!(!history(&mut rig, &after).contains(History::RECOVERABLE));
    assert_eq!(rig.call(&MakeRecovery).error(), ErrorCode::RECOVERY_ABSENT);
    // A device that waits for keys has none to back up.
    share(&mut rig, 2, &[0, 2]).unwrap();
    let mut second = rig.second(MemoryPlatform::with_seed(2), 100);
    let state = rig.state();
    let ballot = rig.operators.ballot(&state, &[Change::RotateKey { maker }], &[0, 1]);
    rig.submit(&ballot).unwrap();
    second.submit(&ballot).unwrap();
    assert_eq!(second.call(&MakeRecovery).error(), ErrorCode::KEYS_MISSING);
    make(&mut rig);
}

/// The full table: eight operators, eight shares, a full domain.
#[test]
fn eight_holders_and_all_of_them_needed() {
    let mut rig = Rig::founded(MemoryPlatform::new(), 100, Operators::production(8, 8));
    share(&mut rig, 8, &[0, 1, 2, 3, 4, 5, 6, 7]).unwrap();
    let token = rig.symmetric();
    let set = make(&mut rig);
    let mut device = fresh(69);
    let identity = device.identity();
    let all = handovers(&rig, &set, &[7, 6, 5, 4, 3, 2, 1, 0], &identity);
    drill(&mut device, &set, &all, &token).unwrap();
    let seven = &all[..7 * Handover::SIZE];
    let refused = drill(&mut device, &set, seven, &token).map(drop);
    assert_eq!(refused, Err(ErrorCode::SHARES_MISSING));
}
