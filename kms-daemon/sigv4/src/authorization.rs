//! The `Authorization` header of Signature Version 4.

use hyper::HeaderMap;
use hyper::header::AUTHORIZATION;

use super::{ALGORITHM, bounded, incomplete};
use kms_base::error::{Exception, KmsError};

/// `Authorization: AWS4-HMAC-SHA256 Credential=…, SignedHeaders=…, Signature=…`, taken apart.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Authorization<'a> {
    pub(super) scope: Scope<'a>,
    /// Lower-case names, sorted, each once.
    pub(super) signed_headers: Vec<&'a str>,
    pub(super) signature: [u8; 32],
}

/// The five elements of `Credential`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Scope<'a> {
    pub(super) access_key: &'a str,
    pub(super) date: &'a str,
    pub(super) region: &'a str,
    pub(super) service: &'a str,
    pub(super) terminator: &'a str,
}

impl<'a> Authorization<'a> {
    pub(super) fn from_headers(headers: &'a HeaderMap) -> Result<Self, KmsError> {
        let mut values = headers.get_all(AUTHORIZATION).iter();
        let Some(value) = values.next() else {
            return Err(KmsError::new(
                Exception::MissingAuthenticationToken,
                "Missing Authentication Token",
            ));
        };
        if values.next().is_some() {
            return Err(incomplete("The request must have exactly one Authorization header."));
        }
        let value = value
            .to_str()
            .map_err(|_| incomplete("The Authorization header contains invalid characters."))?;
        Self::parse(value, has_date(headers))
    }

    fn parse(value: &'a str, has_date: bool) -> Result<Self, KmsError> {
        let (algorithm, parameters) = value.trim().split_once(' ').unwrap_or((value.trim(), ""));
        if algorithm != ALGORITHM {
            let algorithm = bounded(algorithm);
            return Err(incomplete(format!("Unsupported AWS 'algorithm': '{algorithm}'.")));
        }
        let Parameters { credential, signed_headers, signature } = Parameters::parse(parameters)?;
        let mut missing = Vec::new();
        for (name, value) in [
            ("Credential", credential),
            ("Signature", signature),
            ("SignedHeaders", signed_headers),
        ] {
            if value.is_none_or(str::is_empty) {
                missing.push(format!("Authorization header requires '{name}' parameter."));
            }
        }
        if !has_date {
            missing.push(
                "Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' \
                 header."
                    .to_owned(),
            );
        }
        match (credential, signed_headers, signature) {
            (Some(credential), Some(signed_headers), Some(signature)) if missing.is_empty() => {
                Ok(Self {
                    scope: Scope::parse(credential)?,
                    signed_headers: parse_signed_headers(signed_headers)?,
                    signature: parse_signature(signature)?,
                })
            }
            _ => Err(incomplete(missing.join(" "))),
        }
    }

    pub(super) fn signs(&self, header: &str) -> bool {
        self.signed_headers.binary_search(&header).is_ok()
    }
}

#[derive(Default)]
struct Parameters<'a> {
    credential: Option<&'a str>,
    signed_headers: Option<&'a str>,
    signature: Option<&'a str>,
}

impl<'a> Parameters<'a> {
    fn parse(text: &'a str) -> Result<Self, KmsError> {
        let mut found = Self::default();
        for pair in text.split(',').map(str::trim).filter(|pair| !pair.is_empty()) {
            let Some((name, value)) = pair.split_once('=') else {
                let pair = bounded(pair);
                return Err(incomplete(format!(
                    "'{pair}' not a valid key=value pair (missing equal-sign) in Authorization \
                     header."
                )));
            };
            let place = match name {
                "Credential" => &mut found.credential,
                "SignedHeaders" => &mut found.signed_headers,
                "Signature" => &mut found.signature,
                // Unknown parameters are not covered by the signature and mean nothing.
                _ => continue,
            };
            if place.replace(value).is_some() {
                return Err(incomplete(format!("Authorization header has two '{name}'.")));
            }
        }
        Ok(found)
    }
}

impl<'a> Scope<'a> {
    fn parse(credential: &'a str) -> Result<Self, KmsError> {
        let mut parts = credential.split('/');
        let mut next = || parts.next();
        match (next(), next(), next(), next(), next(), next()) {
            (Some(access_key), Some(date), Some(region), Some(service), Some(terminator), None) => {
                Ok(Self { access_key, date, region, service, terminator })
            }
            _ => Err(incomplete(format!(
                "Credential must have exactly 5 slash-delimited elements, e.g. \
                 keyid/date/region/service/term, got '{}'",
                bounded(credential)
            ))),
        }
    }
}

fn parse_signed_headers(list: &str) -> Result<Vec<&str>, KmsError> {
    let mut names: Vec<&str> = list.split(';').collect();
    names.sort_unstable();
    let clean = |name: &&str| !name.is_empty() && !name.bytes().any(|c| c.is_ascii_uppercase());
    let distinct = names.windows(2).all(|pair| pair[0] != pair[1]);
    if !distinct || !names.iter().all(clean) {
        return Err(incomplete(
            "'SignedHeaders' must be a list of distinct lower-case header names separated by \
             semicolons.",
        ));
    }
    Ok(names)
}

fn parse_signature(text: &str) -> Result<[u8; 32], KmsError> {
    let nibble = |digit: u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    };
    let mut signature = [0; 32];
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if pairs.len() != signature.len() || !rest.is_empty() {
        return Err(incomplete("'Signature' must be 64 lower-case hexadecimal digits."));
    }
    for (byte, [high, low]) in signature.iter_mut().zip(pairs) {
        let (Some(high), Some(low)) = (nibble(*high), nibble(*low)) else {
            return Err(incomplete("'Signature' must be 64 lower-case hexadecimal digits."));
        };
        *byte = high << 4 | low;
    }
    Ok(signature)
}

fn has_date(headers: &HeaderMap) -> bool {
    headers.contains_key("x-amz-date") || headers.contains_key(hyper::header::DATE)
}
