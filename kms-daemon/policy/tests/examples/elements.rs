//! Elements of policies: IAM User Guide, "Principal", "NotPrincipal", "NotAction" and
//! "NotResource".

use kms_policy::Action as A;
use kms_policy::PolicyType::{Identity, Resource};
use serde_json::{Value, json};

use super::harness::{Example, ask, iam};
use super::people::{
    ANA, APP, BEN, ENGINEER, ENGINEERS, EVA, FAR_KEY, FINN, GUEST, KEY, LOGS, PARTNER, RERUN, ROOT,
    RUN, SECOND_KEY, TRAIL,
};
use super::statements::{
    ALWAYS, allow, by_account, by_identity, by_key, denied, deny, lacking, may,
};

pub(crate) fn examples() -> Vec<Example> {
    let mut examples = principals();
    examples.extend(everyone_but());
    examples.extend(complements());
    examples
}

fn principals() -> Vec<Example> {
    vec![
        iam("Principal: AWS account principals")
            .key([
                allow("arn:aws:iam::210987654321:root", "Encrypt", ALWAYS),
                allow("210987654321", "Decrypt", ALWAYS),
            ])
            .identity([may("*", "*", ALWAYS)])
            .rows([
                // Both forms are one, and neither is the root user alone.
                (ask(ANA, A::Encrypt, json!({})), by_account(0, 0, 0)),
                (ask(ANA, A::Decrypt, json!({})), by_account(1, 0, 0)),
                (ask(ROOT, A::Decrypt, json!({})).bare(), by_key(1)),
                (ask(ANA, A::Decrypt, json!({})).bare(), lacking(Identity)),
                (ask(EVA, A::Decrypt, json!({})), lacking(Resource)),
            ]),
        iam("Principal: Specifying a principal, several accounts")
            .key([allow("210987654321 345678901234", "Decrypt", ALWAYS)])
            .identity([may("*", "*", ALWAYS)])
            .rows([
                (ask(ANA, A::Decrypt, json!({})), by_account(0, 0, 0)),
                (ask(EVA, A::Decrypt, json!({})), by_account(0, 0, 0)),
                (ask(EVA, A::Encrypt, json!({})), lacking(Resource)),
            ]),
        iam("Principal: IAM role principals").key([allow(APP, "Decrypt", ALWAYS)]).rows([
            (ask(RUN, A::Decrypt, json!({})), by_key(0)),
            (ask(RERUN, A::Decrypt, json!({})), by_key(0)),
            (ask(ANA, A::Decrypt, json!({})), lacking(Resource)),
        ]),
        iam("Principal: Role session principals").key([allow(RUN, "Decrypt", ALWAYS)]).rows([
            (ask(RUN, A::Decrypt, json!({})), by_key(0)),
            (ask(RERUN, A::Decrypt, json!({})), lacking(Resource)),
        ]),
        iam("Principal: IAM user principals")
            .key([allow(&format!("{ANA} arn:aws:iam::210987654321:user/Ben"), "Decrypt", ALWAYS)])
            .rows([
                (ask(ANA, A::Decrypt, json!({})), by_key(0)),
                // The names of users have a case here.
                (ask(BEN, A::Decrypt, json!({})), lacking(Resource)),
            ]),
        iam("Principal: AWS STS federated user session principals")
            .key([allow(GUEST, "Decrypt", ALWAYS)])
            .rows([
                (ask(GUEST, A::Decrypt, json!({})), by_key(0)),
                (ask(ANA, A::Decrypt, json!({})), lacking(Resource)),
            ]),
        iam("Principal: AWS service principals")
            .key([allow(&format!("{TRAIL} {LOGS}"), "GenerateDataKey", ALWAYS)])
            .identity([may("*", "*", ALWAYS)])
            .rows([
                (ask(TRAIL, A::GenerateDataKey, json!({})).bare(), by_key(0)),
                (ask(LOGS, A::GenerateDataKey, json!({})).bare(), by_key(0)),
                (ask("s3.amazonaws.com", A::GenerateDataKey, json!({})).bare(), lacking(Resource)),
                (ask(ANA, A::GenerateDataKey, json!({})), lacking(Resource)),
            ]),
    ]
}

