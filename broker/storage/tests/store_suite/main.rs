//! Tests of the queue store through its public face.

mod checkpoints;
mod crash;
mod damage;
mod golden;
mod image;
mod model;
mod opening;
mod support;
