//! Constraints on parameters, reported the way AWS services do: all failures of a request in one
//! `ValidationException`.
//!
//! A check that fails answers a placeholder, so that the following checks still run; nothing
//! continues past [`Checks::finish`] with one.

use std::fmt::Display;
use std::ops::RangeInclusive;

use super::input::Blob;
use crate::error::{Exception, KmsError};
use crate::key::alias;
use crate::key::identifier::is_region;
use crate::policy;

/// Longest part of a refused value that is repeated in the text, in characters.
const MAX_ECHO: usize = 256;
/// Lengths of a key identifier, in characters.
const KEY_ID: RangeInclusive<usize> = 1..=2048;
/// Lengths of a ciphertext blob, signature or MAC, in bytes.
pub(super) const BLOB: RangeInclusive<usize> = 1..=6144;
/// Lengths of a grant token, in bytes.
const GRANT_TOKEN: RangeInclusive<usize> = 1..=8192;
/// Lengths of a plaintext or message, in bytes.
pub(super) const MESSAGE: RangeInclusive<usize> = 1..=4096;

/// The constraints a request has failed so far.
#[derive(Debug, Default)]
pub(super) struct Checks {
    failures: Vec<String>,
}

impl Checks {
    pub(super) fn new() -> Self {
        Self::default()
    }

    /// Reports the failures, if there are any.
    pub(super) fn finish(self) -> Result<(), KmsError> {
        let text = match self.failures.len() {
            0 => return Ok(()),
            1 => format!("1 validation error detected: {}", self.failures.join("")),
            n => format!("{n} validation errors detected: {}", self.failures.join("; ")),
        };
        Err(KmsError::new(Exception::Validation, text))
    }

    /// A member that has to be there.
    pub(super) fn required<T: Default>(&mut self, member: &str, value: Option<T>) -> T {
        value.unwrap_or_else(|| {
            self.fail("Value null", member, "Member must not be null");
            T::default()
        })
    }

    /// A required key identifier of any form.
    pub(super) fn key_id(&mut self, member: &str, value: Option<String>) -> String {
        let value = self.required_text(member, value);
        self.optional_key_id(member, Some(&value).filter(|v| !v.is_empty()).map(String::as_str));
        value
    }

    /// A key identifier that may be left out.
    pub(super) fn optional_key_id(&mut self, member: &str, value: Option<&str>) {
        if let Some(value) = value {
            self.length(member, value, KEY_ID);
        }
    }

    /// A required text that must not be empty.
    fn required_text(&mut self, member: &str, value: Option<String>) -> String {
        if value.as_deref() == Some("") {
            self.length(member, "", 1..=usize::MAX);
        }
        self.required(member, value)
    }

    /// A required alias name, of which the prefix is not checked.
    pub(super) fn alias_name(&mut self, value: Option<String>) -> String {
        const MEMBER: &str = "aliasName";
        let value = self.required_text(MEMBER, value);
        if !value.is_empty() {
            self.length(MEMBER, &value, 1..=alias::MAX_NAME);
            self.pattern(MEMBER, &value, alias::matches_pattern(&value), alias::PATTERN);
        }
        value
    }

    /// A policy document within the limits of the service model.
    pub(super) fn policy(&mut self, value: &str) {
        const PATTERN: &str = r"[\u0009\u000A\u000D\u0020-\u00FF]+";
        let allowed = |c| matches!(c, '\t' | '\n' | '\r' | '\u{20}'..='\u{ff}');
        self.length("policy", value, 1..=131_072);
        self.pattern("policy", value, value.is_empty() || value.chars().all(allowed), PATTERN);
    }

    /// The name of a key policy; the default is filled in.
    pub(super) fn policy_name(&mut self, value: Option<String>) -> String {
        let value = value.unwrap_or_else(|| policy::DEFAULT_POLICY_NAME.to_owned());
        let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        self.length("policyName", &value, 1..=128);
        self.pattern("policyName", &value, value.bytes().all(word), r"[\w]+");
        value
    }

