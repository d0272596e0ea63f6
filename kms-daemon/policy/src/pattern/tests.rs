use super::*;

const ALL: Syntax = Syntax { wildcards: true, variables: true };

/// Has `aws:username` and `s3:prefix`, whose values look like patterns, and a list.
struct Sample;

impl Context for Sample {
    fn value(&self, key: &ConditionKey) -> Option<Value<'_>> {
        match key.text().to_lowercase().as_str() {
            "aws:username" => Some(Value::from("ana")),
            "s3:prefix" => Some(Value::from("*${aws:username}?")),
            "aws:currenttime" => Some(Value::Date(0)),
            "aws:tagkeys" => Some(Value::List(&["a"])),
            _ => None,
        }
    }
}

fn matches(pattern: &str, text: &str) -> Option<bool> {
    Pattern::parse(pattern, ALL).unwrap().matches(text, &Sample)
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
        assert_eq!(matches(pattern, text), Some(expected), "{pattern} {text}");
    }
}

#[test]
fn many_wildcards_take_no_exponential_time() {
    let pattern = "*a".repeat(200);
    assert_eq!(matches(&format!("{pattern}b"), &"a".repeat(2_000)), Some(false));
    assert_eq!(matches(&pattern, &"a".repeat(2_000)), Some(true));
}

#[test]
fn variables_stand_for_literal_text() {
    for (pattern, text, expected) in [
        ("${aws:username}", "ana", Some(true)),
        ("${AWS:UserName}", "ana", Some(true)),
        ("home/${aws:username}/*", "home/ana/x", Some(true)),
        ("home/${aws:username}/*", "home/bob/x", Some(false)),
        ("${s3:prefix}", "*${aws:username}?", Some(true)),
        ("${s3:prefix}", "anything", Some(false)),
        ("${aws:CurrentTime}", "1970-01-01T00:00:00Z", Some(true)),
        ("${*}${?}${$}", "*?$", Some(true)),
        ("${*}", "x", Some(false)),
        ("$${?}", "$?", Some(true)),
        ("$x", "$x", Some(true)),
        ("{}", "{}", Some(true)),
        // No value, and several.
        ("x${aws:userid}", "x", None),
        ("${aws:TagKeys}", "a", None),
        ("${aws:TagKeys, 'a'}", "a", None),
        ("${aws:userid, 'nobody'}", "nobody", Some(true)),
        ("${aws:userid,'a}b'}", "a}b", Some(true)),
        ("${aws:userid, '*'}", "x", Some(false)),
        ("${aws:userid, ''}", "", Some(true)),
        ("${aws:username, 'nobody'}", "ana", Some(true)),
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
        Pattern::parse(pattern, syntax).unwrap().matches_ignoring_case(text, &Sample)
    };
    assert_eq!(matches("ABC", "aBc"), Some(true));
    assert_eq!(matches("É", "é"), Some(true));
    assert_eq!(matches("É", "e"), Some(false));
    assert_eq!(matches("x-${aws:username}", "X-ANA"), Some(true));
    assert_eq!(matches("${aws:userid}", "x"), None);
    assert_eq!(matches("*", "x"), Some(false));
}

#[test]
fn fields_end_at_colons_outside_of_variables() {
    assert_eq!(split_fields("a:b:c", 1, true), ["a", "b:c"]);
    assert_eq!(split_fields("a:${b:c}:d:", 5, true), ["a", "${b:c}", "d", ""]);
    assert_eq!(split_fields("a:${b:c}:d:", 5, false), ["a", "${b", "c}", "d", ""]);
    assert_eq!(split_fields("${b:c", 5, true), ["${b", "c"]);
    assert_eq!(split_fields("", 5, true), [""]);
}
