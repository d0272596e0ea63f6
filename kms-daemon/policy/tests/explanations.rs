//! What explanations say.

mod common;

use common::{Bag, Case, ROLE, Who};
use kms_policy::{Action, Effect, Mismatch, explain};
use serde_json::json;

#[test]
fn every_statement_says_why_it_does_not_apply() {
    let mut case = Case::new(Who::User, Action::Decrypt);
    case.key_policy = Some(json!({ "Version": "2012-10-17", "Statement": [
        {
            "Sid": "Role use", "Effect": "Allow", "Principal": { "AWS": ROLE },
            "Action": "kms:Encrypt", "Resource": "*"
        },
        {
            "Sid": "Office", "Effect": "Allow", "Principal": "*", "Action": "kms:*",
            "Resource": "*",
            "Condition": {
                "IpAddress": { "aws:SourceIp": "192.0.2.0/24" },
                "ForAllValues:StringEqualsIfExists": { "kms:EncryptionContextKeys": "a" },
                "Bool": { "aws:MultiFactorAuthPresent": "true" }
            }
        }
    ] }));
    let allow_alias = json!({
        "Effect": "Allow", "Action": "kms:*", "Resource": "arn:aws:kms:*:*:alias/*"
    });
    let deny = json!({ "Effect": "Deny", "Action": "kms:Decrypt", "Resource": "*" });
    case.identity = vec![json!({ "Statement": [allow_alias, deny] })];
    case.context = Bag::of(&[("aws:SourceIp", "198.51.100.7")]);
    let compiled = case.compile().unwrap();
    let request = compiled.request();
    let explanation = compiled.with_policies(|policies| explain(&request, policies).statements);

    let reports: Vec<(Option<&str>, Effect, Vec<String>)> = explanation
        .iter()
        .map(|report| {
            let mut mismatches: Vec<_> =
                report.mismatches.iter().map(Mismatch::to_string).collect();
            // The members of a JSON object have no order.
            mismatches[..].sort_by_key(|text| text.contains("Bool"));
            (report.sid.as_deref(), report.effect, mismatches)
        })
        .collect();
    let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
    assert_eq!(
        reports,
        [
            (
                Some("Role use"),
                Effect::Allow,
                texts(&["the principal does not match", "the action does not match"])
            ),
            (
                Some("Office"),
                Effect::Allow,
                texts(&[
                    "the condition IpAddress aws:SourceIp does not hold for 198.51.100.7",
                    "the condition Bool aws:MultiFactorAuthPresent does not hold: the request \
                     has no value",
                ])
            ),
            (None, Effect::Allow, texts(&["the resource does not match"])),
            (None, Effect::Deny, texts(&[])),
        ]
    );
}
