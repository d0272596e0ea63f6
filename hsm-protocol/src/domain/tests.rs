use heapless::{String, Vec};
use p256::ecdsa::SigningKey;
use p256::ecdsa::signature::hazmat::PrehashSigner;
use std::vec as stdvec;

use super::change::Votes;
use super::*;
use crate::Role;
use crate::attestation::Measurement;
use crate::bytes::Bytes;
use crate::command::replica::DomainKeyInfo;
use crate::curve::Portable;
use crate::id::{DeviceId, DomainId};
use crate::identity::{IdentityDocument, PublicKey, Signature};

mod model;

type Bytevec = stdvec::Vec<u8>;

fn key(seed: u8) -> SigningKey {
    SigningKey::from_slice(&[seed.max(1); 32]).unwrap()
}

fn public(seed: u8) -> PublicKey {
    PublicKey::from_point(&p256::PublicKey::from(key(seed).verifying_key()))
}

fn sign(seed: u8, message: &[u8]) -> Signature {
    let signature: p256::ecdsa::Signature =
        key(seed).sign_prehash(&Sha256::digest(message)).unwrap();
    Signature::from_bytes(&signature.to_bytes().into())
}

fn identity(seed: u8) -> IdentityDocument {
    let (signing, link, join) = (public(seed), public(seed + 1), public(seed + 2));
    let signature = sign(seed, &IdentityDocument::message(&signing, &link, &join));
    IdentityDocument { signing, link, join, signature }
}

fn member(seed: u8) -> Member {
    Member { signing: public(seed), join: public(seed + 2), kind: DeviceKind::Hardware }
}

fn operator(seed: u8, role: OperatorRole) -> Operator {
    Operator { key: public(seed), role }
}

const OPERATORS: [u8; 3] = [1, 2, 3];
const DEVICE: u8 = 100;
const OTHER: u8 = 110;

/// Two of three operators, one of them a security officer; one device.
fn founded() -> DomainState {
    let mut state = DomainState {
        domain: DomainId([0; 16]),
        name: String::try_from("vault").unwrap(),
        kind: Kind::Production,
        version: 1,
        previous: [0; 32],
        operators: Vec::from_slice(&[
            operator(1, OperatorRole::SecurityOfficer),
            operator(2, OperatorRole::Operator),
            operator(3, OperatorRole::Operator),
        ])
        .unwrap(),
        rules: Rules::uniform(2),
        device_ca: None,
        members: Vec::from_slice(&[member(DEVICE)]).unwrap(),
        keys: Vec::from_slice(&[DomainKeyEntry { id: 1, maker: member(DEVICE).device_id() }])
            .unwrap(),
        hosts: Vec::new(),
        peers: Vec::new(),
        roots: Vec::new(),
        recovery: None,
    };
    state.domain = state.founding_id().unwrap();
    state
}

