//! The other side of the API: requests to a proxy, and what its responses may be.
//!
//! A proxy is somebody else's. Its responses are read strictly: lengths are those of the API, what was asked
//! for is there, and what is there was asked for. Members that the API does not have are ignored, as later
//! versions may add some; a member that is there twice is not one of the API.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hsm_protocol::token::TAG_SIZE;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::error::ErrorName;
use crate::metadata::RequestMetadata;
use crate::outer::{IV_LENGTHS, Outer};

/// Longest body of a response that is read, in bytes. The longest valid one takes less than half of it.
pub const MAX_RESPONSE: usize = 16 * 1024;
/// Longest `ciphertextMetadata`, in bytes.
pub(crate) const MAX_METADATA: usize = 20;
/// Most entries of `ekmFleetDetails`, and of `keyUsage`.
const MAX_ENTRIES: usize = 10;

/// Why a response is not one of the API. The text has nothing of the response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unreadable(pub &'static str);

/// What a proxy has encrypted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encrypted {
    /// As long as the plaintext.
    pub ciphertext: Vec<u8>,
    /// `initializationVector`, 12 or 16 bytes.
    pub iv: Vec<u8>,
    /// `authenticationTag`.
    pub tag: [u8; TAG_SIZE],
    /// `ciphertextMetadata`, 0 to 20 bytes.
    pub metadata: Vec<u8>,
}

/// What a proxy says of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyFacts {
    /// Whether it is an AES key of 256 bits.
    pub is_aes_256: bool,
    /// Whether it encrypts and decrypts.
    pub is_for_both: bool,
    /// Whether it is enabled.
    pub is_enabled: bool,
}

/// How many key managers behind a proxy are in each state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Health {
    /// `ACTIVE`.
    pub active: u32,
    /// `DEGRADED`.
    pub degraded: u32,
    /// `UNAVAILABLE`.
    pub unavailable: u32,
}

impl Health {
    /// Whether a key manager serves.
    #[must_use]
    pub const fn is_served(&self) -> bool {
        self.active + self.degraded > 0
    }
}

/// Returns the body of `GetHealthStatus` and `GetKeyMetadata`.
#[must_use]
pub fn ask(metadata: &RequestMetadata) -> Vec<u8> {
    write(metadata, Map::new())
}

/// Returns the body of `Encrypt`. The response is to have an integrity value.
#[must_use]
pub fn ask_encrypt(metadata: &RequestMetadata, plaintext: &[u8], aad: &[u8]) -> Vec<u8> {
    let mut members = with_aad(aad);
    members.insert("plaintext".to_owned(), BASE64.encode(plaintext).into());
    members.insert("ciphertextDataIntegrityValueAlgorithm".to_owned(), "SHA_256".into());
    write(metadata, members)
}

/// Returns the body of `Decrypt`.
#[must_use]
pub fn ask_decrypt(metadata: &RequestMetadata, outer: &Outer<'_>, aad: &[u8]) -> Vec<u8> {
    let mut members = with_aad(aad);
    let mut add = |name: &str, value: &[u8]| {
        members.insert(name.to_owned(), BASE64.encode(value).into());
    };
    add("ciphertext", outer.ciphertext);
    add("initializationVector", outer.iv);
    add("authenticationTag", outer.tag);
    if !outer.metadata.is_empty() {
        add("ciphertextMetadata", outer.metadata);
    }
    write(metadata, members)
}

fn with_aad(aad: &[u8]) -> Map<String, Value> {
    let mut members = Map::new();
    members.insert("encryptionAlgorithm".to_owned(), "AES_GCM".into());
    if !aad.is_empty() {
        members.insert("additionalAuthenticatedData".to_owned(), BASE64.encode(aad).into());
    }
    members
}

fn write(metadata: &RequestMetadata, mut members: Map<String, Value>) -> Vec<u8> {
    let mut told = metadata.recorded();
    told.retain(|_, value| value.as_str().is_some_and(|text| !text.is_empty()));
    members.insert("requestMetadata".to_owned(), Value::Object(told));
    json!(members).to_string().into_bytes()
}

