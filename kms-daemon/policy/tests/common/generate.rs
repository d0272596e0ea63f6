//! Random cases. The pools are small, so that statements match often.

use kms_policy::{Action, Grantee};
use serde_json::{Map, Value, json};

use super::rng::Rng;
use super::{
    ACCOUNT, ALIAS, Bag, Case, Entry, FEDERATED, KEY, OTHER_ACCOUNT, OTHER_ROLE, OTHER_ROOT,
    OTHER_SESSION, OTHER_USER, ROLE, ROOT, SERVICE, SESSION, USER, Who,
};

/// Which constructs appear.
#[derive(Debug, Clone, Copy)]
pub struct Profile {
    /// Encryption contexts and keys that IAM's data does not have.
    pub all_keys: bool,
    /// What other implementations disagree about: values that are not of their key's type,
    /// `NotPrincipal`, the old version of the language.
    pub oddities: bool,
    /// Grants, resource control policies, and several policies of a session or a guardrail.
    pub several: bool,
}

impl Profile {
    pub const FULL: Self = Self { all_keys: true, oddities: true, several: true };
}

pub fn case(rng: &mut Rng, profile: Profile) -> Case {
    let who = *rng.pick(&Who::ALL);
    let mut case = Case::new(who, Action::Decrypt);
    match rng.below(10) {
        0 => {
            case.action = *rng.pick(&[Action::CreateKey, Action::ListKeys, Action::GenerateRandom]);
            case.resource = None;
        }
        1 => {
            case.action = *rng.pick(&[Action::CreateAlias, Action::DeleteAlias]);
            case.resource = Some(ALIAS);
        }
        _ => {
            case.action = *rng.pick(&[
                Action::Decrypt,
                Action::Encrypt,
                Action::GenerateDataKey,
                Action::DescribeKey,
                Action::CreateGrant,
                Action::PutKeyPolicy,
            ]);
            case.key_policy = Some(key_policy(rng, profile));
        }
    }
    case.context = context(rng, profile);
    if who == Who::Service {
        return case;
    }
    if !who.is_root() {
        case.identity = (0..rng.below(3)).map(|_| identity_policy(rng, profile)).collect();
        if rng.percent(20) {
            case.boundary = Some(identity_policy(rng, profile));
        }
        if matches!(who, Who::Session | Who::Federated | Who::OtherSession) && rng.percent(25) {
            let count = if profile.several { 1 + rng.below(2) } else { 1 };
            case.session = (0..count).map(|_| identity_policy(rng, profile)).collect();
        }
    }
    if rng.percent(10) {
        let count = if profile.several { 1 + rng.below(2) } else { 1 };
        case.service_control = (0..count).map(|_| identity_policy(rng, profile)).collect();
    }
    if profile.several && rng.percent(6) {
        case.resource_control = vec![key_policy(rng, profile)];
    }
    if profile.several && case.key_policy.is_some() && rng.percent(15) {
        case.grant = Some(*rng.pick(&[Grantee::Caller, Grantee::Role, Grantee::Account]));
    }
    case
}

pub fn key_policy(rng: &mut Rng, profile: Profile) -> Value {
    let statements: Vec<Value> = (0..=rng.below(4)).map(|_| key_statement(rng, profile)).collect();
    document(rng, profile, statements)
}

pub fn identity_policy(rng: &mut Rng, profile: Profile) -> Value {
    let statements: Vec<Value> =
        (0..=rng.below(3)).map(|_| identity_statement(rng, profile)).collect();
    document(rng, profile, statements)
}

fn document(rng: &mut Rng, profile: Profile, mut statements: Vec<Value>) -> Value {
    let mut document = Map::new();
    match rng.below(10) {
        0 if profile.oddities => {}
        1 if profile.oddities => drop(document.insert("Version".to_owned(), json!("2008-10-17"))),
        _ => drop(document.insert("Version".to_owned(), json!("2012-10-17"))),
    }
    let statements = match statements.len() {
        1 if rng.percent(50) => statements.remove(0),
        _ => Value::Array(statements),
    };
    document.insert("Statement".to_owned(), statements);
    Value::Object(document)
}

pub fn key_statement(rng: &mut Rng, profile: Profile) -> Value {
    let mut statement = base(rng, profile, &KEY_ACTIONS);
    let deny = statement["Effect"] == "Deny";
    let (name, principal) = match deny && profile.oddities && rng.percent(15) {
        true => ("NotPrincipal", excepted(rng)),
        false => ("Principal", principal(rng)),
    };
    statement.insert(name.to_owned(), principal);
    let resource = if rng.percent(90) { json!("*") } else { json!(KEY) };
    statement.insert("Resource".to_owned(), resource);
    Value::Object(statement)
}

pub fn identity_statement(rng: &mut Rng, profile: Profile) -> Value {
    let mut statement = base(rng, profile, &IDENTITY_ACTIONS);
    let name = if rng.percent(8) { "NotResource" } else { "Resource" };
    statement.insert(name.to_owned(), one_or_two(rng, &RESOURCES));
    Value::Object(statement)
}

