//! The decision: all policies and grants together.
//!
//! Sources: the IAM User Guide, "Policy evaluation logic" and "Permissions boundaries"; the KMS
//! Developer Guide, "Key policies" and "Troubleshooting key access".

use crate::budget::Metered;
use crate::caller::CallerKind;
use crate::decision::{Basis, Decision, Denial, Grantees, Location, PolicyType};
use crate::policy::{Compiled, Verdict};
use crate::request::{Guardrail, Policies, Request, Resource};
use crate::statement::Subject;

/// Decides whether a request is allowed.
///
/// A statement that denies it decides, wherever it is. Then the guardrails have to allow it.
/// Then the key policy allows it, or a grant does:
///
/// * by naming the caller, with `Principal` or among everyone with `aws:PrincipalArn`. An identity
///   of the key's account needs nothing else, but a session that is named by its role or as
///   everyone is limited by its permissions boundary and its session policies; so is a user that
///   is named as everyone;
/// * by naming the account, which lets the account's identity policies, boundaries and session
///   policies decide. The root user has every permission its account was given.
///
/// A caller of another account needs a statement of the key policy, and its own policies have to
/// allow, however it is named.
///
/// Grants are not looked at here. A denial says how a grant would have to name the caller to allow
/// the request all the same; see [`Decision::with_grant`].
///
/// A decision has [`DECISION`](crate::DECISION) steps. One that would take more is a denial.
#[must_use]
pub fn authorize(request: &Request<'_>, policies: &Policies<'_>) -> Decision {
    let context = Metered::new(request.context);
    let evaluation = Evaluation { request, policies, subject: request.subject(policies, &context) };
    match evaluation.decide() {
        Ok(basis) => Decision::Allowed(basis),
        Err(Denied { denial, grantees }) => Decision::Denied(denial, grantees),
    }
}

/// A denial, and which grants would lift it.
struct Denied {
    denial: Denial,
    grantees: Grantees,
}

/// No grant lifts it, unless something else is said.
impl From<Denial> for Denied {
    fn from(denial: Denial) -> Self {
        Self { denial, grantees: Grantees::NONE }
    }
}

/// Evaluates policies, each at most once.
struct Evaluation<'r, 'a> {
    request: &'r Request<'a>,
    policies: &'r Policies<'a>,
    subject: Subject<'r>,
}

/// A statement that allows: the policy and its statement.
type Allow = (usize, usize);

/// What the caller's own policies say when none of them denies.
struct Own {
    identity: Option<Allow>,
    boundary: bool,
    session: bool,
}

impl Evaluation<'_, '_> {
    fn decide(&self) -> Result<Basis, Denied> {
        if self.is_foreign() { self.decide_foreign() } else { self.decide_own() }
    }

    /// Services belong to no account, so no account but the resource's has a say in them.
    fn is_foreign(&self) -> bool {
        let Request { caller, resource, .. } = self.request;
        !matches!(caller.kind(), CallerKind::Service | CallerKind::WebIdentity)
            && caller.account() != resource.account()
    }

    /// Within the account of the resource.
    fn decide_own(&self) -> Result<Basis, Denied> {
        let guarded = explicit_first(self.guardrails(|_| true))?;
        let resource = self.resource()?;
        let own = self.own()?;
        guarded?;
        match resource {
            None => Ok(self.decide_by_identity(&own)?),
            Some(resource) => self
                .decide_by_resource(resource, &own)
                .map_err(|denial| Denied { denial, grantees: self.grantees(&own) }),
        }
    }