/// Reads the response of `GetHealthStatus`.
///
/// # Errors
/// [`Unreadable`].
pub fn read_fleet(body: &[u8]) -> Result<Health, Unreadable> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Wire {
        xks_proxy_fleet_size: u32,
        #[serde(rename = "xksProxyVendor")]
        _proxy_vendor: String,
        #[serde(rename = "xksProxyModel")]
        _proxy_model: String,
        #[serde(rename = "ekmVendor")]
        _vendor: String,
        ekm_fleet_details: Vec<Member>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Member {
        #[serde(rename = "id")]
        _id: String,
        #[serde(rename = "model")]
        _model: String,
        health_status: String,
    }
    let read = parse::<Wire>(body)?;
    if read.xks_proxy_fleet_size == 0 {
        return Err(Unreadable("xksProxyFleetSize is 0"));
    }
    if !(1..=MAX_ENTRIES).contains(&read.ekm_fleet_details.len()) {
        return Err(Unreadable("ekmFleetDetails does not have 1 to 10 entries"));
    }
    let mut health = Health::default();
    for member in &read.ekm_fleet_details {
        match member.health_status.as_str() {
            "ACTIVE" => health.active += 1,
            "DEGRADED" => health.degraded += 1,
            "UNAVAILABLE" => health.unavailable += 1,
            _ => return Err(Unreadable("a healthStatus is not one of the API")),
        }
    }
    Ok(health)
}

/// Reads the response of `GetKeyMetadata`.
///
/// # Errors
/// [`Unreadable`].
pub fn read_key(body: &[u8]) -> Result<KeyFacts, Unreadable> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Wire {
        key_spec: String,
        key_usage: Vec<String>,
        key_status: String,
    }
    let read = parse::<Wire>(body)?;
    if read.key_usage.len() > MAX_ENTRIES {
        return Err(Unreadable("keyUsage has more than 10 entries"));
    }
    let has = |usage: &str| read.key_usage.iter().any(|it| it == usage);
    let is_enabled = match read.key_status.as_str() {
        "ENABLED" => true,
        "DISABLED" => false,
        _ => return Err(Unreadable("keyStatus is not one of the API")),
    };
    Ok(KeyFacts {
        is_aes_256: read.key_spec == "AES_256",
        is_for_both: has("ENCRYPT") && has("DECRYPT"),
        is_enabled,
    })
}

/// Reads the response to a body of [`ask_encrypt`] with a plaintext of `length` bytes and this additional
/// authenticated data.
///
/// # Errors
/// [`Unreadable`], also if the integrity value is missing or is not that of the parts.
pub fn read_encrypted(body: &[u8], length: usize, aad: &[u8]) -> Result<Encrypted, Unreadable> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Wire {
        ciphertext: String,
        initialization_vector: String,
        authentication_tag: String,
        #[serde(default)]
        ciphertext_metadata: Option<String>,
        ciphertext_data_integrity_value: String,
    }
    let read = parse::<Wire>(body)?;
    let ciphertext = decode(&read.ciphertext)?;
    if ciphertext.len() != length {
        return Err(Unreadable("ciphertext is not as long as the plaintext"));
    }
    let iv = decode(&read.initialization_vector)?;
    if !IV_LENGTHS.contains(&iv.len()) {
        return Err(Unreadable("initializationVector has neither 12 nor 16 bytes"));
    }
    let tag = decode(&read.authentication_tag)?;
    let tag: [u8; TAG_SIZE] =
        tag.try_into().map_err(|_| Unreadable("authenticationTag does not have 16 bytes"))?;
    let metadata = decode(read.ciphertext_metadata.as_deref().unwrap_or_default())?;
    if metadata.len() > MAX_METADATA {
        return Err(Unreadable("ciphertextMetadata has more than 20 bytes"));
    }
    let digest = [aad, &metadata, &iv, &ciphertext, tag.as_slice()]
        .into_iter()
        .fold(Sha256::new(), |digest, part| digest.chain_update(part));
    if decode(&read.ciphertext_data_integrity_value)? != digest.finalize().as_slice() {
        return Err(Unreadable("ciphertextDataIntegrityValue is not that of the response"));
    }
    Ok(Encrypted { ciphertext, iv, tag, metadata })
}

/// Reads the response of `Decrypt` to a ciphertext of `length` bytes.
///
/// # Errors
/// [`Unreadable`].
pub fn read_decrypted(body: &[u8], length: usize) -> Result<Vec<u8>, Unreadable> {
    #[derive(Deserialize)]
    struct Wire {
        plaintext: String,
    }
    let plaintext = decode(&parse::<Wire>(body)?.plaintext)?;
    match plaintext.len() == length {
        true => Ok(plaintext),
        false => Err(Unreadable("plaintext is not as long as the ciphertext")),
    }
}

