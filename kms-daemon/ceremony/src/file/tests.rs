use host_driver::OperatorKey;
use hsm_protocol::curve::Portable;
use hsm_protocol::domain::{
    DomainKeyEntry, Holder, Host, Kind, Member, OperatorRole, Recovery, Rules,
};
use hsm_protocol::identity::IdentityDocument;
use hsm_protocol::{DomainId, Role};

use super::*;
use crate::{CertificateFile, in_words};

/// Three operators, two of whom have to sign.
struct People {
    operators: [OperatorKey; 3],
    state: DomainState,
}

/// A device by its keys alone.
fn identity() -> IdentityDocument {
    let [signing, link, join] = [(); 3].map(|()| OperatorKey::generate());
    let keys = (signing.public(), link.public(), join.public());
    let message = IdentityDocument::message(&keys.0, &keys.1, &keys.2);
    let signature = signing.sign(&message).unwrap().signature;
    IdentityDocument { signing: keys.0, link: keys.1, join: keys.2, signature }
}

impl People {
    fn new() -> Self {
        let operators = [(); 3].map(|()| OperatorKey::generate());
        let identity = identity();
        let member =
            Member { signing: identity.signing, join: identity.join, kind: DeviceKind::Hardware };
        let host = Host { key: OperatorKey::generate().public(), role: Role::CryptoUser };
        let rows = operators.iter().map(|key| key.operator(OperatorRole::Operator));
        let mut state = DomainState {
            domain: DomainId([0; 16]),
            name: "tests".try_into().unwrap(),
            kind: Kind::Production,
            version: 1,
            previous: [0; 32],
            operators: rows.collect(),
            rules: Rules::uniform(2),
            device_ca: None,
            members: [member].into_iter().collect(),
            keys: [DomainKeyEntry { id: 1, maker: member.device_id() }].into_iter().collect(),
            hosts: [host].into_iter().collect(),
            peers: Default::default(),
            roots: Default::default(),
            recovery: None,
        };
        state.domain = state.founding_id().unwrap();
        Self { operators, state }
    }

    fn sign(&self, who: usize, ceremony: &mut Ceremony) {
        let vote = self.operators[who].sign(&ceremony.message().unwrap()).unwrap();
        ceremony.add(vote).unwrap();
    }

    fn adding(&self, role: Role) -> Ceremony {
        let host = Host { key: OperatorKey::generate().public(), role };
        Ceremony::change(self.state.clone(), &[Change::AddHost(host)]).unwrap()
    }
}

#[test]
fn what_is_carried_arrives_and_is_what_devices_count() {
    let dir = tempfile::tempdir().unwrap();
    let (people, path) = (People::new(), dir.path().join("change"));
    let mut change = people.adding(Role::Auditor);
    assert_eq!(change.standing().unsigned.len(), 3);
    people.sign(0, &mut change);
    change.save_new(&path).unwrap();
    let again = change.save_new(&path).unwrap_err();
    assert!(matches!(again, CeremonyFileError::Io { source, .. }
        if source.kind() == io::ErrorKind::AlreadyExists));
    let mut loaded = Ceremony::load(&path).unwrap();
    assert_eq!(loaded.digest().unwrap(), change.digest().unwrap());
    assert!(!loaded.standing().is_complete);
    let count = |ceremony: &Ceremony| {
        let ballot = ceremony.ballot().unwrap();
        let ballot = hsm_protocol::command::decode(&ballot).unwrap();
        people.state.decide(&ballot, &Portable).map(|it| it.next)
    };
    assert_eq!(count(&loaded).unwrap_err(), ErrorCode::QUORUM_MISSING);
    people.sign(0, &mut loaded);
    assert_eq!(loaded.votes().len(), 1, "one operator is one");
    people.sign(2, &mut loaded);
    assert!(loaded.standing().is_complete);
    loaded.save(&path).unwrap();
    let loaded = Ceremony::load(&path).unwrap();
    assert_eq!(count(&loaded).unwrap(), *loaded.next());

    // The founding of a domain, with what the device CA says.
    let ca = OperatorKey::generate();
    let device = identity();
    let certified = CertificateFile::certify(&ca, &device, DeviceKind::Hardware).unwrap();
    let cert = dir.path().join("certificate");
    certified.save(&cert).unwrap();
    assert_eq!(CertificateFile::load(&cert).unwrap(), certified);
    certified.verify(&ca.public()).unwrap();
    assert!(certified.verify(&OperatorKey::generate().public()).is_err());
    let mut founding =
        Ceremony::founding(people.state.clone(), Some(certified.certificate)).unwrap();
    people.sign(1, &mut founding);
    let path = dir.path().join("founding");
    founding.save_new(&path).unwrap();
    let loaded = Ceremony::load(&path).unwrap();
    assert_eq!(loaded.certificate(), Some(certified.certificate));
    assert!(loaded.before().is_none() && loaded.proposal().is_empty());
    assert_eq!(loaded.votes(), founding.votes());
}

