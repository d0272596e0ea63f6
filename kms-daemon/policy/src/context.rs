//! The context of a request: the values of condition keys, asked for only when a policy needs
//! them.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::net::IpAddr;

use crate::date;
use crate::key::ConditionKey;

/// Gives the values of condition keys.
///
/// An implementation matches on [`ConditionKey::name`]. It answers `None` for every key that the
/// request does not have: the meaning of that, too, is the policy's.
pub trait Context {
    /// The value of `key` in this request.
    fn value(&self, key: &ConditionKey) -> Option<Value<'_>>;
}

/// The value of a condition key.
#[derive(Clone)]
pub enum Value<'a> {
    /// Text of any type: ARNs, names, and what a client wrote.
    Text(Cow<'a, str>),
    /// A truth value.
    Bool(bool),
    /// A number.
    Number(i64),
    /// Seconds since the epoch.
    Date(i64),
    /// The address of a client.
    Address(IpAddr),
    /// The values of a multivalued key.
    List(&'a dyn List),
    /// There is a value, but it cannot be told: for example `kms:ResourceAliases` of a key with
    /// more than 50 aliases. A statement that depends on it does not allow, and does deny.
    Unknown,
}

impl Value<'_> {
    /// As text, the form in which string operators and policy variables see it. `None` for
    /// lists and for what is not known.
    #[must_use]
    pub fn text(&self) -> Option<Cow<'_, str>> {
        Some(match self {
            Self::Text(text) => Cow::Borrowed(text),
            Self::Bool(true) => Cow::Borrowed("true"),
            Self::Bool(false) => Cow::Borrowed("false"),
            Self::Number(number) => Cow::Owned(number.to_string()),
            Self::Date(seconds) => Cow::Owned(date::format(*seconds)),
            Self::Address(address) => Cow::Owned(address.to_canonical().to_string()),
            Self::List(_) | Self::Unknown => return None,
        })
    }
}

impl<'a> From<&'a str> for Value<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(Cow::Borrowed(text))
    }
}

impl From<String> for Value<'_> {
    fn from(text: String) -> Self {
        Self::Text(Cow::Owned(text))
    }
}

impl fmt::Debug for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::List(list) => {
                let mut texts = f.debug_list();
                list.any(&mut |text| {
                    texts.entry(&text);
                    false
                });
                texts.finish()
            }
            Self::Unknown => f.write_str("?"),
            single => f.write_str(&single.text().unwrap_or_default()),
        }
    }
}

/// The values of a multivalued condition key.
pub trait List {
    /// Whether `test` holds for one of the values. It is called for each until it does.
    fn any(&self, test: &mut dyn FnMut(&str) -> bool) -> bool;
}

impl List for &[&str] {
    fn any(&self, test: &mut dyn FnMut(&str) -> bool) -> bool {
        self.iter().any(|text| test(text))
    }
}

impl<const N: usize> List for [&str; N] {
    fn any(&self, test: &mut dyn FnMut(&str) -> bool) -> bool {
        self.iter().any(|text| test(text))
    }
}

impl List for &[String] {
    fn any(&self, test: &mut dyn FnMut(&str) -> bool) -> bool {
        self.iter().any(|text| test(text))
    }
}

impl List for Vec<&str> {
    fn any(&self, test: &mut dyn FnMut(&str) -> bool) -> bool {
        self.iter().any(|text| test(text))
    }
}

impl List for Vec<String> {
    fn any(&self, test: &mut dyn FnMut(&str) -> bool) -> bool {
        self.iter().any(|text| test(text))
    }
}

/// The keys of the map, which is what `kms:EncryptionContextKeys` and `aws:TagKeys` list.
impl<V> List for BTreeMap<String, V> {
    fn any(&self, test: &mut dyn FnMut(&str) -> bool) -> bool {
        self.keys().any(|text| test(text))
    }
}

/// The value that `key` refers to among tags or the pairs of an encryption context.
///
/// The names of condition keys have no case, those of pairs do: where two pairs differ only in
/// case and not in value, which one is meant cannot be told.
#[must_use]
pub fn pair<'a>(
    key: &ConditionKey,
    pairs: impl IntoIterator<Item = (&'a str, &'a str)>,
) -> Option<Value<'a>> {
    let mut values =
        pairs.into_iter().filter(|(name, _)| key.is_about(name)).map(|(_, value)| value);
    let first = values.next()?;
    Some(if values.all(|value| value == first) { Value::from(first) } else { Value::Unknown })
}

/// Tags or pairs of an encryption context by their names in lower case: what [`pair`] finds, without
/// looking at every pair for every key that is asked for.
#[derive(Debug, Clone, Default)]
pub struct PairIndex<'a>(HashMap<String, Option<&'a str>>);

impl<'a> PairIndex<'a> {
    /// Of these pairs.
    #[must_use]
    pub fn new(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let mut index = HashMap::new();
        for (name, value) in pairs {
            let known = index.entry(name.to_lowercase()).or_insert(Some(value));
            *known = known.filter(|known| *known == value);
        }
        Self(index)
    }

    /// The value that `key` refers to.
    #[must_use]
    pub fn find(&self, key: &ConditionKey) -> Option<Value<'a>> {
        let value = self.0.get(key.parameter())?;
        Some(value.map_or(Value::Unknown, Value::from))
    }
}

/// A request without any context.
impl Context for () {
    fn value(&self, _: &ConditionKey) -> Option<Value<'_>> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_have_a_text() {
        let text = |value: Value<'_>| value.text().map(Cow::into_owned);
        assert_eq!(text(Value::Bool(true)).unwrap(), "true");
        assert_eq!(text(Value::Number(-7)).unwrap(), "-7");
        assert_eq!(text(Value::Date(0)).unwrap(), "1970-01-01T00:00:00Z");
        assert_eq!(text(Value::Address("::ffff:1.2.3.4".parse().unwrap())).unwrap(), "1.2.3.4");
        assert_eq!(text(Value::List(&["a"])), None);
        assert_eq!(format!("{:?}", Value::List(&["a", "b"])), r#"["a", "b"]"#);
    }

    #[test]
    fn pairs_are_found_without_case() {
        let key = ConditionKey::parse("kms:EncryptionContext:Department").unwrap();
        let find = |pairs: &[(&'static str, &'static str)]| {
            let found = pair(&key, pairs.iter().copied()).map(|value| format!("{value:?}"));
            let indexed = PairIndex::new(pairs.iter().copied());
            assert_eq!(indexed.find(&key).map(|value| format!("{value:?}")), found);
            found
        };
        assert_eq!(find(&[("dept", "x")]), None);
        assert_eq!(find(&[("DEPARTMENT", "x"), ("y", "z")]), Some("x".to_owned()));
        assert_eq!(find(&[("DEPARTMENT", "x"), ("department", "x")]), Some("x".to_owned()));
        assert_eq!(find(&[("DEPARTMENT", "x"), ("department", "y")]), Some("?".to_owned()));
    }
}
