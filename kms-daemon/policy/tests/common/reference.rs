//! A second evaluator: slow, on the documents themselves, written from the rules and not from
//! the engine. It knows only what [`generate`](super::generate) generates.

use kms_policy::Grantee;
use serde_json::{Map, Value};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::{ACCOUNT, Bag, Case, Entry, Outcome, Who};

/// Decides a case. A grant that does not allow the request does not change why it is denied.
pub fn decide(case: &Case) -> Outcome {
    match judge(case) {
        Outcome::Allowed => Outcome::Allowed,
        _ => judge(&Case { grant: None, ..case.clone() }),
    }
}

fn judge(case: &Case) -> Outcome {
    let denies = |policy: &Value| says(policy, case, "Deny");
    let allows = |policy: &Value| says(policy, case, "Allow");
    let any_denies = |list: &[Value]| list.iter().any(denies);
    let any_allows = |list: &[Value]| list.iter().any(allows);
    let boundary: Vec<Value> = case.boundary.iter().cloned().collect();
    let own = [
        ("identity-based policy", &case.identity),
        ("permissions boundary", &boundary),
        ("session policy", &case.session),
    ];
    let guards = [
        ("service control policy", &case.service_control),
        ("resource control policy", &case.resource_control),
    ];
    let resource: Vec<Value> = case.key_policy.iter().cloned().collect();
    let resource_name = "resource-based policy";
    let foreign = case.who.account() != ACCOUNT && case.who != Who::Service;
    let is_service_exempt = |name: &str| name == guards[0].0 && case.who == Who::Service;

    // What limits the caller when it is not named itself.
    let limit = || {
        let bounded = !boundary.is_empty() && !any_allows(&boundary);
        let narrowed = !case.session.is_empty() && !any_allows(&case.session);
        match (bounded, narrowed) {
            (true, _) => Some(Outcome::Implicit("permissions boundary")),
            (_, true) => Some(Outcome::Implicit("session policy")),
            _ => None,
        }
    };
    let implicit_guard = |(name, list): (&'static str, &Vec<Value>)| {
        let missing = !list.is_empty() && !any_allows(list) && !is_service_exempt(name);
        missing.then_some(Outcome::Implicit(name))
    };
    let explicit = |(name, list): (&'static str, &Vec<Value>)| {
        (any_denies(list) && !is_service_exempt(name)).then_some(Outcome::Explicit(name))
    };

    let granted = match case.grant {
        None => false,
        Some(Grantee::Caller) => true,
        Some(Grantee::Role) => limit().is_none(),
        Some(Grantee::Account) if case.who.is_root() => true,
        Some(Grantee::Account) => limit().is_none() && any_allows(&case.identity),
    };
    if foreign {
        let identity = case.who.is_root() || granted || any_allows(&case.identity);
        let identity = (!identity).then_some(Outcome::Implicit("identity-based policy"));
        let limit = if granted || case.who.is_root() { None } else { limit() };
        let cross = case.action.is_cross_account();
        let allowed = granted || resource.iter().any(|p| !ways(p, case).is_empty());
        return explicit(guards[0])
            .or_else(|| own.into_iter().find_map(explicit))
            .or_else(|| implicit_guard(guards[0]))
            .or(identity)
            .or(limit)
            .or((!cross).then_some(Outcome::OtherAccount))
            .or_else(|| explicit(guards[1]))
            .or_else(|| explicit((resource_name, &resource)))
            .or_else(|| resource.is_empty().then_some(Outcome::Implicit(resource_name)))
            .or_else(|| implicit_guard(guards[1]))
            .or((!allowed).then_some(Outcome::Implicit(resource_name)))
            .unwrap_or(Outcome::Allowed);
    }

    let denied = guards
        .into_iter()
        .find_map(explicit)
        .or_else(|| explicit((resource_name, &resource)))
        .or_else(|| own.into_iter().find_map(explicit))
        .or_else(|| guards.into_iter().find_map(implicit_guard));
    if let Some(denied) = denied {
        return denied;
    }
    if granted {
        return Outcome::Allowed;
    }
    let identity = case.who.is_root() || any_allows(&case.identity);
    let delegated = || match identity {
        true => limit().unwrap_or(Outcome::Allowed),
        false => Outcome::Implicit("identity-based policy"),
    };
    let Some(policy) = &case.key_policy else { return delegated() };
    let ways = ways(policy, case);
    if ways.contains(&"itself") || case.who == Who::Root && !ways.is_empty() {
        Outcome::Allowed
    } else if ways.contains(&"role") || ways.contains(&"anyone") {
        limit().unwrap_or(Outcome::Allowed)
    } else if ways.contains(&"account") {
        delegated()
    } else {
        Outcome::Implicit(resource_name)
    }
}