#[test]
fn copies_are_merged_if_they_are_of_one_proposal() {
    let people = People::new();
    let mut one = people.adding(Role::Auditor);
    let (mut two, mut other) = (one.clone(), people.adding(Role::Auditor));
    people.sign(0, &mut one);
    people.sign(1, &mut two);
    people.sign(1, &mut other);
    one.merge(&two, Path::new("two")).unwrap();
    assert!(one.standing().is_complete);
    let refused = one.merge(&other, Path::new("other")).unwrap_err();
    assert!(matches!(refused, CeremonyFileError::AnotherProposal(_)), "{refused}");
}

/// Whoever carries a file changes it: it is refused, or what is shown is what is signed.
#[test]
fn a_file_that_was_changed_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (people, path) = (People::new(), dir.path().join("change"));
    let (mut change, mut other) = (people.adding(Role::Auditor), people.adding(Role::CryptoUser));
    people.sign(0, &mut change);
    people.sign(0, &mut other);
    let read = |ceremony: &Ceremony| -> serde_json::Value {
        let path = dir.path().join("written");
        ceremony.save(&path).unwrap();
        serde_json::from_slice(&fs::read(&path).unwrap()).unwrap()
    };
    let (good, others) = (read(&change), read(&other));
    let loaded = |content: &serde_json::Value| {
        fs::write(&path, content.to_string()).unwrap();
        Ceremony::load(&path)
    };
    loaded(&good).unwrap();
    let mut swapped = good.clone();
    swapped["proposal"] = others["proposal"].clone();
    assert!(matches!(loaded(&swapped), Err(CeremonyFileError::Signature { .. })));
    let stranger = OperatorKey::generate().sign(&change.message().unwrap()).unwrap();
    let mut foreign = good.clone();
    foreign["signatures"][0]["operator"] = stranger.operator.to_string().into();
    assert!(matches!(loaded(&foreign), Err(CeremonyFileError::Signature { .. })));
    let mut elsewhere = good.clone();
    elsewhere["state"] = read(&People::new().adding(Role::Auditor))["state"].clone();
    assert!(matches!(loaded(&elsewhere), Err(CeremonyFileError::Impossible { .. })));
    for (member, value) in [
        ("format", "strongroom-ceremony-2".into()),
        ("state", "!".into()),
        ("proposal", "!".into()),
        ("certificate", serde_json::json!({ "kind": "Hardware", "signature": "00" })),
        ("more", true.into()),
        ("signatures", vec![good["signatures"][0].clone(); 9].into()),
    ] {
        let mut bad = good.clone();
        bad[member] = value;
        assert!(matches!(loaded(&bad), Err(CeremonyFileError::Malformed(_))), "{member}");
    }
    fs::write(&path, " ".repeat(70_000)).unwrap();
    assert!(matches!(Ceremony::load(&path), Err(CeremonyFileError::Malformed(_))));
}

#[test]
fn everything_that_matters_is_said_before_it_is_signed() {
    let people = People::new();
    let device = identity();
    let mut state = people.state.clone();
    state.rules.emulated_members = true;
    let holders = people
        .operators
        .iter()
        .take(2)
        .map(|operator| Holder { operator: operator.id(), key: OperatorKey::generate().public() });
    state.recovery = Some(Recovery { threshold: 2, holders: holders.collect() });
    state.domain = state.founding_id().unwrap();
    let shares: Vec<_> =
        state.recovery.iter().flat_map(|recovery| &recovery.holders).copied().collect();
    let member = state.members[0].device_id();
    let changes = [
        Change::AddMember { identity: device, kind: DeviceKind::Emulated, certificate: None },
        Change::RemoveMember(member),
        Change::RotateKey { maker: device.device_id() },
        Change::RemoveOperator(people.operators[2].id()),
    ];
    let mut ceremony = Ceremony::change(state, &changes).unwrap();
    people.sign(1, &mut ceremony);
    let text = in_words(&ceremony);
    let printed = |id: &[u8]| crate::fingerprint(id);
    for part in [
        "from version 1 to 2",
        &printed(device.device_id().as_bytes()),
        "EMULATED",
        "vouched for only by itself",
        &format!("{} is removed", printed(member.as_bytes())),
        "makes a new domain key",
        &format!("No longer an operator: {}", printed(people.operators[2].id().as_bytes())),
        "Rules, of 2 operators",
        "2 operators for everything",
        &format!("2 (made by {})", printed(device.device_id().as_bytes())),
        "any 2 of these 2 operators together restore every key",
        &printed(shares[1].operator.as_bytes()),
        &printed(shares[1].key.operator_id().as_bytes()),
        "More have to sign",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    // The others tell the fingerprint, by another way than the file came.
    assert!(!text.contains(&printed(&ceremony.digest().unwrap())), "{text}");
}
