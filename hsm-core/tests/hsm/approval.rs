//! Keys whose uses operators approve.

use hsm_core::testing::MemoryPlatform;
use hsm_protocol::approval::digest;
use hsm_protocol::command::Command;
use hsm_protocol::command::approval::{
    ApprovalRequest, Approve, GenerateGuardedKey, PermitDeletion, PrepareGuardedPair,
    RequestApproval, RequireApproval,
};
use hsm_protocol::command::cipher::{Decrypt, Encrypt, GenerateDataKeyPair, ReEncrypt};
use hsm_protocol::command::import::ParametersForImport;
use hsm_protocol::command::key::{AdoptKeyPair, ExportPublicKey, GenerateKey, RewrapKey};
use hsm_protocol::command::mac::GenerateMac;
use hsm_protocol::command::replica::{DomainKeyInfo, ExportReplica};
use hsm_protocol::command::sign::{Sign, Verify};
use hsm_protocol::command::statement::AttestKey;
use hsm_protocol::domain::change::Votes;
use hsm_protocol::domain::{Change, OperatorRole, Rule};
use hsm_protocol::key_spec::{
    KeySpec, KeyUsage, MacAlgorithm, MessageType, SigningAlgorithm, WrappingAlgorithm,
};
use hsm_protocol::token::sealed::PairPurpose;
use hsm_protocol::token::{History, KeyToken};
use hsm_protocol::{Bytes, DomainId, ErrorCode, KeyId, Opcode, Role};

use crate::rig::{Host, KEY_ID, Operators, Reply, Rig, Session, Token};

const TWO: Rule = Rule { total: 2, officers: 0 };
const OFFICERS: Rule = Rule { total: 2, officers: 1 };

/// Two of three rule it; the third is a security officer.
fn rig() -> Rig {
    Rig::founded(MemoryPlatform::new(), 100, Operators::production(2, 3))
}

pub(crate) fn guarded(rig: &mut Rig, spec: KeySpec, usage: KeyUsage, rule: Rule) -> Token {
    guarded_with_id(rig, KEY_ID, spec, usage, rule)
}

fn guarded_with_id(rig: &mut Rig, id: KeyId, spec: KeySpec, usage: KeyUsage, rule: Rule) -> Token {
    let request = GenerateKey { id, spec, usage };
    let reply = rig.call(&GenerateGuardedKey { request, rule });
    Token { id, bytes: reply.ok::<GenerateGuardedKey>().token.to_vec() }
}

fn signing(rig: &mut Rig) -> Token {
    guarded(rig, KeySpec::ECC_NIST_P256, KeyUsage::SIGN_VERIFY, TWO)
}

fn sign<'a>(token: &'a Token, message: &'a [u8]) -> Sign<'a> {
    Sign {
        key: token.key(),
        algorithm: SigningAlgorithm::ECDSA_SHA_256,
        message_type: MessageType::RAW,
        message: Bytes(message),
    }
}

fn body<C: Command>(command: &C) -> Vec<u8> {
    let mut out = vec![0; 24 * 1024];
    let length = command.encode(&mut out).unwrap().len();
    out.truncate(length);
    out
}

/// Asks, in the crypto user's session, what operators have to sign for a request.
pub(crate) fn ask<C: Command>(rig: &mut Rig, token: &Token, command: &C) -> ApprovalRequest {
    let request = digest(C::OPCODE, &body(command));
    let ask = RequestApproval { key: token.key(), opcode: C::OPCODE, request };
    rig.call(&ask).ok::<RequestApproval>()
}

fn hand_over(rig: &mut Rig, asked: &ApprovalRequest, votes: Votes) -> Result<(), ErrorCode> {
    let reply = rig.call(&Approve { challenge: asked.challenge, votes });
    outcome(&reply)
}

fn outcome(reply: &Reply) -> Result<(), ErrorCode> {
    reply.head.status.map_or(Ok(()), Err)
}

