//! Devices, certificates and tokens that are not what they say, and states that are not the last one, over the
//! serial line of devices with the real firmware; ceremonies at random, and ones whose power is cut.

use std::collections::BTreeSet;
use std::fs;
use std::thread;
use std::time::Duration;

use host_driver::attest::DeviceCa;
use host_driver::ceremony;
use host_driver::device::Device;
use host_driver::error::CallError;
use host_driver::{HostKey, OperatorKey};
use hsm_protocol::command::cipher::Encrypt;
use hsm_protocol::command::domain::{ChangeDomain, FoundDomain, JoinDomain, ReceiveKeys};
use hsm_protocol::domain::change::Votes;
use hsm_protocol::domain::{
    Certificate, Change, Class, DeviceKind, DomainState, Host, Kind, MAX_DOMAIN_KEYS, MAX_STATE,
    Member, OperatorRole, Rule, Rules, signed_message,
};
use hsm_protocol::identity::IdentityDocument;
use hsm_protocol::{Bytes, ErrorCode, ModuleState, Role};
use hsm_tests::ballots::{ballot, first_state, forced};
use hsm_tests::calls::{decrypt, decrypt_refused, encrypt, outcome, refusal, symmetric};
use hsm_tests::emulator::FLASH;
use hsm_tests::testbed::{Hosts, TAG, Testbed};
use hsm_tests::wire::identity_of;
use hsm_tests::{on_every_line, seed, wire};

on_every_line! {
    serial:
    forged_certificates_make_no_member,
    tokens_of_another_domain_are_refused,
    two_histories_do_not_mix,
    an_old_flash_is_behind_until_it_follows,
    random_ceremonies_are_as_on_paper,
    ceremonies_whose_power_is_cut_are_made_or_not,
}

fn submit(device: &Device, ballot: &[u8]) -> Option<ErrorCode> {
    outcome(device, &ChangeDomain { ballot: Bytes(ballot) })
}

fn joins(identity: IdentityDocument) -> Change<'static> {
    Change::AddMember { identity, kind: DeviceKind::Emulated, certificate: None }
}

fn is_let_in(testbed: &Testbed, host: &HostKey) -> bool {
    match testbed.device().authenticate(host) {
        Ok(_) => true,
        Err(CallError::Handshake(ErrorCode::HANDSHAKE_FAILED)) => false,
        Err(other) => panic!("{other}"),
    }
}

fn certify(ca: &DeviceCa, identity: &IdentityDocument, kind: DeviceKind) -> Certificate {
    ca.certify(identity, kind).expect("certified")
}

