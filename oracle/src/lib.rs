//! The test oracle: a naive interpreter of unoptimized graphs, and a generator of random flows. Never part of the product.
//!
//! Everything here is written to be obviously right and shares no code with the engine: one collection is one `Vec` of rows,
//! one operator is one function from vectors to vectors, one Lua call is made per row, files are read whole.

pub mod compare;
pub mod generate;
pub mod interpret;
pub mod random;
pub mod seeds;
pub mod text;
pub mod value;

pub use compare::{Actual, Expected, matches};
pub use generate::{GeneratedFlow, generate};
pub use interpret::interpret;
pub use random::Random;
pub use seeds::Seeds;
pub use value::{Row, Value};
