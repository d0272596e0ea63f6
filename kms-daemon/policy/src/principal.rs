//! The `Principal` element: whom a statement of a resource policy is about.
//!
//! Source: the IAM User Guide, "AWS JSON policy elements: Principal" and "…: `NotPrincipal`".

use std::fmt;

use crate::caller::{ArnParts, Caller, CallerKind, is_account, named};
use crate::error::{Fault, PolicyError};
use crate::json::Json;

/// A principal as a policy names it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum NamedPrincipal {
    /// `*`, everyone.
    Anyone,
    /// An account: its root user, and whomever the account delegates to.
    Account {
        /// The partition, if the account is named by an ARN.
        partition: Option<Box<str>>,
        /// Twelve digits.
        id: Box<str>,
    },
    /// The ARN of a user.
    User(Box<str>),
    /// The ARN of a role, which stands for all its sessions.
    Role(Box<str>),
    /// The ARN of a role session or of a federated user.
    Session(Box<str>),
    /// The ARN of a session of the role with a unique id, and of no later role of its name.
    SessionOf {
        /// The ARN of the session.
        arn: Box<str>,
        /// The unique id of the role.
        role: Box<str>,
    },
    /// The ARN of the user or role with a unique id, and of no later one of its name.
    Bound {
        /// The ARN.
        arn: Box<str>,
        /// The unique id.
        id: Box<str>,
    },
    /// The unique id of a user or a role.
    UniqueId(Box<str>),
    /// A service.
    Service(Box<str>),
    /// An identity provider.
    Federated(Box<str>),
}

/// How a statement names a caller: a set of the ways.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Ways(u8);

impl Ways {
    pub(crate) const NONE: Self = Self(0);
    /// As everyone.
    pub(crate) const ANYONE: Self = Self(1);
    /// By the account.
    pub(crate) const ACCOUNT: Self = Self(2);
    /// A session by its role.
    pub(crate) const ROLE: Self = Self(4);
    /// Itself: a user, session, service or web identity.
    pub(crate) const ITSELF: Self = Self(8);

    pub(crate) const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(crate) const fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

/// A `Principal` or `NotPrincipal` element.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Principals {
    Any(Box<[NamedPrincipal]>),
    /// Everyone but these. Only with `Deny`.
    NoneOf(Box<[NamedPrincipal]>),
}

impl Principals {
    /// How the element names `caller`. `bounded`: the caller has a permissions boundary.
    pub(crate) fn ways(&self, caller: &Caller<'_>, bounded: bool) -> Ways {
        match self {
            Self::Any(list) => {
                list.iter().fold(Ways::NONE, |ways, principal| ways.and(principal.names(caller)))
            }
            Self::NoneOf(list) if excepted(list, caller, bounded) => Ways::NONE,
            Self::NoneOf(_) => Ways::ANYONE,
        }
    }

    /// Whether the element names an earlier user or role of the caller's name.
    pub(crate) fn name_predecessor(&self, caller: &Caller<'_>) -> bool {
        self.named().iter().any(|principal| principal.names_predecessor(caller))
    }

    pub(crate) fn named(&self) -> &[NamedPrincipal] {
        match self {
            Self::Any(list) | Self::NoneOf(list) => list,
        }
    }

    pub(crate) fn named_mut(&mut self) -> &mut [NamedPrincipal] {
        match self {
            Self::Any(list) | Self::NoneOf(list) => list,
        }
    }
}

