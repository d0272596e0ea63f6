//! How policies decide together: IAM User Guide, "Policy evaluation logic", "Permissions
//! boundaries for IAM entities" and "Session policies".

use kms_policy::Action as A;
use kms_policy::PolicyType::{
    Boundary, Identity, Resource, ResourceControl, ServiceControl, Session,
};
use serde_json::{Value, json};

use super::harness::{Example, ask, iam};
use super::people::{
    ANA, APP, BEN, ENGINEER, ENGINEERS, EVA, GUEST, KEY, LOGS, PARTNER, RERUN, ROOT, RUN,
};
use super::statements::{
    ALWAYS, BY_GRANT, allow, by_account, by_identity, by_key, denied, denied_in, deny, lacking,
    may, may_not,
};

pub(crate) fn examples() -> Vec<Example> {
    let mut examples = one_account();
    examples.extend(boundaries());
    examples.extend(sessions());
    examples.extend(guardrails());
    examples.extend(two_accounts());
    examples
}

fn nothing() -> Value {
    json!({})
}

fn one_account() -> Vec<Example> {
    vec![
        iam("Policy evaluation logic: Evaluating identity-based policies with resource-based policies")
            .key([allow(ROOT, "Encrypt DescribeKey", ALWAYS), allow(ANA, "Decrypt", ALWAYS)])
            .identity([may("Encrypt", KEY, ALWAYS), may_not("DescribeKey", KEY, ALWAYS)])
            .rows([
                (ask(ANA, A::Encrypt, nothing()), by_account(0, 0, 0)),
                (ask(ANA, A::Decrypt, nothing()), by_key(1)),
                (ask(ANA, A::DescribeKey, nothing()), denied(Identity, 0, 1)),
                (ask(ANA, A::Sign, nothing()), lacking(Resource)),
            ]),
        iam("Policy evaluation logic: The difference between explicit and implicit denies")
            .key([allow(ROOT, "*", ALWAYS), deny(ANA, "Decrypt", ALWAYS)])
            .identity([may("Decrypt", "*", ALWAYS)])
            .rows([
                (ask(ANA, A::Decrypt, nothing()), denied(Resource, 0, 1)),
                (ask(ANA, A::Decrypt, nothing()).granted(), denied(Resource, 0, 1)),
                (ask(BEN, A::Decrypt, nothing()), by_account(0, 0, 0)),
                (ask(BEN, A::Encrypt, nothing()), lacking(Identity)),
                (ask(BEN, A::Encrypt, nothing()).granted(), BY_GRANT),
            ]),
        // Key policies and trust policies are the exceptions: the account has to be named too.
        iam("Policy evaluation logic: Resource-based policies, KMS key policies")
            .key([allow(BEN, "*", ALWAYS)])
            .identity([may("*", "*", ALWAYS)])
            .rows([
                (ask(BEN, A::Decrypt, nothing()), by_key(0)),
                (ask(ANA, A::Decrypt, nothing()), lacking(Resource)),
                (ask(ANA, A::CreateKey, nothing()), by_identity(0, 0)),
            ]),
        iam("Policy evaluation logic: the policies of a user and of the user's groups")
            .identity([may("DescribeKey", "*", ALWAYS)])
            .identity([may("Decrypt", "*", ALWAYS)])
            .identity([may_not("Decrypt", "*", json!({ "Bool": { "aws:SecureTransport": false } }))])
            .rows([
                (ask(ANA, A::DescribeKey, nothing()), by_account(0, 0, 0)),
                (
                    ask(ANA, A::Decrypt, json!({ "aws:SecureTransport": true })),
                    by_account(0, 1, 0),
                ),
                (
                    ask(ANA, A::Decrypt, json!({ "aws:SecureTransport": false })),
                    denied(Identity, 2, 0),
                ),
            ]),
    ]
}

