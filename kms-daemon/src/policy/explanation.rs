//! Explains what would be decided about a request and why, with each statement and each grant that
//! could affect the decision.

use kms_policy::{
    Basis, ConditionKey, Context, Decision, Denial, Effect, Grantee, KeyType, Location, Name,
    PolicyType, Resource, Value,
};

use super::conditions::Conditions;
use super::engine::{Names, foreign_text, own_policies};
use super::{CallerName, Lookups, Request, Requester, Subject};
use kms_base::clock::Timestamp;
use kms_base::error::{Exception, KmsError};
use kms_base::identifier::Scope;
use kms_base::principal::PrincipalKind;
use kms_keys::grant::{GrantUse, Objection, Pairs};
use kms_keys::{GrantId, GrantRecord, KeyRecord, Stored};
use kms_model::action::{Action, GRANTABLE, KeyRule};

/// A hypothetical request.
#[derive(Clone, Copy)]
pub(crate) struct Hypothesis<'a> {
    /// The caller and the caller's policies.
    pub(crate) requester: Requester<'a>,
    /// The names of the caller's policies.
    pub(crate) names: &'a PolicyNames,
    /// The action, for example `kms:Decrypt`.
    pub(crate) action: &'a str,
    /// The account and Region of the request.
    pub(crate) scope: &'a Scope,
    /// The key, for actions that are about one, and the name by which the request would name it.
    pub(crate) key: Option<(&'a KeyRecord, &'a str)>,
    /// Grants that name the caller, or an earlier principal with the caller's name.
    pub(crate) grants: &'a [(GrantId, Stored<GrantRecord>, Grantee)],
    /// The values of condition keys that the request would have.
    pub(crate) given: &'a Given,
    /// What was looked up for conditions.
    pub(crate) lookups: &'a Lookups,
    /// The time of the request.
    pub(crate) now: Timestamp,
}

/// The names of a caller's policies, as shown to people.
#[derive(Debug, Clone, Default)]
pub(crate) struct PolicyNames {
    /// The names of the identity policies, in their order.
    pub(crate) identity: Vec<String>,
    /// The name of the permissions boundary.
    pub(crate) boundary: Option<String>,
}

/// Values of condition keys that a user specifies.
#[derive(Debug, Default)]
pub(crate) struct Given {
    values: Vec<(ConditionKey, Vec<String>)>,
    context: Pairs,
}

/// What would be decided, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Explanation {
    /// Whether the request would be allowed.
    pub(crate) allowed: bool,
    /// Why, in a sentence.
    pub(crate) reason: String,
    /// The error text that the caller would get; `None` if the request is allowed.
    pub(crate) told: Option<String>,
    /// Every statement of every policy that applies to the caller or the key.
    pub(crate) statements: Vec<StatementReport>,
    /// Every grant on the key that names the caller, or an earlier principal with the caller's
    /// name.
    pub(crate) grants: Vec<GrantReport>,
}

/// How one statement relates to the request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StatementReport {
    /// The name of the policy that contains the statement.
    pub(crate) policy: String,
    /// The number of the statement in its policy, from 1.
    pub(crate) number: usize,
    /// The `Sid` of the statement.
    pub(crate) sid: Option<String>,
    /// `Allow` or `Deny`.
    pub(crate) effect: &'static str,
    /// The reasons why the statement does not apply; empty if it does.
    pub(crate) mismatches: Vec<String>,
}

/// How one grant relates to the request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct GrantReport {
    /// The grant id.
    pub(crate) id: GrantId,
    /// The grantee principal.
    pub(crate) grantee: String,
    /// Why the grant does not allow the request; `None` if it does.
    pub(crate) objection: Option<&'static str>,
}

impl Given {
    /// Adds a value of a condition key. Several values of one key form a list.
    ///
    /// # Errors
    /// [`Exception::Validation`] if `key` is not a condition key of requests to KMS.
    pub(crate) fn add(&mut self, key: &str, value: &str) -> Result<(), KmsError> {
        let parsed = ConditionKey::parse(key);
        let Some(parsed) = parsed.filter(|key| key.name() != Name::Other) else {
            return Err(invalid(format!("{key} is not a condition key of requests to KMS.")));
        };
        if parsed.name() == Name::EncryptionContext {
            // The pair keeps its case; only the rest of the condition key is case-insensitive.
            let pair = key.splitn(3, ':').nth(2).unwrap_or_default();
            self.context.insert(pair.to_owned(), value.to_owned());
            return Ok(());
        }
        match self.values.iter_mut().find(|(known, _)| same(known, &parsed)) {
            Some((_, values)) => values.push(value.to_owned()),
            None => self.values.push((parsed, vec![value.to_owned()])),
        }
        Ok(())
    }
}

