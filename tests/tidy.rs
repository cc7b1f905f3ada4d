//! The rules of this repository that a machine can check. They stand in CONTRIBUTING.md and
//! ARCHITECTURE.md.

#[path = "tidy/documents.rs"]
mod documents;
#[path = "tidy/files.rs"]
mod files;
#[path = "tidy/manifests.rs"]
mod manifests;
#[path = "tidy/sources.rs"]
mod sources;
#[path = "tidy/vectors.rs"]
mod vectors;
