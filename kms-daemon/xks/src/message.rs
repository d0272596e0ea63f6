//! The bodies of requests and responses.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hsm_protocol::command::cipher::MAX_PLAINTEXT;
use hsm_protocol::token::{IV_SIZE, TAG_SIZE};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};
use zeroize::Zeroizing;

use crate::ciphertext::{CIPHERTEXT_METADATA, CiphertextMetadata, Parts};
use crate::error::{ErrorName, XksError};
use crate::metadata::RequestMetadata;
use crate::path::Call;

/// Longest body of a request, in bytes: the longest plaintext, additional authenticated data and metadata
/// take less than half of it.
pub const MAX_BODY: usize = 64 * 1024;
/// Longest `additionalAuthenticatedData`, in bytes.
pub const MAX_AAD: usize = 8192;
/// The other length that an `initializationVector` can have, in bytes.
const LONG_IV: usize = 16;
/// The only `encryptionAlgorithm`.
const ALGORITHM: &str = "AES_GCM";
/// The only `ciphertextDataIntegrityValueAlgorithm`.
const INTEGRITY: &str = "SHA_256";

/// A request to encrypt.
#[derive(Debug)]
pub struct EncryptRequest {
    /// What AWS KMS tells.
    pub metadata: RequestMetadata,
    /// What to encrypt: 1 to [`MAX_PLAINTEXT`] bytes.
    pub plaintext: Zeroizing<Vec<u8>>,
    /// Additional authenticated data, at most [`MAX_AAD`] bytes.
    pub aad: Vec<u8>,
    /// Whether the response is to have an integrity value.
    pub wants_integrity: bool,
}

/// A request to decrypt.
#[derive(Debug)]
pub struct DecryptRequest {
    /// What AWS KMS tells.
    pub metadata: RequestMetadata,
    /// Additional authenticated data, at most [`MAX_AAD`] bytes.
    pub aad: Vec<u8>,
    ciphertext: Vec<u8>,
    iv: [u8; IV_SIZE],
    tag: [u8; TAG_SIZE],
    ciphertext_metadata: CiphertextMetadata,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Told {
    request_metadata: RequestMetadata,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Encrypt {
    request_metadata: RequestMetadata,
    plaintext: Secret,
    encryption_algorithm: String,
    #[serde(default)]
    additional_authenticated_data: Option<String>,
    #[serde(default)]
    ciphertext_data_integrity_value_algorithm: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Decrypt {
    request_metadata: RequestMetadata,
    ciphertext: String,
    ciphertext_metadata: String,
    initialization_vector: String,
    authentication_tag: String,
    encryption_algorithm: String,
    #[serde(default)]
    additional_authenticated_data: Option<String>,
}

/// The text of a plaintext.
struct Secret(Zeroizing<String>);

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|text| Self(Zeroizing::new(text)))
    }
}

/// Reads the body of `GetHealthStatus`.
///
/// # Errors
/// `ValidationException`; `UnsupportedOperationException` if the body is longer than [`MAX_BODY`].
pub fn read_health(body: &[u8]) -> Result<RequestMetadata, XksError> {
    parse::<Told>(body)?.request_metadata.check(Call::Health)
}

/// Reads the body of `GetKeyMetadata`.
///
/// # Errors
/// `ValidationException`; `UnsupportedOperationException` if the body is longer than [`MAX_BODY`].
pub fn read_metadata(body: &[u8]) -> Result<RequestMetadata, XksError> {
    parse::<Told>(body)?.request_metadata.check(Call::Metadata(""))
}

impl EncryptRequest {
    /// Reads the body of `Encrypt`.
    ///
    /// # Errors
    /// `ValidationException`; `UnsupportedOperationException` if the plaintext is longer than devices take.
    pub fn read(body: &[u8]) -> Result<Self, XksError> {
        let read = parse::<Encrypt>(body)?;
        let metadata = read.request_metadata.check(Call::Encrypt(""))?;
        check_algorithm(&read.encryption_algorithm)?;
        let wants_integrity = match read.ciphertext_data_integrity_value_algorithm.as_deref() {
            None => false,
            Some(INTEGRITY) => true,
            Some(_) => {
                let text = "ciphertextDataIntegrityValueAlgorithm must be SHA_256 or left out.";
                return Err(XksError::invalid(text));
            }
        };
        let plaintext = Zeroizing::new(decode("plaintext", &read.plaintext.0)?);
        check_length("plaintext", plaintext.len())?;
        let aad = aad(read.additional_authenticated_data.as_deref())?;
        Ok(Self { metadata, plaintext, aad, wants_integrity })
    }
}

