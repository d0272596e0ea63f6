//! Key policy documents: parsing, and what they say about a request.
//!
//! Parsing accepts only what [`KeyPolicy::evaluate`] evaluates exactly.

use serde_json::{Map, Value};

use super::Action;
use super::json::UniqueJson;
use crate::error::{Exception, KmsError};
use crate::key::Scope;
use crate::principal::Principal;

mod built_in;

/// A key policy: its text, exactly as it was put, and its meaning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyPolicy {
    text: String,
    statements: Vec<Statement>,
}

/// Why a document is not an acceptable key policy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// Not the JSON of a policy.
    #[error("Syntax errors in policy: {0}.")]
    Syntax(String),
    /// A principal that does not exist.
    #[error("Policy contains a statement with one or more invalid principals: {0}.")]
    Principal(String),
    /// A policy element that cannot be evaluated, and therefore is not accepted.
    #[error("Policy contains an element that this service does not evaluate: {0}.")]
    NotEvaluated(String),
}

impl From<PolicyError> for KmsError {
    fn from(error: PolicyError) -> Self {
        Self::new(Exception::MalformedPolicyDocument, error.to_string())
    }
}

/// What a policy says about a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Decision {
    /// A statement allows it, and none denies it.
    Allowed,
    /// A statement denies it.
    ExplicitDeny,
    /// No statement is about it.
    NotAllowed,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Statement {
    effect: Effect,
    principals: Listed<PrincipalPattern>,
    /// `None` if the element is missing: the statement then never applies.
    actions: Option<Listed<ActionPattern>>,
    resources: Option<Listed<ResourcePattern>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Effect {
    Allow,
    Deny,
}

/// An element or its `Not…` form.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Listed<T> {
    Any(Vec<T>),
    NoneOf(Vec<T>),
}

