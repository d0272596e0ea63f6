//! What AWS KMS is like, as facts that every room of the daemon may use: this is the ground floor,
//! and knows nothing of the rooms above.

pub mod enumeration;
pub mod key_spec;

/// The files `cargo xtask codegen` writes.
mod generated {
    pub mod enums;
}

pub use self::generated::enums;
