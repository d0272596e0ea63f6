//! The policy simulator of IAM: what policies would decide about a request, independently of what
//! is stored.

use std::cell::RefCell;
use std::collections::BTreeSet;

use kms_base::text::bounded;
use kms_policy::{
    Action, Caller, ConditionKey, Context, Decision, Denial, Effect, IdentityPolicy, KeyPolicy,
    KeyType, Name, Policies, PolicyType, Request, Resource, TrustPolicy, Value, pair,
};

use super::engine::Names;
use kms_base::clock::Timestamp;
use kms_base::error::{Exception, KmsError};
use kms_base::identifier::Tags;
use kms_base::principal::Principal;
use kms_keys::document::PARTITION;

/// A simulated request.
#[derive(Clone, Copy)]
pub(crate) struct Simulation<'a> {
    /// The principal that sends the request; `None` if it is not specified.
    pub(crate) caller: Option<&'a Principal>,
    /// The caller's tags.
    pub(crate) tags: &'a Tags,
    /// The identity policies of the caller.
    pub(crate) identity: &'a [IdentityPolicy],
    /// The permissions boundary of the caller.
    pub(crate) boundary: Option<&'a IdentityPolicy>,
    /// The requested action.
    pub(crate) action: Action,
    /// The resource that the request acts on: an ARN, or `*`.
    pub(crate) resource: &'a str,
    /// The account that the resource belongs to.
    pub(crate) owner: &'a str,
    /// The policy of the resource, if it is to be evaluated.
    pub(crate) policy: Option<&'a ResourcePolicy>,
    /// The specified values of condition keys.
    pub(crate) given: &'a Entries,
    /// The time of the request.
    pub(crate) now: Timestamp,
}

/// The policy of a resource.
pub(crate) enum ResourcePolicy {
    /// The policy of a key.
    Key(KeyPolicy),
    /// The trust policy of a role, for requests to assume it.
    Trust(TrustPolicy),
}

/// The simulated decision.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Simulated {
    /// `allowed`, `explicitDeny` or `implicitDeny`.
    pub(crate) decision: &'static str,
    /// The statements that led to the decision.
    pub(crate) matched: Vec<Matched>,
    /// The condition keys that policies refer to and that have no value.
    pub(crate) missing: Vec<String>,
    /// Whether the permissions boundary allows the request; `None` if there is no boundary.
    pub(crate) bounded: Option<bool>,
}

/// A statement that applies to the request.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Matched {
    /// The kind of the policy that contains the statement.
    pub(crate) policy_type: PolicyType,
    /// The index of the policy among those of its kind.
    pub(crate) policy: usize,
    /// The index of the statement in the policy.
    pub(crate) statement: usize,
}

/// Values of condition keys that a user specifies.
#[derive(Debug, Default)]
pub(crate) struct Entries(Vec<(ConditionKey, Vec<String>)>);

impl Entries {
    /// Adds a condition key with its values.
    ///
    /// # Errors
    /// [`Exception::Validation`] if `key` is not the name of a condition key, or was added before.
    pub(crate) fn add(&mut self, key: &str, values: Vec<String>) -> Result<(), KmsError> {
        let fault = |what: &str| {
            let key = bounded(key, 256);
            KmsError::new(Exception::Validation, format!("ContextKeyName {key} {what}."))
        };
        let parsed = ConditionKey::parse(key).ok_or_else(|| fault("is not a condition key"))?;
        if self.find(&parsed).is_some() {
            return Err(fault("is given twice"));
        }
        self.0.push((parsed, values));
        Ok(())
    }

    fn find(&self, key: &ConditionKey) -> Option<&Vec<String>> {
        let same =
            |own: &ConditionKey| (own.name(), own.parameter()) == (key.name(), key.parameter());
        self.0.iter().find(|(own, _)| same(own)).map(|(_, values)| values)
    }
}

/// The condition context of the request, which takes note of condition keys without a value.
struct Given<'a> {
    simulation: &'a Simulation<'a>,
    caller: Option<Caller<'a>>,
    missing: RefCell<BTreeSet<String>>,
}

impl Context for Given<'_> {
    fn value(&self, key: &ConditionKey) -> Option<Value<'_>> {
        let Simulation { given, tags, owner, now, .. } = self.simulation;
        if let Some(values) = given.find(key) {
            return match (values.as_slice(), key.name().value_type()) {
                ([value], kind) if kind != Some(KeyType::List) => Some(Value::from(value.as_str())),
                _ => Some(Value::List(values)),
            };
        }
        let known = match key.name() {
            Name::CurrentTime | Name::EpochTime => {
                Some(Value::Date(i64::try_from(now.as_millis() / 1000).unwrap_or(i64::MAX)))
            }
            Name::ResourceAccount => Some(Value::from(*owner)),
            Name::PrincipalTag if self.caller.is_some() => {
                pair(key, tags.iter().map(|(key, value)| (key.as_str(), value.as_str())))
            }
            name => self.caller.as_ref().and_then(|caller| caller.value(name)),
        };
        if known.is_none() {
            self.missing.borrow_mut().insert(key.text().to_owned());
        }
        known
    }
}

/// The user name that stands for an unspecified caller. Policies cannot match it by name.
const NOBODY: &str = "simulated-caller";

/// Decides a simulated request.
///
/// # Errors
/// `Exception::KmsInternal` if the caller does not have a valid name.
pub(crate) fn simulate(simulation: &Simulation<'_>) -> Result<Simulated, KmsError> {
    let Simulation { identity, boundary, action, resource, owner, policy, .. } = *simulation;
    let nobody = format!("arn:aws:iam::{owner}:user/{NOBODY}");
    let names = simulation.caller.map(|principal| Names::of(principal, PARTITION));
    let named = names.as_ref().and_then(Names::caller);
    let caller = named.or_else(|| Caller::user(&nobody));
    let caller = caller.ok_or_else(|| KmsError::internal("a caller without a name"))?;
    let resource = match policy {
        Some(ResourcePolicy::Key(policy)) => {
            Resource::Key { arn: resource, account: owner, policy: Some(policy) }
        }
        Some(ResourcePolicy::Trust(policy)) => {
            Resource::Role { arn: resource, account: owner, policy }
        }
        None => Resource::Account { arn: Some(resource), account: owner },
    };
    let context = Given { simulation, caller: named, missing: RefCell::default() };
    let request = Request { caller, action, resource, context: &context };
    let policies = Policies { identity, boundary, ..Policies::default() };
    let explained = kms_policy::explain(&request, &policies);
    let (decision, effect) = match explained.decision {
        Decision::Allowed(_) => ("allowed", Effect::Allow),
        Decision::Denied(Denial::Explicit(_), _) => ("explicitDeny", Effect::Deny),
        Decision::Denied(..) => ("implicitDeny", Effect::Allow),
    };
    let matched =
        explained.statements.iter().filter(|report| report.applies() && report.effect == effect);
    let matched = matched.map(|report| Matched {
        policy_type: report.location.policy_type,
        policy: report.location.policy,
        statement: report.location.statement,
    });
    let bounded = boundary.map(|boundary| {
        let alone = Policies { identity: std::slice::from_ref(boundary), ..Policies::default() };
        let resource = Resource::Account { arn: resource.arn(), account: caller.account() };
        kms_policy::authorize(&Request { resource, ..request }, &alone).is_allowed()
    });
    let matched = matched.collect();
    let missing = context.missing.take().into_iter().collect();
    Ok(Simulated { decision, matched, missing, bounded })
}
