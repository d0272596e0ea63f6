//! The stored forms, byte for byte. If one of these fails, revert the change, not the test: stores
//! hold these bytes. A new form gets a new version.

use std::collections::BTreeSet;

use super::*;
use crate::iam::uses::{ByService, Use, UsesRecord};
use crate::iam::vault::Sealed;
use kms_base::clock::Timestamp;
use kms_base::identifier::Tags;
use kms_keys::document::TrustPolicy;

const CREATED: Timestamp = Timestamp::from_millis(1_800_000_000_000);

fn policy() -> IdentityPolicy {
    let text = r#"{"Statement":{"Effect":"Allow","Action":"kms:*","Resource":"*"}}"#;
    IdentityPolicy::parse(text).unwrap()
}

#[track_caller]
fn golden<R: Record + PartialEq + std::fmt::Debug>(record: &R, key: &str, text: &str) {
    assert_eq!(String::from_utf8(record.encode().unwrap()).unwrap(), text);
    assert_eq!(&R::decode(text.as_bytes()).unwrap(), record);
    assert_eq!(String::from_utf8(record.key()).unwrap(), key);
    let newer = text.replacen("\"version\":1", "\"version\":2", 1);
    let error = R::decode(newer.as_bytes()).unwrap_err().to_string();
    assert_eq!(error, "record version 2 is not supported");
    let unknown = text.replacen('{', "{\"other\":1,", 1);
    assert!(R::decode(unknown.as_bytes()).is_err());
}

#[test]
fn account() {
    let record = Account {
        version: Version,
        id: "111122223333".to_owned(),
        name: "test".to_owned(),
        created: CREATED,
        keys: vec!["AKIAAAAAAAAAAAAAAAAA".to_owned()],
    };
    golden(
        &record,
        "iam/accounts/111122223333",
        r#"{"version":1,"id":"111122223333","name":"test","created":1800000000000,"keys":["AKIAAAAAAAAAAAAAAAAA"]}"#,
    );
}

#[test]
fn user() {
    let record = User {
        version: Version,
        account: "111122223333".to_owned(),
        name: "Ana".to_owned(),
        path: "/team/".to_owned(),
        id: "AIDAAAAAAAAAAAAAAAAA".to_owned(),
        created: CREATED,
        keys: Vec::new(),
        groups: BTreeSet::from(["Team".to_owned()]),
        policies: InlinePolicies::from([("p".to_owned(), policy())]),
        attached: Attached::from(["arn:aws:iam::111122223333:policy/p".to_owned()]),
        boundary: None,
        tags: Tags::new(),
    };
    assert_eq!(record.arn(), "arn:aws:iam::111122223333:user/team/Ana");
    golden(
        &record,
        "iam/users/111122223333/ana",
        r#"{"version":1,"account":"111122223333","name":"Ana","path":"/team/","id":"AIDAAAAAAAAAAAAAAAAA","created":1800000000000,"keys":[],"groups":["Team"],"policies":{"p":"{\"Statement\":{\"Effect\":\"Allow\",\"Action\":\"kms:*\",\"Resource\":\"*\"}}"},"attached":["arn:aws:iam::111122223333:policy/p"],"boundary":null}"#,
    );
}

