use super::*;
use crate::rotation::RotationType;

/// A record as version 1 is stored. Revert your change, not this.
const GOLDEN: &str = concat!(
    r#"{"version":1,"id":"1234abcd-12ab-34cd-56ef-1234567890ab","#,
    r#""scope":{"account":"000000000000","region":"us-east-1"},"#,
    r#""spec":"SYMMETRIC_DEFAULT","usage":"ENCRYPT_DECRYPT","origin":"AWS_KMS","#,
    r#""state":"PendingDeletion","description":"payments","created":1780000000123,"#,
    r#""deletion":1780604800123,"#,
    r#""policy":"{\"Statement\":{\"Effect\":\"Allow\",\"Principal\":\"*\","#,
    r#"\"Action\":\"kms:*\",\"Resource\":\"*\"}}","#,
    r#""tags":{"cost":"7","team":"red"},"#,
    r#""materials":[{"id":"0707070707070707070707070707070707070707070707070707070707070707","#,
    r#""token":"AQID"}]}"#,
);

fn record() -> KeyRecord {
    let scope = Scope::new("000000000000", "us-east-1");
    let policy =
        r#"{"Statement":{"Effect":"Allow","Principal":"*","Action":"kms:*","Resource":"*"}}"#;
    KeyRecord {
        id: KeyId::parse("1234abcd-12ab-34cd-56ef-1234567890ab").unwrap(),
        spec: KeySpec::SYMMETRIC_DEFAULT,
        usage: KeyUsage::ENCRYPT_DECRYPT,
        origin: Origin::AWS_KMS,
        state: KeyState::PendingDeletion,
        description: "payments".to_owned(),
        created: Timestamp::from_millis(1_780_000_000_123),
        deletion: Some(Timestamp::from_millis(1_780_000_000_123).plus_days(7)),
        rotation: None,
        policy: KeyPolicy::parse(policy, &scope, &Bound::new()).unwrap(),
        tags: [("team", "red"), ("cost", "7")]
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into(),
        materials: vec![KeyMaterial {
            id: MaterialId([7; 32]),
            token: vec![1, 2, 3],
            rotated: None,
            imported: None,
        }],
        pending: None,
        multi_region: None,
        service: None,
        external: None,
        scope,
    }
}

#[test]
fn version_1_is_stored_as_ever() {
    let stored = record().encode().unwrap();
    assert_eq!(String::from_utf8(stored).unwrap(), GOLDEN);
    assert_eq!(KeyRecord::decode(GOLDEN.as_bytes()).unwrap(), record());
}

#[test]
fn rotations_are_stored_as_ever() {
    let at = Timestamp::from_millis(1_790_000_000_000);
    let mut record = record();
    record.rotation = Some(Schedule { period_days: 90, next: at });
    let id = MaterialId([8; 32]);
    let material = KeyMaterial { id, token: vec![4], rotated: None, imported: None };
    let record = record.rotated(material, at, RotationType::Automatic);
    let stored = String::from_utf8(record.encode().unwrap()).unwrap();
    let golden = GOLDEN
        .replace(r#""policy""#, r#""rotation":{"period_days":90,"next":1797776000000},"policy""#)
        .replace(
            r#""AQID"}"#,
            &[
                r#""AQID"},{"id":""#,
                &"08".repeat(32),
                r#"","token":"BA==","rotated":{"at":1790000000000,"by":"AUTOMATIC"}}"#,
            ]
            .concat(),
        );
    assert_eq!(stored, golden);
    assert_eq!(KeyRecord::decode(golden.as_bytes()).unwrap(), record);
}

#[test]
fn regions_are_stored_as_ever() {
    let record = KeyRecord {
        multi_region: Some(MultiRegion { window_days: Some(7), ..MultiRegion::new("eu-west-1") }),
        ..record()
    };
    let record = record.with_replica("us-east-1");
    let golden = GOLDEN.replace(
        r#""AQID"}]"#,
        concat!(
            r#""AQID"}],"multi_region":{"primary":"eu-west-1","#,
            r#""replicas":["us-east-1"],"version":1,"window_days":7}"#,
        ),
    );
    assert_eq!(String::from_utf8(record.encode().unwrap()).unwrap(), golden);
    assert_eq!(KeyRecord::decode(golden.as_bytes()).unwrap(), record);
}

#[test]
fn external_keys_are_stored_as_ever() {
    let external = ExternalKey { store: "cks-1".to_owned(), id: "key.1".to_owned(), cluster: None };
    let record = KeyRecord { external: Some(external), ..record() };
    let golden =
        GOLDEN.replace(r#""AQID"}]"#, r#""AQID"}],"external":{"store":"cks-1","id":"key.1"}"#);
    assert_eq!(String::from_utf8(record.encode().unwrap()).unwrap(), golden);
    assert_eq!(KeyRecord::decode(golden.as_bytes()).unwrap(), record);
    assert_eq!(record.origin_name(), Some("EXTERNAL_KEY_STORE"));
    let (store, id) = ("cks-1".to_owned(), "00ff".to_owned());
    let external = ExternalKey { store, id, cluster: Some("cluster-abcdefghijk".to_owned()) };
    let record = KeyRecord { external: Some(external), ..record };
    let golden =
        golden.replace(r#""id":"key.1"}"#, r#""id":"00ff","cluster":"cluster-abcdefghijk"}"#);
    assert_eq!(String::from_utf8(record.encode().unwrap()).unwrap(), golden);
    assert_eq!(KeyRecord::decode(golden.as_bytes()).unwrap(), record);
    assert_eq!(record.origin_name(), Some("AWS_CLOUDHSM"));
}

#[test]
fn what_is_not_understood_is_refused() {
    let newer = GOLDEN.replace("\"version\":1", "\"version\":2");
    assert!(matches!(KeyRecord::decode(newer.as_bytes()), Err(RecordError::Version(2))));
    for (from, to) in [
        ("\"tags\"", "\"tag\""),
        ("\"version\":1", "\"version\":1,\"extra\":0"),
        ("SYMMETRIC_DEFAULT", "SYMMETRIC_OTHER"),
        ("\"AQID\"", "\"AQI\""),
        ("07\"", "0\""),
        ("kms:*", "s3"),
        ("}]}", "}]"),
    ] {
        let damaged = GOLDEN.replace(from, to);
        assert_ne!(damaged, GOLDEN);
        let outcome = KeyRecord::decode(damaged.as_bytes());
        assert!(matches!(outcome, Err(RecordError::Damaged(_))), "{from}: {outcome:?}");
    }
}