/// Has these operators approve a request.
pub(crate) fn approve<C: Command>(
    rig: &mut Rig,
    token: &Token,
    command: &C,
    signers: &[usize],
) -> Result<ApprovalRequest, ErrorCode> {
    let asked = ask(rig, token, command);
    let votes = rig.operators.votes(&asked.message(), signers);
    hand_over(rig, &asked, votes).map(|()| asked)
}

#[test]
fn a_use_takes_the_approval_of_a_quorum_once() {
    let mut rig = rig();
    let token = signing(&mut rig);
    let request = sign(&token, b"a certificate to be");
    let refused = rig.call(&request);
    assert_eq!(refused.error(), ErrorCode::APPROVAL_REQUIRED);
    assert_ne!(refused.receipt().subject.0, [0; 32], "the audit entry names the key");

    let asked = ask(&mut rig, &token, &request);
    let state = rig.state();
    assert_eq!((asked.domain, asked.key, asked.rule), (state.domain, token.id, TWO));
    assert_eq!(asked.device, rig.device.identity().device_id());
    assert_eq!((asked.host, asked.opcode), (rig.user_host.id(), Opcode::Sign));
    assert_eq!(asked.request, digest(Opcode::Sign, &body(&request)));
    let material = KeyToken::parse(&token.bytes).unwrap().attributes.material;
    assert_eq!(asked.material, material);
    assert_eq!(rig.call(&request).error(), ErrorCode::APPROVAL_REQUIRED, "asked is not approved");

    let votes = rig.operators.votes(&asked.message(), &[2, 0]);
    hand_over(&mut rig, &asked, votes.clone()).unwrap();
    let signed = rig.call(&request);
    let signature = signed.ok::<Sign>().signature.to_vec();
    assert_eq!(signed.receipt().subject, material);
    assert_eq!(rig.call(&request).error(), ErrorCode::APPROVAL_REQUIRED, "once");
    assert_eq!(hand_over(&mut rig, &asked, votes), Err(ErrorCode::APPROVAL_UNKNOWN));
    let Sign { key, algorithm, message_type, message } = request;
    let signature = Bytes(&signature);
    let verify = Verify { key, algorithm, message_type, message, signature };
    rig.call(&verify).ok::<Verify>();
}

#[test]
fn fewer_and_others_approve_nothing() {
    let mut rig = rig();
    let token = signing(&mut rig);
    let request = sign(&token, b"x");
    let asked = ask(&mut rig, &token, &request);
    let ours = rig.operators.clone();
    let strangers = Operators::development();
    let good = ours.votes(&asked.message(), &[0, 1]);
    let mut forged = good.clone();
    forged[1].signature = forged[0].signature;
    let mixed = [good[0], strangers.votes(&asked.message(), &[0])[0]].into_iter().collect();
    for (votes, refusal) in [
        (ours.votes(&asked.message(), &[]), ErrorCode::QUORUM_MISSING),
        (ours.votes(&asked.message(), &[1]), ErrorCode::QUORUM_MISSING),
        (ours.votes(&asked.message(), &[1, 1]), ErrorCode::SIGNATURE_INVALID),
        (forged, ErrorCode::SIGNATURE_INVALID),
        (mixed, ErrorCode::SIGNATURE_INVALID),
    ] {
        assert_eq!(hand_over(&mut rig, &asked, votes), Err(refusal));
        assert_eq!(rig.call(&request).error(), ErrorCode::APPROVAL_REQUIRED);
    }
    // What they signed is each part of the message, and nothing else.
    let other = signing(&mut rig);
    let material = KeyToken::parse(&other.bytes).unwrap().attributes.material;
    for changed in [
        ApprovalRequest { domain: DomainId([1; 16]), ..asked },
        ApprovalRequest { device: hsm_protocol::DeviceId([1; 16]), ..asked },
        ApprovalRequest { host: hsm_protocol::HostId([1; 16]), ..asked },
        ApprovalRequest { key: KeyId::single_region([9; 16]), ..asked },
        ApprovalRequest { material, ..asked },
        ApprovalRequest { rule: Rule { total: 1, officers: 0 }, ..asked },
        ApprovalRequest { opcode: Opcode::PermitDeletion, ..asked },
        ApprovalRequest { request: [1; 32], ..asked },
        ApprovalRequest { challenge: [1; 16], ..asked },
    ] {
        let votes = ours.votes(&changed.message(), &[0, 1]);
        let refused = hand_over(&mut rig, &asked, votes);
        assert_eq!(refused, Err(ErrorCode::SIGNATURE_INVALID), "{changed:?}");
    }
    let unknown = ApprovalRequest { challenge: [1; 16], ..asked };
    assert_eq!(hand_over(&mut rig, &unknown, good.clone()), Err(ErrorCode::APPROVAL_UNKNOWN));
    hand_over(&mut rig, &asked, good).unwrap();
    rig.call(&request).ok::<Sign>();
}

