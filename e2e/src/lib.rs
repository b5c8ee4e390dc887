//! A real Kubernetes cluster for tests and developers, the images that go into it, and the tools to look at it.
//!
//! ```text
//! Place::choose ── docker runs ──► kind
//!               ── root on Linux ► namespaces::enter (this program again, inside) ──► private cluster
//!               ── else ─────────► nowhere, said so
//! prepare (outside: needs the network) ──► Prepared ──► Cluster::up (needs none)
//! ```
//!
//! It never touches the host's network, and leaves nothing behind when it ends, however it ends.

#![allow(clippy::missing_errors_doc, reason = "every error is what a command said, and ends the test")]

mod cgroup;
mod cluster;
mod command;
mod image;
mod kind;
pub mod namespaces;
mod packages;
mod place;
mod prepare;
mod private;
mod tools;
mod traces;
mod until;
mod user;
mod workspace;

pub use cluster::{Cluster, Namespace};
pub use command::{Output, outcome};
pub use place::Place;
pub use prepare::{IMAGE_TAG, Prepared, gleamflow, helm, kubeconform, openapi, prepare};
pub use user::User;
pub use workspace::root;
