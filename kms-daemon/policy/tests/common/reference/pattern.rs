//! Patterns of the second evaluator: characters, wildcards and variables.

use super::super::{Bag, Entry};

/// The characters of a pattern, each with whether it is a wildcard. `None` if a variable has no
/// value.
pub(super) fn expand(
    value: &str,
    bag: &Bag,
    variables: bool,
    wild: bool,
) -> Option<Vec<(char, bool)>> {
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

pub(super) fn chars_like(pattern: &[(char, bool)], text: &[char]) -> bool {
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

pub(super) fn like(pattern: &str, text: &str) -> bool {
    let pattern = expand(pattern, &Bag::default(), false, true).expect("no variables");
    chars_like(&pattern, &text.chars().collect::<Vec<_>>())
}

pub(super) fn arn_like(pattern: &str, text: &str, bag: &Bag, variables: bool) -> Option<bool> {
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
