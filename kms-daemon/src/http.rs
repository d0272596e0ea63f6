//! The HTTP front: bounded requests in, audited responses out.
//!
//! | path | answer |
//! |---|---|
//! | `POST /` | the AWS KMS API, awsJson1.1; what else is served beside it, as each API wants it |
//! | `OPTIONS /` | whether pages of an origin may use the API, by `--cors-origin` |
//! | `GET /` | for browsers, a page that says what this is |
//! | `GET /healthz` | 200 while the process serves |
//! | `GET /readyz` | readiness as JSON; 503 if requests would fail |
//! | `GET /metrics` | Prometheus text format |
//!
//! `--xks-listen` serves `POST /PREFIX/kms/xks/v1/…` of external key stores, and nothing else.
//!
//! HTTP/1.1 and HTTP/2 are served on the same port: by ALPN over TLS, else by how a connection
//! begins.
//!
//! A response leaves only when the record of its request is durable; refusals of callers whom nobody
//! vouches for may be counted instead (see [`kms_audit`]). A request that was begun is
//! finished and recorded even if its client has gone.

mod absent;
mod body;
mod connection;
mod content;
mod cors;
mod departure;
mod erasing;
mod external;
mod front;
mod head;
mod held;
mod in_flight;
mod kms;
mod page;
mod pipeline;
mod places;
mod progress;
mod query;
mod scheme;
mod seats;
mod server;
#[cfg(test)]
mod tests;
mod uncut;

pub use body::Memory;
pub use cors::Cors;
pub use front::{Front, Pages, Peer};
pub use places::Place;
pub use seats::Standing;
pub use server::{Limits, Server};
