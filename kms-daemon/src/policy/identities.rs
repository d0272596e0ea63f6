//! Who may manage identities, and who may become a role.

use std::collections::BTreeMap;

use super::plain::{self, Verdict};
use crate::error::{Exception, KmsError};
use crate::principal::{Principal, PrincipalKind};

/// The action of `AssumeRole`.
const ASSUME_ROLE: &str = "sts:AssumeRole";

/// Decides whether `principal` may carry out an action on identities of its account.
///
/// Identity policies are not evaluated for it yet, so it is the account root that may; with its
/// long-term key only, as at AWS.
///
/// # Errors
/// [`Exception::AccessDenied`].
pub(crate) fn authorize_management(
    principal: &Principal,
    action: &str,
    resource: &str,
) -> Result<(), KmsError> {
    if principal.is_root() && principal.session.is_none() {
        return Ok(());
    }
    Err(denied(principal, action, resource, true))
}

/// The role that is to be assumed.
pub(crate) struct Target<'t> {
    /// Its account.
    pub(crate) account: &'t str,
    /// Its ARN.
    pub(crate) arn: &'t str,
    /// Its trust policy.
    pub(crate) trust: &'t str,
    /// The unique ids of those whom the trust policy names by ARN.
    pub(crate) trusted: &'t BTreeMap<String, String>,
}

/// The documents that limit a caller.
#[derive(Debug, Default)]
pub(crate) struct Documents {
    /// Identity policies.
    pub(crate) identity: Vec<String>,
    /// The permissions boundary.
    pub(crate) boundary: Option<String>,
}

/// Decides whether `principal` may assume a role. The trust policy must allow the caller; if it
/// does so by the account only, or the role is of another account, the caller's own policies must
/// allow it as well.
///
/// # Errors
/// [`Exception::AccessDenied`].
pub(crate) fn authorize_assumption(
    principal: &Principal,
    policies: &Documents,
    role: &Target<'_>,
) -> Result<(), KmsError> {
    let refused = || denied(principal, ASSUME_ROLE, role.arn, false);
    let own = |document: &String| plain::identity(document, ASSUME_ROLE, role.arn);
    let verdicts: Vec<Verdict> = policies.identity.iter().map(own).collect();
    let session = principal.session.as_ref().and_then(|session| session.policy.as_ref());
    let limits = policies.boundary.iter().chain(session);
    if verdicts.contains(&Verdict::Denied)
        || limits.into_iter().any(|limit| own(limit) != Verdict::Allowed)
    {
        return Err(refused());
    }
    let itself =
        plain::resource(role.trust, ASSUME_ROLE, |name| is_itself(principal, name, role.trusted));
    let account = plain::resource(role.trust, ASSUME_ROLE, |name| is_account(principal, name));
    if itself == Verdict::Denied || account == Verdict::Denied {
        return Err(refused());
    }
    let delegated = verdicts.contains(&Verdict::Allowed);
    let allowed = match (itself, account) {
        (Verdict::Allowed, _) => principal.account == role.account || delegated,
        (_, Verdict::Allowed) => delegated,
        _ => false,
    };
    if allowed { Ok(()) } else { Err(refused()) }
}

/// Whether a policy names the caller, or its role.
fn is_itself(principal: &Principal, name: &str, ids: &BTreeMap<String, String>) -> bool {
    let id = match &principal.kind {
        PrincipalKind::Root => return false,
        PrincipalKind::User(user) => &user.id,
        PrincipalKind::Role(role) => &role.role_id,
    };
    let of_id = name == id || ids.get(name) == Some(id);
    let of_session = name.contains(":assumed-role/");
    of_id && (!of_session || name == principal.caller_arn())
}

fn is_account(principal: &Principal, name: &str) -> bool {
    let account = &principal.account;
    name == account || name == format!("arn:aws:iam::{account}:root")
}

