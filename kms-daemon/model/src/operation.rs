//! The operations of KMS: the one table of them, and what each is like.
//!
//! What runs an operation is in `api`, by an exhaustive match, so that a row without a handler does
//! not compile either.

use super::action::{Action, Facts as ActionFacts};

/// What an operation does to what it is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Nothing: CloudTrail's `readOnly`.
    Reads,
    /// It changes, makes or removes something.
    Writes,
}

/// What an audit record has in `responseElements` beside what the API answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Record {
    /// Nothing.
    Plain,
    /// The key that was changed, as `keyId`. AWS records so since December 2022.
    NamesKey,
}

/// Whether `GetKeyLastUsage` is about an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LastUsage {
    /// It uses a key.
    Tracked,
    /// It manages, or uses no key.
    Untracked,
}

/// When an operation is served while only administration is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Administration {
    /// To everybody: it takes keys or permissions away.
    Always,
    /// To the root of an account.
    Root,
    /// To nobody: it makes or uses keys, or gives permissions.
    Never,
}

/// What the requests of an operation are counted against.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Quota {
    /// The quota of the key that it uses.
    OfKey,
    /// The quota of the spec of the pair that it makes.
    OfPair,
    /// That of cryptography with symmetric keys.
    Symmetric,
    /// One of its own, and how many requests per second AWS KMS allows by default; where it depends
    /// on the Region, the lowest.
    Own(f64),
    /// One of its own, for which no default is known.
    Unrated,
}

/// What decides the price of an operation's requests at AWS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Price {
    /// Nothing: it has the price of management.
    Flat,
    /// The spec of the key.
    OfKey,
    /// The spec of the pair that it makes.
    OfPair,
}

/// What an operation is like.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Facts {
    /// What it does.
    pub effect: Effect,
    /// The actions that its requests can be about.
    pub actions: &'static [Action],
    /// What its records have.
    pub record: Record,
    /// Whether `GetKeyLastUsage` is about it.
    pub last_usage: LastUsage,
    /// When it is served while only administration is.
    pub administration: Administration,
    /// What decides its price.
    pub price: Price,
    /// What its requests are counted against.
    pub quota: Quota,
}

macro_rules! operations {
    ($($name:ident $effect:ident $actions:tt $record:ident $last_usage:ident $administration:ident
        $price:ident $quota:expr;)+) => {
        /// An operation of the API. The variants are the rows of the operation table.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[allow(missing_docs, reason = "the names are those of the API")]
        pub enum Operation {
            $($name,)+
        }

        impl Operation {
            /// Every operation, in alphabetical order.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// The name in `X-Amz-Target` and in audit records.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)+ }
            }

            /// The operation of that name.
            #[must_use]
            pub fn from_name(name: &str) -> Option<Self> {
                match name {
                    $(stringify!($name) => Some(Self::$name),)+
                    _ => None,
                }
            }

            /// Its row.
            #[must_use]
            pub const fn facts(self) -> &'static Facts {
                use self::Quota::{OfKey, OfPair, Own, Symmetric, Unrated};

                match self {
                    $(Self::$name => &Facts {
                        effect: Effect::$effect,
                        actions: needs!($name $actions),
                        record: Record::$record,
                        last_usage: LastUsage::$last_usage,
                        administration: Administration::$administration,
                        price: Price::$price,
                        quota: $quota,
                    },)+
                }
            }
        }
    };
}

macro_rules! needs {
    ($name:ident itself) => {
        &[Action::$name]
    };
    ($name:ident [$($action:ident)+]) => {
        &[$(Action::$action),+]
    };
}

