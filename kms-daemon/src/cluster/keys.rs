//! The life of keys in tokens: made in one, copied to all others, and destroyed in all.

use kms_pkcs11::{Fault, Token};

use super::{Clusters, Failure, Target, new_key_id};
use kms_base::hex;

/// What is encrypted in one token and decrypted in the others, to see that they have the same key.
const SAMPLE: &[u8] = b"strongroom cluster key check";

impl Clusters {
    /// Makes a key in all tokens of a store's cluster, which have to serve, and returns its id.
    ///
    /// In a cluster of one token, the key was never extractable. In others it is until it is copied: the first token
    /// encrypts it under an RSA key of each of the others, and then it is closed. PKCS #11 2.40, 4.10: what is not
    /// extractable never becomes so again.
    pub(crate) async fn make(&self, target: &Target, label: &str) -> Result<String, Failure> {
        let client = self.client(target)?;
        let _share = self.enter(target)?;
        let tokens: Vec<&Token> = client.tokens.iter().map(|watched| &watched.token).collect();
        let mut serving = 0;
        for token in &tokens {
            match token.probe().await {
                Ok(()) => serving += 1,
                // It may be back: with somebody waiting for it, it is tried at once.
                Err(Fault::Resting | Fault::Replaced) => {
                    serving += usize::from(token.connect().await.is_ok())
                }
                Err(_) => {}
            }
        }
        let needed = tokens.len().max(target.cluster.needed());
        if serving < needed {
            return Err(Failure::TooFew { serving, needed });
        }
        let id = new_key_id()?;
        match make_in(&tokens, &id, label).await {
            Ok(()) => Ok(hex::encode(&id)),
            Err(fault) => {
                for token in &tokens {
                    if let Err(fault) = token.destroy(&id).await {
                        let (token, id) = (token.label(), hex::encode(&id));
                        tracing::warn!(token, id, %fault, "a token keeps a key that was not made in all tokens");
                    }
                }
                Err(Failure::Token(fault))
            }
        }
    }

    /// Destroys a key in all tokens; the labels of those that do not answer, which keep it.
    pub(crate) async fn destroy(&self, target: &Target, key: &str) -> Result<Vec<String>, Failure> {
        let (client, key) = (self.client(target)?, super::key_id(key)?);
        let mut left = Vec::new();
        for watched in &client.tokens {
            if watched.token.destroy(&key).await.is_err() {
                left.push(watched.token.label().to_owned());
            }
        }
        Ok(left)
    }
}

async fn make_in(tokens: &[&Token], id: &[u8], label: &str) -> Result<(), Fault> {
    let [first, others @ ..] = tokens else { return Err(Fault::NoToken) };
    first.make(id, label, !others.is_empty()).await?;
    for other in others {
        first.copy_to(other, id, label).await?;
    }
    if !others.is_empty() {
        first.close(id).await?;
    }
    let mut iv = [0; super::IV];
    getrandom::fill(&mut iv).map_err(|_| Fault::Malformed)?;
    let sealed = first.encrypt(id, iv, (SAMPLE, label.as_bytes())).await?;
    for token in tokens {
        token.check(id).await?;
        if token.decrypt(id, &sealed, label.as_bytes()).await? != SAMPLE {
            return Err(Fault::WrongKey);
        }
    }
    Ok(())
}
