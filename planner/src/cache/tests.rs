//! Fingerprints and reuse.