/// Reads the refusal of a proxy. AWS KMS decides by the name, whatever the status is. The message is for
/// people, and may have anything in it: only its printable ASCII characters are returned, 511 at most.
///
/// # Errors
/// [`Unreadable`] if it has no name of the API.
pub fn read_refusal(body: &[u8]) -> Result<(ErrorName, String), Unreadable> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Wire {
        error_name: String,
        #[serde(default)]
        error_message: Option<String>,
    }
    let read = parse::<Wire>(body)?;
    let found = ErrorName::ALL.iter().find(|name| name.text() == read.error_name);
    let name = found.ok_or(Unreadable("errorName is not one of the API"))?;
    let message = read.error_message.unwrap_or_default();
    let printable = message.chars().filter(|c| c.is_ascii_graphic() || *c == ' ');
    Ok((*name, printable.take(511).collect()))
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Unreadable> {
    if body.len() > MAX_RESPONSE {
        return Err(Unreadable("the body is too long"));
    }
    if !body.trim_ascii_start().starts_with(b"{") {
        return Err(Unreadable("the body is not a JSON object"));
    }
    serde_json::from_slice(body).map_err(|error| match error.is_data() {
        true => Unreadable("a member is missing, is there twice, or has another type"),
        false => Unreadable("the body is not JSON"),
    })
}