/// Whether a `NotPrincipal` element excepts the caller.
///
/// The account has to be listed, and the user, or the role, or the federated user: the IAM User
/// Guide says so, and in its example a listed account does not except the other users of the
/// account. It also says that whoever has a permissions boundary is always denied.
fn excepted(list: &[NamedPrincipal], caller: &Caller<'_>, bounded: bool) -> bool {
    let listed = list.iter().fold(Ways::NONE, |ways, principal| ways.and(principal.names(caller)));
    let all = |ways: &[Ways]| ways.iter().all(|way| listed.intersects(*way));
    !bounded
        && match caller.kind() {
            CallerKind::Root => all(&[Ways::ACCOUNT]),
            CallerKind::User | CallerKind::FederatedUser => all(&[Ways::ACCOUNT, Ways::ITSELF]),
            CallerKind::RoleSession => all(&[Ways::ACCOUNT, Ways::ROLE]),
            CallerKind::WebIdentity | CallerKind::Service => all(&[Ways::ITSELF]),
        }
}

impl NamedPrincipal {
    /// Reads an element of `AWS`: there are no wildcards but a lone `*`.
    fn parse_aws(text: &str) -> Option<Self> {
        if text == "*" {
            return Some(Self::Anyone);
        }
        if is_account(text) {
            return Some(Self::Account { partition: None, id: text.into() });
        }
        if text.contains(['*', '?', '$']) {
            return None;
        }
        if is_unique_id(text) {
            return Some(Self::UniqueId(text.into()));
        }
        let ArnParts { partition, service, account, resource } = ArnParts::parse(text)?;
        Some(match (service, resource) {
            ("iam", "root") => {
                Self::Account { partition: Some(partition.into()), id: account.into() }
            }
            ("iam", resource) if named(resource, "user/") => Self::User(text.into()),
            ("iam", resource) if named(resource, "role/") => Self::Role(text.into()),
            ("sts", resource) if named(resource, "federated-user/") => Self::Session(text.into()),
            ("sts", resource) if named(resource, "assumed-role/") => {
                let (name, session) = resource.strip_prefix("assumed-role/")?.split_once('/')?;
                if name.is_empty() || session.contains('/') {
                    return None;
                }
                Self::Session(text.into())
            }
            _ => return None,
        })
    }

    /// The user or role with a unique id, or a session of that role, instead of whoever has the
    /// name.
    pub(crate) fn bind(&mut self, id: String) {
        let id = id.into_boxed_str();
        *self = match std::mem::replace(self, Self::Anyone) {
            Self::Session(arn) | Self::SessionOf { arn, .. } => Self::SessionOf { arn, role: id },
            Self::User(arn) | Self::Role(arn) | Self::Bound { arn, .. } => Self::Bound { arn, id },
            _ => Self::UniqueId(id),
        };
    }

    /// Whether this names an earlier user or role of the caller's name.
    fn names_predecessor(&self, caller: &Caller<'_>) -> bool {
        let (arn, id) = match self {
            Self::Bound { arn, id } => (arn, id),
            Self::SessionOf { arn, role } => (arn, role),
            _ => return false,
        };
        let name = [Some(caller.arn()), caller.role()];
        name.contains(&Some(arn)) && caller.unique_id() != Some(id)
    }

    /// How this names `caller`.
    fn names(&self, caller: &Caller<'_>) -> Ways {
        let yes = |matches: bool, ways| if matches { ways } else { Ways::NONE };
        match self {
            Self::Anyone => Ways::ANYONE,
            Self::Account { partition, id } => {
                let same = partition.as_deref().is_none_or(|own| own == caller.partition());
                yes(same && **id == *caller.account(), Ways::ACCOUNT)
            }
            Self::User(arn) => {
                yes(caller.kind() == CallerKind::User && **arn == *caller.arn(), Ways::ITSELF)
            }
            Self::Role(arn) => yes(caller.role() == Some(arn), Ways::ROLE),
            Self::Session(arn) => {
                let session =
                    matches!(caller.kind(), CallerKind::RoleSession | CallerKind::FederatedUser);
                yes(session && **arn == *caller.arn(), Ways::ITSELF)
            }
            Self::SessionOf { arn, role } => {
                let session = caller.role().is_some() && **arn == *caller.arn();
                yes(session && caller.unique_id() == Some(role), Ways::ITSELF)
            }
            Self::UniqueId(id) | Self::Bound { id, .. } => {
                let ways = if caller.role().is_some() { Ways::ROLE } else { Ways::ITSELF };
                yes(caller.unique_id() == Some(id), ways)
            }
            Self::Service(name) => yes(caller.services().contains(&&**name), Ways::ITSELF),
            Self::Federated(name) => {
                // A session that began with a provider is limited like one named by its role.
                let ways = if caller.role().is_some() { Ways::ROLE } else { Ways::ITSELF };
                yes(caller.provider() == Some(name), ways)
            }
        }
    }
}

