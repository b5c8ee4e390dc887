//! `gleamflow-executor agent|executor|slot`.

fn main() {}