fn decode(text: &str) -> Result<Vec<u8>, Unreadable> {
    BASE64.decode(text).map_err(|_| Unreadable("a member is not Base64"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{DecryptRequest, EncryptRequest, Parts, read_health, read_metadata};

    fn told() -> RequestMetadata {
        RequestMetadata {
            aws_principal_arn: Some("arn:aws:iam::111122223333:role/app".to_owned()),
            kms_operation: "Encrypt".to_owned(),
            kms_key_arn: Some("arn:aws:kms:us-east-1:111122223333:key/1".to_owned()),
            kms_request_id: "id-1".to_owned(),
            ..RequestMetadata::default()
        }
    }

    /// The vector of the specification of the API.
    fn encrypted() -> Value {
        json!({
            "ciphertext": BASE64.encode([0x82, 0x1c, 0x64, 0x2b, 0x5b, 0x71, 0x78, 0x33, 0x67, 0xde,
                0xaf, 0x18]),
            "initializationVector": BASE64.encode([0x1c, 0xca, 0xe5, 0x47, 0x0f, 0x39, 0x70, 0x02,
                0x54, 0x77, 0x90, 0x31]),
            "authenticationTag": BASE64.encode([0xbc, 0x1c, 0x4d, 0xda, 0x77, 0x07, 0xd6, 0x81,
                0x24, 0x47, 0xc5, 0x95, 0x5e, 0x99, 0xb2, 0x61]),
            "ciphertextMetadata": BASE64.encode("key_version=1"),
            "ciphertextDataIntegrityValue": "qHA/ImC9h5HsLRXqCyPmWgYx7tzyoTplzILbP0fPXsc=",
        })
    }

    const AAD: &[u8] = b"project=nile,department=marketing";

    fn with(mut body: Value, member: &str, value: Value) -> Vec<u8> {
        body[member] = value;
        body.to_string().into_bytes()
    }

    #[test]
    fn the_proxy_of_this_installation_reads_what_is_asked() {
        assert!(read_health(&ask(&told())).is_ok() && read_metadata(&ask(&told())).is_ok());
        let request = EncryptRequest::read(&ask_encrypt(&told(), b"inner", AAD)).unwrap();
        assert!(request.wants_integrity && request.aad == AAD && **request.plaintext == *b"inner");
        assert_eq!(request.metadata, told());
        let request = EncryptRequest::read(&ask_encrypt(&told(), b"inner", b"")).unwrap();
        assert!(request.aad.is_empty());
        let iv = [2; 12];
        let metadata = [&[1][..], &[3; 19]].concat();
        let outer = Outer {
            key: hsm_protocol::KeyId::single_region([7; 16]),
            material: hsm_protocol::MaterialId([8; 32]),
            metadata: &metadata,
            iv: &iv,
            tag: &[4; 16],
            ciphertext: b"sealed",
        };
        let request = DecryptRequest::read(&ask_decrypt(&told(), &outer, AAD)).unwrap();
        let Parts { ciphertext, iv, tag, metadata: of_request } = request.parts();
        assert_eq!((ciphertext, iv, tag), (&b"sealed"[..], &[2; 12], &[4; 16]));
        assert_eq!((of_request.to_bytes().as_slice(), request.aad.as_slice()), (&*metadata, AAD));
    }

    #[test]
    fn the_vector_of_the_specification_is_read() {
        let body = encrypted().to_string();
        let read = read_encrypted(body.as_bytes(), 12, AAD).unwrap();
        assert_eq!((read.metadata.as_slice(), read.iv.len()), (&b"key_version=1"[..], 12));
        assert!(read_encrypted(body.as_bytes(), 12, b"").is_err(), "other data");
        assert!(read_encrypted(body.as_bytes(), 13, AAD).is_err(), "another length");
    }

    #[test]
    fn what_is_not_of_the_api_is_refused() {
        let refused = |body: &[u8]| read_encrypted(body, 12, AAD).unwrap_err().0;
        for (member, value, word) in [
            ("ciphertext", json!(BASE64.encode([0; 11])), "as long"),
            ("ciphertext", json!("*"), "Base64"),
            ("ciphertext", json!(7), "type"),
            ("initializationVector", json!(BASE64.encode([0; 13])), "12 nor 16"),
            ("authenticationTag", json!(BASE64.encode([0; 15])), "16 bytes"),
            ("authenticationTag", json!(BASE64.encode([0; 16])), "IntegrityValue"),
            ("ciphertextMetadata", json!(BASE64.encode([0; 21])), "20 bytes"),
            ("ciphertextMetadata", json!(null), "IntegrityValue"),
            ("ciphertextDataIntegrityValue", json!(null), "type"),
            ("ciphertextDataIntegrityValue", json!(BASE64.encode([0; 32])), "IntegrityValue"),
        ] {
            let text = refused(&with(encrypted(), member, value));
            assert!(text.contains(word), "{member}: {text}");
        }
        let twice = encrypted().to_string().replacen('{', r#"{"ciphertext":"","#, 1);
        assert!(refused(twice.as_bytes()).contains("twice"));
        assert!(refused(b"[1]").contains("object") && refused(b"{\"ciphertext\"").contains("JSON"));
        assert!(refused(&with(encrypted(), "x", json!("x".repeat(MAX_RESPONSE)))).contains("long"));
        assert!(read_encrypted(&with(encrypted(), "later", json!(1)), 12, AAD).is_ok());

        assert_eq!(read_decrypted(br#"{"plaintext":"eA=="}"#, 1), Ok(b"x".to_vec()));
        assert!(read_decrypted(br#"{"plaintext":"eA=="}"#, 2).is_err());
        assert!(read_decrypted(b"{}", 0).is_err());
    }

    #[test]
    fn health_and_keys_are_read() {
        let member = |status: &str| json!({ "id": "1", "model": "m", "healthStatus": status });
        let fleet = |members: Vec<Value>| {
            json!({
                "xksProxyFleetSize": 1, "xksProxyVendor": "v", "xksProxyModel": "m",
                "ekmVendor": "v", "ekmFleetDetails": members,
            })
        };
        let read = |body: Value| read_fleet(body.to_string().as_bytes());
        let states = ["ACTIVE", "DEGRADED", "UNAVAILABLE", "ACTIVE"].map(member).to_vec();
        let health = Health { active: 2, degraded: 1, unavailable: 1 };
        assert_eq!(read(fleet(states)), Ok(health));
        assert!(!read(fleet(vec![member("UNAVAILABLE")])).unwrap().is_served());
        assert!(read(fleet(Vec::new())).is_err() && read(fleet(vec![member("X")])).is_err());
        assert!(read(fleet(vec![member("ACTIVE"); 11])).is_err());
        let mut none = fleet(vec![member("ACTIVE")]);
        none["xksProxyFleetSize"] = json!(0);
        assert!(read(none).is_err());

        let key = |spec: &str, usage: &[&str], status: &str| {
            let body = json!({ "keySpec": spec, "keyUsage": usage, "keyStatus": status });
            let facts = read_key(body.to_string().as_bytes())?;
            Ok::<_, Unreadable>((facts.is_aes_256, facts.is_for_both, facts.is_enabled))
        };
        let both = ["ENCRYPT", "DECRYPT", "WRAP"];
        assert_eq!(key("AES_256", &both, "ENABLED"), Ok((true, true, true)));
        assert_eq!(key("RSA", &["ENCRYPT"], "DISABLED"), Ok((false, false, false)));
        assert!(key("AES_256", &both, "GONE").is_err());
        assert!(key("AES_256", &["ENCRYPT"; 11], "ENABLED").is_err());
    }

    #[test]
    fn refusals_are_read_by_name() {
        let read = |text: &str| read_refusal(text.as_bytes());
        let (name, message) =
            read(r#"{"errorName":"KeyNotFoundException","errorMessage":"a\n\u001b[1mb"}"#).unwrap();
        assert_eq!((name, message.as_str()), (ErrorName::KeyNotFound, "a[1mb"));
        assert!(read(r#"{"errorName":"SomeException"}"#).is_err() && read("no").is_err());
    }

    proptest! {
        #[test]
        fn no_response_makes_reading_panic(body in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = (read_fleet(&body), read_key(&body), read_refusal(&body));
            let _ = (read_encrypted(&body, 12, b""), read_decrypted(&body, 12));
        }
    }
}
