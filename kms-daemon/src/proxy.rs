//! External key store proxies of others, as this daemon calls them: over TLS, with requests that are signed
//! with the credential of the custom key store.
//!
//! A proxy is somebody else's machine, and may be slow, dead or hostile. So each call has a time limit, its
//! response a bound, and each store and all of them together a bound on calls under way; beyond that a call fails
//! at once. A store whose proxy does not answer rests: calls fail at once for a second, then one asks again.
//!
//! Owners of accounts choose the host, or a VPC endpoint service with its host. It has to be one that the operator of
//! the daemon has named, so that nobody makes the daemon connect to what only the daemon reaches.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use hyper::HeaderMap;
use hyper::header::{CONTENT_TYPE, HOST, HeaderValue};
use rustls::ClientConfig;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_rustls::TlsConnector;

use kms_base::clock::Timestamp;
use kms_base::identifier::Scope;
use kms_installation::report::XksReport;
use kms_keys::custom_store::{VpcEndpointService, XksProxy};
use kms_sigv4::client::Signer;
use kms_xks::{
    Call, Encrypted, Health, KeyFacts, Outer, RequestMetadata, Unreadable, ask, ask_decrypt,
    ask_encrypt, read_decrypted, read_encrypted, read_fleet, read_key, read_refusal,
};
use zeroize::Zeroizing;

mod bound;
mod breaker;
mod connection;
mod failure;
mod host;
mod metrics;
mod service;

use self::bound::{Bound, Own};
use self::breaker::Breaker;
use self::connection::{Connection, connect};
pub use self::failure::Failure;
pub use self::host::AllowedHost;
pub(crate) use self::metrics::ProxyMetrics;
pub use self::service::EndpointService;

/// How long a call may take at AWS KMS.
pub const DEFAULT_LIMIT: Duration = Duration::from_millis(250);
/// Connections of one store that are kept while they are not used.
const MAX_IDLE: usize = 16;
/// The same of all stores.
const MAX_IDLE_OF_ALL: usize = 128;
/// How long they are kept.
const IDLE: Duration = Duration::from_secs(20);
/// How often it is looked for the ones that are old, if there is no room for another one.
const SWEEP: Duration = Duration::from_secs(1);
/// Most connections to proxies: those over which a call is under way, and those that are kept.
pub(crate) const MAX_CONNECTIONS: usize = bound::WITH_FIRST + MAX_IDLE_OF_ALL;
const SECONDS_OF_DAY: u64 = 86_400;
/// The service in the scope of signatures.
const SERVICE: &str = "kms-xks-proxy";

/// The proxies of all custom key stores.
pub struct Proxies {
    tls: TlsConnector,
    hosts: Vec<AllowedHost>,
    services: Vec<EndpointService>,
    limit: Duration,
    stores: Mutex<HashMap<String, Arc<Client>>>,
    calls: Bound,
    /// Room for connections that are kept, and when it was last looked for old ones.
    room: Arc<Semaphore>,
    swept: Mutex<Instant>,
    metrics: ProxyMetrics,
}

/// What a call is for: the proxy of a store, with the secret opened.
#[derive(Clone)]
pub(crate) struct Target {
    /// The id of the store.
    pub(crate) store: String,
    /// The proxy.
    pub(crate) proxy: XksProxy,
    /// The account of the store, and the Region that is signed for.
    pub(crate) scope: Scope,
    /// The secret access key.
    pub(crate) secret: Arc<Zeroizing<Vec<u8>>>,
}

/// The calls of one store to one host.
struct Client {
    host: AllowedHost,
    calls: Own,
    idle: Mutex<Vec<Idle>>,
    breaker: Mutex<Breaker>,
    certificate_end: Mutex<Option<SystemTime>>,
    seen: Mutex<Seen>,
}

/// A connection that is kept while it is not used.
struct Idle {
    since: Instant,
    connection: Connection,
    _room: OwnedSemaphorePermit,
}

impl Idle {
    fn is_good(&self) -> bool {
        self.since.elapsed() < IDLE && self.connection.is_open()
    }
}

/// What has come of the calls of a store.
#[derive(Debug, Default)]
struct Seen {
    calls: u64,
    failed: u64,
    /// When the last one ended that was made, and how long it took.
    last: Option<(Instant, Duration)>,
    /// Whether that one was answered as it should be.
    answers: bool,
    last_error: Option<&'static str>,
}

