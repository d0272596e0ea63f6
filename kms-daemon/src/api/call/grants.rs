//! Grants that a call brings with it.

use super::Call;
use crate::api::grant_token::GrantToken;
use crate::policy::{self, Granted};
use kms_base::error::{Exception, KmsError};
use kms_keys::KeyRecord;
use kms_keys::catalog::FoundGrant;

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

    /// Whether a grant on `key` allows what `request` is about.
    pub(super) async fn find_grant(
        &self,
        request: &policy::Request<'_>,
        key: &KeyRecord,
    ) -> Result<Option<Granted>, KmsError> {
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
                match held.iter().find_map(|(_, grant)| policy::grants(grant, request, &name)) {
                    None => continue,
                    granted => return Ok(granted),
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
                let granted =
                    grants.find_map(|grant| policy::grants(&grant.record, request, &name));
                if granted.is_some() {
                    return Ok(granted);
                }
                if !page.more {
                    break;
                }
            }
        }
        Ok(None)
    }
}