/// Records of releases without tags stay as they are.
#[test]
fn tags_are_stored_where_there_are_some() {
    let text = |tags: &str| {
        format!(
            r#"{{"version":1,"account":"111122223333","name":"Ana","path":"/","id":"AIDAAAAAAAAAAAAAAAAA","created":1800000000000,"keys":[],"groups":[],"policies":{{}},"attached":[],"boundary":null{tags}}}"#
        )
    };
    let mut user = User::decode(text("").as_bytes()).unwrap();
    assert!(user.tags.is_empty());
    user.tags.insert("Team".to_owned(), "red".to_owned());
    golden(&user, "iam/users/111122223333/ana", &text(r#","tags":{"Team":"red"}"#));
}

#[test]
fn report_and_uses() {
    let report = Report { version: Version, account: "111122223333".to_owned(), asked: CREATED };
    golden(
        &report,
        "iam/reports/111122223333",
        r#"{"version":1,"account":"111122223333","asked":1800000000000}"#,
    );
    let used = Use { at: CREATED, region: "eu-west-1".to_owned() };
    let uses = UsesRecord {
        version: Version,
        id: "AIDAAAAAAAAAAAAAAAAA".to_owned(),
        services: ByService::from([("kms".to_owned(), used)]),
    };
    golden(
        &uses,
        "iam/uses/AIDAAAAAAAAAAAAAAAAA",
        r#"{"version":1,"id":"AIDAAAAAAAAAAAAAAAAA","services":{"kms":{"at":1800000000000,"region":"eu-west-1"}}}"#,
    );
}

#[test]
fn group() {
    let record = Group {
        version: Version,
        account: "111122223333".to_owned(),
        name: "Team".to_owned(),
        path: "/".to_owned(),
        id: "AGPAAAAAAAAAAAAAAAAA".to_owned(),
        created: CREATED,
        members: BTreeSet::from(["Ana".to_owned()]),
        policies: InlinePolicies::new(),
        attached: Attached::new(),
    };
    assert_eq!(record.arn(), "arn:aws:iam::111122223333:group/Team");
    golden(
        &record,
        "iam/groups/111122223333/team",
        r#"{"version":1,"account":"111122223333","name":"Team","path":"/","id":"AGPAAAAAAAAAAAAAAAAA","created":1800000000000,"members":["Ana"],"policies":{},"attached":[]}"#,
    );
}

#[test]
fn role() {
    let trust = r#"{"Statement":{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::111122223333:user/ana"},"Action":"sts:AssumeRole"}}"#;
    let bound = BTreeMap::from([(
        "arn:aws:iam::111122223333:user/ana".to_owned(),
        "AIDAAAAAAAAAAAAAAAAA".to_owned(),
    )]);
    let record = Role {
        version: Version,
        account: "111122223333".to_owned(),
        name: "Deploy".to_owned(),
        path: "/".to_owned(),
        id: "AROAAAAAAAAAAAAAAAAA".to_owned(),
        description: Some("d".to_owned()),
        created: CREATED,
        trust: TrustPolicy::parse(trust.to_owned(), bound).unwrap(),
        max_session: 3600,
        policies: InlinePolicies::new(),
        attached: Attached::new(),
        boundary: Some("arn:aws:iam::111122223333:policy/b".to_owned()),
        tags: Tags::new(),
    };
    assert_eq!(record.arn(), "arn:aws:iam::111122223333:role/Deploy");
    golden(
        &record,
        "iam/roles/111122223333/deploy",
        r#"{"version":1,"account":"111122223333","name":"Deploy","path":"/","id":"AROAAAAAAAAAAAAAAAAA","description":"d","created":1800000000000,"trust":{"document":"{\"Statement\":{\"Effect\":\"Allow\",\"Principal\":{\"AWS\":\"arn:aws:iam::111122223333:user/ana\"},\"Action\":\"sts:AssumeRole\"}}","principals":{"arn:aws:iam::111122223333:user/ana":"AIDAAAAAAAAAAAAAAAAA"}},"maxSession":3600,"policies":{},"attached":[],"boundary":"arn:aws:iam::111122223333:policy/b"}"#,
    );
}

#[test]
fn managed_policy() {
    let record = ManagedPolicy {
        version: Version,
        account: "111122223333".to_owned(),
        name: "Bound".to_owned(),
        path: "/".to_owned(),
        id: "ANPAAAAAAAAAAAAAAAAA".to_owned(),
        description: None,
        created: CREATED,
        versions: BTreeMap::from([(3, PolicyVersion { document: policy(), created: CREATED })]),
        default: 3,
        last: 4,
        attachments: 1,
        bounds: 2,
        tags: Tags::new(),
    };
    assert_eq!(record.arn(), "arn:aws:iam::111122223333:policy/Bound");
    golden(
        &record,
        "iam/policies/111122223333/bound",
        r#"{"version":1,"account":"111122223333","name":"Bound","path":"/","id":"ANPAAAAAAAAAAAAAAAAA","description":null,"created":1800000000000,"versions":{"3":{"document":"{\"Statement\":{\"Effect\":\"Allow\",\"Action\":\"kms:*\",\"Resource\":\"*\"}}","created":1800000000000}},"default":3,"last":4,"attachments":1,"bounds":2}"#,
    );
}

#[test]
fn access_key() {
    let mut record = AccessKey {
        version: Version,
        id: "AKIAAAAAAAAAAAAAAAAA".to_owned(),
        account: "111122223333".to_owned(),
        owner: Owner::User { name: "Ana".to_owned(), id: "AIDAAAAAAAAAAAAAAAAA".to_owned() },
        status: Status::Active,
        created: CREATED,
        secret: Sealed { region: "us-east-1".to_owned(), blob: vec![1, 2, 3] },
    };
    golden(
        &record,
        "iam/access-keys/AKIAAAAAAAAAAAAAAAAA",
        r#"{"version":1,"id":"AKIAAAAAAAAAAAAAAAAA","account":"111122223333","owner":{"user":{"name":"Ana","id":"AIDAAAAAAAAAAAAAAAAA"}},"status":"Active","created":1800000000000,"secret":{"region":"us-east-1","blob":"AQID"}}"#,
    );
    (record.owner, record.status) = (Owner::Root, Status::Inactive);
    golden(
        &record,
        "iam/access-keys/AKIAAAAAAAAAAAAAAAAA",
        r#"{"version":1,"id":"AKIAAAAAAAAAAAAAAAAA","account":"111122223333","owner":"root","status":"Inactive","created":1800000000000,"secret":{"region":"us-east-1","blob":"AQID"}}"#,
    );
}
