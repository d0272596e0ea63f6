//! What is not about one key.

use super::Call;
use crate::error::KmsError;
use crate::key::Scope;
use crate::model::action::{self, AccountAction};
use crate::policy::{self, AccountRequest, AuthorizedAccount, NewKey, Particulars};

impl Call<'_> {
    /// Authorizes something in the caller's account.
    pub(in crate::api) fn authorize_account(
        &self,
        action: impl AccountAction,
    ) -> Result<AuthorizedAccount, KmsError> {
        self.authorize_in(action, &self.home)
    }

    /// Authorizes something in an account.
    pub(in crate::api) fn authorize_in(
        &self,
        action: impl AccountAction,
        scope: &Scope,
    ) -> Result<AuthorizedAccount, KmsError> {
        policy::authorize_account(&self.account_request(action, scope))
    }

    /// Authorizes something in the caller's account of which conditions ask this.
    pub(in crate::api) fn authorize_telling(
        &self,
        action: impl AccountAction,
        particulars: Particulars<'_>,
    ) -> Result<AuthorizedAccount, KmsError> {
        policy::authorize_account(&AccountRequest {
            particulars,
            ..self.account_request(action, &self.home)
        })
    }

    /// Authorizes something that is done to an alias.
    pub(in crate::api) fn authorize_alias(
        &self,
        action: impl AccountAction,
        arn: &str,
    ) -> Result<AuthorizedAccount, KmsError> {
        policy::authorize_account(&AccountRequest {
            resource: Some(arn),
            ..self.account_request(action, &self.home)
        })
    }

    /// Authorizes making a key, and giving it its tags.
    pub(in crate::api) fn authorize_new_key(
        &self,
        scope: &Scope,
        new_key: NewKey<'_>,
        bypass: Option<bool>,
    ) -> Result<AuthorizedAccount, KmsError> {
        let tags = new_key.tags;
        let new_key = Some(new_key);
        let account = policy::authorize_account(&AccountRequest {
            new_key,
            particulars: Particulars::NewKey { tags, bypass },
            ..self.account_request(action::CreateKey, scope)
        })?;
        if !tags.is_empty() {
            policy::authorize_account(&AccountRequest {
                new_key,
                particulars: Particulars::Tags(tags),
                ..self.account_request(action::TagResource, scope)
            })?;
        }
        Ok(account)
    }

    fn account_request<'r, A: AccountAction>(
        &'r self,
        _: A,
        scope: &'r Scope,
    ) -> AccountRequest<'r> {
        AccountRequest {
            asker: self.asker(),
            action: A::ACTION,
            scope,
            resource: None,
            new_key: None,
            particulars: Particulars::None,
        }
    }
}
