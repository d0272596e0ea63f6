//! The actions of KMS: what each is about, what it needs of a key, and what a request for it has
//! to tell.
//!
//! The name of an action and whether other accounts can be given it are in the policy engine's own
//! table ([`kms_policy::Action`]). A row here adds what KMS alone knows, and makes a type of the
//! action's name. A request about a key takes a [`KeyAction`], one about an account an
//! [`AccountAction`], so that neither can be asked with an action of the other.

use hsm_protocol::key_spec::KeyUsage;
pub use kms_policy::Action;

use super::state::StateRule;

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

/// What a request for an action hands over to conditions, beside key, algorithm and encryption
/// context.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttributesKind {
    /// Nothing.
    None,
    /// What a key is to be like.
    NewKey,
    /// What a replica is to be like.
    Replica,
    /// The name of a policy.
    PolicyName,
    /// A policy that is put.
    Policy,
    /// Tags.
    Tags,
    /// The keys of tags.
    TagKeys,
    /// A grant.
    Grant,
    /// The type of a message.
    Message,
    /// An attested recipient, or that there is none.
    Recipient,
    /// A data key pair, and its recipient.
    KeyPair,
    /// The other key of `ReEncrypt`.
    ReEncrypt,
    /// How key material will be wrapped.
    Wrapping,
    /// Imported material.
    Import,
    /// The next primary Region.
    PrimaryRegion,
    /// How often a key rotates.
    RotationPeriod,
    /// How long a key waits for its deletion.
    PendingWindow,
}

/// What an action is about that is not about a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AccountSubject {
    /// The account alone. Its requests have no `kms:CallerAccount`.
    Account,
    /// Something that has a name in the account: an alias, a custom key store, a new key's tags.
    Named,
}

/// What an action asks of the key that it is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyRule {
    /// The action.
    pub action: Action,
    /// The kind of key.
    pub requirement: Requirement,
    /// The states of the key.
    pub states: StateRule,
}

impl KeyRule {
    /// That of an action; `None` if it is about no key.
    #[must_use]
    pub const fn of(action: Action) -> Option<Self> {
        match Facts::of(action) {
            Some(facts) => facts.key,
            None => None,
        }
    }
}

/// What KMS knows of one of its actions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Facts {
    /// The action.
    pub action: Action,
    /// What it asks of a key, if it can be about one.
    pub key: Option<KeyRule>,
    /// What it is about, if it can be about no key.
    pub account: Option<AccountSubject>,
    /// What its requests hand over to conditions.
    pub attributes: AttributesKind,
    /// Its place in `GrantOperation` of the service model, from 1; `None` if grants cannot give it.
    pub grant: Option<usize>,
}

impl Facts {
    /// Those of an action; `None` for an action of another service.
    #[must_use]
    pub const fn of(action: Action) -> Option<&'static Self> {
        match ROW_OF[action as usize] {
            Some(row) => Some(&ROWS[row]),
            None => None,
        }
    }
}

/// An action on a key, as a type.
pub trait KeyAction: Copy + Send + Sync + 'static {
    /// What it asks of the key.
    const RULE: KeyRule;
}

/// An action that identity policies alone decide, as a type: it is about an account, an alias name
/// or a custom key store.
pub trait AccountAction: Copy + Send + Sync + 'static {
    /// The action.
    const ACTION: Action;
}

macro_rules! actions {
    ($($name:ident $key:tt $account:tt $attributes:ident $grant:tt;)+) => {
        const ROWS: &[Facts] = &[$(Facts {
            action: Action::$name,
            key: key_rule!($name $key),
            account: account_subject!($account),
            attributes: AttributesKind::$attributes,
            grant: grant_number!($grant),
        },)+];

        $(
            #[doc = concat!("`kms:", stringify!($name), "`.")]
            #[derive(Debug, Clone, Copy, PartialEq, Eq)]
            pub struct $name;
            on_key!($name $key);
            on_account!($name $account);
        )+
    };
}

macro_rules! key_rule {
    ($name:ident -) => {
        None
    };
    ($name:ident ($requirement:ident, $states:ident)) => {
        Some(KeyRule {
            action: Action::$name,
            requirement: $requirement,
            states: StateRule::$states,
        })
    };
}

macro_rules! on_key {
    ($name:ident -) => {};
    ($name:ident ($requirement:ident, $states:ident)) => {
        impl KeyAction for $name {
            const RULE: KeyRule = KeyRule {
                action: Action::$name,
                requirement: $requirement,
                states: StateRule::$states,
            };
        }
    };
}

macro_rules! on_account {
    ($name:ident -) => {};
    ($name:ident $subject:ident) => {
        impl AccountAction for $name {
            const ACTION: Action = Action::$name;
        }
    };
}

macro_rules! account_subject {
    (-) => {
        None
    };
    ($subject:ident) => {
        Some(AccountSubject::$subject)
    };
}

