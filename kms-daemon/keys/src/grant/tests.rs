use super::*;

fn pairs(text: &str) -> Pairs {
    let pair = |pair: &str| pair.split_once('=').map(|(k, v)| (k.to_owned(), v.to_owned()));
    text.split_whitespace().filter_map(pair).collect()
}

fn terms(operations: &[Action], equals: Option<&str>, subset: Option<&str>) -> Terms {
    let constraints =
        Constraints { equals: equals.map(pairs), subset: subset.map(pairs), source_arn: None };
    Terms { operations: operations.to_vec(), constraints }
}

fn user(name: &str) -> Party {
    let arn = format!("arn:aws:iam::000000000000:user/{name}");
    Party::Principal { arn, id: Some("AIDA1".to_owned()) }
}

fn grant(terms: Terms) -> GrantRecord {
    GrantRecord {
        name: Some("n".to_owned()),
        created: Timestamp::from_millis(7),
        grantee: user("a"),
        retiring: Some(Party::Service("a.b.amazonaws.com".to_owned())),
        issuer: "000000000000".to_owned(),
        terms,
    }
}

/// Version 1 as it is stored. Revert your change, not this.
#[test]
fn version_1_is_stored_as_ever() {
    let record = grant(terms(&[Action::Decrypt, Action::ReEncryptTo], None, Some("a=b")));
    let golden = r#"{"name":"n","created":7,"grantee":{"principal":{"arn":"arn:aws:iam::000000000000:user/a","id":"AIDA1"}},"retiring":{"service":"a.b.amazonaws.com"},"issuer":"000000000000","terms":{"operations":["Decrypt","ReEncryptTo"],"constraints":{"subset":{"a":"b"}}}}"#;
    assert_eq!(serde_json::to_string(&record).unwrap(), golden);
    assert_eq!(serde_json::from_str::<GrantRecord>(golden).unwrap(), record);
    assert!(serde_json::from_str::<GrantRecord>(&golden.replace("ReEncryptTo", "PutX")).is_err());
}

#[test]
fn ids_are_written_in_one_way() {
    let id = GrantId([0xa5; 32]);
    assert_eq!(GrantId::parse(&id.to_string()), Some(id));
    for text in ["", "a5", &"A5".repeat(32), &"+5".repeat(32), &"é".repeat(32)] {
        assert_eq!(GrantId::parse(text), None, "{text}");
    }
}

#[test]
fn constraints_are_about_the_context_of_the_request() {
    for (equals, subset, context, admitted) in [
        (None, None, "x=1", true),
        (Some("a=1"), None, "a=1", true),
        (Some("a=1"), None, "a=1 b=2", false),
        (Some("a=1"), None, "A=1", false),
        (None, Some("a=1"), "a=1 b=2", true),
        (None, Some("a=1"), "a=2", false),
        (None, Some("a=1"), "", false),
        (Some("a=1"), Some("b=2"), "a=1", false),
    ] {
        let grant = grant(terms(&[Action::Decrypt, Action::DescribeKey], equals, subset));
        let context = pairs(context);
        let wanted = GrantUse { action: Action::Decrypt, context: &context, child: None };
        assert_eq!(grant.allows(wanted), admitted, "{equals:?} {subset:?} {context:?}");
        assert!(grant.allows(GrantUse { action: Action::DescribeKey, ..wanted }));
        assert!(!grant.allows(GrantUse { action: Action::Encrypt, ..wanted }));
    }
}

#[test]
fn a_source_arn_is_never_met_by_a_direct_call() {
    let mut record = grant(terms(&[Action::Decrypt, Action::DescribeKey], None, None));
    record.terms.constraints.source_arn = Some("arn:aws:logs:us-east-1:1:x".to_owned());
    let context = Pairs::new();
    for action in [Action::Decrypt, Action::DescribeKey] {
        assert!(!record.allows(GrantUse { action, context: &context, child: None }));
    }
}

