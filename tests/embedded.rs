//! The release rule, requests of real clients and channels' answers, with the gate embedded in
//! the Pingora proxy of a host rather than behind the binary's own server.

#[path = "answers/suite.rs"]
mod answers;
#[path = "release/bodies.rs"]
mod bodies;
#[path = "captures/suite.rs"]
mod captures;
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
mod support;
#[path = "release/told.rs"]
mod told;
#[path = "release/vanished.rs"]
mod vanished;
#[path = "release/wire.rs"]
mod wire;
