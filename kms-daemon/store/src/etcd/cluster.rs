//! Calls to the cluster: one member at a time, and the next one when it does not answer.

use std::sync::Arc;
use std::time::Duration;

use hyper::body::Bytes;
use hyper::http::HeaderValue;
use rustls::ClientConfig;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::grpc::{Connection, Status, Stream, UNAUTHENTICATED, UNAVAILABLE};
use super::messages;
use super::options::{Endpoint, EtcdOptions, Login};

/// How long a member may take to take a connection.
const TO_CONNECT: Duration = Duration::from_secs(1);
/// How long one attempt may take. A member whose disk is slow is better than none.
const ATTEMPT: Duration = Duration::from_secs(2);
/// How long a call may take, with all attempts. Longer than a new leader takes to be elected, which
/// is 1 to 2 s with etcd's defaults.
pub(super) const DEADLINE: Duration = Duration::from_secs(5);
/// The time between attempts.
const PAUSE: Duration = Duration::from_millis(50);

/// Refusals of etcd that leave no doubt that a transaction was not proposed.
const NOT_PROPOSED: [&str; 3] =
    ["etcdserver: no leader", "raft proposal dropped", "etcdserver: too many requests"];

/// Whether a call can be made twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// It changes nothing.
    Read,
    /// It can have been applied although there was no response. It is not made again then: whoever
    /// guarded it would be told of a conflict with what is their own change.
    Write,
}

/// The members, and the connection to one of them.
pub(super) struct Cluster {
    endpoints: Vec<Endpoint>,
    current: Mutex<Current>,
}

struct Current {
    /// For connections to `https` endpoints.
    tls: Option<Arc<ClientConfig>>,
    login: Option<Login>,
    /// The place of the member among the endpoints.
    endpoint: usize,
    /// Grows with each connection, so that a failure is held against the right one.
    generation: u64,
    connection: Option<Connection>,
    token: Option<HeaderValue>,
}

/// A connection, and what to show with each call.
struct Ready {
    connection: Connection,
    token: Option<HeaderValue>,
    generation: u64,
}

impl Cluster {
    pub(super) fn new(options: EtcdOptions) -> Self {
        let EtcdOptions { endpoints, tls, login, .. } = options;
        let (endpoint, generation, connection, token) = (0, 0, None, None);
        let current = Current { tls, login, endpoint, generation, connection, token };
        Self { endpoints, current: Mutex::new(current) }
    }

    /// Goes on as `other`, which has the same members: with its certificates, its user and its connection. Calls that are
    /// under way end on the connection that they have.
    pub(super) async fn adopt(&self, other: Self) {
        let other = other.current.into_inner();
        let mut current = self.current.lock().await;
        let generation = current.generation + 1;
        *current = Current { generation, ..other };
    }

    /// Makes a call within [`DEADLINE`].
    pub(super) async fn call(
        &self,
        path: &str,
        message: &[u8],
        kind: Kind,
    ) -> Result<Bytes, Status> {
        self.call_within(path, message, kind, DEADLINE).await
    }

    /// Makes a call within a time.
    pub(super) async fn call_within(
        &self,
        path: &str,
        message: &[u8],
        kind: Kind,
        time: Duration,
    ) -> Result<Bytes, Status> {
        let end = Instant::now() + time;
        let mut failed = Status::unsent("no member of the cluster answers in time");
        loop {
            let ready = match timeout_at(end, self.ready()).await {
                Ok(Ok(ready)) => ready,
                Ok(Err(status)) => {
                    failed = status;
                    if failed.code == UNAVAILABLE && Instant::now() + PAUSE < end {
                        sleep(PAUSE).await;
                        continue;
                    }
                    return Err(failed);
                }
                Err(_) => return Err(failed),
            };
            let left = end.saturating_duration_since(Instant::now()).min(ATTEMPT);
            let calling = ready.connection.call(path, ready.token.as_ref(), message, left);
            let status = match timeout(left, calling).await {
                Ok(Ok(response)) => return Ok(response),
                Ok(Err(status)) => status,
                Err(_) => Status::sent(format_args!("no response in {} ms", left.as_millis())),
            };
            let again = self.judge(&status, ready.generation).await;
            let unknown = status.is_sent && !is_refused(&status);
            if !again || (kind == Kind::Write && unknown) || Instant::now() + PAUSE >= end {
                return Err(status);
            }
            tracing::debug!(%status, path, "a call to the store is made again");
            failed = status;
            sleep(PAUSE).await;
        }
    }