    /// The grant tokens of a request.
    pub(super) fn grant_tokens(&mut self, value: Option<Vec<String>>) -> Vec<String> {
        let value = value.unwrap_or_default();
        self.list_length("grantTokens", value.len(), 0..=10);
        for token in &value {
            if !GRANT_TOKEN.contains(&token.len()) {
                let rule = "Member must satisfy constraint: [Member must have length less than or \
                            equal to 8192, Member must have length greater than or equal to 1]";
                self.fail("Value", "grantTokens", rule);
            }
        }
        value
    }

    /// A grant token. It is not repeated in texts.
    pub(super) fn grant_token(&mut self, member: &str, value: &str) {
        self.bound("Value", member, "length", value.len(), GRANT_TOKEN);
    }

    /// The name of a grant.
    pub(super) fn grant_name(&mut self, value: &str) {
        self.length("name", value, 1..=256);
        let matches = value.is_empty() || alias::matches_pattern(value);
        self.pattern("name", value, matches, alias::PATTERN);
    }

    /// A principal, of which only the characters are checked.
    pub(super) fn principal(&mut self, member: &str, value: Option<&str>) {
        let Some(value) = value else { return };
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_+=,.@:/-".contains(&byte);
        self.length(member, value, 1..=256);
        let matches = value.is_empty() || value.bytes().all(allowed);
        self.pattern(member, value, matches, r"^[\w+=,.@:/-]+$");
    }

    /// The name of a service, for example `logs.us-east-1.amazonaws.com`.
    pub(super) fn service(&mut self, member: &str, value: Option<&str>) {
        const PATTERN: &str = r"^([A-Za-z0-9\-]+)\.([A-Za-z0-9\-]+)(\.[A-Za-z0-9\-]+)+$";
        let Some(value) = value else { return };
        let label = |label: &str| {
            !label.is_empty() && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        };
        self.length(member, value, 1..=128);
        let matches = value.split('.').count() >= 3 && value.split('.').all(label);
        self.pattern(member, value, value.is_empty() || matches, PATTERN);
    }

    /// A value of an enumeration.
    pub(super) fn one_of(&mut self, member: &str, value: &str, allowed: &[&str]) {
        if !allowed.contains(&value) {
            let rule = format!("Member must satisfy enum value set: [{}]", allowed.join(", "));
            self.fail(&quoted(value), member, &rule);
        }
    }

    /// A required value of an enumeration.
    pub(super) fn required_one_of(
        &mut self,
        member: &str,
        value: Option<String>,
        allowed: &[&str],
    ) -> String {
        if let Some(value) = &value {
            self.one_of(member, value, allowed);
        }
        self.required(member, value)
    }

    /// A text with a length in characters.
    pub(super) fn length(&mut self, member: &str, value: &str, range: RangeInclusive<usize>) {
        let length = value.chars().count();
        self.bound(&quoted(value), member, "length", length, range);
    }

    /// A required blob with a length in bytes. Its content is not repeated in texts.
    pub(super) fn blob(
        &mut self,
        member: &str,
        value: Option<Blob>,
        range: RangeInclusive<usize>,
    ) -> Blob {
        if let Some(value) = &value {
            self.bound("Value", member, "length", value.len(), range);
        }
        self.required(member, value)
    }

    /// The number of elements of a list.
    pub(super) fn list_length(
        &mut self,
        member: &str,
        length: usize,
        range: RangeInclusive<usize>,
    ) {
        self.bound("Value", member, "length", length, range);
    }

    /// A number.
    pub(super) fn number(&mut self, member: &str, value: i64, range: RangeInclusive<i64>) {
        self.bound(&quoted(value), member, "value", value, range);
    }

    /// A pagination limit, with its default filled in.
    pub(super) fn limit(&mut self, value: Option<i64>, default: usize, max: i64) -> usize {
        let Some(value) = value else { return default };
        self.number("limit", value, 1..=max);
        usize::try_from(value).unwrap_or(default)
    }

    /// A required Region.
    pub(super) fn region(&mut self, member: &str, value: Option<String>) -> String {
        let value = self.required_text(member, value);
        if !value.is_empty() {
            self.length(member, &value, 1..=32);
            self.pattern(member, &value, is_region(&value), r"^([a-z]+-){2,3}\d+$");
        }
        value
    }

    /// The id of a custom key store, if there is one.
    pub(super) fn store_id(&mut self, value: Option<&str>) -> Option<()> {
        value.map(|value| self.length("customKeyStoreId", value, 1..=64))
    }

