//! Users and roles, as the API needs to know them.

use super::Service;
use crate::error::{Exception, KmsError};
use crate::key::grant::Party;
use crate::policy::{Bound, CallerPolicies};
use crate::principal::Principal;

/// The answer to an ARN that is nobody's.
pub(super) fn not_a_principal(arn: &str) -> KmsError {
    let text = format!("ARN does not refer to a valid principal: {arn}");
    KmsError::new(Exception::InvalidArn, text)
}

impl Service {
    /// What limits a caller.
    pub(super) async fn policies(&self, principal: &Principal) -> Result<CallerPolicies, KmsError> {
        match &self.identities {
            Some(identities) => identities.policies(principal).await,
            None if principal.is_root() => Ok(CallerPolicies::default()),
            None => Err(KmsError::internal("there are no users and roles here")),
        }
    }

    /// The users and roles that a key policy names which is to be put. What does not exist is left
    /// out.
    ///
    /// # Errors
    /// `Exception::MalformedPolicyDocument` if there are requests that it takes too long to decide.
    pub(crate) async fn bound(&self, policy: &str) -> Result<Bound, KmsError> {
        // What is no policy is refused by who reads it next.
        let Ok(policy) = kms_policy::KeyPolicy::parse(policy) else { return Ok(Bound::new()) };
        policy.check_cost()?;
        let Some(identities) = &self.identities else { return Ok(Bound::new()) };
        Ok(identities.bound(policy.principals()).await?)
    }

    /// A party of a grant that is to be made, with its unique id.
    pub(super) async fn bind(&self, party: Party) -> Result<Party, KmsError> {
        let Some(arn) = party.needs_id() else { return Ok(party) };
        let id = match &self.identities {
            Some(identities) => identities.unique_id(arn).await?,
            None => None,
        };
        match (id, party) {
            (Some(id), Party::Principal { arn, .. }) => Ok(Party::Principal { arn, id: Some(id) }),
            (_, party) => Err(not_a_principal(party.text())),
        }
    }
}
