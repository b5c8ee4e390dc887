//! For tests: readers of bytes that others wrote, given bytes that nobody would write. Each target takes any bytes and panics
//! where a reader breaks a promise; that the reader itself panics, hangs or takes all memory is found along the way.
//!
//! `tests/targets.rs` runs each for a while over mutated examples, as any test; `fuzz/` runs them for as long as one likes.

pub mod mutate;
mod rows;
mod sources;
mod texts;
pub mod wire;

/// A target: any bytes are welcome.
pub type Target = fn(&[u8]);

/// All targets, by the name of their file in `fuzz/fuzz_targets`.
pub const TARGETS: [(&str, Target); 20] = [
    ("document", texts::document),
    ("function", texts::function),
    ("prelude", texts::prelude),
    ("rows", rows::rows),
    ("spilled", rows::spilled),
    ("csv", sources::csv),
    ("json", sources::json),
    ("text", sources::text),
    ("parquet", sources::parquet),
    ("orc", sources::orc),
    ("packed", sources::packed),
    ("whole", sources::whole),
    ("split", sources::split),
    ("message", wire::message),
    ("chunks", wire::chunks),
    ("frame", wire::frame),
    ("child", wire::child),
    ("token", wire::token),
    ("manifest", wire::manifest),
    ("kept", wire::kept),
];

/// Runs a target by its name.
///
/// # Panics
/// If there is no such target, or where it found something.
pub fn run(name: &str, bytes: &[u8]) {
    let target = TARGETS.iter().find(|(known, _)| *known == name).unwrap_or_else(|| panic!("there is no target {name:?}"));
    target.1(bytes);
}
