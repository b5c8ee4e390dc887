//! Single courses of a run, told event by event.