fn encode(changes: &[Change<'_>]) -> Bytevec {
    changes.iter().flat_map(|change| postcard::to_allocvec(change).unwrap()).collect()
}

/// A postcard proposal.
fn propose(state: &DomainState, changes: &[Change<'_>]) -> Bytevec {
    let changes = encode(changes);
    let (domain, version) = (state.domain, state.version + 1);
    let previous = state.hash().unwrap();
    let proposal = Proposal { domain, version, previous, changes: Bytes(&changes) };
    postcard::to_allocvec(&proposal).unwrap()
}

/// Signs whatever a proposal leads to, valid or not.
fn vote(state: &DomainState, proposal: &[u8], signers: &[u8]) -> Votes {
    let outcome = state.apply(&Proposal::decode(proposal).unwrap(), &Portable);
    let next = outcome.map_or([0; 32], |outcome| outcome.next.hash().unwrap());
    let message = signed_message(proposal, &next);
    signers
        .iter()
        .map(|seed| Vote {
            operator: public(*seed).operator_id(),
            signature: sign(*seed, &message),
        })
        .collect()
}

fn outcome(
    state: &DomainState,
    changes: &[Change<'_>],
    signers: &[u8],
) -> Result<Outcome, ErrorCode> {
    let proposal = propose(state, changes);
    let votes = vote(state, &proposal, signers);
    state.decide(&Ballot { proposal: Bytes(&proposal), votes }, &Portable)
}

fn decide(
    state: &DomainState,
    changes: &[Change<'_>],
    signers: &[u8],
) -> Result<DomainState, ErrorCode> {
    outcome(state, changes, signers).map(|outcome| outcome.next)
}

fn add(seed: u8) -> Change<'static> {
    let identity = identity(seed);
    Change::AddMember { identity, kind: DeviceKind::Hardware, certificate: None }
}

const HOST: Host = Host { key: PublicKey { tag: 0, x: [0; 32] }, role: Role::CryptoUser };

fn host(seed: u8) -> Host {
    Host { key: public(seed), ..HOST }
}

#[test]
fn a_quorum_changes_the_domain_and_less_does_not() {
    let state = founded();
    let next = decide(&state, &[add(OTHER)], &[1, 3]).unwrap();
    assert_eq!((next.version, next.previous), (2, state.hash().unwrap()));
    assert!(next.member(member(OTHER).device_id()).is_some());
    let refused = |signers: &[u8]| decide(&state, &[add(OTHER)], signers).unwrap_err();
    assert_eq!(refused(&[]), ErrorCode::QUORUM_MISSING);
    assert_eq!(refused(&[2]), ErrorCode::QUORUM_MISSING);
    assert_eq!(refused(&[2, 2]), ErrorCode::SIGNATURE_INVALID, "one person is one person");
    assert_eq!(refused(&[1, 2, 9]), ErrorCode::SIGNATURE_INVALID, "a stranger");
}

#[test]
fn a_signature_is_for_one_change_of_one_state_of_one_domain() {
    let state = founded();
    let proposal = propose(&state, &[add(OTHER)]);
    let votes = vote(&state, &proposal, &[1, 2]);
    let ballot = Ballot { proposal: Bytes(&proposal), votes: votes.clone() };
    let next = state.decide(&ballot, &Portable).unwrap().next;
    // Once more, to the state that it led to.
    assert_eq!(next.decide(&ballot, &Portable).unwrap_err(), ErrorCode::STATE_STALE);
    // To another domain, of the same operators.
    let mut other = DomainState { name: String::try_from("other").unwrap(), ..founded() };
    other.domain = other.founding_id().unwrap();
    assert_ne!(other.domain, state.domain);
    assert_eq!(other.decide(&ballot, &Portable).unwrap_err(), ErrorCode::STATE_STALE);
    // The signatures under another proposal: for this state, and for the next version of it.
    let forged = propose(&state, &[add(OTHER), add(OTHER + 3)]);
    let forged = Ballot { proposal: Bytes(&forged), votes: votes.clone() };
    assert_eq!(state.decide(&forged, &Portable).unwrap_err(), ErrorCode::SIGNATURE_INVALID);
    let later = propose(&next, &[add(OTHER + 3)]);
    let later = Ballot { proposal: Bytes(&later), votes };
    assert_eq!(next.decide(&later, &Portable).unwrap_err(), ErrorCode::SIGNATURE_INVALID);
    // Two ceremonies at once: what was signed for the same state is stale after the first.
    let second = propose(&state, &[Change::AddHost(host(20))]);
    let second = Ballot { votes: vote(&state, &second, &[1, 2]), proposal: Bytes(&second) };
    assert!(state.decide(&second, &Portable).is_ok());
    assert_eq!(next.decide(&second, &Portable).unwrap_err(), ErrorCode::STATE_STALE);
}

#[test]
fn rules_demand_security_officers_and_lowering_one_needs_it() {
    let mut rules = Rules::uniform(2);
    rules.quorum[Class::Members as usize] = Rule { total: 3, officers: 1 };
    let state = decide(&founded(), &[Change::SetRules(rules)], &[2, 3]).unwrap();
    assert_eq!(decide(&state, &[add(OTHER)], &[1, 2]).unwrap_err(), ErrorCode::QUORUM_MISSING);
    assert!(decide(&state, &[add(OTHER)], &[1, 2, 3]).is_ok());
    // Two may change rules, and not this one back.
    let lower = [Change::SetRules(Rules::uniform(2))];
    assert_eq!(decide(&state, &lower, &[1, 2]).unwrap_err(), ErrorCode::QUORUM_MISSING);
    assert!(decide(&state, &lower, &[1, 2, 3]).is_ok());
    let mut higher = rules;
    higher.quorum[Class::Keys as usize] = Rule { total: 3, officers: 0 };
    assert!(decide(&state, &[Change::SetRules(higher)], &[1, 2]).is_ok());
    // Nor may two bring in operators, by whom they would meet it.
    let more = [Change::AddOperator(operator(4, OperatorRole::SecurityOfficer))];
    assert_eq!(decide(&state, &more, &[1, 2]).unwrap_err(), ErrorCode::QUORUM_MISSING);
    let fewer = [Change::RemoveOperator(public(3).operator_id())];
    assert_eq!(decide(&state, &fewer, &[1, 2, 3]).unwrap_err(), ErrorCode::RULES_DENIED);
    // A rule that asks for officers counts no others.
    rules.quorum[Class::Hosts as usize] = Rule { total: 2, officers: 1 };
    let state = decide(&founded(), &[Change::SetRules(rules)], &[2, 3]).unwrap();
    let host = [Change::AddHost(host(20))];
    assert_eq!(decide(&state, &host, &[2, 3]).unwrap_err(), ErrorCode::QUORUM_MISSING);
    assert!(decide(&state, &host, &[2, 1]).is_ok());
}

#[test]
fn a_mirrored_key_is_no_second_person() {
    let mut mirrored = operator(1, OperatorRole::Operator);
    mirrored.key.tag ^= 1;
    assert!(mirrored.key.to_point().is_ok());
    assert_ne!(mirrored.id(), public(1).operator_id());
    let change = [Change::AddOperator(mirrored)];
    assert_eq!(decide(&founded(), &change, &OPERATORS).unwrap_err(), ErrorCode::CHANGE_INVALID);
}

#[test]
fn who_leaves_takes_no_key_that_is_used_on() {
    let (ours, gone) = (member(DEVICE).device_id(), member(OTHER).device_id());
    let state = decide(&founded(), &[add(OTHER)], &[1, 2]).unwrap();
    let remove = Change::RemoveMember(gone);
    let refused = |changes: &[Change<'_>]| decide(&state, changes, &[1, 2]).unwrap_err();
    assert_eq!(refused(&[remove]), ErrorCode::CHANGE_INVALID);
    let by_who_leaves = [remove, Change::RotateKey { maker: gone }];
    assert_eq!(refused(&by_who_leaves), ErrorCode::CHANGE_INVALID);
    let next = decide(&state, &[remove, Change::RotateKey { maker: ours }], &[1, 2]).unwrap();
    assert_eq!((next.active_key(), next.keys.len()), (2, 2));
    // Former keys have a limit, and the active one stays.
    let rotate = [Change::RotateKey { maker: ours }];
    let mut full = next;
    for _ in full.keys.len()..MAX_DOMAIN_KEYS {
        full = decide(&full, &rotate, &[1, 2]).unwrap();
    }
    assert_eq!(decide(&full, &rotate, &[1, 2]).unwrap_err(), ErrorCode::TABLE_FULL);
    let active = [Change::RemoveKey(full.active_key())];
    assert_eq!(decide(&full, &active, &[1, 2]).unwrap_err(), ErrorCode::CHANGE_INVALID);
    assert!(decide(&full, &[Change::RemoveKey(1), rotate[0]], &[1, 2]).is_ok());
    // Nothing can be under another key yet.
    let at_once = [Change::RemoveKey(1), rotate[0], Change::RemoveKey(full.active_key())];
    assert_eq!(decide(&full, &at_once, &[1, 2]).unwrap_err(), ErrorCode::CHANGE_INVALID);
    let rotated = decide(&full, &at_once[..2], &[1, 2]).unwrap();
    let later = [Change::RemoveKey(full.active_key())];
    assert!(decide(&rotated, &later, &[1, 2]).is_ok());
}

#[test]
fn a_production_domain_is_one() {
    let refused = |change: Change<'_>| decide(&founded(), &[change], &OPERATORS).unwrap_err();
    assert_eq!(refused(Change::SetRules(Rules::uniform(1))), ErrorCode::RULES_DENIED);
    assert_eq!(
        refused(Change::AddOperator(operator(4, OperatorRole::Development))),
        ErrorCode::RULES_DENIED
    );
    for kind in [DeviceKind::Emulated, DeviceKind::InProcess] {
        let identity = identity(OTHER);
        let soft = Change::AddMember { identity, kind, certificate: None };
        assert_eq!(refused(soft), ErrorCode::RULES_DENIED);
        let rules = Rules { emulated_members: true, ..Rules::uniform(2) };
        assert!(decide(&founded(), &[Change::SetRules(rules), soft], &[1, 2]).is_ok());
    }
    // A development domain becomes one with new operators, and with a key that nobody could read.
    let mut open = founded();
    (open.kind, open.rules) = (Kind::Development, Rules::uniform(1));
    open.operators = Vec::from_slice(&[operator(9, OperatorRole::Development)]).unwrap();
    open.domain = open.founding_id().unwrap();
    let mut harden = stdvec![
        Change::AddOperator(operator(1, OperatorRole::Operator)),
        Change::AddOperator(operator(2, OperatorRole::Operator)),
        Change::RemoveOperator(public(9).operator_id()),
        Change::SetRules(Rules::uniform(2)),
        Change::SetKind(Kind::Production),
    ];
    assert_eq!(decide(&open, &harden, &[9]).unwrap_err(), ErrorCode::CHANGE_INVALID);
    harden.push(Change::RotateKey { maker: member(DEVICE).device_id() });
    let hardened = decide(&open, &harden, &[9]).unwrap();
    assert_eq!(
        decide(&hardened, &[Change::SetKind(Kind::Development)], &[9]).unwrap_err(),
        ErrorCode::SIGNATURE_INVALID
    );
}

#[test]
fn a_device_ca_vouches_for_members() {
    let ca = public(50);
    let state = decide(&founded(), &[Change::SetDeviceCa(Some(ca))], &[1, 2]).unwrap();
    let certify = |by: u8, seed: u8, kind| Certificate {
        kind,
        signature: sign(by, &Certificate::message(&public(50), &identity(seed), kind).unwrap()),
    };
    let add = |certificate| {
        let kind = DeviceKind::Hardware;
        let change = Change::AddMember { identity: identity(OTHER), kind, certificate };
        decide(&state, &[change], &[1, 2])
    };
    let hardware = DeviceKind::Hardware;
    assert!(add(Some(certify(50, OTHER, hardware))).is_ok());
    for certificate in [
        None,
        Some(certify(51, OTHER, hardware)),
        Some(certify(50, DEVICE, hardware)),
        Some(certify(50, OTHER, DeviceKind::Emulated)),
        Some(Certificate { kind: hardware, ..certify(50, OTHER, DeviceKind::Emulated) }),
    ] {
        assert_eq!(add(certificate).unwrap_err(), ErrorCode::CERTIFICATE_INVALID);
    }
    // A certificate signed by one CA is not a certificate of another.
    let other = DomainState { device_ca: Some(public(51)), ..state.clone() };
    let theirs = certify(51, OTHER, hardware);
    let add_there =
        Change::AddMember { identity: identity(OTHER), kind: hardware, certificate: Some(theirs) };
    assert_eq!(decide(&other, &[add_there], &[1, 2]).unwrap_err(), ErrorCode::CERTIFICATE_INVALID);
    let mut forged = identity(OTHER);
    forged.join = public(77);
    let change = Change::AddMember { identity: forged, kind: hardware, certificate: None };
    assert_eq!(decide(&founded(), &[change], &[1, 2]).unwrap_err(), ErrorCode::IDENTITY_INVALID);
}

#[test]
fn a_certificate_written_out_says_what_was_signed() {
    let (ca, device) = (public(50), identity(OTHER));
    for kind in DeviceKind::ALL {
        let message = Certificate::message(&ca, &device, kind).unwrap();
        let certificate = Certificate { kind, signature: sign(50, &message) };
        let der = certificate.to_der(&ca, &device).unwrap();
        let issued = Issued::read(&der, &ca).unwrap();
        assert_eq!((issued.signing, issued.kind), (device.signing, kind));
        assert!(issued.is_of(&device));
        // The same signing key with another join key is another device to share holders.
        let mut other = device;
        other.join = public(77);
        assert!(!issued.is_of(&other));
        let invalid = Err(ErrorCode::CERTIFICATE_INVALID);
        assert_eq!(Issued::read(&der, &public(51)), invalid, "another CA");
        for bit in 0..der.len() * 8 {
            let mut bad = der.to_vec();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Issued::read(&bad, &ca), invalid, "bit {bit}");
        }
        for length in 0..der.len() {
            assert_eq!(Issued::read(&der[..length], &ca), invalid, "{length} bytes");
        }
        assert_eq!(Issued::read(&[&der[..], &[0]].concat(), &ca), invalid);
        // A body of the right layout with a signature of somebody else.
        let forged = Certificate { kind, signature: sign(51, &message) };
        assert_eq!(Issued::read(&forged.to_der(&ca, &device).unwrap(), &ca), invalid);
    }
}

#[test]
fn a_device_ca_has_a_certificate() {
    let ca = public(50);
    let root = certificate::root(&ca, &sign(50, &certificate::root_message(&ca).unwrap())).unwrap();
    assert_eq!(certificate::read_root(&root), Ok(ca));
    let invalid = Err(ErrorCode::CERTIFICATE_INVALID);
    for bit in 0..root.len() * 8 {
        let mut bad = root.to_vec();
        bad[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(certificate::read_root(&bad), invalid, "bit {bit}");
    }
    // A device is not a CA.
    let device = identity(OTHER);
    let message = Certificate::message(&ca, &device, DeviceKind::Hardware).unwrap();
    let certificate = Certificate { kind: DeviceKind::Hardware, signature: sign(50, &message) };
    assert_eq!(certificate::read_root(&certificate.to_der(&ca, &device).unwrap()), invalid);
    assert_eq!(Issued::read(&root, &ca), Err(ErrorCode::CERTIFICATE_INVALID));
}

/// Operator `seed` has a share key `seed + 60`, which `by` has signed.
fn holder(state: &DomainState, seed: u8, by: u8) -> [u8; Holder::SIZE] {
    let (operator, key) = (public(seed).operator_id(), public(seed + 60));
    let signature = sign(by, &Holder::message(&state.domain, &key));
    Holder { operator, key }.to_bytes(&signature)
}

fn holders(state: &DomainState, seeds: &[u8]) -> Bytevec {
    seeds.iter().flat_map(|seed| holder(state, *seed, *seed)).collect()
}

#[test]
fn operators_hold_shares_with_keys_of_their_own() {
    let state = founded();
    let share = |threshold, holders: &[u8], signers: &[u8]| {
        decide(&state, &[Change::SetRecovery { threshold, holders: Bytes(holders) }], signers)
    };
    let good = holders(&state, &[1, 2, 3]);
    let next = share(2, &good, &[1, 3]).unwrap();
    let recovery = next.recovery.as_ref().unwrap();
    assert_eq!((recovery.threshold, recovery.holders.len()), (2, 3));
    assert_eq!(recovery.holder(public(3).operator_id()).unwrap().0, 3);

    assert_eq!(share(2, &good, &[1]).unwrap_err(), ErrorCode::QUORUM_MISSING);
    // Fewer than it takes to change the domain, or more than there are.
    for threshold in [0, 1, 4] {
        let refused = share(threshold, &good, &[1, 2]).unwrap_err();
        assert_eq!(refused, ErrorCode::CHANGE_INVALID, "{threshold}");
    }
    // A key that somebody else has signed, of a stranger, twice, for another domain, cut short.
    let own = holder(&state, 1, 1);
    let swapped = [own, holder(&state, 2, 1)].concat();
    assert_eq!(share(2, &swapped, &[1, 2]).unwrap_err(), ErrorCode::SIGNATURE_INVALID);
    let stranger = [own, holder(&state, 9, 9)].concat();
    assert_eq!(share(2, &stranger, &[1, 2]).unwrap_err(), ErrorCode::CHANGE_INVALID);
    assert_eq!(share(2, &[own, own].concat(), &[1, 2]).unwrap_err(), ErrorCode::CHANGE_INVALID);
    let elsewhere = DomainState { domain: DomainId([9; 16]), ..state.clone() };
    let foreign = holders(&elsewhere, &[1, 2]);
    assert_eq!(share(2, &foreign, &[1, 2]).unwrap_err(), ErrorCode::SIGNATURE_INVALID);
    assert_eq!(share(2, &good[1..], &[1, 2]).unwrap_err(), ErrorCode::CHANGE_INVALID);
}

#[test]
fn who_holds_a_share_leaves_without_what_comes() {
    let mut open = founded();
    open.operators.push(operator(4, OperatorRole::Operator)).unwrap();
    open.domain = open.founding_id().unwrap();
    let all = holders(&open, &[1, 2, 3, 4]);
    let set = Change::SetRecovery { threshold: 2, holders: Bytes(&all) };
    let state = decide(&open, &[set], &[1, 2]).unwrap();
    let rotate = Change::RotateKey { maker: member(DEVICE).device_id() };
    let gone = Change::RemoveOperator(public(4).operator_id());
    let refused = decide(&state, &[gone], &[1, 2]).unwrap_err();
    assert_eq!(refused, ErrorCode::CHANGE_INVALID);
    let next = decide(&state, &[gone, rotate], &[1, 2]).unwrap();
    assert_eq!(next.recovery.unwrap().holders.len(), 3);
    // Nor by two steps: no share any more, and then no operator.
    let three = holders(&open, &[1, 2, 3]);
    let fewer = Change::SetRecovery { threshold: 2, holders: Bytes(&three) };
    let none = Change::SetRecovery { threshold: 0, holders: Bytes(&[]) };
    for change in [fewer, none] {
        let refused = decide(&state, &[change], &[1, 2]).unwrap_err();
        assert_eq!(refused, ErrorCode::CHANGE_INVALID);
        decide(&state, &[change, rotate], &[1, 2]).unwrap();
    }
    // A stricter rule than there are shares for is refused until there are.
    let strict = Change::SetRules(Rules::uniform(3));
    assert_eq!(decide(&state, &[strict], &[1, 2]).unwrap_err(), ErrorCode::CHANGE_INVALID);
    let more = Change::SetRecovery { threshold: 3, holders: Bytes(&all) };
    decide(&state, &[strict, more], &[1, 2]).unwrap();
}

#[test]
fn a_founding_is_signed_by_who_will_rule() {
    let state = founded();
    let message = signed_message(&[], &state.hash().unwrap());
    let votes = |signers: &[u8]| -> Votes {
        let vote = |seed: &u8| {
            let operator = public(*seed).operator_id();
            Vote { operator, signature: sign(*seed, &message) }
        };
        signers.iter().map(vote).collect()
    };
    assert_eq!(state.check_founding(&votes(&[1, 2]), &Portable), Ok(()));
    assert_eq!(state.check_founding(&votes(&[1]), &Portable), Err(ErrorCode::QUORUM_MISSING));
    // The id names the founders.
    let renamed = DomainState { domain: DomainId([7; 16]), ..founded() };
    assert_eq!(renamed.check_founding(&votes(&[1, 2]), &Portable), Err(ErrorCode::CHANGE_INVALID));
    let others = DomainState { rules: Rules::uniform(3), ..founded() };
    assert_eq!(others.check_founding(&votes(&[1, 2]), &Portable), Err(ErrorCode::CHANGE_INVALID));
}

#[test]
fn encodings_are_strict_and_the_longest_state_fits() {
    let mut state = founded();
    let mut buffer = [0; MAX_STATE];
    let encoded = state.encode(&mut buffer).unwrap().to_vec();
    assert_eq!(DomainState::decode(&encoded).unwrap(), state);
    let mut longer = encoded.clone();
    longer.push(0);
    for bad in [&encoded[1..], &encoded[..encoded.len() - 1], &longer, &[]] {
        assert_eq!(DomainState::decode(bad).unwrap_err(), ErrorCode::DOMAIN_STATE_INVALID);
    }
    let numbers = |count: usize| 0..u8::try_from(count).unwrap();
    state.name = String::try_from("a name of thirty-two characters.").unwrap();
    state.version = u32::MAX;
    state.operators =
        numbers(MAX_OPERATORS).map(|n| operator(n + 1, OperatorRole::Operator)).collect();
    state.members = numbers(MAX_MEMBERS).map(|n| member(n * 3 + 100)).collect();
    state.hosts = numbers(MAX_HOSTS).map(|n| host(n + 20)).collect();
    state.device_ca = Some(public(50));
    let maker = member(DEVICE).device_id();
    state.keys = numbers(MAX_DOMAIN_KEYS)
        .map(|n| DomainKeyEntry { id: u32::MAX - 9 + u32::from(n), maker })
        .collect();
    let peer =
        |n| DomainKeyInfo { domain: DomainId([n; 16]), domain_key: u32::MAX, public: public(9) };
    state.peers = numbers(MAX_PEERS).map(peer).collect();
    state.roots = numbers(8).map(|n| [n; 32]).collect();
    let holder = |n: u8| Holder { operator: public(n + 1).operator_id(), key: public(n + 60) };
    let holders = numbers(MAX_OPERATORS).map(holder).collect();
    state.recovery = Some(Recovery { threshold: 8, holders });
    state.previous = [1; 32];
    assert_eq!(state.check(), Ok(()));
    let length = state.encode(&mut buffer).unwrap().len();
    assert!(length > 2000, "{length}");
}

#[test]
fn proposals_are_bounded() {
    let state = founded();
    let refused = |changes: &[u8]| {
        let (domain, version) = (state.domain, 2);
        let previous = state.hash().unwrap();
        let proposal = Proposal { domain, version, previous, changes: Bytes(changes) };
        state.apply(&proposal, &Portable).map(drop).unwrap_err()
    };
    assert_eq!(refused(&[]), ErrorCode::CHANGE_INVALID);
    assert_eq!(refused(&[0xff]), ErrorCode::CHANGE_INVALID);
    let many = encode(&[Change::SetDeviceCa(None); MAX_CHANGES + 1]);
    assert_eq!(refused(&many), ErrorCode::CHANGE_INVALID);
    let mut cut = encode(&[add(OTHER)]);
    cut.pop();
    assert_eq!(refused(&cut), ErrorCode::CHANGE_INVALID);
    assert_eq!(Proposal::decode(&[0; MAX_PROPOSAL + 1]), Err(ErrorCode::CHANGE_INVALID));
}

#[test]
fn the_quorum_for_members_permits_firmware() {
    let mut state = founded();
    state.rules.quorum[usize::from(Class::Members as u8)] = Rule { total: 3, officers: 1 };
    let image = Measurement([7; 32]);
    let permit = |changes: &[Change<'_>], signers: &[u8]| outcome(&state, changes, signers);
    let change = Change::PermitFirmware(image);
    assert_eq!(permit(&[change], &[1, 2]).unwrap_err(), ErrorCode::QUORUM_MISSING);
    let permitted = permit(&[change], &OPERATORS).unwrap();
    assert_eq!(permitted.firmware, Some(image));
    // The permission is for devices to keep: the state is that of before, except for its number.
    let before = DomainState { version: 2, previous: state.hash().unwrap(), ..state.clone() };
    assert_eq!(permitted.next, before);
    assert_eq!(permit(&[change, change], &OPERATORS).unwrap_err(), ErrorCode::CHANGE_INVALID);
}
