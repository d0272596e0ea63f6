//! Nothing: what is built is the dependency `kryoptic`.