fn base(rng: &mut Rng, profile: Profile, actions: &[&str]) -> Map<String, Value> {
    let mut statement = Map::new();
    let effect = if rng.percent(15) { "Deny" } else { "Allow" };
    statement.insert("Effect".to_owned(), json!(effect));
    let name = if rng.percent(8) { "NotAction" } else { "Action" };
    statement.insert(name.to_owned(), one_or_two(rng, actions));
    if rng.percent(50) {
        let mut conditions = Map::new();
        for _ in 0..=rng.below(2) {
            let (operator, key, values) = condition(rng, profile);
            let block = conditions.entry(operator).or_insert_with(|| json!({}));
            block[key] = values;
        }
        statement.insert("Condition".to_owned(), Value::Object(conditions));
    }
    statement
}

const KEY_ACTIONS: [&str; 8] = [
    "kms:*",
    "kms:*",
    "*",
    "kms:Decrypt",
    "KMS:decrypt",
    "kms:*crypt",
    "kms:Generate*",
    "kms:?escribeKey",
];
const IDENTITY_ACTIONS: [&str; 9] = [
    "kms:*",
    "*",
    "kms:Decrypt",
    "kms:*crypt",
    "kms:Create*",
    "kms:List*",
    "kms:PutKeyPolicy",
    "s3:*",
    "kms:Create?rant",
];
const RESOURCES: [&str; 9] = [
    "*",
    "*",
    KEY,
    "arn:aws:kms:*:111122223333:key/*",
    "arn:aws:kms:us-east-?:*:*",
    "arn:aws:kms:*:111122223333:alias/*",
    "arn:aws:kms:*:111122223333:alias/${aws:username}",
    "arn:aws:kms:*:999999999999:*",
    "arn:aws:kms:us-east-1:111122223333:key/${aws:PrincipalTag/key}",
];

fn one_or_two(rng: &mut Rng, pool: &[&str]) -> Value {
    match rng.percent(30) {
        true => json!([rng.pick(pool), rng.pick(pool)]),
        false => json!(rng.pick(pool)),
    }
}

fn principal(rng: &mut Rng) -> Value {
    const NAMES: [&str; 13] = [
        ROOT,
        ROOT,
        ACCOUNT,
        USER,
        ROLE,
        SESSION,
        FEDERATED,
        OTHER_ROOT,
        OTHER_ACCOUNT,
        OTHER_USER,
        OTHER_ROLE,
        OTHER_SESSION,
        "*",
    ];
    match rng.below(12) {
        0 => json!("*"),
        1 => json!({ "Service": SERVICE }),
        2 => json!({ "Service": [SERVICE, "s3.amazonaws.com"], "AWS": rng.pick(&NAMES) }),
        3..6 => json!({ "AWS": [rng.pick(&NAMES), rng.pick(&NAMES)] }),
        _ => json!({ "AWS": rng.pick(&NAMES) }),
    }
}

fn excepted(rng: &mut Rng) -> Value {
    match rng.below(4) {
        0 => json!({ "AWS": [USER, ROOT] }),
        1 => json!({ "AWS": [ROLE, ACCOUNT, SESSION] }),
        2 => json!({ "AWS": [OTHER_ROOT, OTHER_USER, USER] }),
        _ => json!({ "Service": SERVICE, "AWS": ROOT }),
    }
}

struct Kind {
    keys: &'static [&'static str],
    operators: &'static [&'static str],
    values: &'static [&'static str],
}

