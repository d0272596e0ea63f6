//! Pages of other origins: which of them may read the API's responses (the CORS protocol of the
//! Fetch standard).
//!
//! A browser first asks (`OPTIONS`, the preflight) whether a page of some origin may send a signed
//! request, and shows responses only to pages whose origin they name. Nothing here authenticates
//! anybody: a request is served if its signature is right, whatever its origin. Cookies and other
//! credentials that a browser would add by itself mean nothing to the API, so the API never allows
//! them. A page can do exactly what its own access key can do.

use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Request, StatusCode};

use super::front::{Reply, plain};

const ORIGIN: HeaderName = hyper::header::ORIGIN;
const REQUEST_METHOD: HeaderName = hyper::header::ACCESS_CONTROL_REQUEST_METHOD;
/// Set by browsers when a page from the internet requests something from a private network.
const REQUEST_PRIVATE_NETWORK: &str = "access-control-request-private-network";
const ALLOW_PRIVATE_NETWORK: HeaderName =
    HeaderName::from_static("access-control-allow-private-network");

/// The headers that AWS's SDKs send from a browser. This is not the list from the request: in
/// particular it lacks the header that resets a development daemon.
const HEADERS: HeaderValue = HeaderValue::from_static(
    "authorization,content-type,x-amz-content-sha256,x-amz-date,x-amz-security-token,x-amz-target,\
     x-amz-user-agent,x-amzn-query-mode,x-amzn-trace-id,amz-sdk-invocation-id,amz-sdk-request",
);
/// The response headers that pages see besides type and length, as at AWS.
const EXPOSED: HeaderValue =
    HeaderValue::from_static("x-amzn-requestid,x-amzn-errortype,x-amzn-errormessage,date");
/// Seconds for which a browser remembers the response to a preflight: the longest that Chromium
/// allows.
const MAX_AGE: HeaderValue = HeaderValue::from_static("7200");

const VARY: HeaderValue = HeaderValue::from_static("Origin");

/// The origins whose pages may use the API. By default there are none.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Cors {
    any: bool,
    origins: Vec<HeaderValue>,
}

impl Cors {
    /// Reads the values of `--cors-origin`: origins as browsers send them, or `*`.
    ///
    /// # Errors
    /// A text that says what is wrong with a value, and what it should look like.
    pub fn parse<T: AsRef<str>>(origins: &[T]) -> Result<Self, String> {
        let mut cors = Self::default();
        for origin in origins.iter().map(AsRef::as_ref) {
            match origin {
                "*" => cors.any = true,
                origin => cors.origins.push(parse(origin)?),
            }
        }
        if cors.any && !cors.origins.is_empty() {
            return Err("cors-origin * is every origin: give it alone".to_owned());
        }
        Ok(cors)
    }

    /// Returns the response to a preflight; `None` if the request is not a preflight.
    pub(super) fn preflight<B>(&self, request: &Request<B>) -> Option<Reply> {
        let headers = request.headers();
        let is_preflight = request.method() == Method::OPTIONS
            && headers.contains_key(ORIGIN)
            && headers.contains_key(REQUEST_METHOD);
        if !is_preflight {
            return None;
        }
        let is_api = request.uri().path() == "/";
        let Some(allowed) = self.allowed(headers).filter(|_| is_api) else {
            let text = match is_api {
                true => "pages of this origin may not use this daemon: see --cors-origin of kmsd\n",
                false => "pages of other origins may not use this path\n",
            };
            let mut reply = plain(StatusCode::FORBIDDEN, "text/plain", text.into());
            self.vary(reply.headers_mut());
            return Some(reply);
        };
        let mut reply = plain(StatusCode::OK, "text/plain", String::new());
        let answer = reply.headers_mut();
        answer.remove(hyper::header::CONTENT_TYPE);
        answer.insert(hyper::header::ACCESS_CONTROL_ALLOW_ORIGIN, allowed);
        let methods = HeaderValue::from_static("POST");
        answer.insert(hyper::header::ACCESS_CONTROL_ALLOW_METHODS, methods);
        answer.insert(hyper::header::ACCESS_CONTROL_ALLOW_HEADERS, HEADERS);
        answer.insert(hyper::header::ACCESS_CONTROL_MAX_AGE, MAX_AGE);
        // Only origins that somebody has named may do this: every page of the internet would be too
        // many.
        if !self.any && headers.contains_key(REQUEST_PRIVATE_NETWORK) {
            answer.insert(ALLOW_PRIVATE_NETWORK, HeaderValue::from_static("true"));
        }
        self.vary(answer);
        Some(reply)
    }

