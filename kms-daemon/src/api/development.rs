//! Tags of `CreateKey` that choose the id and the material of a key, for development only.

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
use crate::error::{Exception, KmsError};
use crate::key::import::Imported;
use crate::key::{KeyId, KeyMaterial, KeyRecord};
use crate::model::action;
use crate::policy::{AuthorizedAccount, service};

/// The tag with the id of the new key. It stays on the key.
pub const CUSTOM_ID: &str = "_custom_id_";
/// The tag with the material of the new key, in Base64: raw bytes of a symmetric or HMAC key,
/// PKCS#8 in DER of another. It goes to the device and nowhere else.
pub const CUSTOM_MATERIAL: &str = "_custom_key_material_";

/// What wrapping adds to material at most, in bytes: an initial value, and padding (RFC 5649).
const PADDED: usize = 15;

/// How long the import of given material may take, in minutes.
const IMPORT_MINUTES: u32 = 10;

/// What a developer has chosen.
#[derive(Default)]
pub(super) struct Chosen {
    /// The key id.
    pub(super) id: Option<KeyId>,
    /// The key material.
    pub(super) material: Option<Zeroizing<Vec<u8>>>,
}

impl Chosen {
    /// Takes the choices out of the tags.
    ///
    /// # Errors
    /// [`Exception::Tag`] if this is no daemon for development: the material would stay on the
    /// key for everybody to read. [`Exception::Validation`] if a value is none.
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
                        invalid(format!("The value of tag {CUSTOM_ID} is no key id."))
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

/// Gives a new key its material, wrapped as an owner outside would.
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
        return Err(misfit()); // nothing that could be wrapped
    }
    let (wrapping, importing) = service::vouched_by_creator(account, key.clone());
    let now = call.now();
    let expires = now.plus_minutes(IMPORT_MINUTES).as_millis();
    let mut devices = call.devices();
    let pair = devices.wrapping_pair(&wrapping, WRAPPING).await?;
    let reply = devices.import_parameters(&wrapping, WRAPPING, algorithm, expires, &pair).await?;
    let parameters = response(&reply)?;
    let wrapped = wrap(&parameters.public, material).map_err(KmsError::internal)?;
    let made = devices.import_key(&importing, now.as_millis(), &parameters.token, &wrapped).await;
    let made = made.map_err(|refusal| match refusal.exception() {
        // What was wrapped is the caller's, the wrapping is not.
        Exception::InvalidCiphertext => misfit(),
        _ => refusal,
    })?;
    Ok(KeyMaterial { imported: Some(Imported { expires: None, description: None }), ..made })
}

/// Wraps material for the holder of an RSA key: RSA_AES_KEY_WRAP_SHA_256.
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

/// Which keys can be given material at once.
pub(super) fn check(spec: KeySpec, usage: KeyUsage, external: bool) -> Result<(), KmsError> {
    if external {
        return Ok(());
    }
    Err(invalid(format!(
        "A key of KeySpec {spec:?} and KeyUsage {usage:?} takes no key material of yours."
    )))
}
