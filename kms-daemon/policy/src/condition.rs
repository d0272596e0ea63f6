//! Conditions: one operator, applied to one key of the request's context.
//!
//! Source: the IAM User Guide, "Condition operators", "Conditions with multiple context keys or
//! values" and "Single-valued vs. multivalued context keys".

use crate::arn::ArnPattern;
use crate::budget::{Metered, Reach, lookup};
use crate::context::{List, Value};
use crate::date::Instant;
use crate::error::{Fault, PolicyError};
use crate::glob::Price;
use crate::json::Json;
use crate::key::{ConditionKey, Name};
use crate::operand::{Decimal, Network, decode_base64};
use crate::operator::{Comparison, Operator, Relation, Sense, Set, Test};
use crate::pattern::{self, Pattern, Syntax};
use crate::texts::{Prepared, Texts};

/// A compiled condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Condition {
    pub(crate) operator: Operator,
    pub(crate) key: ConditionKey,
    operands: Operands,
    /// The price of comparing one value with the operands.
    price: Price,
}

/// The policy's values, in the form in which they are compared.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Operands {
    /// Whether the condition holds if the key is absent, and whether it holds if the key is
    /// present.
    Null {
        absent: bool,
        present: bool,
    },
    Text(Texts),
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
        let price = operands.price();
        Ok(Self { operator, key, operands, price })
    }

    /// Whether the condition holds; `None` if that cannot be determined.
    pub(crate) fn holds(&self, context: &Metered<'_>) -> Option<bool> {
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
            Some(value) => {
                let prepared = self.operands.prepare(context);
                self.holds_for_all(&value, &prepared, context)
            }
        }
    }

    fn holds_for_all(
        &self,
        value: &Value<'_>,
        prepared: &Prepared<'_>,
        context: &Metered<'_>,
    ) -> Option<bool> {
        let Value::List(list) = *value else { return self.holds_for(value, prepared, context) };
        let any = |wanted| self.any_value(list, wanted, prepared, context);
        match self.operator.set {
            Some(Set::All) => any(false).map(|failed| !failed),
            Some(Set::Any) => any(true),
            // A plain operator compares one value. IAM does not say which, if there are several.
            None if is_single(list) => any(true),
            None => None,
        }
    }

    /// The most steps that evaluating the condition takes.
    pub(crate) fn most_steps(&self) -> u64 {
        let values = Reach::steps(self.key.name(), self.price.plus(self.operands.metered_price()));
        let found = lookup(self.key.name()).saturating_add(self.operands.preparing());
        found.saturating_add(values)
    }

    /// Whether the condition holds only for the principals whose ARNs it lists.
    pub(crate) fn names_principals(&self) -> bool {
        let Operator { test, set, if_exists } = self.operator;
        let positive = matches!(test, Test::Compare(_, Sense::Positive));
        self.key.name() == Name::PrincipalArn && positive && set.is_none() && !if_exists
    }

    /// Whether the condition holds when the key is missing or has no values.
    fn holds_without_value(&self) -> bool {
        self.operator.if_exists
            || match self.operator.set {
                Some(Set::All) => true,
                Some(Set::Any) => false,
                None => matches!(self.operator.test, Test::Compare(_, Sense::Negated)),
            }
    }

    /// Whether the outcome is `wanted` for one of the values. Values beyond the limits of the key
    /// are not compared; their outcome is unknown.
    fn any_value(
        &self,
        list: &dyn List,
        wanted: bool,
        prepared: &Prepared<'_>,
        context: &Metered<'_>,
    ) -> Option<bool> {
        let mut unknown = false;
        let mut left = Reach::of(self.key.name());
        let found = list.any(&mut |text| {
            let reach = (left.bytes.checked_sub(text.len()), left.values.checked_sub(1));
            let (Some(bytes), Some(values)) = reach else {
                unknown = true;
                return false;
            };
            left = Reach { bytes, values };
            let outcome = self.holds_for(&Value::from(text), prepared, context);
            unknown |= outcome.is_none();
            outcome == Some(wanted)
        });
        if found || !unknown { Some(found) } else { None }
    }

    /// Whether the condition holds for one value.
    fn holds_for(
        &self,
        value: &Value<'_>,
        prepared: &Prepared<'_>,
        context: &Metered<'_>,
    ) -> Option<bool> {
        let bytes = if let Value::Text(text) = value { text.len() } else { 32 };
        context.spend(self.price.on(bytes)).ok()?;
        let matched = self.operands.any_matches(value, prepared, context)?;
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
        let patterns = |values, wildcards| -> Result<Vec<Pattern>, PolicyError> {
            let syntax = Syntax { wildcards, variables };
            let texts = texts(values)?;
            Ok(texts.iter().map(|text| Pattern::parse(text, syntax)).collect::<Result<_, _>>()?)
        };
        Ok(match comparison {
            Comparison::Text => Self::Text(Texts::new(patterns(values, false)?, false)),
            Comparison::TextLike => Self::Text(Texts::new(patterns(values, true)?, false)),
            Comparison::TextIgnoringCase => Self::Text(Texts::new(patterns(values, false)?, true)),
            Comparison::Arn => {
                let texts = texts(values)?;
                let parse = |text: &String| ArnPattern::parse(text, variables);
                Self::Arn(texts.iter().map(parse).collect::<Result<_, _>>()?)
            }
            Comparison::Bool => {
                let mut flags = each(values, "true or false", parse_bool)?.into_vec();
                flags.sort_unstable();
                flags.dedup();
                Self::Bool(flags.into())
            }
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

    /// The price of comparing one value, without the operands that are metered during the
    /// comparison.
    fn price(&self) -> Price {
        let own = |count: usize, each: u64, value: u64, for_byte| {
            let steps = (count as u64).saturating_mul(each).saturating_add(value);
            Price::of_value(steps, for_byte)
        };
        match self {
            Self::Null { .. } | Self::Arn(_) | Self::Bool(_) => Price::fixed(16),
            Self::Text(texts) => texts.price(),
            Self::Binary(blobs) => {
                let bytes = blobs.iter().map(Vec::len).fold(0, usize::saturating_add);
                own(blobs.len().saturating_add(bytes / 64), 4, 40, 2)
            }
            Self::Address(networks) => own(networks.len(), 4, 80, 1),
            Self::Number(_, numbers) => own(numbers.len(), 4, 160, 1),
            Self::Date(_, instants) => own(instants.len(), 4, 250, 1),
        }
    }

    /// The highest price of comparing one value with the operands that are metered during the
    /// comparison.
    fn metered_price(&self) -> Price {
        match self {
            Self::Text(texts) => texts.metered_price(),
            Self::Arn(patterns) => {
                patterns.iter().map(ArnPattern::price).fold(Price::default(), Price::plus)
            }
            _ => Price::default(),
        }
    }

    /// The most steps for looking up the values of variables.
    fn preparing(&self) -> u64 {
        if let Self::Text(texts) = self { texts.preparing() } else { 0 }
    }

    /// Looks up the values of variables, once for all values of the request.
    fn prepare<'a>(&'a self, context: &'a Metered<'_>) -> Prepared<'a> {
        if let Self::Text(texts) = self { texts.prepare(context) } else { Prepared::default() }
    }

    /// Whether `value` matches one of the operands; `None` if it cannot be compared.
    fn any_matches(
        &self,
        value: &Value<'_>,
        prepared: &Prepared<'_>,
        context: &Metered<'_>,
    ) -> Option<bool> {
        match self {
            Self::Null { .. } => None,
            Self::Text(texts) => texts.any_matches(&value.text()?, prepared, context),
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

/// Converts values to text for a text operator. Refuses fractions: their original spelling is lost.
fn texts(values: Vec<Json>) -> Result<Vec<String>, PolicyError> {
    let text = |value| match value {
        Json::Text(text) | Json::Integer(text) => Ok(text),
        Json::Bool(flag) => Ok(flag.to_string()),
        other => Err(Fault::Type { wanted: "a string", found: other.kind() }.into()),
    };
    values.into_iter().map(text).collect()
}

/// Parses each value; the error says what was `wanted`.
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
