//! Condition operators, as policies name them.

use std::cmp::Ordering;
use std::fmt;

use crate::key::KeyType;

/// A condition operator with its set prefix and its suffix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Operator {
    pub(crate) test: Test,
    pub(crate) set: Option<Set>,
    /// Whether it holds when the key is missing.
    pub(crate) if_exists: bool,
}

/// How an operator treats the values of a multivalued key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Set {
    /// `ForAllValues`
    All,
    /// `ForAnyValue`
    Any,
}

/// What an operator asks of one value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Test {
    /// The key is missing, or it is not.
    Null,
    /// One of the policy's values compares in this way, or none does.
    Compare(Comparison, Sense),
}

/// Whether one of the policy's values has to compare, or none of them may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sense {
    Positive,
    Negated,
}

/// How values are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Comparison {
    Text,
    TextIgnoringCase,
    TextLike,
    Arn,
    Bool,
    Binary,
    Address,
    Number(Relation),
    Date(Relation),
}

/// The relation of the request's value to the policy's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Relation {
    Equal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Relation {
    pub(crate) const fn holds(self, ordering: Ordering) -> bool {
        match self {
            Self::Equal => ordering.is_eq(),
            Self::Less => ordering.is_lt(),
            Self::LessOrEqual => ordering.is_le(),
            Self::Greater => ordering.is_gt(),
            Self::GreaterOrEqual => ordering.is_ge(),
        }
    }
}

/// Every operator without prefix and suffix.
const TABLE: [(&str, Comparison, Sense); 26] = {
    use Comparison::{Address, Arn, Binary, Bool, Date, Number, Text, TextIgnoringCase, TextLike};
    use Relation::{Equal, Greater, GreaterOrEqual, Less, LessOrEqual};
    use Sense::{Negated, Positive};
    [
        ("StringEquals", Text, Positive),
        ("StringNotEquals", Text, Negated),
        ("StringEqualsIgnoreCase", TextIgnoringCase, Positive),
        ("StringNotEqualsIgnoreCase", TextIgnoringCase, Negated),
        ("StringLike", TextLike, Positive),
        ("StringNotLike", TextLike, Negated),
        ("NumericEquals", Number(Equal), Positive),
        ("NumericNotEquals", Number(Equal), Negated),
        ("NumericLessThan", Number(Less), Positive),
        ("NumericLessThanEquals", Number(LessOrEqual), Positive),
        ("NumericGreaterThan", Number(Greater), Positive),
        ("NumericGreaterThanEquals", Number(GreaterOrEqual), Positive),
        ("DateEquals", Date(Equal), Positive),
        ("DateNotEquals", Date(Equal), Negated),
        ("DateLessThan", Date(Less), Positive),
        ("DateLessThanEquals", Date(LessOrEqual), Positive),
        ("DateGreaterThan", Date(Greater), Positive),
        ("DateGreaterThanEquals", Date(GreaterOrEqual), Positive),
        ("Bool", Bool, Positive),
        ("BinaryEquals", Binary, Positive),
        ("IpAddress", Address, Positive),
        ("NotIpAddress", Address, Negated),
        ("ArnEquals", Arn, Positive),
        ("ArnLike", Arn, Positive),
        ("ArnNotEquals", Arn, Negated),
        ("ArnNotLike", Arn, Negated),
    ]
};

impl Operator {
    /// Reads a name such as `ForAllValues:StringEqualsIfExists`. `Null` has neither prefix nor
    /// suffix: it is about the key, not its values.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        if text == "Null" {
            return Some(Self { test: Test::Null, set: None, if_exists: false });
        }
        let (set, name) = match text.split_once(':') {
            Some(("ForAllValues", name)) => (Some(Set::All), name),
            Some(("ForAnyValue", name)) => (Some(Set::Any), name),
            Some(_) => return None,
            None => (None, text),
        };
        let (name, if_exists) = match name.strip_suffix("IfExists") {
            Some(name) => (name, true),
            None => (name, false),
        };
        let (_, comparison, sense) = TABLE.iter().find(|(own, ..)| *own == name)?;
        Some(Self { test: Test::Compare(*comparison, *sense), set, if_exists })
    }

    /// Whether the operator can compare values of that type. Text operators can with all, and
    /// text is whatever it holds.
    pub(crate) const fn suits(self, value_type: KeyType) -> bool {
        use KeyType as Type;
        let Test::Compare(comparison, _) = self.test else { return true };
        match comparison {
            Comparison::Text | Comparison::TextIgnoringCase | Comparison::TextLike => true,
            Comparison::Arn => matches!(value_type, Type::Arn | Type::Text | Type::List),
            Comparison::Bool => matches!(value_type, Type::Bool),
            Comparison::Binary => false,
            Comparison::Address => matches!(value_type, Type::Address),
            Comparison::Number(_) | Comparison::Date(_) => {
                matches!(value_type, Type::Number | Type::Date)
            }
        }
    }
}

impl fmt::Display for Operator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.set {
            None => "",
            Some(Set::All) => "ForAllValues:",
            Some(Set::Any) => "ForAnyValue:",
        })?;
        f.write_str(match self.test {
            Test::Null => "Null",
            Test::Compare(comparison, sense) => TABLE
                .iter()
                .find(|(_, own, own_sense)| (*own, *own_sense) == (comparison, sense))
                .map_or("", |(name, ..)| name),
        })?;
        f.write_str(if self.if_exists { "IfExists" } else { "" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operator_has_every_form() {
        for (name, ..) in TABLE {
            for prefix in ["", "ForAllValues:", "ForAnyValue:"] {
                for suffix in ["", "IfExists"] {
                    let text = format!("{prefix}{name}{suffix}");
                    let shown = Operator::parse(&text).unwrap().to_string();
                    // ArnEquals and ArnLike are one operator.
                    let same = name.starts_with("Arn") || shown == text;
                    assert!(same && Operator::parse(&shown) == Operator::parse(&text), "{text}");
                }
            }
        }
        assert_eq!(Operator::parse("Null").unwrap().to_string(), "Null");
    }

    #[test]
    fn what_is_no_operator_is_refused() {
        for text in [
            "",
            "stringEquals",
            "StringEqualsifexists",
            "NullIfExists",
            "ForAllValues:Null",
            "ForAllValues",
            "ForAllValues:",
            "forAllValues:StringEquals",
            "ForAllValues:ForAnyValue:StringEquals",
            "StringEqualsIfExistsIfExists",
            "BinaryNotEquals",
            "IfExists",
        ] {
            assert_eq!(Operator::parse(text), None, "{text}");
        }
    }
}