impl DecryptRequest {
    /// Reads the body of `Decrypt`.
    ///
    /// # Errors
    /// `ValidationException`; `UnsupportedOperationException` if the ciphertext is longer than devices
    /// make; `InvalidCiphertextException` if one of its parts has a form that no ciphertext here has.
    pub fn read(body: &[u8]) -> Result<Self, XksError> {
        let read = parse::<Decrypt>(body)?;
        let metadata = read.request_metadata.check(Call::Decrypt(""))?;
        check_algorithm(&read.encryption_algorithm)?;
        let ciphertext = decode("ciphertext", &read.ciphertext)?;
        check_length("ciphertext", ciphertext.len())?;
        let aad = aad(read.additional_authenticated_data.as_deref())?;
        let iv = decode("initializationVector", &read.initialization_vector)?;
        if ![IV_SIZE, LONG_IV].contains(&iv.len()) {
            return Err(XksError::invalid("initializationVector must have 12 or 16 bytes."));
        }
        let tag = decode("authenticationTag", &read.authentication_tag)?;
        let tag = <[u8; TAG_SIZE]>::try_from(tag)
            .map_err(|_| XksError::invalid("authenticationTag must have 16 bytes."))?;
        let of_ciphertext = decode("ciphertextMetadata", &read.ciphertext_metadata)?;
        if !(1..=CIPHERTEXT_METADATA).contains(&of_ciphertext.len()) {
            return Err(XksError::invalid("ciphertextMetadata must have 1 to 20 bytes."));
        }
        let iv = iv.try_into().map_err(|_| XksError::ciphertext())?;
        let ciphertext_metadata =
            CiphertextMetadata::parse(&of_ciphertext).ok_or_else(XksError::ciphertext)?;
        Ok(Self { metadata, aad, ciphertext, iv, tag, ciphertext_metadata })
    }

    /// Returns the parts of the ciphertext.
    #[must_use]
    pub const fn parts(&self) -> Parts<'_> {
        Parts {
            ciphertext: self.ciphertext.as_slice(),
            iv: &self.iv,
            tag: &self.tag,
            metadata: self.ciphertext_metadata,
        }
    }
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, XksError> {
    if body.len() > MAX_BODY {
        let text = "The body is longer than 65,536 bytes.";
        return Err(XksError::new(ErrorName::UnsupportedOperation, text));
    }
    // The parser's own text may quote a value, which may be a secret.
    serde_json::from_slice(body).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        let what = match error.is_data() {
            true => "lacks a required member, has one twice, or has one of a wrong type",
            false => "is not JSON",
        };
        XksError::invalid(format!("The body {what}, at line {line}, column {column}."))
    })
}

fn decode(name: &str, text: &str) -> Result<Vec<u8>, XksError> {
    BASE64.decode(text).map_err(|_| XksError::invalid(format!("{name} must be Base64.")))
}

fn check_algorithm(name: &str) -> Result<(), XksError> {
    match name {
        ALGORITHM => Ok(()),
        _ => Err(XksError::invalid("encryptionAlgorithm must be AES_GCM.")),
    }
}

fn check_length(name: &str, length: usize) -> Result<(), XksError> {
    match length {
        0 => Err(XksError::invalid(format!("{name} must not be empty."))),
        1..=MAX_PLAINTEXT => Ok(()),
        _ => {
            let text = format!("{name} has more than {MAX_PLAINTEXT} bytes.");
            Err(XksError::new(ErrorName::UnsupportedOperation, text))
        }
    }
}

fn aad(text: Option<&str>) -> Result<Vec<u8>, XksError> {
    let aad = decode("additionalAuthenticatedData", text.unwrap_or_default())?;
    match aad.len() {
        ..=MAX_AAD => Ok(aad),
        _ => Err(XksError::invalid("additionalAuthenticatedData has more than 8,192 bytes.")),
    }
}

/// How a device is, as `GetHealthStatus` tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum HealthStatus {
    /// It serves.
    Active,
    /// It does not serve now, and may again.
    Degraded,
    /// It does not serve.
    Unavailable,
}

/// A device, as `GetHealthStatus` tells of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FleetMember {
    /// Its name.
    pub id: String,
    /// Its kind.
    pub model: String,
    /// How it is.
    pub health_status: HealthStatus,
}

/// The answer of `GetHealthStatus`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fleet {
    /// The model of the proxy, with its version.
    pub proxy: String,
    /// The devices, one at least.
    pub members: Vec<FleetMember>,
}