/// Whether two condition keys are the same.
fn same(one: &ConditionKey, other: &ConditionKey) -> bool {
    (one.name(), one.parameter()) == (other.name(), other.parameter())
}

/// The condition context of a hypothetical request: the specified values, and for other keys what
/// is known about the key and the caller.
struct Hypothetical<'a> {
    given: &'a Given,
    known: Conditions<'a>,
    now: Timestamp,
}

impl Context for Hypothetical<'_> {
    fn value(&self, key: &ConditionKey) -> Option<Value<'_>> {
        let given = self.given.values.iter().find(|(given, _)| same(given, key));
        match given.map(|(_, values)| values) {
            Some(values) if key.name().value_type() == Some(KeyType::List) => {
                Some(Value::List(values))
            }
            Some(values) => match values.as_slice() {
                [value] => Some(Value::from(value.as_str())),
                _ => Some(Value::Unknown),
            },
            None => match key.name() {
                Name::CurrentTime | Name::EpochTime => {
                    Some(Value::Date(i64::try_from(self.now.as_millis() / 1000).ok()?))
                }
                _ => self.known.value(key),
            },
        }
    }
}

/// Decides a hypothetical request and explains the decision.
///
/// # Errors
/// [`Exception::Validation`] if KMS does not have the action, or the action needs a key and none is
/// given.
pub(crate) fn explain(hypothesis: &Hypothesis<'_>) -> Result<Explanation, KmsError> {
    let Hypothesis { requester, scope, key, .. } = *hypothesis;
    let action = Action::parse(hypothesis.action);
    let action = action.filter(|action| action.service() == "kms");
    let action = action.ok_or_else(|| {
        invalid(format!("{} is not an action of KMS, such as kms:Decrypt.", hypothesis.action))
    })?;
    if KeyRule::of(action).is_some() && key.is_none() {
        return Err(invalid(format!("{} is about a key: name one.", action.name())));
    }
    let names = Names::of(requester.principal, scope.partition());
    let caller = names.caller();
    let caller = caller.ok_or_else(|| KmsError::internal("a caller without a name"))?;
    let subject = key.map_or(Subject::Account, |(record, _)| Subject::Key(record));
    let hypothetical = Request {
        named: key.map(|(_, named)| named).unwrap_or_default(),
        context: &hypothesis.given.context,
        lookups: hypothesis.lookups,
        ..Request::new(requester, action, scope, subject)
    };
    let (given, now) = (hypothesis.given, hypothesis.now);
    let context = Hypothetical { given, known: Conditions::new(&hypothetical, caller), now };
    let arn = key.map(|(record, _)| record.arn());
    let account = scope.account.as_str();
    let resource = match (key, &arn) {
        (Some((record, _)), Some(arn)) => {
            Resource::Key { arn, account, policy: Some(record.policy.compiled()) }
        }
        _ => Resource::Account { arn: None, account },
    };
    let request = kms_policy::Request { caller, action, resource, context: &context };
    let grants = hypothesis.grants(action);
    let explained = kms_policy::explain(&request, &own_policies(requester));
    let applying =
        hypothesis.grants.iter().zip(&grants).filter(|(_, told)| told.objection.is_none());
    let by_grant = applying
        .map(|((id, _, grantee), _)| (id, explained.decision.with_grant(*grantee)))
        .find(|(_, decision)| matches!(decision, Decision::Allowed(Basis::Grant(_))));
    let names = Labels { names: hypothesis.names, explained: &explained.statements };
    let decision = by_grant.map_or(explained.decision, |(_, decision)| decision);
    let (reason, told) = match (decision, by_grant) {
        (Decision::Allowed(_), Some((id, _))) => (format!("The grant {id} allows it."), None),
        (Decision::Allowed(basis), None) => (names.basis(basis), None),
        (Decision::Denied(denial, _), _) => {
            let told = match requester.is_foreign_to(scope) {
                true => foreign_text(requester.principal, action.name()),
                false => denial.message(&request),
            };
            (names.denial(denial), Some(told))
        }
    };
    let statements = explained.statements.iter().map(|report| StatementReport {
        policy: names.policy(report.location),
        number: report.location.statement + 1,
        sid: report.sid.clone(),
        effect: match report.effect {
            Effect::Allow => "Allow",
            Effect::Deny => "Deny",
        },
        mismatches: report.mismatches.iter().map(ToString::to_string).collect(),
    });
    let allowed = decision.is_allowed();
    Ok(Explanation { allowed, reason, told, statements: statements.collect(), grants })
}

