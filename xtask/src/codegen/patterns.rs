//! The regular expressions of the model as Rust code.
//!
//! Most are one class of characters, repeated. The few others are known by their text and matched
//! by functions of `kms-daemon/src/api/model/patterns.rs`. Anything else fails.

use std::fmt::Write as _;

use crate::failure::{Failure, Result};

/// Patterns that are more than a class, and the functions that match them.
const KNOWN: [(&str, &str); 7] = [
    (r"[0-9]{12}", "account_id"),
    (r"^([a-z]+-){2,3}\d+$", "region"),
    (r"^([A-Za-z0-9\-]+)\.([A-Za-z0-9\-]+)(\.[A-Za-z0-9\-]+)+$", "service_principal"),
    (r"^arn:aws[a-z0-9-]*:[a-z0-9-]+:[a-z0-9-]*:[0-9]{12}:.+$", "source_arn"),
    (r"^https://[a-zA-Z0-9.-]+$", "xks_uri_endpoint"),
    (r"^(/[a-zA-Z0-9\/_-]+/kms/xks/v\d{1,2})$|^(/kms/xks/v\d{1,2})$", "xks_uri_path"),
    (
        r"^(com|eu)\.amazonaws\.vpce\.([a-z]+-){2,3}\d+\.vpce-svc-[0-9a-z]+$",
        "vpc_endpoint_service_name",
    ),
];

/// An expression of type `fn(&str) -> bool` that matches all of a text.
pub(super) fn matcher(pattern: &str) -> Result<String> {
    if let Some((_, function)) = KNOWN.iter().find(|(known, _)| *known == pattern) {
        return Ok(format!("patterns::{function}"));
    }
    let unknown = || {
        Failure::new(format!("the pattern `{pattern}` is new"))
            .help("write its matcher in kms-daemon/src/api/model/patterns.rs")
            .help("and name it in xtask/src/codegen/patterns.rs")
    };
    let class = pattern.strip_prefix('^').unwrap_or(pattern);
    let class = class.strip_suffix('$').unwrap_or(class);
    let (class, may_be_empty) = match (class.strip_suffix('+'), class.strip_suffix('*')) {
        (Some(class), _) => (class, false),
        (_, Some(class)) => (class, true),
        _ => return Err(unknown()),
    };
    let class = class.strip_prefix('[').and_then(|class| class.strip_suffix(']'));
    let class = class.and_then(class_arms).ok_or_else(unknown)?;
    let filled = if may_be_empty { "" } else { "!text.is_empty() && " };
    Ok(format!("|text| {filled}text.chars().all(|c| matches!(c, {class}))"))
}

/// The patterns of `matches!` for the inside of a class; `None` if it has anything unusual.
fn class_arms(class: &str) -> Option<String> {
    let mut arms = Vec::new();
    let mut rest = class;
    while !rest.is_empty() {
        let (start, after) = item(rest)?;
        rest = after;
        let Item::One(start) = start else {
            let Item::Many(many) = start else { return None };
            arms.push(many.to_owned());
            continue;
        };
        match rest.strip_prefix('-').filter(|after| !after.is_empty()) {
            Some(after) => {
                let (Item::One(end), after) = item(after)? else { return None };
                arms.push((start <= end).then(|| range(start, end))?);
                rest = after;
            }
            None => arms.push(format!("{start:?}")),
        }
    }
    (!arms.is_empty()).then(|| arms.join(" | "))
}

enum Item {
    One(char),
    Many(&'static str),
}

/// The first character or class of characters in the inside of a class.
fn item(text: &str) -> Option<(Item, &str)> {
    let mut chars = text.chars();
    let first = match chars.next()? {
        '[' | ']' | '^' | '&' => return None,
        '\\' => match chars.next()? {
            'd' => Item::Many("'0'..='9'"),
            'w' => Item::Many("'a'..='z' | 'A'..='Z' | '0'..='9' | '_'"),
            's' => Item::Many(r"' ' | '\t'..='\r'"),
            'u' => {
                let (digits, rest) = chars.as_str().split_at_checked(4)?;
                let c = char::from_u32(u32::from_str_radix(digits, 16).ok()?)?;
                return Some((Item::One(c), rest));
            }
            c if c.is_ascii_punctuation() => Item::One(c),
            _ => return None,
        },
        c => Item::One(c),
    };
    Some((first, chars.as_str()))
}

fn range(start: char, end: char) -> String {
    let mut text = String::new();
    for (c, separator) in [(start, "..="), (end, "")] {
        // Debug writes some characters beyond ASCII as they are, which is hard to read.
        let _ = match c {
            ' '..='~' => write!(text, "{c:?}{separator}"),
            _ => write!(text, "'\\u{{{:x}}}'{separator}", u32::from(c)),
        };
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_become_code() {
        for (pattern, code) in [
            (
                "^[a-f0-9]+$",
                "!text.is_empty() && text.chars().all(|c| matches!(c, 'a'..='f' | '0'..='9'))",
            ),
            (r"[\u0020-\u00FF]*", r"text.chars().all(|c| matches!(c, ' '..='\u{ff}'))"),
            (r"[a\/-]*", "text.chars().all(|c| matches!(c, 'a' | '/' | '-'))"),
            (r"[0-9-_]*", "text.chars().all(|c| matches!(c, '0'..='9' | '-' | '_'))"),
        ] {
            assert_eq!(matcher(pattern).unwrap(), format!("|text| {code}"));
        }
        assert_eq!(matcher("[0-9]{12}").unwrap(), "patterns::account_id");
    }

    #[test]
    fn unknown_patterns_fail() {
        for pattern in [
            "", "a", "[a]", "[^a]+", "[a[b]]+", "[]+", r"[\p]+", "[b-a]+", "[a]+b", "(a)+",
            "[a&&b]+",
        ] {
            let failure = matcher(pattern).unwrap_err().to_string();
            assert!(failure.contains("is new") && failure.contains("patterns.rs"), "{pattern}");
        }
    }
}