// operation, effect, actions (`itself` is the one of its name), record, last usage, administration,
// price, quota with AWS's default rate
operations! {
    CancelKeyDeletion                   Writes itself NamesKey Untracked Root   Flat   Own(5.0);
    ConnectCustomKeyStore               Writes itself Plain    Untracked Root   Flat   Own(5.0);
    CreateAlias                         Writes itself NamesKey Untracked Never  Flat   Own(5.0);
    CreateCustomKeyStore                Writes itself Plain    Untracked Root   Flat   Own(5.0);
    CreateGrant                         Writes itself NamesKey Untracked Never  Flat   Own(50.0);
    CreateKey                           Writes [CreateKey TagResource]
                                                      Plain    Untracked Never  Flat   Own(5.0);
    Decapsulate                         Reads  itself Plain    Tracked   Never  OfKey  OfKey;
    Decrypt                             Reads  itself Plain    Tracked   Never  OfKey  OfKey;
    DeleteAlias                         Writes itself NamesKey Untracked Root   Flat   Own(15.0);
    DeleteCustomKeyStore                Writes itself Plain    Untracked Root   Flat   Own(5.0);
    DeleteImportedKeyMaterial           Writes itself NamesKey Untracked Always Flat   Own(5.0);
    DeriveSharedSecret                  Reads  itself Plain    Tracked   Never  OfKey  OfKey;
    DescribeCustomKeyStores             Reads  itself Plain    Untracked Root   Flat   Own(5.0);
    DescribeKey                         Reads  itself Plain    Untracked Root   Flat   Own(2000.0);
    DisableKey                          Writes itself NamesKey Untracked Always Flat   Own(5.0);
    DisableKeyRotation                  Writes itself NamesKey Untracked Root   Flat   Own(5.0);
    DisconnectCustomKeyStore            Writes itself Plain    Untracked Root   Flat   Own(5.0);
    EnableKey                           Writes itself NamesKey Untracked Root   Flat   Own(5.0);
    EnableKeyRotation                   Writes itself NamesKey Untracked Root   Flat   Own(15.0);
    Encapsulate                         Reads  itself Plain    Tracked   Never  OfKey  OfKey;
    Encrypt                             Reads  itself Plain    Tracked   Never  OfKey  OfKey;
    GenerateDataKey                     Reads  itself Plain    Tracked   Never  Flat   OfKey;
    GenerateDataKeyPair                 Reads  itself Plain    Tracked   Never  OfPair OfPair;
    GenerateDataKeyPairWithoutPlaintext Reads  itself Plain    Tracked   Never  OfPair OfPair;
    GenerateDataKeyWithoutPlaintext     Reads  itself Plain    Tracked   Never  Flat   OfKey;
    GenerateMac                         Reads  itself Plain    Tracked   Never  Flat   OfKey;
    GenerateRandom                      Reads  itself Plain    Untracked Never  Flat   Symmetric;
    GetKeyLastUsage                     Reads  itself Plain    Untracked Root   Flat   Unrated;
    GetKeyPolicy                        Reads  itself Plain    Untracked Root   Flat   Own(1000.0);
    GetKeyRotationStatus                Reads  itself Plain    Untracked Root   Flat   Own(1000.0);
    GetParametersForImport              Reads  itself Plain    Untracked Never  Flat   Own(0.25);
    GetPublicKey                        Reads  itself Plain    Untracked Root   OfKey  Own(2000.0);
    ImportKeyMaterial                   Writes itself NamesKey Untracked Never  Flat   Own(5.0);
    ListAliases                         Reads  itself Plain    Untracked Root   Flat   Own(500.0);
    ListGrants                          Reads  itself Plain    Untracked Root   Flat   Own(100.0);
    ListKeyPolicies                     Reads  itself Plain    Untracked Root   Flat   Own(100.0);
    ListKeyRotations                    Reads  itself Plain    Untracked Root   Flat   Own(100.0);
    ListKeys                            Reads  itself Plain    Untracked Root   Flat   Own(500.0);
    ListResourceTags                    Reads  itself Plain    Untracked Root   Flat   Own(2000.0);
    ListRetirableGrants                 Reads  itself Plain    Untracked Root   Flat   Own(100.0);
    PutKeyPolicy                        Writes itself NamesKey Untracked Root   Flat   Own(15.0);
    ReEncrypt                           Reads  [ReEncryptFrom ReEncryptTo]
                                                      Plain    Tracked   Never  OfKey  OfKey;
    ReplicateKey                        Writes [ReplicateKey CreateKey TagResource]
                                                      Plain    Untracked Never  Flat   Own(5.0);
    RetireGrant                         Writes itself NamesKey Untracked Always Flat   Own(30.0);
    RevokeGrant                         Writes itself NamesKey Untracked Always Flat   Own(30.0);
    RotateKeyOnDemand                   Writes itself NamesKey Untracked Never  Flat   Own(5.0);
    ScheduleKeyDeletion                 Writes itself NamesKey Untracked Always Flat   Own(15.0);
    Sign                                Reads  itself Plain    Tracked   Never  OfKey  OfKey;
    TagResource                         Writes itself NamesKey Untracked Root   Flat   Own(10.0);
    UntagResource                       Writes itself NamesKey Untracked Root   Flat   Own(5.0);
    UpdateAlias                         Writes itself NamesKey Untracked Root   Flat   Own(5.0);
    UpdateCustomKeyStore                Writes itself Plain    Untracked Root   Flat   Own(5.0);
    UpdateKeyDescription                Writes itself NamesKey Untracked Root   Flat   Own(5.0);
    UpdatePrimaryRegion                 Writes itself NamesKey Untracked Root   Flat   Own(5.0);
    Verify                              Reads  itself Plain    Tracked   Never  OfKey  OfKey;
    VerifyMac                           Reads  itself Plain    Tracked   Never  Flat   OfKey;
}

