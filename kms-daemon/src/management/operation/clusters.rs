//! Clusters of PKCS#11 tokens, registered by the root of the first account for an account in a Region: whoever runs
//! the service decides which library is run in it, and whose login attempts are spent.

use std::collections::{BTreeMap, BTreeSet};

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde_json::json;

use super::call::{Call, contended, in_use, missing, tries};
use super::domains::region;
use crate::cluster::{Looked, NotAccepted, Target};
use crate::management::{Node, check};
use kms_audit::event_time;
use kms_base::error::KmsError;
use kms_base::identifier::Scope;
use kms_base::text::bounded;
use kms_keys::Stored;
use kms_keys::catalog::Update;
use kms_keys::custom_store::{Cluster, CustomKeyStore, CustomKeyStores, MAX_CLUSTERS, MAX_TOKENS};
use kms_query::{Code, IamError};

/// Longest label of a token, in bytes (PKCS #11 2.40, 3.2).
const MAX_LABEL: usize = 32;
/// Longest certificate, in characters, as in the API of AWS KMS.
const MAX_ANCHOR: usize = 5000;
/// Random characters of an id.
const ID: usize = 11;
/// What they are.
const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
/// The kind of record, in texts.
const CLUSTER: &str = "cluster";

pub(super) async fn register(call: &mut Call<'_>) -> Result<Option<Node>, IamError> {
    let scope = scope(call).await?;
    let mut cluster = read(call)?;
    // Which tokens they are. Of those that are not there it is learnt when they are logged in to first.
    if let Some(clusters) = call.keys.clusters() {
        let looked = clusters.look(&cluster).await.unwrap_or_default();
        let serial = |it: Looked| Some((it.label, it.found.ok()?.serial));
        cluster.learn(&looked.into_iter().filter_map(serial).collect::<Vec<_>>());
    }
    for _ in tries() {
        let stores = stores(call, &scope).await?;
        if stores.clusters.len() >= MAX_CLUSTERS {
            let text = format!("Cannot exceed quota for ClustersPerAccount: {MAX_CLUSTERS}");
            return Err(IamError::new(Code::LimitExceeded, text));
        }
        let shares = |other: &&Cluster| {
            other.module == cluster.module
                && other.tokens.iter().any(|token| cluster.tokens.contains(token))
        };
        if let Some(other) = stores.clusters.iter().find(shares) {
            return Err(IamError::invalid(format!(
                "A token of it is in {} already; a token is in one cluster.",
                other.id
            )));
        }
        let mut changed = stores.value.clone();
        changed.clusters.push(cluster.clone());
        if replace(call, &stores, &changed).await? {
            call.element("cluster", json!({ "id": cluster.id, "tokens": cluster.tokens }));
            return Ok(Some(Node::Members(vec![("Cluster", describe(&stores, &cluster))])));
        }
    }
    Err(contended())
}

pub(super) async fn list(call: &mut Call<'_>) -> Result<Option<Node>, IamError> {
    let scope = scope(call).await?;
    let stores = stores(call, &scope).await?;
    let shown = stores.clusters.iter().map(|cluster| describe(&stores, cluster)).collect();
    Ok(Some(Node::Members(vec![("Clusters", Node::List(shown))])))
}

pub(super) async fn find(call: &mut Call<'_>) -> Result<Option<Node>, IamError> {
    let scope = scope(call).await?;
    let id = call.form.required("ClusterId")?;
    let stores = stores(call, &scope).await?;
    let cluster = stores.cluster(id).ok_or_else(|| no_cluster(id))?;
    let mut shown = describe(&stores, cluster);
    if let Some(clusters) = call.keys.clusters()
        && let Ok(looked) = clusters.look(cluster).await
        && let Node::Members(members) = &mut shown
    {
        let states = looked.iter().map(|token| state(cluster, token)).collect();
        members.push(("TokenStates", Node::List(states)));
    }
    Ok(Some(Node::Members(vec![("Cluster", shown)])))
}

/// A token as it is now, beside the one that it has to be.
fn state(cluster: &Cluster, looked: &Looked) -> Node {
    let serial = cluster.serial(&looked.label);
    let found = looked.found.as_ref().ok().map(|token| token.serial.as_str());
    let state = match (serial, &looked.found) {
        (Some(serial), Ok(token)) if *serial != token.serial => "REPLACED",
        (None, Ok(_)) => "NEW",
        (_, Ok(_)) => "PRESENT",
        (_, Err(_)) => "ABSENT",
    };
    let error = looked.found.as_ref().err().map(|fault| Node::from(fault.name()));
    Node::members(vec![
        ("Token", Some(Node::from(looked.label.as_str()))),
        ("State", Some(Node::from(state))),
        ("SerialNumber", serial.map(Node::from)),
        ("FoundSerialNumber", found.filter(|found| serial != Some(*found)).map(Node::from)),
        ("Error", error),
    ])
}

