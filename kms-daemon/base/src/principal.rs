//! The caller: the outcome of authentication and the subject of authorization.

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::identifier::Tags;

/// An authenticated caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    /// Twelve-digit account of the credential.
    pub account: String,
    /// What kind of identity the credential belongs to.
    pub kind: PrincipalKind,
    /// The access key id the request was signed with. Not a secret.
    pub access_key_id: String,
    /// What limits temporary credentials; `None` for long-term ones.
    pub session: Option<TemporarySession>,
}

/// The kinds of identity a credential can belong to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PrincipalKind {
    /// The account itself.
    Root,
    /// An IAM user.
    User(User),
    /// A session of a role.
    Role(RoleSession),
}

/// An IAM user as a caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Unique id, `AIDA…`.
    pub id: String,
    /// Path, `/` or `/…/`.
    pub path: String,
    /// Name, without the path.
    pub name: String,
}

/// A session of a role as a caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoleSession {
    /// Unique id of the role, `AROA…`.
    pub role_id: String,
    /// Path of the role, `/` or `/…/`.
    pub path: String,
    /// Name of the role, without the path.
    pub role: String,
    /// Name that whoever assumed the role gave the session.
    pub session: String,
}

/// The life of temporary credentials.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TemporarySession {
    /// When they were made.
    pub issued: Timestamp,
    /// From when on they are refused.
    pub expires: Timestamp,
    /// The session policy they were made with, which narrows what they allow.
    pub policy: Option<String>,
    /// Managed policies that do so as well.
    pub managed: Vec<SessionPolicy>,
    /// Who is behind a session of a role, as whoever assumed the first role said.
    pub source_identity: Option<String>,
    /// The tags of the session.
    pub tags: Tags,
    /// The keys of those that the sessions have that come of it.
    pub transitive: Vec<String>,
}

/// A managed policy that limits a session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SessionPolicy {
    /// Its ARN.
    pub arn: String,
    /// Its unique id: another policy of that name is not meant.
    pub id: String,
}

impl Principal {
    /// The account root, signing with `access_key_id`.
    #[must_use]
    pub fn root(account: impl Into<String>, access_key_id: impl Into<String>) -> Self {
        Self {
            account: account.into(),
            kind: PrincipalKind::Root,
            access_key_id: access_key_id.into(),
            session: None,
        }
    }

    /// Whether it is the account itself.
    #[must_use]
    pub const fn is_root(&self) -> bool {
        matches!(self.kind, PrincipalKind::Root)
    }

    /// Value of `aws:PrincipalArn`, for example `arn:aws:iam::000000000000:root`; for a session
    /// of a role, the ARN of the role.
    #[must_use]
    pub fn arn(&self) -> String {
        let account = &self.account;
        match &self.kind {
            PrincipalKind::Root => ["arn:aws:iam::", account, ":root"].concat(),
            PrincipalKind::User(user) => {
                ["arn:aws:iam::", account, ":user", &user.path, &user.name].concat()
            }
            PrincipalKind::Role(role) => {
                ["arn:aws:iam::", account, ":role", &role.path, &role.role].concat()
            }
        }
    }

    /// The ARN of the caller itself, as `GetCallerIdentity`, audit records and refusals have it:
    /// for a session of a role, that of the session.
    #[must_use]
    pub fn caller_arn(&self) -> String {
        match &self.kind {
            PrincipalKind::Role(role) => {
                let RoleSession { role, session, .. } = role;
                ["arn:aws:sts::", &self.account, ":assumed-role/", role, "/", session].concat()
            }
            _ => self.arn(),
        }
    }

    /// Value of `aws:userid`: the account id for the account root.
    #[must_use]
    pub fn id(&self) -> String {
        match &self.kind {
            PrincipalKind::Root => self.account.clone(),
            PrincipalKind::User(user) => user.id.clone(),
            PrincipalKind::Role(role) => format!("{}:{}", role.role_id, role.session),
        }
    }

    /// Value of `aws:username`, which only users have.
    #[must_use]
    pub fn username(&self) -> Option<&str> {
        match &self.kind {
            PrincipalKind::User(user) => Some(&user.name),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn principal(kind: PrincipalKind) -> Principal {
        Principal { kind, ..Principal::root("111122223333", "AKIA") }
    }

    #[test]
    fn a_user_has_its_path_in_its_arn() {
        let (id, path, name) = ("AIDAX".to_owned(), "/team/".to_owned(), "ana".to_owned());
        let user = principal(PrincipalKind::User(User { id, path, name }));
        assert_eq!(user.arn(), "arn:aws:iam::111122223333:user/team/ana");
        assert_eq!(user.caller_arn(), user.arn());
        assert_eq!((user.id().as_str(), user.username()), ("AIDAX", Some("ana")));
    }

    #[test]
    fn a_session_drops_the_path_of_its_role() {
        let session = principal(PrincipalKind::Role(RoleSession {
            role_id: "AROAX".to_owned(),
            path: "/team/".to_owned(),
            role: "deploy".to_owned(),
            session: "s1".to_owned(),
        }));
        assert_eq!(session.arn(), "arn:aws:iam::111122223333:role/team/deploy");
        assert_eq!(session.caller_arn(), "arn:aws:sts::111122223333:assumed-role/deploy/s1");
        assert_eq!((session.id().as_str(), session.username()), ("AROAX:s1", None));
    }

    #[test]
    fn the_root_is_its_account() {
        let root = Principal::root("111122223333", "AKIA");
        assert_eq!(root.arn(), "arn:aws:iam::111122223333:root");
        assert_eq!((root.id().as_str(), root.username()), ("111122223333", None));
    }
}
