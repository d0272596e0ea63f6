//! Constraints on parameters, reported the way AWS services do: all failures of a request in one
//! `ValidationException`.
//!
//! Which constraints there are is in the service model: generated code calls the functions here
//! for every member of a request. They look at everything, whatever has failed before.

use std::fmt::Display;
use std::ops::RangeInclusive;

use super::input::Object;
use super::model::{Request, Text};
use kms_base::error::{Exception, KmsError};
use kms_model::enumeration::Enumeration;

/// Longest part of a refused value that is repeated in the text, in characters.
const MAX_ECHO: usize = 1024;
/// Most failures that a text lists. It counts all of them.
const MAX_LISTED: usize = 100;

/// The constraints a request has failed so far.
#[derive(Debug, Default)]
pub(super) struct Checks {
    /// The path to the structure that is being checked: empty, or ends in a dot.
    path: String,
    /// Failures so far, of which the first are listed.
    count: usize,
    failures: Vec<String>,
}

impl Checks {
    pub(super) fn new() -> Self {
        Self::default()
    }

    /// The request, or its failures.
    pub(super) fn finish<T>(self, checked: Option<T>) -> Result<T, KmsError> {
        let text = match self.count {
            0 => return checked.ok_or_else(|| KmsError::internal("a check did not say why")),
            1 => format!("1 validation error detected: {}", self.failures.join("")),
            n => format!("{n} validation errors detected: {}", self.failures.join("; ")),
        };
        Err(KmsError::new(Exception::Validation, text))
    }

    /// A member that has to be there.
    pub(super) fn present(&mut self, member: &str, is_there: bool) {
        if !is_there {
            self.fail("Value null", member, "Member must not be null");
        }
    }

    /// A string.
    pub(super) fn text(&mut self, member: &str, value: Option<&str>, rule: &Text) {
        let Some(value) = value else { return };
        let shown = || if rule.echoed { quoted(value) } else { "Value".to_owned() };
        let has_length = self.bound(shown, member, "length", value.chars().count(), &rule.length);
        // Of an empty value it is enough to say that it is empty.
        if let Some(pattern) = &rule.pattern
            && (has_length || !value.is_empty())
            && !(pattern.matches)(value)
        {
            self.fail(&shown(), member, &pattern_rule(pattern.text));
        }
        if !is_value(value, rule) {
            self.fail(&shown(), member, &value_rule(rule.values));
        }
    }

    /// A value of an enumeration, from its name.
    pub(super) fn one_of<T: Enumeration>(
        &mut self,
        member: &str,
        name: Option<&str>,
        rule: &Text,
    ) -> Option<T> {
        self.text(member, name, rule);
        T::parse(name?)
    }

    /// Values of an enumeration, from their names, as [`Checks::texts`] looks at them.
    pub(super) fn each_of<T: Enumeration>(
        &mut self,
        member: &str,
        names: Option<&[String]>,
        length: RangeInclusive<usize>,
        rule: &Text,
    ) -> Option<Vec<T>> {
        self.texts(member, names, length, rule);
        names?.iter().map(|name| T::parse(name)).collect()
    }

    /// A list of strings, by its length, and all of its elements by the same rule.
    pub(super) fn texts(
        &mut self,
        member: &str,
        values: Option<&[String]>,
        length: RangeInclusive<usize>,
        rule: &Text,
    ) {
        let Some(values) = values else { return };
        let shown = || match rule.echoed {
            true => quoted(format_args!("[{}]", values.join(", "))),
            false => "Value".to_owned(),
        };
        self.bound(shown, member, "length", values.len(), &length);
        let fits = |value: &String| {
            rule.length.contains(&value.chars().count())
                && rule.pattern.as_ref().is_none_or(|pattern| (pattern.matches)(value))
                && is_value(value, rule)
        };
        if !values.iter().all(fits) {
            self.fail(&shown(), member, &element_rule(rule));
        }
    }

    /// A blob with a length in bytes. Its content is not repeated in texts.
    pub(super) fn blob(
        &mut self,
        member: &str,
        value: Option<&[u8]>,
        length: RangeInclusive<usize>,
    ) {
        if let Some(value) = value {
            self.bound(|| "Value".to_owned(), member, "length", value.len(), &length);
        }
    }

    /// A number.
    pub(super) fn number(&mut self, member: &str, value: Option<i64>, range: RangeInclusive<i64>) {
        if let Some(value) = value {
            self.bound(|| quoted(value), member, "value", value, &range);
        }
    }

    /// A structure.
    pub(super) fn nested<T: Request>(
        &mut self,
        member: &str,
        wire: Option<Object<T::Wire>>,
    ) -> Option<T> {
        self.within(member, |checks| T::check(wire?.0, checks))
    }