/// Where operators have set a device CA, not even they bring in a device that it has not certified: the device
/// that is asked looks itself.
fn forged_certificates_make_no_member(testbed: Testbed) {
    let hosts = testbed.provision();
    let device = testbed.device_as(&hosts.user);
    let (ca, forger) =
        (DeviceCa::new(OperatorKey::generate()), DeviceCa::new(OperatorKey::generate()));
    let state = hosts.change(&device, &[Change::SetDeviceCa(Some(ca.public()))]);
    let made_up = identity_of(&wire::host_key());
    let emulated = DeviceKind::Emulated;
    // The state with it, as it would be: whatever is refused, it is not for want of signatures over that.
    let next = DomainState {
        version: state.version + 1,
        previous: state.hash().expect("it is short"),
        members: {
            let mut members = state.members.clone();
            let IdentityDocument { signing, join, .. } = made_up;
            members.push(Member { signing, join, kind: emulated }).expect("room");
            members
        },
        ..state.clone()
    };
    let good = certify(&ca, &made_up, emulated);
    let mut flipped = good;
    flipped.signature.s[31] ^= 1;
    let exalted = Certificate { kind: emulated, ..certify(&ca, &made_up, DeviceKind::Hardware) };
    let add = |certificate| Change::AddMember { identity: made_up, kind: emulated, certificate };
    for (what, certificate) in [
        ("none", None),
        ("of another CA", Some(certify(&forger, &made_up, emulated))),
        ("of another device", Some(certify(&ca, device.identity(), emulated))),
        ("of another kind", Some(certify(&ca, &made_up, DeviceKind::InProcess))),
        ("with another kind written in", Some(exalted)),
        ("with a bit flipped", Some(flipped)),
    ] {
        let ballot = forced(&[&hosts.operator], &state, &[add(certificate)], Some(&next));
        assert_eq!(submit(&device, &ballot), Some(ErrorCode::CERTIFICATE_INVALID), "{what}");
    }
    // Nor one whose identity is put together from two devices'.
    let mixed = IdentityDocument { join: device.identity().join, ..made_up };
    let add_mixed = Change::AddMember { identity: mixed, kind: emulated, certificate: Some(good) };
    let ballot = forced(&[&hosts.operator], &state, &[add_mixed], Some(&next));
    assert_eq!(submit(&device, &ballot), Some(ErrorCode::IDENTITY_INVALID));
    assert_eq!(device.domain_state().expect("unchanged"), state);
    let ballot = forced(&[&hosts.operator], &state, &[add(Some(good))], Some(&next));
    assert_eq!(submit(&device, &ballot), None, "what is refused is the certificate");
    drop(device);

    // A fresh device is founded under a CA only as what that says of it.
    let fresh = testbed.another();
    let device = fresh.device();
    let (operator, user) = (OperatorKey::generate(), HostKey::generate());
    let (mut state, _) =
        first_state(&operator, device.identity(), &[(user.public(), Role::CryptoUser)]);
    state.device_ca = Some(ca.public());
    state.domain = state.founding_id().expect("it is short");
    let vote = operator.sign(&signed_message(&[], &state.hash().expect("it is short")));
    let votes = Votes::from_slice(&[vote.expect("signed")]).expect("one");
    let mut encoded = [0; MAX_STATE];
    let encoded = Bytes(state.encode(&mut encoded).expect("it is short"));
    for (certificate, refused) in [
        (None, Some(ErrorCode::CERTIFICATE_INVALID)),
        (Some(certify(&forger, device.identity(), emulated)), Some(ErrorCode::CERTIFICATE_INVALID)),
        (Some(certify(&ca, &made_up, emulated)), Some(ErrorCode::CERTIFICATE_INVALID)),
        (Some(certify(&ca, device.identity(), emulated)), None),
    ] {
        device.authenticate(&user).expect("fresh");
        let found = FoundDomain { state: encoded, votes: votes.clone(), certificate };
        assert_eq!(outcome(&device, &found), refused);
    }
}

/// An attacker's domain has our device as a member, as it needs nobody's leave for that: what it wraps to our
/// device is not taken, and neither opens the other's keys.
fn tokens_of_another_domain_are_refused(testbed: Testbed) {
    let ours = testbed.provision();
    let attacker = testbed.another();
    let theirs = attacker.provision();
    let device = testbed.device_as(&ours.user);
    let elsewhere = attacker.device_as(&theirs.user);
    let (key, foreign) = (symmetric(&device, 1), symmetric(&elsewhere, 1));
    let blob = encrypt(&device, &key, &[], b"ours");
    let own = device.export_domain(device.id()).expect("a member may have it");

    theirs.change(&elsewhere, &[joins(*device.identity())]);
    let token = elsewhere.export_domain(device.id()).expect("a member of theirs");
    let state = device.domain_state().expect("a host may ask");
    let code = refusal(&device, &ReceiveKeys { token: Bytes(&token) });
    assert_eq!(code, ErrorCode::DOMAIN_TOKEN_INVALID);
    // Nor with the domain's id written over theirs, nor as a domain to join.
    let at = token.windows(16).position(|it| it == theirs_id(&elsewhere)).expect("it names it");
    let mut renamed = token.clone();
    renamed[at..at + 16].copy_from_slice(state.domain.as_bytes());
    let code = refusal(&device, &ReceiveKeys { token: Bytes(&renamed) });
    assert_eq!(code, ErrorCode::DOMAIN_TOKEN_INVALID);
    let code = refusal(&device, &JoinDomain { token: Bytes(&token) });
    assert_eq!(code, ErrorCode::ROLE_DENIED);
    device.authenticate(&ours.user).expect("a host");

    // Keys of one in the other.
    assert_eq!(decrypt_refused(&device, &foreign, &[], &blob), ErrorCode::TOKEN_DOMAIN);
    assert_eq!(decrypt_refused(&elsewhere, &key, &[], &blob), ErrorCode::TOKEN_DOMAIN);
    // The domain's own token of a state that is over.
    let late = Host { key: HostKey::generate().public(), role: Role::Auditor };
    let state = ours.change(&device, &[Change::AddHost(late)]);
    let code = refusal(&device, &ReceiveKeys { token: Bytes(&own) });
    assert_eq!(code, ErrorCode::DOMAIN_TOKEN_INVALID);
    assert_eq!(device.domain_state().expect("unchanged"), state);
    assert_eq!(decrypt(&device, &key, &[], &blob), b"ours");
}

