//! Condition operators: IAM User Guide, "Condition operators" and "Example IAM identity-based
//! policies".

use kms_policy::Action as A;
use kms_policy::PolicyType::{Identity, Resource};
use serde_json::{Value, json};

use super::harness::{Example, ask, iam};
use super::people::{ANA, LOGS, ROOT, RUN};
use super::statements::{ALWAYS, allow, by_account, by_key, denied, lacking, may, may_not};

pub(crate) fn examples() -> Vec<Example> {
    let mut examples = text();
    examples.extend(numbers_and_dates());
    examples.extend(addresses());
    examples.extend(arns());
    examples.extend(presence());
    examples
}

/// IAM lets her decrypt under that condition, or does not.
fn decrypt<const N: usize>(
    section: &str,
    condition: Value,
    allowed: [Value; N],
    others: &[Value],
) -> Example {
    let rows = |list: &[Value], decision| -> Vec<_> {
        list.iter().map(|facts| (ask(ANA, A::Decrypt, facts.clone()), decision)).collect()
    };
    let mut example = iam(section).identity([may("Decrypt", "*", condition)]);
    example.rows = rows(&allowed, by_account(0, 0, 0));
    example.rows.extend(rows(others, lacking(Identity)));
    example
}

fn text() -> Vec<Example> {
    let job = |name: &str| json!({ "aws:PrincipalTag": { "job-category": name } });
    let tag = |operator: &str, value: Value| json!({ operator: { "aws:PrincipalTag/job-category": value } });
    vec![
        decrypt(
            "Condition operators: StringEquals",
            tag("StringEquals", "keys-admin".into()),
            [job("keys-admin")],
            &[job("Keys-Admin"), job("keys-admins"), json!({})],
        ),
        decrypt(
            "Condition operators: StringNotEquals",
            tag("StringNotEquals", json!(["guest", "trainee"])),
            [job("keys-admin"), job("Guest"), json!({})],
            &[job("guest"), job("trainee")],
        ),
        decrypt(
            "Condition operators: StringEqualsIgnoreCase",
            tag("StringEqualsIgnoreCase", "keys-admin".into()),
            [job("KEYS-admin")],
            &[job("keys admin"), json!({})],
        ),
        decrypt(
            "Condition operators: StringNotEqualsIgnoreCase",
            tag("StringNotEqualsIgnoreCase", "guest".into()),
            [job("admin"), json!({})],
            &[job("GUEST")],
        ),
        decrypt(
            "Condition operators: StringLike",
            tag("StringLike", json!(["", "home/", "home/${aws:username}/*", "?-admin"])),
            [job(""), job("home/"), job("home/ana/x/y"), job("x-admin")],
            &[job("home/ben/x"), job("home"), job("xy-admin"), job("X-Admin"), json!({})],
        ),
        decrypt(
            "Condition operators: StringNotLike",
            tag("StringNotLike", "temp-*".into()),
            [job("permanent"), job("Temp-1"), json!({})],
            &[job("temp-1"), job("temp-")],
        ),
        decrypt(
            "Condition operators: Boolean condition operators",
            json!({ "Bool": { "aws:SecureTransport": "true" } }),
            [json!({ "aws:SecureTransport": true })],
            &[json!({ "aws:SecureTransport": false }), json!({})],
        ),
        iam("Condition operators: Bool to deny")
            .identity([
                may("*", "*", ALWAYS),
                may_not("*", "*", json!({ "Bool": { "aws:SecureTransport": "false" } })),
            ])
            .rows([
                (ask(ANA, A::Encrypt, json!({ "aws:SecureTransport": true })), by_account(0, 0, 0)),
                (
                    ask(ANA, A::Encrypt, json!({ "aws:SecureTransport": false })),
                    denied(Identity, 0, 1),
                ),
            ]),
        // No key of KMS is binary; IAM policies may have those of other services.
        decrypt(
            "Condition operators: BinaryEquals",
            json!({ "BinaryEquals": { "acme:fingerprint": "a2V5LTAwMQ==" } }),
            [json!({ "acme:fingerprint": "a2V5LTAwMQ==" })],
            &[json!({ "acme:fingerprint": "A2V5LTAwMQ==" }), json!({})],
        ),
    ]
}

