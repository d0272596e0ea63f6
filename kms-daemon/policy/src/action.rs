//! The actions that requests are about, and sets of them.
//!
//! A pattern in a policy is matched against every action once, when the policy is read. What is
//! left for a request is one bit.

use std::fmt;
use std::sync::LazyLock;

use crate::pattern::Pattern;

macro_rules! actions {
    ($($service:literal { $($variant:ident $name:literal $reach:ident)+ })+) => {
        /// An action a request can be about: those of KMS (IAM lists 58 of them), those of IAM
        /// and other services that `kmsd` offers, and those of STS that role trust policies and
        /// sessions are about.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[allow(missing_docs, reason = "the names are those of the API")]
        pub enum Action {
            $($($variant,)+)+
        }

        impl Action {
            /// Every action.
            pub const ALL: &'static [Self] = &[$($(Self::$variant,)+)+];

            /// The name in policies, for example `kms:Encrypt`.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $($(Self::$variant => concat!($service, ":", $name),)+)+ }
            }

            /// The service, as names in policies begin with it, for example `kms`.
            #[must_use]
            pub const fn service(self) -> &'static str {
                match self { $($(Self::$variant => $service,)+)+ }
            }

            /// The name within the service, for example `Encrypt`.
            #[must_use]
            pub const fn short_name(self) -> &'static str {
                match self { $($(Self::$variant => $name,)+)+ }
            }

            /// Whether a resource policy can give the action to other accounts.
            #[must_use]
            pub const fn is_cross_account(self) -> bool {
                match self { $($(Self::$variant => matches!(Reach::$reach, Reach::Any),)+)+ }
            }
        }
    };
}

/// From where an action can be used.
enum Reach {
    /// Only within the account of the resource.
    Own,
    /// Also from other accounts.
    Any,
}

