//! Tags of `CreateKey` that set the id and the material of a key, for development only.

use aws_lc_rs::error::Unspecified;
use aws_lc_rs::key_wrap::{AES_256, AesKek, KeyWrapPadded as _};
use aws_lc_rs::rsa::{OAEP_SHA256_MGF1SHA256, OaepPublicEncryptingKey, PublicEncryptingKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hsm_protocol::key_spec::{KeySpec, KeyUsage, WrappingAlgorithm};
use zeroize::Zeroizing;

use super::Call;
use super::checks::invalid;
use super::model::inputs::Tag;
use crate::engine::response;
use crate::policy::{AuthorizedAccount, service};
use kms_base::error::{Exception, KmsError};
use kms_base::identifier::KeyId;
use kms_keys::import::Imported;
use kms_keys::{KeyMaterial, KeyRecord};
use kms_model::action;

/// The tag with the id of the new key. It stays on the key.
pub const CUSTOM_ID: &str = "_custom_id_";
/// The tag with the material of the new key, in Base64: raw bytes for symmetric and HMAC keys,
/// PKCS#8 in DER for other keys. The material goes to the device and nowhere else.
pub const CUSTOM_MATERIAL: &str = "_custom_key_material_";

/// The most that wrapping adds to material, in bytes: an initial value and padding (RFC 5649).
const PADDED: usize = 15;

/// How long the import of given material may take, in minutes.
const IMPORT_MINUTES: u32 = 10;

/// The id and the material that a developer has chosen for a key.
#[derive(Default)]
pub(super) struct Chosen {
    /// The id from the tag [`CUSTOM_ID`].
    pub(super) id: Option<KeyId>,
    /// The material from the tag [`CUSTOM_MATERIAL`], decoded from Base64.
    pub(super) material: Option<Zeroizing<Vec<u8>>>,
}

impl Chosen {
    /// Removes the choices from the tags and returns them.
    ///
    /// # Errors
    /// [`Exception::Tag`] if the daemon does not run for development: the material would stay on
    /// the key, where everybody could read it. [`Exception::Validation`] if a value is invalid.
    pub(super) fn take(tags: &mut Vec<Tag>, development: bool) -> Result<Self, KmsError> {
        let mut chosen = Self::default();
        for tag in &*tags {
            let (key, value) = (tag.tag_key.as_str(), tag.tag_value.as_str());
            if !development && [CUSTOM_ID, CUSTOM_MATERIAL].contains(&key) {
                let text = format!("The tag key {key} is for development: start kmsd with --dev.");
                return Err(KmsError::new(Exception::Tag, text));
            }
            match key {
                CUSTOM_ID => {
                    let id = KeyId::parse(value);
                    let id = id.ok_or_else(|| {
                        invalid(format!("The value of tag {CUSTOM_ID} is not a key id."))
                    })?;
                    chosen.id = Some(id);
                }
                CUSTOM_MATERIAL => {
                    let material = STANDARD.decode(value).map(Zeroizing::new);
                    chosen.material = Some(material.map_err(|_| {
                        invalid(format!("The value of tag {CUSTOM_MATERIAL} is not Base64."))
                    })?);
                }
                _ => {}
            }
        }
        tags.retain(|tag| tag.tag_key != CUSTOM_MATERIAL);
        Ok(chosen)
    }
}

/// Imports the given material into a new key, wrapped as an external owner would wrap it.
pub(super) async fn import(
    call: &mut Call<'_>,
    account: &AuthorizedAccount<action::CreateKey>,
    key: &KeyRecord,
    material: &[u8],
) -> Result<KeyMaterial, KmsError> {
    const WRAPPING: KeySpec = KeySpec::RSA_2048;
    let algorithm = WrappingAlgorithm::RSA_AES_KEY_WRAP_SHA_256;
    let misfit = || {
        let text = "The key material does not fit the key's spec.";
        KmsError::new(Exception::IncorrectKeyMaterial, text)
    };
    if material.is_empty() {
        return Err(misfit()); // there is nothing to wrap
    }
    let (wrapping, importing) = service::vouched_by_creator(account, key.clone());
    let now = call.service.now();
    let expires = now.plus_minutes(IMPORT_MINUTES).as_millis();
    let mut devices = call.devices();
    let pair = devices.wrapping_pair(&wrapping, WRAPPING).await?;
    let reply = devices.import_parameters(&wrapping, WRAPPING, algorithm, expires, &pair).await?;
    let parameters = response(&reply)?;
    let wrapped = wrap(&parameters.public, material).map_err(KmsError::internal)?;
    let made = devices.import_key(&importing, now.as_millis(), &parameters.token, &wrapped).await;
    let made = made.map_err(|refusal| match refusal.exception() {
        // The material comes from the caller; the wrapping does not.
        Exception::InvalidCiphertext => misfit(),
        _ => refusal,
    })?;
    Ok(KeyMaterial { imported: Some(Imported { expires: None, description: None }), ..made })
}

/// Wraps material under an RSA public key with RSA_AES_KEY_WRAP_SHA_256.
fn wrap(public: &[u8], material: &[u8]) -> Result<Vec<u8>, String> {
    let failed = |_: Unspecified| "the key material cannot be wrapped".to_owned();
    let public = PublicEncryptingKey::from_der(public).map_err(|error| error.to_string())?;
    let public = OaepPublicEncryptingKey::new(public).map_err(failed)?;
    let mut key = Zeroizing::new([0; 32]);
    getrandom::fill(&mut *key).map_err(|error| error.to_string())?;
    let mut wrapped = vec![0; public.ciphertext_size()];
    public.encrypt(&OAEP_SHA256_MGF1SHA256, &*key, &mut wrapped, None).map_err(failed)?;
    let mut body = vec![0; material.len() + PADDED];
    let wrapping = AesKek::new(&AES_256, &*key).map_err(failed)?;
    let body = wrapping.wrap_with_padding(material, &mut body).map_err(failed)?;
    wrapped.extend_from_slice(body);
    Ok(wrapped)
}

/// Checks that keys of this kind can be given material.
pub(super) fn check(spec: KeySpec, usage: KeyUsage, external: bool) -> Result<(), KmsError> {
    if external {
        return Ok(());
    }
    Err(invalid(format!(
        "A key of KeySpec {spec:?} and KeyUsage {usage:?} takes no key material of yours."
    )))
}