fn numbers_and_dates() -> Vec<Example> {
    let age = |seconds: u32| json!({ "aws:MultiFactorAuthAge": seconds });
    let now = |time: &str| json!({ "aws:CurrentTime": time });
    let issued = |time: &str| json!({ "aws:TokenIssueTime": time });
    let season = json!({
        "DateGreaterThan": { "aws:CurrentTime": "2027-04-01T00:00:00Z" },
        "DateLessThan": { "aws:CurrentTime": "2027-06-30T23:59:59Z" }
    });
    let mut season_with_mfa = season.clone();
    season_with_mfa["Bool"] = json!({ "aws:MultiFactorAuthPresent": true });
    let inside = "2027-05-05T12:00:00Z";
    vec![
        decrypt(
            "Condition operators: NumericLessThanEquals",
            json!({ "NumericLessThanEquals": { "aws:MultiFactorAuthAge": "3600" } }),
            [age(10), age(3600)],
            &[age(3601), json!({})],
        ),
        decrypt(
            "Condition operators: NumericNotEquals",
            json!({ "NumericNotEquals": { "aws:MultiFactorAuthAge": ["0", "1"] } }),
            [age(2), json!({})],
            &[age(0), age(1)],
        ),
        decrypt(
            "Condition operators: DateGreaterThan",
            json!({ "DateGreaterThan": { "aws:TokenIssueTime": "2027-01-01T00:00:01Z" } }),
            [issued("2027-01-01T00:00:02Z"), issued("2026-12-31T20:00:00-05:00")],
            // Long-term access keys have no such key.
            &[issued("2027-01-01T00:00:01Z"), issued("2027-01-01T10:00:00+14:00"), json!({})],
        ),
        decrypt(
            "Condition operators: dates in epoch time",
            json!({ "DateLessThanEquals": { "aws:EpochTime": "1798761600" } }),
            [json!({ "aws:EpochTime": 1_798_761_600 }), json!({ "aws:EpochTime": "2026-06-01" })],
            &[json!({ "aws:EpochTime": 1_798_761_601 })],
        ),
        decrypt(
            "AWS: Allows access based on date and time",
            season,
            [now(inside), now("2027-06-30T23:59:58Z")],
            &[
                now("2027-04-01T00:00:00Z"),
                now("2027-06-30T23:59:59Z"),
                now("2026-05-05T12:00:00Z"),
            ],
        ),
        decrypt(
            "AWS: Allows specific access using MFA within specific dates",
            season_with_mfa,
            [json!({ "aws:CurrentTime": inside, "aws:MultiFactorAuthPresent": true })],
            &[
                json!({ "aws:CurrentTime": inside, "aws:MultiFactorAuthPresent": false }),
                json!({ "aws:CurrentTime": inside }),
                json!({
                    "aws:CurrentTime": "2027-07-01T00:00:00Z", "aws:MultiFactorAuthPresent": true
                }),
            ],
        ),
        decrypt(
            "Secure API access with MFA",
            json!({
                "Bool": { "aws:MultiFactorAuthPresent": "true" },
                "NumericLessThan": { "aws:MultiFactorAuthAge": "300" }
            }),
            [json!({ "aws:MultiFactorAuthPresent": true, "aws:MultiFactorAuthAge": 299 })],
            &[
                json!({ "aws:MultiFactorAuthPresent": true, "aws:MultiFactorAuthAge": 300 }),
                json!({ "aws:MultiFactorAuthPresent": false, "aws:MultiFactorAuthAge": 1 }),
                json!({}),
            ],
        ),
    ]
}

