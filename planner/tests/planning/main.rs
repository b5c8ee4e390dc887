//! Planning, seen from outside: text in, stages and decisions out.

mod form;
mod goldens;
mod random;
mod faults;
mod others;
mod rewrites;
mod scale;
mod traps;
