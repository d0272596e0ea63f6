//! The API, called as the HTTP front end calls it, on real firmware in this process.

mod aliases;
mod cipher;
mod coherence;
mod create;
mod deletion;
mod device;
mod identifiers;
mod listing;
mod model;
mod policies;
mod rig;
mod shapes;
mod signatures;
mod states;
mod tags;

use self::rig::Rig;