impl Seen {
    fn note(&mut self, took: Duration, failure: Option<&Failure>) {
        self.calls += 1;
        self.failed += u64::from(failure.is_some());
        // What was not asked says nothing new of the proxy, and would hide why it is left alone.
        if failure.is_some_and(|failure| !failure.was_asked()) {
            return;
        }
        self.last = Some((Instant::now(), took));
        self.answers = failure.is_none_or(|failure| matches!(failure, Failure::Refused { .. }));
        self.last_error = failure.map(Failure::name).or(self.last_error);
    }
}

impl Proxies {
    /// Proxies on these hosts, and no others.
    #[must_use]
    pub fn new(tls: Arc<ClientConfig>, hosts: Vec<AllowedHost>, limit: Duration) -> Self {
        let (tls, services) = (TlsConnector::from(tls), Vec::new());
        let (stores, metrics) = (Mutex::default(), ProxyMetrics::default());
        let (calls, room) = (Bound::default(), Arc::new(Semaphore::new(MAX_IDLE_OF_ALL)));
        let swept = Mutex::new(Instant::now());
        Self { tls, hosts, services, limit, stores, calls, room, swept, metrics }
    }

    /// The same with proxies on the hosts of VPC endpoint services.
    #[must_use]
    pub fn with_services(self, services: Vec<EndpointService>) -> Self {
        Self { services, ..self }
    }

    /// What is counted.
    pub(crate) fn metrics(&self) -> &ProxyMetrics {
        &self.metrics
    }

    /// Checks that the daemon may connect to the proxy of a store of a scope.
    ///
    /// # Errors
    /// Why it may not.
    pub(crate) fn check(
        &self,
        endpoint: &str,
        service: Option<&VpcEndpointService>,
        scope: &Scope,
    ) -> Result<(), Failure> {
        self.host(endpoint, service, scope).map(drop)
    }

    /// How it stands with each store that was called.
    pub(crate) fn reports(&self) -> Vec<XksReport> {
        let mut latest: BTreeMap<String, (Instant, XksReport)> = BTreeMap::new();
        for (name, client) in &*lock(&self.stores) {
            let Some(store) = name.split(' ').next() else { continue };
            let seen = lock(&client.seen);
            let Some((at, took)) = seen.last else { continue };
            // Of a store whose proxy has another host now, the former one says nothing.
            if latest.get(store).is_some_and(|(known, _)| *known > at) {
                continue;
            }
            let end = *lock(&client.certificate_end);
            let left = end.map(|end| end.duration_since(SystemTime::now()).unwrap_or_default());
            let report = XksReport {
                store: store.to_owned(),
                answers: seen.answers,
                last_error: seen.last_error.map(str::to_owned),
                calls: seen.calls,
                failed: seen.failed,
                latency_ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
                certificate_days: left.map(|left| left.as_secs() / SECONDS_OF_DAY),
            };
            latest.insert(store.to_owned(), (at, report));
        }
        latest.into_values().map(|(_, report)| report).collect()
    }

    /// Closes what is open for a store, which is disconnected or gone.
    pub(crate) fn forget(&self, store: &str) {
        lock(&self.stores).retain(|name, _| name.split(' ').next() != Some(store));
        self.metrics.forget(store);
    }

    /// `GetHealthStatus`.
    pub(crate) async fn health(
        &self,
        target: &Target,
        metadata: &RequestMetadata,
    ) -> Result<Health, Failure> {
        let health = self.ask(target, Call::Health, ask(metadata), read_fleet).await?;
        self.metrics.note_health(&target.store, health);
        match health.is_served() {
            true => Ok(health),
            false => Err(Failure::NoKeyManager),
        }
    }

    /// `GetKeyMetadata`.
    pub(crate) async fn key(
        &self,
        target: &Target,
        key: &str,
        metadata: &RequestMetadata,
    ) -> Result<KeyFacts, Failure> {
        self.ask(target, Call::Metadata(key), ask(metadata), read_key).await
    }

    /// `Encrypt`.
    pub(crate) async fn encrypt(
        &self,
        target: &Target,
        key: &str,
        metadata: &RequestMetadata,
        (plaintext, aad): (&[u8], &[u8]),
    ) -> Result<Encrypted, Failure> {
        let body = ask_encrypt(metadata, plaintext, aad);
        let read = |response: &[u8]| read_encrypted(response, plaintext.len(), aad);
        self.ask(target, Call::Encrypt(key), body, read).await
    }

