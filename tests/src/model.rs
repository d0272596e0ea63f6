//! A model of what a daemon must still know after it was killed: acknowledged keys, aliases, states
//! and ciphertexts, with the possible outcomes of the request that got no response.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use aws_sdk_kms::Client;
use aws_sdk_kms::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_kms::primitives::Blob;
use aws_sdk_kms::types::KeyState;

/// A value after acknowledged writes and at most one that got no answer.
#[derive(Clone, Debug)]
pub struct Possible<T>(Vec<T>);

impl<T: PartialEq + Debug> Possible<T> {
    /// A value that was acknowledged.
    pub fn certain(value: T) -> Self {
        Self(vec![value])
    }

    /// The value, if it is certain.
    pub fn known(&self) -> Option<&T> {
        match self.0.as_slice() {
            [value] => Some(value),
            _ => None,
        }
    }

    /// A write of `value` is on its way.
    pub fn try_to(&mut self, value: T) {
        self.0.push(value);
    }

    /// The latest write was acknowledged.
    ///
    /// # Panics
    /// Never: a possible value is there from the start.
    pub fn acknowledge(&mut self) {
        let value = self.0.pop().expect("there is always a value");
        self.0 = vec![value];
    }

    /// The value was read back.
    ///
    /// # Panics
    /// If it is none of the possible ones: an acknowledged write was lost.
    pub fn observe(&mut self, value: T, what: &str) {
        assert!(self.0.contains(&value), "{what} is {value:?}, possible are {:?}", self.0);
        self.0 = vec![value];
    }
}

/// A key that one worker made and no other touches.
#[derive(Debug)]
pub struct Key {
    id: String,
    state: Possible<KeyState>,
    /// Plaintexts and their acknowledged blobs.
    sealed: Vec<(Vec<u8>, Blob)>,
    /// Whether it was used since it was last verified.
    touched: bool,
}

/// One client and everything it was told.
#[derive(Debug)]
pub struct Worker {
    random: fastrand::Rng,
    keys: Vec<Key>,
    /// Alias names and the keys they lead to.
    aliases: BTreeMap<String, Possible<Option<String>>>,
    /// How many requests were acknowledged, which others may look at.
    pub acknowledged: Arc<AtomicU64>,
}

/// The daemon went away.
#[derive(Debug)]
pub struct Gone;

impl Worker {
    /// A worker that has done nothing yet.
    #[must_use]
    pub fn new(random: fastrand::Rng) -> Self {
        Self { random, keys: Vec::new(), aliases: BTreeMap::new(), acknowledged: Arc::default() }
    }

    /// Works until the daemon goes away.
    pub async fn run(&mut self, kms: &Client) -> Gone {
        loop {
            let done = match self.random.u8(..10) {
                0..2 => self.create_key(kms).await,
                2..4 => self.change_state(kms).await,
                4..6 => self.change_alias(kms).await,
                _ => self.encrypt(kms).await,
            };
            if let Err(gone) = done {
                return gone;
            }
        }
    }

