//! The actions of KMS: what a policy names, and what each needs of a key.

use hsm_protocol::key_spec::KeyUsage;

use crate::key::state::StateRule;

/// What kind of key an action needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Requirement {
    /// Any key.
    AnyKey,
    /// A key with a public half.
    Asymmetric,
    /// A symmetric encryption key.
    Symmetric,
    /// A symmetric encryption key whose material the service makes.
    OwnSymmetric,
    /// A key whose material the service makes.
    Own,
    /// A multi-Region key.
    MultiRegion,
    /// A key whose material is imported.
    External,
    /// A key made for this usage.
    Usage(KeyUsage),
}

macro_rules! actions {
    ($($name:ident $iam:literal $operation:literal $requirement:ident, $rule:ident;)+) => {
        /// An action on a key. The variants are the rows of the action table.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[allow(missing_docs, reason = "the names are those of the API")]
        pub enum Action {
            $($name,)+
        }

        impl Action {
            /// Every row of the table.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// The name in policies, for example `kms:Encrypt`.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => concat!("kms:", $iam),)+ }
            }

            /// The operation that needs the action.
            #[must_use]
            pub const fn operation(self) -> &'static str {
                match self { $(Self::$name => $operation,)+ }
            }

            /// The kind of key that can be used for the action.
            #[must_use]
            pub const fn requirement(self) -> Requirement {
                match self { $(Self::$name => $requirement,)+ }
            }

            /// The states in which the key can be used for the action.
            #[must_use]
            pub const fn state_rule(self) -> StateRule {
                match self { $(Self::$name => StateRule::$rule,)+ }
            }
        }
    };
}

const ANY: Requirement = Requirement::AnyKey;
const ASYMMETRIC: Requirement = Requirement::Asymmetric;
const EXTERNAL: Requirement = Requirement::External;
const OWN: Requirement = Requirement::Own;
const MULTI_REGION: Requirement = Requirement::MultiRegion;
const OWN_SYMMETRIC: Requirement = Requirement::OwnSymmetric;
const SYMMETRIC: Requirement = Requirement::Symmetric;
const CIPHER: Requirement = Requirement::Usage(KeyUsage::ENCRYPT_DECRYPT);
const SIGN: Requirement = Requirement::Usage(KeyUsage::SIGN_VERIFY);
const MAC: Requirement = Requirement::Usage(KeyUsage::GENERATE_VERIFY_MAC);
const AGREE: Requirement = Requirement::Usage(KeyUsage::KEY_AGREEMENT);
const ENCAPSULATE: Requirement = Requirement::Usage(KeyUsage::ENCAPSULATE_DECAPSULATE);

