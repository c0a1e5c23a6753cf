//! No channel receives a complete create that was not permitted and reserved, and what it
//! receives is what the client sent: proven from outside, on sockets.
//!
//! Each case runs in every framing. `TOLLGATE_EVERY=1` runs the full product of cases,
//! framings, cuts and offsets.
mod support;

#[path = "release/bodies.rs"]
mod bodies;
#[path = "release/documents.rs"]
mod documents;
#[path = "release/framings.rs"]
mod framings;
#[path = "release/ledger.rs"]
mod ledger;
#[path = "release/limits.rs"]
mod limits;
#[path = "release/permitted.rs"]
mod permitted;
#[path = "release/refused.rs"]
mod refused;
#[path = "release/routes.rs"]
mod routes;
#[path = "release/smuggling.rs"]
mod smuggling;
#[path = "release/told.rs"]
mod told;
#[path = "release/vanished.rs"]
mod vanished;
#[path = "release/wire.rs"]
mod wire;
