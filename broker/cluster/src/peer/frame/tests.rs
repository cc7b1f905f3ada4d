//! Every frame kind, there and back, and damaged at every byte.