    /// `Decrypt`.
    pub(crate) async fn decrypt(
        &self,
        target: &Target,
        key: &str,
        metadata: &RequestMetadata,
        (outer, aad): (&Outer<'_>, &[u8]),
    ) -> Result<Vec<u8>, Failure> {
        let body = ask_decrypt(metadata, outer, aad);
        let read = |response: &[u8]| read_decrypted(response, outer.ciphertext.len());
        self.ask(target, Call::Decrypt(key), body, read).await
    }

    /// Sends a request and reads its response.
    async fn ask<T>(
        &self,
        target: &Target,
        call: Call<'_>,
        body: Vec<u8>,
        read: impl FnOnce(&[u8]) -> Result<T, Unreadable>,
    ) -> Result<T, Failure> {
        let begin = Instant::now();
        let outcome = match self.exchange(target, call, body).await {
            Ok((200, response)) => read(&response).map_err(Failure::Response),
            Ok((_, response)) => match read_refusal(&response) {
                Ok((name, message)) => Err(Failure::Refused { name, message }),
                Err(unreadable) => Err(Failure::Response(unreadable)),
            },
            Err(failure) => Err(failure),
        };
        let (store, operation) = (&target.store, call.name());
        let (took, failed) = (begin.elapsed(), outcome.as_ref().err());
        self.metrics.note(store, operation, took, failed);
        if let Ok(client) = self.client(target) {
            lock(&client.seen).note(took, failed);
        }
        match failed {
            // As many as callers make, and nothing new.
            Some(failure) if !failure.was_asked() => {
                tracing::debug!(store, operation, %failure, "an external key store proxy is not asked");
            }
            Some(failure) => {
                tracing::warn!(store, operation, %failure, "an external key store proxy fails");
            }
            None => {}
        }
        outcome
    }

    async fn exchange(
        &self,
        target: &Target,
        call: Call<'_>,
        body: Vec<u8>,
    ) -> Result<(u16, Vec<u8>), Failure> {
        let client = self.client(target)?;
        let _under_way = self.calls.enter(&client.calls).ok_or(Failure::Busy)?;
        if !lock(&client.breaker).lets_through(Instant::now()) {
            return Err(Failure::Resting);
        }
        let path = match call {
            Call::Health => format!("{}/health", target.proxy.path),
            Call::Metadata(key) => format!("{}/keys/{key}/metadata", target.proxy.path),
            Call::Encrypt(key) => format!("{}/keys/{key}/encrypt", target.proxy.path),
            Call::Decrypt(key) => format!("{}/keys/{key}/decrypt", target.proxy.path),
        };
        let sent = client.send(self, target, &path, body);
        let outcome = match tokio::time::timeout(self.limit, sent).await {
            Ok(outcome) => outcome,
            Err(_) => Err(Failure::TimedOut),
        };
        let is_there = !matches!(&outcome, Err(failure) if failure.is_silence());
        lock(&client.breaker).note(is_there, Instant::now());
        outcome
    }

    fn host(
        &self,
        endpoint: &str,
        service: Option<&VpcEndpointService>,
        scope: &Scope,
    ) -> Result<&AllowedHost, Failure> {
        let host = endpoint.strip_prefix("https://").ok_or(Failure::NotAllowed)?;
        let host = host.to_ascii_lowercase();
        if let Some(meant) = service {
            return service::host(&self.services, meant, (&host, scope));
        }
        let found = self.hosts.iter().find(|allowed| allowed.name == host);
        found.ok_or(Failure::NotAllowed)
    }

    fn client(&self, target: &Target) -> Result<Arc<Client>, Failure> {
        let XksProxy { endpoint, vpc_endpoint_service, .. } = &target.proxy;
        let host = self.host(endpoint, vpc_endpoint_service.as_ref(), &target.scope)?;
        let mut stores = lock(&self.stores);
        let client = stores.entry(place(&target.store, &target.proxy)).or_insert_with(|| {
            Arc::new(Client {
                host: host.clone(),
                calls: Own::default(),
                idle: Mutex::default(),
                breaker: Mutex::default(),
                certificate_end: Mutex::default(),
                seen: Mutex::default(),
            })
        });
        Ok(Arc::clone(client))
    }

    /// Closes connections of all stores that were not used for a while.
    pub(crate) fn sweep(&self) {
        *lock(&self.swept) = Instant::now();
        let clients: Vec<_> = lock(&self.stores).values().map(Arc::clone).collect();
        for client in clients {
            lock(&client.idle).retain(Idle::is_good);
        }
    }

    /// Room for a connection that is to be kept, if there is any.
    fn room(&self) -> Option<OwnedSemaphorePermit> {
        let room = || Arc::clone(&self.room).try_acquire_owned().ok();
        room().or_else(|| {
            let is_due = lock(&self.swept).elapsed() >= SWEEP;
            is_due.then(|| self.sweep()).and_then(|()| room())
        })
    }

    /// Sets what metrics say of a store that is not counted: how old its credential is, and for how long the
    /// certificate that its proxy has shown last is valid.
    pub(crate) fn observe(&self, store: &str, proxy: &XksProxy, now: Timestamp) {
        let client = lock(&self.stores).get(&place(store, proxy)).map(Arc::clone);
        let end = client.and_then(|client| *lock(&client.certificate_end));
        let age = now.as_millis().saturating_sub(proxy.credential_since.as_millis());
        self.metrics.observe(store, Duration::from_millis(age), end);
    }
}

impl Client {
    /// Sends a request over a connection that is open, or over a new one. An open one may have been closed by
    /// the other end just now: then the request, which changes nothing at the proxy, is sent once more.
    async fn send(
        &self,
        proxies: &Proxies,
        target: &Target,
        path: &str,
        body: Vec<u8>,
    ) -> Result<(u16, Vec<u8>), Failure> {
        if let Some(open) = self.take_idle() {
            let headers = self.headers(target, path, &body)?;
            match self.send_over(open, proxies, (path, headers, body.clone())).await {
                Err(Failure::Unreachable(_)) => {}
                outcome => return outcome,
            }
        }
        let (connection, end) = connect(&proxies.tls, &self.host).await?;
        *lock(&self.certificate_end) = end;
        let headers = self.headers(target, path, &body)?;
        self.send_over(connection, proxies, (path, headers, body)).await
    }

