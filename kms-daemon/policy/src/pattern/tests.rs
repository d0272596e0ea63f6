use super::*;
use crate::texts::Texts;

const ALL: Syntax = Syntax { wildcards: true, variables: true };

/// Has `aws:username` and `s3:prefix`, whose values look like patterns, and a list.
struct Sample;

impl crate::context::Context for Sample {
    fn value(&self, key: &ConditionKey) -> Option<Value<'_>> {
        match key.text().to_lowercase().as_str() {
            "aws:username" => Some(Value::from("ana")),
            "s3:prefix" => Some(Value::from("*${aws:username}?")),
            "aws:currenttime" => Some(Value::Date(0)),
            "aws:tagkeys" => Some(Value::List(&["a"])),
            "kms:encryptioncontext:a" => Some(Value::Unknown),
            _ => None,
        }
    }
}

fn matches(pattern: &str, text: &str) -> Result<bool, Unresolved> {
    Pattern::parse(pattern, ALL).unwrap().matches(text, &Metered::new(&Sample))
}

#[test]
fn wildcards_match_characters() {
    for (pattern, text, expected) in [
        ("", "", true),
        ("", "a", false),
        ("*", "", true),
        ("**", "abc", true),
        ("?", "", false),
        ("?", "é", true),
        ("??", "é", false),
        ("a*", "abc", true),
        ("*c", "abc", true),
        ("*c", "abcd", false),
        ("a*c*e", "abcde", true),
        ("a*c*e", "abcd", false),
        ("*ab", "aab", true),
        ("*aab", "aaab", true),
        ("a?c", "abc", true),
        ("A", "a", false),
        ("*é*", "caféx", true),
        ("a*b?c*d", "a--bxbyc-d", true),
        ("[a]", "a", false),
        ("a\\*", "ab", false),
    ] {
        assert_eq!(matches(pattern, text), Ok(expected), "{pattern} {text}");
    }
}

#[test]
fn many_wildcards_take_no_exponential_time() {
    let pattern = "*a".repeat(200);
    assert_eq!(matches(&format!("{pattern}b"), &"a".repeat(2_000)), Ok(false));
    assert_eq!(matches(&pattern, &"a".repeat(2_000)), Ok(true));
}

#[test]
fn variables_stand_for_literal_text() {
    for (pattern, text, expected) in [
        ("${aws:username}", "ana", Ok(true)),
        ("${AWS:UserName}", "ana", Ok(true)),
        ("home/${aws:username}/*", "home/ana/x", Ok(true)),
        ("home/${aws:username}/*", "home/bob/x", Ok(false)),
        ("${s3:prefix}", "*${aws:username}?", Ok(true)),
        ("${s3:prefix}", "anything", Ok(false)),
        ("${aws:CurrentTime}", "1970-01-01T00:00:00Z", Ok(true)),
        ("${*}${?}${$}", "*?$", Ok(true)),
        ("${*}", "x", Ok(false)),
        ("$${?}", "$?", Ok(true)),
        ("$x", "$x", Ok(true)),
        ("{}", "{}", Ok(true)),
        // No value, and several.
        ("x${aws:userid}", "x", Err(Unresolved::NoValue)),
        ("${aws:TagKeys}", "a", Err(Unresolved::NoValue)),
        ("${aws:TagKeys, 'a'}", "a", Err(Unresolved::NoValue)),
        ("${kms:EncryptionContext:a, 'x'}", "x", Err(Unresolved::Unknown)),
        ("${aws:userid, 'nobody'}", "nobody", Ok(true)),
        ("${aws:userid,'a}b'}", "a}b", Ok(true)),
        ("${aws:userid, '*'}", "x", Ok(false)),
        ("${aws:userid, ''}", "", Ok(true)),
        ("${aws:username, 'nobody'}", "ana", Ok(true)),
    ] {
        assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
    }
}

#[test]
fn broken_variables_are_refused() {
    for text in [
        "${",
        "${}",
        "${aws:username",
        "${username}",
        "${aws:username, nobody}",
        "${aws:username, 'nobody}",
        "${aws:username,}",
        "${,'x'}",
        "${**}",
        "a${b c:d}",
    ] {
        assert_eq!(Pattern::parse(text, ALL), Err(Fault::Variable(text.to_owned())), "{text}");
        let plain = Syntax { wildcards: false, variables: false };
        assert!(Pattern::parse(text, plain).unwrap().matches_literal(text));
    }
}

#[test]
fn case_is_ignored_on_request() {
    let matches = |pattern: &str, text: &str| {
        let syntax = Syntax { wildcards: false, variables: true };
        let texts = Texts::new(vec![Pattern::parse(pattern, syntax).unwrap()], true);
        let context = Metered::new(&Sample);
        texts.any_matches(text, &texts.prepare(&context), &context)
    };
    for (pattern, text, expected) in [
        ("ABC", "aBc", Some(true)),
        ("É", "é", Some(true)),
        ("É", "e", Some(false)),
        ("ΑΣ", "ας", Some(true)),
        ("\u{212a}", "k", Some(true)),
        ("x-${aws:username}", "X-ANA", Some(true)),
        ("x-${aws:username}", "X-BOB", Some(false)),
        ("${aws:userid}", "x", Some(false)),
        ("${kms:EncryptionContext:a}", "x", None),
        ("*", "x", Some(false)),
    ] {
        assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
    }
}

#[test]
fn fields_end_at_colons_outside_of_variables() {
    assert_eq!(split_fields("a:b:c", 1, true), ["a", "b:c"]);
    assert_eq!(split_fields("a:${b:c}:d:", 5, true), ["a", "${b:c}", "d", ""]);
    assert_eq!(split_fields("a:${b:c}:d:", 5, false), ["a", "${b", "c}", "d", ""]);
    // What does not end has no fields, and is refused when it is read.
    assert_eq!(split_fields("a:${b:c", 5, true), ["a", "${b:c"]);
    assert_eq!(split_fields("", 5, true), [""]);
}
