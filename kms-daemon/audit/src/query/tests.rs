use serde_json::json;
use time::macros::datetime;

use super::*;

const KEY: &str = "arn:aws:kms:us-east-1:000000000000:key/1234abcd-12ab-34cd-56ef-1234567890ab";
const OTHER: &str = "arn:aws:kms:us-east-1:000000000000:key/99990000-12ab-34cd-56ef-1234567890ab";

fn record(event: &str, more: Value) -> Value {
    let mut record = json!({
        "eventTime": "2026-11-27T12:00:00Z",
        "eventSource": "kms.amazonaws.com",
        "eventName": event,
        "awsRegion": "us-east-1",
        "recipientAccountId": "000000000000",
        "sourceIPAddress": "10.1.2.3",
        "userIdentity": {
            "type": "IAMUser",
            "principalId": "AIDAX",
            "arn": "arn:aws:iam::000000000000:user/team/ana",
            "accountId": "000000000000",
            "accessKeyId": "AKIAX",
            "userName": "ana",
        },
        "requestParameters": { "keyId": "1234abcd-12ab-34cd-56ef-1234567890ab" },
        "resources": [{ "type": "AWS::KMS::Key", "ARN": KEY }],
    });
    for (name, value) in more.as_object().unwrap() {
        record[name] = value.clone();
    }
    record
}

fn some(text: &str) -> Vec<String> {
    vec![text.to_owned()]
}

#[test]
fn by_whom() {
    let ana = record("Decrypt", json!({}));
    for (user, fits) in [
        ("ana", true),
        ("AIDAX", true),
        ("AKIAX", true),
        ("user/team/ana", true),
        ("arn:aws:iam::000000000000:user/team/ana", true),
        ("na", false),
        ("an", false),
        ("root", false),
        ("", false),
        ("000000000000", false),
    ] {
        assert_eq!(Query::new().by(&some(user)).takes(&ana), fits, "{user}");
    }
    let session = record(
        "Decrypt",
        json!({ "userIdentity": {
            "type": "AssumedRole",
            "principalId": "AROAX:s1",
            "arn": "arn:aws:sts::000000000000:assumed-role/deploy/s1",
            "sessionContext": { "sessionIssuer": {
                "type": "Role",
                "arn": "arn:aws:iam::000000000000:role/deploy",
                "userName": "deploy",
            }, "sourceIdentity": "ana" },
        } }),
    );
    for user in ["deploy", "role/deploy", "s1", "deploy/s1", "ana", "AROAX:s1"] {
        assert!(Query::new().by(&some(user)).takes(&session), "{user}");
    }
    let root = record("Decrypt", json!({ "userIdentity": { "type": "Root" } }));
    assert!(Query::new().by(&some("root")).takes(&root));
}

#[test]
fn of_what_and_from_where() {
    let record = record("GenerateDataKey", json!({}));
    for (action, fits) in [
        ("GenerateDataKey", true),
        ("generatedatakey", true),
        ("kms:GenerateDataKey", true),
        ("KMS:Generate*", true),
        ("*key", true),
        ("*", true),
        ("Generate*Data*Key", true),
        ("iam:GenerateDataKey", false),
        ("Generate", false),
        ("GenerateDataKeyPair", false),
        ("*DataKeyPair*", false),
        ("G*K*K", false),
    ] {
        assert_eq!(Query::new().of(&some(action)).takes(&record), fits, "{action}");
    }
    for (source, fits) in [
        ("10.1.2.3", true),
        ("10.0.0.0/8", true),
        ("0.0.0.0/0", true),
        ("10.1.2.2/31", true),
        ("10.1.2.4", false),
        ("10.1.3.0/24", false),
        ("::/0", false),
    ] {
        let network: Network = source.parse().unwrap();
        assert_eq!(Query::new().from(&[network]).takes(&record), fits, "{source}");
    }
    for wrong in ["", "10.1.2", "10.0.0.0/33", "::/129", "10.0.0.0/-1", "host"] {
        assert!(wrong.parse::<Network>().is_err(), "{wrong}");
    }
}

#[test]
fn about_a_key() {
    let used = record("Decrypt", json!({}));
    for (key, fits) in [
        (KEY, true),
        ("1234abcd-12ab-34cd-56ef-1234567890ab", true),
        ("1234abcd", true),
        ("1234", false),
        (OTHER, false),
        ("alias/a", false),
    ] {
        assert_eq!(Query::new().about(&some(key)).takes(&used), fits, "{key}");
    }
}

