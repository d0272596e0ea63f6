//! Questions to the policy engine, and its answers in the words of the API.

use std::sync::LazyLock;

use kms_policy::{Action as EngineAction, Caller, Decision, Grant, Policies, Resource};

use super::conditions::{About, Conditions};
use super::{AccountAction, Action, Asker, CallerPolicies};
use crate::error::{Exception, KmsError};
use crate::principal::{Principal, PrincipalKind};

/// Why a request is refused.
pub(super) struct Refusal {
    /// Whether a grant could allow it all the same.
    pub(super) yields_to_grant: bool,
    text: String,
}

impl From<Refusal> for KmsError {
    fn from(refusal: Refusal) -> Self {
        Self::new(Exception::AccessDenied, refusal.text)
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
    let names = Names::of(asker.principal, about.scope.partition());
    let caller = names.asking(action)?;
    let conditions = Conditions::new(asker, caller, action, about);
    let request = kms_policy::Request { caller, action, resource, context: &conditions };
    evaluate(asker, &request, grant)
}

/// Evaluates the policies of who asks for a request that has its context.
pub(super) fn evaluate(
    asker: Asker<'_>,
    request: &kms_policy::Request<'_>,
    grant: Option<Grant<'_>>,
) -> Result<(), Refusal> {
    let policies = Policies { grant, ..own_policies(asker) };
    match kms_policy::authorize(request, &policies) {
        Decision::Allowed(_) => Ok(()),
        Decision::Denied(denial) => Err(Refusal {
            yields_to_grant: denial.yields_to_grant(),
            text: denial.message(request),
        }),
    }
}

/// Whether the caller could put another policy on a key after `policy`.
pub(super) fn can_put_again(
    asker: Asker<'_>,
    policy: &kms_policy::KeyPolicy,
    (arn, account): (&str, &str),
    about: About<'_>,
) -> bool {
    let names = Names::of(asker.principal, about.scope.partition());
    let Some(caller) = names.caller() else { return false };
    let conditions = Conditions::new(asker, caller, EngineAction::PutKeyPolicy, about);
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
pub(super) struct Names<'p> {
    principal: &'p Principal,
    arn: String,
    own: String,
}

impl<'p> Names<'p> {
    /// Those in a partition. Identities belong to no Region; in each they are of its partition.
    pub(super) fn of(principal: &'p Principal, partition: &str) -> Self {
        let there = |arn: String| match partition {
            "aws" => arn,
            partition => arn.replacen("arn:aws:", &format!("arn:{partition}:"), 1),
        };
        Self { principal, arn: there(principal.arn()), own: there(principal.caller_arn()) }
    }

    /// The caller, who asks for an action.
    pub(super) fn asking(&self, action: EngineAction) -> Result<Caller<'_>, Refusal> {
        self.caller().ok_or_else(|| {
            let text = format!("User: {} is not authorized to perform: {action}", self.own);
            Refusal { yields_to_grant: false, text }
        })
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
