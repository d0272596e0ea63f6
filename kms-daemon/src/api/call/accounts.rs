//! What is not about one key.

use super::Call;
use crate::error::KmsError;
use crate::key::Scope;
use crate::model::action::{self, AccountAction};
use crate::policy::{self, AccountRequest, AuthorizedAccount, NewKey, Particulars};

impl Call<'_> {
    /// Authorizes something in the caller's account.
    pub(in crate::api) fn authorize_account<A: AccountAction>(
        &self,
        action: A,
    ) -> Result<AuthorizedAccount<A>, KmsError> {
        self.authorize_in(action, &self.home)
    }

    /// Authorizes something in an account.
    pub(in crate::api) fn authorize_in<A: AccountAction>(
        &self,
        _: A,
        scope: &Scope,
    ) -> Result<AuthorizedAccount<A>, KmsError> {
        self.decide(&self.account_request(scope))
    }

    /// Authorizes something in the caller's account of which conditions ask this.
    pub(in crate::api) fn authorize_telling<A: AccountAction>(
        &self,
        _: A,
        particulars: Particulars<'_>,
    ) -> Result<AuthorizedAccount<A>, KmsError> {
        self.decide(&AccountRequest { particulars, ..self.account_request(&self.home) })
    }

    /// Authorizes something that is done to an alias.
    pub(in crate::api) fn authorize_alias<A: AccountAction>(
        &self,
        _: A,
        arn: &str,
    ) -> Result<AuthorizedAccount<A>, KmsError> {
        self.decide(&AccountRequest { resource: Some(arn), ..self.account_request(&self.home) })
    }

    /// Authorizes making a key, and giving it its tags.
    pub(in crate::api) fn authorize_new_key(
        &self,
        scope: &Scope,
        new_key: NewKey<'_>,
        bypass: Option<bool>,
    ) -> Result<AuthorizedAccount<action::CreateKey>, KmsError> {
        let tags = new_key.tags;
        let new_key = Some(new_key);
        let account = self.decide(&AccountRequest {
            new_key,
            particulars: Particulars::NewKey { tags, bypass },
            ..self.account_request(scope)
        })?;
        if !tags.is_empty() {
            self.decide::<action::TagResource>(&AccountRequest {
                new_key,
                particulars: Particulars::Tags(tags),
                ..self.account_request(scope)
            })?;
        }
        Ok(account)
    }

    fn decide<A: AccountAction>(
        &self,
        request: &AccountRequest<'_>,
    ) -> Result<AuthorizedAccount<A>, KmsError> {
        self.ensure_needed(A::ACTION)?;
        policy::authorize_account(request)
    }

    const fn account_request<'r>(&'r self, scope: &'r Scope) -> AccountRequest<'r> {
        AccountRequest {
            asker: self.asker(),
            scope,
            resource: None,
            new_key: None,
            particulars: Particulars::None,
        }
    }
}
