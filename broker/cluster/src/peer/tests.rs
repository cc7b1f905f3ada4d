//! Goal: nodes find each other, know each other, and what is asked arrives once, in order and
//! within bounds; whatever a stranger or a broken peer sends hurts its own connection only. Method:
//! two nodes and more in one process over real sockets, and raw sockets for those that misbehave.

mod appends;
mod calls;
mod greeting;
mod node;
mod strangers;
