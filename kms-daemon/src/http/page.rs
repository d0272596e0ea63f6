//! The page that a person sees who opens the daemon's address in a browser.
//!
//! It is the same for everybody: nothing of the request, the keys or the configuration is in it, and
//! it loads nothing.

use hyper::header::{ACCEPT, AUTHORIZATION, CACHE_CONTROL, HeaderName, HeaderValue};
use hyper::{Method, Request, StatusCode};

use super::front::{Pages, Reply, plain};
use super::kms::TARGET;

/// Nothing is loaded, run, framed or sent.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
);
const CONTENT_SECURITY_POLICY: HeaderName = hyper::header::CONTENT_SECURITY_POLICY;

/// Whether somebody opens the daemon's address in a browser. A program that sends its request the
/// wrong way is told so in the API's own form instead.
pub(super) fn is_asked_for<B>(request: &Request<B>) -> bool {
    let headers = request.headers();
    let accepts = headers.get_all(ACCEPT).iter().any(|value| {
        value.to_str().is_ok_and(|kinds| kinds.to_ascii_lowercase().contains("text/html"))
    });
    matches!(*request.method(), Method::GET | Method::HEAD)
        && request.uri().path() == "/"
        && accepts
        && !headers.contains_key(TARGET)
        && !headers.contains_key(AUTHORIZATION)
}

/// The page of a port that serves `pages`.
pub(super) fn page(pages: Pages) -> Reply {
    let api = "<p>This is a key management service. Programs use it by the AWS KMS API: every AWS SDK \
               and the AWS CLI work once they are told this address.</p>\n\
               <pre>export AWS_ENDPOINT_URL=<i>the address that your browser shows</i>\n\
               export AWS_SHARED_CREDENTIALS_FILE=<i>the file that kmsd made: DIR/credentials</i>\n\
               aws kms create-key --description \"my first key\"</pre>\n";
    let reports = "<li><a href=\"/readyz\">/readyz</a>: whether requests are served, as JSON; \
                   <code>kmsctl status</code> shows the same as a table</li>\n\
                   <li><a href=\"/metrics\">/metrics</a>: for Prometheus</li>\n";
    let (api, reports) = match pages {
        Pages::All => (api, reports),
        Pages::Api | Pages::ExternalStores => (api, ""),
        Pages::Reports => {
            ("<p>This port is for health and metrics; the API has another.</p>\n", reports)
        }
    };
    let text = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head><meta charset=\"utf-8\"><title>Strongroom</title>\
         <meta name=\"viewport\" content=\"width=device-width\"></head>\n<body>\n<h1>Strongroom</h1>\n\
         {api}<ul>\n<li><a href=\"/healthz\">/healthz</a>: whether the process serves</li>\n{reports}\
         </ul>\n<p><code>kmsd --help</code> and <code>kmsctl --help</code> say what can be set and \
         asked; README.md has the first steps, and docs/ the rest.</p>\n</body>\n</html>\n"
    );
    let mut reply = plain(StatusCode::OK, "text/html; charset=utf-8", text);
    let headers = reply.headers_mut();
    headers.insert(CONTENT_SECURITY_POLICY, POLICY);
    headers.insert(hyper::header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(hyper::header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    reply
}
