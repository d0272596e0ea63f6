//! Policies that take as much of a decision as they can, and requests that let them.
#![allow(dead_code, unreachable_pub, reason = "each user takes its part")]

use std::collections::BTreeMap;

use kms_policy::{ConditionKey, Context, KeyPolicy, Name, PairIndex, Value};

/// The longest key policy.
pub const LARGEST: usize = 32_768;

/// A kind of hostile policy: its name, operator, key, and values; `#` is a number.
pub type Family = (&'static str, &'static str, &'static str, &'static str);

/// The kinds.
pub const FAMILIES: &[Family] = &[
    ("plain runs, long text", "StringLike", "kms:EncryptionContext:k", "*ab*#"),
    ("runs that nearly match", "StringLike", "kms:EncryptionContext:k", "*aaaaaaaab*#*"),
    ("a character", "StringLike", "kms:EncryptionContext:k", "*b*#"),
    ("runs with ?", "StringLike", "kms:EncryptionContext:k", "*a?b*#"),
    (
        "runs with ?, a word long",
        "StringLike",
        "kms:EncryptionContext:k",
        "*a?a?a?a?a?a?a?a?a?a?a?a?a?a?a?a?a?a?a?a?a?a?a?a?a?a?a?a?b*#*",
    ),
    (
        "many runs",
        "StringLike",
        "kms:EncryptionContext:k",
        "*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*b*#",
    ),
    (
        "many short runs with ?",
        "StringLike",
        "kms:EncryptionContext:k",
        "*a?a*a?a*a?a*a?a*a?a*a?a*a?a*a?a*a?a*a?a*a?b*#",
    ),
    ("anchored", "StringLike", "kms:EncryptionContext:k", "a?a?a?a?a?a?a?a#*"),
    ("many values, exact", "ForAnyValue:StringEquals", "kms:EncryptionContextKeys", "x#"),
    (
        "many values, any case",
        "ForAnyValue:StringEqualsIgnoreCase",
        "kms:EncryptionContextKeys",
        "X#",
    ),
    ("many values, patterns", "ForAnyValue:StringLike", "kms:EncryptionContextKeys", "a*#"),
    ("many values, runs", "ForAllValues:StringNotLike", "kms:EncryptionContextKeys", "*a?b*#"),
    ("many values, ARNs", "ForAnyValue:ArnLike", "kms:EncryptionContextKeys", "arn:a*:*:*:*:*#*"),
    (
        "many values, variables",
        "ForAnyValue:StringLike",
        "kms:EncryptionContextKeys",
        "*${aws:username}?${aws:username}*#",
    ),
    (
        "variables, long text",
        "StringLike",
        "kms:EncryptionContext:k",
        "*${kms:EncryptionContext:k}#*",
    ),
    ("any case, long text", "StringEqualsIgnoreCase", "kms:EncryptionContext:k", "É#"),
    ("ARNs", "ArnLike", "aws:PrincipalArn", "arn:*:*a?b*:*:*:*a?a?b*#"),
    ("networks", "IpAddress", "aws:SourceIp", "10.0.0.#/32"),
    ("bytes", "BinaryEquals", "other:bytes", "QQ=="),
    ("numbers", "NumericEquals", "kms:RotationPeriodInDays", "7#"),
    ("principals by the account", "StringLike", "aws:username", "*a?b*#"),
];

/// A statement with one condition, and as many values as go into so many bytes.
pub fn statement(operator: &str, key: &str, value: &str, bytes: usize) -> String {
    let head = format!(
        r#"{{"Version":"2012-10-17","Statement":[{{"Sid":"Hostile","Effect":"Allow","Principal":"*","Action":"kms:*","Resource":"*","Condition":{{"{operator}":{{"{key}":["#
    );
    with_values(&head, value, "]}}}]}", bytes)
}

