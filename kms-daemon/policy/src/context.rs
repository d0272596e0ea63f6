//! The context of a request: the values of condition keys, which are looked up only when a policy
//! needs them.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::net::IpAddr;

use crate::date;
use crate::key::ConditionKey;

/// A source of values for condition keys.
///
/// An implementation matches on [`ConditionKey::name`]. It returns `None` for every key that the
/// request does not have; the policy defines what that means.
pub trait Context {
    /// Returns the value of `key` in this request.
    fn value(&self, key: &ConditionKey) -> Option<Value<'_>>;
}

/// The value of a condition key.
#[derive(Clone)]
pub enum Value<'a> {
    /// Text of any kind: ARNs, names, and text from the client.
    Text(Cow<'a, str>),
    /// True or false.
    Bool(bool),
    /// An integer.
    Number(i64),
    /// Seconds since the Unix epoch.
    Date(i64),
    /// The address of a client.
    Address(IpAddr),
    /// The values of a multivalued key.
    List(&'a dyn List),
    /// There is a value, but it cannot be determined: for example `kms:ResourceAliases` of a key
    /// with more than 50 aliases. An allowing statement that depends on it does not apply; a
    /// denying one does.
    Unknown,
}

impl Value<'_> {
    /// Returns the value as text, the form in which string operators and policy variables see it.
    /// `None` for lists and unknown values.
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
    /// Whether `test` holds for one of the values. Calls it for each value until it holds.
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

/// Lists the keys of the map, as `kms:EncryptionContextKeys` and `aws:TagKeys` do.
impl<V> List for BTreeMap<String, V> {
    fn any(&self, test: &mut dyn FnMut(&str) -> bool) -> bool {
        self.keys().any(|text| test(text))
    }
}

/// Returns the value that `key` refers to among tags or the pairs of an encryption context.
///
/// Names of condition keys are case-insensitive, names of pairs are not. If two pairs differ in the
/// case of their names and in their values, the value is [`Value::Unknown`].
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

/// Tags or pairs of an encryption context, indexed by their names in lower case. Finds what
/// [`pair`] finds, without looking at every pair for every key.
#[derive(Debug, Clone, Default)]
pub struct PairIndex<'a>(HashMap<String, Option<&'a str>>);

impl<'a> PairIndex<'a> {
    /// Indexes these pairs.
    #[must_use]
    pub fn new(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let mut index = HashMap::new();
        for (name, value) in pairs {
            let known = index.entry(name.to_lowercase()).or_insert(Some(value));
            *known = known.filter(|known| *known == value);
        }
        Self(index)
    }

    /// Returns the value that `key` refers to.
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