fn theirs_id(device: &Device) -> [u8; 16] {
    *device.domain_state().expect("a host may ask").domain.as_bytes()
}

/// Two quorums sign different changes of one state, and a host hands each to another member: of two ceremonies at
/// once each device makes one, and neither takes anything of the other's from then on.
fn two_histories_do_not_mix(testbed: Testbed) {
    let hosts = testbed.provision();
    let other = testbed.another();
    other.join(&hosts, &[&testbed]);
    let (one, two) = (testbed.device_as(&hosts.user), other.device_as(&hosts.user));
    let state = one.domain_state().expect("a host may ask");
    assert_eq!(two.domain_state().expect("a host may ask"), state);
    let before = symmetric(&one, 1);
    let blob = encrypt(&one, &before, &[], b"before");
    let late = [HostKey::generate(), HostKey::generate()];
    let [first, second] = [(&one, &late[0]), (&two, &late[1])].map(|(device, host)| {
        let host = Host { key: host.public(), role: Role::CryptoUser };
        let changes = [Change::AddHost(host), Change::RotateKey { maker: device.id() }];
        ballot(&hosts.operator, &state, &changes).0
    });
    assert_eq!((submit(&one, &first), submit(&two, &second)), (None, None));
    for (device, ballot) in [(&one, &second), (&two, &first)] {
        assert_eq!(submit(device, ballot), Some(ErrorCode::STATE_STALE));
    }
    for (from, to, number) in [(&one, &two, 2), (&two, &one, 3)] {
        let token = from.export_domain(to.id()).expect("a member, as it knows");
        let code = refusal(to, &ReceiveKeys { token: Bytes(&token) });
        assert_eq!(code, ErrorCode::DOMAIN_TOKEN_INVALID);
        let key = symmetric(from, number);
        let blob = encrypt(from, &key, &[], b"after");
        assert_eq!(decrypt_refused(to, &key, &[], &blob), ErrorCode::TOKEN_INVALID);
    }
    assert_eq!(decrypt(&one, &before, &[], &blob), b"before");
    assert_eq!(decrypt(&two, &before, &[], &blob), b"before");
    drop((one, two));
    assert_eq!(late.each_ref().map(|host| is_let_in(&testbed, host)), [true, false]);
    assert_eq!(late.each_ref().map(|host| is_let_in(&other, host)), [false, true]);
}

