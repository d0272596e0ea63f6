//! Parameters of a Query API: the form in the body of a request.

use std::collections::BTreeMap;

use super::error::{Code, IamError};

/// Most parameters of a request.
const MAX_PARAMETERS: usize = 256;

/// The parameters of a request, by name.
#[derive(Debug, Default)]
pub struct Form(BTreeMap<String, String>);

impl Form {
    /// Reads `application/x-www-form-urlencoded`.
    ///
    /// # Errors
    /// [`Code::MalformedQueryString`] if it is none, or names a parameter twice.
    pub fn parse(body: &[u8]) -> Result<Self, IamError> {
        let malformed = |text: &'static str| IamError::new(Code::MalformedQueryString, text);
        let mut parameters = BTreeMap::new();
        for pair in body.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty()) {
            let end = pair.iter().position(|byte| *byte == b'=').unwrap_or(pair.len());
            let (name, value) = (&pair[..end], pair.get(end + 1..).unwrap_or_default());
            let text = |bytes| decode(bytes).ok_or_else(|| malformed("The body is not a form."));
            if parameters.insert(text(name)?, text(value)?).is_some() {
                return Err(malformed("The body names a parameter twice."));
            }
            if parameters.len() > MAX_PARAMETERS {
                return Err(malformed("The body has too many parameters."));
            }
        }
        Ok(Self(parameters))
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

    /// Refuses what an operation does not know: it would not do what the caller wants.
    ///
    /// # Errors
    /// [`Code::ValidationError`].
    pub fn check_names(&self, known: &[&str]) -> Result<(), IamError> {
        let unknown = self.0.keys().find(|name| {
            let name = name.split('.').next().unwrap_or_default();
            !["Action", "Version"].contains(&name) && !known.contains(&name)
        });
        match unknown {
            None => Ok(()),
            Some(name) => {
                let name: String = name.chars().take(64).collect();
                let text = format!("The parameter {name} is not supported by this service.");
                Err(IamError::invalid(text))
            }
        }
    }
}

/// A parameter as texts of refusals and audit records name it.
pub(super) fn member(name: &str) -> String {
    let mut characters = name.chars();
    let first = characters.next().map(|c| c.to_ascii_lowercase());
    first.into_iter().chain(characters).collect()
}

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
        assert!(tags.check_names(&["Tags"]).is_ok());
        for damaged in ["a=1&a=2", "%zz=1", "a=%f", "a=%ff"] {
            let error = Form::parse(damaged.as_bytes()).unwrap_err();
            assert_eq!(error.code(), Code::MalformedQueryString, "{damaged}");
        }
    }

    proptest! {
        #[test]
        fn no_body_makes_parsing_panic(body in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Form::parse(&body);
        }
    }
}