macro_rules! grant_number {
    (-) => {
        None
    };
    ($number:literal) => {
        Some($number)
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

// action; kind and states of its key, if it can be about one; what it is about, if it can be about
// none; what its requests tell; its place among the grant operations
actions! {
    CancelKeyDeletion                    (ANY, PendingDeletion)        -        None            -;
    ConnectCustomKeyStore                -                             Named    None            -;
    CreateAlias                          (ANY, NotPendingDeletion)     Named    None            -;
    CreateCustomKeyStore                 -                             Named    None            -;
    CreateGrant                          (ANY, Grant)                  -        Grant           10;
    CreateKey                            -                             Account  NewKey          -;
    Decapsulate                          (ENCAPSULATE, Usable)         -        None            19;
    Decrypt                              (CIPHER, Usable)              -        Recipient       1;
    DeleteAlias                          (ANY, Any)                    Named    None            -;
    DeleteCustomKeyStore                 -                             Named    None            -;
    DeleteImportedKeyMaterial            (EXTERNAL, Settled)           -        None            -;
    DeriveSharedSecret                   (AGREE, Usable)               -        Recipient       17;
    DescribeCustomKeyStores              -                             Named    None            -;
    DescribeKey                          (ANY, Any)                    -        None            12;
    DisableKey                           (ANY, Switch)                 -        None            -;
    DisableKeyRotation                   (OWN, Usable)                 -        None            -;
    DisconnectCustomKeyStore             -                             Named    None            -;
    EnableKey                            (ANY, Switch)                 -        None            -;
    EnableKeyRotation                    (OWN_SYMMETRIC, Usable)       -        RotationPeriod  -;
    Encapsulate                          (ENCAPSULATE, Usable)         -        None            18;
    Encrypt                              (CIPHER, Usable)              -        None            2;
    GenerateDataKey                      (CIPHER, Usable)              -        Recipient       3;
    GenerateDataKeyPair                  (CIPHER, Usable)              -        KeyPair         13;
    GenerateDataKeyPairWithoutPlaintext  (CIPHER, Usable)              -        KeyPair         14;
    GenerateDataKeyWithoutPlaintext      (CIPHER, Usable)              -        None            4;
    GenerateMac                          (MAC, Usable)                 -        None            15;
    GenerateRandom                       -                             Account  Recipient       -;
    GetKeyLastUsage                      (ANY, Any)                    -        None            -;
    GetKeyPolicy                         (ANY, Any)                    -        PolicyName      -;
    GetKeyRotationStatus                 (ANY, Any)                    -        None            -;
    GetParametersForImport               (EXTERNAL, ImportParameters)  -        Wrapping        -;
    GetPublicKey                         (ASYMMETRIC, Made)            -        None            9;
    ImportKeyMaterial                    (EXTERNAL, Import)            -        Import          -;
    ListAliases                          -                             Account  None            -;
    ListGrants                           (ANY, Any)                    -        None            -;
    ListKeyPolicies                      (ANY, Any)                    -        None            -;
    ListKeyRotations                     (ANY, Any)                    -        None            -;
    ListKeys                             -                             Account  None            -;
    ListResourceTags                     (ANY, Any)                    -        None            -;
    ListRetirableGrants                  -                             Account  None            -;
    PutKeyPolicy                         (ANY, Any)                    -        Policy          -;
    ReEncryptFrom                        (CIPHER, Usable)              -        ReEncrypt       5;
    ReEncryptTo                          (CIPHER, Usable)              -        ReEncrypt       6;
    ReplicateKey                         (MULTI_REGION, Enabled)       -        Replica         -;
    RetireGrant                          (ANY, Any)                    -        Grant           11;
    RevokeGrant                          (ANY, Any)                    -        None            -;
    RotateKeyOnDemand                    (SYMMETRIC, Enabled)          -        None            -;
    ScheduleKeyDeletion                  (ANY, Deletable)              -        PendingWindow   -;
    Sign                                 (SIGN, Usable)                -        Message         7;
    SynchronizeMultiRegionKey            -                             -        None            -;
    TagResource                          (ANY, NotPendingDeletion)     Named    Tags            -;
    UntagResource                        (ANY, NotPendingDeletion)     -        TagKeys         -;
    UpdateAlias                          (ANY, Any)                    Named    None            -;
    UpdateCustomKeyStore                 -                             Named    None            -;
    UpdateKeyDescription                 (ANY, NotPendingDeletion)     -        None            -;
    UpdatePrimaryRegion                  (MULTI_REGION, Usable)        -        PrimaryRegion   -;
    Verify                               (SIGN, Usable)                -        Message         8;
    VerifyMac                            (MAC, Usable)                 -        None            16;
}

/// `kms:UpdateAlias` on the key that the alias is to point to. The row of [`UpdateAlias`] is about
/// the key that it points to until then, whose state does not matter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UpdateAliasTarget;

impl KeyAction for UpdateAliasTarget {
    const RULE: KeyRule = KeyRule { states: StateRule::NotPendingDeletion, ..UpdateAlias::RULE };
}

/// The row of each action of the policy engine. That every action of KMS has one, and no other has,
/// is seen when this is compiled.
const ROW_OF: [Option<usize>; Action::ALL.len()] = {
    let mut rows = [None; Action::ALL.len()];
    let mut row = 0;
    while row < ROWS.len() {
        let action = ROWS[row].action as usize;
        assert!(rows[action].is_none(), "an action has two rows");
        rows[action] = Some(row);
        row += 1;
    }
    let mut action = 0;
    while action < rows.len() {
        let is_of_kms = matches!(Action::ALL[action].service().as_bytes(), b"kms");
        assert!(rows[action].is_some() == is_of_kms, "an action of KMS has no row");
        action += 1;
    }
    rows
};

/// The actions a grant can give, in the order of the service model.
pub const GRANTABLE: [Action; grantable()] = {
    let mut actions = [Action::Decrypt; grantable()];
    let mut place = 1;
    while place <= actions.len() {
        let (mut row, mut found) = (0, 0);
        while row < ROWS.len() {
            if matches!(ROWS[row].grant, Some(number) if number == place) {
                assert!(ROWS[row].key.is_some(), "a grant gives what is about a key");
                actions[place - 1] = ROWS[row].action;
                found += 1;
            }
            row += 1;
        }
        assert!(found == 1, "the places of the grant operations are 1, 2, 3 and so on");
        place += 1;
    }
    actions
};

/// How many actions a grant can give.
const fn grantable() -> usize {
    let (mut row, mut number) = (0, 0);
    while row < ROWS.len() {
        number += ROWS[row].grant.is_some() as usize;
        row += 1;
    }
    number
}
