//! The canonical request: the one byte string that client and verifier both derive from a request.
//!
//! As for every service but S3, the path is normalised and encoded once more.

use hyper::header::HeaderValue;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};

use super::SignedRequest;

/// All but the unreserved characters (RFC 3986 2.3).
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A request in the form that is hashed and signed.
pub(super) struct CanonicalRequest<'a> {
    pub(super) request: &'a SignedRequest<'a>,
    /// Lower-case names, sorted.
    pub(super) signed_headers: &'a [&'a str],
    /// Lower-case hexadecimal SHA-256 of the body.
    pub(super) payload_hash: &'a str,
}

impl CanonicalRequest<'_> {
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(1024);
        let mut line = |bytes: &[u8]| {
            out.extend_from_slice(bytes);
            out.push(b'\n');
        };
        line(self.request.method.as_bytes());
        line(canonical_path(self.request.path).as_bytes());
        line(canonical_query(self.request.query.unwrap_or_default()).as_bytes());
        for name in self.signed_headers {
            line(&self.canonical_header(name));
        }
        line(b"");
        line(self.signed_headers.join(";").as_bytes());
        out.extend_from_slice(self.payload_hash.as_bytes());
        out
    }

    fn canonical_header(&self, name: &str) -> Vec<u8> {
        let mut line = name.as_bytes().to_vec();
        if let Some(authority) = self.authority(name) {
            line.push(b':');
            push_collapsed(authority, &mut line);
            return line;
        }
        for (index, value) in self.request.headers.get_all(name).iter().enumerate() {
            line.push(if index == 0 { b':' } else { b',' });
            push_collapsed(value.as_bytes(), &mut line);
        }
        // A listed header that is absent leaves a line without a colon, which nobody can have
        // signed.
        line
    }

    /// The host under either of its names: HTTP/1.1 has a header for it, HTTP/2 a pseudo-header, and
    /// clients sign what they know it by.
    fn authority(&self, name: &str) -> Option<&[u8]> {
        let header = || self.request.headers.get("host").map(HeaderValue::as_bytes);
        match name {
            "host" | ":authority" => self.request.authority.map(str::as_bytes).or_else(header),
            _ => None,
        }
    }
}

/// Trims, and makes one space of every run of spaces.
fn push_collapsed(value: &[u8], out: &mut Vec<u8>) {
    let mut words = value.trim_ascii().split(|c| *c == b' ').filter(|word| !word.is_empty());
    out.extend_from_slice(words.next().unwrap_or_default());
    for word in words {
        out.push(b' ');
        out.extend_from_slice(word);
    }
}

/// Removes dot segments and empty segments (RFC 3986 section 5.2.4), then encodes each segment.
fn canonical_path(path: &str) -> String {
    let mut segments: Vec<&str> = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => {
                segments.pop();
            }
            other => segments.push(other),
        }
    }
    let mut out = String::with_capacity(path.len());
    for segment in &segments {
        out.push('/');
        push_encoded(segment.as_bytes(), &mut out);
    }
    let is_directory = matches!(path.rsplit('/').next(), Some("" | "." | ".."));
    if segments.is_empty() || is_directory {
        out.push('/');
    }
    out
}

/// Decodes, encodes canonically, and sorts by encoded name, then by encoded value.
fn canonical_query(query: &str) -> String {
    let recode = |part: &str| {
        let mut out = String::with_capacity(part.len());
        push_encoded(&percent_decode(part.as_bytes()), &mut out);
        out
    };
    let mut pairs: Vec<(String, String)> = query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(name, value)| (recode(name), recode(value)))
        .collect();
    pairs.sort_unstable();
    let pairs: Vec<String> =
        pairs.into_iter().map(|(name, value)| format!("{name}={value}")).collect();
    pairs.join("&")
}

fn push_encoded(bytes: &[u8], out: &mut String) {
    out.extend(percent_encode(bytes, RESERVED));
}

/// Bytes that are not a valid escape stay as they are.
pub(super) fn percent_decode(bytes: &[u8]) -> Vec<u8> {
    percent_encoding::percent_decode(bytes).collect()
}
