//! External key stores of an account, managed by its root: which keys another KMS may use, with which
//! credentials, and under which conditions.

use std::collections::BTreeSet;

use serde_json::json;
use zeroize::Zeroizing;

use super::call::{Call, contended, in_use, missing, new_id, taken, tries};
use super::domains::region;
use crate::credentials::random_store_secret;
use crate::engine::rule_of_key;
use crate::iam::directory::Changes;
use crate::iam::document::{self, Kind};
use crate::iam::record::{ExternalCredential, ExternalStore, Version};
use crate::management::{Node, check};
use hsm_protocol::key_spec::{KeySpec, KeyUsage};
use kms_audit::event_time;
use kms_base::error::KmsError;
use kms_base::identifier::{KeyId, Scope};
use kms_base::text::bounded;
use kms_keys::Stored;
use kms_keys::catalog::Update;
use kms_query::{Code, IamError};
use kms_xks::{MAX_PREFIX, is_prefix};

/// Most stores of an account, as many as AWS allows custom key stores in a Region.
const MAX_STORES: usize = 10;
/// Most keys of a store.
const MAX_KEYS: usize = 1000;
/// Most credentials of a store: one, and the one that replaces it.
const MAX_CREDENTIALS: usize = 2;
/// The kind of record, in texts.
const STORE: &str = "external key store";

pub(super) async fn create(call: &mut Call<'_>) -> Result<Option<Node>, IamError> {
    call.authorize_stores()?;
    let prefix = prefix(call)?.to_owned();
    let scope = Scope::new(call.account(), region(call)?);
    let policy = call.form.optional("PolicyDocument");
    let policy = policy.map(|text| document::identity(Kind::Store, text)).transpose()?;
    let named = call.form.list("KeyIds")?;
    check::many("KeyIds", named.len(), MAX_KEYS)?;
    let mut keys = BTreeSet::new();
    for name in named {
        keys.insert(suitable_key(call, &scope, name).await?);
    }
    let stores = call.directory().external_stores_of(&scope.account).await?;
    if stores.len() >= MAX_STORES {
        let text = format!("Cannot exceed quota for ExternalKeyStoresPerAccount: {MAX_STORES}");
        return Err(IamError::new(Code::LimitExceeded, text));
    }
    let (credential, secret) = make_credential(call, &prefix).await?;
    let store = ExternalStore {
        version: Version,
        prefix,
        scope,
        created: call.now(),
        keys,
        policy,
        credentials: vec![credential.id.clone()],
    };
    let changes = Changes::new().insert(&store)?.insert(&credential)?;
    if call.commit(changes).await? == Update::Conflict {
        return Err(taken(STORE, &store.prefix));
    }
    call.element(
        "externalKeyStore",
        json!({ "prefix": store.prefix, "accessKeyId": credential.id }),
    );
    Ok(Some(with_secret(&store, &credential, secret)))
}

pub(super) async fn list(call: &mut Call<'_>) -> Result<Option<Node>, IamError> {
    call.authorize_stores()?;
    let stores = call.directory().external_stores_of(call.account()).await?;
    let mut shown = Vec::new();
    for store in &stores {
        shown.push(describe(call, store).await?);
    }
    Ok(Some(Node::Members(vec![("ExternalKeyStores", Node::List(shown))])))
}

pub(super) async fn find(call: &mut Call<'_>) -> Result<Option<Node>, IamError> {
    let store = requested(call).await?;
    Ok(Some(Node::Members(vec![("ExternalKeyStore", describe(call, &store).await?)])))
}

pub(super) async fn add_key(call: &mut Call<'_>) -> Result<Option<Node>, IamError> {
    let store = requested(call).await?;
    let key = suitable_key(call, &store.scope, call.form.required("KeyId")?).await?;
    change(call, |store| {
        store.keys.insert(key);
        check::many("KeyIds", store.keys.len(), MAX_KEYS)
    })
    .await
}

/// The key need not exist any more.
pub(super) async fn remove_key(call: &mut Call<'_>) -> Result<Option<Node>, IamError> {
    call.authorize_stores()?;
    let named = call.form.required("KeyId")?;
    let id = KeyId::parse(named.rsplit('/').next().unwrap_or(named));
    change(call, |store| match id.is_some_and(|id| store.keys.remove(&id)) {
        true => Ok(()),
        false => Err(missing("key", bounded(named, 128))),
    })
    .await
}