const TEXT_OPERATORS: [&str; 6] = [
    "StringEquals",
    "StringNotEquals",
    "StringEqualsIgnoreCase",
    "StringNotEqualsIgnoreCase",
    "StringLike",
    "StringNotLike",
];
const TEXTS: [&str; 9] = [
    "red",
    "RED",
    "blue",
    "r*",
    "?ed",
    "ana",
    "${aws:username}",
    "x${aws:PrincipalTag/key}",
    "${aws:PrincipalTag/none, 'red'}",
];
const KINDS: [Kind; 8] = [
    Kind {
        keys: &["aws:PrincipalTag/team", "aws:username", "AWS:UserId"],
        operators: &TEXT_OPERATORS,
        values: &TEXTS,
    },
    Kind { keys: &["kms:ViaService"], operators: &TEXT_OPERATORS, values: &TEXTS },
    Kind {
        keys: &["aws:SecureTransport", "aws:MultiFactorAuthPresent"],
        operators: &["Bool"],
        values: &["true", "false"],
    },
    Kind {
        keys: &["aws:MultiFactorAuthAge"],
        operators: &[
            "NumericEquals",
            "NumericNotEquals",
            "NumericLessThan",
            "NumericLessThanEquals",
            "NumericGreaterThan",
            "NumericGreaterThanEquals",
        ],
        values: &["5", "7", "10", "7.5"],
    },
    Kind {
        keys: &["aws:CurrentTime"],
        operators: &[
            "DateEquals",
            "DateNotEquals",
            "DateLessThan",
            "DateLessThanEquals",
            "DateGreaterThan",
            "DateGreaterThanEquals",
        ],
        values: &["2026-11-26", "2026-11-26T12:00:00Z", "2026-11-27T00:00:00Z"],
    },
    Kind {
        keys: &["aws:SourceIp"],
        operators: &["IpAddress", "NotIpAddress"],
        values: &["192.0.2.0/24", "192.0.2.7", "198.51.100.0/25", "2001:db8::/32"],
    },
    Kind {
        keys: &["aws:PrincipalArn", "aws:SourceArn"],
        operators: &["ArnEquals", "ArnLike", "ArnNotEquals", "ArnNotLike"],
        values: &[
            USER,
            ROLE,
            "arn:aws:iam::111122223333:*",
            "arn:aws:iam::*:role/*",
            "arn:aws:*:*:111122223333:user/team/${aws:username}",
            "arn:aws:iam:*:*:root",
        ],
    },
    Kind {
        keys: &["aws:CalledVia", "kms:EncryptionContextKeys"],
        operators: &TEXT_OPERATORS,
        values: &TEXTS,
    },
];

fn condition(rng: &mut Rng, profile: Profile) -> (String, &'static str, Value) {
    if profile.all_keys && rng.percent(15) {
        let key = *rng.pick(&["kms:EncryptionContext:App", "kms:encryptioncontext:APP", "x:other"]);
        let operator = (*rng.pick(&TEXT_OPERATORS)).to_owned();
        return (operator, key, one_or_two(rng, &TEXTS));
    }
    if rng.percent(8) {
        let keys = ["aws:username", "aws:SourceIp", "kms:ViaService", "aws:CalledVia"];
        return ("Null".to_owned(), *rng.pick(&keys), json!(rng.pick(&["true", "false"])));
    }
    let index = rng.below(KINDS.len());
    let kind = &KINDS[index];
    let key = *rng.pick(kind.keys);
    let is_list = index == KINDS.len() - 1;
    let operator = rng.pick(kind.operators);
    let set = match rng.below(20) {
        _ if is_list => *rng.pick(&["ForAllValues:", "ForAnyValue:"]),
        0 => "ForAllValues:",
        1 => "ForAnyValue:",
        _ => "",
    };
    let set = if is_list && profile.oddities && rng.percent(5) { "" } else { set };
    let suffix = if rng.percent(20) { "IfExists" } else { "" };
    (format!("{set}{operator}{suffix}"), key, one_or_two(rng, kind.values))
}

fn context(rng: &mut Rng, profile: Profile) -> Bag {
    let mut bag = Bag::default();
    for (name, values) in [
        ("aws:principaltag/team", &["red", "RED", "blue", "ana", "x1234"][..]),
        ("aws:principaltag/key", &["1234abcd-12ab-34cd-56ef-1234567890ab", "1234", "*"]),
        ("aws:username", &["ana", "app", "red"]),
        ("aws:userid", &["ana", "red"]),
        ("kms:viaservice", &["red", "blue", "x1234"]),
        ("aws:securetransport", &["true", "false"]),
        ("aws:multifactorauthpresent", &["true", "false"]),
        ("aws:multifactorauthage", &["5", "7", "8", "10"]),
        (
            "aws:currenttime",
            &["2026-11-26T00:00:00Z", "2026-11-26T12:00:00Z", "2026-11-28T00:00:00Z"],
        ),
        ("aws:sourceip", &["192.0.2.7", "192.0.2.8", "198.51.100.200", "2001:db8::1"]),
        ("aws:principalarn", &[USER, ROLE, ROOT, OTHER_ROLE]),
        ("aws:sourcearn", &[USER, ROLE, "arn:aws:s3:::bucket"]),
        ("x:other", &["red", "r*"]),
        ("kms:encryptioncontext:app", &["red", "blue"]),
    ] {
        let extra = name.starts_with("x:") || name.starts_with("kms:encryptioncontext:");
        if rng.percent(70) && (profile.all_keys || !extra) {
            let misfit = profile.oddities && rng.percent(5);
            let value = if misfit { *rng.pick(&["", "!"]) } else { *rng.pick(values) };
            bag.0.insert(name.to_owned(), Entry::One(value.to_owned()));
        }
    }
    for name in ["aws:calledvia", "kms:encryptioncontextkeys"] {
        if rng.percent(70) {
            let least = usize::from(!profile.oddities);
            let count = least + rng.below(3);
            let values = (0..count).map(|_| (*rng.pick(&["red", "blue", "ana"])).to_owned());
            bag.0.insert(name.to_owned(), Entry::Many(values.collect()));
        }
    }
    bag
}
