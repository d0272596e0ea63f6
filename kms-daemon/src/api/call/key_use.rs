//! How a request wants to use a key.

use std::marker::PhantomData;

use super::super::input::{EncryptionContext, NO_CONTEXT};
use crate::policy::RequestAttributes;
use kms_base::identifier::Forms;
use kms_keys::spec::Algorithm;
use kms_model::action::KeyAction;

/// How a request names a key, and wants to use it for the action `A`.
#[derive(Debug, Clone, Copy)]
pub(in crate::api) struct KeyUse<'u, A> {
    /// What for.
    pub(in crate::api) action: PhantomData<A>,
    /// The key identifier, as given.
    pub(in crate::api) key: &'u str,
    /// The forms the operation takes.
    pub(in crate::api) forms: Forms,
    /// With which algorithm.
    pub(in crate::api) algorithm: Option<Algorithm>,
    /// Grant tokens of the request.
    pub(in crate::api) grant_tokens: &'u [String],
    /// The encryption context of the request.
    pub(in crate::api) context: &'u EncryptionContext,
    /// The symmetric ciphertext that the key must have made.
    pub(in crate::api) blob: Option<&'u [u8]>,
    /// What else conditions ask of the request.
    pub(in crate::api) attributes: RequestAttributes<'u>,
}

impl<'u, A: KeyAction> KeyUse<'u, A> {
    /// An operation that manages a key, named by id or ARN.
    pub(in crate::api) const fn manage(_: A, key: &'u str) -> Self {
        Self {
            action: PhantomData,
            key,
            forms: Forms::Key,
            algorithm: None,
            grant_tokens: &[],
            context: &NO_CONTEXT,
            blob: None,
            attributes: RequestAttributes::None,
        }
    }

    /// Any other operation on a key, named in any form.
    pub(in crate::api) const fn new(action: A, key: &'u str, grant_tokens: &'u [String]) -> Self {
        Self { forms: Forms::KeyOrAlias, grant_tokens, ..Self::manage(action, key) }
    }

    /// With this algorithm.
    pub(in crate::api) const fn with(mut self, algorithm: Algorithm) -> Self {
        self.algorithm = Some(algorithm);
        self
    }

    /// Telling this.
    pub(in crate::api) const fn telling(mut self, attributes: RequestAttributes<'u>) -> Self {
        self.attributes = attributes;
        self
    }

    /// Of the key that has made this symmetric ciphertext.
    pub(in crate::api) const fn of_blob(mut self, blob: &'u [u8]) -> Self {
        self.blob = Some(blob);
        self
    }

    /// In this encryption context.
    pub(in crate::api) const fn within(mut self, context: &'u EncryptionContext) -> Self {
        self.context = context;
        self
    }
}
