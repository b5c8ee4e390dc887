//! Planning, seen from outside: text in, stages and decisions out.

mod cached;
mod contract;
mod faults;
mod form;
mod goldens;
mod others;
mod random;
mod renderers;
mod rewrites;
mod scale;
mod shapes;
mod table;
mod taken;
mod traps;