fn addresses() -> Vec<Example> {
    let from = |address: &str| json!({ "aws:SourceIp": address });
    let by_service = json!({ "aws:SourceIp": "198.51.100.3", "aws:ViaAWSService": true });
    let direct = json!({ "aws:SourceIp": "198.51.100.3", "aws:ViaAWSService": false });
    vec![
        decrypt(
            "Condition operators: IpAddress",
            json!({ "IpAddress": { "aws:SourceIp": ["203.0.113.0/24", "2001:DB8:1234:5678::/64"] } }),
            [from("203.0.113.255"), from("2001:db8:1234:5678::9")],
            // Requests through an endpoint have no such key.
            &[from("203.0.114.0"), from("2001:db8:1234:5679::9"), json!({})],
        ),
        decrypt(
            "Condition operators: IpAddress without a prefix",
            json!({ "IpAddress": { "aws:SourceIp": "203.0.113.7" } }),
            [from("203.0.113.7")],
            &[from("203.0.113.8")],
        ),
        iam("AWS: Denies access to AWS based on the source IP")
            .identity([
                may("*", "*", ALWAYS),
                may_not(
                    "*",
                    "*",
                    json!({
                        "NotIpAddress": { "aws:SourceIp": ["192.0.2.0/24", "203.0.113.0/24"] },
                        "Bool": { "aws:ViaAWSService": "false" }
                    }),
                ),
            ])
            .rows([
                (
                    ask(
                        ANA,
                        A::Decrypt,
                        json!({ "aws:SourceIp": "192.0.2.8", "aws:ViaAWSService": false }),
                    ),
                    by_account(0, 0, 0),
                ),
                (ask(ANA, A::Decrypt, by_service), by_account(0, 0, 0)),
                (ask(ANA, A::Decrypt, direct), denied(Identity, 0, 1)),
            ]),
    ]
}

fn arns() -> Vec<Example> {
    let source = |arn: &str| json!({ "aws:SourceArn": arn });
    let topic = "arn:aws:sns:eu-north-1:210987654321:orders";
    let deep = "arn:aws:sns:eu-north-1:345678901234:store/a:210987654321:orders";
    let pattern = "arn:aws:sns:*:210987654321:ord*";
    vec![
        iam("Condition operators: ArnEquals")
            .key([allow(LOGS, "Decrypt", json!({ "ArnEquals": { "aws:SourceArn": topic } }))])
            .rows([
                (ask(LOGS, A::Decrypt, source(topic)), by_key(0)),
                (ask(LOGS, A::Decrypt, source(deep)), lacking(Resource)),
                (ask(LOGS, A::Decrypt, json!({})), lacking(Resource)),
                (ask(ANA, A::Decrypt, source(topic)), lacking(Resource)),
            ]),
        // Parts are matched one by one; as text the pattern also matches what is deeper.
        iam("Condition operators: ArnLike")
            .key([
                allow(LOGS, "Decrypt", json!({ "ArnLike": { "aws:SourceArn": pattern } })),
                allow(LOGS, "Encrypt", json!({ "StringLike": { "aws:SourceArn": pattern } })),
            ])
            .rows([
                (ask(LOGS, A::Decrypt, source(topic)), by_key(0)),
                (ask(LOGS, A::Encrypt, source(topic)), by_key(1)),
                (ask(LOGS, A::Encrypt, source(deep)), by_key(1)),
                (ask(LOGS, A::Decrypt, source(deep)), lacking(Resource)),
            ]),
        decrypt(
            "Condition operators: ArnEquals and ArnLike are one",
            json!({ "ArnEquals": { "aws:SourceArn": pattern } }),
            [source(topic)],
            &[source("arn:aws:sns:eu-north-1:210987654321:stock"), json!({})],
        ),
        decrypt(
            "Condition operators: ArnNotLike",
            json!({ "ArnNotLike": { "aws:SourceArn": pattern } }),
            [source("arn:aws:sns:eu-north-1:210987654321:stock"), source(deep), json!({})],
            &[source(topic)],
        ),
        iam("The confused deputy problem: aws:SourceAccount")
            .key([allow(
                LOGS,
                "Decrypt",
                json!({ "StringEquals": { "aws:SourceAccount": "210987654321" } }),
            )])
            .rows([
                (ask(LOGS, A::Decrypt, json!({ "aws:SourceAccount": "210987654321" })), by_key(0)),
                (
                    ask(LOGS, A::Decrypt, json!({ "aws:SourceAccount": "345678901234" })),
                    lacking(Resource),
                ),
                (ask(ROOT, A::Decrypt, json!({})), lacking(Resource)),
            ]),
    ]
}

