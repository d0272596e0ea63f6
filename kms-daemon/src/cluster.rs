//! Clusters of PKCS#11 tokens, as custom key stores of the type `AWS_CLOUDHSM` use them.
//!
//! Every key is in all tokens of its cluster, so any token serves, and another one takes over when one is lost. A
//! token is not believed: what it has encrypted is opened again before it is returned, by another token if there is
//! one; what it has decrypted is a ciphertext of a device, which the device authenticates.
//!
//! The module of a token runs in a process of its own ([`kms_pkcs11`]), which is the store's alone: nothing here
//! slows down keys of other stores.

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use kms_pkcs11::{Fault, Modules, Place, Sealed, Share, Shares, Token};
use zeroize::Zeroizing;

use kms_base::error::KmsError;
use kms_base::hex;
use kms_installation::report::{ClusterReport, TokenReport};
use kms_keys::custom_store::{CloudHsm, Cluster};
use kms_xks::{Encrypted, Outer};

mod failure;
mod keys;
mod metrics;
mod serials;

pub(crate) use self::failure::Failure;
use self::metrics::TokenMetrics;
pub(crate) use self::serials::{Looked, NotAccepted};

/// Length of `CKA_ID` of keys, in bytes.
const ID: usize = 16;
/// Length of an IV, in bytes. It is random: 96 bits (SP 800-38D, 8.2.2).
const IV: usize = 12;
/// The shortest time between two looks at a token that does not serve.
const LOOK: Duration = Duration::from_secs(1);
/// Most requests under way, of all stores together. A store gets half of them at most, so that one whose tokens hang
/// leaves room for the others. Each may take 32 KiB, and no thread.
const CALLS: usize = 512;

/// The clusters of all custom key stores.
pub struct Clusters {
    modules: Modules,
    stores: Mutex<HashMap<String, Arc<Client>>>,
    metrics: TokenMetrics,
    calls: Shares,
}

/// What a call is for: the cluster of a store, with the password opened.
#[derive(Clone)]
pub(crate) struct Target {
    /// The id of the store.
    pub(crate) store: String,
    /// The cluster.
    pub(crate) cluster: Cluster,
    /// What the store has of it.
    pub(crate) login: CloudHsm,
    /// The password.
    pub(crate) secret: Arc<Zeroizing<Vec<u8>>>,
}

/// The tokens of a store.
struct Client {
    cluster: Cluster,
    login: CloudHsm,
    tokens: Vec<Watched>,
    next: AtomicUsize,
}

/// A token, and when it was last looked after.
struct Watched {
    token: Token,
    looked: Mutex<Option<Instant>>,
}

impl Clusters {
    /// Clusters that these modules reach, and no others.
    #[must_use]
    pub fn new(modules: Modules) -> Self {
        let (stores, metrics) = (Mutex::default(), TokenMetrics::default());
        Self { modules, stores, metrics, calls: Shares::new(CALLS) }
    }

    /// What is counted.
    pub(crate) const fn metrics(&self) -> &TokenMetrics {
        &self.metrics
    }

    /// Sets the metrics of tokens as they are now.
    pub(crate) fn observe(&self) {
        let clients: Vec<_> = lock(&self.stores).values().cloned().collect();
        let shown = clients.iter().flat_map(|client| {
            let used = client.tokens.iter().map(|watched| &watched.token);
            used.map(|token| (client.cluster.id.clone(), token.label().to_owned(), token.report()))
        });
        let used = shown.filter(|(_, _, report)| report.calls > 0);
        self.metrics.show(used.map(|(cluster, token, report)| (cluster, token, report.answers)));
    }

    /// Whether the operator of the host allows a module.
    pub(crate) fn allows(&self, module: &str) -> bool {
        self.modules.allows(Path::new(module))
    }

