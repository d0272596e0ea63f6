//! Policies: documents that were read and checked; each kind has its own type.

use std::sync::Arc;

use crate::action::Action;
use crate::budget::Share;
use crate::document::{self, Kind};
use crate::error::{Fault, PolicyError, StatementName};
use crate::key::{Name, Names};
use crate::principal::{NamedPrincipal, Ways};
use crate::statement::{Effect, Statement, Subject};

macro_rules! policies {
    ($($(#[$doc:meta])+ $name:ident $kind:ident)+) => {
        $(
            $(#[$doc])+
            ///
            /// Clones share the compiled form.
            #[derive(Debug, Clone, PartialEq, Eq)]
            pub struct $name(Compiled);

            impl $name {
                /// Reads a document and compiles it.
                ///
                /// # Errors
                /// [`PolicyError`] if the document is not a valid policy of this kind.
                pub fn parse(text: &str) -> Result<Self, PolicyError> {
                    document::parse(text, Kind::$kind).map(|list| Self(Compiled::new(list)))
                }

                /// Checks that no request can take more than the policy's share of the steps of a
                /// decision, so that every request can be decided.
                ///
                /// To be called before a policy is put. Policies that are already stored were
                /// accepted under the rules of their time; requests that take too many steps are
                /// denied.
                ///
                /// # Errors
                /// [`Fault::TooCostly`], with the statement that can take the most.
                pub fn check_cost(&self) -> Result<(), PolicyError> {
                    self.0.check_cost(Kind::$kind.share())
                }

                /// The number of statements.
                #[must_use]
                pub fn statement_count(&self) -> usize {
                    self.0.statements().len()
                }

                /// The `Sid` of a statement, counted from 0.
                #[must_use]
                pub fn sid(&self, statement: usize) -> Option<&str> {
                    self.0.statements().get(statement)?.sid.as_deref()
                }

                /// Whether the policy has a condition on the key `name`. If no policy has one, a
                /// costly value need not be looked up.
                ///
                /// Policy variables do not count: for them, a value that was not looked up is
                /// unknown.
                #[must_use]
                pub const fn asks_for(&self, name: Name) -> bool {
                    self.0.asks_for.contains(name)
                }

                pub(crate) const fn compiled(&self) -> &Compiled {
                    &self.0
                }
            }
        )+
    };
}

policies! {
    /// The policy of a key. Every statement names its principals; actions are those of KMS.
    ///
    /// KMS once accepted statements without `Action` or `Resource`, which never applied. Since
    /// August 2025 it refuses them, and so does this type.
    KeyPolicy Key

    /// A policy of an identity, attached to a user, a role or a group; also a permissions boundary,
    /// a session policy, or a service control policy. It names no principals.
    IdentityPolicy Identity

    /// The trust policy of a role (`AssumeRolePolicyDocument`): who may assume it. It names no
    /// resources; actions are those of STS.
    TrustPolicy Trust

    /// A policy that guards resources and names principals: a resource control policy or the
    /// policy of an endpoint.
    GuardrailPolicy Guardrail
}

impl KeyPolicy {
    /// The principals that the policy names.
    pub fn principals(&self) -> impl Iterator<Item = &NamedPrincipal> {
        principals(&self.0)
    }

    /// Replaces users and roles by what `resolve` returns for them, as KMS does when a policy is
    /// put: a user that is deleted and created again under the same name is another user.
    ///
    /// # Errors
    /// [`Fault::Principal`] for the first principal that `resolve` does not know.
    pub fn resolve_principals(
        self,
        resolve: impl FnMut(&NamedPrincipal) -> Resolution,
    ) -> Result<Self, PolicyError> {
        resolve_principals(self.0, resolve).map(Self)
    }
}

impl TrustPolicy {
    /// The principals that the policy names.
    pub fn principals(&self) -> impl Iterator<Item = &NamedPrincipal> {
        principals(&self.0)
    }

    /// Does the same as [`KeyPolicy::resolve_principals`].
    ///
    /// # Errors
    /// [`Fault::Principal`] for the first principal that `resolve` does not know.
    pub fn resolve_principals(
        self,
        resolve: impl FnMut(&NamedPrincipal) -> Resolution,
    ) -> Result<Self, PolicyError> {
        resolve_principals(self.0, resolve).map(Self)
    }
}

/// How to match a principal that a policy names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resolution {
    /// Match the principal as the policy names it.
    AsNamed,
    /// Match a user or role by this unique id alone, or a session by its name and the unique id of
    /// its role.
    UniqueId(String),
    /// The principal does not exist.
    Unknown,
}

/// Statements that the clones of a policy share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Compiled {
    statements: Arc<[Statement]>,
    /// The keys of the statements' conditions.
    asks_for: Names,
}

/// What a policy says about a request.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Verdict {
    /// The first statement that denies.
    pub(crate) deny: Option<usize>,
    /// The first statements that allow, by how they name the caller.
    itself: Option<usize>,
    role: Option<usize>,
    account: Option<usize>,
    anyone: Option<usize>,
}

