//! Requests to services that are not here, which programs send to the endpoint of all services. The
//! refusal has the form that the clients of the service read.
//!
//! The scope of the signature says which service is meant. The signature is not verified: only the
//! form of the refusal and the text of its record depend on the scope.

use std::convert::Infallible;

use hyper::header::{AUTHORIZATION, HeaderValue};
use hyper::http::request::Parts;
use serde_json::json;
use uuid::Uuid;

use super::content::Content;
use super::front::{Front, Reply, reply};
use super::in_flight::InFlight;
use super::kms::{self, TARGET, TARGET_PREFIX};
use super::pipeline::Protocol;
use crate::management::{Format, Refusal, Service};
use kms_audit::Outcome;
use kms_base::error::KmsError;
use kms_sigv4::SigningService;

/// Longest name of a service, in bytes.
const MAX_NAME: usize = 64;
/// The services that S3's clients sign for.
const S3: &[&str] = &["s3", "s3express", "s3-object-lambda", "s3-outposts"];
/// Other services whose refusals are XML although their requests are not forms.
const REST_XML: &[&str] = &["cloudfront", "route53"];

/// A service that is not here.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Absent {
    name: String,
    form: Form,
}

/// The forms of refusals, by the protocol of the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// JSON with the operation in `X-Amz-Target`.
    Json,
    /// The query protocol: requests are forms.
    Query,
    /// REST with JSON: the operation is in the path.
    RestJson,
    /// REST with XML, of older services.
    RestXml,
    /// The XML of S3.
    S3,
    /// Smithy's RPC v2 in CBOR.
    Cbor,
}

impl Absent {
    /// Returns the service that a request is signed for, unless that service or the request's
    /// target is served here.
    pub(super) fn of(head: &Parts) -> Option<Self> {
        let header = |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok());
        let target = header(TARGET);
        if target.is_some_and(|target| target.starts_with(TARGET_PREFIX)) {
            // If it is signed for another service, its signature is invalid here.
            return None;
        }
        let name = claimed(head)?;
        let form = match target {
            // The same of the services beside KMS.
            Some(target) if Service::from_target(target).is_some() => return None,
            Some(_) => Form::Json,
            None if header("smithy-protocol") == Some("rpc-v2-cbor") => Form::Cbor,
            None if super::query::is_form(head) => Form::Query,
            None if S3.contains(&name) => Form::S3,
            None if REST_XML.contains(&name) => Form::RestXml,
            None => Form::RestJson,
        };
        Some(Self { name: name.to_owned(), form })
    }

    /// Returns `eventSource` of audit records.
    pub(super) fn source(&self) -> String {
        format!("{}.amazonaws.com", self.name)
    }

    /// Returns the error text for the client.
    pub(super) fn text(&self) -> String {
        format!(
            "The service {} is not here. This endpoint serves kms, iam and sts, trails and events of \
             cloudtrail, GetResources of tagging and DescribeRegions of ec2: give your program another \
             endpoint for {}, for example with the variable AWS_ENDPOINT_URL_{}.",
            self.name,
            self.name,
            self.name.to_ascii_uppercase().replace('-', "_")
        )
    }

    /// Returns the error name and the HTTP status of the refusal.
    const fn status(&self) -> (&'static str, u16) {
        match self.form {
            Form::Json | Form::Cbor => ("UnknownOperationException", 400),
            Form::Query | Form::RestXml => ("InvalidAction", 400),
            Form::RestJson => ("UnknownOperationException", 404),
            Form::S3 => ("NotImplemented", 501),
        }
    }

    /// Returns the refusal with a text.
    fn reply(&self, text: &str, request_id: &str) -> Reply {
        let (code, status) = self.status();
        let refusal = Refusal { code, status, message: text };
        let (kind, body) = match self.form {
            Form::Json => {
                let body = Format::Bare.refusal("", refusal, request_id);
                ("application/x-amz-json-1.1", body)
            }
            Form::RestJson => {
                let body = json!({ "__type": code, "message": text }).to_string();
                ("application/json", body.into_bytes())
            }
            Form::Query | Form::RestXml => {
                ("text/xml", Format::Xml.refusal(&self.namespace(), refusal, request_id))
            }
            Form::S3 => {
                let body = format!(
                    "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>{code}</Code>\
                     <Message>{text}</Message><RequestId>{request_id}</RequestId></Error>"
                );
                ("application/xml", body.into_bytes())
            }
            Form::Cbor => ("application/cbor", cbor(&[("__type", code), ("message", text)])),
        };
        let mut reply = reply(status, kind, body);
        match self.form {
            Form::RestJson => {
                reply.headers_mut().insert("x-amzn-errortype", HeaderValue::from_static(code));
            }
            Form::Cbor => {
                let protocol = HeaderValue::from_static("rpc-v2-cbor");
                reply.headers_mut().insert("smithy-protocol", protocol);
            }
            _ => {}
        }
        reply
    }

    fn namespace(&self) -> String {
        format!("http://{}.amazonaws.com/doc/", self.name)
    }
}

/// The text that explains to people why a request to an absent service is refused.
pub(super) struct NotHere(String);