    async fn create_key(&mut self, kms: &Client) -> Result<(), Gone> {
        let made = answer(kms.create_key().send().await)?;
        let id = made.key_metadata.expect("metadata").key_id;
        let state = Possible::certain(KeyState::Enabled);
        self.keys.push(Key { id, state, sealed: Vec::new(), touched: true });
        self.acknowledged.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    async fn change_state(&mut self, kms: &Client) -> Result<(), Gone> {
        let Some(index) = self.some_key() else { return Ok(()) };
        let key = &mut self.keys[index];
        let Some(from) = key.state.known().cloned() else { return Ok(()) };
        let deletes = self.random.u8(..4) == 0;
        match from {
            KeyState::PendingDeletion => {
                key.state.try_to(KeyState::Disabled);
                answer(kms.cancel_key_deletion().key_id(&key.id).send().await)?;
            }
            _ if deletes => {
                key.state.try_to(KeyState::PendingDeletion);
                answer(kms.schedule_key_deletion().key_id(&key.id).send().await)?;
            }
            KeyState::Enabled => {
                key.state.try_to(KeyState::Disabled);
                answer(kms.disable_key().key_id(&key.id).send().await)?;
            }
            _ => {
                key.state.try_to(KeyState::Enabled);
                answer(kms.enable_key().key_id(&key.id).send().await)?;
            }
        }
        key.state.acknowledge();
        self.acknowledged.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    async fn change_alias(&mut self, kms: &Client) -> Result<(), Gone> {
        let Some(index) = self.some_key() else { return Ok(()) };
        let target = self.keys[index].id.clone();
        if self.keys[index].state.known() == Some(&KeyState::PendingDeletion) {
            return Ok(());
        }
        let name = format!("alias/{}/{}", self.keys[0].id, self.random.u8(..8));
        let alias = self.aliases.entry(name.clone()).or_insert_with(|| Possible::certain(None));
        let Some(present) = alias.known().cloned() else { return Ok(()) };
        let deletes = self.random.u8(..3) == 0;
        if present.is_none() {
            alias.try_to(Some(target.clone()));
            let call = kms.create_alias().alias_name(name).target_key_id(target);
            answer(call.send().await)?;
        } else if deletes {
            alias.try_to(None);
            answer(kms.delete_alias().alias_name(name).send().await)?;
        } else {
            alias.try_to(Some(target.clone()));
            let call = kms.update_alias().alias_name(name).target_key_id(target);
            answer(call.send().await)?;
        }
        alias.acknowledge();
        self.acknowledged.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    async fn encrypt(&mut self, kms: &Client) -> Result<(), Gone> {
        let Some(index) = self.some_key() else { return Ok(()) };
        let key = &mut self.keys[index];
        if key.state.known() != Some(&KeyState::Enabled) {
            return Ok(());
        }
        let mut plaintext = vec![0; self.random.usize(1..=256)];
        self.random.fill(&mut plaintext);
        let call = kms.encrypt().key_id(&key.id).plaintext(Blob::new(plaintext.clone()));
        let blob = answer(call.send().await)?.ciphertext_blob.expect("a blob");
        key.sealed.push((plaintext, blob));
        self.acknowledged.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    fn some_key(&mut self) -> Option<usize> {
        let index = (!self.keys.is_empty()).then(|| self.random.usize(..self.keys.len()))?;
        self.keys[index].touched = true;
        Some(index)
    }

    /// Checks what was acknowledged against the daemon.
    ///
    /// # Panics
    /// If something is missing, or the daemon goes away.
    pub async fn verify(&mut self, kms: &Client, scope: Scope) {
        for key in self.keys.iter_mut().filter(|key| key.touched || scope == Scope::Everything) {
            let described = kms.describe_key().key_id(&key.id).send().await;
            let metadata = described.expect("the key is there").key_metadata.expect("metadata");
            let state = metadata.key_state.expect("a state");
            key.state.observe(state, &format!("the state of {}", key.id));
            key.open(kms, scope).await;
            key.touched = false;
        }
        for (name, target) in &mut self.aliases {
            let found = match kms.describe_key().key_id(name).send().await {
                Ok(described) => Some(described.key_metadata.expect("metadata").key_id),
                Err(error) if error.code() == Some("NotFoundException") => None,
                Err(error) => panic!("{name}: {error:?}"),
            };
            target.observe(found, name);
        }
    }

    /// Enables every key, so that [`Worker::verify`] can open everything.
    ///
    /// # Panics
    /// If a key cannot be enabled.
    pub async fn enable_all(&mut self, kms: &Client) {
        for key in &mut self.keys {
            if key.state.known() == Some(&KeyState::PendingDeletion) {
                kms.cancel_key_deletion().key_id(&key.id).send().await.expect("cancelled");
            }
            kms.enable_key().key_id(&key.id).send().await.expect("enabled");
            key.state = Possible::certain(KeyState::Enabled);
        }
    }
}

/// How much is verified.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scope {
    /// Keys used since the last time, with the latest ciphertext of each, and every alias.
    Recent,
    /// Every key and every ciphertext.
    Everything,
}

impl Key {
    async fn open(&self, kms: &Client, scope: Scope) {
        if self.state.known() != Some(&KeyState::Enabled) {
            return;
        }
        let count = if scope == Scope::Everything { usize::MAX } else { 1 };
        for (plaintext, blob) in self.sealed.iter().rev().take(count) {
            let opened = kms.decrypt().ciphertext_blob(blob.clone()).send().await;
            let opened = opened.expect("an acknowledged ciphertext opens");
            assert_eq!(opened.plaintext.expect("a plaintext").as_ref(), plaintext);
        }
    }
}

/// Separates an answer from the end of the daemon. A refusal is neither: workers send only
/// what must succeed.
fn answer<T, E>(result: Result<T, SdkError<E>>) -> Result<T, Gone>
where
    E: Debug + ProvideErrorMetadata,
{
    match result {
        Ok(answer) => Ok(answer),
        Err(SdkError::DispatchFailure(_) | SdkError::ResponseError(_)) => Err(Gone),
        Err(error) => panic!("refused: {error:?}"),
    }
}