#[test]
fn an_approval_is_for_one_request_of_one_host_on_one_device() {
    let mut rig = rig();
    let other_host = Host::new(501);
    let add = hsm_protocol::domain::Host { key: other_host.public(), role: Role::CryptoUser };
    rig.change(&[Change::AddHost(add)]).unwrap();
    let mut second = rig.second(MemoryPlatform::with_seed(2), 100);
    let (token, other) = (signing(&mut rig), signing(&mut rig));
    let request = sign(&token, b"approved");
    approve(&mut rig, &token, &request, &[0, 1]).unwrap();

    let required = ErrorCode::APPROVAL_REQUIRED;
    assert_eq!(rig.call(&sign(&token, b"approveD")).error(), required, "another message");
    assert_eq!(rig.call(&sign(&other, b"approved")).error(), required, "another key");
    let digested = Sign { message_type: MessageType::DIGEST, ..request };
    assert_eq!(rig.call(&digested).error(), required, "another type of message");
    assert_eq!(rig.call(&PermitDeletion { key: token.key() }).error(), required);
    assert_eq!(second.call(&request).error(), required, "another device");
    let mut session = Host::new(501).open(&mut rig.device);
    assert_eq!(session.call(&mut rig.device, &request).error(), required, "another host");
    // The same key rewrapped is another token, and so another request.
    let moved = rig.call(&RewrapKey { key: token.key() });
    let moved = Token { id: token.id, bytes: moved.ok::<RewrapKey>().token.to_vec() };
    assert_eq!(rig.call(&sign(&moved, b"approved")).error(), required, "another token");
    // None of this has used it up, nor has a new session of the same host.
    rig.user = rig.user_host.open(&mut rig.device);
    rig.call(&request).ok::<Sign>();
}

#[test]
fn an_approval_ends_with_the_boot_the_day_and_the_state() {
    let mut rig = rig();
    let token = signing(&mut rig);
    let request = sign(&token, b"x");
    let required = ErrorCode::APPROVAL_REQUIRED;
    let votes = |rig: &Rig, asked: &ApprovalRequest| rig.operators.votes(&asked.message(), &[0, 1]);

    // An image of the flash from before brings nothing back, as nothing is in it.
    let before = rig.device.platform().storage.records.clone();
    let asked = approve(&mut rig, &token, &request, &[0, 1]).unwrap();
    assert_eq!(rig.device.platform().storage.records, before);
    rig.reboot();
    assert_eq!(rig.call(&request).error(), required);
    let again = votes(&rig, &asked);
    assert_eq!(hand_over(&mut rig, &asked, again), Err(ErrorCode::APPROVAL_UNKNOWN));

    approve(&mut rig, &token, &request, &[0, 1]).unwrap();
    let asked = ask(&mut rig, &token, &sign(&token, b"later"));
    rig.device.platform().now_us += 24 * 3_600_000_000;
    rig.user = rig.user_host.open(&mut rig.device);
    assert_eq!(rig.call(&request).error(), required);
    let late = votes(&rig, &asked);
    assert_eq!(hand_over(&mut rig, &asked, late), Err(ErrorCode::APPROVAL_UNKNOWN));

    // Who has approved may be no operator any more.
    approve(&mut rig, &token, &request, &[0, 2]).unwrap();
    let gone = rig.operators.operator(2).id();
    rig.change(&[Change::RemoveOperator(gone)]).unwrap();
    assert_eq!(rig.call(&request).error(), required);
    let refused = approve(&mut rig, &token, &request, &[0, 2]);
    assert_eq!(refused.err(), Some(ErrorCode::SIGNATURE_INVALID));
}