    /// Begins a call with a stream of responses. Returns the generation of its connection.
    pub(super) async fn stream(&self, path: &str, message: &[u8]) -> Result<(Stream, u64), Status> {
        let ready = self.ready().await?;
        let beginning = ready.connection.stream(path, ready.token.as_ref(), message);
        let begun = timeout(ATTEMPT, beginning).await;
        match begun.unwrap_or_else(|_| Err(Status::sent("no response"))) {
            Ok(stream) => Ok((stream, ready.generation)),
            Err(status) => {
                self.judge(&status, ready.generation).await;
                Err(status)
            }
        }
    }

    /// Draws the consequences of a failure; returns whether another attempt can do better.
    pub(super) async fn judge(&self, status: &Status, generation: u64) -> bool {
        if is_token_refused(status) {
            let mut current = self.current.lock().await;
            if current.generation == generation {
                current.token = None;
            }
            return true;
        }
        // A code that the member has given in full knowledge: another one would say the same.
        let is_of_member = status.code != UNAVAILABLE && status.code != super::grpc::UNKNOWN;
        if is_of_member && status.is_sent {
            return false;
        }
        self.leave(generation).await;
        true
    }

    /// Goes on with another member, unless that has happened since.
    pub(super) async fn leave(&self, generation: u64) {
        let mut current = self.current.lock().await;
        if current.generation == generation && current.connection.take().is_some() {
            current.endpoint = (current.endpoint + 1) % self.endpoints.len();
        }
    }

    /// The connection; makes one to the first member that takes it.
    async fn ready(&self) -> Result<Ready, Status> {
        let mut current = self.current.lock().await;
        let mut failed = Status::unsent("there are no members");
        if current.connection.as_ref().is_none_or(Connection::is_closed) {
            current.connection = None;
            for _ in 0..self.endpoints.len() {
                let place = current.endpoint;
                let endpoint = &self.endpoints[place];
                // Already now: a caller that gives up meanwhile has no time left for the next one.
                current.endpoint = (place + 1) % self.endpoints.len();
                let opening = Connection::open(endpoint, current.tls.as_ref());
                let opened = timeout(TO_CONNECT, opening).await;
                match opened.unwrap_or_else(|_| Err(Status::unsent("it takes no connection"))) {
                    Ok(connection) => {
                        tracing::debug!(%endpoint, "connected to the store");
                        current.connection = Some(connection);
                        current.endpoint = place;
                        current.generation += 1;
                        break;
                    }
                    Err(status) => {
                        failed = Status::unsent(format_args!("{endpoint}: {status}"));
                    }
                }
            }
        }
        let connection = current.connection.clone().ok_or(failed)?;
        if let (None, Some(login)) = (&current.token, &current.login) {
            let token = authenticate(&connection, login).await;
            if token.as_ref().is_err_and(|status| status.code == UNAVAILABLE || status.code == 2) {
                current.connection = None;
                current.endpoint = (current.endpoint + 1) % self.endpoints.len();
            }
            current.token = token?;
        }
        let (token, generation) = (current.token.clone(), current.generation);
        Ok(Ready { connection, token, generation })
    }
}

async fn authenticate(
    connection: &Connection,
    login: &Login,
) -> Result<Option<HeaderValue>, Status> {
    let message = zeroize::Zeroizing::new(messages::authenticate(&login.user, &login.password));
    let calling = connection.call(messages::AUTHENTICATE, None, &message, ATTEMPT);
    let response = timeout(ATTEMPT, calling).await;
    let response = response.unwrap_or_else(|_| Err(Status::unsent("no response")))?;
    let token = messages::token(response).map_err(Status::sent)?;
    let mut token = HeaderValue::from_maybe_shared(token).map_err(Status::sent)?;
    token.set_sensitive(true);
    Ok(Some(token))
}

/// Whether the member has refused without beginning.
fn is_refused(status: &Status) -> bool {
    is_token_refused(status) || NOT_PROPOSED.iter().any(|text| status.message.contains(text))
}

/// Whether the token was refused: it has expired, the member has started since, or users have changed.
fn is_token_refused(status: &Status) -> bool {
    (status.code == UNAUTHENTICATED && status.message.contains("invalid auth token"))
        || status.message.contains("revision of auth store is old")
}
