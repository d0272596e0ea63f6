//! Documents: the elements of a policy and its statements.
//!
//! The rules are those of the IAM JSON policy grammar. Whatever would be skipped or guessed at
//! in an evaluation is refused here instead.

use crate::action::ActionSet;
use crate::arn::ArnPattern;
use crate::budget::Share;
use crate::condition::Condition;
use crate::error::{Fault, PolicyError, StatementName};
use crate::json::Json;
use crate::key::{ConditionKey, Name};
use crate::operator::{Operator, Set};
use crate::principal::{self, NamedPrincipal, Principals};
use crate::statement::{Effect, Resources, Statement};

/// What a document is to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The policy of a key.
    Key,
    /// A policy of an identity, a permissions boundary, a session policy or a service control
    /// policy.
    Identity,
    /// The trust policy of a role.
    Trust,
    /// A resource control policy or the policy of an endpoint.
    Guardrail,
}

impl Kind {
    /// What a policy of the kind can take of a decision.
    pub(crate) const fn share(self) -> Share {
        match self {
            Self::Key => Share::RESOURCE,
            Self::Identity | Self::Trust | Self::Guardrail => Share::ONE_OF_SEVERAL,
        }
    }
}

/// Reads a document.
pub(crate) fn parse(text: &str, kind: Kind) -> Result<Box<[Statement]>, PolicyError> {
    if kind == Kind::Key
        && let Some(c) = text.chars().find(|c| !is_key_policy_character(*c))
    {
        return Err(Fault::Character(c).into());
    }
    let document = Json::parse(text).map_err(|error| Fault::Json(error.to_string()))?;
    let mut version = Version::Old;
    let mut statements = None;
    for (name, value) in object(document)? {
        let within = |error: PolicyError| error.within(&name);
        match name.as_str() {
            "Version" => version = Version::parse(value).map_err(within)?,
            "Id" => drop(string(value).map_err(within)?),
            "Statement" => statements = Some(value.one_or_many()),
            _ => return Err(within(Fault::UnknownElement.into())),
        }
    }
    let statements = statements.ok_or(Fault::Missing("Statement"))?;
    if statements.is_empty() {
        return Err(PolicyError::new(Fault::Empty).within("Statement"));
    }
    // The members of an object have no order, so the version is known only now.
    let rules = Rules { kind, variables: version == Version::New };
    let read = |(index, value)| rules.statement(index, value);
    let statements: Box<[Statement]> =
        statements.into_iter().enumerate().map(read).collect::<Result<_, _>>()?;
    if kind != Kind::Key {
        check_sids_are_unique(&statements)?;
    }
    Ok(statements)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    /// 2008-10-17, also when none is given. It has no variables.
    Old,
    /// 2012-10-17
    New,
}

impl Version {
    fn parse(value: Json) -> Result<Self, PolicyError> {
        match string(value)?.as_str() {
            "2012-10-17" => Ok(Self::New),
            "2008-10-17" => Ok(Self::Old),
            other => Err(Fault::Version(other.to_owned()).into()),
        }
    }
}

/// How a statement is read.
#[derive(Clone, Copy)]
struct Rules {
    kind: Kind,
    variables: bool,
}

/// An element and its negation, of which a statement may have one.
struct Either<T>(Option<(T, bool)>);

impl<T> Either<T> {
    fn put(&mut self, name: &'static str, negated: bool, value: T) -> Result<(), PolicyError> {
        match self.0.replace((value, negated)) {
            None => Ok(()),
            Some(_) => Err(Fault::Both(name).into()),
        }
    }
}

impl Rules {
    fn statement(self, index: usize, value: Json) -> Result<Statement, PolicyError> {
        let mut sid = None;
        self.elements(value, &mut sid).map_err(|error| PolicyError {
            statement: Some(StatementName { index, sid: sid.map(String::from) }),
            ..error
        })
    }

