//! The actions of KMS: what a policy names, and what each needs of a key.

use hsm_protocol::key_spec::KeyUsage;

use crate::key::state::StateRule;

macro_rules! actions {
    ($($name:ident $iam:literal $operation:literal $usage:expr, $rule:ident;)+) => {
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

            /// The usage the key must have, if the action is cryptographic.
            #[must_use]
            pub const fn usage(self) -> Option<KeyUsage> {
                match self { $(Self::$name => $usage,)+ }
            }

            /// The states in which the key can be used for the action.
            #[must_use]
            pub const fn state_rule(self) -> StateRule {
                match self { $(Self::$name => StateRule::$rule,)+ }
            }
        }
    };
}

const CIPHER: Option<KeyUsage> = Some(KeyUsage::ENCRYPT_DECRYPT);
const SIGN: Option<KeyUsage> = Some(KeyUsage::SIGN_VERIFY);
const MAC: Option<KeyUsage> = Some(KeyUsage::GENERATE_VERIFY_MAC);

// variant, name in policies, operation, key usage, key states
actions! {
    CancelKeyDeletion "CancelKeyDeletion" "CancelKeyDeletion" None, PendingDeletion;
    CreateAlias "CreateAlias" "CreateAlias" None, NotPendingDeletion;
    Decrypt "Decrypt" "Decrypt" CIPHER, Usable;
    DeleteAlias "DeleteAlias" "DeleteAlias" None, Any;
    DescribeKey "DescribeKey" "DescribeKey" None, Any;
    DisableKey "DisableKey" "DisableKey" None, Switch;
    EnableKey "EnableKey" "EnableKey" None, Switch;
    Encrypt "Encrypt" "Encrypt" CIPHER, Usable;
    GenerateDataKey "GenerateDataKey" "GenerateDataKey" CIPHER, Usable;
    GenerateDataKeyWithoutPlaintext "GenerateDataKeyWithoutPlaintext"
        "GenerateDataKeyWithoutPlaintext" CIPHER, Usable;
    GenerateMac "GenerateMac" "GenerateMac" MAC, Usable;
    GetKeyPolicy "GetKeyPolicy" "GetKeyPolicy" None, Any;
    GetPublicKey "GetPublicKey" "GetPublicKey" None, Usable;
    ListKeyAliases "ListAliases" "ListAliases" None, Any;
    ListResourceTags "ListResourceTags" "ListResourceTags" None, Any;
    PutKeyPolicy "PutKeyPolicy" "PutKeyPolicy" None, Any;
    ReEncryptFrom "ReEncryptFrom" "ReEncrypt" CIPHER, Usable;
    ReEncryptTo "ReEncryptTo" "ReEncrypt" CIPHER, Usable;
    ScheduleKeyDeletion "ScheduleKeyDeletion" "ScheduleKeyDeletion" None, Deletable;
    Sign "Sign" "Sign" SIGN, Usable;
    TagResource "TagResource" "TagResource" None, NotPendingDeletion;
    UntagResource "UntagResource" "UntagResource" None, NotPendingDeletion;
    UpdateAliasFrom "UpdateAlias" "UpdateAlias" None, Any;
    UpdateAliasTo "UpdateAlias" "UpdateAlias" None, NotPendingDeletion;
    UpdateKeyDescription "UpdateKeyDescription" "UpdateKeyDescription" None, NotPendingDeletion;
    Verify "Verify" "Verify" SIGN, Usable;
    VerifyMac "VerifyMac" "VerifyMac" MAC, Usable;
}

/// An action that identity policies alone decide: it is about an account or an alias name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the names are those of the API")]
pub enum AccountAction {
    CreateAlias,
    CreateKey,
    DeleteAlias,
    GenerateRandom,
    ListAliases,
    ListKeys,
    TagResource,
    UpdateAlias,
}

impl AccountAction {
    /// The name in policies, for example `kms:CreateKey`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::CreateAlias => "kms:CreateAlias",
            Self::CreateKey => "kms:CreateKey",
            Self::DeleteAlias => "kms:DeleteAlias",
            Self::GenerateRandom => "kms:GenerateRandom",
            Self::ListAliases => "kms:ListAliases",
            Self::ListKeys => "kms:ListKeys",
            Self::TagResource => "kms:TagResource",
            Self::UpdateAlias => "kms:UpdateAlias",
        }
    }
}
