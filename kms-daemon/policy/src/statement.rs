//! Statements: what each one is about, and whether it applies to a request.

use crate::action::{Action, ActionSet};
use crate::arn::ArnPattern;
use crate::budget::{Metered, Reach};
use crate::caller::Caller;
use crate::condition::Condition;
use crate::pattern::{self, Unresolved};
use crate::principal::{Principals, Ways};

/// Whether a statement allows or denies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Effect {
    /// The statement allows.
    Allow,
    /// The statement denies, whatever other statements allow.
    Deny,
}

/// A compiled statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Statement {
    pub(crate) sid: Option<Box<str>>,
    pub(crate) effect: Effect,
    /// `None` in identity policies, which are about the identities to which they are attached.
    pub(crate) principals: Option<Principals>,
    pub(crate) actions: ActionSet,
    /// `None` in trust policies, which are about their role.
    pub(crate) resources: Option<Resources>,
    pub(crate) conditions: Box<[Condition]>,
}

/// A `Resource` or `NotResource` element.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Resources {
    Any(Box<[ArnPattern]>),
    NoneOf(Box<[ArnPattern]>),
}

/// What a statement is compared with.
#[derive(Clone, Copy)]
pub(crate) struct Subject<'a> {
    pub(crate) caller: &'a Caller<'a>,
    /// Whether the caller has a permissions boundary.
    pub(crate) bounded: bool,
    pub(crate) action: Action,
    pub(crate) resource: &'a str,
    pub(crate) context: &'a Metered<'a>,
}

impl Statement {
    /// How the statement names the caller if all its elements match; otherwise [`Ways::NONE`].
    ///
    /// If an element cannot be decided, the decision goes against the caller: a denying statement
    /// denies, and an allowing statement does not allow.
    pub(crate) fn ways(&self, subject: &Subject<'_>) -> Ways {
        if !self.actions.contains(subject.action) {
            return Ways::NONE;
        }
        if subject.context.spend(self.steps_for_principals()).is_err() {
            return self.undecided();
        }
        let ways = self.principal_ways(subject);
        if ways == Ways::NONE || !self.settle(self.resource_matches(subject)) {
            return Ways::NONE;
        }
        let holds = |condition: &Condition| self.settle(condition.holds(subject.context));
        if !self.conditions.iter().all(holds) {
            return Ways::NONE;
        }
        if ways.intersects(Ways::ANYONE) && self.picks(subject.caller) {
            return ways.and(Ways::ITSELF);
        }
        ways
    }

    /// How a statement counts for a request for which no steps are left.
    const fn undecided(&self) -> Ways {
        match self.effect {
            Effect::Deny => Ways::ANYONE,
            Effect::Allow => Ways::NONE,
        }
    }

    fn steps_for_principals(&self) -> u64 {
        let named = self.principals.as_ref().map_or(0, |principals| principals.named().len());
        (named as u64).saturating_mul(6).saturating_add(4)
    }

    /// The most steps that evaluating the statement takes, if it is about the request's action.
    pub(crate) fn most_steps(&self) -> u64 {
        let resources = match &self.resources {
            None => 0,
            Some(Resources::Any(list) | Resources::NoneOf(list)) => {
                let prices = list.iter().map(|pattern| pattern.price().on(Reach::RESOURCE));
                prices.fold(0, u64::saturating_add)
            }
        };
        let conditions = self.conditions.iter().map(Condition::most_steps);
        let conditions = conditions.fold(0, u64::saturating_add);
        self.steps_for_principals().saturating_add(resources).saturating_add(conditions)
    }

    /// Whether a condition on `aws:PrincipalArn` selects the caller from everyone, once all
    /// conditions hold. IAM treats such a statement as if its `Principal` named the caller itself:
    /// boundaries and session policies do not limit it; only their denials do.
    ///
    /// Source: the IAM User Guide, "Policy evaluation logic" and "Principal: IAM role principals".
    fn picks(&self, caller: &Caller<'_>) -> bool {
        let has_arn = !caller.account().is_empty();
        has_arn && self.conditions.iter().any(Condition::names_principals)
    }

    /// How the statement names the caller. Statements of identity policies name the caller itself.
    pub(crate) fn principal_ways(&self, subject: &Subject<'_>) -> Ways {
        match &self.principals {
            Some(principals) => principals.ways(subject.caller, subject.bounded),
            None => Ways::ITSELF,
        }
    }

    /// Whether the statement is about the resource; `None` if that cannot be determined.
    pub(crate) fn resource_matches(&self, subject: &Subject<'_>) -> Option<bool> {
        let matches =
            |pattern: &ArnPattern| pattern.matches_resource(subject.resource, subject.context);
        match &self.resources {
            None => Some(true),
            // A pattern whose variable has no value matches no resource.
            Some(Resources::Any(list)) => pattern::any(list, matches),
            // Here, whether such a pattern would except the resource is unknown.
            Some(Resources::NoneOf(list)) => {
                let matches = |own: &ArnPattern| matches(own).or(Err(Unresolved::Unknown));
                pattern::any(list, matches).map(|excepted| !excepted)
            }
        }
    }

    /// Settles an unknown outcome against the caller.
    pub(crate) fn settle(&self, outcome: Option<bool>) -> bool {
        outcome.unwrap_or(self.effect == Effect::Deny)
    }
}
