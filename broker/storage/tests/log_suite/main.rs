//! The log from outside, on a simulated disk: what it promises, beside a naive model, with power
//! cuts at every write and sync, with every byte flipped, beside golden bytes, and with noise.

#[cfg(test)]
mod behaviour;
#[cfg(test)]
mod crash;
#[cfg(test)]
mod flips;
#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod lazy;
#[cfg(test)]
mod model;
#[cfg(test)]
mod naive;
#[cfg(test)]
mod reset;
#[cfg(test)]
mod retention;
#[cfg(test)]
mod support;
#[cfg(test)]
mod vectors;