    /// Logs in to the tokens of a store, one after another. One is enough; but a password that any token refuses
    /// is tried no more.
    pub(crate) async fn connect(&self, target: &Target) -> Result<(), Failure> {
        self.forget(&target.store);
        let client = self.client(target)?;
        let (mut connected, mut why) = (0, Fault::NoToken);
        for watched in &client.tokens {
            match watched.token.connect().await {
                Ok(()) => connected += 1,
                Err(fault) if fault.is_about_pin() => {
                    why = fault;
                    connected = 0;
                    break;
                }
                Err(fault) => why = worse(why, fault),
            }
        }
        if connected > 0 {
            return Ok(());
        }
        self.forget(&target.store);
        Err(Failure::Token(why))
    }

    /// Asks each token of a store whether it serves.
    ///
    /// # Errors
    /// [`Failure`] if all of them refuse the password.
    pub(crate) async fn probe(&self, target: &Target) -> Result<(), Failure> {
        let client = self.client(target)?;
        let mut refused = None;
        for (number, watched) in client.tokens.iter().enumerate() {
            match watched.token.probe().await {
                Err(fault) if fault.is_about_pin() => refused = Some(fault),
                answer => {
                    // The password is not a wrong one, or this token cannot tell: in the first case, no try of the
                    // others is lost on it.
                    for other in client.tokens.iter().skip(number + 1) {
                        match answer {
                            Ok(()) => other.look(),
                            Err(_) => other.look_after(),
                        }
                    }
                    return Ok(());
                }
            }
        }
        refused.map_or(Ok(()), |fault| Err(Failure::Token(fault)))
    }

    /// Ends the processes of a store, which has failed or is not used any more.
    pub(crate) fn forget(&self, store: &str) {
        lock(&self.stores).remove(store);
    }

    /// The same for a store that somebody has disconnected or deleted.
    pub(crate) fn disconnected(&self, store: &str, cluster: Option<&Cluster>) {
        self.forget(store);
        if let Some(cluster) = cluster {
            self.metrics.disconnected(cluster);
        }
    }

    /// Says nothing more about a cluster that is not registered any more.
    pub(crate) fn removed(&self, cluster: &Cluster) {
        self.metrics.removed(cluster);
    }

    /// Encrypts what a device has encrypted, in a token.
    pub(crate) async fn encrypt(
        &self,
        target: &Target,
        key: &str,
        (blob, aad): (&[u8], &[u8]),
    ) -> Result<Encrypted, Failure> {
        let (client, key) = (self.client(target)?, key_id(key)?);
        let _share = self.enter(target)?;
        // Unlike a proxy, a token has room for what names key and material.
        let head = Outer::head(blob).ok_or(Failure::Content)?;
        let aad = &[&head, aad].concat();
        let mut iv = [0; IV];
        getrandom::fill(&mut iv).map_err(|_| Failure::Random)?;
        let mut why = Fault::NoToken;
        for token in client.ordered() {
            match token.encrypt(&key, iv, (blob, aad)).await {
                Ok(sealed) => match client.opens(token, &key, &sealed, (blob, aad)).await {
                    true => {
                        let Sealed { iv, ciphertext, tag } = sealed;
                        let (iv, metadata) = (iv.to_vec(), Vec::new());
                        return Ok(Encrypted { ciphertext, iv, tag, metadata });
                    }
                    false => why = Fault::Malformed,
                },
                Err(fault) => why = worse(why, fault),
            }
        }
        Err(Failure::Token(why))
    }

