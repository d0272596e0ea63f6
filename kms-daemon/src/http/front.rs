//! What is served at which path and port.

use std::net::IpAddr;
use std::sync::Arc;

use host_driver::caller::Gone;
use http_body_util::Full;
use hyper::body::{Body, Bytes};
use hyper::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::body::Memory;
use super::cors::Cors;
use super::departure::{Line, watched};
use super::external;
use super::kms::refusal;
use super::page;
use super::places::Place;
use super::seats::Standing;
use super::uncut::Uncut;
use crate::admission;
use crate::app::App;
use crate::development::Development;
use crate::metrics::{Form, Readiness};
use kms_base::error::KmsError;

/// Where a development daemon is reset.
const RESET: &str = "/_strongroom/reset";
/// What the request for it must have.
const RESET_HEADER: &str = "x-strongroom-reset";

/// The far end of a connection.
#[derive(Debug, Clone)]
pub struct Peer {
    /// Its address.
    pub address: IpAddr,
    /// Version and cipher suite of `tlsDetails` in the audit record, if the connection is
    /// encrypted.
    pub tls: Option<Arc<Value>>,
    /// Dropped when the last request of the connection has ended, even if its client has gone
    /// before.
    pub alive: mpsc::Sender<()>,
    /// Given back when the last request that has it has ended, likewise.
    pub place: Option<Arc<Place>>,
    /// What is known of the connection.
    pub standing: Arc<Standing>,
    /// By which it shows whether the client is there.
    pub line: Line,
    /// What is served on its port.
    pub pages: Pages,
}

/// What is served on a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Pages {
    /// Everything.
    #[default]
    All,
    /// The APIs and `/healthz`: the rest has a port of its own.
    Api,
    /// `/healthz`, `/readyz` and `/metrics`.
    Reports,
    /// External key stores.
    ExternalStores,
}

/// The HTTP front end of the application.
pub struct Front {
    /// Serves requests.
    pub app: Arc<App>,
    /// Answers `/readyz`.
    pub readiness: Arc<dyn Readiness>,
    /// What only developers want.
    pub development: Option<Arc<Development>>,
    /// For request bodies.
    pub memory: Memory,
    /// For those of requests to external key stores.
    pub memory_of_stores: Memory,
    /// Whose pages may use the API.
    pub cors: Cors,
}

/// Body of a response. Plaintexts in it are zeroised once they have been written out.
pub(super) type Reply = Response<Full<Bytes>>;

impl Front {
    /// Answers a request.
    pub(super) async fn answer<B>(self: Arc<Self>, request: Request<B>, peer: Peer) -> Reply
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        if peer.pages == Pages::ExternalStores {
            let (gone, line) = (Gone::default(), peer.line.clone());
            // It is large, and is not to be moved about on the stack.
            let call = Box::pin(async move { self.external(request, peer).await });
            let call = Uncut::new(admission::asked(gone.clone(), call)).telling(gone.clone());
            return watched(call, line, gone).await.unwrap_or_else(|_| {
                external::refusal(&KmsError::internal("the request has panicked").into())
            });
        }
        if page::is_asked_for(&request) {
            return page::page(peer.pages);
        }
        if peer.pages != Pages::Reports
            && let Some(answer) = self.cors.preflight(&request)
        {
            return answer;
        }
        match (request.method(), request.uri().path()) {
            (&Method::GET, "/healthz") => plain(StatusCode::OK, "text/plain", "ok\n".into()),
            (&Method::GET, "/readyz" | "/metrics") if peer.pages == Pages::Api => {
                let text = "this is served where --admin-listen says\n";
                plain(StatusCode::NOT_FOUND, "text/plain", text.into())
            }
            (&Method::GET, "/readyz") => self.ready(),
            (&Method::GET, "/metrics") => self.metrics_page(request.headers()),
            _ if peer.pages == Pages::Reports => {
                let text = "only /healthz, /readyz and /metrics are served here\n";
                plain(StatusCode::NOT_FOUND, "text/plain", text.into())
            }
            (&Method::POST, RESET) if self.development.is_some() => {
                let task = tokio::spawn(async move { self.reset(request.headers()).await });
                task.await.unwrap_or_else(|error| {
                    plain(StatusCode::INTERNAL_SERVER_ERROR, "text/plain", format!("{error}\n"))
                })
            }
            _ => {
                let (reader, line) = (self.cors.reader(&request), peer.line.clone());
                let api = Box::pin(async move { self.api(request, peer).await });
                let gone = Gone::default();
                let api = Uncut::new(admission::asked(gone.clone(), api)).telling(gone.clone());
                let mut reply = watched(api, line, gone)
                    .await
                    .unwrap_or_else(|_| refusal(&KmsError::internal("the request has panicked")));
                reader.show(&mut reply);
                reply
            }
        }
    }

    /// Destroys all keys and makes those of the seed again.
    async fn reset(&self, headers: &HeaderMap) -> Reply {
        let text = |status, text: String| plain(status, "text/plain", format!("{text}\n"));
        // A web page cannot make a browser send it.
        if !headers.contains_key(RESET_HEADER) {
            let reason = format!("send the header {RESET_HEADER}: yes");
            return text(StatusCode::FORBIDDEN, reason);
        }
        let Some(development) = &self.development else {
            return text(StatusCode::NOT_FOUND, String::new());
        };
        let _alone = development.resetting.lock().await;
        let outcome = async {
            self.app.audit.resetting(&self.app.account, &self.app.region).await?;
            let removed =
                self.app.service.catalog().remove_all().await.map_err(|e| e.to_string())?;
            let made =
                development.seed.apply(&self.app).await.map_err(|error| error.to_string())?;
            tracing::warn!(removed, made, "reset: all keys are gone, those of the seed are new");
            Ok::<_, String>(json!({ "keysRemoved": removed, "keysMade": made }))
        };
        match outcome.await {
            Ok(report) => plain(StatusCode::OK, "application/json", format!("{report}\n")),
            Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, error),
        }
    }

    fn ready(&self) -> Reply {
        let (ready, report) = self.readiness.report();
        let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        plain(status, "application/json", format!("{report:#}\n"))
    }

    fn metrics_page(&self, headers: &HeaderMap) -> Reply {
        if let Some(counted) = self.app.service.catalog().counted() {
            self.app.metrics.keys(&counted);
        }
        self.app.metrics.peers(&self.app.service.regions().peers().reports());
        let form = Form::accepted(headers.get(ACCEPT).and_then(|value| value.to_str().ok()));
        let text = self.app.metrics.render(form, &*self.readiness, &self.app.audit);
        plain(StatusCode::OK, form.content_type(), text)
    }
}

/// A response with this status, content type and body.
pub(super) fn reply(status: u16, kind: &'static str, body: impl Into<Bytes>) -> Reply {
    let mut reply = Response::new(Full::new(body.into()));
    *reply.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    reply
}

pub(super) fn plain(status: StatusCode, kind: &'static str, text: String) -> Reply {
    reply(status.as_u16(), kind, text)
}