pub(super) async fn put_policy(call: &mut Call<'_>) -> Result<Option<Node>, IamError> {
    call.authorize_stores()?;
    let policy = document::identity(Kind::Store, call.form.required("PolicyDocument")?)?;
    change(call, |store| {
        store.policy = Some(policy.clone());
        Ok(())
    })
    .await
}

pub(super) async fn delete_policy(call: &mut Call<'_>) -> Result<Option<Node>, IamError> {
    change(call, |store| {
        store.policy = None;
        Ok(())
    })
    .await
}

/// Makes another credential. The former one is good until it is retired.
pub(super) async fn rotate_credential(call: &mut Call<'_>) -> Result<Option<Node>, IamError> {
    let store = requested(call).await?;
    check_credentials(&store)?;
    let (credential, secret) = make_credential(call, &store.prefix).await?;
    for _ in tries() {
        let old = requested(call).await?;
        check_credentials(&old)?;
        let mut store = old.value.clone();
        store.credentials.push(credential.id.clone());
        let changes = Changes::new().replace(&old, &store)?.insert(&credential)?;
        if call.commit(changes).await? == Update::Applied {
            call.element("accessKeyId", credential.id.as_str());
            return Ok(Some(with_secret(&store, &credential, secret)));
        }
    }
    Err(contended())
}

/// Takes a credential away, but not the last one: the other KMS would be locked out.
pub(super) async fn retire_credential(call: &mut Call<'_>) -> Result<Option<Node>, IamError> {
    call.authorize_stores()?;
    let id = call.form.required("AccessKeyId")?;
    for _ in tries() {
        let old = requested(call).await?;
        if !old.credentials.iter().any(|known| known == id) {
            return Err(missing("credential", bounded(id, 128)));
        }
        if old.credentials.len() == 1 {
            return Err(in_use("rotate the credential, or delete the external key store"));
        }
        let mut store = old.value.clone();
        store.credentials.retain(|known| known != id);
        let credential = call.directory().external_credential(id).await?;
        let changes = Changes::new().replace(&old, &store)?;
        let changes = match &credential {
            Some(credential) => changes.remove(credential),
            None => changes,
        };
        if call.commit(changes).await? == Update::Applied {
            if let Some(credential) = credential {
                call.iam.forget_external(&credential);
            }
            let shown = describe(call, &store).await?;
            return Ok(Some(Node::Members(vec![("ExternalKeyStore", shown)])));
        }
    }
    Err(contended())
}

pub(super) async fn delete(call: &mut Call<'_>) -> Result<Option<Node>, IamError> {
    for _ in tries() {
        let store = requested(call).await?;
        let mut changes = Changes::new().remove(&store);
        let mut credentials = Vec::new();
        for id in &store.credentials {
            if let Some(credential) = call.directory().external_credential(id).await? {
                changes = changes.remove(&credential);
                credentials.push(credential);
            }
        }
        if call.commit(changes).await? == Update::Applied {
            credentials.iter().for_each(|credential| call.iam.forget_external(credential));
            return Ok(None);
        }
    }
    Err(contended())
}

/// The prefix that the call names.
fn prefix<'a>(call: &Call<'a>) -> Result<&'a str, IamError> {
    let prefix = call.form.required("Prefix")?;
    match is_prefix(prefix) {
        true => Ok(prefix),
        false => {
            let text = format!("Prefix is 1 to {MAX_PREFIX} letters, digits, - and _.");
            Err(IamError::invalid(text))
        }
    }
}

/// The store of the caller's account that the call names. Whether another account has one of that name is
/// not told.
async fn requested(call: &Call<'_>) -> Result<Stored<ExternalStore>, IamError> {
    call.authorize_stores()?;
    let prefix = prefix(call)?;
    let store = call.directory().external_store(prefix).await?;
    let own = store.filter(|store| store.scope.account == call.account());
    own.ok_or_else(|| missing(STORE, prefix))
}

