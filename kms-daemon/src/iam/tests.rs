//! The APIs, called as the HTTP front end calls them, with secrets sealed by real firmware in this
//! process.

mod access_keys;
mod accounts;
mod attached;
mod delegation;
mod explanations;
mod grants;
mod groups;
mod keys;
mod other_accounts;
mod policies;
mod predecessors;
mod refusals;
mod rig;
mod roles;
mod users;
