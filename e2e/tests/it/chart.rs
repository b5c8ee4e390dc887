//! x
use crate::{ClusterTest,PlainTest};
pub(crate) fn all() -> Vec<(&'static str, ClusterTest)> { vec![] }
pub(crate) fn plain() -> Vec<(&'static str, PlainTest)> { vec![] }
