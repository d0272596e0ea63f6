//! Access keys of users, and of the caller if no user is named: a user, or the account root.

use serde_json::json;
use zeroize::Zeroizing;

use super::call::{Call, contended, new_id, tries};
use super::{holder, listing};
use crate::credentials::random_secret;
use crate::iam::directory::Changes;
use crate::iam::record::{AccessKey, Account, Owner, Status, User, Version};
use crate::management::Node;
use kms_audit::event_time;
use kms_base::clock::Timestamp;
use kms_base::error::KmsError;
use kms_base::text::bounded;
use kms_keys::Stored;
use kms_keys::catalog::Update;
use kms_query::{Code, IamError};

/// IAM's quota of access keys of a user.
pub(super) const MAX_KEYS: usize = 2;

/// Who has the keys.
enum Keeper {
    User(Stored<User>),
    Root(Stored<Account>),
}

impl Keeper {
    /// The one that the call names.
    async fn find(call: &Call<'_>) -> Result<Self, IamError> {
        if !call.principal().is_root() || call.form.optional("UserName").is_some() {
            return holder::named_user(call, call.user_name()?).await.map(Self::User);
        }
        call.authorize(Some(&call.principal().arn()))?;
        let account = call.directory().account(call.account()).await?;
        let account = account.ok_or_else(|| {
            KmsError::internal(format!("the account {} has no record", call.account()))
        })?;
        Ok(Self::Root(account))
    }

    fn keys(&self) -> &[String] {
        match self {
            Self::User(user) => &user.keys,
            Self::Root(account) => &account.keys,
        }
    }

    fn owner(&self) -> Owner {
        match self {
            Self::User(user) => Owner::User { name: user.name.clone(), id: user.id.clone() },
            Self::Root(_) => Owner::Root,
        }
    }

    /// The user's name, for answers.
    fn name(&self) -> Option<&str> {
        match self {
            Self::User(user) => Some(&user.name),
            Self::Root(_) => None,
        }
    }

    /// The same with other keys.
    fn with_keys(&self, changes: Changes, keys: Vec<String>) -> Result<Changes, IamError> {
        Ok(match self {
            Self::User(user) => changes.replace(user, &User { keys, ..user.value.clone() })?,
            Self::Root(account) => {
                changes.replace(account, &Account { keys, ..account.value.clone() })?
            }
        })
    }
}

pub(super) async fn create(call: &mut Call<'_>) -> Result<Option<Node>, IamError> {
    let keeper = Keeper::find(call).await?;
    check_quota(&keeper)?;
    let (key, secret) = make(call, call.account(), keeper.owner()).await?;
    for _ in tries() {
        let keeper = Keeper::find(call).await?;
        check_quota(&keeper)?;
        let keys = keeper.keys().iter().chain([&key.id]).cloned().collect();
        let key = AccessKey { owner: keeper.owner(), ..key.clone() };
        let changes = keeper.with_keys(Changes::new().insert(&key)?, keys)?;
        if call.commit(changes).await? == Update::Applied {
            call.element(
                "accessKey",
                json!({
                    "userName": keeper.name(), "accessKeyId": key.id, "status": key.status.name(),
                    "createDate": event_time(key.created.into()),
                }),
            );
            let shown = describe(&key, keeper.name(), Some(secret));
            return Ok(Some(Node::Members(vec![("AccessKey", shown)])));
        }
    }
    Err(contended())
}

/// Makes an access key, which is in no store yet.
///
/// # Errors
/// [`Code::ServiceUnavailable`] if no device can seal its secret now.
pub(super) async fn make(
    call: &mut Call<'_>,
    account: &str,
    owner: Owner,
) -> Result<(AccessKey, Zeroizing<String>), IamError> {
    let (id, created) = (new_id("AKIA")?, call.now());
    let secret = random_secret().map_err(KmsError::internal)?;
    let iam = call.iam;
    let sealed = iam.seal_secret((&id, account), &secret, call.trace()).await?;
    let key = AccessKey {
        version: Version,
        id,
        account: account.to_owned(),
        owner,
        status: Status::Active,
        created,
        secret: sealed,
    };
    Ok((key, secret))
}

pub(super) async fn list(call: &mut Call<'_>) -> Result<Option<Node>, IamError> {
    let keeper = Keeper::find(call).await?;
    let mut keys = Vec::new();
    for id in keeper.keys() {
        keys.extend(call.directory().access_key(id).await?);
    }
    keys.sort_by(|one, other| one.id.cmp(&other.id));
    let show = |id: &str| {
        let key = keys.iter().find(|key| key.id == id);
        key.map_or_else(|| Node::from(id), |key| describe(key, keeper.name(), None))
    };
    let ids = keys.iter().map(|key| key.id.as_str());
    listing::names(call.form, ids, "AccessKeyMetadata", show).map(Some)
}

