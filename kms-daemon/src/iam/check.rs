//! Constraints of the IAM and STS service models on names, paths and numbers.

use super::error::IamError;
use super::form::{Form, member};

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
            text.chars().take(32).collect::<String>(),
            member(parameter)
        ))
    };
    match text.parse() {
        Ok(number) if number < min => {
            Err(fault(format!("have value greater than or equal to {min}")))
        }
        Ok(number) if number > max => Err(fault(format!("have value less than or equal to {max}"))),
        Ok(number) => Ok(Some(number)),
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
