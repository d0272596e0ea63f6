//! Answers of AWS KMS that are on record: exceptions, their texts, and which of two faults of a
//! request is told.

use serde_json::Value;

use super::Rig;

mod grants;
mod import;
mod keys;
mod regions;
mod use_of_keys;

impl Rig {
    /// Calls an operation that must be refused in these words.
    async fn says(&self, operation: &str, input: Value, expected: &str) {
        let refusal = self.refusal(operation, input.clone()).await;
        assert_eq!(refusal, expected, "{operation} {input}");
    }
}