impl fmt::Display for NamedPrincipal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Anyone => f.write_str("*"),
            Self::Account { partition: None, id } => f.write_str(id),
            Self::Account { partition: Some(partition), id } => {
                write!(f, "arn:{partition}:iam::{id}:root")
            }
            Self::User(text)
            | Self::Role(text)
            | Self::Session(text)
            | Self::SessionOf { arn: text, .. }
            | Self::Bound { arn: text, .. }
            | Self::UniqueId(text)
            | Self::Service(text)
            | Self::Federated(text) => f.write_str(text),
        }
    }
}

/// Reads the value of a `Principal` or `NotPrincipal` element.
pub(crate) fn parse(value: Json) -> Result<Box<[NamedPrincipal]>, PolicyError> {
    let kinds = match value {
        Json::Text(text) if text == "*" => return Ok(Box::new([NamedPrincipal::Anyone])),
        Json::Text(text) => return Err(Fault::Principal(text).into()),
        Json::Object(kinds) => kinds,
        other => return Err(Fault::Type { wanted: "an object", found: other.kind() }.into()),
    };
    let mut list = Vec::new();
    for (kind, value) in kinds {
        let within = |error: PolicyError| error.within(&kind);
        let texts = value.one_or_many();
        if texts.is_empty() {
            return Err(within(Fault::NoPrincipal.into()));
        }
        for text in texts {
            let text = match text {
                Json::Text(text) => text,
                other => {
                    let fault = Fault::Type { wanted: "a string", found: other.kind() };
                    return Err(within(fault.into()));
                }
            };
            let principal = match kind.as_str() {
                "AWS" => NamedPrincipal::parse_aws(&text),
                "Service" if is_service(&text) => {
                    Some(NamedPrincipal::Service(text.as_str().into()))
                }
                "Federated" if is_provider(&text) => {
                    Some(NamedPrincipal::Federated(text.as_str().into()))
                }
                // Canonical users are an older name for accounts that only S3 still knows.
                _ => None,
            };
            list.push(principal.ok_or_else(|| within(Fault::Principal(text).into()))?);
        }
    }
    if list.is_empty() { Err(Fault::NoPrincipal.into()) } else { Ok(list.into()) }
}

/// Whether `text` has the form of the unique id of a user or a role.
fn is_unique_id(text: &str) -> bool {
    (text.starts_with("AIDA") || text.starts_with("AROA"))
        && (16..=128).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit())
}

fn is_service(text: &str) -> bool {
    let name = text.strip_suffix(".cn").unwrap_or(text).strip_suffix(".amazonaws.com");
    let token =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-.".contains(&byte);
    name.is_some_and(|name| !name.is_empty() && name.bytes().all(token))
}

/// Whether `text` can be an identity provider: a host name, perhaps with a path, or the ARN of a
/// provider.
fn is_provider(text: &str) -> bool {
    let arn = ArnParts::parse(text).is_some_and(|arn| {
        let provider =
            named(arn.resource, "saml-provider/") || named(arn.resource, "oidc-provider/");
        arn.service == "iam" && provider
    });
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"-._/".contains(&byte);
    !text.contains(['*', '?', '$']) && (arn || text.contains('.') && text.bytes().all(token))
}

#[cfg(test)]
mod tests;