actions! {
    "cloudtrail" {
        CreateTrail "CreateTrail" Own
        DeleteTrail "DeleteTrail" Own
        DescribeTrails "DescribeTrails" Own
        GetTrail "GetTrail" Own
        GetTrailStatus "GetTrailStatus" Own
        ListPublicKeys "ListPublicKeys" Own
        ListTrails "ListTrails" Own
        LookupEvents "LookupEvents" Own
        StartLogging "StartLogging" Own
        StopLogging "StopLogging" Own
        UpdateTrail "UpdateTrail" Own
    }
    "ec2" {
        DescribeRegions "DescribeRegions" Own
    }
    "iam" {
        AddUserToGroup "AddUserToGroup" Own
        AttachGroupPolicy "AttachGroupPolicy" Own
        AttachRolePolicy "AttachRolePolicy" Own
        AttachUserPolicy "AttachUserPolicy" Own
        CreateAccessKey "CreateAccessKey" Own
        CreateGroup "CreateGroup" Own
        CreatePolicy "CreatePolicy" Own
        CreatePolicyVersion "CreatePolicyVersion" Own
        CreateRole "CreateRole" Own
        CreateUser "CreateUser" Own
        DeleteAccessKey "DeleteAccessKey" Own
        DeleteGroup "DeleteGroup" Own
        DeleteGroupPolicy "DeleteGroupPolicy" Own
        DeleteLoginProfile "DeleteLoginProfile" Own
        DeletePolicy "DeletePolicy" Own
        DeletePolicyVersion "DeletePolicyVersion" Own
        DeleteRole "DeleteRole" Own
        DeleteRolePermissionsBoundary "DeleteRolePermissionsBoundary" Own
        DeleteRolePolicy "DeleteRolePolicy" Own
        DeleteUser "DeleteUser" Own
        DeleteUserPermissionsBoundary "DeleteUserPermissionsBoundary" Own
        DeleteUserPolicy "DeleteUserPolicy" Own
        DetachGroupPolicy "DetachGroupPolicy" Own
        DetachRolePolicy "DetachRolePolicy" Own
        DetachUserPolicy "DetachUserPolicy" Own
        GenerateCredentialReport "GenerateCredentialReport" Own
        GenerateServiceLastAccessedDetails "GenerateServiceLastAccessedDetails" Own
        GetAccessKeyLastUsed "GetAccessKeyLastUsed" Own
        GetAccountAuthorizationDetails "GetAccountAuthorizationDetails" Own
        GetAccountPasswordPolicy "GetAccountPasswordPolicy" Own
        GetAccountSummary "GetAccountSummary" Own
        GetCredentialReport "GetCredentialReport" Own
        GetGroup "GetGroup" Own
        GetGroupPolicy "GetGroupPolicy" Own
        GetLoginProfile "GetLoginProfile" Own
        GetPolicy "GetPolicy" Own
        GetPolicyVersion "GetPolicyVersion" Own
        GetRole "GetRole" Own
        GetRolePolicy "GetRolePolicy" Own
        GetServiceLastAccessedDetails "GetServiceLastAccessedDetails" Own
        GetUser "GetUser" Own
        GetUserPolicy "GetUserPolicy" Own
        ListAccessKeys "ListAccessKeys" Own
        ListAccountAliases "ListAccountAliases" Own
        ListAttachedGroupPolicies "ListAttachedGroupPolicies" Own
        ListAttachedRolePolicies "ListAttachedRolePolicies" Own
        ListAttachedUserPolicies "ListAttachedUserPolicies" Own
        ListEntitiesForPolicy "ListEntitiesForPolicy" Own
        ListGroupPolicies "ListGroupPolicies" Own
        ListGroups "ListGroups" Own
        ListGroupsForUser "ListGroupsForUser" Own
        ListInstanceProfilesForRole "ListInstanceProfilesForRole" Own
        ListMfaDevices "ListMFADevices" Own
        ListOpenIdConnectProviders "ListOpenIDConnectProviders" Own
        ListPolicies "ListPolicies" Own
        ListPolicyTags "ListPolicyTags" Own
        ListPolicyVersions "ListPolicyVersions" Own
        ListRolePolicies "ListRolePolicies" Own
        ListRoles "ListRoles" Own
        ListRoleTags "ListRoleTags" Own
        ListSamlProviders "ListSAMLProviders" Own
        ListServerCertificates "ListServerCertificates" Own
        ListServiceSpecificCredentials "ListServiceSpecificCredentials" Own
        ListSigningCertificates "ListSigningCertificates" Own
        ListSshPublicKeys "ListSSHPublicKeys" Own
        ListUserPolicies "ListUserPolicies" Own
        ListUsers "ListUsers" Own
        ListUserTags "ListUserTags" Own
        ListVirtualMfaDevices "ListVirtualMFADevices" Own
        PutGroupPolicy "PutGroupPolicy" Own
        PutRolePermissionsBoundary "PutRolePermissionsBoundary" Own
        PutRolePolicy "PutRolePolicy" Own
        PutUserPermissionsBoundary "PutUserPermissionsBoundary" Own
        PutUserPolicy "PutUserPolicy" Own
        RemoveUserFromGroup "RemoveUserFromGroup" Own
        SetDefaultPolicyVersion "SetDefaultPolicyVersion" Own
        SimulateCustomPolicy "SimulateCustomPolicy" Own
        SimulatePrincipalPolicy "SimulatePrincipalPolicy" Own
        TagPolicy "TagPolicy" Own
        TagRole "TagRole" Own
        TagUser "TagUser" Own
        UntagPolicy "UntagPolicy" Own
        UntagRole "UntagRole" Own
        UntagUser "UntagUser" Own
        UpdateAccessKey "UpdateAccessKey" Own
        UpdateAssumeRolePolicy "UpdateAssumeRolePolicy" Own
        UpdateGroup "UpdateGroup" Own
        UpdateRole "UpdateRole" Own
        UpdateRoleDescription "UpdateRoleDescription" Own
        UpdateUser "UpdateUser" Own
    }
    "kms" {
        CancelKeyDeletion "CancelKeyDeletion" Own
        ConnectCustomKeyStore "ConnectCustomKeyStore" Own
        CreateAlias "CreateAlias" Own
        CreateCustomKeyStore "CreateCustomKeyStore" Own
        CreateGrant "CreateGrant" Any
        CreateKey "CreateKey" Own
        Decapsulate "Decapsulate" Any
        Decrypt "Decrypt" Any
        DeleteAlias "DeleteAlias" Own
        DeleteCustomKeyStore "DeleteCustomKeyStore" Own
        DeleteImportedKeyMaterial "DeleteImportedKeyMaterial" Own
        DeriveSharedSecret "DeriveSharedSecret" Any
        DescribeCustomKeyStores "DescribeCustomKeyStores" Own
        DescribeKey "DescribeKey" Any
        DisableKey "DisableKey" Own
        DisableKeyRotation "DisableKeyRotation" Own
        DisconnectCustomKeyStore "DisconnectCustomKeyStore" Own
        EnableKey "EnableKey" Own
        EnableKeyRotation "EnableKeyRotation" Own
        Encapsulate "Encapsulate" Any
        Encrypt "Encrypt" Any
        GenerateDataKey "GenerateDataKey" Any
        GenerateDataKeyPair "GenerateDataKeyPair" Any
        GenerateDataKeyPairWithoutPlaintext "GenerateDataKeyPairWithoutPlaintext" Any
        GenerateDataKeyWithoutPlaintext "GenerateDataKeyWithoutPlaintext" Any
        GenerateMac "GenerateMac" Any
        GenerateRandom "GenerateRandom" Own
        GetKeyLastUsage "GetKeyLastUsage" Own
        GetKeyPolicy "GetKeyPolicy" Own
        GetKeyRotationStatus "GetKeyRotationStatus" Any
        GetParametersForImport "GetParametersForImport" Own
        GetPublicKey "GetPublicKey" Any
        ImportKeyMaterial "ImportKeyMaterial" Own
        ListAliases "ListAliases" Own
        ListGrants "ListGrants" Any
        ListKeyPolicies "ListKeyPolicies" Own
        ListKeyRotations "ListKeyRotations" Own
        ListKeys "ListKeys" Own
        ListResourceTags "ListResourceTags" Own
        ListRetirableGrants "ListRetirableGrants" Own
        PutKeyPolicy "PutKeyPolicy" Own
        ReEncryptFrom "ReEncryptFrom" Any
        ReEncryptTo "ReEncryptTo" Any
        ReplicateKey "ReplicateKey" Own
        RetireGrant "RetireGrant" Any
        RevokeGrant "RevokeGrant" Any
        RotateKeyOnDemand "RotateKeyOnDemand" Own
        ScheduleKeyDeletion "ScheduleKeyDeletion" Own
        Sign "Sign" Any
        SynchronizeMultiRegionKey "SynchronizeMultiRegionKey" Own
        TagResource "TagResource" Own
        UntagResource "UntagResource" Own
        UpdateAlias "UpdateAlias" Own
        UpdateCustomKeyStore "UpdateCustomKeyStore" Own
        UpdateKeyDescription "UpdateKeyDescription" Own
        UpdatePrimaryRegion "UpdatePrimaryRegion" Own
        Verify "Verify" Any
        VerifyMac "VerifyMac" Any
    }
    "sts" {
        AssumeRole "AssumeRole" Any
        AssumeRoleWithSaml "AssumeRoleWithSAML" Any
        AssumeRoleWithWebIdentity "AssumeRoleWithWebIdentity" Any
        GetFederationToken "GetFederationToken" Own
        GetSessionToken "GetSessionToken" Own
        SetSourceIdentity "SetSourceIdentity" Any
        TagSession "TagSession" Any
    }
    "tag" {
        GetResources "GetResources" Own
    }
}