/// Accepts a token that has taken the place of another one. It has to have all keys of the store that is on the
/// cluster, unless the operator says that the other tokens are enough for those: they do not leave them any more.
pub(super) async fn accept(call: &mut Call<'_>) -> Result<Option<Node>, IamError> {
    let scope = scope(call).await?;
    let (id, label) = (call.form.required("ClusterId")?, call.form.required("Token")?);
    let serial = call.form.required("SerialNumber")?;
    let without_keys = call.form.optional("WithoutKeys") == Some("true");
    for _ in tries() {
        let stores = stores(call, &scope).await?;
        let mut changed = stores.value.clone();
        let cluster = changed.clusters.iter_mut().find(|cluster| cluster.id == id);
        let cluster = cluster.ok_or_else(|| no_cluster(id))?;
        let clusters = call.keys.clusters().ok_or_else(no_module)?;
        let looked = clusters.look(cluster).await.map_err(KmsError::from)?;
        let Some(looked) = looked.into_iter().find(|it| it.label == label) else {
            return Err(IamError::invalid("Token is not one of the cluster."));
        };
        match looked.found {
            Ok(token) if token.serial == serial => {}
            Ok(_) => {
                let text = "The token that is there has another serial number than SerialNumber; GetCluster has it.";
                return Err(IamError::invalid(text));
            }
            Err(fault) => {
                let text = format!("The token cannot be looked at: {fault}. Connect it first.");
                return Err(IamError::invalid(text));
            }
        }
        cluster.serials.insert(label.to_owned(), serial.to_owned());
        let cluster = cluster.clone();
        if let (false, Some(store)) = (without_keys, stores.on_cluster(id)) {
            check_keys(call, &scope, (store, cluster), label).await?;
        }
        if replace(call, &stores, &changed).await? {
            call.element("token", json!({ "label": label, "serialNumber": serial }));
            return Ok(None);
        }
    }
    Err(contended())
}

/// Checks that a token has the keys of the store on its cluster.
async fn check_keys(
    call: &mut Call<'_>,
    scope: &Scope,
    (store, cluster): (&CustomKeyStore, Cluster),
    label: &str,
) -> Result<(), IamError> {
    let (catalog, keys) = (call.keys.catalog(), call.keys.clusters());
    let (Some(clusters), Some(login)) = (keys, store.cloud_hsm()) else { return Ok(()) };
    let first = catalog.external_keys_in(scope, &store.id, (None, 1)).await;
    if first.map_err(KmsError::from)?.is_empty() {
        return Ok(());
    }
    let secret = call.iam.open_password(&store.id, login, call.trace()).await?;
    let target = Target { store: store.id.clone(), cluster, login: login.clone(), secret };
    let checked = clusters.check_keys((&**catalog, scope), &target, label).await;
    checked.map_err(|refusal| match refusal {
        NotAccepted::Key(key, fault) => IamError::invalid(format!(
            "The token does not have all keys of {}: {fault} (CKA_ID {key}). They cannot be copied any more: \
             restore the backup of the former token into this one, or accept it without them \
             (--without-keys). Then they are in the other tokens only.",
            store.id
        )),
        NotAccepted::Failure(failure) => IamError::invalid(format!(
            "Whether the token has the keys of {} cannot be seen: {failure}. Its user PIN has to be the password \
             of the store.",
            store.id
        )),
        NotAccepted::Catalog(error) => KmsError::from(error).into(),
    })
}

fn no_module() -> IamError {
    IamError::invalid(
        "kmsd runs no modules. Whoever starts kmsd names modules with --pkcs11-module.",
    )
}

/// A cluster that a custom key store is on cannot be removed.
pub(super) async fn remove(call: &mut Call<'_>) -> Result<Option<Node>, IamError> {
    let scope = scope(call).await?;
    let id = call.form.required("ClusterId")?;
    for _ in tries() {
        let stores = stores(call, &scope).await?;
        let cluster = stores.cluster(id).cloned().ok_or_else(|| no_cluster(id))?;
        if stores.on_cluster(id).is_some() {
            return Err(in_use("delete the custom key store that is on the cluster"));
        }
        let mut changed = stores.value.clone();
        changed.clusters.retain(|cluster| cluster.id != id);
        if replace(call, &stores, &changed).await? {
            if let Some(clusters) = call.keys.clusters() {
                clusters.removed(&cluster);
            }
            return Ok(None);
        }
    }
    Err(contended())
}

