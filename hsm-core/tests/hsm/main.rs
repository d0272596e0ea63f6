//! The whole HSM through its only entrance: encoded frames in, encoded frames out.
//!
//! The board is in memory, everything else is what the firmware runs.

mod approval;
mod audit;
mod channel;
mod cipher;
mod compat;
mod confusion;
mod cuts;
mod domain;
mod forgotten;
mod fuzz;
mod import;
mod provisioning;
mod recovery;
mod replica;
mod rig;
mod sign_and_mac;
mod specs;
mod state;
mod statement;
mod storage;
