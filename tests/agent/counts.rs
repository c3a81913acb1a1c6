//! Gates by counts: allocations, bytes and records, which are the same on every machine. Each prints what it
//! measured; the headroom above that is about a fifth, for what a compiler or a dependency may change.
