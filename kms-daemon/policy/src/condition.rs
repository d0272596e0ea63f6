//! Conditions: one operator applied to one key of the request's context.
//!
//! Source: the IAM User Guide, "Condition operators", "Conditions with multiple context keys or
//! values" and "Single-valued vs. multivalued context keys".

use crate::arn::ArnPattern;
use crate::context::{Context, List, Value};
use crate::date::Instant;
use crate::error::{Fault, PolicyError};
use crate::json::Json;
use crate::key::{ConditionKey, Name};
use crate::operand::{Decimal, Network, decode_base64};
use crate::operator::{Comparison, Operator, Relation, Sense, Set, Test};
use crate::pattern::{self, Pattern, Syntax};

/// A compiled condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Condition {
    pub(crate) operator: Operator,
    pub(crate) key: ConditionKey,
    operands: Operands,
}

/// The policy's values, in the form in which they are compared.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Operands {
    /// Whether the key may be missing, and whether it may be there.
    Null {
        absent: bool,
        present: bool,
    },
    Text(Box<[Pattern]>),
    TextIgnoringCase(Box<[Pattern]>),
    Arn(Box<[ArnPattern]>),
    Bool(Box<[bool]>),
    Binary(Box<[Vec<u8>]>),
    Address(Box<[Network]>),
    Number(Relation, Box<[Decimal]>),
    Date(Relation, Box<[Instant]>),
}

impl Condition {
    /// Reads the values of a condition.
    pub(crate) fn parse(
        operator: Operator,
        key: ConditionKey,
        values: Json,
        variables: bool,
    ) -> Result<Self, PolicyError> {
        let values = values.one_or_many();
        if values.is_empty() {
            return Err(Fault::Empty.into());
        }
        let operands = Operands::parse(operator.test, values, variables)?;
        Ok(Self { operator, key, operands })
    }

    /// Whether the condition holds; `None` if that cannot be told.
    pub(crate) fn holds(&self, context: &dyn Context) -> Option<bool> {
        let value = context.value(&self.key);
        if let Operands::Null { absent, present } = self.operands {
            return match value {
                Some(Value::Unknown) => None,
                Some(Value::List(list)) if is_empty(list) => Some(absent),
                Some(Value::Text(text)) if text.is_empty() => Some(absent),
                None => Some(absent),
                Some(_) => Some(present),
            };
        }
        match value {
            None => Some(self.holds_without_value()),
            Some(Value::Unknown) => None,
            Some(Value::List(list)) if is_empty(list) => Some(self.holds_without_value()),
            Some(Value::List(list)) => match self.operator.set {
                Some(Set::All) => self.any_value(list, false, context).map(|failed| !failed),
                Some(Set::Any) => self.any_value(list, true, context),
                // A plain operator compares one value. Which of several, IAM leaves open.
                None if is_single(list) => self.any_value(list, true, context),
                None => None,
            },
            Some(value) => self.holds_for(&value, context),
        }
    }

    /// Whether it holds only for principals whose ARNs it has.
    pub(crate) fn names_principals(&self) -> bool {
        let Operator { test, set, if_exists } = self.operator;
        let positive = matches!(test, Test::Compare(_, Sense::Positive));
        self.key.name() == Name::PrincipalArn && positive && set.is_none() && !if_exists
    }

    /// Whether it holds when the key is missing or has no values.
    fn holds_without_value(&self) -> bool {
        self.operator.if_exists
            || match self.operator.set {
                Some(Set::All) => true,
                Some(Set::Any) => false,
                None => matches!(self.operator.test, Test::Compare(_, Sense::Negated)),
            }
    }

    /// Whether the outcome for one of the values is `wanted`.
    fn any_value(&self, list: &dyn List, wanted: bool, context: &dyn Context) -> Option<bool> {
        let mut unknown = false;
        let found = list.any(&mut |text| {
            let outcome = self.holds_for(&Value::from(text), context);
            unknown |= outcome.is_none();
            outcome == Some(wanted)
        });
        if found || !unknown { Some(found) } else { None }
    }

    /// Whether it holds for one value.
    fn holds_for(&self, value: &Value<'_>, context: &dyn Context) -> Option<bool> {
        let matched = self.operands.any_matches(value, context)?;
        Some(matched != matches!(self.operator.test, Test::Compare(_, Sense::Negated)))
    }
}

