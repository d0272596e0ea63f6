//! Key states, and the table of what each allows.

use std::fmt;

use serde::{Deserialize, Serialize};

use kms_base::error::{Exception, KmsError};

/// The states of a key in the AWS KMS API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum KeyState {
    /// A replica whose material is not there yet.
    Creating,
    /// Usable.
    Enabled,
    /// Switched off.
    Disabled,
    /// Waits for its deletion date.
    PendingDeletion,
    /// Waits for imported key material.
    PendingImport,
    /// A primary whose replicas are not all deleted yet.
    PendingReplicaDeletion,
    /// In a custom key store that is not connected. No record has it.
    Unavailable,
    /// Its primary Region is changing.
    Updating,
}

impl KeyState {
    /// Returns the state in which callers see a key of a custom key store whose record has this one: AWS KMS calls it
    /// unavailable while the store is disconnected and attempts to connect it have failed.
    #[must_use]
    pub const fn seen(self, is_connected: bool) -> Self {
        match self {
            Self::PendingDeletion => Self::PendingDeletion,
            state if is_connected => state,
            _ => Self::Unavailable,
        }
    }

    /// Every state.
    pub const ALL: [Self; 8] = [
        Self::Creating,
        Self::Enabled,
        Self::Disabled,
        Self::PendingDeletion,
        Self::PendingImport,
        Self::PendingReplicaDeletion,
        Self::Unavailable,
        Self::Updating,
    ];

    /// The name in the API.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Creating => "Creating",
            Self::Enabled => "Enabled",
            Self::Disabled => "Disabled",
            Self::PendingDeletion => "PendingDeletion",
            Self::PendingImport => "PendingImport",
            Self::PendingReplicaDeletion => "PendingReplicaDeletion",
            Self::Unavailable => "Unavailable",
            Self::Updating => "Updating",
        }
    }

    /// What is said of a key that is refused because of this state.
    const fn complaint(self) -> &'static str {
        match self {
            Self::Creating => "is creating",
            Self::Enabled => "is enabled",
            Self::Disabled => "is disabled",
            Self::PendingDeletion => "is pending deletion",
            Self::PendingReplicaDeletion => "is pending replica deletion",
            Self::PendingImport => "is pending import",
            Self::Unavailable => "is unavailable",
            Self::Updating => "is updating",
        }
    }
}

impl fmt::Display for KeyState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A row of the table of operations and states.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StateRule {
    /// Every state is fine: operations that only read or manage what belongs to the key.
    Any,
    /// The key must be usable: cryptographic operations.
    Usable,
    /// The key must be enabled: RotateKeyOnDemand and ReplicateKey.
    Enabled,
    /// The key must have its material and be kept: GetPublicKey.
    Made,
    /// CreateGrant.
    Grant,
    /// EnableKey and DisableKey.
    Switch,
    /// Operations that change the description or tags, and targets of aliases.
    NotPendingDeletion,
    /// ScheduleKeyDeletion.
    Deletable,
    /// CancelKeyDeletion.
    PendingDeletion,
    /// GetParametersForImport.
    ImportParameters,
    /// ImportKeyMaterial.
    Import,
    /// DeleteImportedKeyMaterial.
    Settled,
}

impl StateRule {
    /// Whether a key in `state` passes; `arn` tells its name if it does not.
    ///
    /// # Errors
    /// [`Exception::Disabled`] for a disabled key that has to be usable,
    /// [`Exception::KmsInvalidState`] for everything else.
    pub fn check(self, state: KeyState, arn: impl FnOnce() -> String) -> Result<(), KmsError> {
        use KeyState as S;

        let allowed = match self {
            Self::Any => true,
            Self::Usable => matches!(state, S::Enabled | S::Updating),
            Self::Enabled => state == S::Enabled,
            Self::Made => matches!(state, S::Enabled | S::Disabled | S::Updating),
            Self::Grant => matches!(state, S::Enabled | S::Unavailable | S::Updating),
            Self::Switch => matches!(state, S::Enabled | S::Disabled | S::Unavailable),
            Self::NotPendingDeletion => {
                !matches!(state, S::PendingDeletion | S::PendingReplicaDeletion)
            }
            Self::Deletable => {
                !matches!(state, S::PendingDeletion | S::PendingReplicaDeletion | S::Updating)
            }
            Self::PendingDeletion => {
                matches!(state, S::PendingDeletion | S::PendingReplicaDeletion)
            }
            Self::ImportParameters => {
                matches!(state, S::Enabled | S::Disabled | S::PendingImport)
            }
            Self::Import => {
                matches!(state, S::Enabled | S::Disabled | S::PendingImport | S::Updating)
            }
            Self::Settled => !matches!(state, S::Creating | S::Updating),
        };
        if allowed {
            return Ok(());
        }
        let exception = match (self, state) {
            (Self::Usable | Self::Enabled | Self::Grant, S::Disabled) => Exception::Disabled,
            _ => Exception::KmsInvalidState,
        };
        let complaint = match self {
            Self::PendingDeletion => "is not pending deletion",
            _ => state.complaint(),
        };
        Err(KmsError::new(exception, format!("{} {complaint}.", arn())))
    }
}
