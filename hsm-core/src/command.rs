//! The work of each command: one `impl Execute` for each row of the table.

mod audit;
mod cipher;
mod domain;
mod key;
mod mac;
mod random;
mod session;
mod sign;
mod system;