#[test]
fn a_rule_counts_security_officers() {
    let mut rig = rig();
    let spec = KeySpec::ECC_NIST_P256;
    // There is none yet, so nobody could ever use the key.
    let request = GenerateKey { id: KEY_ID, spec, usage: KeyUsage::SIGN_VERIFY };
    for rule in [OFFICERS, Rule { total: 4, officers: 0 }, Rule { total: 0, officers: 0 }] {
        let reply = rig.call(&GenerateGuardedKey { request, rule });
        assert_eq!(reply.error(), ErrorCode::RULES_DENIED, "{rule:?}");
    }
    let officer = hsm_protocol::domain::Operator {
        role: OperatorRole::SecurityOfficer,
        ..rig.operators.operator(2)
    };
    let replace = [Change::RemoveOperator(officer.id()), Change::AddOperator(officer)];
    rig.change(&replace).unwrap();
    let token = guarded(&mut rig, spec, KeyUsage::SIGN_VERIFY, OFFICERS);
    let request = sign(&token, b"x");
    let refused = approve(&mut rig, &token, &request, &[0, 1]);
    assert_eq!(refused.err(), Some(ErrorCode::QUORUM_MISSING));
    approve(&mut rig, &token, &request, &[0, 2]).unwrap();
    rig.call(&request).ok::<Sign>();
}

#[test]
fn what_everybody_may_know_takes_no_approval() {
    let mut rig = rig();
    let token = signing(&mut rig);
    let key = token.key();
    rig.call(&ExportPublicKey { key }).ok::<ExportPublicKey>();
    rig.call(&AttestKey { key, nonce: Bytes(&[1; 16]) }).ok::<AttestKey>();
    let rewrapped = rig.call(&RewrapKey { key }).ok::<RewrapKey>().token.to_vec();
    let approval = KeyToken::parse(&rewrapped).unwrap().attributes.approval;
    assert_eq!(approval, Some(TWO), "a new token, the same rule");
    let moved = Token { bytes: rewrapped, ..token };
    assert_eq!(rig.call(&sign(&moved, b"x")).error(), ErrorCode::APPROVAL_REQUIRED);
}

/// A MAC is an oracle as much as it is an answer: to verify one takes the secret, too.
#[test]
fn symmetric_keys_are_guarded_in_every_direction() {
    let mut rig = rig();
    let mac = guarded(&mut rig, KeySpec::HMAC_256, KeyUsage::GENERATE_VERIFY_MAC, TWO);
    use hsm_protocol::command::mac::VerifyMac;
    let algorithm = MacAlgorithm::HMAC_SHA_256;
    let (message, tag) = (Bytes(b"m"), [0; 32]);
    let verify = VerifyMac { key: mac.key(), algorithm, message, mac: Bytes(&tag) };
    assert_eq!(rig.call(&verify).error(), ErrorCode::APPROVAL_REQUIRED);
    let generate = GenerateMac { key: mac.key(), algorithm, message };
    approve(&mut rig, &mac, &generate, &[0, 1]).unwrap();
    let tag = rig.call(&generate).ok::<GenerateMac>().mac.to_vec();
    let verify = VerifyMac { mac: Bytes(&tag), ..verify };
    assert_eq!(rig.call(&verify).error(), ErrorCode::APPROVAL_REQUIRED);
    approve(&mut rig, &mac, &verify, &[0, 1]).unwrap();
    rig.call(&verify).ok::<VerifyMac>();
}