    /// Decrypts that.
    pub(crate) async fn decrypt(
        &self,
        target: &Target,
        key: &str,
        (outer, aad): (&Outer<'_>, &[u8]),
    ) -> Result<Vec<u8>, Failure> {
        let (client, key) = (self.client(target)?, key_id(key)?);
        let _share = self.enter(target)?;
        // Nothing of a ciphertext is left that nobody authenticates.
        if !outer.metadata.is_empty() {
            return Err(Failure::Token(Fault::Ciphertext));
        }
        let aad = &[&outer.own_head(), aad].concat();
        let sealed = Sealed {
            iv: outer.iv.try_into().map_err(|_| Failure::Token(Fault::Ciphertext))?,
            ciphertext: outer.ciphertext.to_vec(),
            tag: *outer.tag,
        };
        let mut why = Fault::NoToken;
        for token in client.ordered() {
            match token.decrypt(&key, &sealed, aad).await {
                Ok(blob) if outer.holds(&blob) => return Ok(blob),
                Ok(_) => why = worse(why, Fault::Malformed),
                Err(fault) => why = worse(why, fault),
            }
        }
        Err(Failure::Token(why))
    }

    /// Random bytes of a token.
    pub(crate) async fn random(
        &self,
        target: &Target,
        length: u16,
    ) -> Result<Zeroizing<Vec<u8>>, Failure> {
        let client = self.client(target)?;
        let _share = self.enter(target)?;
        let mut why = Fault::NoToken;
        for token in client.ordered() {
            match token.random(length).await {
                Ok(random) => return Ok(random),
                Err(fault) => why = worse(why, fault),
            }
        }
        Err(Failure::Token(why))
    }

    /// How it stands with each store that is used.
    pub(crate) fn reports(&self) -> Vec<ClusterReport> {
        let mut reports: Vec<_> =
            lock(&self.stores).iter().map(|(store, client)| client.report(store)).collect();
        reports.sort_by(|one, other| one.store.cmp(&other.store));
        reports
    }

    /// A place among the requests under way.
    fn enter(&self, target: &Target) -> Result<Share, Failure> {
        self.calls.take(&target.store).ok_or(Failure::Token(Fault::Busy))
    }

    /// The tokens of a store; new ones, if its password is another than it was, or a token has been accepted.
    fn client(&self, target: &Target) -> Result<Arc<Client>, Failure> {
        if !self.allows(&target.cluster.module) {
            return Err(Failure::NotAllowed);
        }
        let mut stores = lock(&self.stores);
        if let Some(client) = stores.get(&target.store)
            && client.is_of(target)
        {
            return Ok(Arc::clone(client));
        }
        let pin = std::str::from_utf8(&target.secret).map_err(|_| Failure::Password)?;
        let token = |label: &String| Watched {
            token: Token::watched(
                &self.modules,
                place(&target.cluster, label, &target.store),
                Zeroizing::new(pin.to_owned()),
                self.metrics.of(&target.cluster, label),
            ),
            looked: Mutex::default(),
        };
        let client = Arc::new(Client {
            cluster: target.cluster.clone(),
            login: target.login.clone(),
            tokens: target.cluster.tokens.iter().map(token).collect(),
            next: AtomicUsize::default(),
        });
        stores.insert(target.store.clone(), Arc::clone(&client));
        Ok(client)
    }
}

impl Client {
    /// Whether it is logged in to these tokens with this password. That a serial number has been learnt does not
    /// make it another cluster.
    fn is_of(&self, target: &Target) -> bool {
        let has_serial = |watched: &Watched| {
            let serial = target.cluster.serial(watched.token.label());
            serial.is_none() || watched.token.report().serial.as_deref() == serial
        };
        self.login == target.login
            && self.cluster.module == target.cluster.module
            && self.cluster.tokens == target.cluster.tokens
            && self.tokens.iter().all(has_serial)
    }

    /// The tokens in the order in which they are to be asked: in turn, and those that do not serve last. These are
    /// looked after meanwhile.
    fn ordered(&self) -> Vec<&Token> {
        let first = self.next.fetch_add(1, Ordering::Relaxed) % self.tokens.len().max(1);
        let (after, before) = self.tokens.split_at(first);
        let in_turn = before.iter().chain(after);
        let (mut good, mut rest) = (Vec::new(), Vec::new());
        for watched in in_turn {
            match watched.serves() {
                true => good.push(&watched.token),
                false => {
                    watched.look_after();
                    rest.push(&watched.token);
                }
            }
        }
        good.append(&mut rest);
        good
    }

