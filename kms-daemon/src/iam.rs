//! Identities: accounts, users, roles, access keys and policies, and the principal that has signed a request.
//! [`crate::management`] has the operations that manage them.
//!
//! Secrets are kept as devices have sealed them, see [`vault`]. The exception is the file with the
//! access key of the first account's root, because its client reads that file.

use std::sync::Arc;

use crate::credentials::{Credential, Credentials};
use crate::mac::MacKey;
use crate::regions::Regions;
use kms_base::clock::{Clock, Timestamp};
use kms_base::error::KmsError;
use kms_base::principal::{Principal, PrincipalKind, RoleSession, TemporarySession, User};
use kms_keys::CatalogError;
use kms_query::IamError;
use kms_sigv4::{Claim, Session, TokenDigest, Verifier};
use kms_store::Store;

pub(crate) mod bound;
pub(crate) mod check;
pub(crate) mod directory;
pub(crate) mod document;
pub(crate) mod external;
pub(crate) mod hypothetical;
pub(crate) mod layout;
pub(crate) mod limits;
pub mod record;
pub(crate) mod token;
pub mod uses;
pub mod vault;

use self::directory::{Changes, Directory};
use self::limits::SessionPolicies;
use self::record::{AccessKey, Account, Owner, Status, Version};
use self::token::{Content, Extras, Subject, Temporary};
use self::uses::Uses;
use self::vault::{Sealed, Trace, Vault};

pub(crate) use self::vault::own_key;

/// What the identities are opened with.
pub struct Setup {
    /// Where they are.
    pub store: Arc<dyn Store>,
    /// Whose devices open secrets.
    pub regions: Arc<Regions>,
    /// The Region whose devices seal new ones.
    pub region: String,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// The first account, which manages the others.
    pub account: String,
    /// The access keys of its root.
    pub roots: Credentials,
}

/// The identities of an installation.
pub struct Iam {
    pub(crate) directory: Arc<Directory>,
    vault: Vault,
    mac_key: MacKey,
    clock: Arc<dyn Clock>,
    pub(crate) account: String,
    roots: Credentials,
    sessions: SessionPolicies,
    pub(crate) uses: Uses,
}

impl Iam {
    /// Opens the identities of a store. Needs a Tokio runtime.
    ///
    /// # Errors
    /// [`CatalogError`] if the store does not answer.
    pub async fn open(setup: Setup) -> Result<Self, CatalogError> {
        let Setup { store, regions, region, clock, account, roots } = setup;
        let mac_key = MacKey::open(&*store).await?;
        let directory = Directory::open(Arc::clone(&store)).await?;
        let uses = Uses::new(Arc::clone(&store));
        let vault = Vault::new(store, regions, region);
        let first = Account {
            version: Version,
            id: account.clone(),
            name: "first".to_owned(),
            created: clock.now(),
            keys: Vec::new(),
        };
        // A conflict means that it exists.
        let _ = directory.commit(Changes::new().insert(&first)?).await?;
        let sessions = SessionPolicies::default();
        Ok(Self { directory, vault, mac_key, clock, account, roots, sessions, uses })
    }

    /// Whether there is such an account.
    ///
    /// # Errors
    /// [`CatalogError`] if the store does not answer.
    pub async fn has_account(&self, id: &str) -> Result<bool, CatalogError> {
        Ok(self.directory.account(id).await?.is_some())
    }

    /// Who signed a request.
    ///
    /// A refusal costs one read of the store past the caches, whatever the reason: an access key
    /// that is unknown, deleted or disabled, a wrong signature, a token that was made up.
    ///
    /// # Errors
    /// Those of [`Verifier::verify`]; `Exception::KmsInternal` or `Exception::KeyUnavailable` if
    /// that cannot be determined now.
    pub async fn identify(
        &self,
        verifier: &Verifier,
        claim: &Claim<'_>,
        trace: Trace<'_>,
    ) -> Result<Credential, KmsError> {
        let (id, token) = (claim.access_key_id(), claim.session_token());
        let found = self.credential(id, token, trace).await?;
        let was_found = found.is_some();
        let verified = verifier.verify(claim, found);
        if was_found && verified.is_err() {
            self.search_in_vain(id).await?;
            if self.roots.find(id).is_some() {
                self.pretend(id);
            }
        }
        verified
    }