#[test]
fn a_command_with_two_guarded_keys_takes_two_approvals() {
    let mut rig = rig();
    let (spec, usage) = (KeySpec::SYMMETRIC_DEFAULT, KeyUsage::ENCRYPT_DECRYPT);
    let source = guarded(&mut rig, spec, usage, TWO);
    let other_id = KeyId::single_region([0x22; 16]);
    let destination = guarded_with_id(&mut rig, other_id, spec, usage, TWO);
    let none = Bytes(&[]);
    let encrypt = Encrypt { key: source.key(), context: none, plaintext: Bytes(b"secret") };
    approve(&mut rig, &source, &encrypt, &[0, 1]).unwrap();
    let blob = rig.call(&encrypt).ok::<Encrypt>().blob.to_vec();
    let request = ReEncrypt {
        source: source.key(),
        source_context: none,
        blob: Bytes(&blob),
        destination: destination.key(),
        destination_context: none,
    };
    approve(&mut rig, &source, &request, &[0, 1]).unwrap();
    assert_eq!(rig.call(&request).error(), ErrorCode::APPROVAL_REQUIRED);
    // The first was used up by that.
    approve(&mut rig, &destination, &request, &[0, 1]).unwrap();
    assert_eq!(rig.call(&request).error(), ErrorCode::APPROVAL_REQUIRED);
    approve(&mut rig, &source, &request, &[0, 1]).unwrap();
    let moved = rig.call(&request).ok::<ReEncrypt>().blob.to_vec();
    let decrypt = Decrypt { key: destination.key(), context: none, blob: Bytes(&moved) };
    assert_eq!(rig.call(&decrypt).error(), ErrorCode::APPROVAL_REQUIRED);
    approve(&mut rig, &destination, &decrypt, &[1, 2]).unwrap();
    assert_eq!(rig.call(&decrypt).ok::<Decrypt>().plaintext.0, b"secret");
    // A data key pair uses its key twice, and takes one approval.
    let spec = KeySpec::ECC_NIST_P256;
    let pair = GenerateDataKeyPair { key: source.key(), context: none, spec, pair: none };
    approve(&mut rig, &source, &pair, &[0, 1]).unwrap();
    rig.call(&pair).ok::<GenerateDataKeyPair>();
    assert_eq!(rig.call(&pair).error(), ErrorCode::APPROVAL_REQUIRED);
}

