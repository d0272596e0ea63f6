//! Users and roles as the API needs them.

use std::collections::BTreeMap;

use super::Service;
use crate::policy::CallerPolicies;
use kms_base::error::{Exception, KmsError};
use kms_base::principal::Principal;
use kms_keys::document::{Bound, malformed};
use kms_keys::grant::Party;

/// Returns the error for an ARN that names no principal.
fn not_a_principal(arn: &str) -> KmsError {
    let text = format!("ARN does not refer to a valid principal: {arn}");
    KmsError::new(Exception::InvalidArn, text)
}

/// Reads a principal in the parameter `member`; with `None`, errors call it the input.
///
/// # Errors
/// [`Exception::InvalidArn`] if the text cannot name a principal. Unique ids are not accepted:
/// principals that still have one are named by their ARN.
pub(super) fn read_principal(
    member: Option<&str>,
    text: &str,
    partition: &str,
) -> Result<Party, KmsError> {
    Party::principal(text, partition).ok_or_else(|| {
        let text = match text.starts_with("arn:") {
            true => format!("ARN is not valid: {text}"),
            false => {
                format!("{} does not refer to a valid principal", member.unwrap_or("Input"))
                    + if member.is_some() { "." } else { "" }
            }
        };
        KmsError::new(Exception::InvalidArn, text)
    })
}

impl Service {
    /// Returns the policies and tags that limit a caller.
    pub(super) async fn policies(&self, principal: &Principal) -> Result<CallerPolicies, KmsError> {
        match &self.identities {
            Some(identities) => identities.policies(principal).await,
            None if principal.is_root() => Ok(CallerPolicies::default()),
            None => Err(KmsError::internal("there are no users and roles here")),
        }
    }

    /// Returns the users and roles that a new key policy names. Those that do not exist are left
    /// out.
    ///
    /// # Errors
    /// `Exception::MalformedPolicyDocument` if some requests would take too long to decide.
    pub(crate) async fn bound(&self, policy: &str) -> Result<Bound, KmsError> {
        // The next reader of the text refuses an invalid policy.
        let Ok(policy) = kms_policy::KeyPolicy::parse(policy) else { return Ok(Bound::new()) };
        policy.check_cost().map_err(malformed)?;
        let Some(identities) = &self.identities else { return Ok(Bound::new()) };
        Ok(identities.bound(policy.principals()).await?)
    }

    /// Binds a party that a request names to its present unique id.
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

    /// Returns how to show a principal that was bound to a unique id: its present ARN, or the
    /// unique id if the principal no longer exists.
    pub(super) async fn shown(&self, party: &Party) -> Result<String, KmsError> {
        Ok(match (&self.identities, party) {
            (Some(identities), Party::Principal { arn, id: Some(id) }) => {
                identities.shown(arn, id).await?
            }
            _ => party.lasting().into_owned(),
        })
    }

    /// Returns other names of the principals that a policy names: see
    /// [`crate::iam::Iam::other_names`].
    pub(super) async fn other_names<'b>(
        &self,
        bound: &'b Bound,
    ) -> Result<BTreeMap<&'b str, String>, KmsError> {
        // Without users and roles there are no other names.
        let Some(identities) = &self.identities else { return Ok(BTreeMap::new()) };
        Ok(identities.other_names(bound).await?)
    }
}