impl Operation {
    /// Whether it changes nothing: CloudTrail's `readOnly`.
    #[must_use]
    pub const fn is_read_only(self) -> bool {
        matches!(self.facts().effect, Effect::Reads)
    }

    /// Whether its record names the key that it changed in `responseElements.keyId`, also where the
    /// API does not answer it.
    #[must_use]
    pub const fn changes_a_key(self) -> bool {
        matches!(self.facts().record, Record::NamesKey)
    }

    /// Whether `GetKeyLastUsage` is about it.
    #[must_use]
    pub const fn is_tracked(self) -> bool {
        matches!(self.facts().last_usage, LastUsage::Tracked)
    }

    /// Whether it is served, to the root of an account or to others, when only administration is.
    #[must_use]
    pub const fn is_administration(self, is_root: bool) -> bool {
        match self.facts().administration {
            Administration::Always => true,
            Administration::Root => is_root,
            Administration::Never => false,
        }
    }

    /// Whether its requests can be about an action.
    #[must_use]
    pub fn needs(self, action: Action) -> bool {
        self.facts().actions.contains(&action)
    }

    /// The operation that an action is named after; `None` for an action that no operation needs.
    #[must_use]
    pub fn of(action: Action) -> Option<Self> {
        let needs = || Self::ALL.iter().copied().find(|operation| operation.needs(action));
        Self::from_name(action.short_name()).or_else(needs)
    }
}

/// That every action of KMS is needed by an operation, except the one that is about none, is seen
/// when this is compiled.
const _: () = {
    let mut action = 0;
    while action < Action::ALL.len() {
        let Some(facts) = ActionFacts::of(Action::ALL[action]) else {
            action += 1;
            continue;
        };
        let mut needed = matches!(facts.action, Action::SynchronizeMultiRegionKey);
        let mut operation = 0;
        while operation < Operation::ALL.len() {
            let actions = Operation::ALL[operation].facts().actions;
            let mut own = 0;
            while own < actions.len() {
                assert!(ActionFacts::of(actions[own]).is_some(), "an operation of KMS is of KMS");
                needed |= actions[own] as usize == action;
                own += 1;
            }
            operation += 1;
        }
        assert!(needed, "no operation needs an action");
        action += 1;
    }
};
