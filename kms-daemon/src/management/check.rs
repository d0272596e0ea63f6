//! Constraints of the IAM and STS service models on names, paths and numbers.

use crate::iam::limits::same_tag;
use kms_base::identifier::Tags;
use kms_base::text::bounded;
use kms_query::{Code, IamError};
use kms_query::{Form, member};

/// Most items of a page, and how many there are unless the caller says.
const MAX_ITEMS: (usize, usize) = (1000, 100);

/// A name of a user, role or policy, or of a session: letters, digits and `+=,.@_-`.
///
/// # Errors
/// `Code::ValidationError`.
pub(super) fn name<'f>(
    form: &'f Form,
    parameter: &str,
    (min, max): (usize, usize),
) -> Result<&'f str, IamError> {
    let name = form.required(parameter)?;
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"+=,.@_-".contains(&byte);
    if !name.bytes().all(allowed) {
        return Err(IamError::invalid(format!(
            "The specified value for {} is invalid. It must contain only alphanumeric characters \
             and/or the following: +=,.@_-",
            member(parameter)
        )));
    }
    length(parameter, name, (min, max))?;
    Ok(name)
}

/// A name of a user.
///
/// # Errors
/// `Code::ValidationError`.
pub(super) fn user(form: &Form) -> Result<&str, IamError> {
    name(form, "UserName", (1, 64))
}

/// A name of a group.
///
/// # Errors
/// `Code::ValidationError`.
pub(super) fn group(form: &Form) -> Result<&str, IamError> {
    name(form, "GroupName", (1, 128))
}

/// A name of a role.
///
/// # Errors
/// `Code::ValidationError`.
pub(super) fn role(form: &Form) -> Result<&str, IamError> {
    name(form, "RoleName", (1, 64))
}

/// A name of a policy.
///
/// # Errors
/// `Code::ValidationError`.
pub(super) fn policy(form: &Form) -> Result<&str, IamError> {
    name(form, "PolicyName", (1, 128))
}

/// A path, `/` unless it is given.
///
/// # Errors
/// `Code::ValidationError`.
pub(super) fn path<'f>(form: &'f Form, parameter: &str) -> Result<&'f str, IamError> {
    let path = form.optional(parameter).unwrap_or("/");
    // A prefix of paths need not end with a slash.
    let ends = path.ends_with('/') || parameter == "PathPrefix";
    if !path.starts_with('/') || !ends || !path.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(IamError::invalid(format!(
            "The specified value for {} is invalid. It must begin and end with / and contain only \
             alphanumeric characters and/or / characters.",
            member(parameter)
        )));
    }
    length(parameter, path, (1, 512))?;
    Ok(path)
}

/// Free text, if it is given.
///
/// # Errors
/// `Code::ValidationError`.
pub(super) fn text(form: &Form, parameter: &str, max: usize) -> Result<Option<String>, IamError> {
    let Some(text) = form.optional(parameter) else { return Ok(None) };
    length(parameter, text, (0, max))?;
    Ok(Some(text.to_owned()))
}

/// A number, if it is given.
///
/// # Errors
/// `Code::ValidationError`.
pub(super) fn number(
    form: &Form,
    parameter: &str,
    (min, max): (u32, u32),
) -> Result<Option<u32>, IamError> {
    let Some(text) = form.optional(parameter) else { return Ok(None) };
    let fault = |constraint: String| {
        IamError::invalid(format!(
            "1 validation error detected: Value '{}' at '{}' failed to satisfy constraint: Member \
             must {constraint}",
            bounded(text, 32),
            member(parameter)
        ))
    };
    match text.parse() {
        Ok(number) if number < min => {
            Err(fault(format!("have value greater than or equal to {min}")))
        }
        Ok(number) if number > max => Err(fault(format!("have value less than or equal to {max}"))),
        Ok(number) => Ok(Some(number)),
        // words: allow(be it|the|a|an) it ends the sentence "Member must ..."
        Err(_) => Err(fault("be a number".to_owned())),
    }
}

/// A truth value, false unless it is given.
///
/// # Errors
/// `Code::ValidationError`.
pub(super) fn flag(form: &Form, parameter: &str) -> Result<bool, IamError> {
    match form.optional(parameter) {
        None | Some("false") => Ok(false),
        Some("true") => Ok(true),
        Some(_) => Err(IamError::invalid(format!("{} is true or false.", member(parameter)))),
    }
}