    /// A resource with a policy, in the account of the caller.
    fn decide_by_resource(&self, resource: Verdict, own: &Own) -> Result<Basis, Denial> {
        if let Some(statement) = resource.itself() {
            return Ok(Basis::Resource { statement });
        }
        let not_allowed = Denial::Implicit(PolicyType::Resource);
        match self.request.caller.kind() {
            // Has every permission that its account was given.
            CallerKind::Root => {
                let statement = resource.allow().ok_or(not_allowed)?;
                return Ok(Basis::Resource { statement });
            }
            // Whoever an identity provider vouches for is not everyone.
            CallerKind::WebIdentity => return Err(not_allowed),
            _ => {}
        }
        if let Some(statement) = resource.direct() {
            own.check_limits()?;
            return Ok(Basis::Resource { statement });
        }
        let statement = resource.account().ok_or(not_allowed)?;
        let (policy, identity_statement) =
            own.identity.ok_or(Denial::Implicit(PolicyType::Identity))?;
        own.check_limits()?;
        Ok(Basis::Delegated { statement, policy, identity_statement })
    }

    /// From another account. The caller's side is decided first, so that nothing in the answer
    /// depends on a resource the caller may know nothing of. The resource's side is evaluated in
    /// any case: a grant that lifts what the caller's side says does not lift what this one says.
    fn decide_foreign(&self) -> Result<Basis, Denied> {
        let guarded = explicit_first(self.guardrails(|guardrail| !guardrail.is_of_resource()))?;
        let own = self.own()?;
        guarded?;
        let by_caller = match self.request.caller.kind() {
            CallerKind::Root => Ok(()),
            _ => own.check_foreign(),
        };
        if !self.request.action.is_cross_account() {
            return Err(by_caller.err().unwrap_or(Denial::OtherAccount).into());
        }
        let resource = self.resource_of_other();
        let grantees = if resource.is_ok() { self.grantees(&own) } else { Grantees::NONE };
        let decided = by_caller.and(resource).and_then(|resource| {
            let statement = resource.allow().ok_or(Denial::Implicit(PolicyType::Resource))?;
            Ok(match own.identity {
                Some((policy, identity_statement)) => {
                    Basis::Delegated { statement, policy, identity_statement }
                }
                None => Basis::Resource { statement },
            })
        });
        decided.map_err(|denial| Denied { denial, grantees })
    }

    /// What the side of the resource says to a caller of another account.
    fn resource_of_other(&self) -> Result<Verdict, Denial> {
        let guarded = explicit_first(self.guardrails(|guardrail| guardrail.is_of_resource()))?;
        let verdict = self.resource()?.ok_or(Denial::Implicit(PolicyType::Resource))?;
        guarded.map(|()| verdict)
    }

    /// A resource without a policy.
    fn decide_by_identity(&self, own: &Own) -> Result<Basis, Denial> {
        if let Resource::Key { .. } | Resource::Role { .. } = self.request.resource {
            return Err(Denial::Implicit(PolicyType::Resource));
        }
        if self.request.caller.kind() == CallerKind::Root {
            return Ok(Basis::Root);
        }
        let (policy, statement) = own.identity.ok_or(Denial::Implicit(PolicyType::Identity))?;
        own.check_limits()?;
        Ok(Basis::Identity { policy, statement })
    }

    /// How a grant has to name the caller to allow the request, going by the caller's own policies.
    fn grantees(&self, own: &Own) -> Grantees {
        let limits = own.check_limits().is_ok();
        let is_root = self.request.caller.kind() == CallerKind::Root;
        Grantees {
            caller: true,
            role: limits,
            account: is_root || (limits && own.identity.is_some()),
        }
    }

    /// What the resource's policy says; `None` if there is none.
    fn resource(&self) -> Result<Option<Verdict>, Denial> {
        let Some(policy) = self.request.resource.policy() else { return Ok(None) };
        let verdict = self.evaluate(policy)?;
        match verdict.deny {
            None => Ok(Some(verdict)),
            Some(statement) => Err(explicit(PolicyType::Resource, 0, 0, statement)),
        }
    }

