//! Measures decisions: `cargo run --release -p kms-policy --example decide`.

#[path = "../tests/common/hostile.rs"]
mod hostile;

use std::collections::BTreeMap;
use std::hint::black_box;
use std::net::IpAddr;
use std::time::Instant;

use kms_policy::{
    Action, Caller, ConditionKey, Context, Decision, IdentityPolicy, KeyPolicy, Name, Policies,
    PolicyError, Request, Resource, Value, authorize, explain, pair,
};

const KEY: &str = "arn:aws:kms:eu-west-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab";
const ROLE: &str = "arn:aws:iam::111122223333:role/payments";
const SESSION: &str = "arn:aws:sts::111122223333:assumed-role/payments/i-0123456789";

const KEY_POLICY: &str = r#"{
    "Version": "2012-10-17",
    "Statement": [
        {
            "Sid": "Only over TLS from the office or the VPC",
            "Effect": "Deny", "Principal": "*", "Action": "kms:*", "Resource": "*",
            "Condition": {
                "NotIpAddressIfExists": { "aws:SourceIp": ["192.0.2.0/24", "198.51.100.0/24"] },
                "Bool": { "aws:SecureTransport": "false" }
            }
        },
        {
            "Sid": "The account decides",
            "Effect": "Allow", "Principal": { "AWS": "arn:aws:iam::111122223333:root" },
            "Action": "kms:*", "Resource": "*"
        },
        {
            "Sid": "Payments may use the key",
            "Effect": "Allow",
            "Principal": { "AWS": [
                "arn:aws:iam::111122223333:role/billing", "arn:aws:iam::111122223333:role/payments"
            ] },
            "Action": ["kms:Encrypt", "kms:Decrypt", "kms:GenerateDataKey*", "kms:DescribeKey"],
            "Resource": "*",
            "Condition": {
                "StringEquals": { "kms:EncryptionContext:department": "payments" },
                "ForAllValues:StringEquals": {
                    "kms:EncryptionContextKeys": ["department", "ledger", "tenant"]
                }
            }
        },
        {
            "Sid": "Payments may create grants for AWS resources",
            "Effect": "Allow", "Principal": { "AWS": "arn:aws:iam::111122223333:role/payments" },
            "Action": "kms:CreateGrant", "Resource": "*",
            "Condition": { "Bool": { "kms:GrantIsForAWSResource": "true" } }
        }
    ]
}"#;

const IDENTITY_POLICY: &str = r#"{
    "Version": "2012-10-17",
    "Statement": [
        {
            "Sid": "Use", "Effect": "Allow",
            "Action": ["kms:Encrypt", "kms:Decrypt", "kms:GenerateDataKey*"],
            "Resource": "arn:aws:kms:*:111122223333:key/*",
            "Condition": { "StringLike": { "kms:ViaService": "*.eu-west-1.amazonaws.com" } }
        },
        { "Sid": "List", "Effect": "Allow", "Action": "kms:List*", "Resource": "*" }
    ]
}"#;

const VARIABLES: &str = r#"{
    "Version": "2012-10-17",
    "Statement": {
        "Effect": "Allow", "Action": "kms:*",
        "Resource": ["arn:aws:kms:*:111122223333:key/${kms:ViaService}", "arn:aws:kms:*:*:key/*"]
    }
}"#;

struct Call {
    caller: Caller<'static>,
    source: IpAddr,
    context: BTreeMap<String, String>,
}

impl Context for Call {
    fn value(&self, key: &ConditionKey) -> Option<Value<'_>> {
        Some(match key.name() {
            Name::SourceIp => Value::Address(self.source),
            Name::SecureTransport => Value::Bool(true),
            Name::EncryptionContextKeys => Value::List(&self.context),
            Name::EncryptionContext => {
                return pair(key, self.context.iter().map(|(k, v)| (k.as_str(), v.as_str())));
            }
            Name::ViaService => Value::from("dynamodb.eu-west-1.amazonaws.com"),
            name => return self.caller.value(name),
        })
    }
}

fn main() -> Result<(), PolicyError> {
    let key = KeyPolicy::parse(KEY_POLICY)?;
    let identity = [IdentityPolicy::parse(IDENTITY_POLICY)?];
    let with_variables = [IdentityPolicy::parse(VARIABLES)?];
    let Some(session) = Caller::role_session(SESSION, ROLE) else { return Ok(()) };
    let Some(root) = Caller::root("arn:aws:iam::111122223333:root") else { return Ok(()) };
    let pairs = [("Department", "payments"), ("Ledger", "7"), ("tenant", "acme")];
    let context = pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    let call = Call { caller: session, source: IpAddr::from([192, 0, 2, 77]), context };
    let request = |caller, action| Request {
        caller,
        action,
        resource: Resource::Key { arn: KEY, account: "111122223333", policy: Some(&key) },
        context: &call,
    };
    let plain = Policies { identity: &identity, ..Policies::default() };
    let variables = Policies { identity: &with_variables, ..Policies::default() };

    for (what, request, policies) in [
        ("role named by the key policy, Decrypt", request(session, Action::Decrypt), plain),
        ("root, PutKeyPolicy", request(root, Action::PutKeyPolicy), plain),
        (
            "role, nothing allows ScheduleKeyDeletion",
            request(session, Action::ScheduleKeyDeletion),
            plain,
        ),
        ("a policy with a variable, Decrypt", request(session, Action::Decrypt), variables),
    ] {
        let decision = authorize(&request, &policies);
        report(what, &decision, || _ = black_box(authorize(black_box(&request), &policies)));
    }
    let request = request(session, Action::Decrypt);
    let decision = authorize(&request, &plain);
    report("explain", &decision, || _ = black_box(explain(black_box(&request), &plain)));
    report("read the key policy", &decision, || _ = black_box(KeyPolicy::parse(KEY_POLICY)));
    worst();
    Ok(())
}

/// The largest policies that can be put, and what decisions about them take with the longest
/// requests.
fn worst() {
    println!("\nthe largest policies that can be put, with the longest requests:");
    let Some(caller) = Caller::user("arn:aws:iam::111122223333:user/ana") else { return };
    let mut all = Vec::new();
    for family in hostile::FAMILIES {
        let largest =
            [hostile::Hostile::largest(family), hostile::Hostile::largest_of_statements(family)];
        for hostile in largest.into_iter().flatten() {
            let resource =
                Resource::Key { arn: KEY, account: "111122223333", policy: Some(&hostile.policy) };
            let action = Action::Encrypt;
            let times = hostile::Long::all().map(|context| {
                let request = Request { caller, action, resource, context: &context };
                let round = || {
                    let start = Instant::now();
                    let _ = black_box(authorize(&request, &Policies::default()));
                    start.elapsed()
                };
                (0..9).map(|_| round()).min().unwrap_or_default()
            });
            all.push((times.max().unwrap_or_default(), hostile));
        }
    }
    all.sort_by_key(|(time, _)| std::cmp::Reverse(*time));
    for (time, hostile) in all {
        println!("{:>7} us  {} ({} bytes)", time.as_micros(), hostile.name, hostile.text.len());
    }
}

/// The best of ten rounds, which is the least disturbed one.
fn report(what: &str, decision: &Decision, mut run: impl FnMut()) {
    const ROUND: u32 = 50_000;
    let best = (0..10)
        .map(|_| {
            let start = Instant::now();
            (0..ROUND).for_each(|_| run());
            start.elapsed() / ROUND
        })
        .min()
        .unwrap_or_default();
    let answer = if decision.is_allowed() { "allowed" } else { "denied" };
    println!("{:>7} ns  {what} ({answer})", best.as_nanos());
}
