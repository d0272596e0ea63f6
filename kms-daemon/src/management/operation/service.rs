//! The APIs beside KMS, and the protocol of each.

use kms_query::Code;
use kms_sigv4::SigningService;

/// An API: those of AWS, and Strongroom's own for what AWS has in another service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Service {
    /// Identities.
    Iam,
    /// Temporary credentials.
    Sts,
    /// Accounts of the installation.
    Strongroom,
    /// Of the compute service, which Regions there are.
    Ec2,
    /// Of the tagging service, which keys have which tags.
    Tagging,
    /// Trails, and the history of events.
    CloudTrail,
}

/// How requests and answers of an API are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// Forms in, XML out.
    Query,
    /// The same with the XML of EC2.
    Ec2,
    /// JSON, with the operation in `X-Amz-Target`.
    Json,
}

/// Start of `X-Amz-Target` of the tagging service.
const TAGGING_TARGET: &str = "ResourceGroupsTaggingAPI_20170126.";
/// The same of CloudTrail.
const CLOUDTRAIL_TARGET: &str = "com.amazonaws.cloudtrail.v20131101.CloudTrail_20131101.";

impl Service {
    /// Every API.
    pub const ALL: &'static [Self] =
        &[Self::Iam, Self::Sts, Self::Strongroom, Self::Ec2, Self::Tagging, Self::CloudTrail];

    /// The API of a `Version` parameter.
    #[must_use]
    pub fn from_version(version: &str) -> Option<Self> {
        match version {
            "2010-05-08" => Some(Self::Iam),
            "2011-06-15" => Some(Self::Sts),
            "2026-11-26" => Some(Self::Strongroom),
            "2016-11-15" => Some(Self::Ec2),
            _ => None,
        }
    }

    /// The API and the operation of an `X-Amz-Target` header.
    #[must_use]
    pub fn from_target(target: &str) -> Option<(Self, &str)> {
        let targets = [(TAGGING_TARGET, Self::Tagging), (CLOUDTRAIL_TARGET, Self::CloudTrail)];
        targets.into_iter().find_map(|(start, api)| Some((api, target.strip_prefix(start)?)))
    }

    /// The service in the scope of signatures.
    #[must_use]
    pub const fn signing(self) -> SigningService {
        match self {
            Self::Iam => SigningService::IAM,
            Self::Sts => SigningService::STS,
            Self::Strongroom => SigningService::STRONGROOM,
            Self::Ec2 => SigningService::EC2,
            Self::Tagging => SigningService::TAGGING,
            Self::CloudTrail => SigningService::CLOUDTRAIL,
        }
    }

    /// The service in the names of actions.
    pub(super) fn prefix(self) -> &'static str {
        self.signing().in_actions()
    }

    /// `eventSource` of audit records.
    #[must_use]
    pub const fn source(self) -> &'static str {
        match self {
            Self::Iam => "iam.amazonaws.com",
            Self::Sts => "sts.amazonaws.com",
            Self::Strongroom => "strongroom",
            Self::Ec2 => "ec2.amazonaws.com",
            Self::Tagging => "tagging.amazonaws.com",
            Self::CloudTrail => "cloudtrail.amazonaws.com",
        }
    }

    /// The XML namespace of answers.
    #[must_use]
    pub const fn namespace(self) -> &'static str {
        match self {
            Self::Iam => "https://iam.amazonaws.com/doc/2010-05-08/",
            Self::Sts => "https://sts.amazonaws.com/doc/2011-06-15/",
            Self::Strongroom => "urn:strongroom:2026-11-26",
            Self::Ec2 => "http://ec2.amazonaws.com/doc/2016-11-15/",
            Self::Tagging | Self::CloudTrail => "",
        }
    }

    /// How it is spoken.
    #[must_use]
    pub const fn protocol(self) -> Protocol {
        match self {
            Self::Iam | Self::Sts | Self::Strongroom => Protocol::Query,
            Self::Ec2 => Protocol::Ec2,
            Self::Tagging | Self::CloudTrail => Protocol::Json,
        }
    }

    /// Name and HTTP status of a refusal, as the clients of the API know them.
    #[must_use]
    pub fn refusal(self, code: Code) -> (&'static str, u16) {
        match self.protocol() {
            Protocol::Query => (code.name(), code.status()),
            Protocol::Ec2 => code.of_ec2(),
            Protocol::Json => match (self, code) {
                (Self::CloudTrail, Code::Throttling) => ("ThrottlingException", 400),
                _ => code.of_json(),
            },
        }
    }
}
