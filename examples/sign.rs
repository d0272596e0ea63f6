//! A signature by a key that nobody can copy, checked without the key service.
//!
//! ```console
//! $ export AWS_ENDPOINT_URL_KMS=http://127.0.0.1:8700 AWS_REGION=us-east-1
//! $ export AWS_ACCESS_KEY_ID=… AWS_SECRET_ACCESS_KEY=…
//! $ cargo run -- "hello"
//! ```
//!
//! With the crate `aws-config`, `aws_config::load_defaults` finds these, and profiles as well.

use std::{env, error::Error};

use aws_sdk_kms::Client;
use aws_sdk_kms::config::{BehaviorVersion, Config, Credentials, Region};
use aws_sdk_kms::primitives::Blob;
use aws_sdk_kms::types::{KeySpec, KeyUsageType, MessageType, SigningAlgorithmSpec};
use p256::ecdsa::signature::Verifier;
use p256::ecdsa::{DerSignature, VerifyingKey};
use p256::pkcs8::DecodePublicKey;
use sha2::{Digest, Sha256};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let message = env::args().nth(1).ok_or("usage: sign MESSAGE")?;
    let kms = client()?;

    let create =
        kms.create_key().key_spec(KeySpec::EccNistP256).key_usage(KeyUsageType::SignVerify);
    let key = create.send().await?.key_metadata.ok_or("no key")?.key_id;
    let public = kms.get_public_key().key_id(&key).send().await?.public_key.ok_or("no key")?;

    // The message may be long and stays here: its digest is signed.
    let digest = Sha256::digest(message.as_bytes());
    let sign = kms.sign().key_id(&key).message(Blob::new(digest.to_vec()));
    let sign = sign.message_type(MessageType::Digest);
    let signed = sign.signing_algorithm(SigningAlgorithmSpec::EcdsaSha256).send().await?;
    let signature = signed.signature.ok_or("no signature")?;

    let public = VerifyingKey::from_public_key_der(public.as_ref())?;
    let signature = DerSignature::from_bytes(signature.as_ref())?;
    public.verify(message.as_bytes(), &signature)?;
    if public.verify(b"something else", &signature).is_ok() {
        return Err("the signature holds for any message".into());
    }
    println!("{key} has signed {message:?}");
    Ok(())
}

fn client() -> Result<Client, env::VarError> {
    let (id, secret) = (env::var("AWS_ACCESS_KEY_ID")?, env::var("AWS_SECRET_ACCESS_KEY")?);
    let config = Config::builder()
        .behavior_version(BehaviorVersion::latest())
        // For http://; with https:// leave it out, and the crate's feature `default-https-client` in.
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .endpoint_url(env::var("AWS_ENDPOINT_URL_KMS")?)
        .region(Region::new(env::var("AWS_REGION")?))
        .credentials_provider(Credentials::new(id, secret, None, None, "environment"));
    Ok(Client::from_conf(config.build()))
}