    /// A list of structures.
    pub(super) fn each<T: Request>(
        &mut self,
        member: &str,
        wires: Option<Vec<Object<T::Wire>>>,
    ) -> Option<Vec<T>> {
        let wires = wires?.into_iter().enumerate();
        let element = |(index, Object(wire))| {
            self.within(&format!("{member}.{}.member", index + 1), |checks| T::check(wire, checks))
        };
        Some(wires.filter_map(element).collect())
    }

    fn within<T>(&mut self, member: &str, check: impl FnOnce(&mut Self) -> T) -> T {
        let outside = self.path.len();
        self.path.push_str(member);
        self.path.push('.');
        let checked = check(self);
        self.path.truncate(outside);
        checked
    }

    fn bound<T: PartialOrd + Display>(
        &mut self,
        shown: impl Fn() -> String,
        member: &str,
        what: &str,
        measure: T,
        range: &RangeInclusive<T>,
    ) -> bool {
        let rule = if measure < *range.start() {
            format!("Member must have {what} greater than or equal to {}", range.start())
        } else if measure > *range.end() {
            format!("Member must have {what} less than or equal to {}", range.end())
        } else {
            return true;
        };
        self.fail(&shown(), member, &rule);
        false
    }

    fn fail(&mut self, value: &str, member: &str, rule: &str) {
        self.count += 1;
        if self.failures.len() == MAX_LISTED {
            return;
        }
        let path = &self.path;
        self.failures
            .push(format!("{value} at '{path}{member}' failed to satisfy constraint: {rule}"));
    }
}

/// A member that the model does not require, but this request does.
pub(super) fn required<T>(member: &str, value: Option<T>) -> Result<T, KmsError> {
    let mut checks = Checks::new();
    checks.present(member, value.is_some());
    checks.finish(value)
}

/// A combination of parameters that is not allowed.
pub(super) fn invalid(text: impl Into<std::borrow::Cow<'static, str>>) -> KmsError {
    KmsError::new(Exception::Validation, text)
}

fn is_value(value: &str, rule: &Text) -> bool {
    rule.values.is_empty() || rule.values.contains(&value)
}

fn pattern_rule(pattern: &str) -> String {
    format!("Member must satisfy regular expression pattern: {pattern}")
}

fn value_rule(values: &[&str]) -> String {
    format!("Member must satisfy enum value set: [{}]", values.join(", "))
}

/// The rule for elements of a list. It has all constraints, also those that are kept.
fn element_rule(rule: &Text) -> String {
    let mut rules = Vec::new();
    if rule.length != (0..=usize::MAX) {
        let (min, max) = (rule.length.start(), rule.length.end());
        rules.push(format!("Member must have length less than or equal to {max}"));
        rules.push(format!("Member must have length greater than or equal to {min}"));
    }
    rules.extend(rule.pattern.as_ref().map(|pattern| pattern_rule(pattern.text)));
    if !rule.values.is_empty() {
        rules.push(value_rule(rule.values));
    }
    format!("Member must satisfy constraint: [{}]", rules.join(", "))
}

