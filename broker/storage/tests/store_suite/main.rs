//! Tests of the queue store through its public face.

#[cfg(test)]
mod backup;
#[cfg(test)]
mod checkpoints;
#[cfg(test)]
mod crash;
#[cfg(test)]
mod damage;
#[cfg(test)]
mod generations;
#[cfg(test)]
mod golden;
#[cfg(test)]
mod image;
#[cfg(test)]
mod model;
#[cfg(test)]
mod opening;
#[cfg(test)]
mod quarantine;
#[cfg(test)]
mod repairs;
#[cfg(test)]
mod snapshot_cuts;
#[cfg(test)]
mod snapshots;
#[cfg(test)]
mod support;