pub(super) async fn update(call: &mut Call<'_>) -> Result<Option<Node>, IamError> {
    let status = Status::from_name(call.form.required("Status")?);
    let status = status.ok_or_else(|| IamError::invalid("Status is Active or Inactive."))?;
    for _ in tries() {
        let (keeper, key) = requested(call).await?;
        if status == Status::Inactive {
            check_rest(call, &keeper, &key).await?;
        }
        let new = AccessKey { status, ..key.value.clone() };
        if call.commit(Changes::new().replace(&key, &new)?).await? == Update::Applied {
            call.iam.forget_secret(&key);
            return Ok(None);
        }
    }
    Err(contended())
}

pub(super) async fn delete(call: &mut Call<'_>) -> Result<Option<Node>, IamError> {
    for _ in tries() {
        let (keeper, key) = requested(call).await?;
        check_rest(call, &keeper, &key).await?;
        let keys = keeper.keys().iter().filter(|id| **id != key.id).cloned().collect();
        let changes = keeper.with_keys(Changes::new().remove(&key).forget(&key.id), keys)?;
        if call.commit(changes).await? == Update::Applied {
            call.iam.forget_secret(&key);
            return Ok(None);
        }
    }
    Err(contended())
}

/// The access key that the call names, and whose it is.
async fn requested(call: &Call<'_>) -> Result<(Keeper, Stored<AccessKey>), IamError> {
    let id = call.form.required("AccessKeyId")?;
    let keeper = Keeper::find(call).await?;
    let key = match keeper.keys().iter().any(|known| known == id) {
        true => call.directory().access_key(id).await?,
        false => None,
    };
    let key = key.ok_or_else(|| {
        let id = bounded(id, 128);
        let text = format!("The Access Key with id {id} cannot be found.");
        IamError::new(Code::NoSuchEntity, text)
    })?;
    Ok((keeper, key))
}

/// Refuses to take the last key of an account from its root: nobody could give it another. The
/// first account has that of its file.
async fn check_rest(call: &Call<'_>, keeper: &Keeper, key: &AccessKey) -> Result<(), IamError> {
    if matches!(keeper, Keeper::User(_)) || key.account == call.iam.account {
        return Ok(());
    }
    for id in keeper.keys().iter().filter(|id| **id != key.id) {
        let other = call.directory().access_key(id).await?;
        if other.is_some_and(|other| other.status == Status::Active) {
            return Ok(());
        }
    }
    let text = "This is the last active access key of the account; make another one first.";
    Err(IamError::new(Code::DeleteConflict, text))
}

fn check_quota(keeper: &Keeper) -> Result<(), IamError> {
    if keeper.keys().len() < MAX_KEYS {
        return Ok(());
    }
    let text = format!("Cannot exceed quota for AccessKeysPerUser: {MAX_KEYS}");
    Err(IamError::new(Code::LimitExceeded, text))
}

/// The access keys of the root of the caller's account, those of the file among them: ids, when
/// they were made if that is known, and whether they may be used.
pub(super) async fn of_root(
    call: &Call<'_>,
) -> Result<Vec<(String, Option<Timestamp>, Status)>, IamError> {
    let mut keys = Vec::new();
    if call.account() == call.iam.account {
        keys.extend(call.iam.root_key_ids().map(|id| (id.to_owned(), None, Status::Active)));
    }
    let account = call.directory().account(call.account()).await?;
    for id in account.iter().flat_map(|account| &account.keys) {
        if let Some(key) = call.directory().access_key(id).await? {
            keys.push((key.id.clone(), Some(key.created), key.status));
        }
    }
    keys.sort();
    Ok(keys)
}

/// An access key; with its secret once only, when it is made.
pub(super) fn describe(
    key: &AccessKey,
    user: Option<&str>,
    secret: Option<Zeroizing<String>>,
) -> Node {
    Node::members(vec![
        ("UserName", user.map(Node::from)),
        ("AccessKeyId", Some(Node::from(key.id.as_str()))),
        ("Status", Some(Node::from(key.status.name()))),
        ("SecretAccessKey", secret.map(Node::Secret)),
        ("CreateDate", Some(Node::from(event_time(key.created.into())))),
    ])
}