/// A member's flash is put back to what it was. The others take nothing from it, and it has nothing of what came
/// after; once it is told the ballots again, it is what the domain is.
fn an_old_flash_is_behind_until_it_follows(testbed: Testbed) {
    let hosts = testbed.provision();
    let other = testbed.another();
    other.join(&hosts, &[&testbed]);
    let mut old = Vec::new();
    let other = other.power_cycle_with(|dir| old = fs::read(dir.join(FLASH)).expect("a flash"));
    let (one, two) = (testbed.device_as(&hosts.user), other.device_as(&hosts.user));
    // A host is put out, and the domain key replaced, with both.
    let changes = [Change::RemoveHost(hosts.auditor.id()), Change::RotateKey { maker: one.id() }];
    let state = ceremony::change(&[&one, &two], &changes, &hosts.operator, &hosts.ballots);
    let state = state.expect("agreed");
    let key = symmetric(&one, 1);
    let blob = encrypt(&one, &key, &[], b"after");
    assert_eq!(decrypt(&two, &key, &[], &blob), b"after");
    drop(two);
    assert!(!is_let_in(&other, &hosts.auditor));

    let other = other.power_cycle_with(|dir| fs::write(dir.join(FLASH), &old).expect("written"));
    assert!(is_let_in(&other, &hosts.auditor), "it knows no better");
    let two = other.device_as(&hosts.user);
    assert_eq!(two.domain_state().expect("a host may ask").version, state.version - 1);
    let code =
        refusal(&two, &Encrypt { key: key.by_ref(), context: Bytes(&[]), plaintext: Bytes(b"x") });
    assert_eq!(code, ErrorCode::TOKEN_INVALID);
    let stale = two.export_domain(one.id()).expect("a member, as it knows");
    let code = refusal(&one, &ReceiveKeys { token: Bytes(&stale) });
    assert_eq!(code, ErrorCode::DOMAIN_TOKEN_INVALID, "the others notice");
    let new = one.export_domain(two.id()).expect("a member");
    let code = refusal(&two, &ReceiveKeys { token: Bytes(&new) });
    assert_eq!(code, ErrorCode::DOMAIN_TOKEN_INVALID, "no keys without the ballot");

    assert!(ceremony::follow(&two, &hosts.ballots, &[&one]).expect("it follows"));
    assert_eq!(two.domain_state().expect("a host may ask"), state);
    assert_eq!(decrypt(&two, &key, &[], &blob), b"after");
    drop(two);
    assert!(!is_let_in(&other, &hosts.auditor));
}

/// What a random ceremony tries.
#[derive(Debug)]
enum Try {
    AddHost(usize),
    RemoveHost(usize),
    Rotate,
    Rule(Class, u8),
}

/// The domain as a person would keep it on paper.
#[derive(Debug, Clone, PartialEq)]
struct Paper {
    version: u32,
    hosts: BTreeSet<usize>,
    rules: [u8; 7],
    keys: usize,
}

impl Paper {
    const OPERATORS: usize = 4;

    /// The next page, if the change makes sense and so many may make it.
    fn make(&self, what: &Try, signers: usize) -> Option<Self> {
        let mut next = Self { version: self.version + 1, ..self.clone() };
        let needed = match what {
            Try::AddHost(number) => {
                next.hosts.insert(*number);
                self.rules[Class::Hosts as usize]
            }
            Try::RemoveHost(number) => {
                next.hosts.remove(number).then_some(())?;
                self.rules[Class::Hosts as usize]
            }
            Try::Rotate => {
                next.keys += 1;
                (next.keys <= MAX_DOMAIN_KEYS).then_some(())?;
                self.rules[Class::Keys as usize]
            }
            Try::Rule(class, total) => {
                (2..=Self::OPERATORS).contains(&usize::from(*total)).then_some(())?;
                let old = std::mem::replace(&mut next.rules[*class as usize], *total);
                let to_lower = if *total < old { old } else { 0 };
                self.rules[Class::Rules as usize].max(to_lower)
            }
        };
        (signers >= usize::from(needed)).then_some(next)
    }

    fn read(state: &DomainState, hosts: &[HostKey]) -> Self {
        let is_host = |number: &usize| state.role(hosts[*number].id()).is_some();
        Self {
            version: state.version,
            hosts: (0..hosts.len()).filter(is_host).collect(),
            rules: state.rules.quorum.map(|rule| rule.total),
            keys: state.keys.len(),
        }
    }
}

