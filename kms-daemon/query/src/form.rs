//! Parameters of a Query API: the form in the body of a request.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use crate::error::{Code, IamError};

/// Most parameters of a request, those of its lists among them.
const MAX_PARAMETERS: usize = 2048;
/// Deepest nesting of lists and structures that is read.
const MAX_DEPTH: usize = 8;
/// Most dots of a name: two for each list, one for each structure.
const MAX_DOTS: usize = 2 * MAX_DEPTH;
/// Marks a parameter of an operation, or a member of a list's items, that is a list itself.
const LIST: &str = "[]";

/// The parameters of a request, by name.
#[derive(Debug, Default)]
pub struct Form(BTreeMap<String, String>);

impl Form {
    /// Reads `application/x-www-form-urlencoded`.
    ///
    /// # Errors
    /// [`Code::MalformedQueryString`] if it is malformed, names a parameter twice, or is nested too deeply.
    pub fn parse(body: &[u8]) -> Result<Self, IamError> {
        let malformed = |text: &'static str| IamError::new(Code::MalformedQueryString, text);
        let mut parameters = BTreeMap::new();
        for pair in body.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty()) {
            let end = pair.iter().position(|byte| *byte == b'=').unwrap_or(pair.len());
            let (name, value) = (&pair[..end], pair.get(end + 1..).unwrap_or_default());
            let text = |bytes| decode(bytes).ok_or_else(|| malformed("The body is not a form."));
            let (name, value) = (text(name)?, text(value)?);
            if name.bytes().filter(|byte| *byte == b'.').count() > MAX_DOTS {
                return Err(malformed("The body has a parameter that is nested too deeply."));
            }
            if parameters.insert(name, value).is_some() {
                return Err(malformed("The body names a parameter twice."));
            }
            if parameters.len() > MAX_PARAMETERS {
                return Err(malformed("The body has too many parameters."));
            }
        }
        Ok(Self(parameters))
    }

    /// Reads a JSON object as the form that says the same: lists have `member`s, as in forms.
    ///
    /// # Errors
    /// [`Code::MalformedQueryString`] if it is malformed, or is nested too deeply.
    pub fn parse_json(body: &[u8]) -> Result<Self, IamError> {
        let malformed = || {
            let text = "The body is not a JSON object that this operation can have.";
            IamError::new(Code::MalformedQueryString, text)
        };
        let value = match body.trim_ascii() {
            b"" => Value::Object(Map::new()),
            body => serde_json::from_slice(body).map_err(|_| malformed())?,
        };
        let Value::Object(members) = value else { return Err(malformed()) };
        let mut form = Self::default();
        for (name, value) in members {
            // A dot would make another parameter of it.
            let name = (!name.contains('.')).then_some(name).ok_or_else(malformed)?;
            form.flatten(name, value, MAX_DEPTH).ok_or_else(malformed)?;
        }
        Ok(form)
    }

    /// Adds a value of JSON; `None` if there is no room for it.
    fn flatten(&mut self, name: String, value: Value, depth: usize) -> Option<()> {
        let depth = depth.checked_sub(1)?;
        let text = match value {
            Value::Null => return Some(()),
            Value::Bool(flag) => flag.to_string(),
            Value::Number(number) => number.to_string(),
            Value::String(text) => text,
            Value::Array(items) => {
                for (index, item) in items.into_iter().enumerate() {
                    self.flatten(format!("{name}.member.{}", index + 1), item, depth)?;
                }
                return Some(());
            }
            Value::Object(members) => {
                for (member, value) in members {
                    let member = (!member.contains('.')).then_some(member)?;
                    self.flatten(format!("{name}.{member}"), value, depth)?;
                }
                return Some(());
            }
        };
        (self.0.len() < MAX_PARAMETERS).then(|| drop(self.0.insert(name, text)))
    }

    /// A parameter, if it is given.
    #[must_use]
    pub fn optional(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// A parameter that must be given.
    ///
    /// # Errors
    /// [`Code::ValidationError`].
    pub fn required(&self, name: &str) -> Result<&str, IamError> {
        self.optional(name).ok_or_else(|| {
            IamError::invalid(format!("1 validation error detected: Value at '{}' failed to satisfy constraint: Member must not be null", member(name)))
        })
    }

    /// How many items a list has: structures with these members, or texts if there are none. The name
    /// of a member that is a list itself is followed by `[]`.
    ///
    /// # Errors
    /// [`Code::ValidationError`] for an item that has no number of its own, and for a member that
    /// is not there: nothing of a list is ignored.
    pub fn items(&self, list: &str, members: &[&str]) -> Result<usize, IamError> {
        let start = format!("{list}.");
        let mut numbers = BTreeSet::new();
        for (name, _) in self.below(&start) {
            let item = name[start.len()..].strip_prefix("member.");
            let (number, member) =
                item.map(|item| item.split_once('.').unwrap_or((item, ""))).unwrap_or_default();
            let known = match member {
                "" => members.is_empty(),
                member => members.iter().any(|known| is_of(member, known)),
            };
            let number = number.parse::<usize>().ok().filter(|value| value.to_string() == number);
            match number.filter(|_| known) {
                Some(number) => numbers.insert(number),
                None => return Err(self.unsupported(name)),
            };
        }
        let count = numbers.len();
        match numbers.into_iter().eq(1..=count) {
            true => Ok(count),
            false => Err(IamError::invalid(format!(
                "The items of {list} have to be numbered from 1 without gaps."
            ))),
        }
    }

    /// The texts of a list.
    ///
    /// # Errors
    /// As for [`Form::items`].
    pub fn list(&self, name: &str) -> Result<Vec<&str>, IamError> {
        let count = self.items(name, &[])?;
        let texts =
            (1..=count).filter_map(|number| self.optional(&format!("{name}.member.{number}")));
        Ok(texts.collect())
    }

    /// A parameter with all that is below it, for the audit record.
    #[must_use]
    pub fn value(&self, name: &str, longest: usize) -> Option<Value> {
        if let Some(text) = self.optional(name).filter(|text| !text.is_empty()) {
            return Some(Value::from(&text[..text.floor_char_boundary(longest)]));
        }
        let start = format!("{name}.");
        let names: Vec<&str> = self.below(&start).map(|(name, _)| &name[start.len()..]).collect();
        if names.is_empty() {
            return self.optional(name).map(Value::from);
        }
        let first = |name: &&str| name.split('.').next().unwrap_or_default().to_owned();
        let members: BTreeSet<String> = names.iter().map(first).collect();
        if names.iter().all(|name| name.starts_with("member.")) {
            let number = |name: &&str| name.split('.').nth(1)?.parse::<usize>().ok();
            let numbers: BTreeSet<usize> = names.iter().filter_map(number).collect();
            let item = |number| self.value(&format!("{start}member.{number}"), longest);
            return Some(numbers.into_iter().filter_map(item).collect());
        }
        let entry = |name: String| {
            let value = self.value(&format!("{start}{name}"), longest)?;
            Some((member(&name), value))
        };
        Some(Value::Object(members.into_iter().filter_map(entry).collect()))
    }

    /// The parameters whose names begin like this.
    fn below<'f>(&'f self, start: &'f str) -> impl Iterator<Item = (&'f str, &'f str)> {
        let all =
            self.0.range::<str, _>((std::ops::Bound::Included(start), std::ops::Bound::Unbounded));
        all.take_while(move |(name, _)| name.starts_with(start))
            .map(|(name, value)| (name.as_str(), value.as_str()))
    }

    fn unsupported(&self, name: &str) -> IamError {
        let name: String = name.chars().take(64).collect();
        IamError::invalid(format!("The parameter {name} is not supported by this service."))
    }

    /// Refuses what an operation does not know: it would not do what the caller wants. Names of
    /// parameters that are lists are followed by `[]`; other parameters have nothing below them, and a
    /// list has no text of its own.
    ///
    /// # Errors
    /// [`Code::ValidationError`].
    pub fn check_names(&self, known: &[&str]) -> Result<(), IamError> {
        let is_known = |name: &str, text: &str| {
            let empty = |list: &str| text.is_empty() && list.strip_suffix(LIST) == Some(name);
            let mut known = known.iter().chain(&["Action", "Version"]);
            known.any(|known| is_of(name, known) || empty(known))
        };
        match self.0.iter().find(|(name, text)| !is_known(name, text)) {
            None => Ok(()),
            Some((name, _)) => Err(self.unsupported(name)),
        }
    }

    /// How many parameters there are below a name.
    #[must_use]
    pub fn count_below(&self, name: &str) -> usize {
        self.below(&format!("{name}.")).count()
    }
}