fn statements(policy: &Value) -> Vec<&Map<String, Value>> {
    many(&policy["Statement"]).into_iter().map(|s| s.as_object().expect("a statement")).collect()
}

fn says(policy: &Value, case: &Case, effect: &str) -> bool {
    statements(policy).into_iter().any(|s| s["Effect"] == effect && applies(policy, s, case))
}

/// How Allow statements that apply name the caller.
fn ways(policy: &Value, case: &Case) -> Vec<&'static str> {
    statements(policy)
        .into_iter()
        .filter(|s| s["Effect"] == "Allow" && applies(policy, s, case))
        .flat_map(|s| {
            let picked =
                move |way| if way == "anyone" && picks_principals(s) { "itself" } else { way };
            names(&s["Principal"], case.who).into_iter().map(picked)
        })
        .collect()
}

/// Whether a condition tells by their ARNs for whom the statement is.
fn picks_principals(statement: &Map<String, Value>) -> bool {
    let conditions = statement.get("Condition").unwrap_or(&Value::Null);
    ["ArnEquals", "ArnLike"].into_iter().any(|operator| {
        let mut keys = conditions[operator].as_object().into_iter().flat_map(Map::keys);
        keys.any(|key| key.eq_ignore_ascii_case("aws:PrincipalArn"))
    })
}

fn applies(policy: &Value, statement: &Map<String, Value>, case: &Case) -> bool {
    let variables = policy.get("Version").is_some_and(|version| version == "2012-10-17");
    let sure = |outcome: Option<bool>| outcome.unwrap_or(statement["Effect"] == "Deny");
    let principal = match (statement.get("Principal"), statement.get("NotPrincipal")) {
        (Some(element), _) => !names(element, case.who).is_empty(),
        (None, Some(element)) => {
            let names = names(element, case.who);
            let needed: &[&str] = match case.who {
                Who::Root | Who::OtherRoot => &["account"],
                Who::User | Who::OtherUser | Who::Federated => &["account", "itself"],
                Who::Session | Who::OtherSession => &["account", "role"],
                Who::Service => &["itself"],
            };
            case.boundary.is_some() || !needed.iter().all(|way| names.contains(way))
        }
        (None, None) => true,
    };
    let name = case.action.name().to_lowercase();
    let action = |element: &Value| texts(element).iter().any(|p| like(&p.to_lowercase(), &name));
    let action = match statement.get("Action") {
        Some(element) => action(element),
        None => !action(&statement["NotAction"]),
    };
    let resource = |element: &Value| -> Vec<Option<bool>> {
        let wanted = case.resource.unwrap_or("*");
        let matches = |pattern: &String| {
            if pattern == "*" {
                return Some(true);
            }
            arn_like(pattern, wanted, &case.context, variables)
        };
        texts(element).iter().map(matches).collect()
    };
    let resource = match statement.get("Resource") {
        Some(element) => Some(resource(element).contains(&Some(true))),
        None => {
            let outcomes = resource(&statement["NotResource"]);
            match (outcomes.contains(&Some(true)), outcomes.contains(&None)) {
                (true, _) => Some(false),
                (_, true) => None,
                _ => Some(true),
            }
        }
    };
    let conditions = statement.get("Condition").and_then(Value::as_object);
    let conditions = conditions.into_iter().flatten().flat_map(|(operator, block)| {
        block.as_object().expect("a block").iter().map(move |(key, values)| (operator, key, values))
    });
    principal
        && action
        && sure(resource)
        && conditions.into_iter().all(|(operator, key, values)| {
            sure(condition(operator, key, &texts(values), &case.context, variables))
        })
}

