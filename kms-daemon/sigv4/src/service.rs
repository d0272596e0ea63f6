//! The services that requests are signed for.

/// Where clients sign for services that have no Region, whatever Region they themselves are in.
const GLOBAL_REGION: &str = "us-east-1";

/// A service in the scope of a signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SigningService {
    pub(super) name: &'static str,
    pub(super) is_global: bool,
}

impl SigningService {
    /// The key management service.
    pub const KMS: Self = Self { name: "kms", is_global: false };
    /// The security token service. Signatures for its global endpoint are of `us-east-1`.
    pub const STS: Self = Self { name: "sts", is_global: true };
    /// Identity and access management. Signatures for it are of `us-east-1`, or of the client's
    /// Region if it was given an endpoint.
    pub const IAM: Self = Self { name: "iam", is_global: true };

    /// The compute service, of which the Regions are asked.
    pub const EC2: Self = Self { name: "ec2", is_global: false };
    /// The service that finds resources by their tags.
    pub const TAGGING: Self = Self { name: "tagging", is_global: false };

    /// The service that delivers and tells of audit records.
    pub const CLOUDTRAIL: Self = Self { name: "cloudtrail", is_global: false };

    /// Accounts of an installation, which have no Region either.
    pub const STRONGROOM: Self = Self { name: "strongroom", is_global: true };

    /// Its name in the scope.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.name
    }

    /// Its name in the actions of policies, and where last uses are told.
    #[must_use]
    pub fn in_actions(self) -> &'static str {
        if self == Self::TAGGING { "tag" } else { self.name }
    }

    pub(super) fn allows(self, region: &str, served: impl Fn(&str) -> bool) -> bool {
        served(region) || (self.is_global && region == GLOBAL_REGION)
    }
}