fn boundaries() -> Vec<Example> {
    vec![
        iam("Permissions boundaries: the maximum of an identity-based policy")
            .identity([may("*", "*", ALWAYS)])
            .boundary([may("s3:* Describe* List*", "*", ALWAYS)])
            .rows([
                (ask(ANA, A::DescribeKey, nothing()), by_account(0, 0, 0)),
                (ask(ANA, A::ListKeys, nothing()), by_identity(0, 0)),
                (ask(ANA, A::Decrypt, nothing()), lacking(Boundary)),
                (ask(ANA, A::CreateKey, nothing()), lacking(Boundary)),
            ]),
        iam("Permissions boundaries: it gives nothing by itself")
            .identity([may("Decrypt", "*", ALWAYS)])
            .boundary([may("*", "*", ALWAYS)])
            .rows([
                (ask(ANA, A::Decrypt, nothing()), by_account(0, 0, 0)),
                (ask(ANA, A::Encrypt, nothing()), lacking(Identity)),
            ]),
        iam("Permissions boundaries: it denies")
            .key([allow(ROOT, "*", ALWAYS), allow(ANA, "*", ALWAYS)])
            .boundary([may("*", "*", ALWAYS), may_not("ScheduleKeyDeletion", "*", ALWAYS)])
            .rows([
                (ask(ANA, A::Decrypt, nothing()), by_key(1)),
                (ask(ANA, A::ScheduleKeyDeletion, nothing()), denied(Boundary, 0, 1)),
            ]),
        // A user that the key policy names is not limited by what the boundary leaves out.
        iam("Policy evaluation logic: IAM user ARN in a resource-based policy")
            .key([allow(ROOT, "*", ALWAYS), allow(ANA, "Decrypt", ALWAYS)])
            .identity([may("Encrypt", "*", ALWAYS)])
            .boundary([may("s3:*", "*", ALWAYS)])
            .rows([
                (ask(ANA, A::Decrypt, nothing()), by_key(1)),
                (ask(ANA, A::Encrypt, nothing()), lacking(Boundary)),
            ]),
        // A role that it names is.
        iam("Policy evaluation logic: IAM role ARN in a resource-based policy")
            .key([allow(APP, "Decrypt Encrypt", ALWAYS)])
            .boundary([may("Encrypt", "*", ALWAYS)])
            .rows([
                (ask(RUN, A::Encrypt, nothing()), by_key(0)),
                (ask(RUN, A::Decrypt, nothing()), lacking(Boundary)),
            ]),
        // The session itself is not.
        iam("Policy evaluation logic: IAM role session ARN in a resource-based policy")
            .key([allow(RUN, "Decrypt", ALWAYS), allow(APP, "Encrypt", ALWAYS)])
            .boundary([may("s3:*", "*", ALWAYS)])
            .session([may("s3:*", "*", ALWAYS)])
            .rows([
                (ask(RUN, A::Decrypt, nothing()), by_key(0)),
                (ask(RUN, A::Encrypt, nothing()), lacking(Boundary)),
                (ask(RERUN, A::Decrypt, nothing()), lacking(Resource)),
            ]),
        iam("Policy evaluation logic: IAM federated user session ARN in a resource-based policy")
            .key([allow(GUEST, "Decrypt", ALWAYS), allow(ROOT, "*", ALWAYS)])
            .identity([may("*", "*", ALWAYS)])
            .session([may("Encrypt", "*", ALWAYS)])
            .rows([
                (ask(GUEST, A::Decrypt, nothing()), by_key(0)),
                (ask(GUEST, A::Encrypt, nothing()), by_account(1, 0, 0)),
                (ask(GUEST, A::Sign, nothing()), lacking(Session)),
            ]),
        // Whoever a condition on `aws:PrincipalArn` names among everyone is not limited either.
        iam("Principal: IAM role principals, aws:PrincipalArn with a wildcard")
            .key([
                allow("*", "Decrypt", json!({ "ArnEquals": { "aws:PrincipalArn": APP } })),
                allow(APP, "Encrypt", ALWAYS),
            ])
            .boundary([may("s3:*", "*", ALWAYS), may_not("DescribeKey", "*", ALWAYS)])
            .session([may("s3:*", "*", ALWAYS)])
            .rows([
                (ask(RUN, A::Decrypt, nothing()), by_key(0)),
                (ask(RUN, A::Encrypt, nothing()), lacking(Boundary)),
                (ask(ANA, A::Decrypt, nothing()), lacking(Resource)),
            ]),
        iam("Principal: IAM role principals, explicit denies of a permissions boundary")
            .key([allow("*", "*", json!({ "ArnEquals": { "aws:PrincipalArn": APP } }))])
            .boundary([may("s3:*", "*", ALWAYS), may_not("Decrypt", "*", ALWAYS)])
            .rows([
                (ask(RUN, A::Encrypt, nothing()), by_key(0)),
                (ask(RUN, A::Decrypt, nothing()), denied(Boundary, 0, 1)),
            ]),
        // Of everyone without such a condition, or with one that names nobody, the guide does not
        // say it: the limits hold.
        iam("Principal: All principals, within limits")
            .key([
                allow(
                    "*",
                    "Encrypt Decrypt",
                    json!({ "StringEquals": { "kms:CallerAccount": "210987654321" } }),
                ),
                allow("*", "Sign", json!({ "ArnNotEquals": { "aws:PrincipalArn": BEN } })),
                allow("*", "Verify", json!({ "ArnEqualsIfExists": { "aws:PrincipalArn": APP } })),
            ])
            .boundary([may("Encrypt", "*", ALWAYS)])
            .rows([
                (ask(RUN, A::Encrypt, nothing()), by_key(0)),
                (ask(RUN, A::Decrypt, nothing()), lacking(Boundary)),
                (ask(ANA, A::Decrypt, nothing()), lacking(Boundary)),
                (ask(ANA, A::Sign, nothing()), lacking(Boundary)),
                (ask(RUN, A::Verify, nothing()), lacking(Boundary)),
            ]),
    ]
}