/// Most devices in one answer: the API takes up to ten.
const MAX_FLEET: usize = 10;
const VENDOR: &str = "Strongroom";

/// Writes the response of `GetHealthStatus`.
///
/// # Errors
/// `InternalException` if it cannot be written.
pub fn write_health(fleet: &Fleet) -> Result<Zeroizing<Vec<u8>>, XksError> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Health<'f> {
        xks_proxy_fleet_size: u32,
        xks_proxy_vendor: &'static str,
        xks_proxy_model: &'f str,
        ekm_vendor: &'static str,
        ekm_fleet_details: &'f [FleetMember],
    }
    let told = fleet.members.len().min(MAX_FLEET);
    write(&Health {
        xks_proxy_fleet_size: 1,
        xks_proxy_vendor: VENDOR,
        xks_proxy_model: &fleet.proxy,
        ekm_vendor: VENDOR,
        ekm_fleet_details: fleet.members.get(..told).unwrap_or_default(),
    })
}

/// Writes the response of `GetKeyMetadata` about a symmetric key for encryption.
///
/// # Errors
/// `InternalException` if it cannot be written.
pub fn write_metadata(is_enabled: bool) -> Result<Zeroizing<Vec<u8>>, XksError> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Metadata {
        key_spec: &'static str,
        key_usage: [&'static str; 2],
        key_status: &'static str,
    }
    write(&Metadata {
        key_spec: "AES_256",
        key_usage: ["ENCRYPT", "DECRYPT"],
        key_status: if is_enabled { "ENABLED" } else { "DISABLED" },
    })
}

/// Writes the response of `Encrypt`.
///
/// # Errors
/// `InternalException` if it cannot be written.
pub fn write_encrypted(
    parts: &Parts<'_>,
    integrity: Option<[u8; 32]>,
) -> Result<Zeroizing<Vec<u8>>, XksError> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Encrypted {
        ciphertext: String,
        initialization_vector: String,
        authentication_tag: String,
        ciphertext_metadata: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        ciphertext_data_integrity_value: Option<String>,
    }
    write(&Encrypted {
        ciphertext: BASE64.encode(parts.ciphertext),
        initialization_vector: BASE64.encode(parts.iv),
        authentication_tag: BASE64.encode(parts.tag),
        ciphertext_metadata: BASE64.encode(parts.metadata.to_bytes()),
        ciphertext_data_integrity_value: integrity.map(|value| BASE64.encode(value)),
    })
}

/// Writes the response of `Decrypt`.
///
/// # Errors
/// `InternalException` if it cannot be written.
pub fn write_decrypted(plaintext: &[u8]) -> Result<Zeroizing<Vec<u8>>, XksError> {
    #[derive(Serialize)]
    struct Decrypted<'p> {
        plaintext: Cow<'p, str>,
    }
    let text = Zeroizing::new(BASE64.encode(plaintext));
    write(&Decrypted { plaintext: Cow::Borrowed(&text) })
}

