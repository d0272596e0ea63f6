//! The encoding of operators' signatures in the files of ceremonies.

use hsm_protocol::OperatorId;
use hsm_protocol::domain::Vote;
use hsm_protocol::identity::Signature;
use serde::{Deserialize, Serialize};

use kms_base::hex;

/// A signature and whose it is said to be, in hexadecimal.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct VoteText {
    operator: String,
    signature: String,
}

impl VoteText {
    pub(super) fn of(vote: &Vote) -> Self {
        Self {
            operator: vote.operator.to_string(),
            signature: hex::encode(&vote.signature.to_bytes()),
        }
    }

    /// The vote, not yet verified; `None` if it is not in hexadecimal, or of another length.
    pub(super) fn read(&self) -> Option<Vote> {
        let operator = OperatorId(hex::decode(&self.operator)?);
        let signature = Signature::from_bytes(&hex::decode(&self.signature)?);
        Some(Vote { operator, signature })
    }
}
