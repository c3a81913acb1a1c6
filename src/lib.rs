//! meshmend keeps a service mesh healthy without waking anybody, and never makes it worse.

pub mod api;
pub mod app;
pub mod cli;
pub mod clock;
pub mod cluster;
pub mod config;
pub mod effectors;
pub mod engine;
pub mod health;
pub mod journal;
pub mod model;
pub mod rules;
pub mod sim;
pub mod sources;
pub mod yaml;
