//! Whom a grant names: principals and services.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};

/// A grantee or a retiring principal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Party {
    /// An account root, user, role or role session.
    Principal {
        /// The ARN.
        arn: String,
        /// The unique id of the user or role, as it was when the grant was made: one that is made
        /// again under an old name is not meant. Accounts have none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        id: Option<String>,
    },
    /// A service, for example `logs.us-east-1.amazonaws.com`.
    Service(String),
}

impl Party {
    /// Reads a principal: an ARN that can be one, or twelve digits for the root of an account. It
    /// has no unique id yet.
    #[must_use]
    pub fn principal(text: &str, partition: &str) -> Option<Self> {
        if is_account(text) {
            let arn = format!("arn:{partition}:iam::{text}:root");
            return Some(Self::Principal { arn, id: None });
        }
        let mut fields = text.splitn(6, ':');
        let mut next = || fields.next();
        let start = (next()?, next()?);
        let (service, region, account, resource) = (next()?, next()?, next()?, next()?);
        let (kind, name) = resource.split_once('/').unwrap_or((resource, ""));
        let names = name.split('/').filter(|part| !part.is_empty()).count();
        let known = match (service, kind) {
            ("iam", "root") => resource == "root",
            ("iam", "user" | "role") => names >= 1,
            ("sts", "assumed-role") => names == 2,
            ("sts", "federated-user") => names == 1,
            _ => false,
        };
        let well_formed = start == ("arn", partition) && region.is_empty() && is_account(account);
        (known && well_formed && !name.ends_with('/'))
            .then(|| Self::Principal { arn: text.to_owned(), id: None })
    }

    /// The ARN or the service name.
    #[must_use]
    pub fn text(&self) -> &str {
        match self {
            Self::Principal { arn: text, .. } | Self::Service(text) => text,
        }
    }

    /// The account of a principal.
    #[must_use]
    pub fn account(&self) -> Option<&str> {
        match self {
            Self::Principal { arn, .. } => arn.split(':').nth(4),
            Self::Service(_) => None,
        }
    }

    /// The ARN of a principal that is not known by its name alone.
    #[must_use]
    pub fn needs_id(&self) -> Option<&str> {
        match self {
            Self::Principal { arn, .. } if !arn.ends_with(":root") => Some(arn),
            _ => None,
        }
    }

    /// The unique id of a user or role, and for a session its name after it, as `aws:userid` has
    /// them. Accounts and services have none.
    #[must_use]
    pub fn unique(&self) -> Option<Cow<'_, str>> {
        let Self::Principal { arn, id: Some(id) } = self else { return None };
        let session = arn.split_once(":assumed-role/").and_then(|(_, name)| name.split_once('/'));
        Some(match session {
            Some((_, session)) => Cow::Owned(format!("{id}:{session}")),
            None => Cow::Borrowed(id),
        })
    }

    /// What it stays known by, whatever it is called: its unique id if it has one, else its name.
    #[must_use]
    pub fn lasting(&self) -> Cow<'_, str> {
        self.unique().unwrap_or(Cow::Borrowed(self.text()))
    }

    /// Whether both are the same, though one may have another name by now.
    #[must_use]
    pub fn is(&self, other: &Self) -> bool {
        matches!(self, Self::Service(_)) == matches!(other, Self::Service(_))
            && self.unique().is_some() == other.unique().is_some()
            && self.lasting() == other.lasting()
    }

    /// Whether this is the principal of that unique id, or, as accounts have none, of that ARN.
    #[must_use]
    pub fn is_principal(&self, arn: &str, unique: Option<&str>) -> bool {
        match (self, unique) {
            (Self::Principal { .. }, Some(unique)) => self.unique().as_deref() == Some(unique),
            (Self::Principal { arn: own, id: None }, None) => own == arn,
            _ => false,
        }
    }
}

impl fmt::Display for Party {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

fn is_account(text: &str) -> bool {
    text.len() == 12 && text.bytes().all(|digit| digit.is_ascii_digit())
}
