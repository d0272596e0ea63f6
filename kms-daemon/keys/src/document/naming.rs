//! Other names for principals in the text of a policy. All else stays as it was put, to the space.

use std::collections::BTreeMap;

/// Replaces the names of principals in `text`, which is the JSON of a policy.
pub(super) fn replace(text: &str, names: &BTreeMap<&str, String>) -> String {
    let mut scanner = Scanner { text, at: 0, names, copied: 0, out: String::new() };
    scanner.value(Place::Document);
    scanner.out + text.get(scanner.copied..).unwrap_or_default()
}

/// What a value is in a policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Document,
    Statement,
    Principals,
    Elsewhere,
}

impl Place {
    fn of_member(self, name: &str) -> Self {
        match (self, name) {
            (Self::Document, "Statement") => Self::Statement,
            (Self::Statement, "Principal" | "NotPrincipal") => Self::Principals,
            (Self::Principals, "AWS") => Self::Principals,
            _ => Self::Elsewhere,
        }
    }
}

/// Reads JSON, which has been read as a policy before: it is well-formed, and nested no deeper than
/// that allows.
struct Scanner<'a> {
    text: &'a str,
    at: usize,
    names: &'a BTreeMap<&'a str, String>,
    /// How much of the text is in `out`.
    copied: usize,
    out: String,
}

impl<'a> Scanner<'a> {
    fn value(&mut self, place: Place) {
        match self.peek() {
            Some(b'{') => self.members(place),
            Some(b'[') => self.elements(place),
            Some(b'"') => self.name(place),
            _ => {
                let rest = self.text.get(self.at..).unwrap_or_default();
                self.at += rest.find([',', ']', '}']).unwrap_or(rest.len());
            }
        }
    }

    fn members(&mut self, place: Place) {
        self.at += 1;
        while self.peek() == Some(b'"') {
            let name = decode(self.string());
            self.skip(b':');
            self.value(place.of_member(&name));
            self.skip(b',');
        }
        self.skip(b'}');
    }

    fn elements(&mut self, place: Place) {
        self.at += 1;
        while self.peek().is_some_and(|byte| byte != b']') {
            self.value(place);
            self.skip(b',');
        }
        self.skip(b']');
    }

    fn name(&mut self, place: Place) {
        let start = self.at;
        let literal = self.string();
        if place != Place::Principals {
            return;
        }
        // Names are of ARNs, roles and sessions, which have nothing that JSON escapes.
        if let Some(name) = self.names.get(&*decode(literal)) {
            let before = self.text.get(self.copied..start).unwrap_or_default();
            self.out.extend([before, "\"", name, "\""]);
            self.copied = self.at;
        }
    }

    /// A string with its quotation marks, which begins here.
    fn string(&mut self) -> &'a str {
        let rest = self.text.get(self.at..).unwrap_or_default();
        let mut escaped = false;
        let end = rest.bytes().enumerate().skip(1).find(|(_, byte)| {
            let ends = *byte == b'"' && !escaped;
            escaped = *byte == b'\\' && !escaped;
            ends
        });
        let length = end.map_or(rest.len(), |(end, _)| end + 1);
        self.at += length;
        rest.get(..length).unwrap_or_default()
    }

    /// The byte after white space, of which it is put to the end.
    fn peek(&mut self) -> Option<u8> {
        let rest = self.text.get(self.at..).unwrap_or_default();
        self.at += rest.len() - rest.trim_start_matches([' ', '\t', '\n', '\r']).len();
        self.text.as_bytes().get(self.at).copied()
    }

    fn skip(&mut self, byte: u8) {
        if self.peek() == Some(byte) {
            self.at += 1;
        }
    }
}

/// The text of a string literal.
fn decode(literal: &str) -> String {
    serde_json::from_str(literal).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROLE: &str = "arn:aws:iam::111122223333:role/app";

    fn shown(text: &str) -> String {
        replace(text, &BTreeMap::from([(ROLE, "AROA0123".to_owned())]))
    }

    #[test]
    fn only_principals_change() {
        let text = r#"{ "Version" : "2012-10-17",
  "Id": "@",
  "Statement": [
    {"Sid": "a \" \\", "Effect":"Allow", "Principal": {"AWS":"@"}, "Action":["kms:*","@"],
     "Resource":"*", "Condition":{"StringEquals":{"aws:PrincipalArn":"@","Principal":["@"]}} },
    {"Effect":"Deny","NotPrincipal":{"AWS":[ "x", "@" , "@"],"Service":"@"},"Action":"*"}
  ] , "Number": [1, -2e3,true, null, {}, [] ] }
"#;
        let put = text.replace('@', ROLE);
        let principal = r#"{"AWS":"@"}"#;
        let except = r#""AWS":[ "x", "@" , "@"]"#;
        let other = |part: &str| part.replace('@', "AROA0123");
        let expected = text.replace(principal, &other(principal)).replace(except, &other(except));
        assert_eq!(shown(&put), expected.replace('@', ROLE));
    }

    #[test]
    fn one_statement_and_escapes_are_read() {
        let escaped = ROLE.replace('/', "\\/").replace(":role", "\\u003arole");
        let put = format!(r#"{{"Statement":{{"\u0050rincipal":{{"AWS":"{escaped}"}}}}}}"#);
        let expected = r#"{"Statement":{"\u0050rincipal":{"AWS":"AROA0123"}}}"#;
        assert_eq!(shown(&put), expected);
    }

    #[test]
    fn what_is_no_policy_ends() {
        for text in
            ["", "{", "[", "\"", "{\"a", "{\"a\":", "{\"Statement\":[{]", "}", "[,", "é", "{,}"]
        {
            assert_eq!(shown(text), text);
        }
    }
}
