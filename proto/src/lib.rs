//! The gRPC contract between operator, agents, executors and the command line: services, messages, codecs, tokens.
//!
//! ```text
//!             Work (one stream per slot: tasks down, results up)            Enroll, Beat
//!  executor ───────────────────────────────────────────────► operator ◄──────────────────── agent
//!     │                                                          │  Name, Release, Inventory  ▲ ▲
//!     │ Put: chunks of pieces, then what the attempt did         └────────────────────────────┘ │
//!     └──────────────────────────────────────────────────────────────────────────────────────────┘
//!       Fetch: frames of pieces, from any frame on
//! ```
//!
//! Every connection is TLS ([`credentials`]): members show a certificate that names them ([`peer`]), and each call carries a token
//! of the same holder, checked before its message is read ([`gate`]). What may be open at a time is bounded ([`listen`]).
//!
//! Messages are Rust types in MessagePack ([`codec::Packed`]); batches go through untouched ([`codec::RawIn`], [`codec::RawOut`]).
//! Whatever comes from the wire is checked before it is used: lengths by the codecs, ids by their types, tokens by [`token`].

pub mod agent;
pub mod chunk;
pub mod codec;
pub mod credentials;
#[cfg(target_os = "linux")]
pub mod footprint;
pub mod gate;
pub mod ids;
pub mod listen;
pub mod master;
pub mod pages;
pub mod peer;
pub mod token;
pub mod transport;

pub use ids::{BadId, RunId, Term};

/// Clients and servers, as made by the build script.
#[allow(missing_debug_implementations, clippy::all, unreachable_pub, reason = "generated")]
pub mod services {
    pub mod master {
        include!(concat!(env!("OUT_DIR"), "/gleamflow.v1.Master.rs"));
    }
    pub mod agent {
        include!(concat!(env!("OUT_DIR"), "/gleamflow.v1.Agent.rs"));
    }
}

pub use services::agent::{agent_client::AgentClient, agent_server, agent_server::AgentServer};
pub use services::master::{master_client::MasterClient, master_server, master_server::MasterServer};