impl Action {
    /// The action of that name, in any case.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|action| action.name().eq_ignore_ascii_case(name))
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A set of actions: a bit for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct ActionSet([u128; 2]);

/// [`ActionSet`] has a bit for every action.
const _: () = assert!(Action::ALL.len() <= 256);

impl ActionSet {
    /// The actions that `pattern` matches. Both parts of a name are matched without regard to
    /// case, as IAM does.
    pub(crate) fn matching(pattern: &str) -> Self {
        static NAMES: LazyLock<Vec<(String, Action)>> = LazyLock::new(|| {
            let name = |action: &Action| (action.name().to_ascii_lowercase(), *action);
            Action::ALL.iter().map(name).collect()
        });
        let pattern = pattern.to_ascii_lowercase();
        // A document may have thousands: those of one service are compared with its actions only.
        let service = pattern.split_inclusive(':').next().filter(|start| start.ends_with(':'));
        let service = service.filter(|start| !start.contains(['*', '?'])).unwrap_or_default();
        let own = Pattern::with_wildcards(&pattern);
        let names = NAMES.iter().filter(|(name, _)| name.starts_with(service));
        let matching = names.filter(|(name, _)| own.matches_literal(name));
        matching.fold(Self::default(), |set, (_, action)| set.union(Self::of(*action)))
    }