/// A text of the characters that an external id can have, if it is given.
///
/// # Errors
/// `Code::ValidationError`.
pub(super) fn external_id(form: &Form) -> Result<Option<&str>, IamError> {
    const PARAMETER: &str = "ExternalId";
    let Some(id) = form.optional(PARAMETER) else { return Ok(None) };
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_+=,.@:/-".contains(&byte);
    if !id.bytes().all(allowed) {
        return Err(IamError::invalid(format!(
            "1 validation error detected: Value at '{}' failed to satisfy constraint: Member must \
             satisfy regular expression pattern: [\\w+=,.@:\\/-]*",
            member(PARAMETER)
        )));
    }
    length(PARAMETER, id, (2, 1224))?;
    Ok(Some(id))
}

/// How many items a page of a listing has.
///
/// # Errors
/// `Code::ValidationError`.
pub(super) fn max_items(form: &Form) -> Result<usize, IamError> {
    let (max, default) = MAX_ITEMS;
    let number = number(form, "MaxItems", (1, u32::try_from(max).unwrap_or(u32::MAX)))?;
    Ok(number.and_then(|number| usize::try_from(number).ok()).unwrap_or(default))
}

/// What a managed policy is used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Usage {
    /// It is attached.
    Permissions,
    /// It is a permissions boundary.
    Boundary,
}

/// `PolicyUsageFilter`, if it is given.
///
/// # Errors
/// `Code::ValidationError`.
pub(super) fn usage(form: &Form) -> Result<Option<Usage>, IamError> {
    match form.optional("PolicyUsageFilter") {
        None => Ok(None),
        Some("PermissionsPolicy") => Ok(Some(Usage::Permissions)),
        Some("PermissionsBoundary") => Ok(Some(Usage::Boundary)),
        Some(_) => {
            Err(IamError::invalid("PolicyUsageFilter is PermissionsPolicy or PermissionsBoundary."))
        }
    }
}

/// Bounds of the length of a tag's key, in characters.
const TAG_KEY: (usize, usize) = (1, 128);
/// The same of its value.
const TAG_VALUE: (usize, usize) = (0, 256);
/// Most tags of a request, and of whatever has them.
pub(super) const MAX_TAGS: usize = 50;

/// The tags of a request, if it is given any. `cased`: keys that differ in case only are two.
///
/// # Errors
/// `Code::ValidationError`, `Code::InvalidInput`.
pub(super) fn tags(form: &Form, cased: bool) -> Result<Tags, IamError> {
    let count = form.items("Tags", &["Key", "Value"])?;
    many("Tags", count, MAX_TAGS)?;
    let mut tags = Tags::new();
    for number in 1..=count {
        let [key, value] = ["Key", "Value"].map(|member| format!("Tags.member.{number}.{member}"));
        let (key, value) = (tag_text(form, &key, TAG_KEY)?, tag_text(form, &value, TAG_VALUE)?);
        if key.get(..4).is_some_and(|start| start.eq_ignore_ascii_case("aws:")) {
            let text = "Tag keys that begin with aws: are reserved.";
            return Err(IamError::new(Code::InvalidInput, text));
        }
        if tags.keys().any(|known| same_tag(known, key, cased)) {
            let text = match cased {
                true => "Duplicate tag keys found.",
                false => {
                    "Duplicate tag keys found. Please note that Tag keys are case insensitive."
                }
            };
            return Err(IamError::new(Code::InvalidInput, text));
        }
        tags.insert(key.to_owned(), value.to_owned());
    }
    Ok(tags)
}

/// The keys of tags in a list.
///
/// # Errors
/// `Code::ValidationError`.
pub(super) fn tag_keys(form: &Form, parameter: &str) -> Result<Vec<String>, IamError> {
    let count = form.items(parameter, &[])?;
    many(parameter, count, MAX_TAGS)?;
    let key = |number| tag_text(form, &format!("{parameter}.member.{number}"), TAG_KEY);
    (1..=count).map(|number| key(number).map(str::to_owned)).collect()
}

/// Refuses lists of more items than that.
///
/// # Errors
/// `Code::ValidationError`.
pub(super) fn many(parameter: &str, count: usize, max: usize) -> Result<(), IamError> {
    if count <= max {
        return Ok(());
    }
    Err(IamError::invalid(format!(
        "1 validation error detected: Value at '{}' failed to satisfy constraint: Member must have \
         length less than or equal to {max}",
        member(parameter)
    )))
}

