//! Asks the policy engine for decisions, and puts its refusals into the words of the API.

use kms_policy::{Action, Caller, Decision, Grantees, Policies, Resource};

use super::conditions::Conditions;
use super::{CallerPolicies, Request, Requester};
use kms_base::error::{Exception, KmsError};
use kms_base::principal::{Principal, PrincipalKind};

/// The refusal of a request by policies, before grants are looked at.
#[derive(Debug)]
pub struct Refusal {
    /// The grants that would allow the request all the same.
    pub(super) grantees: Grantees,
    error: KmsError,
}

impl Refusal {
    fn new(text: String, grantees: Grantees) -> Self {
        Self { grantees, error: KmsError::new(Exception::AccessDenied, text) }
    }
}

impl From<Refusal> for KmsError {
    fn from(refusal: Refusal) -> Self {
        refusal.error
    }
}

/// Asks the engine for a decision.
///
/// A refusal to a caller of another account always has the same text: even the result of the
/// caller's own policies may depend on the key, through their conditions.
pub(super) fn decide(request: &Request<'_>, resource: Resource<'_>) -> Result<(), Refusal> {
    #[cfg(test)]
    decisions::count();
    let Request { requester, action, scope, .. } = *request;
    let names = Names::of(requester.principal, scope.partition());
    let caller = names.asking(action)?;
    if !request.attributes.fit(action) {
        let error = KmsError::internal(format!("what conditions ask of {action} is not told"));
        return Err(Refusal { grantees: Grantees::NONE, error });
    }
    let conditions = Conditions::new(request, caller);
    let question = kms_policy::Request { caller, action, resource, context: &conditions };
    evaluate(requester, &question).map_err(|refusal| match requester.is_foreign_to(scope) {
        true => {
            let text = foreign_text(requester.principal, action.name());
            Refusal::new(text, refusal.grantees)
        }
        false => refusal,
    })
}

/// Evaluates the caller's policies for a request whose condition context is given.
pub(super) fn evaluate(
    requester: Requester<'_>,
    request: &kms_policy::Request<'_>,
) -> Result<(), Refusal> {
    match kms_policy::authorize(request, &own_policies(requester)) {
        Decision::Allowed(_) => Ok(()),
        Decision::Denied(denial, grantees) => Err(Refusal::new(denial.message(request), grantees)),
    }
}

/// Returns the text of a refusal to a caller of another account.
pub(super) fn foreign_text(principal: &Principal, action: &str) -> String {
    format!(
        "User: {} is not authorized to perform: {action} on this resource because the resource \
         does not exist in this Region, no resource-based policies allow access, or a \
         resource-based policy explicitly denies access",
        principal.caller_arn()
    )
}

/// Whether `policy`, attached to the key with that ARN, lets the caller put another policy.
pub(super) fn can_put_again(
    request: &Request<'_>,
    policy: &kms_policy::KeyPolicy,
    arn: &str,
) -> bool {
    let Request { requester, scope, .. } = *request;
    let names = Names::of(requester.principal, scope.partition());
    let Some(caller) = names.caller() else { return false };
    let (account, own) = (scope.account.as_str(), own_policies(requester));
    let conditions = Conditions::new(request, caller);
    kms_policy::can_put_again(policy, arn, account, caller, &own, &conditions)
}

pub(super) const fn own_policies(requester: Requester<'_>) -> Policies<'_> {
    let CallerPolicies { identity, boundary, session, .. } = requester.policies;
    Policies {
        identity: identity.as_slice(),
        boundary: boundary.as_ref(),
        session: session.as_slice(),
        guardrails: &[],
    }
}

/// The names of a caller, which the engine borrows.
pub(super) struct Names<'p> {
    principal: &'p Principal,
    arn: String,
    own: String,
}

impl<'p> Names<'p> {
    /// Returns the names in a partition. Identities do not belong to a Region, so their ARNs take
    /// the partition of the Region at hand.
    pub(super) fn of(principal: &'p Principal, partition: &str) -> Self {
        let there = |arn: String| match partition {
            "aws" => arn,
            partition => arn.replacen("arn:aws:", &format!("arn:{partition}:"), 1),
        };
        Self { principal, arn: there(principal.arn()), own: there(principal.caller_arn()) }
    }

    /// Returns the caller, or the refusal of `action` if the caller has no valid name.
    pub(super) fn asking(&self, action: Action) -> Result<Caller<'_>, Refusal> {
        self.caller().ok_or_else(|| {
            let text = format!("User: {} is not authorized to perform: {action}", self.own);
            Refusal::new(text, Grantees::NONE)
        })
    }

    pub(super) fn caller(&self) -> Option<Caller<'_>> {
        match &self.principal.kind {
            PrincipalKind::Root => Caller::root(&self.arn),
            PrincipalKind::User(user) => {
                Caller::user(&self.arn).map(|caller| caller.with_unique_id(&user.id))
            }
            PrincipalKind::Role(role) => Caller::role_session(&self.own, &self.arn)
                .map(|caller| caller.with_unique_id(&role.role_id)),
        }
    }
}

/// Counts how often the engine is asked in the thread of a test.
#[cfg(test)]
pub(crate) mod decisions {
    use std::cell::Cell;

    thread_local! {
        static COUNT: Cell<usize> = const { Cell::new(0) };
    }

    pub(super) fn count() {
        COUNT.set(COUNT.get() + 1);
    }

    /// Returns the number of decisions so far.
    pub(crate) fn so_far() -> usize {
        COUNT.get()
    }
}
