//! Policy documents: kept as text, and accepted only if the policy engine reads them.

use kms_policy::{Fault, NamedPrincipal};

use super::Iam;
use kms_keys::document::{IdentityPolicy, TrustPolicy};
use kms_query::{Code, IamError};

/// Longest document in a request, in bytes; the quotas below are narrower.
const MAX_DOCUMENT: usize = 131_072;

/// What a document is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The inline policies of a user.
    User,
    /// The inline policies of a group.
    Group,
    /// The inline policies of a role.
    Role,
    /// A managed policy.
    Managed,
    /// Who may assume a role.
    Trust,
    /// What requests to an external key store may do.
    Store,
    /// A session.
    Session,
}

impl Kind {
    /// IAM's quota of characters; white space does not count, but in a session's policy.
    const fn quota(self) -> usize {
        match self {
            Self::User | Self::Trust | Self::Session => 2048,
            Self::Group => 5120,
            Self::Role => 10_240,
            Self::Managed | Self::Store => 6144,
        }
    }
}

/// Reads a policy of an identity, a session or an external key store.
///
/// # Errors
/// [`Code::MalformedPolicyDocument`], [`Code::LimitExceeded`].
pub(crate) fn identity(kind: Kind, text: &str) -> Result<IdentityPolicy, IamError> {
    check_length(text)?;
    let policy = IdentityPolicy::parse(text)?;
    policy.check_cost()?;
    check_quota(kind, [text])?;
    Ok(policy)
}

fn check_length(text: &str) -> Result<(), IamError> {
    match text.is_empty() || text.len() > MAX_DOCUMENT {
        true => Err(IamError::invalid("A policy document has 1 to 131072 characters.")),
        false => Ok(()),
    }
}

/// Reads a trust policy. Users, roles and accounts that it names must exist.
///
/// # Errors
/// [`Code::MalformedPolicyDocument`], [`Code::LimitExceeded`].
pub(crate) async fn trust(iam: &Iam, text: &str) -> Result<TrustPolicy, IamError> {
    check_length(text)?;
    let compiled = kms_policy::TrustPolicy::parse(text)?;
    compiled.check_cost()?;
    check_quota(Kind::Trust, [text])?;
    for principal in compiled.principals() {
        if let NamedPrincipal::Account { id, .. } = principal
            && !iam.has_account(id).await?
        {
            return Err(unknown(&principal.to_string()));
        }
    }
    let bound = iam.bound(compiled.principals()).await?;
    TrustPolicy::parse(text.to_owned(), bound).map_err(|error| match error.fault {
        Fault::Principal(name) => unknown(&name),
        _ => error.into(),
    })
}

fn unknown(principal: &str) -> IamError {
    let text = format!("Invalid principal in policy: \"AWS\":\"{principal}\"");
    IamError::new(Code::MalformedPolicyDocument, text)
}

/// Checks that documents which count together are within their quota.
///
/// # Errors
/// [`Code::LimitExceeded`]; for a session's policy [`Code::PackedPolicyTooLarge`].
pub(crate) fn check_quota<'t>(
    kind: Kind,
    documents: impl IntoIterator<Item = &'t str>,
) -> Result<(), IamError> {
    let counts = |character: &char| kind == Kind::Session || !character.is_whitespace();
    let (mut size, mut stored) = (0_usize, 0_usize);
    for text in documents {
        size += text.chars().filter(counts).count();
        stored += text.len();
    }
    // White space is free, but has to be stored.
    if size <= kind.quota() && stored <= MAX_DOCUMENT {
        return Ok(());
    }
    let (code, what) = match kind {
        Kind::User => (Code::LimitExceeded, "the inline policies of a user"),
        Kind::Group => (Code::LimitExceeded, "the inline policies of a group"),
        Kind::Role => (Code::LimitExceeded, "the inline policies of a role"),
        Kind::Managed => (Code::LimitExceeded, "a managed policy"),
        Kind::Trust => (Code::LimitExceeded, "the trust policy of a role"),
        Kind::Store => (Code::LimitExceeded, "the policy of an external key store"),
        Kind::Session => (Code::PackedPolicyTooLarge, "a session policy"),
    };
    let text = format!("Maximum policy size of {} bytes exceeded for {what}.", kind.quota());
    Err(IamError::new(code, text))
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDENTITY: &str = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"kms:*","Resource":"*"}]}"#;
    const TRUST: &str = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"111122223333"},"Action":"sts:AssumeRole"}]}"#;

    #[test]
    fn documents_are_of_their_kind() {
        assert!(identity(Kind::User, IDENTITY).is_ok());
        for (kind, text) in [
            (Kind::User, TRUST),
            (Kind::Role, "{"),
            (Kind::Session, r#"{"Version":"2012-10-17","Version":"2012-10-17","Statement":[]}"#),
        ] {
            assert_eq!(identity(kind, text).unwrap_err().code(), Code::MalformedPolicyDocument);
        }
    }

    #[test]
    fn quotas_do_not_count_white_space() {
        let spaces = IDENTITY.replace(":[", &format!(":{}[", " ".repeat(3000)));
        assert!(identity(Kind::User, &spaces).is_ok());
        let code = |kind, text: &str| identity(kind, text).unwrap_err().code();
        assert_eq!(code(Kind::Session, &spaces), Code::PackedPolicyTooLarge);
        let long =
            IDENTITY.replace("\"*\"", &format!("\"arn:aws:kms:*:*:key/{}\"", "x".repeat(2048)));
        assert_eq!(code(Kind::User, &long), Code::LimitExceeded);
        assert!(identity(Kind::Role, &long).is_ok());
        assert!(check_quota(Kind::User, [IDENTITY; 21]).is_ok());
        assert!(check_quota(Kind::User, [IDENTITY; 40]).is_err());
        let blank = IDENTITY.replace(":[", &format!(":{}[", " ".repeat(100_000)));
        assert!(check_quota(Kind::User, [&*blank]).is_ok());
        assert!(check_quota(Kind::User, [&*blank; 2]).is_err());
    }
}
