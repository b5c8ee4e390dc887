//! Integration tests of the product: the real binary on real files, as a user runs it.

mod acceptance;
mod adaptive;
mod api_server;
mod aside;
mod cache;
mod cleanup;
mod command_line;
mod contract;
mod corners;
mod examples;
mod flow;
mod functions;
mod gitops;
mod memory;
mod mistakes;
mod odd_flows;
mod on_cluster;
mod operators;
mod random_cache;
mod random_flows;
mod sinks;
mod sources;
mod values;