    /// The set of one action.
    const fn of(action: Action) -> Self {
        let number = action as u8;
        let bit = 1 << (number % 128);
        Self(if number < 128 { [bit, 0] } else { [0, bit] })
    }

    pub(crate) const fn union(self, other: Self) -> Self {
        let ([low, high], [other_low, other_high]) = (self.0, other.0);
        Self([low | other_low, high | other_high])
    }

    pub(crate) const fn complement(self) -> Self {
        let [low, high] = self.0;
        Self([!low, !high])
    }

    pub(crate) const fn contains(self, action: Action) -> bool {
        let ([low, high], [own_low, own_high]) = (self.0, Self::of(action).0);
        low & own_low != 0 || high & own_high != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(pattern: &str) -> Vec<&'static str> {
        let set = ActionSet::matching(pattern);
        Action::ALL.iter().filter(|a| set.contains(**a)).map(|a| a.name()).collect()
    }

    #[test]
    fn iam_lists_58_actions_of_kms() {
        assert_eq!(names("kms:*").len(), 58);
        assert_eq!(names("*").len(), Action::ALL.len());
        for action in Action::ALL {
            assert_eq!(Action::parse(&action.name().to_uppercase()), Some(*action));
            assert_eq!(names(action.name()), [action.name()]);
        }
        assert_eq!(Action::parse("kms:ReEncrypt"), None);
    }

    #[test]
    fn patterns_match_without_case() {
        for (pattern, expected) in [
            ("kms:ReEncrypt*", &["kms:ReEncryptFrom", "kms:ReEncryptTo"][..]),
            ("KMS:reencrypt*", &["kms:ReEncryptFrom", "kms:ReEncryptTo"]),
            ("kms:?erify", &["kms:Verify"]),
            ("kms:*Mac", &["kms:GenerateMac", "kms:VerifyMac"]),
            ("kms:S*n", &["kms:ScheduleKeyDeletion", "kms:Sign"]),
            ("kms:ReEncrypt", &[]),
            ("kms:Encryp", &[]),
            ("kms:Encrypt?", &[]),
            ("s3:*", &[]),
            ("sts:AssumeRole", &["sts:AssumeRole"]),
            (
                "iam:*AccessKey",
                &["iam:CreateAccessKey", "iam:DeleteAccessKey", "iam:UpdateAccessKey"],
            ),
        ] {
            assert_eq!(names(pattern), expected, "{pattern}");
        }
    }

    /// The KMS Developer Guide, "KMS permissions", column "Cross-account use".
    #[test]
    fn actions_that_other_accounts_can_be_given() {
        let all = Action::ALL.iter().filter(|action| action.name().starts_with("kms:"));
        let cross_account: Vec<_> =
            all.filter(|action| action.is_cross_account()).map(|action| action.name()).collect();
        let expected = [
            "CreateGrant",
            "Decapsulate",
            "Decrypt",
            "DeriveSharedSecret",
            "DescribeKey",
            "Encapsulate",
            "Encrypt",
            "GenerateDataKey",
            "GenerateDataKeyPair",
            "GenerateDataKeyPairWithoutPlaintext",
            "GenerateDataKeyWithoutPlaintext",
            "GenerateMac",
            "GetKeyRotationStatus",
            "GetPublicKey",
            "ListGrants",
            "ReEncryptFrom",
            "ReEncryptTo",
            "RetireGrant",
            "RevokeGrant",
            "Sign",
            "Verify",
            "VerifyMac",
        ];
        assert_eq!(cross_account, expected.map(|name| format!("kms:{name}")));
    }
}