    /// The ids of the access keys that the first account's root has in the daemon's file.
    pub(crate) fn root_key_ids(&self) -> impl Iterator<Item = &str> {
        self.roots.ids()
    }

    /// Has a device seal the secret of a new access key.
    ///
    /// # Errors
    /// `Exception::DependencyTimeout` or `Exception::KeyUnavailable` if no device does so now.
    pub(crate) async fn seal_secret(
        &self,
        (id, account): (&str, &str),
        secret: &str,
        trace: Trace<'_>,
    ) -> Result<Sealed, KmsError> {
        self.vault.seal(&purpose(id, account), secret.as_bytes(), trace).await
    }

    /// Erases the secret of an access key, which must not be used any more, from memory.
    pub(crate) fn forget_secret(&self, key: &AccessKey) {
        self.vault.forget(&purpose(&key.id, &key.account), &key.secret);
    }

    /// Makes temporary credentials, which are valid from the first time to the second.
    ///
    /// # Errors
    /// As [`token::issue`].
    pub(crate) async fn issue(
        &self,
        account: &str,
        subject: Subject,
        life: (Timestamp, Timestamp),
        extras: Extras<'_>,
        trace: Trace<'_>,
    ) -> Result<Temporary, IamError> {
        token::issue((&self.vault, &self.mac_key), account, subject, life, extras, trace).await
    }

    /// [`Iam::credential`], for tests.
    #[cfg(test)]
    pub(crate) async fn credential_of(
        &self,
        access_key_id: &str,
        token: Option<&[u8]>,
        trace: Trace<'_>,
    ) -> Result<Option<Credential>, KmsError> {
        self.credential(access_key_id, token, trace).await
    }

    /// Notes that somebody has signed a request for a service.
    pub fn note_use(&self, principal: &Principal, service: &str, region: &str) {
        self.uses.note(principal, service, region, self.now());
    }

    /// Writes last uses that were noted and are not in the store yet.
    ///
    /// # Errors
    /// [`CatalogError`].
    pub async fn flush_uses(&self) -> Result<usize, CatalogError> {
        self.uses.flush().await
    }

    /// What is known of an access key, and of the session token that came with it. `None` if it
    /// cannot be used, which costs a read of the store.
    async fn credential(
        &self,
        access_key_id: &str,
        token: Option<&[u8]>,
        trace: Trace<'_>,
    ) -> Result<Option<Credential>, KmsError> {
        match token {
            Some(token) => self.temporary(access_key_id, token, trace).await,
            None => self.long_term(access_key_id, trace).await,
        }
    }

    /// Whether [`Iam::credential`] may find something, by what needs no device: the access key
    /// exists and is active, or the session token was made here.
    ///
    /// # Errors
    /// `Exception::KmsInternal` if that cannot be determined now.
    pub async fn knows(&self, access_key_id: &str, token: Option<&[u8]>) -> Result<bool, KmsError> {
        if let Some(token) = token {
            return Ok(token::is_own(&self.mac_key, access_key_id, token));
        }
        if self.roots.find(access_key_id).is_some() {
            return Ok(true);
        }
        let Some(key) = self.directory.access_key(access_key_id).await? else { return Ok(false) };
        Ok(self.owner(&key).await?.is_some())
    }

    async fn long_term(
        &self,
        access_key_id: &str,
        trace: Trace<'_>,
    ) -> Result<Option<Credential>, KmsError> {
        if let Some(root) = self.roots.find(access_key_id) {
            return Ok(Some(root.clone()));
        }
        let was_cached = self.directory.has_cached_access_key(access_key_id);
        let key = self.directory.access_key(access_key_id).await?;
        let owner = match &key {
            Some(key) => self.owner(key).await?,
            None => None,
        };
        let (Some(key), Some(principal)) = (key, owner) else {
            if was_cached {
                self.search_in_vain(access_key_id).await?;
            }
            self.pretend(access_key_id);
            return Ok(None);
        };
        let secret = self.vault.open(&purpose(&key.id, &key.account), &key.secret, trace).await?;
        let secret = std::str::from_utf8(&secret).map_err(KmsError::internal)?;
        Ok(Some(Credential::new(secret.to_owned().into(), principal, None)))
    }