    async fn send_over(
        &self,
        mut connection: Connection,
        proxies: &Proxies,
        (path, headers, body): (&str, HeaderMap, Vec<u8>),
    ) -> Result<(u16, Vec<u8>), Failure> {
        let response = connection.send(path, headers, body).await?;
        if connection.is_open()
            && let Some(room) = proxies.room()
        {
            let mut idle = lock(&self.idle);
            if idle.len() < MAX_IDLE {
                idle.push(Idle { since: Instant::now(), connection, _room: room });
            }
        }
        Ok(response)
    }

    fn take_idle(&self) -> Option<Connection> {
        let mut idle = lock(&self.idle);
        idle.retain(Idle::is_good);
        idle.pop().map(|idle| idle.connection)
    }

    fn headers(&self, target: &Target, path: &str, body: &[u8]) -> Result<HeaderMap, Failure> {
        let mut headers = HeaderMap::new();
        let host = HeaderValue::from_str(&self.host.name).map_err(|_| Failure::NotAllowed)?;
        headers.insert(HOST, host);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let secret = std::str::from_utf8(&target.secret).map_err(|_| Failure::Credential)?;
        let access_key = target.proxy.access_key_id.as_str();
        let region = target.scope.region.as_str();
        let signer = Signer { access_key, secret, region, service: SERVICE };
        let signed = signer.sign_path(path, &mut headers, body, SystemTime::now());
        signed.map_err(|_| Failure::Credential)?;
        Ok(headers)
    }
}

/// Where the calls of a store to its proxy are: a proxy elsewhere has other ones. It begins with the store.
fn place(store: &str, proxy: &XksProxy) -> String {
    let service = proxy.vpc_endpoint_service.as_ref().map_or("", |service| &service.name);
    format!("{store} {service} {}", proxy.endpoint)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What they hold is whole between any two statements.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_that_are_not_made_do_not_hide_why() {
        let mut seen = Seen::default();
        seen.note(Duration::from_millis(250), Some(&Failure::TimedOut));
        seen.note(Duration::ZERO, Some(&Failure::Resting));
        assert_eq!((seen.calls, seen.failed, seen.answers), (2, 2, false));
        assert_eq!(seen.last_error, Some(Failure::TimedOut.name()));
        assert_eq!(seen.last.map(|(_, took)| took), Some(Duration::from_millis(250)));
        seen.note(Duration::from_millis(3), None);
        assert_eq!((seen.calls, seen.failed, seen.answers), (3, 2, true));
    }
}
