//! Whom a grant names: principals and services.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A grantee or a retiring principal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Party {
    /// The ARN of an account root, user, role, role session or federated user.
    Principal(String),
    /// A service, for example `logs.us-east-1.amazonaws.com`.
    Service(String),
}

impl Party {
    /// Reads a principal: an ARN that can be one, or twelve digits for the root of an account.
    #[must_use]
    pub fn principal(text: &str, partition: &str) -> Option<Self> {
        if is_account(text) {
            return Some(Self::Principal(format!("arn:{partition}:iam::{text}:root")));
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
        (known && well_formed && !name.ends_with('/')).then(|| Self::Principal(text.to_owned()))
    }

    /// The ARN or the service name.
    #[must_use]
    pub fn text(&self) -> &str {
        match self {
            Self::Principal(text) | Self::Service(text) => text,
        }
    }

    /// The account of a principal.
    #[must_use]
    pub fn account(&self) -> Option<&str> {
        match self {
            Self::Principal(arn) => arn.split(':').nth(4),
            Self::Service(_) => None,
        }
    }

    /// Whether this is the principal of that ARN.
    #[must_use]
    pub fn is_principal(&self, arn: &str) -> bool {
        matches!(self, Self::Principal(own) if own == arn)
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
