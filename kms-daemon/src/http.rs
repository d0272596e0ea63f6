//! The HTTP front: bounded requests in, audited responses out.
//!
//! | path | answer |
//! |---|---|
//! | `POST /` | the AWS KMS API, awsJson1.1; what else is served beside it, as each API wants it |
//! | `GET /healthz` | 200 while the process serves |
//! | `GET /readyz` | readiness as JSON; 503 if requests would fail |
//! | `GET /metrics` | Prometheus text format |
//!
//! HTTP/1.1 and HTTP/2 are served on the same port: by ALPN over TLS, else by how a connection
//! begins.
//!
//! A response leaves only when the record of its request is durable; refusals of callers whom nobody
//! vouches for may be counted instead (see [`crate::audit`]). A request that was begun is
//! finished and recorded even if its client has gone.

mod absent;
mod body;
mod connection;
mod erasing;
mod exchange;
mod front;
mod head;
mod held;
mod places;
mod progress;
mod query;
mod seats;
mod server;
#[cfg(test)]
mod tests;

pub use body::Memory;
pub use front::{Development, Front, Pages, Peer, Readiness};
pub use places::Place;
pub use seats::Standing;
pub use server::{Limits, Server};
