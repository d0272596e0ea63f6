//! Callers, as policies see them.

use crate::context::Value;
use crate::key::Name;

/// An authenticated caller. The parts of its ARNs have been checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caller<'a> {
    kind: CallerKind,
    arn: &'a str,
    partition: &'a str,
    account: &'a str,
    role: Option<&'a str>,
    unique_id: Option<&'a str>,
    provider: Option<&'a str>,
    services: &'a [&'a str],
}

/// The kinds of caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CallerKind {
    /// The root user of an account.
    Root,
    /// An IAM user, with or without a session token.
    User,
    /// A session of a role.
    RoleSession,
    /// A session that an IAM user made with `GetFederationToken`.
    FederatedUser,
    /// A person or program for whom an identity provider vouches, and who is about to assume a
    /// role.
    WebIdentity,
    /// A service that acts on its own behalf.
    Service,
}

impl<'a> Caller<'a> {
    /// Returns the root user, from `arn:aws:iam::111122223333:root`; `None` for any other form.
    #[must_use]
    pub fn root(arn: &'a str) -> Option<Self> {
        Self::new(CallerKind::Root, arn, "iam", |resource| resource == "root")
    }

    /// Returns a user, from `arn:aws:iam::111122223333:user/path/name`; `None` for any other form.
    #[must_use]
    pub fn user(arn: &'a str) -> Option<Self> {
        Self::new(CallerKind::User, arn, "iam", |resource| named(resource, "user/"))
    }

    /// Returns a session, from `arn:aws:sts::111122223333:assumed-role/name/session` and the ARN of
    /// its role, `arn:aws:iam::111122223333:role/path/name`; `None` if a form is wrong or the two
    /// do not belong together.
    #[must_use]
    pub fn role_session(arn: &'a str, role: &'a str) -> Option<Self> {
        let session = |resource: &str| {
            let (name, session) = resource
                .strip_prefix("assumed-role/")?
                .split_once('/')
                .filter(|(_, session)| !session.is_empty() && !session.contains('/'))?;
            (!session.is_empty() && role.rsplit('/').next() == Some(name)).then_some(())
        };
        let caller = Self::new(CallerKind::RoleSession, arn, "sts", |r| session(r).is_some())?;
        let of = Self::new(CallerKind::RoleSession, role, "iam", |r| named(r, "role/"))?;
        let same = (of.partition, of.account) == (caller.partition, caller.account);
        same.then_some(Self { role: Some(role), ..caller })
    }

    /// Returns a federated user, from `arn:aws:sts::111122223333:federated-user/name`; `None` for
    /// any other form.
    #[must_use]
    pub fn federated_user(arn: &'a str) -> Option<Self> {
        Self::new(CallerKind::FederatedUser, arn, "sts", |r| named(r, "federated-user/"))
    }

    /// Returns a caller with a token of the identity provider called `provider`. It has no account.
    #[must_use]
    pub const fn web_identity(provider: &'a str) -> Self {
        Self { provider: Some(provider), ..Self::nobody(CallerKind::WebIdentity, provider) }
    }