fn sessions() -> Vec<Example> {
    vec![
        iam("Session policies: the intersection with identity-based policies")
            .identity([may("Encrypt Decrypt", "*", ALWAYS)])
            .session([may("Decrypt Sign", "*", ALWAYS)])
            .rows([
                (ask(RUN, A::Decrypt, nothing()), by_account(0, 0, 0)),
                (ask(RUN, A::Encrypt, nothing()), lacking(Session)),
                (ask(RUN, A::Sign, nothing()), lacking(Identity)),
            ]),
        iam("Session policies: a resource-based policy that names the role")
            .key([allow(APP, "Decrypt Encrypt", ALWAYS)])
            .session([may("Decrypt", "*", ALWAYS)])
            .rows([
                (ask(RUN, A::Decrypt, nothing()), by_key(0)),
                (ask(RUN, A::Encrypt, nothing()), lacking(Session)),
            ]),
        iam("Session policies: a resource-based policy that names the session")
            .key([allow(ROOT, "*", ALWAYS), allow(RUN, "Decrypt", ALWAYS)])
            .identity([may("Encrypt", "*", ALWAYS)])
            .session([may("Encrypt", "*", ALWAYS)])
            .rows([
                (ask(RUN, A::Decrypt, nothing()), by_key(1)),
                (ask(RUN, A::Encrypt, nothing()), by_account(0, 0, 0)),
                (ask(RERUN, A::Decrypt, nothing()), lacking(Identity)),
            ]),
        iam("Session policies: with a permissions boundary")
            .identity([may("Encrypt Decrypt Sign", "*", ALWAYS)])
            .boundary([may("Decrypt Sign", "*", ALWAYS)])
            .session([may("Encrypt Decrypt", "*", ALWAYS)])
            .rows([
                (ask(RUN, A::Decrypt, nothing()), by_account(0, 0, 0)),
                (ask(RUN, A::Encrypt, nothing()), lacking(Boundary)),
                (ask(RUN, A::Sign, nothing()), lacking(Session)),
            ]),
        iam("Session policies: an explicit deny")
            .key([allow(RUN, "*", ALWAYS)])
            .session([may("*", "*", ALWAYS), may_not("Decrypt", KEY, ALWAYS)])
            .rows([
                (ask(RUN, A::Encrypt, nothing()), by_key(0)),
                (ask(RUN, A::Decrypt, nothing()), denied(Session, 0, 1)),
                (ask(RUN, A::Decrypt, nothing()).granted(), denied(Session, 0, 1)),
            ]),
    ]
}