    /// Returns which origin may read the response to a request.
    pub(super) fn reader<B>(&self, request: &Request<B>) -> Reader {
        let is_api = request.method() == Method::POST && request.uri().path() == "/";
        let allowed = self.allowed(request.headers()).filter(|_| is_api);
        Reader { allowed, varies: is_api && !self.origins.is_empty() }
    }

    /// Returns the value of `Access-Control-Allow-Origin` for a request; `None` if its origin is
    /// not allowed.
    fn allowed(&self, headers: &HeaderMap) -> Option<HeaderValue> {
        let mut given = headers.get_all(ORIGIN).iter();
        let (Some(origin), None) = (given.next(), given.next()) else { return None };
        if self.any {
            return Some(HeaderValue::from_static("*"));
        }
        self.origins.iter().find(|known| *known == origin).cloned()
    }

    /// Keeps caches from giving the response for one origin to another.
    fn vary(&self, answer: &mut HeaderMap) {
        if !self.origins.is_empty() {
            answer.insert(hyper::header::VARY, VARY);
        }
    }
}

/// Which origin may read a response of the API.
pub(super) struct Reader {
    allowed: Option<HeaderValue>,
    varies: bool,
}

impl Reader {
    /// Adds the headers that make a response readable for the page.
    pub(super) fn show(self, reply: &mut Reply) {
        let answer = reply.headers_mut();
        if self.varies {
            answer.insert(hyper::header::VARY, VARY);
        }
        if let Some(allowed) = self.allowed {
            answer.insert(hyper::header::ACCESS_CONTROL_ALLOW_ORIGIN, allowed);
            answer.insert(hyper::header::ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
        }
    }
}

/// Reads an origin. Origins are compared byte by byte with those that browsers send, so an origin
/// must have the form of RFC 6454 section 6.2.
fn parse(origin: &str) -> Result<HeaderValue, String> {
    let wrong = |why: &str| {
        format!("cors-origin {origin:?} {why}; write it as a browser does: https://app.example")
    };
    if origin == "null" {
        return Err(wrong("is what every sandboxed page and every file sends"));
    }
    let (scheme, rest) = origin.split_once("://").ok_or_else(|| wrong("has no scheme"))?;
    let of_scheme = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || b"+-.".contains(&c);
    if !scheme.starts_with(|c: char| c.is_ascii_lowercase()) || !scheme.bytes().all(of_scheme) {
        return Err(wrong("has no scheme in lower case"));
    }
    if rest.contains('*') {
        return Err(wrong("has a wildcard, which is only understood alone"));
    }
    if rest.contains(['/', '?', '#', '@']) {
        return Err(wrong("is more than scheme, host and port"));
    }
    if rest.bytes().any(|c| c.is_ascii_uppercase()) {
        return Err(wrong("is not in lower case"));
    }
    let authority: hyper::http::uri::Authority =
        rest.parse().map_err(|_| wrong("names no host"))?;
    let after = rest.get(authority.host().len()..).unwrap_or_default();
    let is_default =
        matches!((scheme, authority.port_u16()), ("http", Some(80)) | ("https", Some(443)));
    if is_default {
        return Err(wrong("has the port that browsers leave out"));
    }
    if authority.host().is_empty() || (!after.is_empty() && authority.port_u16().is_none()) {
        return Err(wrong("names no host and port"));
    }
    HeaderValue::from_str(origin).map_err(|_| wrong("is not an origin"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_have_the_form_of_browsers() {
        for good in [
            "https://app.example",
            "http://localhost:3000",
            "http://[::1]:8080",
            "chrome-extension://abcdefghijklmnop",
            "https://xn--bcher-kva.example",
            "*",
        ] {
            Cors::parse(&[good]).unwrap();
        }
        for (bad, why) in [
            ("null", "sandboxed"),
            ("app.example", "no scheme"),
            ("HTTPS://app.example", "lower case"),
            ("https://App.example", "lower case"),
            ("https://app.example/", "more than"),
            ("https://app.example/path", "more than"),
            ("https://user@app.example", "more than"),
            ("https://*.example", "wildcard"),
            ("https://app.example:443", "leave out"),
            ("http://app.example:80", "leave out"),
            ("https://", "no host"),
            ("https://app.example:port", "host"),
            ("https://app.example:70000", "host"),
            ("https://app.example\r\nx: y", "host"),
            ("", "no scheme"),
        ] {
            let error = Cors::parse(&[bad]).unwrap_err();
            assert!(error.contains(why) && error.contains("https://app.example"), "{bad}: {error}");
        }
        assert!(Cors::parse(&["*", "https://app.example"]).unwrap_err().contains("alone"));
    }
}