    /// Asks the store for an access key, as for one that no cache knows, for the time that it takes.
    async fn search_in_vain(&self, access_key_id: &str) -> Result<(), KmsError> {
        Ok(self.directory.read_access_key(access_key_id).await?)
    }

    /// Does for a key that cannot be used the rest of what is done for one that can: asks the cache
    /// for its user, looks for its secret, and makes a credential.
    fn pretend(&self, access_key_id: &str) {
        const NAME: &str = "nobody";
        std::hint::black_box(self.directory.has_cached_user(&self.account, NAME));
        self.vault.look_in_vain(&purpose(access_key_id, &self.account));
        let (id, path, name) =
            ("AIDAAAAAAAAAAAAAAAAAA".to_owned(), "/".to_owned(), NAME.to_owned());
        let kind = PrincipalKind::User(User { id, path, name });
        let principal = Principal { kind, ..Principal::root(&*self.account, access_key_id) };
        std::hint::black_box(Credential::new("0".repeat(40).into(), principal, None));
    }

    async fn temporary(
        &self,
        access_key_id: &str,
        token: &[u8],
        trace: Trace<'_>,
    ) -> Result<Option<Credential>, KmsError> {
        let content =
            token::open((&self.vault, &self.mac_key), access_key_id, token, trace).await?;
        let Some(content) = content else {
            self.search_in_vain(access_key_id).await?;
            return Ok(None);
        };
        let content: Content<'_> = serde_json::from_slice(&content).map_err(KmsError::internal)?;
        let Some(principal) = self.subject(&content).await? else { return Ok(None) };
        let session = TemporarySession {
            issued: content.issued,
            expires: content.expires,
            policy: content.policy.map(|text| text.into_owned()),
            managed: content.managed,
            tags: content.tags,
            transitive: content.transitive,
            source_identity: content.subject.source_identity().map(str::to_owned),
        };
        let demanded = Session::new(TokenDigest::of(token), session.expires.into());
        let access_key_id = access_key_id.to_owned();
        let principal = Principal { access_key_id, session: Some(session), ..principal };
        Ok(Some(Credential::new(content.secret.to_owned().into(), principal, Some(demanded))))
    }

    /// Whose session it is, if there still is such a one.
    async fn subject(&self, content: &Content<'_>) -> Result<Option<Principal>, KmsError> {
        match &content.subject {
            Subject::Key(id) => match self.roots.find(id) {
                Some(root) => Ok(Some(root.principal().clone())),
                None => match self.directory.access_key(id).await? {
                    Some(key) => self.owner(&key).await,
                    None => Ok(None),
                },
            },
            Subject::Role { name, id, session, .. } => {
                let role = self.directory.role(&content.account, name).await?;
                let Some(role) = role.filter(|role| role.id == *id) else { return Ok(None) };
                let kind = PrincipalKind::Role(RoleSession {
                    role_id: role.id.clone(),
                    path: role.path.clone(),
                    role: role.name.clone(),
                    session: session.clone(),
                });
                Ok(Some(Principal { kind, ..Principal::root(&*content.account, "") }))
            }
        }
    }

    /// The owner of an access key, if the key may be used.
    async fn owner(&self, key: &AccessKey) -> Result<Option<Principal>, KmsError> {
        if key.status != Status::Active {
            return Ok(None);
        }
        let principal = Principal::root(&*key.account, &*key.id);
        let Owner::User { name, id } = &key.owner else { return Ok(Some(principal)) };
        let user = self.directory.user(&key.account, name).await?;
        let Some(user) = user.filter(|user| user.id == *id) else { return Ok(None) };
        let (id, path, name) = (user.id.clone(), user.path.clone(), user.name.clone());
        Ok(Some(Principal { kind: PrincipalKind::User(User { id, path, name }), ..principal }))
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }
}

/// What the secret of an access key is sealed for.
fn purpose<'p>(id: &'p str, account: &'p str) -> [(&'p str, &'p str); 3] {
    [("accessKeyId", id), ("account", account), ("purpose", "access-key")]
}
