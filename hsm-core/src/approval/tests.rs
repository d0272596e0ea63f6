//! The table against one on paper: random questions, signatures, uses and pauses.

use std::vec::Vec as StdVec;

use heapless::Vec;
use hsm_protocol::curve::Portable;
use hsm_protocol::domain::{
    DeviceKind, DomainKeyEntry, Kind, Member, Operator, OperatorRole, Rule, Rules, Vote,
};
use hsm_protocol::identity::{PublicKey, Signature};
use hsm_protocol::key_spec::{KeySpec, KeyUsage, Origin};
use hsm_protocol::token::History;
use hsm_protocol::{DeviceId, DomainId, KeyId};
use p256::ecdsa::SigningKey;
use p256::ecdsa::signature::hazmat::PrehashSigner;
use proptest::prelude::*;
use sha2::{Digest, Sha256};

use super::*;

const RULE: Rule = Rule { total: 2, officers: 0 };

fn key(seed: u8) -> SigningKey {
    SigningKey::from_slice(&[seed; 32]).unwrap()
}

fn public(seed: u8) -> PublicKey {
    PublicKey::from_point(&p256::PublicKey::from(key(seed).verifying_key()))
}

/// A domain of operators 1, 2 and 3.
fn state() -> DomainState {
    let operator = |seed| Operator { key: public(seed), role: OperatorRole::Operator };
    let member = Member { signing: public(9), join: public(10), kind: DeviceKind::Emulated };
    DomainState {
        domain: DomainId([1; 16]),
        name: heapless::String::new(),
        kind: Kind::Development,
        version: 1,
        previous: [0; 32],
        operators: [1, 2, 3].map(operator).into_iter().collect(),
        rules: Rules::uniform(2),
        device_ca: None,
        members: [member].into_iter().collect(),
        keys: [DomainKeyEntry { id: 1, maker: member.device_id() }].into_iter().collect(),
        hosts: Vec::new(),
        peers: Vec::new(),
        roots: Vec::new(),
        recovery: None,
    }
}

fn attributes(material: u8) -> KeyAttributes {
    KeyAttributes {
        domain: DomainId([1; 16]),
        domain_key: 1,
        key: KeyId::single_region([1; 16]),
        material: MaterialId([material; 32]),
        spec: KeySpec::HMAC_256,
        usage: KeyUsage::GENERATE_VERIFY_MAC,
        origin: Origin::AWS_KMS,
        history: History::CLEAN,
        approval: Some(RULE),
    }
}

fn asked(host: u8, material: u8, request: u8, challenge: u8) -> ApprovalRequest {
    ApprovalRequest {
        domain: DomainId([1; 16]),
        device: DeviceId([9; 16]),
        host: HostId([host; 16]),
        key: KeyId::single_region([1; 16]),
        material: MaterialId([material; 32]),
        rule: RULE,
        opcode: Opcode::GenerateMac,
        request: [request; 32],
        challenge: [challenge; 16],
    }
}

fn votes(asked: &ApprovalRequest, signers: &[u8]) -> Votes {
    let digest = Sha256::digest(asked.message());
    let vote = |seed: &u8| {
        let signature: p256::ecdsa::Signature = key(*seed).sign_prehash(&digest).unwrap();
        let signature = Signature::from_bytes(&signature.to_bytes().into());
        Vote { operator: public(*seed).operator_id(), signature }
    };
    signers.iter().map(vote).collect()
}

#[derive(Clone, Debug)]
enum Event {
    /// A host asks for a request with a key.
    Ask(u8, u8, u8),
    /// Operators sign the question with this number, counted from the last.
    Approve(usize, StdVec<u8>),
    /// A host sends a request with a key.
    Use(u8, u8, u8),
    /// Hours pass.
    Pass(u64),
    Change,
}

fn events() -> impl Strategy<Value = StdVec<Event>> {
    let small = || 0u8..2;
    let signers = prop::collection::btree_set(1u8..4, 0..4);
    let event = prop_oneof![
        4 => (small(), small(), small()).prop_map(|(host, key, what)| Event::Ask(host, key, what)),
        4 => (0usize..4, signers).prop_map(|(which, who)| Event::Approve(which, who.into_iter().collect())),
        4 => (small(), small(), small()).prop_map(|(host, key, what)| Event::Use(host, key, what)),
        1 => (1u64..12).prop_map(Event::Pass),
        1 => Just(Event::Change),
    ];
    prop::collection::vec(event, 0..40)
}

/// What somebody with pencil and paper writes down.
struct Line {
    asked: ApprovalRequest,
    hour: u64,
    is_approved: bool,
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn approvals_are_as_on_paper(events in events()) {
        let state = state();
        let (mut approvals, mut paper) = (Approvals::new(), StdVec::<Line>::new());
        let (mut hour, mut drawn) = (0, 0u8);
        let mut questions = StdVec::new();
        for event in events {
            let now = hour * 3_600_000_000;
            paper.retain(|line| hour - line.hour < 24);
            match event {
                Event::Ask(host, material, request) => {
                    drawn += 1;
                    let asked = asked(host, material, request, drawn);
                    questions.push(asked);
                    approvals.ask(asked, now).unwrap();
                    if paper.len() == SLOTS {
                        let own = paper.iter().position(|line| line.asked.host == asked.host);
                        paper.remove(own.unwrap_or(0));
                    }
                    paper.push(Line { asked, hour, is_approved: false });
                }
                Event::Approve(which, signers) => {
                    let Some(asked) = questions.iter().rev().nth(which) else { continue };
                    let votes = votes(asked, &signers);
                    let done = approvals.approve(&asked.challenge, &votes, (&state, &Portable), now);
                    let line = paper.iter_mut().find(|line| line.asked.challenge == asked.challenge);
                    let expected = match line {
                        None => Err(ErrorCode::APPROVAL_UNKNOWN),
                        Some(_) if signers.len() < 2 => Err(ErrorCode::QUORUM_MISSING),
                        Some(line) => {
                            line.is_approved = true;
                            Ok(asked.material)
                        }
                    };
                    prop_assert_eq!(done, expected);
                }
                Event::Use(host, material, request) => {
                    let what = (Opcode::GenerateMac, &[request; 32]);
                    let host = HostId([host; 16]);
                    let key = attributes(material);
                    let done = approvals.claim(Some(host), &key, what, now);
                    let line = paper.iter().position(|line| {
                        line.is_approved
                            && line.asked.host == host
                            && line.asked.material == key.material
                            && line.asked.request == [request; 32]
                    });
                    prop_assert_eq!(done.is_ok(), line.is_some());
                    line.map(|line| paper.remove(line));
                }
                Event::Pass(hours) => hour += hours,
                Event::Change => {
                    approvals.clear();
                    paper.clear();
                }
            }
        }
    }
}
