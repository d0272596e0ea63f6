//! IAM policies in their plain forms, for STS: what has a condition or a negated element allows
//! nothing, and denies whatever it could be about.
//!
//! Documents have been read by the policy engine when they were put. The engine's evaluation of
//! them takes the place of this one once it decides about STS as well.

use serde_json::Value;

/// What a document says about a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// A statement allows it, and none denies it.
    Allowed,
    /// A statement denies it, or could.
    Denied,
    /// Nothing is said about it.
    Silent,
}

/// What an identity policy says about an action on a resource.
pub(super) fn identity(document: &str, action: &str, resource: &str) -> Verdict {
    evaluate(document, |statement| {
        let elements = ["Sid", "Effect", "Action", "Resource"];
        let (actions, resources) = (texts(&statement["Action"]), texts(&statement["Resource"]));
        let about = |patterns: &[&str], value: &str| patterns.iter().any(|p| like(p, value));
        let actions: Vec<String> = actions.iter().map(|action| action.to_lowercase()).collect();
        let actions: Vec<&str> = actions.iter().map(String::as_str).collect();
        Match {
            plain: has_only(statement, &elements),
            certain: about(&actions, &action.to_lowercase()) && about(&resources, resource),
            possible: (actions.is_empty() || about(&actions, &action.to_lowercase()))
                && (resources.is_empty() || about(&resources, resource)),
        }
    })
}

/// What a resource policy without resources, as trust policies are, says about an action by a
/// caller, whose names in the policy `names` tells.
pub(super) fn resource(document: &str, action: &str, names: impl Fn(&str) -> bool) -> Verdict {
    evaluate(document, |statement| {
        let elements = ["Sid", "Effect", "Principal", "Action"];
        let principals = texts(&statement["Principal"]["AWS"]);
        let action_is = |pattern: &&str| like(&pattern.to_lowercase(), &action.to_lowercase());
        let actions = texts(&statement["Action"]);
        let named = principals.iter().any(|principal| names(principal));
        // A service or a web identity cannot call here.
        let open = statement["Principal"] == "*"
            || principals.contains(&"*")
            || !statement["NotPrincipal"].is_null();
        Match {
            plain: has_only(statement, &elements),
            certain: named && actions.iter().any(action_is),
            possible: (named || open) && (actions.is_empty() || actions.iter().any(action_is)),
        }
    })
}

/// How a statement fits a request.
struct Match {
    /// Whether there is nothing in it that is not evaluated.
    plain: bool,
    /// Whether its plain elements fit.
    certain: bool,
    /// Whether it could fit.
    possible: bool,
}

fn evaluate(document: &str, fits: impl Fn(&Value) -> Match) -> Verdict {
    let Ok(document) = serde_json::from_str::<Value>(document) else { return Verdict::Denied };
    let statements = match &document["Statement"] {
        Value::Array(list) => list.as_slice(),
        one => std::slice::from_ref(one),
    };
    // A variable in a pattern would have to be replaced first.
    let variable = |statement: &Value| statement.to_string().contains("${");
    let mut verdict = Verdict::Silent;
    for statement in statements {
        let fit = fits(statement);
        if statement["Effect"] == "Deny" && (fit.possible || variable(statement)) {
            return Verdict::Denied;
        }
        if statement["Effect"] == "Allow" && fit.plain && fit.certain && !variable(statement) {
            verdict = Verdict::Allowed;
        }
    }
    verdict
}

fn has_only(statement: &Value, elements: &[&str]) -> bool {
    let members = statement.as_object();
    members.is_some_and(|members| members.keys().all(|name| elements.contains(&name.as_str())))
}

