//! Accounts of the installation, managed by the root of the first one.

use serde_json::json;

use super::call::{Call, taken};
use super::{access_keys, listing};
use crate::iam::directory::Changes;
use crate::iam::record::{Account, Owner, Version};
use crate::management::{Node, check};
use kms_audit::event_time;
use kms_base::error::KmsError;
use kms_keys::catalog::Update;
use kms_query::IamError;

/// Numbers drawn for an account before giving up: they are never all taken.
const MAX_DRAWS: usize = 16;

pub(super) async fn create(call: &mut Call<'_>) -> Result<Option<Node>, IamError> {
    call.authorize_accounts()?;
    let name = check::text(call.form, "Name", 50)?.unwrap_or_default();
    let chosen = call.form.optional("AccountId");
    if chosen.is_some_and(|id| id.len() != 12 || !id.bytes().all(|byte| byte.is_ascii_digit())) {
        return Err(IamError::invalid("AccountId is 12 digits."));
    }
    let id = match chosen {
        Some(id) if call.directory().account(id).await?.is_some() => {
            return Err(taken("Account", id));
        }
        Some(id) => id.to_owned(),
        None => draw(call).await?,
    };
    let (key, secret) = access_keys::make(call, &id, Owner::Root).await?;
    let created = call.now();
    let keys = vec![key.id.clone()];
    let account = Account { version: Version, id, name, created, keys };
    if call.commit(Changes::new().insert(&account)?.insert(&key)?).await? == Update::Conflict {
        return Err(taken("Account", &account.id));
    }
    call.element("account", json!({ "id": account.id, "accessKeyId": key.id }));
    Ok(Some(Node::Members(vec![
        ("Account", describe(&account)),
        ("AccessKey", access_keys::describe(&key, None, Some(secret))),
    ])))
}

pub(super) async fn list(call: &mut Call<'_>) -> Result<Option<Node>, IamError> {
    call.authorize_accounts()?;
    let show = |account: &Account| Some(describe(account));
    listing::records(call, false, |account: &Account| &account.id, "Accounts", show).await.map(Some)
}

/// A random account number that is free.
async fn draw(call: &Call<'_>) -> Result<String, IamError> {
    for _ in 0..MAX_DRAWS {
        let mut random = [0; 8];
        getrandom::fill(&mut random).map_err(KmsError::internal)?;
        let id = format!("{:012}", u64::from_le_bytes(random) % 1_000_000_000_000);
        if call.directory().account(&id).await?.is_none() {
            return Ok(id);
        }
    }
    Err(KmsError::internal("no account number is free").into())
}

fn describe(account: &Account) -> Node {
    Node::Members(vec![
        ("Id", Node::from(account.id.as_str())),
        ("Name", Node::from(account.name.as_str())),
        ("Arn", Node::from(format!("arn:aws:iam::{}:root", account.id))),
        ("CreateDate", Node::from(event_time(account.created.into()))),
    ])
}
