//! What has to be looked up before conditions can be evaluated. It is looked up only if a policy
//! asks for it, so that other requests wait for nothing.

use kms_policy::Name;

use super::Requester;
use kms_keys::KeyRecord;
use kms_keys::catalog::AliasIndex;
use kms_model::Action;

/// What was looked up for a request. What was not is unknown to conditions.
#[derive(Debug, Clone, Default)]
pub struct Lookups {
    /// The aliases of the key, as they are in the store.
    pub aliases: Option<AliasIndex>,
    /// Whole days since the key was last used or, if it never was, since uses of it are tracked.
    pub unused_days: Option<i64>,
}

impl Lookups {
    /// Nothing.
    pub const NONE: &'static Self = &Self { aliases: None, unused_days: None };

    /// Whether the aliases of the key are needed. Only policies of the caller can ask for them.
    #[must_use]
    pub fn need_aliases(requester: Requester<'_>) -> bool {
        requester.policies.ask_for(Name::ResourceAliases)
    }

    /// Whether it is needed when `key` was last used.
    #[must_use]
    pub fn need_usage(requester: Requester<'_>, action: Action, key: &KeyRecord) -> bool {
        let name = Name::TrailingDaysWithoutKeyUsage;
        matches!(action, Action::DisableKey | Action::ScheduleKeyDeletion)
            && (requester.policies.ask_for(name) || key.policy.compiled().asks_for(name))
    }
}