/// Changes the store that the call names, however many others do so; shows it.
async fn change(
    call: &Call<'_>,
    change: impl Fn(&mut ExternalStore) -> Result<(), IamError> + Send + Sync,
) -> Result<Option<Node>, IamError> {
    for _ in tries() {
        let old = requested(call).await?;
        let mut new = old.value.clone();
        change(&mut new)?;
        if call.commit(Changes::new().replace(&old, &new)?).await? == Update::Applied {
            let shown = describe(call, &new).await?;
            return Ok(Some(Node::Members(vec![("ExternalKeyStore", shown)])));
        }
    }
    Err(contended())
}

/// The id of a key of the account that a store can have.
async fn suitable_key(call: &Call<'_>, scope: &Scope, named: &str) -> Result<KeyId, IamError> {
    let key = call.keys.key_named(scope, named).await?;
    if key.scope != *scope {
        return Err(missing("key", bounded(named, 128)));
    }
    let is_cipher =
        key.spec == KeySpec::SYMMETRIC_DEFAULT && key.usage == KeyUsage::ENCRYPT_DECRYPT;
    let fault = if !is_cipher {
        "is not a symmetric key for encryption"
    } else if key.service.is_some() {
        "is an AWS managed key"
    } else if key.external.is_some() {
        "is in an external key store itself"
    } else if rule_of_key(&key).is_some() {
        "can be used only with the approval of operators, which no other KMS can wait for"
    } else {
        return Ok(key.id);
    };
    Err(IamError::invalid(format!("{} {fault}; choose another key.", key.arn())))
}

fn check_credentials(store: &ExternalStore) -> Result<(), IamError> {
    if store.credentials.len() < MAX_CREDENTIALS {
        return Ok(());
    }
    let former = store.credentials.first().map(String::as_str).unwrap_or_default();
    let text = format!(
        "The external key store has {MAX_CREDENTIALS} credentials; retire the former one, {former}, first."
    );
    Err(IamError::new(Code::LimitExceeded, text))
}

/// Makes a credential, which is in no store yet.
async fn make_credential(
    call: &mut Call<'_>,
    prefix: &str,
) -> Result<(ExternalCredential, Zeroizing<String>), IamError> {
    let (id, created, iam) = (new_id("XKSA")?, call.now(), call.iam);
    let secret = random_store_secret().map_err(KmsError::internal)?;
    let sealed = iam.seal_external((&id, prefix), &secret, call.trace()).await?;
    let prefix = prefix.to_owned();
    let credential = ExternalCredential { version: Version, id, prefix, created, secret: sealed };
    Ok((credential, secret))
}

/// What AWS's console imports: the members have its names. The secret is shown once only.
fn with_secret(
    store: &ExternalStore,
    credential: &ExternalCredential,
    secret: Zeroizing<String>,
) -> Node {
    let shown = Node::Members(vec![
        ("AccessKeyId", Node::from(credential.id.as_str())),
        ("RawSecretAccessKey", Node::Secret(secret)),
    ]);
    Node::Members(vec![
        ("XksProxyUriPath", Node::from(uri_path(store))),
        ("XksProxyAuthenticationCredential", shown),
    ])
}

async fn describe(call: &Call<'_>, store: &ExternalStore) -> Result<Node, IamError> {
    let mut credentials = Vec::new();
    for id in &store.credentials {
        let credential = call.directory().external_credential(id).await?;
        credentials.push(Node::members(vec![
            ("AccessKeyId", Some(Node::from(id.as_str()))),
            ("CreateDate", credential.map(|found| Node::from(event_time(found.created.into())))),
        ]));
    }
    let keys = store.keys.iter().map(|id| Node::from(id.to_string())).collect();
    Ok(Node::members(vec![
        ("Prefix", Some(Node::from(store.prefix.as_str()))),
        ("XksProxyUriPath", Some(Node::from(uri_path(store)))),
        ("RegionName", Some(Node::from(store.scope.region.as_str()))),
        ("CreateDate", Some(Node::from(event_time(store.created.into())))),
        ("KeyIds", Some(Node::List(keys))),
        ("Credentials", Some(Node::List(credentials))),
        ("PolicyDocument", store.policy.as_ref().map(|policy| Node::from(policy.text()))),
    ]))
}

fn uri_path(store: &ExternalStore) -> String {
    format!("/{}/kms/xks/v1", store.prefix)
}
