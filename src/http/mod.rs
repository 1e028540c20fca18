//! The only room that knows HTTP.
pub mod routes;
