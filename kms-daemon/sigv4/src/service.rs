//! The services that requests are signed for.

/// Where clients sign for services that have no Region, whatever Region they themselves are in.
const GLOBAL_REGION: &str = "us-east-1";

/// A service in the scope of a signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SigningService {
    name: &'static str,
    regions: Regions,
}

/// The Regions that a signature for a service may be of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Regions {
    /// Those that are served.
    Served,
    /// These, and [`GLOBAL_REGION`].
    ServedOrGlobal,
    /// Any: the client is in a Region of its own, which need not be served.
    Any,
}

impl SigningService {
    /// The key management service.
    pub const KMS: Self = Self { name: "kms", regions: Regions::Served };
    /// The security token service. Signatures for its global endpoint are of `us-east-1`.
    pub const STS: Self = Self { name: "sts", regions: Regions::ServedOrGlobal };
    /// Identity and access management. Signatures for it are of `us-east-1`, or of the client's
    /// Region if it was given an endpoint.
    pub const IAM: Self = Self { name: "iam", regions: Regions::ServedOrGlobal };

    /// The compute service, of which the Regions are asked.
    pub const EC2: Self = Self { name: "ec2", regions: Regions::Served };
    /// The service that finds resources by their tags.
    pub const TAGGING: Self = Self { name: "tagging", regions: Regions::Served };

    /// The service that delivers and tells of audit records.
    pub const CLOUDTRAIL: Self = Self { name: "cloudtrail", regions: Regions::Served };

    /// Accounts of an installation, which have no Region either.
    pub const STRONGROOM: Self = Self { name: "strongroom", regions: Regions::ServedOrGlobal };

    /// The external key store proxy. Signatures for it are of the Region of the KMS that sends them.
    pub const EXTERNAL_STORE: Self = Self { name: "kms-xks-proxy", regions: Regions::Any };

    /// The service of AWS's own test suite.
    #[cfg(test)]
    pub(crate) const OF_SUITE: Self = Self { name: "service", regions: Regions::Served };

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
        match self.regions {
            Regions::Served => served(region),
            Regions::ServedOrGlobal => served(region) || region == GLOBAL_REGION,
            Regions::Any => !region.is_empty(),
        }
    }
}
