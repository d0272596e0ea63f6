//! Users and roles, as the API needs to know them.

use super::Service;
use crate::error::KmsError;
use crate::policy::{Bound, CallerPolicies};
use crate::principal::Principal;

impl Service {
    /// What limits a caller.
    pub(super) async fn policies(&self, principal: &Principal) -> Result<CallerPolicies, KmsError> {
        match &self.identities {
            Some(identities) => identities.policies(principal).await,
            None if principal.is_root() => Ok(CallerPolicies::default()),
            None => Err(KmsError::internal("there are no users and roles here")),
        }
    }

    /// The users and roles that a key policy names. What does not exist is left out.
    pub(crate) async fn bound(&self, policy: &str) -> Result<Bound, KmsError> {
        match &self.identities {
            Some(identities) => identities.bound(policy).await,
            None => Ok(Bound::new()),
        }
    }
}