    /// Returns a service that acts on its own behalf. `services` has all its names, for example
    /// `logs.amazonaws.com` and `logs.us-east-1.amazonaws.com`; messages use the first. `None` if
    /// it is empty.
    #[must_use]
    pub fn service(services: &'a [&'a str]) -> Option<Self> {
        let first = services.first()?;
        Some(Self { services, ..Self::nobody(CallerKind::Service, first) })
    }

    /// Adds the unique id of the user or role (`AIDA…`, `AROA…`). Policies use it for principals
    /// that must not be confused with later ones of the same name.
    #[must_use]
    pub const fn with_unique_id(self, id: &'a str) -> Self {
        Self { unique_id: Some(id), ..self }
    }

    /// Adds the identity provider that vouched for the caller when the role session began
    /// (`aws:FederatedProvider`).
    #[must_use]
    pub const fn with_provider(self, provider: &'a str) -> Self {
        Self { provider: Some(provider), ..self }
    }

    /// The kind of caller.
    #[must_use]
    pub const fn kind(&self) -> CallerKind {
        self.kind
    }

    /// The ARN for messages: of the session, not of its role. For a service or a web identity, the
    /// name of the service or of the identity provider.
    #[must_use]
    pub const fn arn(&self) -> &'a str {
        self.arn
    }

    /// The ARN of the role, if the caller is a session of one.
    #[must_use]
    pub const fn role(&self) -> Option<&'a str> {
        self.role
    }

    /// The account number; empty for services and web identities.
    #[must_use]
    pub const fn account(&self) -> &'a str {
        self.account
    }

    /// The partition, for example `aws`; empty for services and web identities.
    #[must_use]
    pub const fn partition(&self) -> &'a str {
        self.partition
    }

    /// The unique id of the user or role, if known.
    #[must_use]
    pub const fn unique_id(&self) -> Option<&'a str> {
        self.unique_id
    }

    /// The identity provider, if one vouched for the caller.
    #[must_use]
    pub const fn provider(&self) -> Option<&'a str> {
        self.provider
    }

    /// All names of the service; empty for other callers.
    #[must_use]
    pub const fn services(&self) -> &'a [&'a str] {
        self.services
    }

    /// Returns the value of a condition key if it follows from the caller alone.
    /// Implementations of [`Context`](crate::Context) can fall back on this.
    #[must_use]
    pub fn value(&self, name: Name) -> Option<Value<'_>> {
        let is_service = self.kind == CallerKind::Service;
        Some(match name {
            Name::PrincipalArn if !self.account.is_empty() => {
                Value::from(self.role.unwrap_or(self.arn))
            }
            Name::PrincipalAccount | Name::CallerAccount if !self.account.is_empty() => {
                Value::from(self.account)
            }
            Name::PrincipalType => Value::from(match self.kind {
                CallerKind::Root => "Account",
                CallerKind::User => "User",
                CallerKind::RoleSession => "AssumedRole",
                CallerKind::FederatedUser => "FederatedUser",
                CallerKind::WebIdentity | CallerKind::Service => return None,
            }),
            Name::PrincipalIsAwsService => Value::Bool(is_service),
            Name::PrincipalServiceName if is_service => Value::from(self.arn),
            Name::PrincipalServiceNamesList if is_service => Value::List(&self.services),
            Name::FederatedProvider => Value::from(self.provider?),
            Name::UserName if self.kind == CallerKind::User => {
                Value::from(self.arn.rsplit('/').next()?)
            }
            Name::UserId => match self.kind {
                CallerKind::Root => Value::from(self.account),
                CallerKind::User => Value::from(self.unique_id?),
                CallerKind::RoleSession => {
                    Value::from(format!("{}:{}", self.unique_id?, self.arn.rsplit('/').next()?))
                }
                CallerKind::FederatedUser => {
                    let (_, name) = self.arn.split_once('/')?;
                    Value::from(format!("{}:{name}", self.account))
                }
                CallerKind::WebIdentity | CallerKind::Service => return None,
            },
            _ => return None,
        })
    }

    fn new(
        kind: CallerKind,
        arn: &'a str,
        service: &str,
        is_resource: impl Fn(&str) -> bool,
    ) -> Option<Self> {
        let parts = ArnParts::parse(arn)?;
        let fits = parts.service == service && is_resource(parts.resource);
        let ArnParts { partition, account, .. } = parts;
        fits.then_some(Self { partition, account, ..Self::nobody(kind, arn) })
    }

    const fn nobody(kind: CallerKind, arn: &'a str) -> Self {
        Self {
            kind,
            arn,
            partition: "",
            account: "",
            role: None,
            unique_id: None,
            provider: None,
            services: &[],
        }
    }
}

/// The parts of a principal's ARN.
pub(crate) struct ArnParts<'a> {
    pub(crate) partition: &'a str,
    pub(crate) service: &'a str,
    pub(crate) account: &'a str,
    pub(crate) resource: &'a str,
}