impl Operands {
    fn parse(test: Test, values: Vec<Json>, variables: bool) -> Result<Self, PolicyError> {
        let Test::Compare(comparison, _) = test else {
            let flags = each(values, "true or false", parse_bool)?;
            return Ok(Self::Null {
                absent: flags.contains(&true),
                present: flags.contains(&false),
            });
        };
        let patterns = |values, wildcards| -> Result<Box<[Pattern]>, PolicyError> {
            let syntax = Syntax { wildcards, variables };
            let texts = texts(values)?;
            Ok(texts.iter().map(|text| Pattern::parse(text, syntax)).collect::<Result<_, _>>()?)
        };
        Ok(match comparison {
            Comparison::Text => Self::Text(patterns(values, false)?),
            Comparison::TextLike => Self::Text(patterns(values, true)?),
            Comparison::TextIgnoringCase => Self::TextIgnoringCase(patterns(values, false)?),
            Comparison::Arn => {
                let texts = texts(values)?;
                let parse = |text: &String| ArnPattern::parse(text, variables);
                Self::Arn(texts.iter().map(parse).collect::<Result<_, _>>()?)
            }
            Comparison::Bool => Self::Bool(each(values, "true or false", parse_bool)?),
            Comparison::Binary => Self::Binary(each(values, "Base64", decode_base64)?),
            Comparison::Address => {
                Self::Address(each(values, "an IP address or a CIDR range", Network::parse)?)
            }
            Comparison::Number(relation) => {
                Self::Number(relation, each(values, "a number", Decimal::parse)?)
            }
            Comparison::Date(relation) => {
                Self::Date(relation, each(values, "a date", Instant::parse)?)
            }
        })
    }

    /// Whether `value` compares with one of the operands; `None` if it cannot be compared.
    fn any_matches(&self, value: &Value<'_>, context: &dyn Context) -> Option<bool> {
        match self {
            Self::Null { .. } => None,
            Self::Text(patterns) => {
                let text = value.text()?;
                pattern::any(patterns, |own| own.matches(&text, context))
            }
            Self::TextIgnoringCase(patterns) => {
                let text = value.text()?;
                pattern::any(patterns, |own| own.matches_ignoring_case(&text, context))
            }
            Self::Arn(patterns) => {
                let text = value.text()?;
                pattern::any(patterns, |own| own.matches(&text, context))
            }
            Self::Bool(flags) => {
                let flag = match value {
                    Value::Bool(flag) => *flag,
                    other => parse_bool(&other.text()?)?,
                };
                Some(flags.contains(&flag))
            }
            Self::Binary(blobs) => {
                let bytes = decode_base64(&value.text()?)?;
                Some(blobs.contains(&bytes))
            }
            Self::Address(networks) => {
                let address = match value {
                    Value::Address(address) => *address,
                    other => other.text()?.parse().ok()?,
                };
                Some(networks.iter().any(|network| network.contains(address)))
            }
            Self::Number(relation, numbers) => {
                let number = match value {
                    Value::Number(number) | Value::Date(number) => Decimal::from_integer(*number),
                    other => Decimal::parse(&other.text()?)?,
                };
                Some(numbers.iter().any(|own| relation.holds(number.cmp(own))))
            }
            Self::Date(relation, instants) => {
                let instant = match value {
                    Value::Number(seconds) | Value::Date(seconds) => {
                        Instant::from_seconds(*seconds)
                    }
                    other => Instant::parse(&other.text()?)?,
                };
                Some(instants.iter().any(|own| relation.holds(instant.cmp(own))))
            }
        }
    }
}

fn is_empty(list: &dyn List) -> bool {
    !list.any(&mut |_| true)
}

fn is_single(list: &dyn List) -> bool {
    let mut count = 0_u8;
    !list.any(&mut |_| {
        count = count.saturating_add(1);
        count > 1
    })
}

/// Texts as a text operator sees them. How a fraction was written is not known any more.
fn texts(values: Vec<Json>) -> Result<Vec<String>, PolicyError> {
    let text = |value| match value {
        Json::Text(text) | Json::Integer(text) => Ok(text),
        Json::Bool(flag) => Ok(flag.to_string()),
        other => Err(Fault::Type { wanted: "a string", found: other.kind() }.into()),
    };
    values.into_iter().map(text).collect()
}

/// Reads each value, or says what was wanted.
fn each<T>(
    values: Vec<Json>,
    wanted: &'static str,
    parse: impl Fn(&str) -> Option<T>,
) -> Result<Box<[T]>, PolicyError> {
    let read = |value| {
        let text = match value {
            Json::Text(text) | Json::Integer(text) | Json::Fraction(text) => text,
            Json::Bool(flag) => flag.to_string(),
            other => return Err(Fault::Type { wanted, found: other.kind() }.into()),
        };
        parse(&text).ok_or_else(|| Fault::Value { wanted, value: text }.into())
    };
    values.into_iter().map(read).collect()
}

fn parse_bool(text: &str) -> Option<bool> {
    if text.eq_ignore_ascii_case("true") {
        Some(true)
    } else if text.eq_ignore_ascii_case("false") {
        Some(false)
    } else {
        None
    }
}

#[cfg(test)]
mod tests;