fn write<T: Serialize>(response: &T) -> Result<Zeroizing<Vec<u8>>, XksError> {
    let mut out = Zeroizing::new(Vec::with_capacity(1024));
    let written = serde_json::to_writer(&mut *out, response);
    written.map_err(|_| XksError::new(ErrorName::Internal, "The response cannot be written."))?;
    Ok(out)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn told() -> Value {
        json!({
            "awsPrincipalArn": "arn:aws:iam::111122223333:user/ana",
            "kmsOperation": "Encrypt",
            "kmsKeyArn": "arn:aws:kms:us-east-1:111122223333:key/1",
            "kmsRequestId": "4112f4d6-db54-4af4-ae30-c55a22a8dfae",
        })
    }

    fn to_encrypt() -> Value {
        json!({
            "requestMetadata": told(),
            "plaintext": "SGVsbG8gV29ybGQh",
            "encryptionAlgorithm": "AES_GCM",
            "additionalAuthenticatedData": "cHJvamVjdD1uaWxl",
            "ciphertextDataIntegrityValueAlgorithm": "SHA_256",
        })
    }

    fn to_decrypt() -> Value {
        json!({
            "requestMetadata": told(),
            "ciphertext": "ghxkK1txeDNn3q8Y",
            "ciphertextMetadata": BASE64.encode([1; 20]),
            "initializationVector": "HMrlRw85cAJUd5Ax",
            "authenticationTag": "vBxN2ncH1oEkR8WVXpmyYQ==",
            "encryptionAlgorithm": "AES_GCM",
        })
    }

    fn encrypt(body: &Value) -> Result<EncryptRequest, ErrorName> {
        EncryptRequest::read(body.to_string().as_bytes()).map_err(|error| error.name())
    }

    fn decrypt(body: &Value) -> Result<DecryptRequest, ErrorName> {
        DecryptRequest::read(body.to_string().as_bytes()).map_err(|error| error.name())
    }

    /// The same with another value at a path; without a value there, if it is null.
    fn with(mut body: Value, path: &str, value: Value) -> Value {
        let (parent, member) = path.rsplit_once('/').unwrap_or(("", path));
        let parent = if parent.is_empty() {
            &mut body
        } else {
            body.pointer_mut(&format!("/{parent}")).unwrap()
        };
        let members = parent.as_object_mut().unwrap();
        match value {
            Value::Null => drop(members.remove(member)),
            value => drop(members.insert(member.to_owned(), value)),
        }
        body
    }

    #[test]
    fn whole_requests_are_read() {
        let read = encrypt(&to_encrypt()).unwrap();
        assert_eq!(
            (&read.plaintext[..], &read.aad[..]),
            (&b"Hello World!"[..], &b"project=nile"[..])
        );
        assert!(read.wants_integrity);
        assert_eq!(read.metadata.kms_request_id, "4112f4d6-db54-4af4-ae30-c55a22a8dfae");
        let read = decrypt(&to_decrypt()).unwrap();
        assert_eq!((read.parts().ciphertext.len(), read.aad.len()), (12, 0));
        let health =
            json!({ "requestMetadata": { "kmsOperation": "KmsHealthCheck", "kmsRequestId": "x" } });
        assert!(read_health(health.to_string().as_bytes()).is_ok());
        assert!(read_metadata(health.to_string().as_bytes()).is_err(), "no principal");
        let key =
            with(json!({ "requestMetadata": told() }), "requestMetadata/kmsKeyArn", Value::Null);
        assert!(read_metadata(key.to_string().as_bytes()).is_ok(), "CreateKey has no key yet");
    }

    #[test]
    fn later_versions_may_tell_more() {
        let body = with(to_encrypt(), "requestMetadata/kmsOperation", json!("FutureOperation"));
        let body = with(body, "requestMetadata/kmsFuture", json!(1));
        assert!(encrypt(&with(body, "future", json!({}))).is_ok());
    }

    #[test]
    fn what_is_missing_or_too_long_is_refused() {
        let (long, arn) = ("x".repeat(257), "x".repeat(2049));
        for (path, value) in [
            ("requestMetadata", Value::Null),
            ("requestMetadata", json!([])),
            ("requestMetadata/kmsRequestId", Value::Null),
            ("requestMetadata/kmsRequestId", json!("")),
            ("requestMetadata/kmsRequestId", json!(7)),
            ("requestMetadata/kmsRequestId", json!(long)),
            ("requestMetadata/kmsOperation", Value::Null),
            ("requestMetadata/awsPrincipalArn", Value::Null),
            ("requestMetadata/awsPrincipalArn", json!(arn)),
            ("requestMetadata/kmsKeyArn", Value::Null),
            ("requestMetadata/kmsViaService", json!(long)),
            ("requestMetadata/awsSourceVpc", json!("")),
            ("encryptionAlgorithm", Value::Null),
            ("encryptionAlgorithm", json!("AES_CBC")),
            ("additionalAuthenticatedData", json!("!")),
            ("additionalAuthenticatedData", json!(BASE64.encode([0; MAX_AAD + 1]))),
        ] {
            for refused in [
                encrypt(&with(to_encrypt(), path, value.clone())).map(drop),
                decrypt(&with(to_decrypt(), path, value.clone())).map(drop),
            ] {
                assert_eq!(refused, Err(ErrorName::Validation), "{path}: {value}");
            }
        }
        for (path, value) in [
            ("plaintext", Value::Null),
            ("plaintext", json!("")),
            ("plaintext", json!("AAA")),
            ("ciphertextDataIntegrityValueAlgorithm", json!("SHA_512")),
        ] {
            let refused = encrypt(&with(to_encrypt(), path, value.clone())).map(drop);
            assert_eq!(refused, Err(ErrorName::Validation), "{path}: {value}");
        }
        for (path, value) in [
            ("ciphertext", Value::Null),
            ("ciphertext", json!("")),
            ("ciphertextMetadata", Value::Null),
            ("ciphertextMetadata", json!("")),
            ("ciphertextMetadata", json!(BASE64.encode([1; 21]))),
            ("initializationVector", json!(BASE64.encode([1; 11]))),
            ("authenticationTag", json!(BASE64.encode([1; 15]))),
        ] {
            let refused = decrypt(&with(to_decrypt(), path, value.clone())).map(drop);
            assert_eq!(refused, Err(ErrorName::Validation), "{path}: {value}");
        }
    }

    #[test]
    fn what_nobody_here_has_encrypted_is_refused_as_any_ciphertext() {
        for (path, value) in [
            ("ciphertextMetadata", json!(BASE64.encode([1; 19]))),
            ("ciphertextMetadata", json!(BASE64.encode([2; 20]))),
            ("initializationVector", json!(BASE64.encode([1; 16]))),
        ] {
            let refused = decrypt(&with(to_decrypt(), path, value)).map(drop);
            assert_eq!(refused, Err(ErrorName::InvalidCiphertext), "{path}");
        }
    }

    #[test]
    fn sizes_up_to_the_limits_are_taken() {
        let aad = json!(BASE64.encode([0; MAX_AAD]));
        for (length, taken) in [(4300, true), (MAX_PLAINTEXT, true), (MAX_PLAINTEXT + 1, false)] {
            let text = json!(BASE64.encode(vec![0; length]));
            let body = with(to_encrypt(), "plaintext", text.clone());
            let body = with(body, "additionalAuthenticatedData", aad.clone());
            assert_eq!(encrypt(&body).is_ok(), taken, "{length}");
            let body = with(to_decrypt(), "ciphertext", text);
            assert_eq!(decrypt(&body).is_ok(), taken, "{length}");
        }
        let long =
            with(to_encrypt(), "plaintext", json!(BASE64.encode(vec![0; MAX_PLAINTEXT + 1])));
        assert_eq!(encrypt(&long).map(drop), Err(ErrorName::UnsupportedOperation));
        let body = with(to_encrypt(), "x", json!("x".repeat(MAX_BODY)));
        assert_eq!(encrypt(&body).map(drop), Err(ErrorName::UnsupportedOperation));
    }

    #[test]
    fn refusals_repeat_no_secret() {
        for body in [
            &br#"{"plaintext": "dG9wLXNlY3JldA==", "plaintext": "dG9wLXNlY3JldA=="}"#[..],
            br#"{"plaintext": "dG9wLXNlY3JldA==", "requestMetadata": "dG9wLXNlY3JldA=="}"#,
            br#"{"plaintext": "dG9wLXNlY3JldA=="#,
        ] {
            let error = EncryptRequest::read(body).unwrap_err();
            assert!(!error.message().contains("dG9w"), "{error}");
        }
    }

    #[test]
    fn responses_are_those_of_the_api() {
        let read = |body: Zeroizing<Vec<u8>>| serde_json::from_slice::<Value>(&body).unwrap();
        let metadata = json!({
            "keySpec": "AES_256", "keyUsage": ["ENCRYPT", "DECRYPT"], "keyStatus": "DISABLED",
        });
        assert_eq!(read(write_metadata(false).unwrap()), metadata);
        assert_eq!(read(write_decrypted(b"x").unwrap()), json!({ "plaintext": "eA==" }));
        let request = decrypt(&to_decrypt()).unwrap();
        let response = read(write_encrypted(&request.parts(), None).unwrap());
        assert_eq!(response.as_object().unwrap().len(), 4);
        assert_eq!(response["initializationVector"], to_decrypt()["initializationVector"]);
        let response = read(write_encrypted(&request.parts(), Some([0; 32])).unwrap());
        assert!(response["ciphertextDataIntegrityValue"].is_string());
        let member = |id: usize| FleetMember {
            id: id.to_string(),
            model: "host".to_owned(),
            health_status: HealthStatus::Active,
        };
        let fleet = Fleet { proxy: "kmsd".to_owned(), members: (0..12).map(member).collect() };
        let response = read(write_health(&fleet).unwrap());
        assert_eq!(response["ekmFleetDetails"].as_array().unwrap().len(), 10);
        assert_eq!(response["ekmFleetDetails"][0]["healthStatus"], "ACTIVE");
    }

    proptest! {
        #[test]
        fn no_body_makes_reading_panic(body in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = (EncryptRequest::read(&body), DecryptRequest::read(&body));
            let _ = (read_health(&body), read_metadata(&body));
        }
    }
}
