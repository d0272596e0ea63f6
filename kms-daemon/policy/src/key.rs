//! Condition keys: the names that conditions and policy variables refer to.

use std::fmt;

/// The type of a condition key's values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyType {
    /// Text.
    Text,
    /// An ARN.
    Arn,
    /// `true` or `false`.
    Bool,
    /// A number.
    Number,
    /// A point in time.
    Date,
    /// An IP address.
    Address,
    /// Several texts or ARNs.
    List,
}

macro_rules! names {
    ($($variant:ident $text:literal $type:ident)+) => {
        /// The condition keys that a request can have: the global ones, the keys of KMS in IAM's
        /// service authorization reference, and those of IAM and STS that are about their actions
        /// here.
        ///
        /// A name that ends with `/` or `:` is that of a family, whose members have a
        /// [parameter](ConditionKey::parameter).
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[allow(missing_docs, reason = "the names are those of IAM")]
        #[non_exhaustive]
        pub enum Name {
            $($variant,)+
            /// Any other key. The parameter is its whole name.
            Other,
        }

        impl Name {
            /// Every name but [`Name::Other`].
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// As IAM writes it; empty for [`Name::Other`].
            #[must_use]
            pub const fn text(self) -> &'static str {
                match self { $(Self::$variant => $text,)+ Self::Other => "" }
            }

            /// The type of its values; `None` if it is not known.
            #[must_use]
            pub const fn value_type(self) -> Option<KeyType> {
                match self { $(Self::$variant => Some(KeyType::$type),)+ Self::Other => None }
            }
        }
    };
}

names! {
    CalledVia "aws:CalledVia" List
    CalledViaFirst "aws:CalledViaFirst" Text
    CalledViaLast "aws:CalledViaLast" Text
    CurrentTime "aws:CurrentTime" Date
    EpochTime "aws:EpochTime" Date
    FederatedProvider "aws:FederatedProvider" Text
    MultiFactorAuthAge "aws:MultiFactorAuthAge" Number
    MultiFactorAuthPresent "aws:MultiFactorAuthPresent" Bool
    PrincipalAccount "aws:PrincipalAccount" Text
    PrincipalArn "aws:PrincipalArn" Arn
    PrincipalIsAwsService "aws:PrincipalIsAWSService" Bool
    PrincipalOrgId "aws:PrincipalOrgID" Text
    PrincipalOrgPaths "aws:PrincipalOrgPaths" List
    PrincipalServiceName "aws:PrincipalServiceName" Text
    PrincipalServiceNamesList "aws:PrincipalServiceNamesList" List
    PrincipalTag "aws:PrincipalTag/" Text
    PrincipalType "aws:PrincipalType" Text
    Referer "aws:Referer" Text
    RequestTag "aws:RequestTag/" Text
    RequestedRegion "aws:RequestedRegion" Text
    ResourceAccount "aws:ResourceAccount" Text
    ResourceOrgId "aws:ResourceOrgID" Text
    ResourceOrgPaths "aws:ResourceOrgPaths" List
    ResourceTag "aws:ResourceTag/" Text
    SecureTransport "aws:SecureTransport" Bool
    SourceAccount "aws:SourceAccount" Text
    SourceArn "aws:SourceArn" Arn
    SourceIdentity "aws:SourceIdentity" Text
    SourceIp "aws:SourceIp" Address
    SourceOrgId "aws:SourceOrgID" Text
    SourceOrgPaths "aws:SourceOrgPaths" List
    SourceVpc "aws:SourceVpc" Text
    SourceVpce "aws:SourceVpce" Text
    TagKeys "aws:TagKeys" List
    TokenIssueTime "aws:TokenIssueTime" Date
    UserAgent "aws:UserAgent" Text
    UserId "aws:userid" Text
    UserName "aws:username" Text
    ViaAwsService "aws:ViaAWSService" Bool
    VpcSourceIp "aws:VpcSourceIp" Address
    IamResourceTag "iam:ResourceTag/" Text
    PermissionsBoundary "iam:PermissionsBoundary" Text
    PolicyArn "iam:PolicyARN" Arn
    BypassPolicyLockoutSafetyCheck "kms:BypassPolicyLockoutSafetyCheck" Bool
    CallerAccount "kms:CallerAccount" Text
    CustomerMasterKeySpec "kms:CustomerMasterKeySpec" Text
    CustomerMasterKeyUsage "kms:CustomerMasterKeyUsage" Text
    DataKeyPairSpec "kms:DataKeyPairSpec" Text
    EncapsulationAlgorithm "kms:EncapsulationAlgorithm" Text
    EncryptionAlgorithm "kms:EncryptionAlgorithm" Text
    EncryptionContext "kms:EncryptionContext:" Text
    EncryptionContextKeys "kms:EncryptionContextKeys" List
    ExpirationModel "kms:ExpirationModel" Text
    GrantConstraintSourceArn "kms:GrantConstraintSourceArn" Arn
    GrantConstraintType "kms:GrantConstraintType" Text
    GrantIsForAwsResource "kms:GrantIsForAWSResource" Bool
    GrantOperations "kms:GrantOperations" List
    GranteePrincipal "kms:GranteePrincipal" Text
    GranteeServicePrincipal "kms:GranteeServicePrincipal" Text
    KeyAgreementAlgorithm "kms:KeyAgreementAlgorithm" Text
    KeyOrigin "kms:KeyOrigin" Text
    KeySpec "kms:KeySpec" Text
    KeyUsage "kms:KeyUsage" Text
    MacAlgorithm "kms:MacAlgorithm" Text
    MessageType "kms:MessageType" Text
    MultiRegion "kms:MultiRegion" Bool
    MultiRegionKeyType "kms:MultiRegionKeyType" Text
    PolicyName "kms:PolicyName" Text
    PrimaryRegion "kms:PrimaryRegion" Text
    ReEncryptOnSameKey "kms:ReEncryptOnSameKey" Bool
    RecipientAttestation "kms:RecipientAttestation:" Text
    ReplicaRegion "kms:ReplicaRegion" Text
    RequestAlias "kms:RequestAlias" Text
    ResourceAliases "kms:ResourceAliases" List
    RetiringPrincipal "kms:RetiringPrincipal" Text
    RetiringServicePrincipal "kms:RetiringServicePrincipal" Text
    RotationPeriodInDays "kms:RotationPeriodInDays" Number
    ScheduleKeyDeletionPendingWindowInDays "kms:ScheduleKeyDeletionPendingWindowInDays" Number
    SigningAlgorithm "kms:SigningAlgorithm" Text
    TrailingDaysWithoutKeyUsage "kms:TrailingDaysWithoutKeyUsage" Number
    ValidTo "kms:ValidTo" Date
    ViaService "kms:ViaService" Text
    WrappingAlgorithm "kms:WrappingAlgorithm" Text
    WrappingKeySpec "kms:WrappingKeySpec" Text
    ExternalId "sts:ExternalId" Text
    RoleSessionName "sts:RoleSessionName" Text
    SessionSourceIdentity "sts:SourceIdentity" Text
    TransitiveTagKeys "sts:TransitiveTagKeys" List
}