/// A statement that denies all but those.
fn except(principals: Value) -> Value {
    json!({
        "Effect": "Deny", "NotPrincipal": { "AWS": principals }, "Action": "kms:*", "Resource": "*"
    })
}

fn everyone_but() -> Vec<Example> {
    vec![
        iam("NotPrincipal: IAM user in the same or a different account")
            .key([allow(&format!("{ROOT} {PARTNER}"), "*", ALWAYS), except(json!([EVA, PARTNER]))])
            .identity([may("*", "*", ALWAYS)])
            .rows([
                (ask(EVA, A::Decrypt, json!({})), by_account(0, 0, 0)),
                (ask(FINN, A::Decrypt, json!({})), denied(Resource, 0, 1)),
                (ask(ANA, A::Decrypt, json!({})), denied(Resource, 0, 1)),
            ]),
        // Without the account, its user is denied with it.
        iam("NotPrincipal: the ARN of the account")
            .key([
                allow(&format!("{ROOT} {PARTNER}"), "*", ALWAYS),
                except(json!([EVA, ANA, ROOT])),
            ])
            .identity([may("*", "*", ALWAYS)])
            .rows([
                (ask(ANA, A::Decrypt, json!({})), by_account(0, 0, 0)),
                (ask(EVA, A::Decrypt, json!({})), denied(Resource, 0, 1)),
            ]),
        iam("NotPrincipal: IAM role in the same or a different account")
            .key([
                allow(&format!("{ROOT} {PARTNER}"), "*", ALWAYS),
                except(json!([ENGINEER, ENGINEERS, PARTNER])),
            ])
            .identity([may("*", "*", ALWAYS)])
            .rows([
                (ask(ENGINEER, A::Decrypt, json!({})), by_account(0, 0, 0)),
                (ask(EVA, A::Decrypt, json!({})), denied(Resource, 0, 1)),
                (ask(RUN, A::Decrypt, json!({})), denied(Resource, 0, 1)),
            ]),
        // Whoever has a boundary is denied even if listed.
        iam("NotPrincipal: principals with a permissions boundary")
            .key([
                allow(ROOT, "*", ALWAYS),
                json!({
                    "Effect": "Deny", "NotPrincipal": { "AWS": [ANA, ROOT] },
                    "Action": "kms:Decrypt", "Resource": "*"
                }),
            ])
            .identity([may("*", "*", ALWAYS)])
            .boundary([may("*", "*", ALWAYS)])
            .rows([
                (ask(ANA, A::Encrypt, json!({})), by_account(0, 0, 0)),
                (ask(ANA, A::Decrypt, json!({})), denied(Resource, 0, 1)),
            ]),
        iam("Principal: aws:PrincipalArn instead of NotPrincipal with Deny")
            .key([
                allow(ROOT, "*", ALWAYS),
                deny("*", "*", json!({ "ArnNotEquals": { "aws:PrincipalArn": ANA } })),
            ])
            .identity([may("*", "*", ALWAYS)])
            .rows([
                (ask(ANA, A::Decrypt, json!({})), by_account(0, 0, 0)),
                (ask(BEN, A::Decrypt, json!({})), denied(Resource, 0, 1)),
                (ask(ROOT, A::Decrypt, json!({})).bare(), denied(Resource, 0, 1)),
                // A service has no ARN, so it is not excepted.
                (ask(LOGS, A::Decrypt, json!({})).bare(), denied(Resource, 0, 1)),
            ]),
    ]
}