    /// A pagination marker.
    pub(super) fn marker(&mut self, value: Option<&str>) {
        const PATTERN: &str = r"[\u0020-\u00FF]*";
        let Some(value) = value else { return };
        self.length("marker", value, 1..=1024);
        let allowed = |c| ('\u{20}'..='\u{ff}').contains(&c);
        self.pattern("marker", value, value.chars().all(allowed), PATTERN);
    }

    /// A description of key material, of which the length is not checked.
    pub(super) fn material_description(&mut self, value: &str) {
        const PATTERN: &str = r"^[a-zA-Z0-9:/_\s.-]+$";
        let allowed =
            |c: char| c.is_ascii_alphanumeric() || c.is_ascii_whitespace() || ":/_.-".contains(c);
        let matches = !value.is_empty() && value.chars().all(allowed);
        self.pattern("keyMaterialDescription", value, matches, PATTERN);
    }

    /// The id of key material.
    pub(super) fn material_id(&mut self, value: &str) {
        const MEMBER: &str = "keyMaterialId";
        self.length(MEMBER, value, 64..=64);
        let digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        self.pattern(MEMBER, value, value.bytes().all(digit), "^[a-f0-9]+$");
    }

    /// A pattern that a caller has matched.
    fn pattern(&mut self, member: &str, value: &str, matches: bool, pattern: &str) {
        if !matches {
            let rule = format!("Member must satisfy regular expression pattern: {pattern}");
            self.fail(&quoted(value), member, &rule);
        }
    }

    fn bound<T: PartialOrd + Display>(
        &mut self,
        value: &str,
        member: &str,
        what: &str,
        measure: T,
        range: RangeInclusive<T>,
    ) {
        if measure < *range.start() {
            let rule =
                format!("Member must have {what} greater than or equal to {}", range.start());
            self.fail(value, member, &rule);
        } else if measure > *range.end() {
            let rule = format!("Member must have {what} less than or equal to {}", range.end());
            self.fail(value, member, &rule);
        }
    }

    fn fail(&mut self, value: &str, member: &str, rule: &str) {
        self.failures.push(format!("{value} at '{member}' failed to satisfy constraint: {rule}"));
    }
}

/// A combination of parameters that is not allowed.
pub(super) fn invalid(text: impl Into<std::borrow::Cow<'static, str>>) -> KmsError {
    KmsError::new(Exception::Validation, text)
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

    fn report(check: impl FnOnce(&mut Checks)) -> String {
        let mut checks = Checks::new();
        check(&mut checks);
        checks.finish().unwrap_err().message().unwrap().to_owned()
    }

    #[test]
    fn texts_have_the_form_clients_know() {
        assert_eq!(
            report(|checks| {
                checks.key_id("keyId", None);
            }),
            "1 validation error detected: Value null at 'keyId' failed to satisfy constraint: \
             Member must not be null"
        );
        assert_eq!(
            report(|checks| {
                checks.limit(Some(1001), 100, 1000);
            }),
            "1 validation error detected: Value '1001' at 'limit' failed to satisfy constraint: \
             Member must have value less than or equal to 1000"
        );
        assert_eq!(
            report(|checks| checks.one_of("keySpec", "AES_512", &["AES_256", "AES_128"])),
            "1 validation error detected: Value 'AES_512' at 'keySpec' failed to satisfy \
             constraint: Member must satisfy enum value set: [AES_256, AES_128]"
        );
    }

    #[test]
    fn failures_are_counted_and_joined() {
        let text = report(|checks| {
            checks.key_id("keyId", Some(String::new()));
            checks.blob("plaintext", Some(Blob::from(vec![0; 4097])), MESSAGE);
        });
        assert_eq!(
            text,
            "2 validation errors detected: Value '' at 'keyId' failed to satisfy constraint: \
             Member must have length greater than or equal to 1; Value at 'plaintext' failed to \
             satisfy constraint: Member must have length less than or equal to 4096"
        );
    }

    #[test]
    fn long_values_are_not_repeated() {
        let text = report(|checks| {
            checks.key_id("keyId", Some("é".repeat(1 << 20)));
        });
        assert!(text.len() < 1024);
        assert!(text.contains(&format!("'{}...'", "é".repeat(MAX_ECHO))));
    }
}