/// A value as it appears in a text; long ones are cut.
fn quoted(value: impl Display) -> String {
    let value = value.to_string();
    match value.char_indices().nth(MAX_ECHO) {
        None => format!("Value '{value}'"),
        Some((end, _)) => format!("Value '{}...'", &value[..end]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::model::Pattern;
    use kms_model::enums::DataKeySpec;

    const ANY: Text = Text { length: 0..=usize::MAX, pattern: None, values: &[], echoed: true };
    const KEY_ID: Text = Text { length: 1..=2048, ..ANY };
    const SPEC: Text = Text { values: &["AES_256", "AES_128"], ..ANY };
    const DIGITS: Pattern = Pattern {
        text: "[0-9]+",
        matches: |text| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()),
    };
    const NUMBER: Text = Text { length: 1..=3, pattern: Some(DIGITS), ..ANY };

    fn report(check: impl FnOnce(&mut Checks)) -> String {
        let mut checks = Checks::new();
        check(&mut checks);
        checks.finish(Some(())).unwrap_err().message().unwrap().to_owned()
    }

    #[test]
    fn texts_have_the_form_clients_know() {
        assert_eq!(
            report(|checks| checks.present("keyId", false)),
            "1 validation error detected: Value null at 'keyId' failed to satisfy constraint: \
             Member must not be null"
        );
        assert_eq!(
            report(|checks| checks.number("limit", Some(1001), 1..=1000)),
            "1 validation error detected: Value '1001' at 'limit' failed to satisfy constraint: \
             Member must have value less than or equal to 1000"
        );
        assert_eq!(
            report(|checks| checks.text("keySpec", Some("AES_512"), &SPEC)),
            "1 validation error detected: Value 'AES_512' at 'keySpec' failed to satisfy \
             constraint: Member must satisfy enum value set: [AES_256, AES_128]"
        );
        assert_eq!(
            report(|checks| checks.text("name", Some("x"), &NUMBER)),
            "1 validation error detected: Value 'x' at 'name' failed to satisfy constraint: \
             Member must satisfy regular expression pattern: [0-9]+"
        );
    }

    #[test]
    fn failures_are_counted_and_joined() {
        let text = report(|checks| {
            checks.text("keyId", Some(""), &KEY_ID);
            checks.blob("plaintext", Some(&[0; 4097]), 1..=4096);
        });
        assert_eq!(
            text,
            "2 validation errors detected: Value '' at 'keyId' failed to satisfy constraint: \
             Member must have length greater than or equal to 1; Value at 'plaintext' failed to \
             satisfy constraint: Member must have length less than or equal to 4096"
        );
        let both = report(|checks| checks.text("name", Some("wxyz"), &NUMBER));
        assert!(both.starts_with("2 validation errors"), "{both}");
        let empty = report(|checks| checks.text("name", Some(""), &NUMBER));
        assert!(empty.starts_with("1 validation error"), "{empty}");
    }

    #[test]
    fn a_flood_of_failures_is_counted_only() {
        let text = report(|checks| (0..100_000).for_each(|_| checks.present("x", false)));
        assert!(text.starts_with("100000 validation errors detected: "));
        assert_eq!(text.matches("; ").count(), MAX_LISTED - 1);
    }

    #[test]
    fn lists_are_refused_as_a_whole() {
        let list = |values: &[&str], rule: &Text| {
            let values: Vec<_> = values.iter().map(|value| (*value).to_owned()).collect();
            report(|checks| checks.texts("list", Some(&values), 0..=2, rule))
        };
        assert_eq!(
            list(&["1", ""], &NUMBER),
            "1 validation error detected: Value '[1, ]' at 'list' failed to satisfy constraint: \
             Member must satisfy constraint: [Member must have length less than or equal to 3, \
             Member must have length greater than or equal to 1, Member must satisfy regular \
             expression pattern: [0-9]+]"
        );
        assert_eq!(
            list(&["a"], &Text { echoed: false, ..SPEC }),
            "1 validation error detected: Value at 'list' failed to satisfy constraint: Member \
             must satisfy constraint: [Member must satisfy enum value set: [AES_256, AES_128]]"
        );
        assert_eq!(
            list(&["1", "2", "3"], &NUMBER),
            "1 validation error detected: Value '[1, 2, 3]' at 'list' failed to satisfy \
             constraint: Member must have length less than or equal to 2"
        );
    }

    #[test]
    fn names_of_enumerations_become_values() {
        let mut checks = Checks::new();
        assert_eq!(checks.one_of("one", Some("AES_256"), &SPEC), Some(DataKeySpec::AES_256));
        assert_eq!(checks.one_of::<DataKeySpec>("one", None, &SPEC), None);
        let names = ["AES_128", "AES_256"].map(str::to_owned);
        let values = checks.each_of("all", Some(&names), 0..=2, &SPEC);
        assert_eq!(values, Some(vec![DataKeySpec::AES_128, DataKeySpec::AES_256]));
        assert_eq!(checks.each_of::<DataKeySpec>("all", None, 0..=2, &SPEC), None);
        checks.finish(Some(())).unwrap();

        // What is refused is refused as any other text is.
        let wrong = ["AES_128".to_owned(), "AES_512".to_owned()];
        let text = report(|checks| {
            assert_eq!(checks.one_of::<DataKeySpec>("one", Some("AES_512"), &SPEC), None);
            assert_eq!(checks.each_of::<DataKeySpec>("all", Some(&wrong), 0..=2, &SPEC), None);
        });
        assert_eq!(
            text,
            report(|checks| {
                checks.text("one", Some("AES_512"), &SPEC);
                checks.texts("all", Some(&wrong), 0..=2, &SPEC);
            })
        );
    }

    #[test]
    fn nested_members_have_paths() {
        struct Pair;

        impl Request for Pair {
            type Wire = Option<()>;

            fn check(wire: Option<()>, checks: &mut Checks) -> Option<Self> {
                checks.present("left", wire.is_some());
                wire.map(|()| Self)
            }
        }

        let text = report(|checks| {
            checks.each::<Pair>("pairs", Some(vec![Object(Some(())), Object(None)]));
            checks.nested::<Pair>("pair", Some(Object(None)));
            assert!(checks.nested::<Pair>("absent", None).is_none());
            checks.present("last", false);
        });
        assert!(text.starts_with("3 validation errors"), "{text}");
        for path in ["'pairs.2.member.left'", "'pair.left'", "'last'"] {
            assert!(text.contains(path), "{text}");
        }
    }

    #[test]
    fn long_and_secret_values_are_not_repeated() {
        let text = report(|checks| {
            checks.text("keyId", Some(&"é".repeat(1 << 20)), &KEY_ID);
        });
        assert!(text.len() < 3 * MAX_ECHO);
        assert!(text.contains(&format!("'{}...'", "é".repeat(MAX_ECHO))));
        let secret = Text { echoed: false, ..NUMBER };
        let text = report(|checks| checks.text("password", Some("hunter2"), &secret));
        assert!(!text.contains("hunter2"), "{text}");
    }
}