/// The texts of an element that is one or a list of them.
fn texts(element: &Value) -> Vec<&str> {
    match element {
        Value::String(text) => vec![text],
        Value::Array(list) => list.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}

/// Whether a text matches a pattern with `*` and `?`.
fn like(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) =
        (pattern.chars().collect(), text.chars().collect());
    let (mut p, mut t) = (0, 0);
    // Where to go on if the text turns out not to match: the last `*`, and what it has taken.
    let mut star = None;
    while t < text.len() {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(&c) if c == '?' || c == text[t] => {
                p += 1;
                t += 1;
            }
            _ => match star {
                Some((at, taken)) => {
                    star = Some((at, taken + 1));
                    p = at + 1;
                    t = taken + 1;
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|c| *c == '*')
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const ASSUME: &str = "sts:AssumeRole";
    const ROLE: &str = "arn:aws:iam::111122223333:role/a/b";

    fn identity_of(statements: Value) -> Verdict {
        let document = json!({ "Version": "2012-10-17", "Statement": statements });
        identity(&document.to_string(), ASSUME, ROLE)
    }

    #[test]
    fn identity_policies() {
        let allow = |action: Value, resource: Value| json!([{ "Effect": "Allow", "Action": action, "Resource": resource }]);
        for (action, resource) in [
            (json!("*"), json!("*")),
            (json!("STS:assume*"), json!(ROLE)),
            (json!(["s3:Get?", "sts:AssumeRole"]), json!(["x", "arn:aws:iam::*:role/*"])),
        ] {
            assert_eq!(identity_of(allow(action, resource)), Verdict::Allowed);
        }
        for (action, resource) in [
            (json!("kms:*"), json!("*")),
            (json!("sts:AssumeRole"), json!("arn:aws:iam::111122223333:role/a")),
            (json!("sts:AssumeRole"), json!("arn:aws:iam::111122223333:role/${aws:username}*")),
        ] {
            assert_eq!(identity_of(allow(action, resource)), Verdict::Silent);
        }
    }

    #[test]
    fn what_is_not_evaluated_allows_nothing_and_denies_what_it_can() {
        let mut statement = json!({ "Effect": "Allow", "Action": "sts:*", "Resource": "*",
            "Condition": { "Bool": { "aws:SecureTransport": "true" } } });
        let allow = json!({ "Effect": "Allow", "Action": "*", "Resource": "*" });
        assert_eq!(identity_of(json!([statement])), Verdict::Silent);
        statement["Effect"] = json!("Deny");
        assert_eq!(identity_of(json!([allow, statement])), Verdict::Denied);
        statement["Action"] = json!("kms:*");
        assert_eq!(identity_of(json!([allow, statement])), Verdict::Allowed);
        let not = json!({ "Effect": "Deny", "NotAction": "kms:*", "Resource": "*" });
        assert_eq!(identity_of(json!([allow, not])), Verdict::Denied);
        let not = json!({ "Effect": "Allow", "NotAction": "kms:*", "Resource": "*" });
        assert_eq!(identity_of(not), Verdict::Silent);
        assert_eq!(identity("{", ASSUME, ROLE), Verdict::Denied);
    }

    #[test]
    fn resource_policies() {
        let decide = |statement: Value| {
            let document = json!({ "Version": "2012-10-17", "Statement": statement });
            resource(&document.to_string(), ASSUME, |name| name == "me")
        };
        let allow = |principal: Value| json!({ "Effect": "Allow", "Principal": principal, "Action": "sts:AssumeRole" });
        assert_eq!(decide(allow(json!({ "AWS": ["you", "me"] }))), Verdict::Allowed);
        assert_eq!(decide(allow(json!({ "AWS": "you" }))), Verdict::Silent);
        assert_eq!(decide(allow(json!({ "Service": "me" }))), Verdict::Silent);
        assert_eq!(decide(allow(json!("*"))), Verdict::Silent);
        let mut conditional = allow(json!({ "AWS": "me" }));
        conditional["Condition"] = json!({ "StringEquals": { "sts:ExternalId": "x" } });
        assert_eq!(decide(conditional), Verdict::Silent);
        let mut deny = allow(json!("*"));
        deny["Effect"] = json!("Deny");
        assert_eq!(decide(json!([allow(json!({ "AWS": "me" })), deny])), Verdict::Denied);
    }

    #[test]
    fn patterns() {
        for (pattern, text, matches) in [
            ("", "", true),
            ("*", "", true),
            ("a*c", "abbc", true),
            ("a*c", "abcb", false),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("*a*b*", "xaxbx", true),
            ("a", "ab", false),
        ] {
            assert_eq!(like(pattern, text), matches, "{pattern} {text}");
        }
    }
}