    /// Whether a token opens what `by` has encrypted: another one, if one serves.
    async fn opens(
        &self,
        by: &Token,
        key: &[u8],
        sealed: &Sealed,
        (blob, aad): (&[u8], &[u8]),
    ) -> bool {
        let others = self.tokens.iter().filter(|other| other.token.label() != by.label());
        let others = others.filter(|other| other.serves()).map(|other| &other.token);
        for token in others.chain([by]) {
            match token.decrypt(key, sealed, aad).await {
                Ok(opened) if opened == blob => return true,
                Ok(_) | Err(Fault::Ciphertext) => {
                    let (by, with) = (by.label(), token.label());
                    tracing::error!(
                        by,
                        with,
                        "what a token encrypts is not what another one opens"
                    );
                    return false;
                }
                Err(fault) => {
                    tracing::warn!(token = token.label(), %fault, "a token does not check another");
                }
            }
        }
        false
    }

    fn report(&self, store: &str) -> ClusterReport {
        let token = |watched: &Watched| {
            let report = watched.token.report();
            TokenReport {
                label: watched.token.label().to_owned(),
                answers: report.answers,
                last_error: report.last_fault.map(|fault| fault.name().to_owned()),
                calls: report.calls,
                failed: report.failed,
                starts: report.starts,
                latency_ms: u64::try_from(report.took.as_millis()).unwrap_or(u64::MAX),
            }
        };
        ClusterReport {
            store: store.to_owned(),
            cluster: self.cluster.id.clone(),
            tokens: self.tokens.iter().map(token).collect(),
        }
    }
}

impl Watched {
    /// Whether the last call was answered; or there was none yet.
    fn serves(&self) -> bool {
        let report = self.token.report();
        report.answers || report.calls == 0
    }

    /// Sees whether a token that does not serve does so again, without anybody waiting for it.
    fn look_after(&self) {
        if !self.serves() {
            self.look();
        }
    }

    /// Sees whether a token serves, without anybody waiting for it.
    fn look(&self) {
        let mut looked = lock(&self.looked);
        if looked.is_some_and(|at| at.elapsed() < LOOK) {
            return;
        }
        *looked = Some(Instant::now());
        let token = self.token.clone();
        // What comes of it is in the report.
        tokio::spawn(async move { token.probe().await });
    }
}

fn place(cluster: &Cluster, label: &str, owner: &str) -> Place {
    let (module, label) = (cluster.module.clone().into(), label.to_owned());
    let serial = cluster.serial(&label).map(str::to_owned);
    Place { module, label, serial, owner: owner.to_owned() }
}

/// The external key id of a key in tokens, as `CKA_ID` has it.
fn key_id(text: &str) -> Result<[u8; ID], Failure> {
    hex::decode(text).ok_or(Failure::Token(Fault::NoKey))
}

/// Which of two faults says more: that a ciphertext is wrong, before that something is out of order, before that a
/// token has no key, which another one may have, before that it is another one.
fn worse(one: Fault, other: Fault) -> Fault {
    let rank = |fault: &Fault| match fault {
        Fault::Ciphertext => 4,
        Fault::NoToken => 0,
        Fault::Replaced => 1,
        Fault::NoKey => 2,
        _ => 3,
    };
    if rank(&other) >= rank(&one) { other } else { one }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What they hold is whole between any two statements.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A new external key id.
fn new_key_id() -> Result<[u8; ID], Failure> {
    let mut id = [0; ID];
    getrandom::fill(&mut id).map_err(|_| Failure::Random)?;
    Ok(id)
}

impl From<Failure> for KmsError {
    fn from(failure: Failure) -> Self {
        failure.of_use()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_says_most_is_told() {
        let refused = || Fault::Refused("GeneralError".to_owned());
        assert_eq!(worse(Fault::Replaced, Fault::NoToken), Fault::Replaced);
        assert_eq!(worse(Fault::NoToken, Fault::NoKey), Fault::NoKey);
        assert_eq!(worse(refused(), Fault::NoKey), refused());
        assert_eq!(worse(Fault::NoKey, refused()), refused());
        assert_eq!(worse(Fault::Ciphertext, refused()), Fault::Ciphertext);
    }

    #[test]
    fn key_ids_are_sixteen_bytes() {
        let id = new_key_id().unwrap();
        assert_eq!(key_id(&hex::encode(&id)).unwrap(), id);
        assert!(key_id("00").is_err() && key_id("").is_err());
    }
}
