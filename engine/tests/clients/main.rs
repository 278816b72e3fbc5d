//! Client connections over real sockets.

#[path = "../server/combinations.rs"]
mod combinations;
#[path = "../server/drivers.rs"]
mod drivers;
mod progress;
mod routes;
mod suite;
#[path = "../server/variant.rs"]
mod variant;