fn names(element: &Value, who: Who) -> Vec<&'static str> {
    if element == "*" {
        return vec!["anyone"];
    }
    let mut ways = Vec::new();
    for (kind, names) in element.as_object().expect("principals") {
        for name in texts(names) {
            if kind == "Service" {
                if name == who.arn() {
                    ways.push("itself");
                }
            } else if name == "*" {
                ways.push("anyone");
            } else if !who.account().is_empty()
                && (name == who.account() || name == format!("arn:aws:iam::{}:root", who.account()))
            {
                ways.push("account");
            } else if Some(name.as_str()) == who.role() {
                ways.push("role");
            } else if name == who.arn() {
                ways.push("itself");
            }
        }
    }
    ways
}

fn condition(op: &str, key: &str, values: &[String], bag: &Bag, variables: bool) -> Option<bool> {
    let entry = bag.0.get(&key.to_lowercase());
    let found: Vec<&String> = match entry {
        None => Vec::new(),
        Some(Entry::One(text)) => vec![text],
        Some(Entry::Many(texts)) => texts.iter().collect(),
    };
    if op == "Null" {
        let absent = found.is_empty() || matches!(entry, Some(Entry::One(text)) if text.is_empty());
        return Some(values.iter().any(|value| (value == "true") == absent));
    }
    let (set, rest) = op.split_once(':').unwrap_or(("", op));
    let (name, if_exists) = match rest.strip_suffix("IfExists") {
        Some(name) => (name, true),
        None => (rest, false),
    };
    let negated = name.contains("Not");
    if found.is_empty() {
        return Some(if_exists || set == "ForAllValues" || set.is_empty() && negated);
    }
    if set.is_empty() && found.len() > 1 {
        return None;
    }
    let outcomes: Vec<Option<bool>> = found
        .iter()
        .map(|text| {
            let mut matched = false;
            for value in values {
                matched |= compare(name, text, value, bag, variables)?;
            }
            Some(matched != negated)
        })
        .collect();
    let (yes, no) = (outcomes.contains(&Some(true)), outcomes.contains(&Some(false)));
    let unknown = outcomes.contains(&None);
    match set {
        "ForAllValues" if no => Some(false),
        "ForAnyValue" if yes => Some(true),
        _ if unknown => None,
        "ForAllValues" => Some(true),
        "ForAnyValue" => Some(false),
        _ => Some(yes),
    }
}

/// Whether the request's `text` compares with the policy's `value`; `None` if it cannot.
fn compare(name: &str, text: &str, value: &str, bag: &Bag, variables: bool) -> Option<bool> {
    let family = name.replace("Not", "");
    if family.starts_with("String") {
        let wild = family == "StringLike";
        let Some(pattern) = expand(value, bag, variables, wild) else { return Some(false) };
        return Some(match family.as_str() {
            "StringEqualsIgnoreCase" => {
                let own: String = pattern.iter().map(|(c, _)| *c).collect();
                own.to_lowercase() == text.to_lowercase()
            }
            _ => chars_like(&pattern, &text.chars().collect::<Vec<_>>()),
        });
    }
    if family.starts_with("Arn") {
        return Some(arn_like(value, text, bag, variables) == Some(true));
    }
    let ordered = |ordering: std::cmp::Ordering| match family.trim_start_matches("Numeric") {
        "Equals" => ordering.is_eq(),
        "LessThan" => ordering.is_lt(),
        "LessThanEquals" => ordering.is_le(),
        "GreaterThan" => ordering.is_gt(),
        "GreaterThanEquals" => ordering.is_ge(),
        other => panic!("operator {other}"),
    };
    Some(match family.as_str() {
        "Bool" => text.parse::<bool>().ok()? == (value == "true"),
        "IpAddress" => in_network(text, value)?,
        date if date.starts_with("Date") => {
            let ordering = moment(text)?.cmp(&moment(value).expect("a date in the pool"));
            let number = date.replace("Date", "Numeric");
            return compare_ordering(&number, ordering);
        }
        _ => {
            let (text, value): (f64, f64) = (text.parse().ok()?, value.parse().expect("a number"));
            ordered(text.partial_cmp(&value)?)
        }
    })
}