fn presence() -> Vec<Example> {
    let algorithm = |name: &str| json!({ "kms:EncryptionAlgorithm": name });
    let tagged = |team: &str| json!({ "aws:PrincipalTag": { "team": team } });
    vec![
        // One statement about operations of which some have the key.
        iam("Condition operators: ...IfExists")
            .identity([may(
                "*",
                "*",
                json!({ "StringLikeIfExists": { "kms:EncryptionAlgorithm": ["SYM*", "RSAES_*"] } }),
            )])
            .rows([
                (ask(ANA, A::Encrypt, algorithm("RSAES_OAEP_SHA_256")), by_account(0, 0, 0)),
                (ask(ANA, A::DescribeKey, json!({})), by_account(0, 0, 0)),
                (ask(ANA, A::Encrypt, algorithm("SM2PKE")), lacking(Identity)),
            ]),
        iam("Condition operators: the same without IfExists")
            .identity([may(
                "*",
                "*",
                json!({ "StringLike": { "kms:EncryptionAlgorithm": ["SYM*", "RSAES_*"] } }),
            )])
            .rows([
                (ask(ANA, A::Encrypt, algorithm("RSAES_OAEP_SHA_256")), by_account(0, 0, 0)),
                (ask(ANA, A::DescribeKey, json!({})), lacking(Identity)),
            ]),
        // With a negation it denies also if the tag is missing.
        iam("Condition operators: IfExists with Deny")
            .identity([
                may("*", "*", ALWAYS),
                may_not(
                    "*",
                    "*",
                    json!({ "StringNotEqualsIfExists": { "aws:PrincipalTag/team": "ledger" } }),
                ),
            ])
            .rows([
                (ask(ANA, A::Decrypt, tagged("ledger")), by_account(0, 0, 0)),
                (ask(ANA, A::Decrypt, tagged("mail")), denied(Identity, 0, 1)),
                (ask(ANA, A::Decrypt, json!({})), denied(Identity, 0, 1)),
            ]),
        iam("Condition operators: IfExists of a set")
            .identity([may(
                "TagResource UntagResource",
                "*",
                json!({ "ForAllValues:StringEqualsIfExists": { "aws:TagKeys": ["team"] } }),
            )])
            .rows([
                (ask(ANA, A::TagResource, json!({ "aws:TagKeys": ["team"] })), by_account(0, 0, 0)),
                (ask(ANA, A::TagResource, json!({})), by_account(0, 0, 0)),
                (
                    ask(ANA, A::TagResource, json!({ "aws:TagKeys": ["team", "x"] })),
                    lacking(Identity),
                ),
            ]),
        // Only for long-term access keys.
        iam("Condition operators: Null, the key is missing")
            .identity([may("*", "*", json!({ "Null": { "aws:TokenIssueTime": "true" } }))])
            .rows([
                (ask(ANA, A::Decrypt, json!({})), by_account(0, 0, 0)),
                (
                    ask(RUN, A::Decrypt, json!({ "aws:TokenIssueTime": "2027-01-01T00:00:00Z" })),
                    lacking(Identity),
                ),
            ]),
        iam("Condition operators: Null, the key is there")
            .identity([may("*", "*", json!({ "Null": { "aws:TokenIssueTime": "false" } }))])
            .rows([
                (
                    ask(RUN, A::Decrypt, json!({ "aws:TokenIssueTime": "2027-01-01T00:00:00Z" })),
                    by_account(0, 0, 0),
                ),
                (ask(ANA, A::Decrypt, json!({})), lacking(Identity)),
                (ask(ANA, A::Decrypt, json!({ "aws:TokenIssueTime": "" })), lacking(Identity)),
            ]),
    ]
}