impl<'a> ArnParts<'a> {
    /// Splits `arn:partition:service::account:resource`; `None` for any other form.
    pub(crate) fn parse(arn: &'a str) -> Option<Self> {
        let (partition, rest) = arn.strip_prefix("arn:")?.split_once(':')?;
        let (service, rest) = rest.split_once("::")?;
        let (account, resource) = rest.split_once(':')?;
        let fits = is_partition(partition) && is_account(account) && !resource.is_empty();
        fits.then_some(Self { partition, service, account, resource })
    }
}

/// Whether `text` is an account number: 12 digits.
pub(crate) fn is_account(text: &str) -> bool {
    text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn is_partition(text: &str) -> bool {
    text.starts_with("aws") && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-')
}

/// Whether `resource` is `kind` followed by a name, which may have a path.
pub(crate) fn named(resource: &str, kind: &str) -> bool {
    resource.strip_prefix(kind).is_some_and(|name| !name.is_empty() && !name.ends_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SESSION: &str = "arn:aws:sts::111122223333:assumed-role/reader/s1";
    const ROLE: &str = "arn:aws:iam::111122223333:role/teams/a/reader";

    #[test]
    fn arns_are_checked() {
        assert!(Caller::root("arn:aws:iam::111122223333:root").is_some());
        assert!(Caller::user("arn:aws-cn:iam::111122223333:user/a/b").is_some());
        assert!(Caller::role_session(SESSION, ROLE).is_some());
        assert!(Caller::federated_user("arn:aws:sts::111122223333:federated-user/bob").is_some());
        for arn in [
            "arn:aws:iam::111122223333:user/",
            "arn:aws:iam::11112222333:user/a",
            "arn:aws:iam:us-east-1:111122223333:user/a",
            "arn:gcp:iam::111122223333:user/a",
            "arn:aws:sts::111122223333:user/a",
            "111122223333",
        ] {
            assert_eq!(Caller::user(arn), None, "{arn}");
        }
        let other_account = ROLE.replace("1111", "9999");
        for role in ["arn:aws:iam::111122223333:role/writer", SESSION, &other_account] {
            assert_eq!(Caller::role_session(SESSION, role), None, "{role}");
        }
        for session in ["assumed-role/reader", "assumed-role/reader/", "assumed-role/reader/a/b"] {
            let arn = format!("arn:aws:sts::111122223333:{session}");
            assert_eq!(Caller::role_session(&arn, ROLE), None, "{arn}");
        }
        assert_eq!(Caller::service(&[]), None);
    }

    #[test]
    fn condition_keys_follow_from_the_caller() {
        let text = |caller: &Caller<'_>, name| caller.value(name).map(|v| format!("{v:?}"));
        let session = Caller::role_session(SESSION, ROLE).unwrap().with_unique_id("AROAEXAMPLE");
        assert_eq!(text(&session, Name::PrincipalArn).unwrap(), ROLE);
        assert_eq!(text(&session, Name::UserId).unwrap(), "AROAEXAMPLE:s1");
        assert_eq!(text(&session, Name::UserName), None);
        assert_eq!(text(&session, Name::PrincipalType).unwrap(), "AssumedRole");
        let user = Caller::user("arn:aws:iam::111122223333:user/a/bob").unwrap();
        assert_eq!(text(&user, Name::UserName).unwrap(), "bob");
        assert_eq!(text(&user, Name::CallerAccount).unwrap(), "111122223333");
        assert_eq!(text(&user, Name::PrincipalIsAwsService).unwrap(), "false");
        let root = Caller::root("arn:aws:iam::111122223333:root").unwrap();
        assert_eq!(text(&root, Name::UserId).unwrap(), "111122223333");
        let service = Caller::service(&["logs.amazonaws.com"]).unwrap();
        assert_eq!(text(&service, Name::PrincipalArn), None);
        assert_eq!(
            text(&service, Name::PrincipalServiceNamesList).unwrap(),
            "[\"logs.amazonaws.com\"]"
        );
        let federated = Caller::federated_user("arn:aws:sts::111122223333:federated-user/bob");
        assert_eq!(text(&federated.unwrap(), Name::UserId).unwrap(), "111122223333:bob");
    }
}
