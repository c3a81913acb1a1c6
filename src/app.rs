//! The composition root: everything is put together here and nowhere else.

pub mod agent;
pub mod board;
pub mod demo;
pub mod driver;
pub mod feed;
pub mod files;
pub mod health;
pub mod in_process;
pub mod intake;
mod mesh;
pub mod offline;
mod operators;
pub mod outbox;
pub mod preview;
pub mod queue;
pub mod rbac;
pub mod run;
pub mod screen;
mod short;
pub mod story;
mod view;
