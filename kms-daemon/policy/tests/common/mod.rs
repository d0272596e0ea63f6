//! What the tests of whole decisions share: cases, a random generator for them, and a second
//! evaluator.
#![allow(dead_code, unreachable_pub, reason = "each test uses its part")]

use std::collections::BTreeMap;

use kms_policy::{
    Action, Caller, ConditionKey, Context, Decision, Grantee, Guardrail, GuardrailPolicy,
    IdentityPolicy, KeyPolicy, List, Policies, PolicyError, Request, Resource,
    Value as ContextValue, authorize,
};
use serde_json::Value;

pub mod generate;
pub mod reference;
pub mod rng;

pub const ACCOUNT: &str = "111122223333";
pub const OTHER_ACCOUNT: &str = "999999999999";
pub const KEY: &str = "arn:aws:kms:us-east-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab";
pub const ALIAS: &str = "arn:aws:kms:us-east-1:111122223333:alias/app";
pub const ROOT: &str = "arn:aws:iam::111122223333:root";
pub const USER: &str = "arn:aws:iam::111122223333:user/team/ana";
pub const ROLE: &str = "arn:aws:iam::111122223333:role/reader";
pub const SESSION: &str = "arn:aws:sts::111122223333:assumed-role/reader/s1";
pub const FEDERATED: &str = "arn:aws:sts::111122223333:federated-user/bob";
pub const OTHER_ROOT: &str = "arn:aws:iam::999999999999:root";
pub const OTHER_USER: &str = "arn:aws:iam::999999999999:user/eve";
pub const OTHER_ROLE: &str = "arn:aws:iam::999999999999:role/auditor";
pub const OTHER_SESSION: &str = "arn:aws:sts::999999999999:assumed-role/auditor/s1";
pub const SERVICE: &str = "logs.amazonaws.com";

/// The callers of the cases.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Who {
    Root,
    User,
    Session,
    Federated,
    OtherRoot,
    OtherUser,
    OtherSession,
    Service,
}

impl Who {
    pub const ALL: [Self; 8] = [
        Self::Root,
        Self::User,
        Self::Session,
        Self::Federated,
        Self::OtherRoot,
        Self::OtherUser,
        Self::OtherSession,
        Self::Service,
    ];

    pub fn arn(self) -> &'static str {
        match self {
            Self::Root => ROOT,
            Self::User => USER,
            Self::Session => SESSION,
            Self::Federated => FEDERATED,
            Self::OtherRoot => OTHER_ROOT,
            Self::OtherUser => OTHER_USER,
            Self::OtherSession => OTHER_SESSION,
            Self::Service => SERVICE,
        }
    }

    pub fn role(self) -> Option<&'static str> {
        match self {
            Self::Session => Some(ROLE),
            Self::OtherSession => Some(OTHER_ROLE),
            _ => None,
        }
    }

    pub fn account(self) -> &'static str {
        match self {
            Self::Root | Self::User | Self::Session | Self::Federated => ACCOUNT,
            Self::OtherRoot | Self::OtherUser | Self::OtherSession => OTHER_ACCOUNT,
            Self::Service => "",
        }
    }

    pub fn is_root(self) -> bool {
        matches!(self, Self::Root | Self::OtherRoot)
    }

    pub fn caller(self) -> Caller<'static> {
        match self {
            Self::Root | Self::OtherRoot => Caller::root(self.arn()),
            Self::User | Self::OtherUser => Caller::user(self.arn()),
            Self::Session | Self::OtherSession => {
                Caller::role_session(self.arn(), self.role().expect("a session has a role"))
            }
            Self::Federated => Caller::federated_user(self.arn()),
            Self::Service => Caller::service(&[SERVICE]),
        }
        .expect("a caller")
    }
}

/// Values of condition keys, by the keys' names in lower case.
#[derive(Debug, Clone, Default)]
pub struct Bag(pub BTreeMap<String, Entry>);

#[derive(Debug, Clone, PartialEq)]
pub enum Entry {
    One(String),
    Many(Vec<String>),
}

impl Bag {
    pub fn of(pairs: &[(&str, &str)]) -> Self {
        let entry =
            |(name, value): &(&str, &str)| (name.to_lowercase(), Entry::One((*value).to_owned()));
        Self(pairs.iter().map(entry).collect())
    }
}

impl Context for Bag {
    fn value(&self, key: &ConditionKey) -> Option<ContextValue<'_>> {
        Some(match self.0.get(&key.text().to_lowercase())? {
            Entry::One(text) => ContextValue::from(text.as_str()),
            Entry::Many(texts) => ContextValue::List(texts as &dyn List),
        })
    }
}

