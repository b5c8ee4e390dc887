//! `gleamflow-operator`.

fn main() {}