/// Four operators, of whom two or more have to agree, and ceremonies at random: the device makes those that the
/// model makes, and no others, whatever signatures it is given.
fn random_ceremonies_are_as_on_paper(testbed: Testbed) {
    const ROUNDS: u32 = 20;
    let mut random = seed::random("random_ceremonies");
    let device = testbed.device();
    let operators: Vec<_> = (0..Paper::OPERATORS).map(|_| OperatorKey::generate()).collect();
    let (user, stranger) = (HostKey::generate(), OperatorKey::generate());
    let hosts = [0; 3].map(|_| HostKey::generate());
    let (mut state, _) =
        first_state(&operators[0], device.identity(), &[(user.public(), Role::CryptoUser)]);
    state.kind = Kind::Production;
    state.operators = operators.iter().map(|key| key.operator(OperatorRole::Operator)).collect();
    state.rules = Rules { emulated_members: true, ..Rules::uniform(2) };
    state.domain = state.founding_id().expect("it is short");
    let message = signed_message(&[], &state.hash().expect("it is short"));
    let votes = operators[1..3].iter().map(|key| key.sign(&message).expect("signed")).collect();
    let mut encoded = [0; MAX_STATE];
    let found = FoundDomain {
        state: Bytes(state.encode(&mut encoded).expect("it is short")),
        votes,
        certificate: None,
    };
    device.authenticate(&user).expect("fresh");
    assert_eq!(outcome(&device, &found), None);
    device.authenticate(&user).expect("a host");

    let mut paper = Paper::read(&state, &hosts);
    let mut made = 0;
    for round in 0..ROUNDS {
        let number = random.usize(..hosts.len());
        let what = match random.u8(..6) {
            0 | 1 => Try::AddHost(number),
            2 | 3 => Try::RemoveHost(number),
            4 => Try::Rotate,
            _ => Try::Rule([Class::Hosts, Class::Keys, Class::Rules][number], random.u8(1..6)),
        };
        let change = match &what {
            Try::AddHost(number) => {
                Change::AddHost(Host { key: hosts[*number].public(), role: Role::Auditor })
            }
            Try::RemoveHost(number) => Change::RemoveHost(hosts[*number].id()),
            Try::Rotate => Change::RotateKey { maker: device.id() },
            Try::Rule(class, total) => {
                let mut rules = state.rules;
                rules.quorum[*class as usize] = Rule { total: *total, officers: 0 };
                Change::SetRules(rules)
            }
        };
        let mut signers: Vec<&OperatorKey> =
            operators.iter().filter(|_| random.u8(..4) > 0).collect();
        let honest = signers.len();
        // Now and then a signature too many: one twice, or somebody else's.
        let trick = match (random.u8(..6), signers.first()) {
            (0, Some(first)) if honest < Paper::OPERATORS => Some(*first),
            (1, _) if honest < Paper::OPERATORS => Some(&stranger),
            _ => None,
        };
        signers.extend(trick);
        let next = ceremony::propose(&state, &[change]).ok().map(|it| it.outcome.next);
        let ballot = forced(&signers, &state, &[change], next.as_ref());
        let refused = submit(&device, &ballot);
        let expected = paper.make(&what, honest).filter(|_| trick.is_none());
        let context = format!("round {round}: {what:?} by {honest}, {:?}", trick.is_some());
        assert_eq!(refused.is_none(), expected.is_some(), "{context}: {refused:?}");
        state = device.domain_state().expect("a host may ask");
        if let Some(page) = expected {
            paper = page;
            made += 1;
        }
        assert_eq!(Paper::read(&state, &hosts), paper, "{context}");
    }
    eprintln!("{made} of {ROUNDS} ceremonies were made");
    assert!(made > 0 && made < ROUNDS);
}

/// Sends a command as a host, and cuts the power a while after that.
fn cut(
    testbed: Testbed,
    host: &HostKey,
    after: Duration,
    call: impl FnOnce(&Device) + Send,
) -> Testbed {
    let device = testbed.device_as(host);
    thread::scope(|scope| {
        scope.spawn(|| call(&device));
        thread::sleep(after);
        testbed.power_cycle()
    })
}