    fn elements(self, value: Json, sid: &mut Option<Box<str>>) -> Result<Statement, PolicyError> {
        let mut members = object(value)?;
        // First, so that all other faults can name the statement.
        if let Some(at) = members.iter().position(|(name, _)| name == "Sid") {
            let (name, value) = members.remove(at);
            *sid = Some(self.sid(value).map_err(|error| error.within(&name))?);
        }
        let mut effect = None;
        let mut conditions = Vec::new();
        let (mut principals, mut actions, mut resources) =
            (Either(None), Either(None), Either(None));
        for (name, value) in members {
            let within = |error: PolicyError| error.within(&name);
            let negated = name.starts_with("Not");
            match name.as_str() {
                "Effect" => effect = Some(parse_effect(value).map_err(within)?),
                "Principal" | "NotPrincipal" if self.kind != Kind::Identity => {
                    let list = principal::parse(value).map_err(within)?;
                    principals.put("Principal", negated, list)?;
                }
                "Action" | "NotAction" => {
                    actions.put("Action", negated, self.actions(value).map_err(within)?)?;
                }
                "Resource" | "NotResource" if self.kind != Kind::Trust => {
                    resources.put("Resource", negated, self.resources(value).map_err(within)?)?;
                }
                "Condition" => conditions = self.conditions(value).map_err(within)?,
                _ => return Err(within(Fault::UnknownElement.into())),
            }
        }
        let effect = effect.ok_or(Fault::Missing("Effect"))?;
        let principals = match principals.0 {
            Some((list, negated)) => Some(self.principals(list, negated, effect)?),
            None if self.kind == Kind::Identity => None,
            None => return Err(Fault::NoPrincipal.into()),
        };
        let actions = match actions.0 {
            Some((set, false)) => set,
            Some((set, true)) => set.complement(),
            None => return Err(Fault::Missing("Action").into()),
        };
        let resources = match resources.0 {
            Some((list, false)) => Some(Resources::Any(list)),
            Some((list, true)) => Some(Resources::NoneOf(list)),
            None if self.kind == Kind::Trust => None,
            None => return Err(Fault::Missing("Resource").into()),
        };
        let sid = sid.clone();
        Ok(Statement { sid, effect, principals, actions, resources, conditions: conditions.into() })
    }

