//! The APIs, called as the HTTP front end calls them, with secrets sealed by real firmware in this
//! process.

mod access_keys;
mod account;
mod accounts;
mod attached;
mod delegation;
mod explanations;
mod grants;
mod groups;
mod keys;
mod neighbours;
mod other_accounts;
mod policies;
mod predecessors;
mod refusals;
mod renaming;
mod rig;
mod roles;
mod session_tags;
mod simulations;
mod tags;
mod users;
mod uses;
