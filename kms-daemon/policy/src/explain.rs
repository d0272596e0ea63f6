//! Explanations: how every statement of every policy contributes to a decision.
//!
//! This is slower than [`authorize`], which stops as soon as the decision is certain.

use std::fmt;

use crate::authorize::authorize;
use crate::budget::Metered;
use crate::condition::Condition;
use crate::decision::{Decision, Location, PolicyType, TOO_COSTLY};
use crate::policy::Compiled;
use crate::principal::Ways;
use crate::request::{Guardrail, Policies, Request};
use crate::statement::{Effect, Statement, Subject};

/// A decision, and how every statement contributes to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// The decision.
    pub decision: Decision,
    /// A report for every statement of every policy.
    pub statements: Vec<StatementReport>,
}

/// How one statement contributes to a decision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatementReport {
    /// The statement's place among the policies.
    pub location: Location,
    /// The statement's `Sid`.
    pub sid: Option<String>,
    /// What the statement does if it applies.
    pub effect: Effect,
    /// The elements that do not match. If there are none, the statement applies.
    pub mismatches: Vec<Mismatch>,
}

/// An element of a statement that does not match a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mismatch {
    /// `Principal` or `NotPrincipal`.
    Principal,
    /// `Principal`, which names an earlier user with the caller's name.
    EarlierUser,
    /// `Principal`, which names an earlier role with the name of the caller's role.
    EarlierRole,
    /// `Action` or `NotAction`.
    Action,
    /// `Resource` or `NotResource`.
    Resource,
    /// A condition.
    Condition {
        /// The operator.
        operator: String,
        /// The key, as the policy writes it.
        key: String,
        /// The value in the request; `None` if the request has none.
        found: Option<String>,
    },
    /// The steps of a decision do not suffice to evaluate the statement.
    TooCostly,
}

/// Decides about a request, and explains the decision in full.
#[must_use]
pub fn explain(request: &Request<'_>, policies: &Policies<'_>) -> Explanation {
    let context = Metered::new(request.context);
    let subject = request.subject(policies, &context);
    let mut statements = Vec::new();
    let mut add = |policy_type, guardrail, policy, compiled: &Compiled| {
        for (statement, compiled) in compiled.statements().iter().enumerate() {
            let location = Location { policy_type, guardrail, policy, statement };
            statements.push(report(location, compiled, &subject));
        }
    };
    for (index, guardrail) in policies.guardrails.iter().enumerate() {
        match guardrail {
            Guardrail::ServiceControl(list) => {
                for (policy, own) in list.iter().enumerate() {
                    add(PolicyType::ServiceControl, index, policy, own.compiled());
                }
            }
            Guardrail::ResourceControl(list) => {
                for (policy, own) in list.iter().enumerate() {
                    add(PolicyType::ResourceControl, index, policy, own.compiled());
                }
            }
            Guardrail::Endpoint(own) => add(PolicyType::Endpoint, index, 0, own.compiled()),
        }
    }
    if let Some(own) = request.resource.policy() {
        add(PolicyType::Resource, 0, 0, own);
    }
    for (policy_type, list) in [
        (PolicyType::Identity, policies.identity),
        (PolicyType::Boundary, policies.boundary.map(std::slice::from_ref).unwrap_or_default()),
        (PolicyType::Session, policies.session),
    ] {
        for (policy, own) in list.iter().enumerate() {
            add(policy_type, 0, policy, own.compiled());
        }
    }
    Explanation { decision: authorize(request, policies), statements }
}

impl StatementReport {
    /// Whether the statement applies to the request.
    #[must_use]
    pub const fn applies(&self) -> bool {
        self.mismatches.is_empty()
    }
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooCostly => write!(f, "it cannot be determined, because {TOO_COSTLY}"),
            Self::Principal => f.write_str("the principal does not match"),
            Self::EarlierUser => f.write_str("the principal names an earlier user of this name"),
            Self::EarlierRole => f.write_str("the principal names an earlier role of this name"),
            Self::Action => f.write_str("the action does not match"),
            Self::Resource => f.write_str("the resource does not match"),
            Self::Condition { operator, key, found: None } => {
                write!(f, "the condition {operator} {key} does not hold: the request has no value")
            }
            Self::Condition { operator, key, found: Some(found) } => {
                write!(f, "the condition {operator} {key} does not hold for {found}")
            }
        }
    }
}

fn report(location: Location, statement: &Statement, subject: &Subject<'_>) -> StatementReport {
    let mut mismatches = Vec::new();
    if statement.principal_ways(subject) == Ways::NONE {
        mismatches.push(principal_mismatch(statement, subject));
    }
    if !statement.actions.contains(subject.action) {
        mismatches.push(Mismatch::Action);
    }
    if !statement.settle(statement.resource_matches(subject)) {
        mismatches.push(Mismatch::Resource);
    }
    for condition in &statement.conditions {
        if !statement.settle(condition.holds(subject.context)) {
            mismatches.push(mismatch(condition, subject));
        }
    }
    if subject.context.is_spent() {
        mismatches = vec![Mismatch::TooCostly];
    }
    let sid = statement.sid.as_deref().map(str::to_owned);
    StatementReport { location, sid, effect: statement.effect, mismatches }
}

fn principal_mismatch(statement: &Statement, subject: &Subject<'_>) -> Mismatch {
    let principals = statement.principals.as_ref();
    let earlier = principals.is_some_and(|list| list.name_predecessor(subject.caller));
    match (earlier, subject.caller.role()) {
        (false, _) => Mismatch::Principal,
        (true, Some(_)) => Mismatch::EarlierRole,
        (true, None) => Mismatch::EarlierUser,
    }
}

fn mismatch(condition: &Condition, subject: &Subject<'_>) -> Mismatch {
    Mismatch::Condition {
        operator: condition.operator.to_string(),
        key: condition.key.text().to_owned(),
        found: subject.context.value(&condition.key).map(|value| format!("{value:?}")),
    }
}
