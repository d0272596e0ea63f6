//! Who calls: the outcome of authentication and the subject of authorization.

/// An authenticated caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    /// Twelve-digit account of the credential.
    pub account: String,
    /// What kind of identity the credential belongs to.
    pub kind: PrincipalKind,
    /// The access key id the request was signed with. Not a secret.
    pub access_key_id: String,
}

/// The kinds of identity a credential can belong to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum PrincipalKind {
    /// The account itself.
    Root,
}

impl Principal {
    /// The account root, signing with `access_key_id`.
    #[must_use]
    pub fn root(account: impl Into<String>, access_key_id: impl Into<String>) -> Self {
        Self {
            account: account.into(),
            kind: PrincipalKind::Root,
            access_key_id: access_key_id.into(),
        }
    }

    /// Value of `aws:PrincipalArn`, for example `arn:aws:iam::000000000000:root`.
    #[must_use]
    pub fn arn(&self) -> String {
        match self.kind {
            PrincipalKind::Root => format!("arn:aws:iam::{}:root", self.account),
        }
    }

    /// Value of `aws:userid`; the account id for the account root.
    #[must_use]
    pub fn id(&self) -> &str {
        match self.kind {
            PrincipalKind::Root => &self.account,
        }
    }
}