impl Hypothesis<'_> {
    fn grants(&self, action: Action) -> Vec<GrantReport> {
        let names = self.requester.names();
        let report = |(id, record, _): &(GrantId, Stored<GrantRecord>, Grantee)| {
            let grantee = &record.grantee;
            let is = |name: &CallerName| grantee.is_principal(&name.arn, name.unique.as_deref());
            if !names.iter().any(is) {
                let objection = Some(match self.requester.principal.kind {
                    PrincipalKind::Role(_) => "it names an earlier role of this name",
                    _ => "it names an earlier user of this name",
                });
                return GrantReport { id: *id, grantee: grantee.text().to_owned(), objection };
            }
            let objection = match GRANTABLE.contains(&action) {
                true => {
                    let context = &self.given.context;
                    record.objection(GrantUse { action, context, child: None }).map(text)
                }
                false => Some("grants cannot give this action"),
            };
            GrantReport { id: *id, grantee: grantee.text().to_owned(), objection }
        };
        self.grants.iter().map(report).collect()
    }
}

const fn text(objection: Objection) -> &'static str {
    match objection {
        Objection::Operation => "the operation is not among those of the grant",
        Objection::SourceArn => "it is for requests that a service makes for a resource",
        Objection::Terms => "it depends on the terms of the grant to be created",
        Objection::Context => "the encryption context does not meet its constraints",
    }
}

/// Describes in words where statements are.
struct Labels<'a> {
    names: &'a PolicyNames,
    explained: &'a [kms_policy::StatementReport],
}

impl Labels<'_> {
    fn policy(&self, location: Location) -> String {
        let named = match location.policy_type {
            PolicyType::Resource => Some("key policy".to_owned()),
            PolicyType::Identity => self.names.identity.get(location.policy).cloned(),
            PolicyType::Boundary => self.names.boundary.clone(),
            _ => None,
        };
        named.unwrap_or_else(|| location.policy_type.name().to_owned())
    }

    fn statement(&self, policy_type: PolicyType, policy: usize, statement: usize) -> String {
        let location = Location { policy_type, guardrail: 0, policy, statement };
        let report = self.explained.iter().find(|report| report.location == location);
        let sid = report.and_then(|report| report.sid.as_deref());
        let sid = sid.map(|sid| format!(" ({sid})")).unwrap_or_default();
        format!("statement {}{sid} of the {}", statement + 1, self.policy(location))
    }

    fn basis(&self, basis: Basis) -> String {
        match basis {
            Basis::Grant(_) => "A grant allows it.".to_owned(),
            Basis::Resource { statement } => sentence(&format!(
                "{} allows it.",
                self.statement(PolicyType::Resource, 0, statement)
            )),
            Basis::Delegated { statement, policy, identity_statement } => sentence(&format!(
                "{} lets the account decide, and {} allows it.",
                self.statement(PolicyType::Resource, 0, statement),
                self.statement(PolicyType::Identity, policy, identity_statement)
            )),
            Basis::Identity { policy, statement } => sentence(&format!(
                "{} allows it.",
                self.statement(PolicyType::Identity, policy, statement)
            )),
            Basis::Root => "The root of the account may.".to_owned(),
        }
    }

    fn denial(&self, denial: Denial) -> String {
        match denial {
            Denial::Explicit(Location { policy_type, policy, statement, .. }) => {
                sentence(&format!("{} denies it.", self.statement(policy_type, policy, statement)))
            }
            Denial::Implicit(policy_type) => format!("No {policy_type} allows it."),
            Denial::OtherAccount => "Other accounts can never do this.".to_owned(),
            Denial::TooCostly => {
                "Its policies have too many patterns and values to compare with so \
                 long a request: simplify the policies or shorten the request."
                    .to_owned()
            }
        }
    }
}

fn sentence(text: &str) -> String {
    let mut characters = text.chars();
    let first = characters.next().map(|first| first.to_ascii_uppercase());
    first.into_iter().chain(characters).collect()
}

fn invalid(text: String) -> KmsError {
    KmsError::new(Exception::Validation, text)
}