/// Whether a name is that of `known`, or of something in it if it is a list.
fn is_of(name: &str, known: &str) -> bool {
    match known.strip_suffix(LIST) {
        None => name == known,
        Some(list) => name.strip_prefix(list).is_some_and(|rest| rest.starts_with('.')),
    }
}

/// The name of a parameter of an operation, without the mark of a list.
#[must_use]
pub fn name_of(parameter: &str) -> &str {
    parameter.strip_suffix(LIST).unwrap_or(parameter)
}

/// A parameter as texts of refusals and audit records name it.
#[must_use]
pub fn member(name: &str) -> String {
    let mut characters = name.chars();
    let first = characters.next().map(|c| c.to_ascii_lowercase());
    first.into_iter().chain(characters).collect()
}

/// Not by the `form_urlencoded` crate: it leaves an invalid escape as it is, and replaces what is not
/// UTF-8, where a request is refused here.
fn decode(text: &[u8]) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.iter();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let mut digit = || char::from(*rest.next()?).to_digit(16);
                u8::try_from(digit()? * 16 + digit()?).ok()?
            }
            byte => *byte,
        });
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn forms_are_read() {
        let form = Form::parse(b"Action=GetUser&UserName=a%2Bb+c&Empty=&None").unwrap();
        assert_eq!(form.required("UserName").unwrap(), "a+b c");
        assert_eq!((form.optional("Empty"), form.optional("None")), (Some(""), Some("")));
        assert_eq!(form.optional("Other"), None);
        let text = form.required("PolicyName").unwrap_err().to_string();
        assert!(text.contains("Value at 'policyName' failed"), "{text}");
        assert!(form.check_names(&["UserName", "Empty", "None"]).is_ok());
        assert!(form.check_names(&["UserName"]).is_err());
        let tags = Form::parse(b"Tags.member.1.Key=a").unwrap();
        assert!(tags.check_names(&["Tags[]"]).is_ok());
        for damaged in ["a=1&a=2", "%zz=1", "a=%f", "a=%ff"] {
            let error = Form::parse(damaged.as_bytes()).unwrap_err();
            assert_eq!(error.code(), Code::MalformedQueryString, "{damaged}");
        }
    }

    #[test]
    fn nothing_below_a_parameter_is_ignored() {
        let form = |text: &str| Form::parse(text.as_bytes()).unwrap();
        let known = ["UserName", "PermissionsBoundary", "Tags[]"];
        for text in ["UserName=a&Tags=", "Tags.member.1.Key=a", "PermissionsBoundary=arn"] {
            assert!(form(text).check_names(&known).is_ok(), "{text}");
        }
        for text in [
            "UserName=a&PermissionsBoundary.member.1=arn",
            "UserName.x=a",
            "Tags=a",
            "TagsX.member.1.Key=a",
            "Action.x=a",
        ] {
            assert!(form(text).check_names(&known).is_err(), "{text}");
        }
        let members = ["Key", "Values[]"];
        let filters = "F.member.1.Key=a&F.member.1.Values.member.1=b";
        assert_eq!(form(filters).items("F", &members), Ok(1));
        for text in ["F.member.1.Key.x=a", "F.member.1.Values=a", "F.member.1=a"] {
            assert!(form(text).items("F", &members).is_err(), "{text}");
        }
    }

    #[test]
    fn names_are_not_deep() {
        let name = |dots: usize| format!("UserName{}=x", ".a".repeat(dots));
        for dots in [0, MAX_DOTS] {
            let form = Form::parse(name(dots).as_bytes()).unwrap();
            assert!(form.value("UserName", 9).is_some());
        }
        for dots in [MAX_DOTS + 1, 64, 124, 125, 100_000] {
            let error = Form::parse(name(dots).as_bytes()).unwrap_err();
            assert_eq!(error.code(), Code::MalformedQueryString, "{dots}");
        }
        assert!(Form::parse_json(br#"{"TagFilters.a":"x"}"#).is_err());
    }

    #[test]
    fn lists_have_items_without_gaps() {
        let form = |text: &str| Form::parse(text.as_bytes()).unwrap();
        let tags = form(
            "Tags.member.1.Key=a&Tags.member.1.Value=1&Tags.member.2.Key=b&Tags.member.2.Value=",
        );
        assert_eq!(tags.items("Tags", &["Key", "Value"]), Ok(2));
        assert_eq!(form("Tags=").items("Tags", &["Key", "Value"]), Ok(0));
        let keys: String = (1..=12).map(|n| format!("TagKeys.member.{n}=k{n}&")).collect();
        let keys = form(&keys);
        let expected: Vec<String> = (1..=12).map(|n| format!("k{n}")).collect();
        assert_eq!(keys.list("TagKeys").unwrap(), expected);
        for (text, list, members) in [
            ("Tags.member.2.Key=a", "Tags", &["Key", "Value"][..]),
            ("Tags.member.01.Key=a", "Tags", &["Key", "Value"]),
            ("Tags.member.1.Kex=a", "Tags", &["Key", "Value"]),
            ("Tags.1.Key=a", "Tags", &["Key", "Value"]),
            ("TagKeys.member.1.Key=a", "TagKeys", &[]),
            ("TagKeys.member.x=a", "TagKeys", &[]),
        ] {
            assert!(form(text).items(list, members).is_err(), "{text}");
        }
    }

    #[test]
    fn json_says_the_same_as_a_form() {
        let body = br#"{"TagFilters":[{"Key":"team","Values":["a","b"]}],"ResourcesPerPage":5,"Flag":true,"None":null}"#;
        let form = Form::parse_json(body).unwrap();
        assert_eq!(form.optional("TagFilters.member.1.Key"), Some("team"));
        assert_eq!(form.list("TagFilters.member.1.Values").unwrap(), ["a", "b"]);
        assert_eq!(
            (form.optional("ResourcesPerPage"), form.optional("Flag")),
            (Some("5"), Some("true"))
        );
        assert!(form.check_names(&["TagFilters[]", "ResourcesPerPage", "Flag"]).is_ok());
        let recorded = form.value("TagFilters", 100).unwrap();
        assert_eq!(recorded, serde_json::json!([{ "key": "team", "values": ["a", "b"] }]));
        assert_eq!(form.value("Other", 100), None);
        assert_eq!(Form::parse_json(b"").unwrap().0.len(), 0);
        let deep = format!("{{\"a\":{}1{}}}", "[".repeat(20), "]".repeat(20));
        for damaged in ["[]", "1", "{", r#"{"a":{"b.c":1}}"#, &deep] {
            assert!(Form::parse_json(damaged.as_bytes()).is_err(), "{damaged}");
        }
        let many = format!("[{}1]", "1,".repeat(MAX_PARAMETERS));
        assert!(Form::parse_json(format!("{{\"a\":{many}}}").as_bytes()).is_err());
    }

    proptest! {
        #[test]
        fn no_body_makes_parsing_panic(body in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Form::parse(&body);
            let _ = Form::parse_json(&body);
        }
    }
}