// variant, name in policies, operation, kind of key, key states
actions! {
    CancelKeyDeletion "CancelKeyDeletion" "CancelKeyDeletion" ANY, PendingDeletion;
    CreateAlias "CreateAlias" "CreateAlias" ANY, NotPendingDeletion;
    CreateGrant "CreateGrant" "CreateGrant" ANY, Grant;
    Decapsulate "Decapsulate" "Decapsulate" ENCAPSULATE, Usable;
    Decrypt "Decrypt" "Decrypt" CIPHER, Usable;
    DeleteAlias "DeleteAlias" "DeleteAlias" ANY, Any;
    DeleteImportedKeyMaterial "DeleteImportedKeyMaterial" "DeleteImportedKeyMaterial" EXTERNAL,
        Settled;
    DeriveSharedSecret "DeriveSharedSecret" "DeriveSharedSecret" AGREE, Usable;
    DescribeKey "DescribeKey" "DescribeKey" ANY, Any;
    DisableKey "DisableKey" "DisableKey" ANY, Switch;
    DisableKeyRotation "DisableKeyRotation" "DisableKeyRotation" OWN, Usable;
    EnableKey "EnableKey" "EnableKey" ANY, Switch;
    EnableKeyRotation "EnableKeyRotation" "EnableKeyRotation" OWN_SYMMETRIC, Usable;
    Encapsulate "Encapsulate" "Encapsulate" ENCAPSULATE, Usable;
    Encrypt "Encrypt" "Encrypt" CIPHER, Usable;
    GenerateDataKey "GenerateDataKey" "GenerateDataKey" CIPHER, Usable;
    GenerateDataKeyPair "GenerateDataKeyPair" "GenerateDataKeyPair" CIPHER, Usable;
    GenerateDataKeyPairWithoutPlaintext "GenerateDataKeyPairWithoutPlaintext"
        "GenerateDataKeyPairWithoutPlaintext" CIPHER, Usable;
    GenerateDataKeyWithoutPlaintext "GenerateDataKeyWithoutPlaintext"
        "GenerateDataKeyWithoutPlaintext" CIPHER, Usable;
    GenerateMac "GenerateMac" "GenerateMac" MAC, Usable;
    GetKeyLastUsage "GetKeyLastUsage" "GetKeyLastUsage" ANY, Any;
    GetKeyPolicy "GetKeyPolicy" "GetKeyPolicy" ANY, Any;
    GetKeyRotationStatus "GetKeyRotationStatus" "GetKeyRotationStatus" ANY, Any;
    GetParametersForImport "GetParametersForImport" "GetParametersForImport" EXTERNAL,
        ImportParameters;
    GetPublicKey "GetPublicKey" "GetPublicKey" ASYMMETRIC, Made;
    ImportKeyMaterial "ImportKeyMaterial" "ImportKeyMaterial" EXTERNAL, Import;
    ListGrants "ListGrants" "ListGrants" ANY, Any;
    ListKeyPolicies "ListKeyPolicies" "ListKeyPolicies" ANY, Any;
    ListKeyRotations "ListKeyRotations" "ListKeyRotations" ANY, Any;
    ListResourceTags "ListResourceTags" "ListResourceTags" ANY, Any;
    PutKeyPolicy "PutKeyPolicy" "PutKeyPolicy" ANY, Any;
    ReEncryptFrom "ReEncryptFrom" "ReEncrypt" CIPHER, Usable;
    ReEncryptTo "ReEncryptTo" "ReEncrypt" CIPHER, Usable;
    ReplicateKey "ReplicateKey" "ReplicateKey" MULTI_REGION, Enabled;
    RetireGrant "RetireGrant" "RetireGrant" ANY, Any;
    RevokeGrant "RevokeGrant" "RevokeGrant" ANY, Any;
    RotateKeyOnDemand "RotateKeyOnDemand" "RotateKeyOnDemand" SYMMETRIC, Enabled;
    ScheduleKeyDeletion "ScheduleKeyDeletion" "ScheduleKeyDeletion" ANY, Deletable;
    Sign "Sign" "Sign" SIGN, Usable;
    TagResource "TagResource" "TagResource" ANY, NotPendingDeletion;
    UntagResource "UntagResource" "UntagResource" ANY, NotPendingDeletion;
    UpdateAliasFrom "UpdateAlias" "UpdateAlias" ANY, Any;
    UpdateAliasTo "UpdateAlias" "UpdateAlias" ANY, NotPendingDeletion;
    UpdateKeyDescription "UpdateKeyDescription" "UpdateKeyDescription" ANY, NotPendingDeletion;
    UpdatePrimaryRegion "UpdatePrimaryRegion" "UpdatePrimaryRegion" MULTI_REGION, Usable;
    Verify "Verify" "Verify" SIGN, Usable;
    VerifyMac "VerifyMac" "VerifyMac" MAC, Usable;
}

macro_rules! account_actions {
    ($($name:ident)+) => {
        /// An action that identity policies alone decide: it is about an account, an alias name or
        /// a custom key store.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[allow(missing_docs, reason = "the names are those of the API")]
        pub enum AccountAction {
            $($name,)+
        }

        impl AccountAction {
            /// Every one.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// The name in policies, for example `kms:CreateKey`.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => concat!("kms:", stringify!($name)),)+ }
            }
        }
    };
}

account_actions! {
    ConnectCustomKeyStore
    CreateAlias
    CreateCustomKeyStore
    CreateKey
    DeleteAlias
    DeleteCustomKeyStore
    DescribeCustomKeyStores
    DisconnectCustomKeyStore
    GenerateRandom
    ListAliases
    ListKeys
    ListRetirableGrants
    TagResource
    UpdateAlias
    UpdateCustomKeyStore
}
