//! The work of each command: one `impl Execute` for each row of the table.

mod agree;
mod approval;
mod attest;
mod audit;
mod cipher;
mod data_key_pair;
mod domain;
mod firmware;
mod import;
mod key;
mod mac;
mod random;
mod recovery;
mod replica;
mod session;
mod sign;
mod statement;
mod system;
