//! Who holds recovery shares of a domain's keys.
//!
//! An operator's share is wrapped to a key that is for nothing else (SP 800-57 part 1, 5.2: one key, one
//! use), and that the operator has signed:
//!
//! ```text
//! holder's message  "strongroom-share-key-v1" | domain [16] | share key [33]
//! encoded holder    operator [16] | share key [33] | signature [64]
//! ```

use heapless::Vec;
use serde::{Deserialize, Serialize};

use super::MAX_OPERATORS;
use super::state::{DomainState, Kind};
use crate::bytes::{concat, take};
use crate::curve::Curve;
use crate::error::ErrorCode;
use crate::id::{DomainId, OperatorId};
use crate::identity::{PublicKey, Signature};

const LABEL: &[u8; 23] = b"strongroom-share-key-v1";

/// An operator who holds a share.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Holder {
    /// The operator.
    pub operator: OperatorId,
    /// What the share is wrapped to.
    pub key: PublicKey,
}

/// The holders of recovery shares, and how many of them bring the domain back.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Recovery {
    /// How many shares are enough.
    pub threshold: u8,
    /// The holders; the first has share 1.
    pub holders: Vec<Holder, MAX_OPERATORS>,
}

impl Holder {
    /// Length of an encoded holder in bytes.
    pub const SIZE: usize = OperatorId::SIZE + PublicKey::SIZE + Signature::SIZE;

    /// What the operator signs.
    #[must_use]
    pub fn message(domain: &DomainId, key: &PublicKey) -> [u8; 72] {
        let mut out = [0; 72];
        concat(&mut out, &[LABEL, domain.as_bytes(), &key.to_bytes()]);
        out
    }

    /// The encoded holder, as a change has it.
    #[must_use]
    pub fn to_bytes(&self, signature: &Signature) -> [u8; Self::SIZE] {
        let mut out = [0; Self::SIZE];
        let parts: [&[u8]; 3] =
            [self.operator.as_bytes(), &self.key.to_bytes(), &signature.to_bytes()];
        concat(&mut out, &parts);
        out
    }
}

impl Recovery {
    /// The holder with this operator id, and the number of the share.
    #[must_use]
    pub fn holder(&self, operator: OperatorId) -> Option<(u8, &Holder)> {
        (1..).zip(&self.holders).find(|(_, holder)| holder.operator == operator)
    }

    /// Reads encoded holders, each of whom is an operator of `state` and has signed the key.
    ///
    /// # Errors
    /// [`ErrorCode::CHANGE_INVALID`], [`ErrorCode::TABLE_FULL`], [`ErrorCode::IDENTITY_INVALID`],
    /// [`ErrorCode::SIGNATURE_INVALID`].
    pub(super) fn read(
        state: &DomainState,
        threshold: u8,
        encoded: &[u8],
        curve: &impl Curve,
    ) -> Result<Option<Self>, ErrorCode> {
        let (rows, []) = encoded.as_chunks::<{ Holder::SIZE }>() else {
            return Err(ErrorCode::CHANGE_INVALID);
        };
        let mut holders = Vec::new();
        for row in rows {
            let (holder, signature) = read_holder(row).ok_or(ErrorCode::CHANGE_INVALID)?;
            let operator = state.operator(holder.operator).ok_or(ErrorCode::CHANGE_INVALID)?;
            holder.key.to_point()?;
            let message = Holder::message(&state.domain, &holder.key);
            curve.verify(&operator.key, &message, &signature)?;
            holders.push(holder).map_err(|_| ErrorCode::TABLE_FULL)?;
        }
        match (threshold, holders.is_empty()) {
            (0, true) => Ok(None),
            _ => Ok(Some(Self { threshold, holders })),
        }
    }

    /// Whether it is one for this domain: enough holders, each of them an operator and there once, each
    /// with a key of its own; and no fewer than any change takes, or the shares would be a way round the
    /// rules.
    pub(super) fn is_sound(&self, state: &DomainState) -> bool {
        let most = state.rules.quorum.iter().map(|rule| rule.total).max().unwrap_or(u8::MAX);
        let least = if state.kind == Kind::Production { most.max(2) } else { most.max(1) };
        self.threshold >= least
            && usize::from(self.threshold) <= self.holders.len()
            && super::state::unique(self.holders.iter().map(|holder| holder.operator))
            && super::state::unique(self.holders.iter().map(|holder| holder.key.x))
            && self.holders.iter().all(|holder| state.operator(holder.operator).is_some())
    }
}

fn read_holder(row: &[u8; Holder::SIZE]) -> Option<(Holder, Signature)> {
    let mut rest: &[u8] = row;
    let input = &mut rest;
    let operator = OperatorId(*take(input)?);
    let [tag] = *take(input)?;
    let key = PublicKey { tag, x: *take(input)? };
    Some((Holder { operator, key }, Signature::from_bytes(take(input)?)))
}