/// The emulator is killed at some moments of a founding, changes and a joining. Each was made or was not, and is
/// made by the same messages then. Each step of the storage is cut in `hsm-core/tests/hsm/cuts.rs`.
fn ceremonies_whose_power_is_cut_are_made_or_not(testbed: Testbed) {
    let hosts = Hosts::generate();
    let device = testbed.device();
    let users = [(hosts.user.public(), Role::CryptoUser)];
    let (state, votes) = first_state(&hosts.operator, device.identity(), &users);
    drop(device);
    let mut encoded = [0; MAX_STATE];
    let encoded = Bytes(state.encode(&mut encoded).expect("it is short"));
    let found = FoundDomain { state: encoded, votes, certificate: None };
    let mut testbed = cut(testbed, &hosts.user, Duration::from_millis(20), |device| {
        let _ = device.call_blocking(&found, TAG);
    });
    let device = testbed.device();
    if device.status().expect("answered").state == ModuleState::Uninitialised {
        device.authenticate(&hosts.user).expect("fresh");
        assert_eq!(outcome(&device, &found), None);
    }
    device.authenticate(&hosts.user).expect("a host");
    assert_eq!(device.domain_state().expect("a host may ask"), state);

    // How long a change takes, to cut it everywhere.
    let key = symmetric(&device, 1);
    let blob = encrypt(&device, &key, &[], b"kept");
    let late = Host { key: HostKey::generate().public(), role: Role::Auditor };
    let begin = std::time::Instant::now();
    let (first, mut state) = ballot(&hosts.operator, &state, &[Change::AddHost(late)]);
    assert_eq!(submit(&device, &first), None);
    let whole = begin.elapsed();
    let maker = device.id();
    drop(device);
    let mut made = 0;
    const ROUNDS: u32 = 4;
    for round in 0..ROUNDS {
        let change = match round % 2 {
            0 => Change::RotateKey { maker },
            1 if round % 4 == 1 => Change::RemoveHost(late.key.host_id()),
            _ => Change::AddHost(late),
        };
        let (ballot, next) = ballot(&hosts.operator, &state, &[change]);
        testbed = cut(testbed, &hosts.user, whole * round / (ROUNDS - 2), |device| {
            let _ = device.call_blocking(&ChangeDomain { ballot: Bytes(&ballot) }, TAG);
        });
        let device = testbed.device_as(&hosts.user);
        let now = device.domain_state().expect("a host may ask");
        if now == next {
            made += 1;
            assert_eq!(submit(&device, &ballot), Some(ErrorCode::STATE_STALE));
        } else {
            assert_eq!(now, state, "neither before nor after");
            assert_eq!(submit(&device, &ballot), None);
        }
        state = device.domain_state().expect("a host may ask");
        assert_eq!(state, next);
        assert_eq!(decrypt(&device, &key, &[], &blob), b"kept");
        let new = symmetric(&device, 2);
        let blob = encrypt(&device, &new, &[], b"new");
        assert_eq!(decrypt(&device, &new, &[], &blob), b"new");
    }
    eprintln!("{made} of {ROUNDS} changes were made before the power was cut");

    // A joining.
    let other = testbed.another();
    let identity = *other.device().identity();
    let device = testbed.device_as(&hosts.user);
    let (ballot, next) = ballot(&hosts.operator, &state, &[joins(identity)]);
    assert_eq!(submit(&device, &ballot), None);
    let token = device.export_domain(identity.device_id()).expect("a member");
    let join = JoinDomain { token: Bytes(&token) };
    let other = cut(other, &HostKey::generate(), whole / 2, |device| {
        let _ = device.call_blocking(&join, TAG);
    });
    let joined = other.device();
    if joined.status().expect("answered").state == ModuleState::Uninitialised {
        joined.authenticate(&hosts.user).expect("fresh");
        assert_eq!(outcome(&joined, &join), None);
    }
    joined.authenticate(&hosts.user).expect("a host");
    assert_eq!(joined.domain_state().expect("a host may ask"), next);
    assert_eq!(decrypt(&joined, &key, &[], &blob), b"kept");
}