/// A request, and all documents that apply to it.
#[derive(Debug, Clone)]
pub struct Case {
    pub who: Who,
    pub action: Action,
    /// `None` if the action has no particular resource.
    pub resource: Option<&'static str>,
    /// `None` for a resource without a policy.
    pub key_policy: Option<Value>,
    pub identity: Vec<Value>,
    pub boundary: Option<Value>,
    pub session: Vec<Value>,
    pub service_control: Vec<Value>,
    pub resource_control: Vec<Value>,
    pub grant: Option<Grantee>,
    pub context: Bag,
}

impl Case {
    pub fn new(who: Who, action: Action) -> Self {
        Self {
            who,
            action,
            resource: Some(KEY),
            key_policy: None,
            identity: Vec::new(),
            boundary: None,
            session: Vec::new(),
            service_control: Vec::new(),
            resource_control: Vec::new(),
            grant: None,
            context: Bag::default(),
        }
    }

    pub fn compile(&self) -> Result<Compiled<'_>, PolicyError> {
        let identity = |list: &[Value]| -> Result<Vec<_>, _> {
            list.iter().map(|value| IdentityPolicy::parse(&value.to_string())).collect()
        };
        let boundary = self.boundary.iter().map(|value| IdentityPolicy::parse(&value.to_string()));
        Ok(Compiled {
            case: self,
            key: self.key_policy.as_ref().map(|v| KeyPolicy::parse(&v.to_string())).transpose()?,
            identity: identity(&self.identity)?,
            boundary: boundary.collect::<Result<Vec<_>, _>>()?.pop(),
            session: identity(&self.session)?,
            service_control: identity(&self.service_control)?,
            resource_control: self
                .resource_control
                .iter()
                .map(|value| GuardrailPolicy::parse(&value.to_string()))
                .collect::<Result<_, _>>()?,
        })
    }
}

/// A case whose documents are compiled.
pub struct Compiled<'c> {
    pub case: &'c Case,
    pub key: Option<KeyPolicy>,
    pub identity: Vec<IdentityPolicy>,
    pub boundary: Option<IdentityPolicy>,
    pub session: Vec<IdentityPolicy>,
    pub service_control: Vec<IdentityPolicy>,
    pub resource_control: Vec<GuardrailPolicy>,
}

impl Compiled<'_> {
    pub fn request(&self) -> Request<'_> {
        Request {
            caller: self.case.who.caller(),
            action: self.case.action,
            resource: match &self.key {
                Some(policy) => Resource::Key { arn: KEY, account: ACCOUNT, policy: Some(policy) },
                None => Resource::Account {
                    arn: Some(self.case.resource.unwrap_or("*")),
                    account: ACCOUNT,
                },
            },
            context: &self.case.context,
        }
    }

    /// Calls `then` with the policies.
    pub fn with_policies<T>(&self, then: impl FnOnce(&Policies<'_>) -> T) -> T {
        let mut guardrails = Vec::new();
        if !self.service_control.is_empty() {
            guardrails.push(Guardrail::ServiceControl(&self.service_control));
        }
        if !self.resource_control.is_empty() {
            guardrails.push(Guardrail::ResourceControl(&self.resource_control));
        }
        then(&Policies {
            identity: &self.identity,
            boundary: self.boundary.as_ref(),
            session: &self.session,
            guardrails: &guardrails,
        })
    }

    pub fn decide(&self) -> Outcome {
        let request = self.request();
        Outcome::of(&self.with_policies(|policies| self.authorize(&request, policies)))
    }

    /// Decides with the grant of the case, if it has one.
    pub fn authorize(&self, request: &Request<'_>, policies: &Policies<'_>) -> Decision {
        let decision = authorize(request, policies);
        self.case.grant.map_or(decision, |grantee| decision.with_grant(grantee))
    }
}

/// A decision without its details.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Allowed,
    Explicit(&'static str),
    Implicit(&'static str),
    OtherAccount,
}

impl Outcome {
    pub fn of(decision: &Decision) -> Self {
        use kms_policy::Denial;
        match decision {
            Decision::Allowed(_) => Self::Allowed,
            Decision::Denied(Denial::Explicit(location), _) => {
                Self::Explicit(location.policy_type.name())
            }
            Decision::Denied(Denial::Implicit(policy_type), _) => {
                Self::Implicit(policy_type.name())
            }
            Decision::Denied(Denial::TooCostly, _) => panic!("no case is so large"),
            Decision::Denied(Denial::OtherAccount, _) => Self::OtherAccount,
        }
    }

    pub fn is_allowed(self) -> bool {
        self == Self::Allowed
    }
}