/// The same with a statement for each value: nothing of one condition helps another.
pub fn statements(operator: &str, key: &str, value: &str, bytes: usize) -> String {
    let one = |number: usize| {
        let value = value.replace('#', &(number % 10).to_string());
        format!(
            r#"{{"Effect":"Allow","Principal":"*","Action":"kms:*","Resource":"*","Condition":{{"{operator}":{{"{key}":"{value}"}}}}}}"#
        )
    };
    let count = bytes.saturating_sub(60) / (one(0).len() + 1);
    let all: Vec<String> = (0..count.max(1)).map(one).collect();
    format!(r#"{{"Version":"2012-10-17","Statement":[{}]}}"#, all.join(","))
}

fn with_values(head: &str, value: &str, tail: &str, bytes: usize) -> String {
    let (mut text, mut number) = (head.to_owned(), 0_usize);
    loop {
        let number_text =
            if value.contains('.') { (number % 250).to_string() } else { format!("{number:x}") };
        let digits = if value.starts_with('7') { (number % 1000).to_string() } else { number_text };
        let next =
            format!("{}\"{}\"", if number == 0 { "" } else { "," }, value.replace('#', &digits));
        if number > 0 && text.len() + next.len() + tail.len() > bytes {
            break;
        }
        text.push_str(&next);
        number += 1;
    }
    text + tail
}

/// The largest policy of a kind that can be put.
pub struct Hostile {
    pub name: String,
    pub text: String,
    pub policy: KeyPolicy,
}

impl Hostile {
    /// Of values in one condition; `None` if not even a few can be put.
    pub fn largest((name, operator, key, value): &Family) -> Option<Self> {
        Self::of(name, |bytes| statement(operator, key, value, bytes))
    }

    /// Of statements with a value each.
    pub fn largest_of_statements((name, operator, key, value): &Family) -> Option<Self> {
        Self::of(&format!("{name}, one by one"), |bytes| statements(operator, key, value, bytes))
    }

    fn of(name: &str, text: impl Fn(usize) -> String) -> Option<Self> {
        let can_be_put = |bytes| {
            let policy = KeyPolicy::parse(&text(bytes)).expect("a policy");
            policy.check_cost().is_ok().then_some(policy)
        };
        // A bisection over the size.
        let (mut fits, mut too_long) = (256, LARGEST + 1);
        let mut policy = can_be_put(fits)?;
        while too_long - fits > 16 {
            let middle = fits.midpoint(too_long);
            match can_be_put(middle) {
                Some(found) => (fits, policy) = (middle, found),
                None => too_long = middle,
            }
        }
        Some(Self { name: name.to_owned(), text: text(fits), policy })
    }
}

/// A request with the longest values there can be.
pub struct Long {
    pub pairs: BTreeMap<String, String>,
    pub name: String,
}

impl Long {
    /// One long value, and many short ones.
    pub fn all() -> impl Iterator<Item = Self> {
        let long = [
            "a".repeat(8180),
            "é".repeat(4090),
            format!("{}b", "ab".repeat(4085)),
            "0".repeat(8180),
        ];
        let one = long.into_iter().map(|value| BTreeMap::from([("k".to_owned(), value)]));
        let many = (0..1365_u32).map(|number| {
            let digit = |number| char::from_u32(u32::from('!') + number % 90).expect("ASCII");
            (format!("{}{}", digit(number / 90), digit(number)), String::new())
        });
        let arns = (0..200).map(|number| (format!("arn:aws:a:b:c:{number:x}"), String::new()));
        one.chain([many.collect(), arns.collect()])
            .map(|pairs| Self { pairs, name: "a".repeat(64) })
    }
}

impl Context for Long {
    fn value(&self, key: &ConditionKey) -> Option<Value<'_>> {
        Some(match key.name() {
            Name::EncryptionContextKeys => Value::List(&self.pairs),
            Name::EncryptionContext => {
                let pairs = self.pairs.iter().map(|(k, v)| (k.as_str(), v.as_str()));
                return match self.pairs.len() {
                    // As a daemon does, which keeps the index.
                    2.. => None,
                    _ => PairIndex::new(pairs).find(key),
                };
            }
            Name::Other => Value::from("QUFB".repeat(512)),
            Name::SourceIp => Value::Address([192, 0, 2, 1].into()),
            Name::RotationPeriodInDays => Value::Number(90),
            Name::UserName => Value::from(self.name.as_str()),
            Name::PrincipalArn => Value::from(format!("arn:aws:{0}:{0}:{0}:{0}", "a".repeat(500))),
            _ => return None,
        })
    }
}
