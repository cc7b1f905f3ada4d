//! Tests of the queue store through its public face.

mod checkpoints;
mod crash;
mod golden;
mod model;
mod opening;
mod support;