fn complements() -> Vec<Example> {
    let statement = |effect: &str, actions: &str, resource: &str| json!({ "Effect": effect, "NotAction": actions, "Resource": resource });
    let mut unless_mfa = statement("Deny", "iam:*", "*");
    unless_mfa["Condition"] = json!({ "BoolIfExists": { "aws:MultiFactorAuthPresent": "false" } });
    let mut elsewhere = statement("Deny", "iam:*", "*");
    elsewhere["NotAction"] = json!(["iam:*", "kms:GenerateRandom", "sts:*"]);
    elsewhere["Condition"] =
        json!({ "StringNotEquals": { "aws:RequestedRegion": ["eu-north-1", "eu-west-1"] } });
    let region = |name: &str| json!({ "aws:RequestedRegion": name });
    vec![
        iam("NotAction: with Allow")
            .identity([statement("Allow", "kms:ScheduleKeyDeletion", "arn:aws:kms:*:*:key/*")])
            .rows([
                (ask(ANA, A::Decrypt, json!({})), by_account(0, 0, 0)),
                (ask(ANA, A::ScheduleKeyDeletion, json!({})), lacking(Identity)),
                // It needs `*` as its resource.
                (ask(ANA, A::ListKeys, json!({})), lacking(Identity)),
            ]),
        iam("NotAction: with Allow, all services but one")
            .identity([statement("Allow", "iam:*", "*")])
            .identity([statement("Allow", "kms:*", "*"), may("ListKeys", "*", ALWAYS)])
            .rows([
                (ask(ANA, A::ListKeys, json!({})), by_identity(0, 0)),
                (ask(ANA, A::Decrypt, json!({})), by_account(0, 0, 0)),
                (ask(ANA, A::Decrypt, json!({})).bare(), lacking(Identity)),
            ]),
        iam("NotAction: with Deny, MFA").identity([may("*", "*", ALWAYS), unless_mfa]).rows([
            (
                ask(ANA, A::Decrypt, json!({ "aws:MultiFactorAuthPresent": true })),
                by_account(0, 0, 0),
            ),
            (
                ask(ANA, A::Decrypt, json!({ "aws:MultiFactorAuthPresent": false })),
                denied(Identity, 0, 1),
            ),
            // Long-term access keys have no such key at all.
            (ask(ANA, A::Decrypt, json!({})), denied(Identity, 0, 1)),
        ]),
        iam("NotAction: with Deny, Regions").identity([may("*", "*", ALWAYS), elsewhere]).rows([
            (ask(ANA, A::Decrypt, region("eu-north-1")), by_account(0, 0, 0)),
            (ask(ANA, A::GenerateRandom, region("us-east-1")), by_identity(0, 0)),
            (ask(ANA, A::Decrypt, region("ap-south-2")).on(FAR_KEY), denied(Identity, 0, 1)),
        ]),
        iam("NotResource: with Deny")
            .identity([
                may("*", "*", ALWAYS),
                json!({ "Effect": "Deny", "Action": "kms:*", "NotResource": [KEY, FAR_KEY] }),
            ])
            .rows([
                (ask(ANA, A::Decrypt, json!({})), by_account(0, 0, 0)),
                (ask(ANA, A::Decrypt, json!({})).on(FAR_KEY), by_account(0, 0, 0)),
                (ask(ANA, A::Decrypt, json!({})).on(SECOND_KEY), denied(Identity, 0, 1)),
                (ask(ANA, A::ListKeys, json!({})), denied(Identity, 0, 1)),
            ]),
        iam("NotResource: with Allow")
            .identity([json!({
                "Effect": "Allow", "Action": "kms:Decrypt",
                "NotResource": "arn:aws:kms:ap-*:*:key/*"
            })])
            .rows([
                (ask(ANA, A::Decrypt, json!({})), by_account(0, 0, 0)),
                (ask(ANA, A::Decrypt, json!({})).on(FAR_KEY), lacking(Identity)),
            ]),
    ]
}