impl Name {
    const fn is_family(self) -> bool {
        matches!(self.text().as_bytes().last(), Some(b'/' | b':'))
    }
}

/// A condition key as a policy names it. Names are compared without regard to case, those of
/// tags and of encryption context pairs included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConditionKey {
    name: Name,
    parameter: Box<str>,
    text: Box<str>,
}

impl ConditionKey {
    /// Reads `service:name`, `service:family/parameter` or `service:family:parameter`. The
    /// service can be an identity provider, which may have a path.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (service, rest) = text.split_once(':')?;
        let token = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./".contains(&byte);
        if service.is_empty() || rest.is_empty() || !service.bytes().all(token) {
            return None;
        }
        let known = Name::ALL.iter().find_map(|name| {
            let (start, parameter) = text.split_at_checked(name.text().len())?;
            let fits =
                start.eq_ignore_ascii_case(name.text()) && name.is_family() != parameter.is_empty();
            fits.then_some((*name, parameter))
        });
        let (name, parameter) = known.unwrap_or((Name::Other, text));
        Some(Self { name, parameter: parameter.to_lowercase().into(), text: text.into() })
    }

    /// Which key it is.
    #[must_use]
    pub const fn name(&self) -> Name {
        self.name
    }

    /// What follows the name of a family, in lower case; for [`Name::Other`] the whole name in
    /// lower case; empty for all other keys.
    #[must_use]
    pub fn parameter(&self) -> &str {
        &self.parameter
    }

    /// Whether it is about the tag, pair or register that is called `name`.
    #[must_use]
    pub fn is_about(&self, name: &str) -> bool {
        if name.is_ascii() {
            self.parameter.eq_ignore_ascii_case(name)
        } else {
            *self.parameter == *name.to_lowercase()
        }
    }

    /// As the policy writes it.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether KMS has no key of that name.
    pub(crate) fn is_unknown_to_kms(&self) -> bool {
        self.name == Name::Other && self.parameter.starts_with("kms:")
    }
}

/// A set of names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Names(u128);

/// [`Names`] has a bit for every name.
const _: () = assert!(Name::ALL.len() < 128);

impl Names {
    pub(crate) const fn contains(self, name: Name) -> bool {
        self.0 & bit(name) != 0
    }
}

impl FromIterator<Name> for Names {
    fn from_iter<I: IntoIterator<Item = Name>>(names: I) -> Self {
        Self(names.into_iter().fold(0, |set, name| set | bit(name)))
    }
}

const fn bit(name: Name) -> u128 {
    1 << name as u8
}

impl fmt::Display for ConditionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_in_any_case() {
        for name in Name::ALL {
            let text = match name.is_family() {
                true => format!("{}Some:Thing/Else", name.text()),
                false => name.text().to_owned(),
            };
            for text in [text.clone(), text.to_uppercase(), text.to_lowercase()] {
                let key = ConditionKey::parse(&text).unwrap();
                assert_eq!((key.name(), key.text()), (*name, text.as_str()));
                assert_eq!(key.is_about("sOME:tHING/eLSE"), name.is_family());
            }
        }
    }

    #[test]
    fn what_is_no_name_of_ours_is_another() {
        let others = ["s3:prefix", "kms:Frobnicate", "aws:RequestTag", "oidc.example.com/id/7:sub"];
        for text in others.into_iter().chain(["kms:ViaService:x"]) {
            let key = ConditionKey::parse(text).unwrap();
            assert_eq!((key.name(), key.parameter()), (Name::Other, &*text.to_lowercase()));
        }
        // The family without a parameter names no pair.
        assert_eq!(ConditionKey::parse("kms:EncryptionContext:").unwrap().name(), Name::Other);
        for text in ["", "aws", "aws:", ":x", "a b:c"] {
            assert_eq!(ConditionKey::parse(text), None, "{text}");
        }
    }
}