impl From<KmsError> for NotHere {
    fn from(error: KmsError) -> Self {
        Self(error.to_string())
    }
}

/// Refuses every request, whatever its body and whoever sends it.
impl Protocol for Absent {
    type Answer = Infallible;
    type Error = NotHere;

    fn announce(&mut self, head: &Parts, request: &mut InFlight) -> Result<(), NotHere> {
        let target = head.headers.get(TARGET).and_then(|value| value.to_str().ok());
        let target =
            target.map_or_else(|| format!("{} {}", head.method, head.uri.path()), str::to_owned);
        request.source = self.source().into();
        request.name = target.chars().take(kms::MAX_NAME).collect();
        Err(NotHere(self.text()))
    }

    async fn decide(
        &mut self,
        _: &Front,
        _: &Parts,
        _: Result<Content, KmsError>,
        _: &mut InFlight,
    ) -> Result<Infallible, NotHere> {
        Err(NotHere(self.text()))
    }

    fn operation(&self) -> Option<&'static str> {
        None
    }

    fn refused<'e>(&self, error: &'e NotHere) -> Outcome<'e> {
        Outcome::Failure(self.status().0, Some(&error.0))
    }

    fn code(&self, _: &NotHere) -> &'static str {
        self.status().0
    }

    fn respond(&self, _: &Parts, outcome: Result<Infallible, NotHere>, request_id: Uuid) -> Reply {
        let Err(NotHere(text)) = outcome;
        self.reply(&text, &request_id.to_string())
    }
}

/// Returns the service in the scope of a signature, if it looks like a service and is not here.
fn claimed(head: &Parts) -> Option<&str> {
    let authorization = head.headers.get(AUTHORIZATION)?.to_str().ok()?;
    let scope = authorization.split_once("Credential=")?.1.split([',', ' ']).next()?;
    let [_, _, _, name, "aws4_request"] = scope.split('/').collect::<Vec<_>>()[..] else {
        return None;
    };
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let plausible = (1..=MAX_NAME).contains(&name.len()) && name.bytes().all(allowed);
    let here = |service: &Service| service.signing().name() == name;
    let is_here = name == SigningService::KMS.name() || Service::ALL.iter().any(here);
    (plausible && !is_here).then_some(name)
}

/// Encodes a map of texts in CBOR (RFC 8949).
fn cbor(pairs: &[(&str, &str)]) -> Vec<u8> {
    const TEXT: u8 = 3 << 5;
    const MAP: u8 = 5 << 5;
    let mut out = vec![MAP | u8::try_from(pairs.len()).unwrap_or(0)];
    for text in pairs.iter().flat_map(|(key, value)| [key, value]) {
        match u16::try_from(text.len()) {
            Ok(length @ ..24) => out.push(TEXT | length.to_be_bytes()[1]),
            Ok(length) => {
                out.push(TEXT | 25);
                out.extend(length.to_be_bytes());
            }
            Err(_) => return cbor(&[("__type", "InternalFailure")]),
        }
        out.extend(text.bytes());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(service: &str, headers: &[(&str, &str)]) -> Parts {
        let credential = format!(
            "AWS4-HMAC-SHA256 Credential=AKIA/20261128/us-east-1/{service}/aws4_request, \
             SignedHeaders=host, Signature=0"
        );
        let mut request = hyper::Request::post("/").header(AUTHORIZATION, credential);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn the_form_is_that_of_the_service() {
        let form =
            |service, headers: &[(&str, &str)]| Absent::of(&head(service, headers)).map(|a| a.form);
        let target = |name| [("x-amz-target", name)];
        let of_form = [("content-type", "application/x-www-form-urlencoded")];
        assert_eq!(form("dynamodb", &target("DynamoDB_20120810.ListTables")), Some(Form::Json));
        assert_eq!(form("sns", &of_form), Some(Form::Query));
        assert_eq!(form("lambda", &[]), Some(Form::RestJson));
        assert_eq!(form("cloudfront", &[]), Some(Form::RestXml));
        assert_eq!(form("s3", &[]), Some(Form::S3));
        assert_eq!(form("monitoring", &[("smithy-protocol", "rpc-v2-cbor")]), Some(Form::Cbor));
        // Requests for a service that is here are refused for their signature.
        assert_eq!(form("s3", &target("TrentService.ListKeys")), None);
        assert_eq!(form("s3", &target("ResourceGroupsTaggingAPI_20170126.GetResources")), None);
        for service in
            ["kms", "iam", "sts", "ec2", "tagging", "cloudtrail", "strongroom", "", "a b", "<x>"]
        {
            assert_eq!(form(service, &[]), None, "{service}");
        }
    }

    #[test]
    fn texts_in_cbor() {
        assert_eq!(cbor(&[("a", "bc")]), [0xa1, 0x61, b'a', 0x62, b'b', b'c']);
        let long = "x".repeat(300);
        let bytes = cbor(&[("a", &long)]);
        assert_eq!(bytes[..6], [0xa1, 0x61, b'a', 0x79, 1, 44]);
        assert_eq!(bytes.len(), 6 + 300);
    }
}