fn tag_text<'f>(
    form: &'f Form,
    parameter: &str,
    bounds: (usize, usize),
) -> Result<&'f str, IamError> {
    let text = form.required(parameter)?;
    length(parameter, text, bounds)?;
    let allowed = |c: char| {
        c.is_alphanumeric() || " _.:/=+-@".contains(c) || (c.is_whitespace() && !c.is_control())
    };
    if text.chars().all(allowed) {
        return Ok(text);
    }
    Err(IamError::invalid(format!(
        "1 validation error detected: Value at '{}' failed to satisfy constraint: Member must \
         satisfy regular expression pattern: [\\p{{L}}\\p{{Z}}\\p{{N}}_.:/=+\\-@]+",
        member(parameter)
    )))
}

fn length(parameter: &str, text: &str, (min, max): (usize, usize)) -> Result<(), IamError> {
    let (length, bound) = (text.chars().count(), "failed to satisfy constraint: Member must have");
    let rule = match length {
        _ if length < min => format!("length greater than or equal to {min}"),
        _ if length > max => format!("length less than or equal to {max}"),
        _ => return Ok(()),
    };
    Err(IamError::invalid(format!(
        "1 validation error detected: Value at '{}' {bound} {rule}",
        member(parameter)
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(text: &str) -> Form {
        Form::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn names_and_paths() {
        for good in ["a", "A.b_c-d=e,f@g", "x"] {
            assert_eq!(user(&form(&format!("UserName={good}"))).unwrap(), good);
        }
        for bad in ["", "a b", "a/b", "é", &"a".repeat(65)] {
            assert!(user(&form(&format!("UserName={bad}"))).is_err(), "{bad}");
        }
        assert_eq!(path(&form(""), "Path").unwrap(), "/");
        assert_eq!(path(&form("Path=/a/b/"), "Path").unwrap(), "/a/b/");
        assert_eq!(path(&form("PathPrefix=/a"), "PathPrefix").unwrap(), "/a");
        for bad in ["", "a/", "/a", "/a b/"] {
            assert!(path(&form(&format!("Path={bad}")), "Path").is_err(), "{bad}");
        }
    }

    #[test]
    fn tags_have_keys_of_their_own() {
        let read = |cased, text: &str| tags(&form(text), cased).map_err(|error| error.code());
        let two = "Tags.member.1.Key=Team&Tags.member.1.Value=a&Tags.member.2.Key=team&Tags.member.2.Value=";
        assert_eq!(read(true, two).unwrap().len(), 2);
        assert_eq!(read(false, two), Err(Code::InvalidInput));
        assert_eq!(read(false, "").unwrap(), Tags::new());
        let one =
            |key: &str, value: &str| format!("Tags.member.1.Key={key}&Tags.member.1.Value={value}");
        for (key, value, code) in [
            ("AWS:x", "", Code::InvalidInput),
            ("", "", Code::ValidationError),
            ("a%26b", "", Code::ValidationError),
            ("a", "%0a", Code::ValidationError),
            (&*"k".repeat(129), "", Code::ValidationError),
            ("k", &*"v".repeat(257), Code::ValidationError),
        ] {
            assert_eq!(read(true, &one(key, value)), Err(code), "{key} {value}");
        }
        assert!(read(true, &one(&"k".repeat(128), &"v".repeat(256))).is_ok());
        assert!(read(true, &one("%C3%A9%20a_.:/=%2B-@", "")).is_ok());
        let many: String =
            (1..=51).map(|n| format!("Tags.member.{n}.Key=k{n}&Tags.member.{n}.Value=&")).collect();
        assert_eq!(read(true, &many), Err(Code::ValidationError));
        assert_eq!(read(true, "Tags.member.1.Key=a"), Err(Code::ValidationError));
    }

    #[test]
    fn numbers_have_bounds() {
        let number = |text: &str| number(&form(text), "DurationSeconds", (900, 3600));
        assert_eq!(number(""), Ok(None));
        assert_eq!(number("DurationSeconds=900"), Ok(Some(900)));
        for (text, rule) in [("899", "equal to 900"), ("3601", "equal to 3600"), ("x", "a number")]
        {
            let error = number(&format!("DurationSeconds={text}")).unwrap_err().to_string();
            assert!(error.ends_with(rule), "{error}");
        }
        assert_eq!(max_items(&form("")), Ok(100));
        assert!(max_items(&form("MaxItems=1001")).is_err());
    }
}
