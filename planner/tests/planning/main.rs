//! Planning, seen from outside: text in, stages and decisions out.

mod form;
mod goldens;