#[test]
fn an_alias_is_the_key_that_it_stood_for() {
    let alias = "arn:aws:kms:us-east-1:000000000000:alias/a";
    let change = |event: &str, key: &str| {
        record(
            event,
            json!({
                "requestParameters": { "aliasName": "alias/a" },
                "responseElements": { "keyId": key },
                "resources": [{ "ARN": alias }, { "ARN": key }],
            }),
        )
    };
    // As older daemons wrote it: the new key last, and no response element.
    let mut old = change("UpdateAlias", OTHER);
    old["responseElements"] = Value::Null;
    old["resources"] = json!([{ "ARN": alias }, { "ARN": KEY }, { "ARN": OTHER }]);
    let use_of = |key: &str| {
        record(
            "Decrypt",
            json!({
                "requestParameters": { "encryptionAlgorithm": "SYMMETRIC_DEFAULT" },
                "resources": [{ "ARN": key }],
            }),
        )
    };
    let failed = {
        let mut failed = change("UpdateAlias", KEY);
        failed["errorCode"] = json!("AccessDenied");
        failed
    };
    for name in ["alias/a", alias] {
        let mut query = Query::new().about(&some(name));
        assert_eq!(query.first_day(), None, "it may be older than what is asked for");
        let mut takes = |record: &Value| query.takes(record);
        assert!(!takes(&use_of(KEY)), "{name}: not yet");
        assert!(takes(&change("CreateAlias", KEY)));
        assert!(takes(&use_of(KEY)) && !takes(&use_of(OTHER)), "{name}");
        assert!(takes(&old));
        assert!(takes(&use_of(OTHER)) && !takes(&use_of(KEY)), "{name}: moved");
        takes(&failed);
        assert!(takes(&use_of(OTHER)), "{name}: what was refused changes nothing");
        let mut elsewhere = use_of(OTHER);
        elsewhere["awsRegion"] = json!("eu-west-1");
        assert!(!takes(&elsewhere), "{name}: another Region's");
        takes(&change("DeleteAlias", OTHER));
        assert!(!takes(&use_of(OTHER)), "{name}: gone");
    }
}

#[test]
fn denied_is_who_not_what() {
    let query = || Query::new().only_denied(true);
    let failed = |code: &str| record("Decrypt", json!({ "errorCode": code }));
    for code in ["AccessDenied", "InvalidSignatureException", "UnrecognizedClientException"] {
        assert!(query().takes(&failed(code)), "{code}");
    }
    for code in ["InvalidCiphertextException", "ThrottlingException", "NotFoundException"] {
        assert!(!query().takes(&failed(code)), "{code}");
    }
    assert!(!query().takes(&record("Decrypt", json!({}))));
    assert!(query().takes(&record("UnauthenticatedRequests", json!({}))), "they are many");
}

#[test]
fn times() {
    let now = datetime!(2026-11-28 09:30:15 UTC);
    for (text, time) in [
        ("now", now),
        ("today", datetime!(2026-11-28 00:00 UTC)),
        ("yesterday", datetime!(2026-11-27 00:00 UTC)),
        ("2h", datetime!(2026-11-28 07:30:15 UTC)),
        ("90s", datetime!(2026-11-28 09:28:45 UTC)),
        ("30m", datetime!(2026-11-28 09:00:15 UTC)),
        ("3d", datetime!(2026-11-25 09:30:15 UTC)),
        ("1w", datetime!(2026-11-21 09:30:15 UTC)),
        ("2026-11-01", datetime!(2026-11-01 00:00 UTC)),
        ("2026-11-28T10:00:00+01:00", datetime!(2026-11-28 09:00 UTC)),
        ("2026-11-28T09:00:00.5Z", datetime!(2026-11-28 09:00:00.5 UTC)),
    ] {
        assert_eq!(parse_time(text, now), Ok(time), "{text}");
    }
    for wrong in
        ["", "h", "2", "2y", "-2h", "99999999999999999999h", "9999999999999w", "noon", "2026-13-01"]
    {
        assert!(parse_time(wrong, now).is_err(), "{wrong}");
    }
    let within =
        |since, until| Query::new().between(since, until).takes(&record("Decrypt", json!({})));
    let at = |text: &str| Some(parse_time(text, now).unwrap());
    assert!(within(at("yesterday"), at("today")));
    assert!(within(at("2026-11-27T12:00:00Z"), None));
    assert!(!within(at("2026-11-27T12:00:01Z"), None));
    assert!(!within(None, at("2026-11-27T12:00:00Z")));
    let query = Query::new().between(at("yesterday"), None);
    assert_eq!(query.first_day().as_deref(), Some("20261127"));
}
