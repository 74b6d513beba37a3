//! Listeners, workers, drain, admin HTTP.

pub mod admin;