/// The account and the Region that the call is about, which only the operator may name.
async fn scope(call: &Call<'_>) -> Result<Scope, IamError> {
    call.authorize_accounts()?;
    let account = call.form.optional("AccountId").unwrap_or_else(|| call.account());
    let is_there = account == call.account() || call.directory().account(account).await?.is_some();
    match is_there {
        true => Ok(Scope::new(account, region(call)?)),
        false => Err(missing("account", bounded(account, 12))),
    }
}

/// The cluster that the call describes.
fn read(call: &Call<'_>) -> Result<Cluster, IamError> {
    let module = call.form.required("Module")?;
    if !call.keys.clusters().is_some_and(|clusters| clusters.allows(module)) {
        let text = "Module is not one that kmsd runs. Whoever starts kmsd names modules with --pkcs11-module.";
        return Err(IamError::invalid(text));
    }
    let tokens: Vec<String> = call.form.list("Tokens")?.into_iter().map(str::to_owned).collect();
    check::many("Tokens", tokens.len(), MAX_TOKENS)?;
    let is_label = |label: &String| {
        (1..=MAX_LABEL).contains(&label.len())
            && label.trim() == label
            && !label.chars().any(char::is_control)
    };
    if !tokens.iter().all(is_label) {
        let text = format!("Each of Tokens is the label of a token, 1 to {MAX_LABEL} bytes.");
        return Err(IamError::invalid(text));
    }
    if tokens.iter().collect::<BTreeSet<_>>().len() < tokens.len() {
        return Err(IamError::invalid("Tokens names a token twice."));
    }
    let single = call.form.optional("Single") == Some("true");
    match (tokens.len(), single) {
        (0, _) => return Err(IamError::invalid("Tokens is required.")),
        (1, false) => {
            let text = "One token is a single point of failure: keys are lost with it. Name a second one, or \
                        say that one is enough (--single).";
            return Err(IamError::invalid(text));
        }
        (2.., true) => {
            return Err(IamError::invalid("Single is for a cluster of one token."));
        }
        _ => {}
    }
    let anchor = call.form.required("TrustAnchor")?.trim();
    let is_certificate = CertificateDer::pem_slice_iter(anchor.as_bytes()).count() == 1
        && CertificateDer::from_pem_slice(anchor.as_bytes()).is_ok();
    if anchor.len() > MAX_ANCHOR || !is_certificate {
        let text =
            format!("TrustAnchor is one certificate, PEM, of up to {MAX_ANCHOR} characters.");
        return Err(IamError::invalid(text));
    }
    Ok(Cluster {
        id: new_id()?,
        module: module.to_owned(),
        tokens,
        trust_anchor: anchor.to_owned(),
        single,
        created: call.now(),
        serials: BTreeMap::new(),
    })
}

fn new_id() -> Result<String, IamError> {
    let mut random = [0; ID];
    getrandom::fill(&mut random).map_err(KmsError::internal)?;
    let characters = random.iter().map(|byte| char::from(ALPHABET[usize::from(byte % 32)]));
    Ok(format!("cluster-{}", characters.collect::<String>()))
}

async fn stores(call: &Call<'_>, scope: &Scope) -> Result<Stored<CustomKeyStores>, IamError> {
    let stores = call.keys.catalog().custom_key_stores(scope).await;
    Ok(stores.map_err(KmsError::from)?)
}

async fn replace(
    call: &Call<'_>,
    old: &Stored<CustomKeyStores>,
    new: &CustomKeyStores,
) -> Result<bool, IamError> {
    let replaced = call.keys.catalog().replace_custom_key_stores(old, new).await;
    Ok(replaced.map_err(KmsError::from)? == Update::Applied)
}

fn no_cluster(id: &str) -> IamError {
    missing(CLUSTER, bounded(id, 64))
}

fn describe(stores: &CustomKeyStores, cluster: &Cluster) -> Node {
    let tokens = cluster.tokens.iter().map(|label| Node::from(label.as_str())).collect();
    let store = stores.on_cluster(&cluster.id).map(|store| Node::from(store.id.as_str()));
    Node::members(vec![
        ("ClusterId", Some(Node::from(cluster.id.as_str()))),
        ("AccountId", Some(Node::from(stores.scope.account.as_str()))),
        ("RegionName", Some(Node::from(stores.scope.region.as_str()))),
        ("Module", Some(Node::from(cluster.module.as_str()))),
        ("Tokens", Some(Node::List(tokens))),
        ("Single", Some(Node::from(if cluster.single { "true" } else { "false" }))),
        ("CreateDate", Some(Node::from(event_time(cluster.created.into())))),
        ("CustomKeyStoreId", store),
        ("TrustAnchor", Some(Node::from(cluster.trust_anchor.as_str()))),
    ])
}