    /// Statement ids of key policies are free text, with blanks in the default policy's.
    fn sid(self, value: Json) -> Result<Box<str>, PolicyError> {
        let sid = string(value)?;
        if self.kind == Kind::Key || sid.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            Ok(sid.into())
        } else {
            Err(Fault::Sid(sid).into())
        }
    }

    fn principals(
        self,
        list: Box<[NamedPrincipal]>,
        negated: bool,
        effect: Effect,
    ) -> Result<Principals, PolicyError> {
        if !negated {
            return Ok(Principals::Any(list));
        }
        let fault = if effect == Effect::Allow {
            Fault::NotPrincipalWithAllow
        } else if self.kind == Kind::Trust {
            Fault::UnknownElement
        } else if list.contains(&NamedPrincipal::Anyone) {
            Fault::Principal("*".to_owned())
        } else {
            return Ok(Principals::NoneOf(list));
        };
        Err(PolicyError::new(fault).within("NotPrincipal"))
    }

    fn actions(self, value: Json) -> Result<ActionSet, PolicyError> {
        let mut set = ActionSet::default();
        for text in strings(value)? {
            if !self.is_action(&text) {
                return Err(Fault::Action(text).into());
            }
            set = set.union(ActionSet::matching(&text));
        }
        Ok(set)
    }

    /// Whether `text` is a pattern of actions such a policy can be about.
    fn is_action(self, text: &str) -> bool {
        if text == "*" {
            return self.kind != Kind::Trust;
        }
        let Some((service, name)) = text.split_once(':') else { return false };
        let of = |wanted: &str| service.eq_ignore_ascii_case(wanted);
        let service_fits = match self.kind {
            Kind::Key => of("kms"),
            Kind::Trust => of("sts"),
            Kind::Identity | Kind::Guardrail => {
                let token = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
                !service.is_empty() && service.bytes().all(token)
            }
        };
        let token = |byte: u8| byte.is_ascii_alphanumeric() || b"*?".contains(&byte);
        service_fits && !name.is_empty() && name.bytes().all(token)
    }

    fn resources(self, value: Json) -> Result<Box<[ArnPattern]>, PolicyError> {
        let texts = strings(value)?;
        let parse = |text: &String| ArnPattern::parse_resource(text, self.variables);
        Ok(texts.iter().map(parse).collect::<Result<_, _>>()?)
    }

    fn conditions(self, value: Json) -> Result<Vec<Condition>, PolicyError> {
        let mut conditions = Vec::new();
        for (name, keys) in object(value)? {
            let operator = Operator::parse(&name).ok_or_else(|| Fault::Operator(name.clone()))?;
            let keys = object(keys).map_err(|error| error.within(&name))?;
            if keys.is_empty() {
                return Err(PolicyError::new(Fault::Empty).within(&name));
            }
            for (key, values) in keys {
                let read = || {
                    let key = self.condition_key(&key, operator)?;
                    Condition::parse(operator, key, values, self.variables)
                };
                conditions.push(read().map_err(|error| error.within(&key).within(&name))?);
            }
        }
        Ok(conditions)
    }

    /// Reads a key, and checks in key policies that a condition with it can hold and fail.
    ///
    /// IAM takes any key into an identity policy; a request that lacks it is evaluated as such.
    /// KMS refuses the keys that are of no use in a key policy.
    fn condition_key(self, text: &str, operator: Operator) -> Result<ConditionKey, PolicyError> {
        let key = ConditionKey::parse(text).ok_or_else(|| Fault::ConditionKey(text.to_owned()))?;
        if self.kind != Kind::Key {
            return Ok(key);
        }
        let name = key.name();
        if key.is_unknown_to_kms() {
            return Err(Fault::ConditionKey(text.to_owned()).into());
        }
        if matches!(name, Name::ResourceAliases | Name::ResourceTag) {
            return Err(Fault::ConditionKeyNotPermitted(text.to_owned()).into());
        }
        if operator.set == Some(Set::All)
            && matches!(name, Name::EncryptionContext | Name::RequestTag)
        {
            return Err(Fault::OverlyPermissive(text.to_owned()).into());
        }
        if name.value_type().is_some_and(|value_type| !operator.suits(value_type)) {
            let (operator, key) = (operator.to_string(), text.to_owned());
            return Err(Fault::OperatorForKey { operator, key }.into());
        }
        Ok(key)
    }
}

/// The characters of a key policy, in the words of the KMS API reference: printable ASCII, the
/// Latin-1 supplement, tab, line feed, carriage return.
const fn is_key_policy_character(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\r' | ' '..='~' | '\u{a0}'..='\u{ff}')
}

fn check_sids_are_unique(statements: &[Statement]) -> Result<(), PolicyError> {
    let mut sids: Vec<&str> =
        statements.iter().filter_map(|statement| statement.sid.as_deref()).collect();
    sids.sort_unstable();
    let mut pairs = sids.iter().zip(sids.iter().skip(1));
    match pairs.find(|(sid, next)| sid == next && !sid.is_empty()) {
        Some((sid, _)) => Err(Fault::RepeatedSid((*sid).to_owned()).into()),
        None => Ok(()),
    }
}

fn parse_effect(value: Json) -> Result<Effect, PolicyError> {
    match string(value)?.as_str() {
        "Allow" => Ok(Effect::Allow),
        "Deny" => Ok(Effect::Deny),
        other => Err(Fault::Effect(other.to_owned()).into()),
    }
}

fn object(value: Json) -> Result<Vec<(String, Json)>, PolicyError> {
    match value {
        Json::Object(members) => Ok(members),
        other => Err(Fault::Type { wanted: "an object", found: other.kind() }.into()),
    }
}

fn string(value: Json) -> Result<String, PolicyError> {
    match value {
        Json::Text(text) => Ok(text),
        other => Err(Fault::Type { wanted: "a string", found: other.kind() }.into()),
    }
}

/// One string, or several.
fn strings(value: Json) -> Result<Vec<String>, PolicyError> {
    let texts: Vec<String> =
        value.one_or_many().into_iter().map(string).collect::<Result<_, _>>()?;
    if texts.is_empty() { Err(Fault::Empty.into()) } else { Ok(texts) }
}

#[cfg(test)]
mod tests;
