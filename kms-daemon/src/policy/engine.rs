//! Questions to the policy engine, and its answers in the words of the API.

use std::sync::LazyLock;

use kms_policy::{Action as EngineAction, Caller, Decision, Grant, Policies, Resource};

use super::conditions::{About, Conditions};
use super::{AccountAction, Action, Asker, CallerPolicies};
use crate::error::{Exception, KmsError};
use crate::key::Scope;
use crate::principal::{Principal, PrincipalKind};

/// Why a request is refused.
pub(super) struct Refusal {
    /// Whether a grant could allow it all the same.
    pub(super) yields_to_grant: bool,
    error: KmsError,
}

impl Refusal {
    fn new(text: String, yields_to_grant: bool) -> Self {
        Self { yields_to_grant, error: KmsError::new(Exception::AccessDenied, text) }
    }
}

impl From<Refusal> for KmsError {
    fn from(refusal: Refusal) -> Self {
        refusal.error
    }
}

/// Asks the engine.
pub(super) fn decide(
    asker: Asker<'_>,
    action: EngineAction,
    resource: Resource<'_>,
    about: About<'_>,
    grant: Option<Grant<'_>>,
) -> Result<(), Refusal> {
    let names = Names::of(asker.principal, about.scope);
    let Some(caller) = names.caller() else {
        let text = format!("User: {} is not authorized to perform: {action}", names.own);
        return Err(Refusal::new(text, false));
    };
    if !about.particulars.fit(action) {
        let error = KmsError::internal(format!("what conditions ask of {action} is not told"));
        return Err(Refusal { yields_to_grant: false, error });
    }
    let conditions = Conditions { asker, caller, action, about };
    let request = kms_policy::Request { caller, action, resource, context: &conditions };
    let policies = Policies { grant, ..own_policies(asker) };
    match kms_policy::authorize(&request, &policies) {
        Decision::Allowed(_) => Ok(()),
        Decision::Denied(denial) => {
            Err(Refusal::new(denial.message(&request), denial.yields_to_grant()))
        }
    }
}

/// Whether the caller could put another policy on a key after `policy`.
pub(super) fn can_put_again(
    asker: Asker<'_>,
    policy: &kms_policy::KeyPolicy,
    (arn, account): (&str, &str),
    about: About<'_>,
) -> bool {
    let names = Names::of(asker.principal, about.scope);
    let Some(caller) = names.caller() else { return false };
    let conditions = Conditions { asker, caller, action: EngineAction::PutKeyPolicy, about };
    kms_policy::can_put_again(policy, arn, account, caller, &own_policies(asker), &conditions)
}

const fn own_policies(asker: Asker<'_>) -> Policies<'_> {
    let CallerPolicies { identity, boundary, session } = asker.policies;
    Policies {
        identity: identity.as_slice(),
        boundary: boundary.as_ref(),
        session: session.as_slice(),
        guardrails: &[],
        grant: None,
    }
}

/// The names of a caller, for the engine to borrow.
struct Names<'p> {
    principal: &'p Principal,
    arn: String,
    own: String,
}

impl<'p> Names<'p> {
    fn of(principal: &'p Principal, scope: &Scope) -> Self {
        // Identities belong to no Region; in each they are of its partition.
        let there = |arn: String| match scope.partition() {
            "aws" => arn,
            partition => arn.replacen("arn:aws:", &format!("arn:{partition}:"), 1),
        };
        Self { principal, arn: there(principal.arn()), own: there(principal.caller_arn()) }
    }

    fn caller(&self) -> Option<Caller<'_>> {
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

impl Action {
    /// As the engine knows it.
    pub(super) fn engine(self) -> EngineAction {
        static ALL: LazyLock<Vec<EngineAction>> =
            LazyLock::new(|| Action::ALL.iter().map(|action| known(action.name())).collect());
        ALL[self as usize]
    }
}

impl AccountAction {
    /// As the engine knows it.
    pub(super) fn engine(self) -> EngineAction {
        static ALL: LazyLock<Vec<EngineAction>> = LazyLock::new(|| {
            AccountAction::ALL.iter().map(|action| known(action.name())).collect()
        });
        ALL[self as usize]
    }
}

fn known(name: &str) -> EngineAction {
    EngineAction::parse(name).expect("the engine knows every action of KMS")
}
