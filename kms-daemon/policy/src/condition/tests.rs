use super::*;
use crate::context::Context;

/// A context of one key and its value.
struct One(Option<Value<'static>>);

impl Context for One {
    fn value(&self, key: &ConditionKey) -> Option<Value<'_>> {
        match key.text() {
            "x:key" => self.0.clone(),
            "aws:username" => Some(Value::from("ana")),
            "aws:SourceIdentity" => Some(Value::Unknown),
            _ => None,
        }
    }
}

fn text(text: &'static str) -> Option<Value<'static>> {
    Some(Value::from(text))
}

fn parse(operator: &str, values: &str) -> Result<Condition, PolicyError> {
    let key = ConditionKey::parse("x:key").unwrap();
    Condition::parse(Operator::parse(operator).unwrap(), key, Json::parse(values).unwrap(), true)
}

fn holds(operator: &str, values: &str, value: Option<Value<'static>>) -> Option<bool> {
    parse(operator, values).unwrap().holds(&Metered::new(&One(value)))
}

/// An operator, its values, a value for which the condition holds, and one for which it does not.
const OPERATORS: [(&str, &str, &str, &str); 47] = [
    ("StringEquals", r#"["b","a"]"#, "a", "A"),
    ("StringEquals", r#""*""#, "*", "a"),
    ("StringEquals", r#""${aws:username}""#, "ana", "${aws:username}"),
    ("StringEquals", "12", "12", "012"),
    ("StringEquals", "true", "true", "True"),
    ("StringNotEquals", r#"["b","a"]"#, "c", "b"),
    ("StringNotEquals", r#""${aws:username}""#, "bob", "ana"),
    ("StringEqualsIgnoreCase", r#"["b","a"]"#, "A", "c"),
    ("StringNotEqualsIgnoreCase", r#"["b","a"]"#, "c", "A"),
    ("StringLike", r#"["a*","?b"]"#, "ab", "cab"),
    ("StringLike", r#""A*""#, "Ab", "ab"),
    ("StringNotLike", r#"["a*","?b"]"#, "cab", "xb"),
    ("NumericEquals", r#"[1,"2.50"]"#, "2.5", "2"),
    ("NumericNotEquals", r#"[1,"2.50"]"#, "2", "2.5"),
    ("NumericLessThan", "10", "9", "10"),
    ("NumericLessThan", "[5,10]", "9", "10"),
    ("NumericLessThanEquals", "10", "10.0", "10.1"),
    ("NumericGreaterThan", "-1", "-0.5", "-1"),
    ("NumericGreaterThanEquals", "0.5", "0.50", "0.49"),
    ("DateEquals", r#""2026-11-26""#, "2026-11-26T00:00:00Z", "2026-11-27"),
    ("DateEquals", "1795651200", "2026-11-26T01:00+01:00", "2026-11-26T01:00Z"),
    ("DateNotEquals", r#""2026-11-26""#, "2026-11-27", "1795651200"),
    ("DateLessThan", r#""2026-11-26T12:00Z""#, "2026-11-26", "2026-11-26T12:00:00Z"),
    ("DateLessThanEquals", r#""2026-11-26T12:00Z""#, "2026-11-26T12:00:00Z", "2026-11-26T12:01Z"),
    ("DateGreaterThan", r#""2026-11-26T12:00Z""#, "2026-11-27", "2026-11-26T12:00Z"),
    ("DateGreaterThanEquals", r#""2026-11-26""#, "1795651200", "1795651199"),
    ("Bool", r#""true""#, "TRUE", "false"),
    ("Bool", "false", "false", "true"),
    ("BinaryEquals", r#""QmFzZTY0""#, "QmFzZTY0", "QMFzZTY0"),
    ("IpAddress", r#"["192.0.2.0/24","2001:db8::/32"]"#, "192.0.2.9", "192.0.3.9"),
    ("IpAddress", r#""2001:db8::1""#, "2001:DB8::1", "2001:db8::2"),
    ("NotIpAddress", r#"["192.0.2.0/24","2001:db8::/32"]"#, "192.0.3.9", "2001:db8::7"),
    (
        "ArnEquals",
        r#""arn:aws:iam::1:role/*""#,
        "arn:aws:iam::1:role/a/b",
        "arn:aws:iam::12:role/a",
    ),
    ("ArnLike", r#""arn:aws:*:*:1:x""#, "arn:aws:a::1:x", "arn:aws:a:b:c:1:x"),
    (
        "ArnLike",
        r#""arn:aws:iam::1:user/${aws:username}""#,
        "arn:aws:iam::1:user/ana",
        "arn:aws:iam::1:user/bob",
    ),
    ("ArnLike", r#""*""#, "arn:aws:iam::1:root", "1"),
    (
        "ArnNotEquals",
        r#""arn:aws:iam::1:role/*""#,
        "arn:aws:iam::2:role/a",
        "arn:aws:iam::1:role/a",
    ),
    ("ArnNotLike", r#""arn:aws:iam::1:role/*""#, "no ARN", "arn:aws:iam::1:role/a"),
    ("ForAnyValue:StringEquals", r#"["a","b"]"#, "a", "c"),
    ("ForAllValues:StringEquals", r#"["a","b"]"#, "b", "c"),
    ("ForAnyValue:StringNotEquals", r#"["a","b"]"#, "c", "a"),
    ("ForAllValues:StringNotLike", r#"["a*","b"]"#, "c", "ab"),
    ("StringEqualsIfExists", r#""a""#, "a", "b"),
    ("NumericLessThanIfExists", "3", "2", "3"),
    ("ForAnyValue:NumericEquals", "[1,2]", "2", "3"),
    ("ForAllValues:BoolIfExists", "true", "true", "false"),
    ("Null", "false", "x", ""),
];

#[test]
fn operators_compare() {
    for (operator, values, yes, no) in OPERATORS {
        assert_eq!(holds(operator, values, text(yes)), Some(true), "{operator} {values} {yes}");
        assert_eq!(holds(operator, values, text(no)), Some(false), "{operator} {values} {no}");
    }
}

#[test]
fn typed_values_compare_like_their_text() {
    let address = |text: &str| Some(Value::Address(text.parse().unwrap()));
    for (operator, values, value, expected) in [
        ("StringEquals", r#""true""#, Some(Value::Bool(true)), true),
        ("Bool", "true", Some(Value::Bool(true)), true),
        ("NumericEquals", "7", Some(Value::Number(7)), true),
        ("StringEquals", "7", Some(Value::Number(7)), true),
        ("DateEquals", r#""1970-01-01T00:00:07Z""#, Some(Value::Number(7)), true),
        ("NumericEquals", "7", Some(Value::Date(7)), true),
        ("StringLike", r#""1970-*""#, Some(Value::Date(7)), true),
        ("IpAddress", r#""192.0.2.0/24""#, address("::ffff:192.0.2.1"), true),
        ("StringEquals", r#""192.0.2.1""#, address("::ffff:192.0.2.1"), true),
        ("IpAddress", r#""192.0.2.0/24""#, address("2001:db8::1"), false),
    ] {
        assert_eq!(holds(operator, values, value), Some(expected), "{operator} {values}");
    }
}

#[test]
fn a_missing_key_satisfies_negations_only() {
    for (operator, values, _, _) in OPERATORS {
        let negated = operator.contains("Not") && !operator.starts_with("ForAnyValue");
        let expected = match operator {
            "Null" => false,
            _ => operator.ends_with("IfExists") || operator.starts_with("ForAllValues") || negated,
        };
        assert_eq!(holds(operator, values, None), Some(expected), "{operator}");
        let empty = Some(Value::List(&[] as &[&str; 0]));
        assert_eq!(holds(operator, values, empty), Some(expected), "{operator}, empty");
    }
    assert_eq!(holds("ForAnyValue:StringEqualsIfExists", r#""a""#, None), Some(true));
    assert_eq!(holds("ForAnyValue:StringNotEqualsIfExists", r#""a""#, None), Some(true));
}

#[test]
fn null_asks_for_presence() {
    for (values, missing, present) in
        [("true", true, false), (r#""False""#, false, true), ("[true,false]", true, true)]
    {
        assert_eq!(holds("Null", values, None), Some(missing), "{values}");
        assert_eq!(holds("Null", values, text("")), Some(missing), "{values}");
        assert_eq!(holds("Null", values, text("x")), Some(present), "{values}");
        assert_eq!(holds("Null", values, Some(Value::Bool(false))), Some(present), "{values}");
        assert_eq!(holds("Null", values, Some(Value::List(&["x"]))), Some(present), "{values}");
        assert_eq!(holds("Null", values, Some(Value::Unknown)), None, "{values}");
    }
}

#[test]
fn sets_are_compared_value_by_value() {
    let list = |list: &'static Vec<&'static str>| Some(Value::List(list));
    static AB: std::sync::LazyLock<Vec<&str>> = std::sync::LazyLock::new(|| vec!["a", "b"]);
    for (operator, values, expected) in [
        ("ForAllValues:StringEquals", r#"["a","b","c"]"#, Some(true)),
        ("ForAllValues:StringEquals", r#"["a"]"#, Some(false)),
        ("ForAllValues:StringLike", r#""?""#, Some(true)),
        ("ForAnyValue:StringEquals", r#"["b"]"#, Some(true)),
        ("ForAnyValue:StringEquals", r#"["c"]"#, Some(false)),
        ("ForAnyValue:StringNotEquals", r#"["a"]"#, Some(true)),
        ("ForAnyValue:StringNotEquals", r#"["a","b"]"#, Some(false)),
        ("ForAllValues:StringNotEquals", r#"["c"]"#, Some(true)),
        ("ForAllValues:StringNotEquals", r#"["b"]"#, Some(false)),
        // It is undefined which of the two values to compare.
        ("StringEquals", r#"["a","b"]"#, None),
        ("StringNotEquals", r#"["c"]"#, None),
    ] {
        assert_eq!(holds(operator, values, list(&AB)), expected, "{operator} {values}");
    }
    assert_eq!(holds("StringEquals", r#""a""#, Some(Value::List(&["a"]))), Some(true));
    assert_eq!(holds("StringNotEquals", r#""a""#, Some(Value::List(&["a"]))), Some(false));
}

#[test]
fn a_variable_without_value_matches_nothing() {
    for (operator, expected) in [
        ("StringEquals", false),
        ("StringLike", false),
        ("StringEqualsIgnoreCase", false),
        ("ArnLike", false),
        ("StringNotEquals", true),
        ("StringNotLike", true),
        ("ArnNotEquals", true),
    ] {
        let values = r#"["arn:aws:iam::1:user/${aws:userid}", "arn:aws:iam::1:user/y"]"#;
        let value = "arn:aws:iam::1:user/";
        assert_eq!(holds(operator, values, text(value)), Some(expected), "{operator}");
        // The other value is still compared.
        let value = "arn:aws:iam::1:user/y";
        assert_eq!(holds(operator, values, text(value)), Some(!expected), "{operator}");
    }
}

#[test]
fn what_cannot_be_compared_cannot_be_told() {
    for (operator, values) in [
        ("NumericEquals", "1"),
        ("NumericNotEquals", "1"),
        ("NumericLessThanIfExists", "1"),
        ("DateGreaterThan", "1"),
        ("Bool", "true"),
        ("BinaryEquals", r#""QQ==""#),
        ("IpAddress", r#""0.0.0.0/0""#),
        ("NotIpAddress", r#""0.0.0.0/0""#),
        ("ForAllValues:NumericEquals", "1"),
        ("ForAnyValue:NumericNotEquals", "1"),
    ] {
        assert_eq!(holds(operator, values, text("!")), None, "{operator}");
        assert_eq!(holds(operator, values, Some(Value::Unknown)), None, "{operator}");
    }
    let variable = r#"["${aws:SourceIdentity}", "a"]"#;
    for operator in ["StringEquals", "StringNotLike", "StringEqualsIgnoreCase"] {
        assert_eq!(holds(operator, variable, text("b")), None, "{operator}");
    }
    // One value decides nevertheless.
    assert_eq!(holds("StringEquals", variable, text("a")), Some(true));
    assert_eq!(holds("StringNotEquals", variable, text("a")), Some(false));
    static MIXED: std::sync::LazyLock<Vec<&str>> = std::sync::LazyLock::new(|| vec!["!", "1"]);
    let mixed = || Some(Value::List(&*MIXED));
    assert_eq!(holds("ForAnyValue:NumericEquals", "1", mixed()), Some(true));
    assert_eq!(holds("ForAnyValue:NumericEquals", "2", mixed()), None);
    assert_eq!(holds("ForAllValues:NumericEquals", "2", mixed()), Some(false));
    assert_eq!(holds("ForAllValues:NumericEquals", "1", mixed()), None);
}

#[test]
fn values_that_cannot_be_compared_with_are_refused() {
    for (operator, values) in [
        ("StringEquals", "[]"),
        ("StringEquals", "null"),
        ("StringEquals", "{}"),
        ("StringEquals", "[[]]"),
        ("StringEquals", "1.5"),
        ("StringEquals", r#""${aws:username""#),
        ("NumericEquals", r#""a""#),
        ("NumericEquals", r#""${aws:username}""#),
        ("NumericEquals", "true"),
        ("NumericEquals", "1e30"),
        ("DateEquals", r#""yesterday""#),
        ("DateEquals", r#""2026-*""#),
        ("Bool", r#""yes""#),
        ("Bool", "1"),
        ("BinaryEquals", r#""?""#),
        ("IpAddress", r#""192.0.2.*""#),
        ("ArnLike", r#""role/x""#),
        ("ArnEquals", r#""arn:aws:iam::*""#),
        ("Null", r#""maybe""#),
    ] {
        assert!(parse(operator, values).is_err(), "{operator} {values}");
    }
    assert!(parse("NumericEquals", "1.5").is_ok());
}