#[test]
fn a_child_gives_no_more_than_its_parent() {
    const BOTH: &[Action] = &[Action::CreateGrant, Action::Decrypt];
    for (parent, child, within) in [
        ((None, None), (None, None), true),
        ((None, None), (Some("a=1"), None), true),
        ((Some("a=1"), None), (Some("a=1"), None), true),
        ((Some("a=1"), None), (Some("a=1 b=2"), None), false),
        ((Some("a=1"), None), (None, Some("a=1")), false),
        ((Some("a=1"), None), (None, None), false),
        ((None, Some("a=1")), (None, Some("a=1 b=2")), true),
        ((None, Some("a=1")), (Some("a=1 b=2"), None), true),
        ((None, Some("a=1 b=2")), (None, Some("a=1")), false),
        ((None, Some("a=1")), (Some("b=2"), None), false),
    ] {
        let holder = grant(terms(BOTH, parent.0, parent.1));
        let context = Pairs::new();
        let allows = |operations: &[Action]| {
            let child = terms(operations, child.0, child.1);
            let action = Action::CreateGrant;
            holder.allows(GrantUse { action, context: &context, child: Some(&child) })
        };
        assert_eq!(allows(&[Action::Decrypt]), within, "{parent:?} {child:?}");
        assert!(!allows(&[Action::Decrypt, Action::Encrypt]));
    }
}

#[test]
fn the_same_request_has_the_same_fingerprint() {
    let one = grant(terms(&[Action::Decrypt, Action::Encrypt], None, Some("a=1")));
    let mut same = one.clone();
    same.terms.operations.reverse();
    same.created = Timestamp::from_millis(9);
    assert_eq!(one.fingerprint(), same.fingerprint());
    let changes: [fn(&mut GrantRecord); 5] = [
        |g| g.name = Some("m".to_owned()),
        |g| g.retiring = None,
        |g| g.grantee = user("b"),
        |g| g.terms.operations.truncate(1),
        |g| g.terms.constraints.subset = None,
    ];
    for change in changes {
        let mut other = one.clone();
        change(&mut other);
        assert_ne!(one.fingerprint(), other.fingerprint());
    }
    assert_eq!(GrantRecord { name: None, ..one }.fingerprint(), None);
}

#[test]
fn principals_are_arns_that_can_call() {
    for good in [
        "arn:aws:iam::111122223333:root",
        "arn:aws:iam::111122223333:user/a",
        "arn:aws:iam::111122223333:role/path/to/a",
        "arn:aws:sts::111122223333:assumed-role/a/b",
        "arn:aws:sts::111122223333:federated-user/a",
    ] {
        let party = Party::principal(good, "aws").unwrap();
        assert_eq!((party.text(), party.account()), (good, Some("111122223333")));
        assert!(party.is_principal(good, None) && !party.is_principal(good, Some("AIDA1")));
        assert_eq!(party.needs_id().is_none(), good.ends_with("root"));
    }
    let ana = user("ana");
    assert!(ana.is_principal(ana.text(), Some("AIDA1")));
    assert!(!ana.is_principal(ana.text(), Some("AIDA2")), "another user of that name");
    assert!(!ana.is_principal(ana.text(), None));
    assert!(ana.is_principal("arn:aws:iam::111122223333:user/anna", Some("AIDA1")), "renamed");
    let session = Party::Principal {
        arn: "arn:aws:sts::111122223333:assumed-role/a/b".to_owned(),
        id: Some("AROA1".to_owned()),
    };
    assert_eq!(session.unique().as_deref(), Some("AROA1:b"));
    assert!(!session.is_principal(session.text(), Some("AROA1")), "a session is not its role");
    let service = Party::Service("AIDA1".to_owned());
    assert!(
        !service.is(&ana) && !ana.is(&service),
        "a service cannot take a unique id for its name"
    );
    let root = Party::principal("111122223333", "aws").unwrap();
    assert_eq!(root.text(), "arn:aws:iam::111122223333:root");
    for bad in [
        "",
        "alice",
        "11112222333",
        "arn:aws:iam::111122223333:group/a",
        "arn:aws:iam::111122223333:user/",
        "arn:aws:iam::111122223333:user",
        "arn:aws:iam::111122223333:root/a",
        "arn:aws:iam:us-east-1:111122223333:user/a",
        "arn:aws:iam::1:user/a",
        "arn:aws-cn:iam::111122223333:user/a",
        "arn:aws:sts::111122223333:assumed-role/a",
        "arn:aws:s3::111122223333:user/a",
    ] {
        assert_eq!(Party::principal(bad, "aws"), None, "{bad}");
    }
}
