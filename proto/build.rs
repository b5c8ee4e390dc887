//! Makes the clients and servers of the two services. Messages are Rust types (no protobuf): see `codec`.

use tonic_build::manual::{Builder, Method, Service};

/// Messages as MessagePack.
const PACKED: &str = "crate::codec::Packed";
/// Batches on the way in: raw chunks, answered by MessagePack.
const RAW_IN: &str = "crate::codec::RawIn";
/// Batches on the way out: asked for by MessagePack, answered by raw chunks.
const RAW_OUT: &str = "crate::codec::RawOut";

fn method(name: &str, input: &str, output: &str, codec: &str) -> tonic_build::manual::MethodBuilder {
    let route = name.to_lowercase();
    Method::builder().name(route).route_name(name).input_type(input).output_type(output).codec_path(codec)
}

fn main() {
    let master = Service::builder()
        .name("Master")
        .package("gleamflow.v1")
        .method(
            method("Work", "crate::master::FromSlot", "crate::master::ToSlot", PACKED)
                .client_streaming()
                .server_streaming()
                .build(),
        )
        .method(method("Enroll", "crate::master::Enroll", "crate::master::Enrolled", PACKED).build())
        .method(method("Beat", "crate::master::Beat", "crate::master::Orders", PACKED).build())
        .method(method("Output", "crate::master::OutputRequest", "crate::chunk::Message", RAW_OUT).server_streaming().build())
        .build();
    let agent = Service::builder()
        .name("Agent")
        .package("gleamflow.v1")
        .method(method("Put", "crate::chunk::Message", "crate::agent::Stored", RAW_IN).client_streaming().build())
        .method(method("Fetch", "crate::agent::Fetch", "crate::chunk::Message", RAW_OUT).server_streaming().build())
        .method(method("Name", "crate::agent::Name", "crate::agent::Named", PACKED).build())
        .method(method("Release", "crate::agent::Release", "crate::agent::Released", PACKED).build())
        .method(method("Inventory", "crate::agent::InventoryRequest", "crate::agent::Inventory", PACKED).build())
        .build();
    Builder::new().compile(&[master, agent]);
}