fn compare_ordering(name: &str, ordering: std::cmp::Ordering) -> Option<bool> {
    let number = |ordering| if ordering == std::cmp::Ordering::Less { "0" } else { "2" };
    let text = if ordering.is_eq() { "1" } else { number(ordering) };
    compare(name, text, "1", &Bag::default(), false)
}

fn moment(text: &str) -> Option<OffsetDateTime> {
    let text = if text.len() == 10 { format!("{text}T00:00:00Z") } else { text.to_owned() };
    OffsetDateTime::parse(&text, &Rfc3339).ok()
}

fn in_network(text: &str, network: &str) -> Option<bool> {
    let bits = |address: std::net::IpAddr| -> String {
        match address {
            std::net::IpAddr::V4(v4) => v4.octets().iter().map(|o| format!("{o:08b}")).collect(),
            std::net::IpAddr::V6(v6) => v6.octets().iter().map(|o| format!("{o:08b}")).collect(),
        }
    };
    let (address, prefix) = network.split_once('/').unwrap_or((network, "999"));
    let (text, own) = (bits(text.parse().ok()?), bits(address.parse().expect("an address")));
    let prefix = prefix.parse::<usize>().expect("a prefix").min(own.len());
    Some(text.len() == own.len() && text[..prefix] == own[..prefix])
}

/// The characters of a pattern, each with whether it is a wildcard. `None` if a variable has no
/// value.
fn expand(value: &str, bag: &Bag, variables: bool, wild: bool) -> Option<Vec<(char, bool)>> {
    let mut out = Vec::new();
    let mut rest = value;
    while !rest.is_empty() {
        if variables && rest.starts_with("${") {
            let (inside, after) = rest[2..].split_once('}').expect("closed");
            let (key, default) = match inside.split_once(", ") {
                Some((key, default)) => (key, Some(default.trim_matches('\''))),
                None => (inside, None),
            };
            let text = match bag.0.get(&key.to_lowercase()) {
                Some(Entry::One(text)) => text,
                Some(Entry::Many(_)) => return None,
                None => default?,
            };
            out.extend(text.chars().map(|c| (c, false)));
            rest = after;
        } else {
            let c = rest.chars().next().expect("not empty");
            out.push((c, wild && "*?".contains(c)));
            rest = &rest[c.len_utf8()..];
        }
    }
    Some(out)
}

fn chars_like(pattern: &[(char, bool)], text: &[char]) -> bool {
    match (pattern.first(), text.first()) {
        (None, _) => text.is_empty(),
        (Some(('*', true)), _) => {
            chars_like(&pattern[1..], text) || !text.is_empty() && chars_like(pattern, &text[1..])
        }
        (Some(_), None) => false,
        (Some((own, wild)), Some(c)) => {
            (*wild || own == c) && chars_like(&pattern[1..], &text[1..])
        }
    }
}

fn like(pattern: &str, text: &str) -> bool {
    let pattern = expand(pattern, &Bag::default(), false, true).expect("no variables");
    chars_like(&pattern, &text.chars().collect::<Vec<_>>())
}

fn arn_like(pattern: &str, text: &str, bag: &Bag, variables: bool) -> Option<bool> {
    // The pools have variables in the last field only.
    let patterns: Vec<&str> = pattern.splitn(6, ':').collect();
    let fields: Vec<&str> = text.splitn(6, ':').collect();
    if patterns.len() != fields.len() {
        return Some(false);
    }
    let mut all = true;
    for (pattern, field) in patterns.iter().zip(fields) {
        let pattern = expand(pattern, bag, variables, true);
        all = all && chars_like(&pattern?, &field.chars().collect::<Vec<_>>());
    }
    Some(all)
}

fn many(value: &Value) -> Vec<&Value> {
    match value {
        Value::Array(list) => list.iter().collect(),
        value => vec![value],
    }
}

fn texts(value: &Value) -> Vec<String> {
    many(value).into_iter().map(|value| value.as_str().expect("a string").to_owned()).collect()
}