impl<T> Listed<T> {
    fn matches(&self, matches: impl Fn(&T) -> bool) -> bool {
        match self {
            Self::Any(patterns) => patterns.iter().any(matches),
            Self::NoneOf(patterns) => !patterns.iter().any(matches),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum PrincipalPattern {
    Anyone,
    Account(String),
    /// Matches only calls that a service makes itself, of which there are none.
    Service,
}

/// `kms:` pattern in lower case, without the prefix.
#[derive(Debug, Clone, PartialEq, Eq)]
struct ActionPattern(String);

#[derive(Debug, Clone, PartialEq, Eq)]
enum ResourcePattern {
    Anything,
    Arn(String),
}

impl KeyPolicy {
    /// Reads a document for a key in `scope`.
    ///
    /// # Errors
    /// [`PolicyError`]
    pub fn parse(text: String, scope: &Scope) -> Result<Self, PolicyError> {
        let UniqueJson(document) =
            serde_json::from_str(&text).map_err(|error| PolicyError::Syntax(error.to_string()))?;
        let document = object("the policy", document)?;
        let mut statements = Vec::new();
        for (name, value) in document {
            match name.as_str() {
                "Version" if ["2012-10-17", "2008-10-17"].contains(&text_of(&name, &value)?) => {}
                "Id" => {
                    text_of(&name, &value)?;
                }
                "Statement" => {
                    for statement in one_or_many(value) {
                        statements.push(Statement::parse(statement, scope)?);
                    }
                }
                _ => return Err(syntax(format_args!("{name} is not understood"))),
            }
        }
        if statements.is_empty() {
            return Err(syntax(format_args!("there is no Statement")));
        }
        Ok(Self { text, statements })
    }

    /// The document as it was put.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// What the policy says about `principal` doing `action` with the key `arn`.
    pub(super) fn evaluate(&self, principal: &Principal, action: Action, arn: &str) -> Decision {
        let applies = |effect| {
            let mut of_effect = self.statements.iter().filter(|s| s.effect == effect);
            of_effect.any(|statement| statement.applies(principal, action, arn))
        };
        if applies(Effect::Deny) {
            Decision::ExplicitDeny
        } else if applies(Effect::Allow) {
            Decision::Allowed
        } else {
            Decision::NotAllowed
        }
    }
}

impl Statement {
    fn parse(statement: Value, scope: &Scope) -> Result<Self, PolicyError> {
        let mut effect = None;
        let mut principals = None;
        let mut actions = None;
        let mut resources = None;
        for (name, value) in object("Statement", statement)? {
            match name.as_str() {
                "Sid" => {
                    text_of(&name, &value)?;
                }
                "Effect" => effect = Some(parse_effect(&value)?),
                "Principal" => {
                    put(&name, &mut principals, Listed::Any(parse_principals(value, scope)?))?;
                }
                "NotPrincipal" => {
                    put(&name, &mut principals, Listed::NoneOf(parse_principals(value, scope)?))?;
                }
                "Action" => put(&name, &mut actions, Listed::Any(parse_actions(value)?))?,
                "NotAction" => put(&name, &mut actions, Listed::NoneOf(parse_actions(value)?))?,
                "Resource" => put(&name, &mut resources, Listed::Any(parse_resources(value)?))?,
                "NotResource" => {
                    put(&name, &mut resources, Listed::NoneOf(parse_resources(value)?))?;
                }
                "Condition" => {
                    if !object(&name, value)?.is_empty() {
                        return Err(PolicyError::NotEvaluated("Condition".to_owned()));
                    }
                }
                _ => return Err(syntax(format_args!("{name} is not understood"))),
            }
        }
        let effect = effect.ok_or_else(|| syntax(format_args!("Effect is missing")))?;
        let principals = principals.ok_or_else(|| syntax(format_args!("Principal is missing")))?;
        if effect == Effect::Allow && matches!(principals, Listed::NoneOf(_)) {
            // It would allow everyone who is not listed, strangers included.
            return Err(PolicyError::NotEvaluated("NotPrincipal with Allow".to_owned()));
        }
        Ok(Self { effect, principals, actions, resources })
    }

    fn applies(&self, principal: &Principal, action: Action, arn: &str) -> bool {
        let (Some(actions), Some(resources)) = (&self.actions, &self.resources) else {
            return false;
        };
        self.principals.matches(|pattern| pattern.matches(principal))
            && actions.matches(|pattern| pattern.matches(action))
            && resources.matches(|pattern| pattern.matches(arn))
    }
}

impl PrincipalPattern {
    fn matches(&self, principal: &Principal) -> bool {
        match self {
            Self::Anyone => true,
            // The account root has every permission its account can delegate.
            Self::Account(account) => *account == principal.account,
            Self::Service => false,
        }
    }

    /// Reads an element of `AWS`. Users and roles do not exist here, so nobody can name them.
    fn parse_aws(text: &str, scope: &Scope) -> Result<Self, PolicyError> {
        if text == "*" {
            return Ok(Self::Anyone);
        }
        let account = text
            .strip_prefix("arn:")
            .and_then(|rest| rest.strip_prefix(scope.partition()))
            .and_then(|rest| rest.strip_prefix(":iam::")?.strip_suffix(":root"))
            .unwrap_or(text);
        if account.len() == 12 && account.bytes().all(|digit| digit.is_ascii_digit()) {
            return Ok(Self::Account(account.to_owned()));
        }
        Err(PolicyError::Principal(text.to_owned()))
    }
}

impl ActionPattern {
    fn parse(text: &str) -> Result<Self, PolicyError> {
        let lower = text.to_ascii_lowercase();
        let name = if lower == "*" { Some("*") } else { lower.strip_prefix("kms:") };
        match name {
            Some(name) if name.bytes().all(|b| b.is_ascii_alphanumeric() || b"*?".contains(&b)) => {
                Ok(Self(name.to_owned()))
            }
            _ => Err(syntax(format_args!("{text:?} is not an action of KMS"))),
        }
    }

    fn matches(&self, action: Action) -> bool {
        let name = action.name().to_ascii_lowercase();
        name.strip_prefix("kms:").is_some_and(|name| glob(self.0.as_bytes(), name.as_bytes()))
    }
}

impl ResourcePattern {
    fn parse(text: &str) -> Result<Self, PolicyError> {
        match text {
            "*" => Ok(Self::Anything),
            _ if text.contains(['*', '?', '$']) => {
                Err(PolicyError::NotEvaluated(format!("Resource {text:?}")))
            }
            _ => Ok(Self::Arn(text.to_owned())),
        }
    }

    fn matches(&self, arn: &str) -> bool {
        match self {
            Self::Anything => true,
            Self::Arn(own) => own == arn,
        }
    }
}

fn parse_effect(value: &Value) -> Result<Effect, PolicyError> {
    match text_of("Effect", value)? {
        "Allow" => Ok(Effect::Allow),
        "Deny" => Ok(Effect::Deny),
        other => Err(syntax(format_args!("Effect {other:?} is neither Allow nor Deny"))),
    }
}

fn parse_principals(value: Value, scope: &Scope) -> Result<Vec<PrincipalPattern>, PolicyError> {
    if value == "*" {
        return Ok(vec![PrincipalPattern::Anyone]);
    }
    let mut patterns = Vec::new();
    for (kind, value) in object("Principal", value)? {
        for text in texts(&kind, value)? {
            patterns.push(match kind.as_str() {
                "AWS" => PrincipalPattern::parse_aws(&text, scope)?,
                "Service" if text.ends_with(".amazonaws.com") => PrincipalPattern::Service,
                "Federated" | "CanonicalUser" => return Err(PolicyError::NotEvaluated(kind)),
                _ => return Err(PolicyError::Principal(text)),
            });
        }
    }
    if patterns.is_empty() {
        return Err(syntax(format_args!("Principal is empty")));
    }
    Ok(patterns)
}

fn parse_actions(value: Value) -> Result<Vec<ActionPattern>, PolicyError> {
    texts("Action", value)?.iter().map(|text| ActionPattern::parse(text)).collect()
}

fn parse_resources(value: Value) -> Result<Vec<ResourcePattern>, PolicyError> {
    texts("Resource", value)?.iter().map(|text| ResourcePattern::parse(text)).collect()
}

/// Sets an element of which a statement may have only one form.
fn put<T>(name: &str, place: &mut Option<T>, value: T) -> Result<(), PolicyError> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(syntax(format_args!("{name} and its opposite are both given"))),
    }
}

fn object(name: &str, value: Value) -> Result<Map<String, Value>, PolicyError> {
    match value {
        Value::Object(object) => Ok(object),
        _ => Err(syntax(format_args!("{name} is not an object"))),
    }
}

fn one_or_many(value: Value) -> Vec<Value> {
    match value {
        Value::Array(values) => values,
        value => vec![value],
    }
}

fn texts(name: &str, value: Value) -> Result<Vec<String>, PolicyError> {
    let texts: Vec<String> = one_or_many(value)
        .iter()
        .map(|value| text_of(name, value).map(str::to_owned))
        .collect::<Result<_, _>>()?;
    if texts.is_empty() { Err(syntax(format_args!("{name} is empty"))) } else { Ok(texts) }
}

fn text_of<'v>(name: &str, value: &'v Value) -> Result<&'v str, PolicyError> {
    value.as_str().ok_or_else(|| syntax(format_args!("{name} is not a string")))
}

fn syntax(text: std::fmt::Arguments<'_>) -> PolicyError {
    PolicyError::Syntax(text.to_string())
}

/// Whether `text` matches `pattern`, in which `*` stands for any bytes and `?` for one. Linear in
/// practice: only the last `*` is ever reconsidered.
fn glob(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(&byte) if byte == b'?' || byte == text[t] => {
                p += 1;
                t += 1;
            }
            _ => match star {
                Some((star_p, star_t)) => {
                    star = Some((star_p, star_t + 1));
                    p = star_p + 1;
                    t = star_t + 1;
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests;
