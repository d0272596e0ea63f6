//! What is not about one key.

use super::Call;
use crate::policy::{self, AuthorizedAccount, NewKey, Request, RequestAttributes, Subject};
use kms_base::error::KmsError;
use kms_base::identifier::Scope;
use kms_model::action::{self, AccountAction};

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
        self.decide(&self.about_account::<A>(scope), None)
    }

    /// Authorizes something in the caller's account of which conditions ask this.
    pub(in crate::api) fn authorize_telling<A: AccountAction>(
        &self,
        _: A,
        attributes: RequestAttributes<'_>,
    ) -> Result<AuthorizedAccount<A>, KmsError> {
        self.decide(&Request { attributes, ..self.about_account::<A>(&self.home) }, None)
    }

    /// Authorizes something that is done to an alias.
    pub(in crate::api) fn authorize_alias<A: AccountAction>(
        &self,
        _: A,
        arn: &str,
    ) -> Result<AuthorizedAccount<A>, KmsError> {
        self.decide(&self.about_account::<A>(&self.home), Some(arn))
    }

    /// Authorizes making a key, and giving it its tags.
    pub(in crate::api) fn authorize_new_key(
        &self,
        scope: &Scope,
        new_key: NewKey<'_>,
        bypass: Option<bool>,
    ) -> Result<AuthorizedAccount<action::CreateKey>, KmsError> {
        let tags = new_key.tags;
        let subject = Subject::New(new_key);
        let making = Request {
            subject,
            attributes: RequestAttributes::NewKey { tags, bypass },
            ..self.about_account::<action::CreateKey>(scope)
        };
        let account = self.decide(&making, None)?;
        if !tags.is_empty() {
            let tagging = Request {
                subject,
                attributes: RequestAttributes::Tags(tags),
                ..self.about_account::<action::TagResource>(scope)
            };
            self.decide::<action::TagResource>(&tagging, None)?;
        }
        Ok(account)
    }

    fn decide<A: AccountAction>(
        &self,
        request: &Request<'_>,
        resource: Option<&str>,
    ) -> Result<AuthorizedAccount<A>, KmsError> {
        self.ensure_needed(A::ACTION)?;
        policy::authorize_account(request, resource)
    }

    const fn about_account<'r, A: AccountAction>(&'r self, scope: &'r Scope) -> Request<'r> {
        Request::new(self.requester(), A::ACTION, scope, Subject::Account)
    }
}
