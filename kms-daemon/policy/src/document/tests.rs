use super::*;

/// A document of one statement, whose members are `elements`, in the version with variables.
fn document(elements: &str) -> String {
    format!(r#"{{"Version":"2012-10-17","Statement":[{{{elements}}}]}}"#)
}

fn fault(kind: Kind, text: &str) -> Option<Fault> {
    parse(text, kind).err().map(|error| error.fault)
}

const KEY: &str = r#""Effect":"Allow","Principal":"*","Action":"kms:*","Resource":"*""#;
const IDENTITY: &str = r#""Effect":"Allow","Action":"kms:*","Resource":"*""#;
const TRUST: &str = r#""Effect":"Allow","Principal":{"AWS":"*"},"Action":"sts:AssumeRole""#;

#[test]
fn each_kind_has_its_elements() {
    use Kind::{Guardrail, Identity, Key, Trust};
    let with = |elements: &str, from: &str, to: &str| document(&elements.replace(from, to));
    let unknown = Some(Fault::UnknownElement);
    for (kind, text, expected) in [
        (Key, document(KEY), None),
        (Guardrail, document(KEY), None),
        (Identity, document(IDENTITY), None),
        (Trust, document(TRUST), None),
        (Key, document(IDENTITY), Some(Fault::NoPrincipal)),
        (
            Trust,
            document(r#""Effect":"Allow","Action":"sts:AssumeRole""#),
            Some(Fault::NoPrincipal),
        ),
        (Identity, document(KEY), unknown.clone()),
        (Trust, document(&format!(r#"{TRUST},"Resource":"*""#)), unknown.clone()),
        (Key, document(&format!(r#"{KEY},"effect":"Deny""#)), unknown.clone()),
        (Key, document(&format!(r#"{KEY},"Conditions":{{}}"#)), unknown.clone()),
        (Key, with(KEY, r#""Action":"kms:*","#, ""), Some(Fault::Missing("Action"))),
        (Key, with(KEY, r#","Resource":"*""#, ""), Some(Fault::Missing("Resource"))),
        (Identity, with(IDENTITY, r#""Action":"kms:*","#, ""), Some(Fault::Missing("Action"))),
        (Identity, with(IDENTITY, r#","Resource":"*""#, ""), Some(Fault::Missing("Resource"))),
        (Key, with(KEY, r#""Effect":"Allow","#, ""), Some(Fault::Missing("Effect"))),
        (Key, with(KEY, "Allow", "allow"), Some(Fault::Effect("allow".to_owned()))),
        (Key, document(&format!(r#"{KEY},"NotAction":"kms:*""#)), Some(Fault::Both("Action"))),
        (Key, document(&format!(r#"{KEY},"NotResource":"*""#)), Some(Fault::Both("Resource"))),
        (
            Key,
            document(&format!(r#"{KEY},"NotPrincipal":{{"AWS":"111122223333"}}"#)),
            Some(Fault::Both("Principal")),
        ),
        (Key, with(KEY, "Principal", "NotPrincipal"), Some(Fault::NotPrincipalWithAllow)),
        (
            Key,
            with(&KEY.replace("Allow", "Deny"), "Principal", "NotPrincipal"),
            Some(Fault::Principal("*".to_owned())),
        ),
        (Trust, with(&TRUST.replace("Allow", "Deny"), "Principal", "NotPrincipal"), unknown),
        (Key, with(KEY, r#""*","Action""#, r#"{"AWS":"*"},"NotAction""#), None),
        (Key, with(KEY, r#""Resource""#, r#""NotResource""#), None),
    ] {
        assert_eq!(fault(kind, &text), expected, "{kind:?} {text}");
    }
}

#[test]
fn documents_have_a_version_and_statements() {
    let statement = format!("{{{KEY}}}");
    for (text, expected) in [
        (format!(r#"{{"Statement":{statement}}}"#), None),
        (format!(r#"{{"Statement":[{statement},{statement}],"Id":"x"}}"#), None),
        (format!(r#"{{"Statement":{statement},"Version":"2008-10-17"}}"#), None),
        (
            format!(r#"{{"Statement":{statement},"Version":"2012-10-18"}}"#),
            Some(Fault::Version("2012-10-18".to_owned())),
        ),
        (
            format!(r#"{{"Statement":{statement},"Version":2012}}"#),
            Some(Fault::Type { wanted: "a string", found: "a number" }),
        ),
        (format!(r#"{{"Statement":{statement},"Comment":""}}"#), Some(Fault::UnknownElement)),
        (
            format!(r#"{{"Statement":{statement},"version":"2012-10-17"}}"#),
            Some(Fault::UnknownElement),
        ),
        (r#"{"Statement":[]}"#.to_owned(), Some(Fault::Empty)),
        ("{}".to_owned(), Some(Fault::Missing("Statement"))),
        ("[]".to_owned(), Some(Fault::Type { wanted: "an object", found: "an array" })),
        (
            r#"{"Statement":"x"}"#.to_owned(),
            Some(Fault::Type { wanted: "an object", found: "a string" }),
        ),
        (format!(r#"{{"Id":"\u20ac","Statement":{statement}}}"#), None),
        (format!(r#"{{"Id":"€","Statement":{statement}}}"#), Some(Fault::Character('€'))),
    ] {
        assert_eq!(fault(Kind::Key, &text), expected, "{text}");
    }
    let repeated = format!(r#"{{"Statement":[{{{KEY},"Effect":"Deny"}}]}}"#);
    assert!(matches!(fault(Kind::Key, &repeated), Some(Fault::Json(_))));
}

#[test]
fn actions_are_those_of_the_policy() {
    for (kind, action, accepted) in [
        (Kind::Key, r#""kms:Encrypt""#, true),
        (Kind::Key, r#""KMS:enc*""#, true),
        (Kind::Key, r#""*""#, true),
        (Kind::Key, r#"["kms:?","kms:FutureOperation"]"#, true),
        (Kind::Key, r#""s3:GetObject""#, false),
        (Kind::Key, r#""k*:Encrypt""#, false),
        (Kind::Key, r#""kms""#, false),
        (Kind::Key, r#""kms:""#, false),
        (Kind::Key, r#""kms:a:b""#, false),
        (Kind::Key, r#""kms:Encrypt ""#, false),
        (Kind::Key, r#""kms:${aws:username}""#, false),
        (Kind::Key, r#""**""#, false),
        (Kind::Key, r#""""#, false),
        (Kind::Key, "[]", false),
        (Kind::Key, "1", false),
        (Kind::Key, r#"[["kms:Encrypt"]]"#, false),
        (Kind::Identity, r#""s3:GetObject""#, true),
        (Kind::Identity, r#""execute-api:Invoke*""#, true),
        (Kind::Identity, r#""*:*""#, false),
        (Kind::Trust, r#""sts:AssumeRole*""#, true),
        (Kind::Trust, r#""kms:Encrypt""#, false),
        (Kind::Trust, r#""*""#, false),
    ] {
        let (from, elements) = match kind {
            Kind::Trust => (r#""sts:AssumeRole""#, TRUST),
            Kind::Identity => (r#""kms:*""#, IDENTITY),
            _ => (r#""kms:*""#, KEY),
        };
        let text = document(&elements.replace(from, action));
        assert_eq!(parse(&text, kind).is_ok(), accepted, "{kind:?} {action}");
    }
}

#[test]
fn statement_ids_of_identity_policies_are_unique_and_plain() {
    let two = |elements: &str, a: &str, b: &str| {
        format!(r#"{{"Statement":[{{{elements},"Sid":"{a}"}},{{{elements},"Sid":"{b}"}}]}}"#)
    };
    assert_eq!(fault(Kind::Key, &two(KEY, "Allow all", "Allow all")), None);
    assert_eq!(fault(Kind::Identity, &two(IDENTITY, "A1", "a1")), None);
    assert_eq!(fault(Kind::Identity, &two(IDENTITY, "", "")), None);
    let repeated = Some(Fault::RepeatedSid("A".to_owned()));
    assert_eq!(fault(Kind::Identity, &two(IDENTITY, "A", "A")), repeated);
    assert_eq!(
        fault(Kind::Identity, &two(IDENTITY, "a b", "")),
        Some(Fault::Sid("a b".to_owned()))
    );
}

#[test]
fn conditions_of_key_policies_can_hold_and_fail() {
    let fault = |kind, condition: &str| {
        let elements = if kind == Kind::Key { KEY } else { IDENTITY };
        fault(kind, &document(&format!(r#"{elements},"Condition":{{{condition}}}"#)))
    };
    for accepted in [
        "",
        r#""StringEquals":{"kms:ViaService":"s3.eu-west-1.amazonaws.com"}"#,
        r#""StringEquals":{"KMS:viaservice":"x","aws:FutureKey":"x","s3:prefix":"x"}"#,
        r#""ForAllValues:StringEquals":{"kms:EncryptionContextKeys":["a","b"]}"#,
        r#""ForAnyValue:StringEquals":{"kms:EncryptionContext:a":"b"}"#,
        r#""Bool":{"kms:GrantIsForAWSResource":true}"#,
        r#""StringEquals":{"kms:MultiRegion":"true"}"#,
        r#""NumericLessThan":{"kms:ValidTo":"1795651200"}"#,
        r#""DateLessThan":{"aws:CurrentTime":"2026-11-26"}"#,
        r#""ArnLike":{"kms:GranteePrincipal":"arn:aws:iam::*:role/*"}"#,
    ] {
        assert_eq!(fault(Kind::Key, accepted), None, "{accepted}");
        assert_eq!(fault(Kind::Identity, accepted), None, "{accepted}");
    }
    let not_permitted = |key: &str| Fault::ConditionKeyNotPermitted(key.to_owned());
    for (refused, expected) in [
        (
            r#""StringEquals":{"kms:Frobnicate":"x"}"#,
            Fault::ConditionKey("kms:Frobnicate".to_owned()),
        ),
        (
            r#""StringEquals":{"kms:EncryptionContext:":"x"}"#,
            Fault::ConditionKey("kms:EncryptionContext:".to_owned()),
        ),
        (r#""StringEquals":{"aws:ResourceTag/a":"x"}"#, not_permitted("aws:ResourceTag/a")),
        (
            r#""ForAnyValue:StringEquals":{"kms:ResourceAliases":"x"}"#,
            not_permitted("kms:ResourceAliases"),
        ),
        (
            r#""ForAllValues:StringEquals":{"kms:EncryptionContext:a":"x"}"#,
            Fault::OverlyPermissive("kms:EncryptionContext:a".to_owned()),
        ),
        (
            r#""ForAllValues:StringLike":{"aws:RequestTag/a":"x"}"#,
            Fault::OverlyPermissive("aws:RequestTag/a".to_owned()),
        ),
        (
            r#""NumericEquals":{"kms:ViaService":1}"#,
            Fault::OperatorForKey {
                operator: "NumericEquals".to_owned(),
                key: "kms:ViaService".to_owned(),
            },
        ),
        (
            r#""BoolIfExists":{"aws:SourceIp":"true"}"#,
            Fault::OperatorForKey {
                operator: "BoolIfExists".to_owned(),
                key: "aws:SourceIp".to_owned(),
            },
        ),
    ] {
        assert_eq!(fault(Kind::Key, refused), Some(expected), "{refused}");
        assert_eq!(fault(Kind::Identity, refused), None, "{refused}");
    }
    for (refused, expected) in [
        (r#""StringEqual":{"aws:userid":"x"}"#, Fault::Operator("StringEqual".to_owned())),
        (r#""StringEquals":{"userid":"x"}"#, Fault::ConditionKey("userid".to_owned())),
        (r#""StringEquals":{}"#, Fault::Empty),
        (r#""StringEquals":{"aws:userid":[]}"#, Fault::Empty),
        (r#""StringEquals":[]"#, Fault::Type { wanted: "an object", found: "an array" }),
    ] {
        assert_eq!(fault(Kind::Key, refused), Some(expected.clone()), "{refused}");
        assert_eq!(fault(Kind::Identity, refused), Some(expected), "{refused}");
    }
}

#[test]
fn errors_say_where() {
    let text = document(&format!(
        r#"{KEY},"Sid":"Allow use","Condition":{{"NumericEquals":{{"kms:RotationPeriodInDays":"x"}}}}"#
    ));
    let error = parse(&text, Kind::Key).unwrap_err();
    assert_eq!(
        error.to_string(),
        "Syntax errors in policy: statement 0 (\"Allow use\"), \
         Condition.NumericEquals.kms:RotationPeriodInDays: \"x\" is not a number."
    );
    let text = document(&KEY.replace(r#""*","Action""#, r#"{"AWS":["*","bob"]},"Action""#));
    assert_eq!(
        parse(&text, Kind::Key).unwrap_err().to_string(),
        "Policy contains a statement with one or more invalid principals: statement 0, \
         Principal.AWS: \"bob\"."
    );
    assert_eq!(
        parse(&document(IDENTITY), Kind::Key).unwrap_err().to_string(),
        "Policy contains a statement with no principal: statement 0, there is no principal."
    );
    let error = parse("{", Kind::Identity).unwrap_err().to_string();
    assert!(error.starts_with("Syntax errors in policy: ") && error.contains("line 1"), "{error}");
}

#[test]
fn only_the_new_version_has_variables() {
    let document = |version: &str| {
        let elements = r#""Effect":"Allow","Action":"*","Resource":"arn:aws:kms:::key/${x""#;
        format!(r#"{{"Statement":{{{elements}}}{version}}}"#)
    };
    assert_eq!(fault(Kind::Identity, &document("")), None);
    assert_eq!(fault(Kind::Identity, &document(r#","Version":"2008-10-17""#)), None);
    let new = fault(Kind::Identity, &document(r#","Version":"2012-10-17""#));
    assert!(matches!(new, Some(Fault::Variable(_))));
}