fn denied(principal: &Principal, action: &str, resource: &str, own: bool) -> KmsError {
    let reason = match own {
        true => format!(" because no identity-based policy allows the {action} action"),
        false => String::new(),
    };
    let text = format!(
        "User: {} is not authorized to perform: {action} on resource: {resource}{reason}",
        principal.caller_arn()
    );
    KmsError::new(Exception::AccessDenied, text)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::principal::{RoleSession, User};

    const ROLE: &str = "arn:aws:iam::111122223333:role/target";
    const USER: &str = "arn:aws:iam::111122223333:user/ana";
    const OWN: &str = r#"{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"sts:*","Resource":"*"}}"#;

    fn user(id: &str) -> Principal {
        let (id, path, name) = (id.to_owned(), "/".to_owned(), "ana".to_owned());
        let kind = PrincipalKind::User(User { id, path, name });
        Principal { kind, ..Principal::root("111122223333", "AKIA") }
    }

    fn may(principal: &Principal, policies: &Documents, names: &str, account: &str) -> bool {
        let trust = json!({ "Version": "2012-10-17", "Statement": {
            "Effect": "Allow", "Principal": { "AWS": names }, "Action": "sts:AssumeRole" } });
        let trusted = BTreeMap::from([
            (USER.to_owned(), "AIDA1".to_owned()),
            ("arn:aws:iam::111122223333:role/r".to_owned(), "AROA1".to_owned()),
            ("arn:aws:sts::111122223333:assumed-role/r/s".to_owned(), "AROA1".to_owned()),
        ]);
        let target = Target { account, arn: ROLE, trust: &trust.to_string(), trusted: &trusted };
        authorize_assumption(principal, policies, &target).is_ok()
    }

    #[test]
    fn who_is_named_itself_needs_no_policy_of_its_own() {
        let none = Documents::default();
        let home = "111122223333";
        assert!(may(&user("AIDA1"), &none, USER, home));
        assert!(may(&user("AIDA1"), &none, "AIDA1", home));
        assert!(!may(&user("AIDA2"), &none, USER, home), "another user of that name");
        assert!(!may(&user("AIDA1"), &none, USER, "444455556666"), "a role of another account");
        assert!(!may(&user("AIDA1"), &none, "*", home));
    }

    #[test]
    fn an_account_delegates() {
        let (none, home) = (Documents::default(), "111122223333");
        let own = Documents { identity: vec![OWN.to_owned()], boundary: None };
        for name in ["111122223333", "arn:aws:iam::111122223333:root"] {
            assert!(!may(&user("AIDA1"), &none, name, home));
            assert!(may(&user("AIDA1"), &own, name, home));
            assert!(may(&user("AIDA1"), &own, name, "444455556666"));
        }
        let deny = OWN.replace("Allow", "Deny");
        for limited in [
            Documents { identity: vec![OWN.to_owned(), deny.clone()], boundary: None },
            Documents { identity: vec![OWN.to_owned()], boundary: Some(deny) },
        ] {
            assert!(!may(&user("AIDA1"), &limited, USER, home));
        }
    }

    #[test]
    fn a_session_is_named_by_its_role_or_by_itself() {
        let (none, home) = (Documents::default(), "111122223333");
        let session = |name: &str| Principal {
            kind: PrincipalKind::Role(RoleSession {
                role_id: "AROA1".to_owned(),
                path: "/".to_owned(),
                role: "r".to_owned(),
                session: name.to_owned(),
            }),
            ..Principal::root(home, "ASIA")
        };
        assert!(may(&session("s"), &none, "arn:aws:iam::111122223333:role/r", home));
        assert!(may(&session("s"), &none, "arn:aws:sts::111122223333:assumed-role/r/s", home));
        assert!(!may(&session("t"), &none, "arn:aws:sts::111122223333:assumed-role/r/s", home));
    }

    #[test]
    fn the_root_manages_with_its_long_term_key() {
        let root = Principal::root("111122223333", "AKIA");
        assert!(authorize_management(&root, "iam:CreateUser", "*").is_ok());
        let error = authorize_management(&user("AIDA1"), "iam:CreateUser", "*").unwrap_err();
        assert_eq!(
            error.message().unwrap(),
            format!(
                "User: {USER} is not authorized to perform: iam:CreateUser on resource: * because \
                 no identity-based policy allows the iam:CreateUser action"
            )
        );
    }
}
