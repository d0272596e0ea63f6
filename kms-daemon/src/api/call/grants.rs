//! Grants that a call brings with it.

use super::Call;
use crate::api::grant_token::GrantToken;
use crate::policy;
use kms_base::error::{Exception, KmsError};
use kms_keys::KeyRecord;
use kms_keys::catalog::FoundGrant;
use kms_policy::Grantee;

/// Grants of the caller that are read at a time.
const GRANTS: usize = 100;

impl Call<'_> {
    /// The grant that a token names. It need not be about the key of the request.
    pub(in crate::api) async fn find_token(&self, token: &str) -> Result<FoundGrant, KmsError> {
        let token = GrantToken::read(&self.service.seal, token)?;
        let found =
            self.service.catalog().grants().get(&token.scope, token.key, token.grant).await?;
        found.ok_or_else(|| KmsError::bare(Exception::InvalidGrantToken))
    }

    /// How a grant on `key` names the caller that allows what `request` is about; `None` if there is
    /// no such grant.
    pub(super) async fn find_grant(
        &self,
        request: &policy::Request<'_>,
        key: &KeyRecord,
    ) -> Result<Option<Grantee>, KmsError> {
        let is_foreign = request.requester.is_foreign_to(&key.scope);
        for name in request.requester.names() {
            // The cache would tell other accounts what is used.
            let held = match is_foreign {
                true => None,
                false => {
                    self.service.catalog().grants().held(&key.scope, key.id, name.lasting()).await?
                }
            };
            if let Some(held) = held {
                match held.iter().any(|(_, grant)| policy::grants(grant, request, &name)) {
                    true => return Ok(Some(name.grantee)),
                    false => continue,
                }
            }
            let mut after = None;
            loop {
                let page = self.service.catalog().grants().list_to(
                    &key.scope,
                    key.id,
                    name.lasting(),
                    after,
                    GRANTS,
                );
                let page = page.await?;
                after = page.items.last().map(|(id, _)| *id);
                let mut grants = page.items.iter().filter_map(|(_, grant)| grant.as_ref());
                if grants.any(|grant| policy::grants(&grant.record, request, &name)) {
                    return Ok(Some(name.grantee));
                }
                if !page.more {
                    break;
                }
            }
        }
        Ok(None)
    }
}