impl Compiled {
    fn new(statements: impl Into<Arc<[Statement]>>) -> Self {
        let statements = statements.into();
        let conditions = statements.iter().flat_map(|statement| &statement.conditions);
        let asks_for = conditions.map(|condition| condition.key.name()).collect();
        Self { statements, asks_for }
    }

    pub(crate) fn statements(&self) -> &[Statement] {
        &self.statements
    }

    fn check_cost(&self, Share(most): Share) -> Result<(), PolicyError> {
        let costs: Vec<u64> = self.statements.iter().map(Statement::most_steps).collect();
        let of = |action: Action| {
            let concerned = self.statements.iter().zip(&costs);
            let concerned = concerned.filter(|(statement, _)| statement.actions.contains(action));
            concerned.fold(self.steps_for_all(), |sum, (_, cost)| sum.saturating_add(*cost))
        };
        let needed = Action::ALL.iter().map(|action| of(*action)).max().unwrap_or_default();
        if needed <= most {
            return Ok(());
        }
        let costliest =
            self.statements.iter().zip(&costs).enumerate().max_by_key(|(_, (_, c))| **c);
        let statement = costliest.map(|(index, (statement, _))| StatementName {
            index,
            sid: statement.sid.as_deref().map(str::to_owned),
        });
        Err(PolicyError { fault: Fault::TooCostly { needed, most }, statement, element: None })
    }

    /// The steps for checking which statements are about the action.
    fn steps_for_all(&self) -> u64 {
        (self.statements.len() as u64).saturating_mul(2)
    }

    pub(crate) fn evaluate(&self, subject: &Subject<'_>) -> Verdict {
        let mut verdict = Verdict::default();
        if subject.context.spend(self.steps_for_all()).is_err() {
            return verdict;
        }
        for (index, statement) in self.statements.iter().enumerate() {
            let ways = statement.ways(subject);
            if ways == Ways::NONE {
                continue;
            }
            if statement.effect == Effect::Deny {
                verdict.deny = Some(index);
                break;
            }
            for (way, first) in [
                (Ways::ITSELF, &mut verdict.itself),
                (Ways::ROLE, &mut verdict.role),
                (Ways::ACCOUNT, &mut verdict.account),
                (Ways::ANYONE, &mut verdict.anyone),
            ] {
                if ways.intersects(way) {
                    first.get_or_insert(index);
                }
            }
        }
        verdict
    }
}

impl Verdict {
    /// The statement that allows, however it names the caller.
    pub(crate) fn allow(&self) -> Option<usize> {
        self.itself.or(self.role).or(self.anyone).or(self.account)
    }

    /// The statement that allows and names the caller itself.
    pub(crate) const fn itself(&self) -> Option<usize> {
        self.itself
    }

    /// The statement that allows and names the caller, its role, or everyone.
    pub(crate) fn direct(&self) -> Option<usize> {
        self.itself.or(self.role).or(self.anyone)
    }

    /// The statement that allows and names the account.
    pub(crate) const fn account(&self) -> Option<usize> {
        self.account
    }
}

fn principals(policy: &Compiled) -> impl Iterator<Item = &NamedPrincipal> {
    policy.statements().iter().flat_map(|statement| {
        statement.principals.as_ref().map(|principals| principals.named()).unwrap_or_default()
    })
}

fn resolve_principals(
    policy: Compiled,
    mut resolve: impl FnMut(&NamedPrincipal) -> Resolution,
) -> Result<Compiled, PolicyError> {
    let mut statements = policy.statements().to_vec();
    for (index, statement) in statements.iter_mut().enumerate() {
        let Some(principals) = &mut statement.principals else { continue };
        for principal in principals.named_mut() {
            match resolve(principal) {
                Resolution::AsNamed => {}
                Resolution::UniqueId(id) => principal.bind(id),
                Resolution::Unknown => {
                    let sid = statement.sid.as_deref().map(str::to_owned);
                    return Err(PolicyError {
                        fault: Fault::Principal(principal.to_string()),
                        statement: Some(StatementName { index, sid }),
                        element: Some("Principal".to_owned()),
                    });
                }
            }
        }
    }
    Ok(Compiled::new(statements))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_knows_which_keys_it_asks_for() {
        let policy = IdentityPolicy::parse(
            r#"{ "Version": "2012-10-17", "Statement": [
                { "Effect": "Allow", "Action": "*", "Resource": "*" },
                { "Effect": "Deny", "Action": "*", "Resource": "*", "Condition": {
                    "Null": { "kms:ResourceAliases": "true" },
                    "StringEquals": { "KMS:ValidTo": "${aws:username}", "some:other": "x" }
                } }
            ] }"#,
        )
        .unwrap();
        let asked = Name::ALL.iter().filter(|name| policy.asks_for(**name));
        let asked: Vec<&str> = asked.map(|name| name.text()).collect();
        assert_eq!(asked, ["kms:ResourceAliases", "kms:ValidTo"]);
    }
}