    /// What the caller's own policies say.
    fn own(&self) -> Result<Own, Denial> {
        let Policies { identity, boundary, session, .. } = self.policies;
        let identity = self.any(PolicyType::Identity, 0, identity.iter().map(|p| p.compiled()))?;
        let boundary = match boundary {
            None => true,
            Some(policy) => {
                let policies = std::iter::once(policy.compiled());
                self.any(PolicyType::Boundary, 0, policies)?.is_some()
            }
        };
        let policies = session.iter().map(|policy| policy.compiled());
        let allow = self.any(PolicyType::Session, 0, policies)?;
        Ok(Own { identity, boundary, session: session.is_empty() || allow.is_some() })
    }

    /// Whether those guardrails let the request through that `concern` the caller.
    fn guardrails(&self, concern: impl Fn(&Guardrail<'_>) -> bool) -> Result<(), Denial> {
        let is_service = self.request.caller.kind() == CallerKind::Service;
        let mut missing = None;
        let guardrails = self.policies.guardrails.iter().enumerate();
        for (index, guardrail) in guardrails.filter(|(_, guardrail)| concern(guardrail)) {
            let (policy_type, allow) = match guardrail {
                Guardrail::ServiceControl(_) if is_service => continue,
                Guardrail::ServiceControl(list) => {
                    let policies = list.iter().map(|policy| policy.compiled());
                    let policy_type = PolicyType::ServiceControl;
                    (policy_type, self.any(policy_type, index, policies)?)
                }
                Guardrail::ResourceControl(list) => {
                    let policies = list.iter().map(|policy| policy.compiled());
                    let policy_type = PolicyType::ResourceControl;
                    (policy_type, self.any(policy_type, index, policies)?)
                }
                Guardrail::Endpoint(policy) => {
                    let policies = std::iter::once(policy.compiled());
                    (PolicyType::Endpoint, self.any(PolicyType::Endpoint, index, policies)?)
                }
            };
            if allow.is_none() {
                missing.get_or_insert(policy_type);
            }
        }
        missing.map_or(Ok(()), |policy_type| Err(Denial::Implicit(policy_type)))
    }

    /// What a policy says.
    fn evaluate(&self, policy: &Compiled) -> Result<Verdict, Denial> {
        let verdict = policy.evaluate(&self.subject);
        // Whatever it says then, not all of it was compared.
        if self.subject.context.is_spent() { Err(Denial::TooCostly) } else { Ok(verdict) }
    }

    /// The first statement among the policies that allows, if none denies.
    fn any<'p>(
        &self,
        policy_type: PolicyType,
        guardrail: usize,
        policies: impl Iterator<Item = &'p Compiled>,
    ) -> Result<Option<Allow>, Denial> {
        let mut allow = None;
        for (index, policy) in policies.enumerate() {
            let verdict = self.evaluate(policy)?;
            if let Some(statement) = verdict.deny {
                return Err(explicit(policy_type, guardrail, index, statement));
            }
            allow = allow.or(verdict.allow().map(|statement| (index, statement)));
        }
        Ok(allow)
    }
}

impl Own {
    /// Whether the caller's own policies let it use something of another account.
    fn check_foreign(&self) -> Result<(), Denial> {
        self.identity.ok_or(Denial::Implicit(PolicyType::Identity))?;
        self.check_limits()
    }

    /// Whether the boundary and the session policies let the request through.
    fn check_limits(&self) -> Result<(), Denial> {
        match self {
            Self { boundary: false, .. } => Err(Denial::Implicit(PolicyType::Boundary)),
            Self { session: false, .. } => Err(Denial::Implicit(PolicyType::Session)),
            _ => Ok(()),
        }
    }
}

/// Keeps an implicit denial for later: explicit ones come first, wherever they are.
fn explicit_first(outcome: Result<(), Denial>) -> Result<Result<(), Denial>, Denial> {
    match outcome {
        Err(denial @ Denial::Explicit(_)) => Err(denial),
        outcome => Ok(outcome),
    }
}

const fn explicit(
    policy_type: PolicyType,
    guardrail: usize,
    policy: usize,
    statement: usize,
) -> Denial {
    Denial::Explicit(Location { policy_type, guardrail, policy, statement })
}