/// Two commands that each keep their promise must not break it together: of one prepared pair a host could
/// have a key with the rule and one without.
#[test]
fn of_a_guarded_pair_comes_no_other_key() {
    let mut rig = rig();
    let spec = KeySpec::RSA_2048;
    let pair = rig.prepared_by(&PrepareGuardedPair { spec, rule: TWO });
    let usage = KeyUsage::SIGN_VERIFY;
    for id in [KEY_ID, KeyId::single_region([0x77; 16])] {
        let reply = rig.call(&AdoptKeyPair { id, usage, pair: Bytes(&pair) });
        let token = Token { id, bytes: reply.ok::<AdoptKeyPair>().token.to_vec() };
        let attributes = KeyToken::parse(&token.bytes).unwrap().attributes;
        assert_eq!((attributes.approval, attributes.history), (Some(TWO), History::CLEAN));
        let request =
            Sign { algorithm: SigningAlgorithm::RSASSA_PSS_SHA_256, ..sign(&token, b"x") };
        assert_eq!(rig.call(&request).error(), ErrorCode::APPROVAL_REQUIRED);
    }
    let key = rig.symmetric();
    let (context, pair) = (Bytes(&[]), Bytes(&pair));
    let exposed = rig.call(&GenerateDataKeyPair { key: key.key(), context, spec, pair });
    assert_eq!(exposed.error(), ErrorCode::TOKEN_MALFORMED);
    let import = ParametersForImport {
        id: KEY_ID,
        spec: KeySpec::HMAC_256,
        usage: KeyUsage::GENERATE_VERIFY_MAC,
        algorithm: WrappingAlgorithm::RSAES_OAEP_SHA_256,
        expires_ms: u64::MAX,
        pair,
    };
    assert_eq!(rig.call(&import).error(), ErrorCode::TOKEN_MALFORMED);
    // Nor is another pair taken for a guarded one by its first byte.
    let mut free = rig.prepared(spec, PairPurpose::KEY);
    free[0] = 0x43;
    let reply = rig.call(&AdoptKeyPair { id: KEY_ID, usage, pair: Bytes(&free) });
    assert!([ErrorCode::TOKEN_MALFORMED, ErrorCode::TOKEN_INVALID].contains(&reply.error()));
    let unfit = rig.call(&PrepareGuardedPair { spec, rule: Rule { total: 4, officers: 0 } });
    assert_eq!(unfit.error(), ErrorCode::RULES_DENIED);
}

#[test]
fn a_rule_that_is_bound_later_says_so_and_is_not_lowered() {
    let mut rig = rig();
    let free = rig.signing();
    let bind = |rig: &mut Rig, token: &Token, total| {
        let rule = Rule { total, officers: 0 };
        let reply = rig.call(&RequireApproval { key: token.key(), rule });
        outcome(&reply)?;
        Ok(Token { id: token.id, bytes: reply.ok::<RequireApproval>().token.to_vec() })
    };
    let bound = bind(&mut rig, &free, 2).unwrap();
    let attributes = KeyToken::parse(&bound.bytes).unwrap().attributes;
    assert_eq!(attributes.approval, Some(TWO));
    assert!(attributes.history.contains(History::BOUND_LATER));
    let request = sign(&bound, b"x");
    assert_eq!(rig.call(&request).error(), ErrorCode::APPROVAL_REQUIRED);
    approve(&mut rig, &bound, &request, &[0, 1]).unwrap();
    rig.call(&request).ok::<Sign>();
    // The former token is what it was, which is why the new one says when the rule came.
    rig.call(&sign(&free, b"x")).ok::<Sign>();

    let strict = bind(&mut rig, &bound, 3).unwrap();
    let refused = bind(&mut rig, &strict, 2);
    assert_eq!(refused.err(), Some(ErrorCode::APPROVAL_BOUND));
    assert_eq!(bind(&mut rig, &free, 4).err(), Some(ErrorCode::RULES_DENIED));
    assert_eq!(bind(&mut rig, &free, 0).err(), Some(ErrorCode::RULES_DENIED));
    // An approval under the old rule does not count under the new one.
    let request = sign(&strict, b"y");
    let asked = ask(&mut rig, &bound, &request);
    let votes = rig.operators.votes(&asked.message(), &[0, 1]);
    hand_over(&mut rig, &asked, votes).unwrap();
    assert_eq!(rig.call(&request).error(), ErrorCode::APPROVAL_REQUIRED);
    let refused = approve(&mut rig, &strict, &request, &[0, 1]);
    assert_eq!(refused.err(), Some(ErrorCode::QUORUM_MISSING));
    approve(&mut rig, &strict, &request, &[0, 1, 2]).unwrap();
    rig.call(&request).ok::<Sign>();
    // A key without a rule has nothing to ask for.
    let ask = RequestApproval { key: free.key(), opcode: Opcode::Sign, request: [0; 32] };
    assert_eq!(rig.call(&ask).error(), ErrorCode::INVALID_ARGUMENT);
}

