//! Where the engine and the other implementation are known to differ, and why.

use serde_json::Value;

use super::common::{ACCOUNT, Case, Entry};

/// A construct that the two treat differently: what it is called, why they differ, and whether
/// a case has it.
type Difference = (&'static str, &'static str, fn(&Case) -> bool);

const DIFFERENCES: &[Difference] = &[
    (
        "variables of the old version",
        "IAM has variables only in documents of 2012-10-17; the other resolves them in all",
        |case| {
            documents(case).any(|document| {
                document["Version"] != "2012-10-17" && document.to_string().contains("${")
            })
        },
    ),
    (
        "operations within an account",
        "the other lets key policies give other accounts what KMS keeps to the owner",
        |case| {
            let foreign = case.who.account() != ACCOUNT && !case.action.is_cross_account();
            foreign && case.key_policy.is_some()
        },
    ),
    (
        "everyone, limited",
        "the engine limits who is named as everyone like who is named by a role; AWS documents \
         the exemption from boundaries for the ARNs of users and sessions, and for conditions on \
         aws:PrincipalArn",
        |case| is_limited(case) && names(case, "*"),
    ),
    (
        "a session that is named itself",
        "AWS exempts it from boundaries and session policies; the other does not",
        |case| is_limited(case) && names(case, case.who.arn()),
    ),
    (
        "NotPrincipal",
        "the other excepts a caller of whom one identity is listed, AWS wants all of them",
        |case| case.key_policy.as_ref().is_some_and(|p| p.to_string().contains("NotPrincipal")),
    ),
    (
        "several values under a plain operator",
        "which value is meant is not defined: the engine decides against the caller, the other \
         skips the statement",
        |case| any_condition(case, |name, key, _| !name.contains(':') && is_list(case, key)),
    ),
    (
        "values that are not of their type",
        "the engine decides against the caller, the other skips the statement",
        |case| any_condition(case, |name, key, _| is_typed(name) && has(case, key, &["!", ""])),
    ),
    (
        "Null of an empty value",
        "AWS counts an empty value as missing, the other does not",
        |case| any_condition(case, |name, key, _| name == "Null" && has(case, key, &[""])),
    ),
    (
        "ForAnyValue with IfExists",
        "of a key that is missing or has no values the engine follows IfExists, the other \
         ForAnyValue",
        |case| {
            any_condition(case, |name, key, _| {
                name.starts_with("ForAnyValue") && name.ends_with("IfExists") && is_void(case, key)
            })
        },
    ),
    (
        "a negation with a variable that has no value",
        "the value matches nothing, so its negation holds; the other skips the statement",
        |case| {
            any_condition(case, |name, _, values| {
                name.contains("Not") && has_unresolved_variable(case, values)
            })
        },
    ),
    (
        "NotResource with a variable that has no value",
        "the engine decides against the caller, the other skips the statement",
        |case| {
            documents(case)
                .flat_map(statements)
                .any(|statement| has_unresolved_variable(case, &statement["NotResource"]))
        },
    ),
    (
        "NotIpAddress with an address of another family",
        "an IPv6 address is in no range of IPv4 addresses, so the negation holds; the other skips \
         the statement",
        |case| {
            any_condition(case, |name, key, values| {
                let found = match case.context.0.get(&key.to_lowercase()) {
                    Some(Entry::One(text)) => text.contains(':'),
                    _ => return false,
                };
                let values = values.as_array().map_or(std::slice::from_ref(values), Vec::as_slice);
                name.contains("NotIpAddress")
                    && values.iter().any(|value| value.to_string().contains(':') != found)
            })
        },
    ),
];

/// The names of the differences that apply to a case.
pub(crate) fn that_apply(case: &Case) -> Vec<&'static str> {
    let applies = |(.., applies): &&Difference| applies(case);
    DIFFERENCES.iter().filter(applies).map(|(name, ..)| *name).collect()
}

fn documents(case: &Case) -> impl Iterator<Item = &Value> {
    case.key_policy
        .iter()
        .chain(&case.identity)
        .chain(&case.boundary)
        .chain(&case.session)
        .chain(&case.service_control)
}

fn is_limited(case: &Case) -> bool {
    case.boundary.is_some() || !case.session.is_empty()
}

/// Whether the key policy names that principal.
fn names(case: &Case, principal: &str) -> bool {
    let policies = case.key_policy.iter();
    policies.flat_map(statements).any(|statement| {
        statement["Principal"] == principal
            || statement["Principal"]["AWS"] == principal
            || statement["Principal"]["AWS"]
                .as_array()
                .is_some_and(|list| list.iter().any(|name| name == principal))
    })
}

fn statements(document: &Value) -> Vec<&Value> {
    match &document["Statement"] {
        Value::Array(list) => list.iter().collect(),
        statement => vec![statement],
    }
}

/// Whether the operator, key and values of any condition satisfy `test`.
fn any_condition(case: &Case, test: impl Fn(&str, &str, &Value) -> bool) -> bool {
    documents(case).flat_map(statements).any(|statement| {
        let blocks = statement["Condition"].as_object().into_iter().flatten();
        blocks.into_iter().any(|(operator, block)| {
            let keys = block.as_object().into_iter().flatten();
            keys.into_iter().any(|(key, values)| test(operator, key, values))
        })
    })
}

fn is_typed(operator: &str) -> bool {
    !operator.contains("String") && !operator.contains("Null")
}

fn is_list(case: &Case, key: &str) -> bool {
    matches!(case.context.0.get(&key.to_lowercase()), Some(Entry::Many(_)))
}

fn is_there(case: &Case, key: &str) -> bool {
    case.context.0.contains_key(&key.to_lowercase())
}

fn has(case: &Case, key: &str, texts: &[&str]) -> bool {
    let value = case.context.0.get(&key.to_lowercase());
    matches!(value, Some(Entry::One(text)) if texts.contains(&text.as_str()))
}

/// Whether the key is missing or has no values.
fn is_void(case: &Case, key: &str) -> bool {
    match case.context.0.get(&key.to_lowercase()) {
        None => true,
        Some(Entry::One(_)) => false,
        Some(Entry::Many(list)) => list.is_empty(),
    }
}

/// Whether the texts have a variable without a default that the request does not have, or has
/// with an empty value, which to the other is the same.
fn has_unresolved_variable(case: &Case, texts: &Value) -> bool {
    let text = texts.to_string();
    let mut variables = text.split("${").skip(1).filter_map(|rest| rest.split('}').next());
    variables.any(|key| !key.contains(',') && (!is_there(case, key) || has(case, key, &[""])))
}
