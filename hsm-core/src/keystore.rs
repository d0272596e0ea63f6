//! Keys at rest and in use: stored records, wrapped tokens, unwrapped secrets.
//!
//! | module | holds |
//! |---|---|
//! | [`identity`] | the device's own three key pairs |
//! | [`domain`] | domain keys and members, and how they reach a joining device |
//! | [`wrap`] | key tokens |
//! | [`cache`] | the keys unwrapped last |
//! | [`sealed`] | prepared key pairs and import tokens |
//! | `replica` | multi-Region keys for another domain, and from it |
//! | `recovery` | backups that operators bring back by shares |
//! | `record` | the sealed form of what non-volatile storage keeps |

pub mod cache;
pub mod domain;
pub mod identity;
pub mod import;
pub(crate) mod record;
pub(crate) mod recovery;
pub(crate) mod replica;
pub mod sealed;
pub(crate) mod transfer;
pub mod wrap;