/// Each changed bit of history and rule is a token that does not open.
#[test]
fn a_host_cannot_write_the_rule() {
    let mut rig = rig();
    let token = signing(&mut rig);
    let rule = KeyToken::HEADER_SIZE - 19;
    for bit in rule * 8..(rule + 3) * 8 {
        let mut bytes = token.bytes.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        let bad = Token { bytes, ..token.clone() };
        let error = rig.call(&sign(&bad, b"x")).error();
        let refusals = [ErrorCode::TOKEN_INVALID, ErrorCode::TOKEN_MALFORMED];
        assert!(refusals.contains(&error), "bit {bit}: {error:?}");
    }
    // As a token of the first version, which had no rule.
    let mut old = token.bytes.clone();
    old[0] = 0x11;
    old.drain(rule..rule + 3);
    let old = Token { bytes: old, ..token };
    assert_eq!(rig.call(&sign(&old, b"x")).error(), ErrorCode::TOKEN_INVALID);
}

#[test]
fn a_guarded_key_stays_in_its_domain_and_is_deleted_with_approval() {
    let mut rig = rig();
    let id = KeyId { multi_region: true, ..KEY_ID };
    let (spec, usage) = (KeySpec::HMAC_256, KeyUsage::GENERATE_VERIFY_MAC);
    let token = guarded_with_id(&mut rig, id, spec, usage, TWO);
    let peer =
        DomainKeyInfo { domain: DomainId([7; 16]), domain_key: 1, public: Host::new(70).public() };
    rig.change(&[Change::AddPeer(peer)]).unwrap();
    let export = ExportReplica { key: token.key(), peer };
    assert_eq!(rig.call(&export).error(), ErrorCode::APPROVAL_BOUND);
    // Not even with approval: there are other operators there.
    approve(&mut rig, &token, &export, &[0, 1]).unwrap();
    assert_eq!(rig.call(&export).error(), ErrorCode::APPROVAL_BOUND);

    let delete = PermitDeletion { key: token.key() };
    assert_eq!(rig.call(&delete).error(), ErrorCode::APPROVAL_REQUIRED);
    approve(&mut rig, &token, &delete, &[0, 1]).unwrap();
    let permitted = rig.call(&delete);
    permitted.ok::<PermitDeletion>();
    let material = KeyToken::parse(&token.bytes).unwrap().attributes.material;
    assert_eq!(permitted.receipt().subject, material, "the chain says what may be deleted");
    assert_eq!(rig.call(&delete).error(), ErrorCode::APPROVAL_REQUIRED);
    let free = rig.mac();
    rig.call(&PermitDeletion { key: free.key() }).ok::<PermitDeletion>();
}

/// A host that asks and asks takes its own places.
#[test]
fn nobody_is_crowded_out() {
    let mut rig = rig();
    let other = Host::new(501);
    let add = hsm_protocol::domain::Host { key: other.public(), role: Role::CryptoUser };
    rig.change(&[Change::AddHost(add)]).unwrap();
    let token = signing(&mut rig);
    let request = sign(&token, b"important");
    approve(&mut rig, &token, &request, &[0, 1]).unwrap();
    let mut flooder: Session = Host::new(501).open(&mut rig.device);
    for number in 0..50u8 {
        let ask = RequestApproval { key: token.key(), opcode: Opcode::Sign, request: [number; 32] };
        flooder.call(&mut rig.device, &ask).ok::<RequestApproval>();
    }
    rig.call(&request).ok::<Sign>();
}

#[test]
fn an_auditor_neither_asks_nor_approves() {
    let mut rig = rig();
    let token = signing(&mut rig);
    let ask = RequestApproval { key: token.key(), opcode: Opcode::Sign, request: [0; 32] };
    let reply = rig.auditor.call(&mut rig.device, &ask);
    assert_eq!(reply.error(), ErrorCode::ROLE_DENIED);
}
