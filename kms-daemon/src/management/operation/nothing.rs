//! Listings of things that programs ask for and that cannot exist here: passwords, second factors,
//! certificates, keys of other services, identity providers, and aliases of accounts. No operation
//! creates them.

use super::call::Call;
use super::{holder, listing};
use crate::management::{Node, check};
use kms_query::{Code, IamError};

pub(super) async fn login_profile(call: &mut Call<'_>) -> Result<Option<Node>, IamError> {
    let name = call.user_name()?;
    holder::named_user(call, name).await?;
    let text = format!("Login Profile for User {name} cannot be found.");
    Err(IamError::new(Code::NoSuchEntity, text))
}

pub(super) async fn password_policy(call: &mut Call<'_>) -> Result<Option<Node>, IamError> {
    call.authorize(None)?;
    let account = call.account();
    let text = format!("The Password Policy with domain name {account} cannot be found.");
    Err(IamError::new(Code::NoSuchEntity, text))
}

pub(super) async fn mfa_devices(call: &mut Call<'_>) -> Result<Option<Node>, IamError> {
    of_user(call, "MFADevices").await
}

pub(super) async fn signing_certificates(call: &mut Call<'_>) -> Result<Option<Node>, IamError> {
    of_user(call, "Certificates").await
}

pub(super) async fn ssh_public_keys(call: &mut Call<'_>) -> Result<Option<Node>, IamError> {
    of_user(call, "SSHPublicKeys").await
}

pub(super) async fn service_credentials(call: &mut Call<'_>) -> Result<Option<Node>, IamError> {
    const MEMBER: &str = "ServiceSpecificCredentials";
    if check::flag(call.form, "AllUsers")? {
        call.authorize(Some(&call.arn("user", "")))?;
        return none(call, MEMBER);
    }
    of_user(call, MEMBER).await
}

pub(super) async fn account_aliases(call: &mut Call<'_>) -> Result<Option<Node>, IamError> {
    of_account(call, "AccountAliases")
}

pub(super) async fn virtual_mfa_devices(call: &mut Call<'_>) -> Result<Option<Node>, IamError> {
    of_account(call, "VirtualMFADevices")
}

pub(super) async fn server_certificates(call: &mut Call<'_>) -> Result<Option<Node>, IamError> {
    of_account(call, "ServerCertificateMetadataList")
}

pub(super) async fn saml_providers(call: &mut Call<'_>) -> Result<Option<Node>, IamError> {
    of_account(call, "SAMLProviderList")
}

pub(super) async fn oidc_providers(call: &mut Call<'_>) -> Result<Option<Node>, IamError> {
    of_account(call, "OpenIDConnectProviderList")
}

/// An empty list for the user that the call names, or for the caller.
async fn of_user(call: &Call<'_>, member: &'static str) -> Result<Option<Node>, IamError> {
    if call.principal().is_root() && call.form.optional("UserName").is_none() {
        call.authorize(Some(&call.principal().arn()))?;
    } else {
        holder::named_user(call, call.user_name()?).await?;
    }
    none(call, member)
}

/// None of the account.
fn of_account(call: &Call<'_>, member: &'static str) -> Result<Option<Node>, IamError> {
    call.authorize(None)?;
    none(call, member)
}

fn none(call: &Call<'_>, member: &'static str) -> Result<Option<Node>, IamError> {
    listing::names(call.form, std::iter::empty(), member, |name| Node::from(name)).map(Some)
}