fn guardrails() -> Vec<Example> {
    vec![
        iam("Policy evaluation logic: Evaluating identity-based policies with SCPs")
            .key([allow(ROOT, "*", ALWAYS), allow(LOGS, "Encrypt", ALWAYS)])
            .identity([may("Encrypt Decrypt", "*", ALWAYS)])
            .service_control([may("Decrypt Sign", "*", ALWAYS)])
            .rows([
                (ask(ANA, A::Decrypt, nothing()), by_account(0, 0, 0)),
                (ask(ANA, A::Encrypt, nothing()), lacking(ServiceControl)),
                (ask(ANA, A::Sign, nothing()), lacking(Identity)),
                // The root user is under them, services are not.
                (ask(ROOT, A::Encrypt, nothing()).bare(), lacking(ServiceControl)),
                (ask(LOGS, A::Encrypt, nothing()), by_key(1)),
            ]),
        iam("Policy evaluation logic: an SCP that denies")
            .key([allow(ANA, "*", ALWAYS), allow(ROOT, "*", ALWAYS)])
            .service_control([
                may("*", "*", ALWAYS),
                may_not(
                    "ScheduleKeyDeletion",
                    "*",
                    json!({ "NumericLessThan": {
                        "kms:ScheduleKeyDeletionPendingWindowInDays": "30"
                    } }),
                ),
            ])
            .rows([
                (
                    ask(
                        ANA,
                        A::ScheduleKeyDeletion,
                        json!({ "kms:ScheduleKeyDeletionPendingWindowInDays": 30 }),
                    ),
                    by_key(0),
                ),
                (
                    ask(
                        ROOT,
                        A::ScheduleKeyDeletion,
                        json!({ "kms:ScheduleKeyDeletionPendingWindowInDays": 29 }),
                    ),
                    denied(ServiceControl, 0, 1),
                ),
            ]),
        iam("Policy evaluation logic: Resource control policies")
            .key([allow(ROOT, "*", ALWAYS), allow(PARTNER, "*", ALWAYS), allow(LOGS, "*", ALWAYS)])
            .identity([may("*", "*", ALWAYS)])
            .resource_control([deny(
                "*",
                "*",
                json!({
                    "StringNotEqualsIfExists": { "aws:PrincipalOrgID": "o-a1b2c3d4e5" },
                    "BoolIfExists": { "aws:PrincipalIsAWSService": "false" }
                }),
            )])
            .rows([
                (
                    ask(ANA, A::Decrypt, json!({ "aws:PrincipalOrgID": "o-a1b2c3d4e5" })),
                    by_account(0, 0, 0),
                ),
                (
                    ask(EVA, A::Decrypt, json!({ "aws:PrincipalOrgID": "o-zzzzzzzzzz" })),
                    denied(ResourceControl, 1, 0),
                ),
                (ask(EVA, A::Decrypt, nothing()), denied(ResourceControl, 1, 0)),
                (ask(LOGS, A::Decrypt, nothing()), by_key(2)),
            ]),
        // A guardrail allows nothing, and its denials come first.
        iam("Policy evaluation logic: SCPs and RCPs together")
            .service_control([may("*", "*", ALWAYS)])
            .resource_control([deny("*", "Decrypt", ALWAYS)])
            .identity([may("Decrypt Encrypt", "*", ALWAYS)])
            .rows([
                (ask(ANA, A::Encrypt, nothing()), by_account(0, 0, 0)),
                (ask(ANA, A::Sign, nothing()), lacking(Identity)),
                (ask(ANA, A::Decrypt, nothing()), denied_in(ResourceControl, 1, 1, 0)),
            ]),
    ]
}

fn two_accounts() -> Vec<Example> {
    vec![
        iam("Cross-account policy evaluation logic")
            .key([allow(PARTNER, "Decrypt", ALWAYS), deny(ENGINEERS, "DescribeKey", ALWAYS)])
            .identity([may("Decrypt Encrypt DescribeKey", "*", ALWAYS)])
            .rows([
                (ask(EVA, A::Decrypt, nothing()), by_account(0, 0, 0)),
                (ask(EVA, A::Decrypt, nothing()).bare(), lacking(Identity)),
                (ask(EVA, A::Encrypt, nothing()), lacking(Resource)),
                (ask(ENGINEER, A::DescribeKey, nothing()), denied(Resource, 0, 1)),
            ]),
        // From another account even a session that is named itself is limited.
        iam("Cross-account policy evaluation logic: sessions and boundaries")
            .key([allow(ENGINEER, "Decrypt Encrypt", ALWAYS)])
            .identity([may("*", "*", ALWAYS)])
            .boundary([may("Decrypt DescribeKey", "*", ALWAYS)])
            .rows([
                (ask(ENGINEER, A::Decrypt, nothing()), by_account(0, 0, 0)),
                (ask(ENGINEER, A::Encrypt, nothing()), lacking(Boundary)),
                (ask(ENGINEER, A::DescribeKey, nothing()), lacking(Resource)),
            ]),
        iam("Principal: All principals")
            .key([allow("*", "Decrypt", ALWAYS)])
            .identity([may("Decrypt", "*", ALWAYS)])
            .rows([
                (ask(ANA, A::Decrypt, nothing()).bare(), by_key(0)),
                (ask(EVA, A::Decrypt, nothing()), by_account(0, 0, 0)),
                (ask(EVA, A::Decrypt, nothing()).bare(), lacking(Identity)),
                (ask(ANA, A::Encrypt, nothing()).bare(), lacking(Resource)),
            ]),
    ]
}
